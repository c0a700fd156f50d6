"""TensorRT's messages and its progress."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass, field
from typing import Any

from edgead_runtime.tensorrt.api import TensorRT

Progress = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done."""


_LATEST = 16


def ignore_progress(_what: str, _share: float) -> None:
    """For whoever does not look."""


@dataclass
class Messages:
    """What TensorRT said, by severity."""

    errors: MutableSequence[str] = field(default_factory=list)
    warnings: MutableSequence[str] = field(default_factory=list)
    details: MutableSequence[str] = field(default_factory=list)
    """Everything else; with detailed profiling, the layers that it made."""

    @classmethod
    def latest(cls) -> Messages:
        """Of something that goes on for weeks: only the last few are kept."""
        return cls(*(deque(maxlen=_LATEST) for _ in range(3)))

    def last_error(self) -> str:
        """The last thing that went wrong, in one line."""
        return self.errors[-1].strip().splitlines()[0] if self.errors else "TensorRT does not say why"


def make_logger(trt: TensorRT, messages: Messages) -> Any:
    """A logger that fills ``messages``. TensorRT wants an object of its own class, so it is made here."""
    severity = trt.ILogger.Severity
    kept = {
        severity.INTERNAL_ERROR: messages.errors,
        severity.ERROR: messages.errors,
        severity.WARNING: messages.warnings,
    }

    def initialize(self: Any) -> None:
        trt.ILogger.__init__(self)

    def log(_self: Any, level: Any, message: str) -> None:
        kept.get(level, messages.details).append(message)

    return type("EdgeadLogger", (trt.ILogger,), {"__init__": initialize, "log": log})()


def make_monitor(trt: TensorRT, progress: Progress, stopped: list[BaseException]) -> Any:
    """A progress monitor.

    TensorRT calls it from threads of its own, and no exception may pass through there: what ``progress``
    raises, Ctrl-C above all, is put into ``stopped``, and TensorRT told to stop building.
    """
    steps: dict[str, int] = {}

    def tell(phase: str, share: float) -> None:
        try:
            progress(phase, share)
        except BaseException as error:  # noqa: BLE001  (raised again by whoever began the build)
            stopped.append(error)

    def initialize(self: Any) -> None:
        trt.IProgressMonitor.__init__(self)

    def phase_start(_self: Any, phase: str, parent: str | None, num_steps: int) -> None:
        if parent is None or parent in steps:  # phases within phases within phases are noise
            steps[phase] = max(num_steps, 1)
            tell(phase, 0.0)

    def step_complete(_self: Any, phase: str, step: int) -> bool:
        if phase in steps:
            tell(phase, min((step + 1) / steps[phase], 1.0))
        return not stopped

    def phase_finish(_self: Any, phase: str) -> None:
        if phase in steps:
            tell(phase, 1.0)

    methods = {
        "__init__": initialize,
        "phase_start": phase_start,
        "step_complete": step_complete,
        "phase_finish": phase_finish,
    }
    return type("EdgeadProgress", (trt.IProgressMonitor,), methods)()
