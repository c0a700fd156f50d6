"""The gate of a precision: does it inspect as fp32 does?

The cosine of features says little about that: features that are .998 alike give maps in another order and
scores that are several per cent off. So what a detector gives is compared, on scenes of a bank and a query
that belong together: the order of the patches in the distance map (Spearman's rank correlation) and the image
score, and where labelled pictures are at hand how well the scores tell good from defective ones (AUROC).

Each scene is judged twice: with the bank that fp32 makes, since detectors are enrolled with that, and with
one that the precision makes itself, since ``edgead enroll --precision`` exists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead_runtime import frame_graph
from edgead_runtime.bank import normalize
from edgead_runtime.encoder import Encoder, PatchFeatures
from edgead_runtime.images import Frame
from edgead_runtime.index import nearest_distances
from edgead_runtime.scoring import image_score

Floats = NDArray[np.float32]
REFERENCE_BANK = "fp32"
OWN_BANK = "its own"


@dataclass(frozen=True)
class GateLimits:
    """What a precision must reach to be offered."""

    rank_correlation_min: float = 0.99
    """Of the worst distance map."""
    score_error_median: float = 0.01
    score_error_max: float = 0.03
    auroc_difference: float = 0.003


@dataclass(frozen=True)
class Scene:
    """Good views and a picture that is compared with them."""

    name: str
    bank: tuple[Frame, ...]
    query: Frame


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures whose truth is known, and the good ones they are compared with."""

    references: tuple[Frame, ...]
    pictures: tuple[Callable[[], Frame], ...]
    """Read one at a time: there may be thousands."""
    defective: tuple[bool, ...]


@dataclass(frozen=True)
class SceneAgreement:
    """One layer of one scene with one kind of bank. The error of the score is relative."""

    scene: str
    output: str
    bank: str
    rank_correlation: float
    score_reference: float
    score: float
    score_error: float


@dataclass(frozen=True)
class GateReport:
    """The verdict on one precision in one engine, with everything it rests on."""

    precision: str
    engine: str
    """What ran, e.g. ``openvino/cpu/int8+bf16``."""
    limits: GateLimits
    rank_correlation_mean: float
    rank_correlation_min: float
    score_error_median: float
    score_error_max: float
    attention_correlation_min: float | None
    """Rank correlation of the attention, where the encoder has it: reported and not judged, since it decides
    nothing but masks, by a threshold."""
    auroc_reference: float | None
    auroc: float | None
    rows: tuple[SceneAgreement, ...]
    failures: tuple[str, ...]
    """Each limit that is broken, in words."""
    passed: bool


@dataclass(frozen=True)
class WorstScene:
    """Where a precision is furthest from fp32: the query and its distances ``[rows, columns]``."""

    query: Frame
    scene: SceneAgreement
    reference: Floats
    found: Floats


class Gate:
    """Judges ways of running an encoder against fp32. What fp32 gives is computed once.

    Args:
        reference: The encoder in fp32.
        scenes: At least one.
        labelled: Where there are any.
        limits: What has to be reached.
    """

    def __init__(
        self,
        reference: Encoder,
        scenes: Sequence[Scene],
        labelled: LabelledPictures | None = None,
        limits: GateLimits | None = None,
    ) -> None:
        if not scenes:
            raise ValueError("nothing to compare on")
        self._scenes, self._labelled = scenes, labelled
        self._limits = limits or GateLimits()
        self._outputs = [output.name for output in reference.feature_outputs("all")]
        self._reference = [_encode_scene(reference, scene) for scene in scenes]
        self._labelled_bank: list[Floats] = []
        self._auroc: float | None = None
        if labelled is not None:
            self._labelled_bank = [_deepest(reference, frame) for frame in labelled.references]
            self._auroc = self._rank(reference, labelled)

    def judge(self, candidate: Encoder, precision: str) -> tuple[GateReport, WorstScene]:
        """Compare one way of running the encoder with fp32.

        Args:
            candidate: The same bundle in another precision or engine.
            precision: What to call it.
        """
        rows: list[SceneAgreement] = []
        attention: list[float] = []
        worst: list[WorstScene] = []
        for scene, expected in zip(self._scenes, self._reference, strict=True):
            found = _encode_scene(candidate, scene)
            for row, *maps in self._compare(scene.name, expected, found):
                rows.append(row)
                if not worst or _is_worse(row.rank_correlation, worst[-1].scene.rank_correlation):
                    of_reference, of_candidate = (part.reshape(expected.query.grid) for part in maps)
                    worst.append(WorstScene(scene.query, row, of_reference, of_candidate))
            if expected.query.attention is not None and found.query.attention is not None:
                attention.append(rank_correlation(expected.query.attention, found.query.attention))
        labelled = self._labelled
        report = verdict(
            precision,
            candidate.engine_name,
            rows,
            limits=self._limits,
            attention=attention,
            auroc_reference=self._auroc,
            auroc_found=None if labelled is None else self._rank(candidate, labelled),
        )
        return report, worst[-1]

    def _compare(
        self, scene: str, expected: _Encoded, found: _Encoded
    ) -> Iterator[tuple[SceneAgreement, Floats, Floats]]:
        for place, output in enumerate(self._outputs):
            known_bank = [features.layers[place] for features in expected.bank]
            own_bank = [features.layers[place] for features in found.bank]
            wanted = distances_to(expected.query.layers[place], known_bank)
            score_wanted = image_score(wanted, frame_graph.TOP_FRACTION)
            for bank, tokens in ((REFERENCE_BANK, known_bank), (OWN_BANK, own_bank)):
                distances = distances_to(found.query.layers[place], tokens)
                score = image_score(distances, frame_graph.TOP_FRACTION)
                row = SceneAgreement(
                    scene=scene,
                    output=output,
                    bank=bank,
                    rank_correlation=rank_correlation(wanted, distances),
                    score_reference=score_wanted,
                    score=score,
                    score_error=abs(score - score_wanted) / max(score_wanted, 1e-12),
                )
                yield row, wanted, distances

    def _rank(self, encoder: Encoder, labelled: LabelledPictures) -> float:
        scores = [
            image_score(
                nearest_distances(_deepest(encoder, read()), self._labelled_bank), frame_graph.TOP_FRACTION
            )
            for read in labelled.pictures
        ]
        return auroc(scores, labelled.defective)


