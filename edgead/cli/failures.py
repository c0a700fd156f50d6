"""Every failure as one line that says what is wrong and what to do."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import typer

from edgead.cli import exit_codes

DEBUG_VARIABLE = "EDGEAD_DEBUG"

# Typer has moved its copy of click about; its base of all usage errors is the parent of this public one.
UsageError = typer.BadParameter.__bases__[0]


class InterruptedByUserError(Exception):
    """Ctrl-C; an exception of its own because typer swallows KeyboardInterrupt."""


class OutputClosedError(Exception):
    """Whoever read the output has gone (``edgead ... | head``)."""


def report_failure(error: BaseException) -> int:
    """Print one line about a failure on stderr.

    Returns:
        The exit code it deserves.
    """
    from edgead_runtime.errors import EdgeadError
    from edgead_runtime.files import output_error

    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    if isinstance(error, OutputClosedError):
        return exit_codes.OUTPUT_CLOSED
    if isinstance(error, InterruptedByUserError | KeyboardInterrupt | typer.Abort):
        return _say("interrupted; nothing half-written", exit_codes.INTERRUPTED)
    if isinstance(error, EdgeadError):
        return _say(str(error), exit_codes.WRONG)
    if isinstance(error, UsageError):
        return _say(_usage(error), exit_codes.WRONG)
    if isinstance(error, OSError) and error.errno is not None:
        return _say(str(output_error(Path(error.filename or "a file"), error)), exit_codes.WRONG)
    if isinstance(error, MemoryError):
        return _say("the memory is full. Give smaller pictures, or a smaller --res.", exit_codes.WRONG)
    return _say(
        f"unexpected {type(error).__name__}: {error}. "
        f"This is a bug: run it again with {DEBUG_VARIABLE}=1 and report what it prints.",
        exit_codes.BUG,
    )


def _usage(error: BaseException) -> str:
    problem = error.format_message() if hasattr(error, "format_message") else str(error)
    problem = problem.replace(": Value error, ", ": ")  # how newer versions of typer begin what was wrong
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "edgead"
    end = "" if problem.endswith("?") else "."
    return f"{problem.rstrip('.')}{end} See `{command} --help`."


def _say(message: str, code: int) -> int:
    # A file name may hold a line break; a message is one line all the same.
    print("edgead: " + " ".join(message.split()), file=sys.stderr)
    return code
