"""A difference between two detectors in few words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from edgead.jobs.diff import PROVENANCE, Change, Difference, ReferenceLine
from edgead.jobs.diff_pictures import Look, PictureChange, PicturesCompared
from edgead.wording import count_of

_LONGEST = 60
_OTHERS_SHOWN = 20
_STILL = 5e-7
"""Thresholds by which a score may move and still count as the same: what engines round differently."""


def difference_lines(difference: Difference) -> Iterator[str]:
    """What differs, part by part."""
    if difference.is_same:
        yield "No difference that decides a result."
    if difference.added or difference.removed:
        yield f"good pictures: {difference.references[0]} -> {difference.references[1]}"
        yield from (_reference("-", line) for line in difference.removed)
        yield from (_reference("+", line) for line in difference.added)
    if difference.patches[0] != difference.patches[1]:
        yield f"bank: {difference.patches[0]:,} -> {difference.patches[1]:,} patches"
    parts = dict.fromkeys(change.part for change in difference.changes)
    for part in parts:
        yield f"{part} (decides no result)" if part == PROVENANCE else part
        yield from (_change(change) for change in difference.changes if change.part == part)


def _reference(sign: str, line: ReferenceLine) -> str:
    how = ", added after enrolment" if line.added == "add_good" else ""
    patches = f", {count_of(line.patches, 'patch', 'patches')}" if line.patches else ""
    return f"  {sign} {line.name}{how}{patches}"


def _change(change: Change) -> str:
    return f"  {change.what}: {_value(change.before)} -> {_value(change.after)}"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        text = ", ".join(map(_value, value)) or "none"
    elif isinstance(value, dict):
        text = ", ".join(f"{name} {_value(each)}" for name, each in value.items())
    else:
        text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def pictures_lines(compared: PicturesCompared) -> Iterator[str]:
    """A table: verdicts that flip, then the scores that moved the most."""
    flips = compared.flips
    total = count_of(len(compared.changes), "picture")
    yield (
        f"{count_of(len(flips), 'verdict')} of {total} {'changes' if len(flips) == 1 else 'change'}."
        if flips
        else f"No verdict of {total} changes."
    )
    moved = [change for change in compared.changes if not change.flips and change.moved > _STILL]
    shown = [*flips, *moved[:_OTHERS_SHOWN]]
    if shown:
        yield from _table(shown)
    more, still = len(moved) - _OTHERS_SHOWN, len(compared.changes) - len(flips) - len(moved)
    if more > 0:
        yield f"{count_of(more, 'more score')} moved by less."
    if still:
        yield f"{count_of(still, 'score')} stayed the same."


def _table(changes: Sequence[PictureChange]) -> Iterator[str]:
    width = max(len("picture"), *(len(change.file) for change in changes))
    yield f"  {'picture':<{width}}  {'before':<24}  after"
    for change in changes:
        sign = "!" if change.flips else " "
        yield f"{sign} {change.file:<{width}}  {_look(change.before):<24}  {_look(change.after)}"


def _look(look: Look) -> str:
    verdict = "ANOMALY" if look.is_anomaly else "good"
    return f"{verdict:<7} {look.score:.4f} ({look.times_threshold:.2f}x)"
