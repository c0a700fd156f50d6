"""What a command says, and where: results on stdout, progress and warnings on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from edgead.wording import count_of

if TYPE_CHECKING:
    from edgead_runtime.enrollment import Progress


@dataclass(frozen=True)
class Terminal:
    """How much is said. With ``as_json`` stdout holds one JSON object and nothing else."""

    quiet: bool = False
    as_json: bool = False

    def say(self, text: str = "") -> None:
        """Tell a person something, on stdout."""
        if not (self.quiet or self.as_json):
            typer.echo(text)

    def step(self, name: str) -> None:
        """Tell a person what is being done now, on stderr."""
        if not self.quiet:
            typer.echo(f"{name} ...", err=True)

    def warn(self, text: str) -> None:
        """Tell a person something that matters, on stderr, also when quiet."""
        typer.echo(f"edgead: {text}", err=True)

    def result(self, summary: Mapping[str, Any]) -> None:
        """Print the machine-readable summary, if it was asked for."""
        if self.as_json:
            typer.echo(json.dumps(summary))

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A progress bar a stage on stderr; nothing when quiet or not on a terminal."""
        if self.quiet or not sys.stderr.isatty():
            from edgead_runtime.enrollment import ignore_progress

            yield ignore_progress
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        bars = Bars(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        with bars:
            yield show


_SHOWN = 3


def warn_passed_over(terminal: Terminal, paths: Sequence[Path]) -> None:
    """Say which files in the folders given are not pictures by their suffix, and so are not looked at."""
    from edgead_runtime.images import files_passed_over

    others = files_passed_over(paths)
    if others:
        named = ", ".join(path.name for path in others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
        terminal.warn(
            f"not looked at, since not pictures by their suffix: {count_of(len(others), 'file')} ({named})"
        )
