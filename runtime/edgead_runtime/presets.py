"""The recipes that come with edgead, and recipes from files. A new one is one entry of the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from edgead_runtime.errors import RecipeError
from edgead_runtime.recipe import Recipe

_ANOMALYDINO = Recipe(
    name="anomalydino",
    summary="Nearest patch in a bank of rotated references; PCA mask; mean of the top 1 %.",
    source="AnomalyDINO (arXiv 2405.14529), section 3; 'agnostic' augmentation",
)
_PATCHEAD = Recipe(
    name="patchead",
    summary="Nearest patch in a bank of plain references; no mask, no smoothing; top 1 %.",
    source="PatchEAD (arXiv 2509.25856), few-shot, as its authors released it",
    rotations_deg=(0.0,),
    distance="half-cosine",
    batch_rule="worst-references",
    batch_share=0.3,
    mask="off",
    smoothing_sigma_px=0.0,
)
_PATCHEAD_PLUS = replace(
    _PATCHEAD,
    name="patchead+",
    summary="As patchead, with every reference also aligned to each frame and turned by 180 degrees (the "
    "three averaged), and the background damped by attention. Slow: two encodings a reference and frame.",
    source="PatchEAD (arXiv 2509.25856), section 3.3 and 4.2",
    flips=("both",),
    align="frame",
    view_reduction="mean",
    mask="on",
    mask_from="attention",
    background_weight=0.5,
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        _ANOMALYDINO,
        replace(
            _ANOMALYDINO,
            name="anomalydino-informed",
            summary="As anomalydino for parts that never turn: no rotations, an eighth of the bank.",
            source="AnomalyDINO (arXiv 2405.14529), section 3; 'informed' augmentation",
            rotations_deg=(0.0,),
        ),
        replace(
            _ANOMALYDINO,
            name="anomalydino-layers",
            summary="As anomalydino, with the map averaged over all layers that the encoder gives (export "
            "two, the deepest and one at two thirds of its depth); the score is of the deepest alone.",
            source="AnomalyDINO, with layers averaged [ours]; measured in docs/recipes.md",
            layers="all",
        ),
        replace(
            _ANOMALYDINO,
            name="subspace",
            summary="As anomalydino, with a subspace of 64 components in place of the bank: a fraction of "
            "the size, the same time for any number of pictures, less accurate.",
            source="ours; measured in docs/recipes.md",
            head="subspace",
        ),
        _PATCHEAD,
        _PATCHEAD_PLUS,
        replace(
            _PATCHEAD_PLUS,
            name="patchead+once",
            summary="As patchead+, with the references aligned to the first one at enrolment instead of to "
            "each frame, which then takes one encoding.",
            source="PatchEAD (arXiv 2509.25856), section 3.3, with the alignment moved to enrolment",
            align="enrolment",
        ),
    )
}


def find_recipe(name_or_file: str) -> Recipe:
    """A preset by name, or a recipe from a TOML file.

    A file holds fields of :class:`Recipe`; ``base`` names the preset that gives the others (by default
    ``anomalydino``), and ``name`` defaults to the file's. A ``mask_image`` is sought beside the file.

    Raises:
        RecipeError: There is no such preset or file, or the file is no recipe.
    """
    path = Path(name_or_file)
    if path.suffix != ".toml":
        return get_recipe(name_or_file)
    try:
        fields = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise RecipeError(
            f"cannot read recipe {path}: {error.strerror or error}", "Check the path."
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(
            f"{path} is not TOML ({error})", "Write lines such as: top_fraction = 0.02"
        ) from error
    base = get_recipe(str(fields.pop("base", _ANOMALYDINO.name)))
    if isinstance(fields.get("mask_image"), str) and fields["mask_image"]:
        fields["mask_image"] = str((path.parent / fields["mask_image"]).resolve())
    file, stem = (text.encode(errors="replace").decode() for text in (path.name, path.stem))
    own = {"name": stem, "summary": f"{base.name}, changed by {file}", "source": file}
    return base.with_(**{**own, **fields})


def get_recipe(name: str) -> Recipe:
    """A preset by name.

    Raises:
        RecipeError: There is none of that name.
    """
    try:
        return RECIPES[name]
    except KeyError:
        raise RecipeError(f"unknown recipe '{name}'", f"Choose one of: {', '.join(RECIPES)}.") from None
