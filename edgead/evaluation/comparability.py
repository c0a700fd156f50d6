"""Whether our numbers may stand beside published ones, and if not, why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from edgead_runtime.encoder import Encoder
from edgead_runtime.presets import get_recipe
from edgead_runtime.recipe import Recipe

from edgead.evaluation import published
from edgead.evaluation.results import UnitResult
from edgead.wording import blocks


@dataclass(frozen=True)
class RunFacts:
    """What a whole run has in common, as far as it decides whether numbers compare."""

    dataset: str
    official_weights: bool
    backbone: str
    input_hw: tuple[int, int]
    fit: str
    layers: tuple[int, ...]
    final_norm: bool
    recipe: Recipe
    seeds: int
    pro_limit: float

    @classmethod
    def of(cls, dataset: str, encoder: Encoder, recipe: Recipe, seeds: int, pro_limit: float) -> RunFacts:
        """The facts of a run with this encoder."""
        manifest = encoder.manifest
        features = encoder.feature_outputs(recipe.layers)
        return cls(
            dataset=dataset,
            official_weights=manifest.weights.official,
            backbone=manifest.backbone,
            input_hw=(manifest.input.height, manifest.input.width),
            fit=manifest.preprocess.fit,
            layers=tuple(feature.layer for feature in features),
            final_norm=all(feature.final_norm for feature in features),
            recipe=recipe,
            seeds=seeds,
            pro_limit=pro_limit,
        )

    @property
    def resolution(self) -> int:
        """The encoder's shorter side in pixels."""
        return min(self.input_hw)


def why_run_not_comparable(facts: RunFacts, shots: Iterable[int] = (1,)) -> tuple[str, ...]:
    """What in the settings of a run differs from how the published numbers were taken; empty if nothing.

    Args:
        facts: The settings.
        shots: Of the rows that are asked about. With 0 a recipe's references and a run's seeds play no part.
    """
    height, width = facts.input_hw
    asked = set(shots)
    theirs = get_recipe(published.RECIPE)
    same_method = all(_method(facts.recipe, count) == _method(theirs, count) for count in asked)
    same_seeds = facts.seeds == published.SEEDS or asked == {0}
    checks = (
        (facts.official_weights, "the weights are not the official ones"),
        (facts.backbone == published.BACKBONE, f"the backbone is {facts.backbone}"),
        (
            height == width and height in published.RESOLUTIONS,
            f"the encoder's input is {width} x {height} px, published are 448 and 672",
        ),
        (facts.fit == "crop", "frames are stretched to the encoder's input"),
        (
            facts.layers == (published.LAYER,) and facts.final_norm,
            f"features are {blocks(facts.layers)}{'' if facts.final_norm else ' without the final norm'}, "
            f"published ones are output of block {published.LAYER} after it",
        ),
        (same_method, f"the recipe is {facts.recipe.name}, published is {published.RECIPE}"),
        (same_seeds, f"seeds: {facts.seeds}, published are {published.SEEDS}"),
    )
    return tuple(reason for holds, reason in checks if not holds)


def why_object_not_comparable(facts: RunFacts, units: Sequence[UnitResult]) -> tuple[str, ...]:
    """What sets one object's units apart from the object of that name in the data set."""
    official = published.OBJECTS.get(facts.dataset, {}).get(units[0].object)
    if official is None:
        return ("the published data set has no object of that name",)
    reasons = []
    for unit in units:
        if unit.not_run or unit.failed:
            reasons.append("pictures or runs are missing")
            continue
        # Without shots it does not matter what there is to enrol.
        train = official.train if unit.shots else unit.train_pictures
        ours = (unit.train_pictures, unit.good, unit.defective)
        theirs = (train, official.good, official.defective)
        if ours != theirs:
            reasons.append(
                f"these are other pictures: {_counts(ours)} here, {_counts(theirs)} in the data set"
            )
        if unit.masked != official.masked:
            reasons.append(
                f"{'masked' if unit.masked else 'not masked'} here, and the other way in the paper"
            )
    return tuple(dict.fromkeys(reasons))


def why_mean_not_comparable(
    facts: RunFacts, by_object: Mapping[str, Sequence[UnitResult]]
) -> tuple[str, ...]:
    """What keeps the mean over the objects from being the published mean."""
    official = published.OBJECTS.get(facts.dataset, {})
    reasons = []
    if set(by_object) != set(official):
        reasons.append(
            f"the mean is over {len(by_object)} objects, published over the {len(official)} of the data set"
        )
    unlike = [name for name, units in by_object.items() if why_object_not_comparable(facts, units)]
    if unlike:
        reasons.append(f"differs from the data set or the paper: {', '.join(unlike)}")
    return tuple(reasons)


def joined(reasons: Iterable[str]) -> str:
    """Reasons as one text."""
    return "; ".join(reasons)


def _method(recipe: Recipe, shots: int) -> Recipe:
    """What a recipe does, without what it is called and what plays no part at this number of shots.

    The layer is looked at on its own.
    """
    named = replace(recipe, name="", summary="", source="", layers="deepest")
    plain = Recipe(name="", summary="", source="")
    if shots:
        return replace(named, batch_rule=plain.batch_rule, batch_share=plain.batch_share)
    return replace(
        named,
        rotations_deg=plain.rotations_deg,
        flips=plain.flips,
        neighbours=plain.neighbours if recipe.batch_rule == "closest-share" else recipe.neighbours,
        reduction=plain.reduction,
        worst_share=plain.worst_share,
    )


def _counts(numbers: tuple[int, int, int]) -> str:
    return "{} good to enrol, {} good and {} defective to test".format(*numbers)
