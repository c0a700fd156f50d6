"""What the exit code of a command says."""

from __future__ import annotations

OK = 0
ANOMALOUS = 1
MISSED = 1
DIFFERENT = 1
WRONG = 2
BUG = 70
INTERRUPTED = 130
OUTPUT_CLOSED = 141

EXPLANATION = (
    "Exit codes: 0 done, and every picture was inspected and none is anomalous; "
    "1 every picture was inspected and at least one is anomalous; "
    "2 something was wrong with the input or the machine, or some pictures could not be inspected "
    "(they are listed); 70 a bug in edgead; 130 interrupted."
)
