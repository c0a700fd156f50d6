"""What a gate found, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgead.cli.terminal import Terminal

if TYPE_CHECKING:
    from edgead_runtime.agreement import GateReport


def say_gates(terminal: Terminal, gates: Sequence[GateReport]) -> None:
    """Print how far each precision is from fp32, a line for each engine it was run in."""
    if not gates:
        return
    width = max(len(gate.engine) for gate in gates)
    scenes = len({row.scene for row in gates[0].rows})
    terminal.say(f"Against fp32 in ONNX Runtime, on {scenes} scenes:")
    terminal.say(f"  {'engine':<{width}}  rank correlation mean, worst  score error median, worst  verdict")
    for gate in gates:
        auroc = (
            ""
            if gate.auroc is None or gate.auroc_reference is None
            else f", AUROC {100 * gate.auroc:.2f} (fp32 {100 * gate.auroc_reference:.2f})"
        )
        terminal.say(
            f"  {gate.engine:<{width}}  {gate.rank_correlation_mean:21.4f}, {gate.rank_correlation_min:.4f}"
            f"  {gate.score_error_median:18.2%}, {gate.score_error_max:.2%}  "
            f"{'passed' if gate.passed else 'FAILED'}{auroc}"
        )
