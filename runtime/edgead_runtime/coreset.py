"""A bank of few patches that stand for all: chosen at enrolment, and kept small as good parts come in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgead_runtime.bank import Reference
from edgead_runtime.farthest_first import Matrix, farthest_first
from edgead_runtime.manifest import CoresetRecord
from edgead_runtime.recipe import Recipe
from edgead_runtime.views import views_of

_MOST_GROWTH = 2.0
"""Rows that a coreset may come to by adding, over those it was enrolled with."""
_THINNED_TO = 1.5
_WIDER = 1.25
"""Step by which the radius grows where there are too many."""


def is_condensed(recipe: Recipe) -> bool:
    """Whether a recipe keeps fewer patches than there are."""
    return recipe.coreset != 1 or recipe.merge_within > 0


def condense(
    references: Sequence[Reference], recipe: Recipe, shares: Sequence[float | None] = ()
) -> tuple[tuple[Reference, ...], tuple[CoresetRecord, ...]]:
    """Choose the patches that are kept, in each layer by itself.

    Args:
        references: With all their patches.
        recipe: Says how many, or how near what is left out must be.
        shares: How many in each layer instead, from :func:`density`.

    Returns:
        The references with what is kept of them, and for each layer what that guarantees.
    """
    kept: list[list[NDArray[np.int32]]] = [[] for _ in references]
    records = []
    for layer in range(len(references[0].tokens)):
        banks = [reference.tokens[layer] for reference in references]
        rows = np.concatenate(banks)
        count = _share_of(shares[layer], len(rows)) if shares else _count(recipe, len(rows))
        cover = farthest_first(rows, count=count, within=recipe.merge_within)
        starts = np.cumsum([0, *map(len, banks)])
        for index, (start, end) in enumerate(itertools.pairwise(starts)):
            inside = cover.chosen[(cover.chosen >= start) & (cover.chosen < end)]
            kept[index].append((inside - start).astype(np.int32))
        records.append(
            CoresetRecord(
                rows=len(rows),
                chosen=len(cover.chosen),
                radius=cover.radius,
                enrolled_radius=cover.radius,
            )
        )
    condensed = tuple(
        _keeping(reference, of_layers) for reference, of_layers in zip(references, kept, strict=True)
    )
    return condensed, tuple(records)


def density(
    references: Sequence[Reference], records: Sequence[CoresetRecord], recipe: Recipe
) -> tuple[float | None, ...]:
    """Share of all patches that is kept in each layer; ``None`` where ``merge_within`` alone decides.

    A coreset of fewer pictures is as dense as this one if it keeps the same share of them. With the same
    number it would be denser, and everything nearer to it.

    Args:
        references: Condensed.
        records: What there was, a layer each.
        recipe: As at enrolment.
    """
    kept = [sum(len(reference.tokens[layer]) for reference in references) for layer in range(len(records))]
    return tuple(
        None if record.radius <= recipe.merge_within else min(1.0, rows / record.rows)
        for rows, record in zip(kept, records, strict=True)
    )


def condense_added(
    references: Sequence[Reference],
    added: Reference,
    records: Sequence[CoresetRecord],
    recipe: Recipe,
    most: int | None = None,
) -> tuple[tuple[Reference, ...], tuple[CoresetRecord, ...]]:
    """Take in a good picture: what the coreset does not stand for yet is kept.

    Where that makes more than twice the rows of enrolment, or more than ``most``, the radius grows and rows
    of what was added are dropped. The coreset of enrolment stays as it is, so that a part that was added by
    mistake and is taken back leaves it whole. What is kept of a picture depends on those before it and not on
    those after, so that taking back the last one leaves a coreset with the same guarantee.

    Args:
        references: Condensed.
        added: With all its patches.
        records: What the coreset guarantees so far, a layer each.
        recipe: As at enrolment.
        most: Rows of a layer that there may be; more than were enrolled.
    """
    everyone = (*references, added)
    enrolled = sum(reference.added == "enrollment" for reference in references)
    is_thinned = False
    kept: list[list[NDArray[np.int32]]] = [[] for _ in everyone]
    changed = []
    for layer, record in enumerate(records):
        banks = [reference.tokens[layer] for reference in everyone]
        within = max(record.radius, recipe.merge_within)
        chosen = [np.arange(len(bank), dtype=np.int32) for bank in banks[:-1]]
        new = farthest_first(banks[-1], within=within, known=np.concatenate(banks[:-1]))
        chosen.append(new.chosen)
        radius = max(record.radius, new.radius)
        ceiling, thinned_to = _room(record, recipe, sum(map(len, banks[:enrolled])), most)
        if sum(map(len, chosen)) > ceiling:
            is_thinned = True
            later, wider = _thin(banks, enrolled, within, int(thinned_to))
            chosen[enrolled:] = later
            radius = record.radius + wider  # from a row to what stood for it, and on to what stands for that
        for index, inside in enumerate(chosen):
            kept[index].append(inside)
        changed.append(msgspec.structs.replace(record, rows=record.rows + len(banks[-1]), radius=radius))
    if not is_thinned:  # then who searches the others need not be told of them again
        return (*references, _keeping(added, kept[-1])), tuple(changed)
    thinned = tuple(
        _keeping(reference, of_layers)
        for reference, of_layers in zip(everyone[enrolled:], kept[enrolled:], strict=True)
    )
    return (*references[:enrolled], *thinned), tuple(changed)


def taken_back(
    references: Sequence[Reference], records: Sequence[CoresetRecord], recipe: Recipe
) -> tuple[CoresetRecord, ...]:
    """What a coreset guarantees after a good picture is taken back: of fewer patches, the same.

    Where nothing is left that was added, that is what it guaranteed at enrolment.

    Args:
        references: Those that stay.
        records: What it guaranteed before, a layer each.
        recipe: As at enrolment.
    """
    views = len(views_of(recipe, None, references[0].frame_hw))
    rows = sum(views * reference.patches for reference in references)
    as_enrolled = all(reference.added == "enrollment" for reference in references)
    return tuple(
        msgspec.structs.replace(
            record,
            rows=rows,
            radius=record.radius
            if record.enrolled_radius is None or not as_enrolled
            else record.enrolled_radius,
        )
        for record in records
    )


def _thin(
    banks: Sequence[Matrix], enrolled: int, within: float, most: int
) -> tuple[list[NDArray[np.int32]], float]:
    """Rows of each bank that came after enrolment and that those before it do not stand for.

    By the first radius that is wide enough: at the latest the one at which enrolment stands for everything.
    """
    while True:
        within = max(within, 1e-3) * _WIDER
        stand_ins = np.concatenate(banks[:enrolled])
        chosen, radius = [], 0.0
        for bank in banks[enrolled:]:
            cover = farthest_first(bank, within=within, known=stand_ins)
            chosen.append(cover.chosen)
            radius = max(radius, cover.radius)
            stand_ins = np.concatenate([stand_ins, bank[cover.chosen]])
        if len(stand_ins) <= most:
            return chosen, radius


def _keeping(reference: Reference, chosen: Sequence[NDArray[np.int32]]) -> Reference:
    """The reference with some of the rows that it has."""
    before = reference.kept or (None,) * len(chosen)
    return replace(
        reference,
        tokens=tuple(tokens[rows] for tokens, rows in zip(reference.tokens, chosen, strict=True)),
        kept=tuple(rows if was is None else was[rows] for was, rows in zip(before, chosen, strict=True)),
    )


def _room(record: CoresetRecord, recipe: Recipe, enrolled: int, most: int | None) -> tuple[float, float]:
    """Rows that a layer may come to, and to how many it is thinned where it would come to more."""
    ceiling = thinned_to = float("inf")
    if _is_bounded(recipe):
        ceiling, thinned_to = (by * _size(record, recipe) for by in (_MOST_GROWTH, _THINNED_TO))
    if most is None or most >= ceiling:
        return ceiling, thinned_to
    # What was enrolled stays, so of the room beside it half is made free.
    return most, min(thinned_to, (enrolled + most) / 2)


def _is_bounded(recipe: Recipe) -> bool:
    return recipe.coreset != 1


def _share_of(share: float | None, rows: int) -> int | None:
    return None if share is None else max(1, round(share * rows))


def _count(recipe: Recipe, rows: int) -> int | None:
    if recipe.coreset == 1:
        return None
    return max(1, round(recipe.coreset * rows)) if recipe.coreset < 1 else int(recipe.coreset)


def _size(record: CoresetRecord, recipe: Recipe) -> int:
    return max(record.chosen, int(recipe.coreset))


def words(record: CoresetRecord) -> str:
    """The guarantee in a sentence."""
    far = record.radius * record.radius / 2
    return (
        f"no good patch is farther than {far:.4f} (cosine distance) from one that is kept, so a distance of "
        f"0.1 can come out as {bound(record, 0.1):.3f} at worst"
    )


def bound(record: CoresetRecord, distance: float) -> float:
    """The most that a cosine distance can come out as because patches are left out.

    By the triangle inequality of the chords, and by what a difference of rows can do to a product.
    """
    chord = (2 * distance) ** 0.5 + record.radius
    return float(min(chord * chord / 2, distance + record.radius, 2.0))
