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

_WRONG = "2 something was wrong with the input or the machine"
_LEFT_OUT = "some pictures could not be inspected (they are listed)"
_REST = "70 a bug in edgead; 130 interrupted."

DONE = f"Exit codes: 0 done; {_WRONG}; {_REST}"
EVALUATED = f"Exit codes: 0 all was inspected, whatever the numbers; {_WRONG}, or {_LEFT_OUT}; {_REST}"
VERIFIED = f"Exit codes: 0 it inspects as fp32 does; 2 it does not, or {_WRONG[2:]}; {_REST}"
RUN = f"Exit codes: 0 the sources ended, or you ended it; {_WRONG}; {_REST}"
EXPLANATION = (
    "Exit codes: 0 done, and every picture was inspected and none is anomalous; "
    "1 every picture was inspected and at least one is anomalous; "
    f"{_WRONG}, or {_LEFT_OUT}; {_REST}"
)
