"""A recipe: the choices along the way from frame to score that make up a method. Data, not code."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any, Literal

import msgspec

from edgead_runtime.errors import RecipeError

Layers = tuple[int, ...] | Literal["deepest", "all"]
Head = Literal["bank", "subspace"]
ScoreLayers = Literal["last", "all"]
MaskMode = Literal["auto", "on", "off"]
Morphology = Literal["official", "2d"]
MaskSource = Literal["pca", "attention", "area"]
Flip = Literal["horizontal", "vertical", "both"]
AlignMode = Literal["off", "enrolment", "frame"]
ViewReduction = Literal["nearest", "mean"]
Distance = Literal["cosine", "half-cosine"]
Reduction = Literal["nearest", "worst-references"]
BatchRule = Literal["closest-share", "worst-references"]
Statistic = Literal["top-mean", "max", "quantile"]
KeepAs = Literal["fp32", "fp16", "int8"]
MapExtent = Literal["inspected", "frame"]
Point = tuple[float, float]

_MAX_SIGMA_PX = 200
EIGHT_TURNS: tuple[float, ...] = (0.0, 45.0, 90.0, 135.0, 180.0, 225.0, 270.0, 315.0)


@dataclass(frozen=True)
class Recipe:
    """The choices of one method. Frozen; change one with :meth:`with_`.

    Raises:
        RecipeError: A value is outside its range, or two contradict each other.
    """

    name: str
    summary: str
    source: str
    """Paper and section."""

    # Features
    layers: Layers = "deepest"
    """Blocks whose outputs make the features, counted from 1, each with a memory of its own; their distances
    are averaged. ``deepest``: of those that the encoder gives; ``all`` of those. The mask is made from the
    last one named."""
    score_layers: ScoreLayers = "last"
    """With several layers: whether the image score comes from the ``last`` one named, or from ``all``, as the
    map does."""

    # The good pictures
    rotations_deg: tuple[float, ...] = EIGHT_TURNS
    """Turns in which every reference enters the bank; the first must be 0."""
    flips: tuple[Flip, ...] = ()
    """Mirrored copies of every reference that enter the bank beside its turns; ``both`` is the half turn."""
    align: AlignMode = "off"
    """Bring every reference to the place and angle of the first (``enrolment``), or of each frame (``frame``,
    which encodes every reference anew for every frame). The aligned copy enters beside the reference as
    taken, and turns and flips are made from it."""

    # From patches to distances
    head: Head = "bank"
    """``bank``: distance to the nearest of all normal patches; ``subspace``: to the subspace they span."""
    subspace_components: int = 64
    """Principal components of the normal patches that the subspace keeps."""
    distance: Distance = "cosine"
    """``cosine`` is 1 - cos, ``half-cosine`` (1 - cos) / 2; only the scale differs."""
    neighbours: int = 1
    """A patch's distance is the mean of those to its k nearest in the bank (or view, or reference)."""
    view_reduction: ViewReduction = "nearest"
    """How the views of a reference (turned, flipped, aligned) count: the ``nearest`` patch of any, or the
    ``mean`` over the views of the distance to each."""
    reduction: Reduction = "nearest"
    """``nearest`` searches the whole bank; ``worst-references`` takes the mean over the references a patch is
    farthest from, so that one odd reference cannot excuse a defect."""
    worst_share: float = 0.3
    """Share of the references that ``worst-references`` takes, at least one."""
    worst_count: int | None = None
    """How many ``worst-references`` takes, where that is given instead of a share."""
    coreset: float = 1.0
    """Patches to keep of all references together: a share of them up to 1, or their number. Those are kept
    that stand for the others best (greedy k-center)."""
    merge_within: float = 0.0
    """Patches whose difference from one that is kept is no longer than this are left out: no cosine distance
    grows by more. 0 leaves out none."""
    keep_as: KeepAs = "fp32"
    """What a patch is kept in: fp16 halves a detector's file, int8 quarters it. Searched in float32."""
    batch_rule: BatchRule = "closest-share"
    """How a picture is compared with all the others of its batch where there is no reference.
    ``closest-share`` takes each patch's closest share of all the patches there are; ``worst-references`` its
    closest patch in each picture, and of these the mean over the pictures it is farthest from."""
    batch_share: float = 0.001
    """That share: of the patches, or of the pictures; at least one."""

    # The mask
    mask: MaskMode = "auto"
    """``auto`` lets the masking test decide once, at enrolment; an area that was drawn is taken as it is."""
    mask_from: MaskSource = "pca"
    """``pca``: first principal component of the tokens; ``attention``: of CLS to patches, min-max scaled;
    ``area``: drawn by a person."""
    mask_image: str = ""
    """For ``area``: a picture of the size of the frames (or their aspect), white where to inspect. Read once,
    at enrolment; in a file of its own beside a recipe's TOML file."""
    mask_polygon: tuple[Point, ...] = ()
    """For ``area``: corners (x, y) of the polygon to inspect, as shares of the frame's width and height."""
    background_weight: float = 0.0
    """What the distances outside the mask are multiplied by: 0 deletes them, 0.5 damps them."""
    mask_morphology: Morphology = "official"
    """``official`` dilates along raster order as the authors' release does; ``2d`` as was meant."""
    mask_threshold: float | None = None
    """On what the mask is made from; ``None``: for ``pca`` the encoder's own, else Otsu's; for ``attention``
    0.05."""

    # From distances to score and map
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
        for problem, remedy in _faults(self):
            raise RecipeError(f"recipe '{self.name}': {problem}", remedy)

    @property
    def asks_for_nearest(self) -> bool:
        """Whether a patch's distance is that to the nearest of all that is kept, which stays as enrolled."""
        return (
            self.head == "bank"
            and (self.reduction, self.view_reduction, self.neighbours) == ("nearest", "nearest", 1)
            and self.align != "frame"
        )

    def with_(self, **changes: Any) -> Recipe:
        """The same recipe with ``changes``; checked again.

        Raises:
            RecipeError: A name is unknown or a value is outside its range.
        """
        return recipe_from_dict({**asdict(self), **changes})


