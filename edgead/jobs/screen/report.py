"""What the report says of a screening, where nobody said which pictures are good."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence

import edgead_runtime
from edgead_runtime.pipeline import Pipeline

from edgead._version import __version__
from edgead.records import PictureRecord
from edgead.report.facts import DetectorFacts
from edgead.report.html import Report, ReportWords, Section, Thumbnails
from edgead.screening.guess import SPREADS, ThresholdGuess
from edgead.wording import blocks, count_of, mask_sentence, sentence

WORDS = ReportWords(
    lead="Ranked, the most unusual first: no. 1 is what to look at first.",
    banner_head="A ranking, not an inspection.",
    banner=(
        "There were no good pictures to compare with: each picture was compared with all the others. The "
        "threshold is a guess from the scores of this batch (median + "
        f"{SPREADS:g} robust standard deviations). It assumes that most of the pictures are good; a defect "
        "that many parts share looks normal here. A picture below the guess is not known to be "
        "good: go down the list until the pictures look good to you."
    ),
    threshold="guessed threshold",
    above="above the guess",
    below="below the guess",
    above_badge="above the guess",
    below_badge="below the guess",
    inspected="compared",
    compared_with="from what the other pictures show",
    unpainted="a spot is much like others in the batch",
    overlay_caption="Where it differs from the others",
    ranked=True,
)
_COPIES_NAMED = 20


def screening_report(
    pipeline: Pipeline,
    guess: ThresholdGuess,
    records: Sequence[PictureRecord],
    thumbnails: Mapping[str, Thumbnails],
    copies: Mapping[str, str],
    notes: Sequence[str],
) -> Report:
    """The page of a screening.

    Args:
        pipeline: The method.
        guess: The thresholds.
        records: A record a picture.
        thumbnails: By file.
        copies: What is a copy, and of what.
        notes: How the pictures fit the encoder.
    """
    sections = []
    if copies:
        named = [f"{copy} is a copy of {first}." for copy, first in list(copies.items())[:_COPIES_NAMED]]
        more = len(copies) - len(named)
        sections.append(
            Section(
                "Copies",
                (
                    "Pictures with the same pixels count once for the others, since beside its copy a defect "
                    "would look normal. They share a score.",
                    *named,
                    *([f"And {more} more; see copies in the summary of --json."] if more else []),
                ),
            )
        )
    if notes:
        sections.append(Section("How the pictures fit the encoder", tuple(notes)))
    return Report(
        title=f"Screening of {count_of(len(records), 'picture')}",
        records=records,
        facts=_facts(pipeline, guess),
        thumbnails=thumbnails,
        sections=tuple(sections),
        words=WORDS,
    )


def _facts(pipeline: Pipeline, guess: ThresholdGuess) -> DetectorFacts:
    manifest = pipeline.encoder.manifest
    weights = manifest.weights
    recipe = pipeline.recipe
    layers = [output.layer for output in pipeline.encoder.feature_outputs(recipe.layers)]
    return DetectorFacts(
        name="",
        threshold=guess.threshold,
        pixel_threshold=guess.pixel_threshold,
        backbone=manifest.backbone,
        official_weights=weights.official,
        weights_note=sentence(weights.note),
        rows=(
            ("Compared with", f"each other: {count_of(guess.pictures, 'picture')}, copies counted once"),
            ("Threshold", guess.explain()),
            ("Mask", mask_sentence(pipeline.mask, recipe.background_weight)),
            (
                "Recipe",
                f"{recipe.name}, without references: {recipe.batch_rule}, share {recipe.batch_share:g}. "
                f"Source: {recipe.source}",
            ),
            (
                "Backbone",
                f"{manifest.backbone}, {blocks(layers)}, {manifest.input.width} x {manifest.input.height} px",
            ),
            (
                "Weights",
                f"{weights.source} ({'official' if weights.official else 'NOT official'}; {weights.licence})",
            ),
            ("Encoder", f"fingerprint {pipeline.encoder.fingerprint[:16]}…"),
            ("Engine", pipeline.encoder.engine_name),
            (
                "Versions",
                f"edgead {__version__}, edgead-runtime {edgead_runtime.__version__}, "
                f"Python {platform.python_version()}, {platform.system()} {platform.machine()}",
            ),
        ),
    )
