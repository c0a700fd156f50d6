"""Options that several commands share."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer


class MaskChoice(str, Enum):
    """Choices of ``--mask``."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but warnings and errors.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON summary on stdout and nothing else there.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what an earlier run wrote.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads of the engine.", show_default="the engine's choice"),
]
RecipeName = Annotated[
    str, typer.Option(help="Method (`edgead recipes` lists them), or a TOML file of your own.")
]
