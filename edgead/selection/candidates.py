"""What may be changed in a recipe to fit a part: a table. A further candidate is a further entry."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from edgead_runtime import Encoder, Recipe
from edgead_runtime.errors import RecipeError
from edgead_runtime.recipe import EIGHT_TURNS


@dataclass(frozen=True)
class Candidate:
    """One change of a recipe."""

    name: str
    """Short, for tables."""
    words: str
    """What is other than in the base, to go after "with"."""
    changes: Mapping[str, Any]
    """Fields of :class:`Recipe` and their values."""


BASE = Candidate("base", "nothing changed", {})

CANDIDATES: tuple[Candidate, ...] = (
    Candidate("no turns", "every good picture as it was taken only", {"rotations_deg": EIGHT_TURNS[:1]}),
    Candidate("eight turns", "every good picture in eight turns", {"rotations_deg": EIGHT_TURNS}),
    Candidate("no mask", "the whole picture inspected", {"mask": "off"}),
    Candidate("auto mask", "the mask that the masking test decides on", {"mask": "auto"}),
    Candidate("1 neighbour", "the distance to the nearest patch", {"neighbours": 1}),
    Candidate("3 neighbours", "the mean distance to the three nearest patches", {"neighbours": 3}),
    Candidate(
        "top 1 %",
        "the score from the top 1 % of the patches",
        {"statistic": "top-mean", "top_fraction": 0.01},
    ),
    Candidate(
        "top 3 %",
        "the score from the top 3 % of the patches",
        {"statistic": "top-mean", "top_fraction": 0.03},
    ),
    Candidate("subspace", "a subspace in place of the bank", {"head": "subspace"}),
    Candidate("maximum", "the score from the one most unusual patch", {"statistic": "max"}),
)
"""Each is tried alone. One that changes nothing of the base at hand is passed over, so a setting that presets
differ in has an entry for either side."""

_DEPENDENT: Mapping[str, tuple[str, ...]] = {
    "mask": ("mask_threshold", "mask_morphology", "mask_from", "background_weight"),
    "statistic": ("top_fraction",),
}
"""Fields that a person who sets them wants to have an effect: who sets the mask's threshold wants a mask."""


def candidates_for(encoder: Encoder, base: Recipe, fixed: Collection[str] = ()) -> tuple[Candidate, ...]:
    """The changes that mean something for this encoder and recipe; the base itself comes first.

    Args:
        encoder: Says which layers there are.
        base: What is changed.
        fixed: Fields of :class:`Recipe` that a person has set; nothing that touches them is tried.
    """
    changing = [
        candidate
        for candidate in (*CANDIDATES, *_layers(encoder, base))
        if not _touched(candidate) & _fixed(base, fixed) and _is_another(base, candidate)
    ]
    return (BASE, *changing)


def _fixed(base: Recipe, fixed: Collection[str]) -> set[str]:
    """What a person has set; who draws an area means it."""
    return {*fixed, "mask"} if base.mask_from == "area" else set(fixed)


def _is_another(base: Recipe, candidate: Candidate) -> bool:
    """Whether it changes the base into a recipe that there can be."""
    try:
        return base.with_(**candidate.changes) != base
    except RecipeError:  # no subspace of a recipe that needs single references
        return False


def _touched(candidate: Candidate) -> set[str]:
    """The fields that it changes, and those that mean nothing afterwards."""
    return set(candidate.changes).union(*(_DEPENDENT.get(name, ()) for name in candidate.changes))


def _layers(encoder: Encoder, base: Recipe) -> list[Candidate]:
    """Every other layer that the encoder gives, from the deepest: alone, and averaged with the base's."""
    used = [output.layer for output in encoder.feature_outputs(base.layers)]
    others = sorted({output.layer for output in encoder.manifest.features} - set(used), reverse=True)
    alone = [
        Candidate(f"layer {layer}", f"features of block {layer}", {"layers": (layer,)}) for layer in others
    ]
    averaged = [
        Candidate(
            f"layers {'+'.join(map(str, (layer, *used)))}",
            f"the map averaged with that of block {layer}",
            {"layers": (layer, *used), "score_layers": "last"},
        )
        for layer in others
        if layer < used[-1]
    ]
    return alone + averaged
