"""A recipe: the choices along the way from frame to score that make up a method. Data, not code."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgead_runtime.errors import RecipeError

MaskMode = Literal["auto", "on", "off"]
Morphology = Literal["official", "2d"]
MaskSource = Literal["pca", "attention"]
Flip = Literal["horizontal", "vertical"]
Distance = Literal["cosine", "half-cosine"]
Reduction = Literal["nearest", "worst-references"]
BatchRule = Literal["closest-share", "worst-references"]
Statistic = Literal["top-mean", "max", "quantile"]
MapExtent = Literal["inspected", "frame"]

_MAX_SIGMA_PX = 200
EIGHT_TURNS: tuple[float, ...] = (0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0)


@dataclass(frozen=True)
class Recipe:
    """The choices of one method. Frozen; change one with :func:`dataclasses.replace` or ``with_``.

    Raises:
        RecipeError: A value is outside its range.
    """

    name: str
    summary: str
    source: str
    """Paper and section."""
    layer: int | None = None
    """Block whose output makes the features, counted from 1; ``None``: the encoder's deepest."""
    rotations_deg: tuple[float, ...] = EIGHT_TURNS
    """Turns in which every reference enters the bank; the first must be 0."""
    flips: tuple[Flip, ...] = ()
    """Mirrored copies of every reference that enter the bank beside its turns."""
    distance: Distance = "cosine"
    """``cosine`` is 1 - cos, ``half-cosine`` (1 - cos) / 2; only the scale differs."""
    neighbours: int = 1
    """A patch's distance is the mean of those to its k nearest in the bank (or in each reference)."""
    reduction: Reduction = "nearest"
    """``nearest`` searches the whole bank; ``worst-references`` takes the mean over the references a patch is
    farthest from, so that one odd reference cannot excuse a defect."""
    worst_share: float = 0.3
    """Share of the references that ``worst-references`` takes, at least one."""
    batch_rule: BatchRule = "closest-share"
    """How a picture is compared with all the others of its batch where there is no reference.
    ``closest-share`` takes each patch's closest share of all the patches there are; ``worst-references`` its
    closest patch in each picture, and of these the mean over the pictures it is farthest from."""
    batch_share: float = 0.001
    """That share: of the patches, or of the pictures; at least one."""
    mask: MaskMode = "auto"
    """``auto`` lets the masking test decide once, at enrolment."""
    mask_from: MaskSource = "pca"
    """``pca``: first principal component of the tokens; ``attention``: of CLS to patches, min-max scaled."""
    background_weight: float = 0.0
    """What the distances outside the mask are multiplied by: 0 deletes them, 0.5 damps them."""
    mask_morphology: Morphology = "official"
    """``official`` dilates along raster order as the authors' release does; ``2d`` as was meant."""
    mask_threshold: float | None = None
    """On what the mask is made from; ``None``: for ``pca`` the encoder's own, else Otsu's; for ``attention``
    0.05."""
    top_fraction: float = 0.01
    """Share of the patches that the image score is made from."""
    statistic: Statistic = "top-mean"
    """``top-mean``: mean of the top share; ``quantile``: the distance that the top share exceeds; ``max``."""
    smoothing_sigma_px: float = 4.0
    """Gaussian on the map, in pixels of the frame; 0 for none."""
    map_extent: MapExtent = "inspected"
    """Where an encoder crops its frames: ``inspected`` puts the map over the part that was seen; ``frame``
    stretches it over the whole frame as the authors' release does, which shifts it by up to a patch."""

    def __post_init__(self) -> None:
        if not self.rotations_deg or self.rotations_deg[0] != 0:
            raise RecipeError(
                f"recipe '{self.name}': rotations must begin with 0, got {self.rotations_deg}",
                "Put 0 first: it is the reference as it was taken.",
            )
        if not all(math.isfinite(angle) for angle in self.rotations_deg):
            raise RecipeError(f"recipe '{self.name}': a rotation is not a number", "Give degrees.")
        if self.mask_threshold is not None and not math.isfinite(self.mask_threshold):
            raise RecipeError(
                f"recipe '{self.name}': mask_threshold {self.mask_threshold} is not a number",
                "Give one, or leave it out to have it chosen.",
            )
        for name in ("worst_share", "batch_share", "background_weight"):
            value = getattr(self, name)
            if not 0 <= value <= 1 or (name != "background_weight" and value == 0):
                raise RecipeError(f"recipe '{self.name}': {name} is {value}", "Give a share between 0 and 1.")
        if self.neighbours < 1:
            raise RecipeError(f"recipe '{self.name}': neighbours is {self.neighbours}", "Give 1 or more.")
        if not 0 < self.top_fraction <= 1:
            raise RecipeError(
                f"recipe '{self.name}': top_fraction {self.top_fraction} is not in (0, 1]",
                "The paper has 0.01.",
            )
        if not 0 <= self.smoothing_sigma_px <= _MAX_SIGMA_PX:
            raise RecipeError(
                f"recipe '{self.name}': smoothing_sigma_px is {self.smoothing_sigma_px}",
                f"Give 0 (no smoothing) to {_MAX_SIGMA_PX} pixels of the frame; the paper has 4.",
            )

    def with_(self, **changes: Any) -> Recipe:
        """The same recipe with ``changes``; checked again.

        Raises:
            RecipeError: A name is unknown or a value is outside its range.
        """
        return recipe_from_dict({**asdict(self), **changes})


def recipe_from_dict(fields: dict[str, Any]) -> Recipe:
    """Read a recipe from plain data (a manifest, a TOML table), strictly.

    Raises:
        RecipeError: A field is unknown, of the wrong type or out of range.
    """
    unknown = set(fields) - set(Recipe.__dataclass_fields__)
    if unknown:
        raise RecipeError(
            f"recipe has no field {', '.join(sorted(unknown))}",
            f"The fields are: {', '.join(Recipe.__dataclass_fields__)}.",
        )
    try:
        return msgspec.convert(fields, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(f"recipe is not valid ({error})", "Correct that field.") from error


ANOMALYDINO = Recipe(
    name="anomalydino",
    summary="Nearest patch in a bank of rotated references; PCA mask; mean of the top 1 %.",
    source="AnomalyDINO (arXiv 2405.14529), section 3; 'agnostic' augmentation",
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        ANOMALYDINO,
        replace(
            ANOMALYDINO,
            name="anomalydino-informed",
            summary="As anomalydino for parts that never turn: no rotations, an eighth of the bank.",
            source="AnomalyDINO (arXiv 2405.14529), section 3; 'informed' augmentation",
            rotations_deg=(0.0,),
        ),
        Recipe(
            name="patchead",
            summary="Nearest patch in a bank of plain references; no mask, no smoothing; top 1 %.",
            source="PatchEAD (arXiv 2509.25856), few-shot, as its authors released it",
            rotations_deg=(0.0,),
            distance="half-cosine",
            batch_rule="worst-references",
            batch_share=0.3,
            mask="off",
            smoothing_sigma_px=0.0,
        ),
    )
}


def find_recipe(name_or_file: str) -> Recipe:
    """A preset by name, or a recipe from a TOML file.

    A file holds fields of :class:`Recipe`; ``base`` names the preset that gives the others (by default
    ``anomalydino``), and ``name`` defaults to the file's.

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
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"{path} is not TOML ({error})", "Write lines such as: top_fraction = 0.02"
        ) from error
    base = get_recipe(str(fields.pop("base", ANOMALYDINO.name)))
    own = {"name": path.stem, "summary": f"{base.name}, changed by {path.name}", "source": path.name}
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
