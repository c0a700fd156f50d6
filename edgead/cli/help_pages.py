"""How the help pages read, whatever typer's version makes of their texts."""

from __future__ import annotations

import inspect
from typing import Any


def tidied(command: Any) -> Any:
    """Mend what typer would print of a command, or of a group and all commands in it.

    A docstring is wrapped for whoever reads the code; printed as it stands its lines would break in the
    middle of a sentence. And a switch takes no value, so none is to be shown beside it (newer versions of
    typer put ``<bool>`` there).

    Args:
        command: From ``typer.main.get_command``.

    Returns:
        The same command.
    """
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    command.help = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    context = command.context_class(command, info_name=command.name)
    for parameter in command.get_params(context):
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    for member in getattr(command, "commands", {}).values():
        tidied(member)
    return command