def _is_worse(correlation: float, than: float) -> bool:
    """Below it; what is not a number is the worst there is."""
    return not math.isnan(than) and not correlation >= than


def verdict(
    precision: str,
    engine: str,
    rows: Sequence[SceneAgreement],
    *,
    limits: GateLimits,
    attention: Sequence[float] = (),
    auroc_reference: float | None = None,
    auroc_found: float | None = None,
) -> GateReport:
    """The rows summed up and held against the limits; what is not a number fails."""
    correlations = [row.rank_correlation for row in rows]
    errors = [row.score_error for row in rows]
    # NumPy's minimum and maximum, since they keep a NaN.
    rank_min, median, worst = (
        float(np.min(correlations)),
        float(np.median(errors)),
        float(np.max(errors)),
    )
    failures = []
    if not rank_min >= limits.rank_correlation_min:
        failures.append(
            f"rank correlation of the worst distance map {rank_min:.4f} "
            f"(at least {limits.rank_correlation_min})"
        )
    for error, limit, which in (
        (median, limits.score_error_median, "in the median"),
        (worst, limits.score_error_max, "at worst"),
    ):
        if not error <= limit:
            failures.append(f"error of the image score {error:.2%} {which} (at most {limit:.0%})")
    if (
        auroc_found is not None
        and auroc_reference is not None
        and not abs(auroc_found - auroc_reference) <= limits.auroc_difference
    ):
        failures.append(
            f"AUROC {100 * auroc_found:.2f} where fp32 has {100 * auroc_reference:.2f} "
            f"(at most {100 * limits.auroc_difference:.1f} points apart)"
        )
    return GateReport(
        precision=precision,
        engine=engine,
        limits=limits,
        rank_correlation_mean=float(np.mean(correlations)),
        rank_correlation_min=rank_min,
        score_error_median=median,
        score_error_max=worst,
        attention_correlation_min=float(np.min(attention)) if attention else None,
        auroc_reference=auroc_reference,
        auroc=auroc_found,
        rows=tuple(rows),
        failures=tuple(failures),
        passed=not failures,
    )


@dataclass(frozen=True)
class _Encoded:
    bank: tuple[PatchFeatures, ...]
    query: PatchFeatures


def _encode_scene(encoder: Encoder, scene: Scene) -> _Encoded:
    return _Encoded(
        tuple(encoder.encode(frame, layers="all") for frame in scene.bank),
        encoder.encode(scene.query, layers="all"),
    )


def _deepest(encoder: Encoder, frame: Frame) -> Floats:
    return normalize(encoder.encode(frame).tokens)


def distances_to(query: Floats, bank: Sequence[Floats]) -> Floats:
    """Of each patch to the nearest of the bank, ``[N]``; features are not normalized yet."""
    return nearest_distances(normalize(query), [normalize(tokens) for tokens in bank])


def auroc(scores: Sequence[float], defective: Sequence[bool]) -> float:
    """Chance that a defective picture scores higher than a good one; ties count half (Mann-Whitney's U).

    Raises:
        ValueError: There are none of one of the two.
    """
    truth = np.asarray(defective, dtype=bool)
    bad, good = int(truth.sum()), int((~truth).sum())
    if not bad or not good:
        raise ValueError("AUROC needs good and defective pictures")
    ranks = mean_ranks(np.asarray(scores, dtype=np.float64))
    return float((ranks[truth].sum() - bad * (bad + 1) / 2) / (bad * good))


def rank_correlation(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Spearman's: Pearson's over ranks, ties sharing their mean rank. 1 where both are constant."""
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return float("nan")
    ranks = [mean_ranks(values) for values in (first, second)]
    spread = [float(rank.std()) for rank in ranks]
    if min(spread) == 0:
        return float(spread[0] == spread[1])
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def mean_ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_rank: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[group.reshape(-1)]
    return mean_rank
