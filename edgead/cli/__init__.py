"""The command line. One thin module a command; what is heavy is imported inside the commands."""

from edgead.cli.app import main, run

__all__ = ["main", "run"]
