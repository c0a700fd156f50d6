"""Choosing a recipe by self-consistency: which one tells good pictures from the same pictures with defects.

Every good picture is left out of the bank in turn and inspected twice: as it is, and with synthetic defects
on it. A recipe is worth as much as it keeps the two apart.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from edgead_runtime import Detector, Recipe
from edgead_runtime.enrollment import Progress, ignore_progress
from edgead_runtime.errors import EnrollmentError, RecipeError
from edgead_runtime.images import Picture

from edgead.evaluation.remembering import RememberingEncoder
from edgead.report.overlay import fit_longest_side
from edgead.selection.candidates import BASE, Candidate, candidates_for
from edgead.selection.synthetic import SyntheticDefect
from edgead.selection.trials import Looks, Trial, draw_defects, look, share_better, try_candidate

MARGIN = 0.02
"""How much better than the base a candidate must separate."""
SURE = 0.95
"""In what share of random redraws of defects and good pictures it must be better at all. The margin alone is
too little: four draws of 32 defects on the same four magnetic tiles put another layer ahead by 0.05, 0.03,
0.00 and 0.07."""
MAX_PICTURES = 8
"""Good pictures that are used, so that the time is bounded."""
_LONGEST_PX = 1024
"""Longer side of the pictures that defects are drawn on, or twice the encoder's input where that is more."""
_SCORING = ("statistic", "top_fraction")
"""Fields that change nothing but how a score is made from the distances: no search of their own."""


@dataclass(frozen=True)
class Choice:
    """What was tried and what was taken."""

    trials: tuple[Trial, ...]
    """The base first."""
    chosen: Trial
    reason: str
    """Plain English, one or two sentences."""
    pictures: int
    """Good pictures that were used."""
    defects: int
    """Synthetic defects that were drawn."""
    encodes: int
    """How often the encoder ran."""

    @property
    def recipe(self) -> Recipe:
        """The recipe to enrol with; of a name of its own where it is not the base."""
        return self.chosen.recipe


def choose_recipe(
    encoder: RememberingEncoder,
    good: Sequence[Picture],
    base: Recipe,
    *,
    fixed: Collection[str] = (),
    progress: Progress = ignore_progress,
) -> Choice:
    """Try every candidate on the good pictures, and keep the base unless one is clearly better.

    It takes ``views x pictures + defects`` encodes: with eight pictures, the most that are used, eight
    turns and 32 defects that is 96, and 64 of them are what enrolment needs anyway. To that come
    ``pictures + defects`` searches for every candidate that changes more than how the score is made.

    Args:
        encoder: Remembers what it has encoded, so that enrolling afterwards encodes nothing twice.
        good: Good pictures, at least two; the first eight are used.
        base: What is changed.
        fixed: Fields of the recipe that a person has set and that stay.
        progress: Told of the stage ``choose``.

    Raises:
        EnrollmentError: There are fewer than two pictures, or two are the same.
        RecipeError: The base does not fit the encoder.
    """
    if len(good) < 2:
        raise EnrollmentError(
            "choosing a recipe leaves each good picture out in turn, and there are fewer than two",
            "Give at least two good pictures, or do without --auto.",
        )
    before = encoder.encoded
    encoder.keeps_all_layers = True
    longest = max(_LONGEST_PX, 2 * encoder.manifest.input.height, 2 * encoder.manifest.input.width)
    used = [_shrunk(picture, longest) for picture in good[:MAX_PICTURES]]
    defects = draw_defects(Detector.enroll(encoder, used, recipe=base), used)
    trials = _try_all(encoder, used, base, candidates_for(encoder, base, fixed), defects, progress)
    chosen, reason = decide(trials)
    return Choice(
        trials=tuple(trials),
        chosen=chosen,
        reason=reason,
        pictures=len(used),
        defects=sum(len(of_picture) for of_picture in defects),
        encodes=encoder.encoded - before,
    )


def _try_all(
    encoder: RememberingEncoder,
    good: Sequence[Picture],
    base: Recipe,
    candidates: Sequence[Candidate],
    defects: Sequence[Sequence[SyntheticDefect]],
    progress: Progress,
) -> list[Trial]:
    looks: dict[Recipe, Looks] = {}
    trials = []
    for done, candidate in enumerate(candidates):
        progress("choose", done, len(candidates))
        changed = base.with_(**candidate.changes)
        # Recipes that differ in how the score is made share their distances, where map and score do.
        searched = changed
        if len(encoder.feature_outputs(changed.layers)) == 1 or changed.score_layers == "all":
            searched = replace(changed, **{name: getattr(base, name) for name in _SCORING})
        if searched not in looks:
            try:
                looks[searched] = look(encoder, good, searched, defects)
            except (EnrollmentError, RecipeError):
                if candidate is BASE:
                    raise
                continue  # a recipe that these pictures or this encoder do not allow is none for them
        if not _is_base_in_effect(changed, looks[searched], base, looks[base]):
            recipe = base if candidate is BASE else _named(changed, base, candidate)
            trials.append(try_candidate(candidate, recipe, looks[searched], defects))
    progress("choose", len(candidates), len(candidates))
    return trials


def decide(trials: Sequence[Trial]) -> tuple[Trial, str]:
    """The base, which comes first, unless another is clearly better.

    That is one that separates better by more than :data:`MARGIN`, surely so (:data:`SURE`), and is worse in
    neither measure: a change that shows defects better and misses more of them is none to make unasked.

    Returns:
        The trial chosen and a sentence that says why.
    """
    base = trials[0]
    if len(trials) == 1:
        return base, f"{base.recipe.name} stays as it is: the options leave nothing to try."
    sound = [
        trial for trial in trials if trial.image_auroc >= base.image_auroc and trial.patch_ap >= base.patch_ap
    ]
    best = max(sound, key=lambda trial: trial.separation)  # the first of equals, so the base
    gain = best.separation - base.separation
    stays = f"{base.recipe.name} stays as it is"
    if gain == 0:
        return base, f"{stays}: nothing that was tried is better in one measure and not worse in the other."
    what = f"{base.recipe.name} with {best.candidate.words}"
    sure = share_better(best, base)
    found = f"separates better by {gain:.3f}, and in {sure:.0%} of random redraws is better at all"
    asked = f"more than {MARGIN} and {SURE:.0%} are asked for"
    if gain > MARGIN and sure >= SURE:
        return best, f"Chosen: {what}. It {found} ({asked})."
    return base, f"{stays}: {what} {found}; {asked}."


def _is_base_in_effect(changed: Recipe, looks: Looks, base: Recipe, base_looks: Looks) -> bool:
    """Whether only another mask was asked for, and the outcome was the base's."""
    return changed != base and replace(changed, mask=base.mask) == base and looks.masked == base_looks.masked


def _named(changed: Recipe, base: Recipe, candidate: Candidate) -> Recipe:
    return replace(
        changed,
        name=f"{base.name}-auto",
        summary=f"{base.name} with {candidate.words}.",
        source=f"chosen from the good pictures; {base.source}",
    )


def _shrunk(picture: Picture, longest_px: int) -> Picture:
    """A picture that is no larger than the choice needs: dozens of defects are drawn on copies of it."""
    frame = fit_longest_side(picture.frame, 0, longest_px)
    return picture if frame is picture.frame else Picture(picture.name, frame)
