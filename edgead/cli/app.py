"""The application: its commands, and the one place where failures become exit codes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edgead._version import __version__
from edgead.cli import exit_codes
from edgead.cli.bench import bench
from edgead.cli.demo import demo
from edgead.cli.detect import detect
from edgead.cli.diff import EXPLANATION as DIFF_EXIT_CODES
from edgead.cli.diff import diff
from edgead.cli.doctor import doctor
from edgead.cli.enroll import enroll
from edgead.cli.evaluate import SeveralValues, evaluate
from edgead.cli.export import export
from edgead.cli.failures import InterruptedByUserError, OutputClosedError, report_failure
from edgead.cli.help_pages import tidied
from edgead.cli.recipes import recipes
from edgead.cli.run import run_command
from edgead.cli.screen import screen
from edgead.cli.tune import EXPLANATION as TUNE_EXIT_CODES
from edgead.cli.tune import tune
from edgead.cli.verify import verify


class _Commands(TyperGroup):
    """Lets Ctrl-C and a closed pipe through to :func:`run`, where typer would end the process itself."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise InterruptedByUserError from error
        except BrokenPipeError as error:
            raise OutputClosedError from error


app = typer.Typer(
    name="edgead",
    cls=_Commands,
    help="A few good pictures in, an inspection loop out: training-free visual anomaly detection.",
    epilog=exit_codes.EXPLANATION,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Say the version, or what there is to do."""
    if version:
        typer.echo(f"edgead {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command(cls=SeveralValues, epilog=exit_codes.DONE)(export)
app.command(epilog=exit_codes.DONE)(enroll)
app.command(epilog=exit_codes.EXPLANATION)(detect)
app.command(epilog=exit_codes.EXPLANATION)(screen)
app.command("run", epilog=exit_codes.RUN)(run_command)
app.command("eval", cls=SeveralValues, epilog=exit_codes.EVALUATED)(evaluate)
app.command(epilog=exit_codes.DONE)(demo)
app.command(epilog=exit_codes.VERIFIED)(verify)
app.command(epilog=exit_codes.DONE)(bench)
app.command(epilog=TUNE_EXIT_CODES)(tune)
app.command(epilog=DIFF_EXIT_CODES)(diff)
app.command()(recipes)
app.command()(doctor)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: Without the program's name; by default those of the process.

    Returns:
        The exit code; see :mod:`edgead.cli.exit_codes`.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A terminal that lacks a letter of a file name is no reason to lose the results.
            stream.reconfigure(errors="backslashreplace")
    try:
        outcome = tidied(typer.main.get_command(app)).main(
            args=None if arguments is None else list(arguments), prog_name="edgead", standalone_mode=False
        )
        sys.stdout.flush()
    except BrokenPipeError as error:
        return report_failure(OutputClosedError(error))
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (this is where all failures end)
        return report_failure(error)
    return outcome if isinstance(outcome, int) else exit_codes.OK


def main() -> None:
    """Entry point of the ``edgead`` command."""
    # Being stopped by a service manager is to leave as little behind as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = run()
    if code == exit_codes.OUTPUT_CLOSED:
        # The interpreter flushes stdout once more on its way out, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
