"""Options that several commands share."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

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
Engine = Annotated[
    str,
    typer.Option(help="auto (the one that measures fastest here), onnxruntime, openvino or tensorrt."),
]


class EnginePrecision(str, Enum):
    """Choices of ``--precision``."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"
    FP16 = "fp16"
    FP8 = "fp8"


Precision = Annotated[
    EnginePrecision,
    typer.Option(
        help="bf16: faster where the processor has it. int8, and for GPUs fp16 and fp8: where the encoder "
        "was exported with them. Scores change a little."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="Threads of the engine.", show_default="the engine's choice"),
]
Rebuild = Annotated[
    bool,
    typer.Option(
        "--rebuild", help="Build a TensorRT engine that is missing or does not fit; takes minutes, once."
    ),
]
Index = Annotated[
    str,
    typer.Option(
        help="How the bank is searched: auto (what measures fastest here without changing scores), exact, "
        "engine (exact too, in the encoder's engine), clusters or hnsw."
    ),
]
RecipeName = Annotated[
    str, typer.Option(help="Method (`edgead recipes` lists them), or a TOML file of your own.")
]
RecipeSettings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change any field of the recipe; may be repeated."),
]


def parse_layers(texts: list[str]) -> tuple[int, ...]:
    """``["6,9", "12"]`` -> ``(6, 9, 12)``.

    Raises:
        BadParameter: One is not a number.
    """
    names = [name.strip() for text in texts for name in text.split(",")]
    if not all(name.isdecimal() for name in names):
        raise typer.BadParameter(
            f"--layers {','.join(texts)} is not a list of block numbers such as 9 or 6,9"
        )
    return tuple(int(name) for name in names)


def parse_names(texts: list[str]) -> tuple[str, ...]:
    """``["fp32,int8", "fp16"]`` -> ``("fp32", "int8", "fp16")``."""
    return tuple(name.strip() for text in texts for name in text.split(",") if name.strip())


def parse_settings(texts: list[str] | None) -> dict[str, Any]:
    """``["neighbours=3", "statistic=max"]`` as fields of a recipe; a value is TOML, or a bare word.

    Raises:
        RecipeError: There is no name, or it is set twice.
    """
    import msgspec
    from edgead_runtime.errors import RecipeError

    changes: dict[str, Any] = {}
    for text in texts or []:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name or name in changes:
            raise RecipeError(
                f"--set {text} {'sets it again' if name in changes else 'is not NAME=VALUE'}",
                "Write, for example, --set neighbours=3.",
            )
        try:
            changes[name] = msgspec.toml.decode(f"value = {value}")["value"]
        except msgspec.DecodeError:
            changes[name] = value
        except RecursionError as error:
            raise RecipeError(f"--set {name} is nested too deeply", "Give a plain value.") from error
    return changes


def area_changes(image: Path | None, polygon: str | None) -> dict[str, Any]:
    """The fields of a recipe that inspects nothing but an area that a person drew; empty where there is none.

    Raises:
        RecipeError: The polygon is not a list of corners.
    """
    from edgead_runtime.errors import RecipeError

    if image is None and polygon is None:
        return {}
    try:
        corners = [tuple(float(share) for share in corner.split(",")) for corner in (polygon or "").split()]
    except ValueError:
        corners = [()]
    if any(len(corner) != 2 for corner in corners):
        raise RecipeError(
            f"--area-polygon {polygon} is not a list of corners",
            'Write corners as shares of width and height: "0.1,0.1 0.9,0.1 0.5,0.9".',
        )
    return {
        "mask": "on",
        "background_weight": 0.0,
        "mask_from": "area",
        "mask_image": "" if image is None else str(image),
        "mask_polygon": corners,
    }