def _faults(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """What is wrong with a recipe, and what to do about it."""
    named = recipe.layers
    if not isinstance(named, str) and (not named or len(set(named)) != len(named) or min(named) < 1):
        yield f"layers {list(named)} make no sense", "Name each once, counted from 1."
    if not recipe.rotations_deg or recipe.rotations_deg[0] != 0:
        yield (
            f"rotations must begin with 0, got {recipe.rotations_deg}",
            "Put 0 first: it is the reference as it was taken.",
        )
    if not all(math.isfinite(angle) for angle in recipe.rotations_deg):
        yield "a rotation is not a number", "Give degrees."
    for name in ("worst_share", "batch_share", "top_fraction"):
        if not 0 < getattr(recipe, name) <= 1:
            yield f"{name} is {getattr(recipe, name)}", "Give a share above 0, up to 1."
    if not (0 < recipe.coreset <= 1 or (recipe.coreset > 1 and float(recipe.coreset).is_integer())):
        yield f"coreset is {recipe.coreset}", "Give a share above 0, up to 1, or a whole number of patches."
    if not 0 <= recipe.merge_within < 1:
        yield f"merge_within is {recipe.merge_within}", "Give a length from 0, such as 0.01."
    if not 0 <= recipe.background_weight <= 1:
        yield f"background_weight is {recipe.background_weight}", "Give a share from 0 to 1."
    for name in ("neighbours", "worst_count", "subspace_components"):
        if getattr(recipe, name) is not None and getattr(recipe, name) < 1:
            yield f"{name} is {getattr(recipe, name)}", "Give 1 or more."
    if not 0 <= recipe.smoothing_sigma_px <= _MAX_SIGMA_PX:
        yield (
            f"smoothing_sigma_px is {recipe.smoothing_sigma_px}",
            f"Give 0 (no smoothing) to {_MAX_SIGMA_PX} pixels of the frame; the paper has 4.",
        )
    yield from _mask_faults(recipe)
    yield from _contradictions(recipe)


def _mask_faults(recipe: Recipe) -> Iterator[tuple[str, str]]:
    if recipe.mask_threshold is not None and not math.isfinite(recipe.mask_threshold):
        yield (
            f"mask_threshold {recipe.mask_threshold} is not a number",
            "Give one, or leave it out to have it chosen.",
        )
    elif recipe.mask_threshold is not None and recipe.mask_from == "attention" and recipe.mask_threshold >= 1:
        yield (
            f"mask_threshold {recipe.mask_threshold} leaves nothing to inspect: attention is scaled to 0..1",
            "Give a share below 1; the paper has 0.05.",
        )
    if not all(0 <= share <= 1 for corner in recipe.mask_polygon for share in corner):
        yield (
            "a corner of mask_polygon is outside the frame",
            "Give shares from 0 to 1 of its width and height.",
        )
    drawn = bool(recipe.mask_image), bool(recipe.mask_polygon)
    if any(drawn) and recipe.mask == "off":
        yield "an area to inspect is drawn and masking is off", "Leave mask out, or the area."
    if recipe.mask_from == "area" and recipe.mask != "off" and sum(drawn) != 1:
        yield (
            f"an area to inspect is asked for and {'given twice' if all(drawn) else 'not given'}",
            "Give either mask_image or mask_polygon.",
        )
    if recipe.mask_from != "area" and any(drawn):
        yield f"an area is drawn, but the mask is from {recipe.mask_from}", 'Add mask_from = "area".'
    if 0 < len(recipe.mask_polygon) < 3:
        yield f"mask_polygon has {len(recipe.mask_polygon)} corners", "Give three or more."


def _contradictions(recipe: Recipe) -> Iterator[tuple[str, str]]:
    if (recipe.coreset != 1 or recipe.merge_within) and not recipe.asks_for_nearest:
        yield (
            "leaving patches out (coreset, merge_within) needs distances to the nearest patch alone",
            "Leave them out, or neighbours, reduction, view_reduction, align = 'frame' and the subspace.",
        )
    if recipe.head == "subspace" and recipe.keep_as != "fp32":
        yield "a subspace keeps no patches, in no precision", "Leave keep_as out."
    if recipe.head == "subspace":
        bank_only = {"align": "off", "neighbours": 1, "view_reduction": "nearest", "reduction": "nearest"}
        for name, only in bank_only.items():
            if getattr(recipe, name) not in (only, "enrolment"):
                yield (
                    f"{name} = {getattr(recipe, name)!r} needs single references, which a subspace has not",
                    f"Leave {name} out, or choose head = 'bank'.",
                )


def recipe_from_dict(fields: dict[str, Any]) -> Recipe:
    """Read a recipe from plain data (a manifest, a TOML table), strictly.

    Raises:
        RecipeError: A field is unknown, of the wrong type or out of range.
    """
    known = list(Recipe.__dataclass_fields__)
    unknown = sorted(set(fields) - set(known))
    if unknown:
        close = [name for each in unknown for name in get_close_matches(each, known, 1)]
        meant = f"Did you mean {', '.join(close)}? " if close else ""
        raise RecipeError(
            f"recipe has no field {', '.join(unknown)}", f"{meant}The fields are: {', '.join(known)}."
        )
    try:
        recipe = msgspec.convert(fields, Recipe)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise RecipeError(f"recipe is not valid ({error})", "Correct that field.") from error
    for name in ("name", "summary", "source", "mask_image"):
        try:
            getattr(recipe, name).encode()
        except UnicodeEncodeError as error:
            # It could not be written into a bundle, which would be found out after all the work.
            raise RecipeError(f"the recipe's {name} cannot be written as UTF-8", "Rename it.") from error
    return recipe
