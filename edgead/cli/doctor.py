"""``edgead doctor``."""

from __future__ import annotations

import typer

from edgead.cli.options import Json


def doctor(as_json: Json = False) -> None:
    """Say what this machine can do, what is in the way, and what to install.

    Every engine is started and given something to compute. The exit code is 1 where none runs.
    """
    from edgead_runtime.command import run_doctor

    code = run_doctor(as_json=as_json)
    if code:
        raise typer.Exit(code)
