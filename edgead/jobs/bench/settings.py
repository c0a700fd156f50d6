"""What is measured: a detector and how it is run; and another one, said as options beside the first."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, get_args

from edgead_runtime import Detector
from edgead_runtime.errors import EdgeadError
from edgead_runtime.index import AUTO
from edgead_runtime.manifest import Precision

_EXAMPLE = '--compare "--engine openvino --precision bf16"'


@dataclass(frozen=True)
class Setting:
    """A detector file and how it is run."""

    detector: Path
    encoder: Path | None = None
    engine: str = "auto"
    precision: Precision = "fp32"
    threads: int | None = None
    index: str = AUTO
    any_size: bool = False

    def load(self) -> Detector:
        """Load the detector.

        Raises:
            BundleError: It or its encoder is missing or damaged.
            EngineUnavailableError: Its engine or precision is not on this machine.
        """
        return Detector.load(
            self.detector,
            encoder=self.encoder,
            engine=self.engine,
            precision=self.precision,
            threads=self.threads,
            index=self.index,
            any_size=self.any_size,
        )


class _Options(argparse.ArgumentParser):
    """Raises where argparse would print and end the process."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _parser() -> _Options:
    options = _Options(prog="--compare", add_help=False, allow_abbrev=False)
    options.add_argument("--detector", type=Path)
    options.add_argument("--encoder", type=Path)
    options.add_argument("--engine")
    options.add_argument("--precision", choices=get_args(Precision))
    options.add_argument("--threads", type=int)
    options.add_argument("--index")
    return options


def parse_compared(text: str, base: Setting) -> Setting:
    """The base setting with what ``text`` changes, e.g. ``--engine onnxruntime --threads 1``.

    Args:
        text: Options as on the command line; ``--detector`` names another detector.
        base: What is not said is as in this.

    Raises:
        EdgeadError: It is not such options, or changes nothing.
    """
    try:
        parsed: dict[str, Any] = vars(_parser().parse_args(shlex.split(text)))
    except ValueError as error:
        raise EdgeadError(f"--compare {text!r}: {error}", f"Write, for example, {_EXAMPLE}.") from error
    changes = {name: value for name, value in parsed.items() if value is not None}
    if changes.get("threads", 1) < 1:
        raise EdgeadError(f"--compare {text!r}: threads are at least 1", "Give --threads 1 or more.")
    if "detector" in changes and "encoder" not in changes:
        changes["encoder"] = None  # the other detector's own
    compared = replace(base, **changes)
    if compared == base:
        raise EdgeadError(
            f"--compare {text!r} is the setting it would be compared with",
            f"Change an option, for example {_EXAMPLE}.",
        )
    return compared
