"""Published numbers, and what it takes to stand beside them.

AnomalyDINO (arXiv 2405.14529), ViT-S/14, "agnostic" augmentation, three seeds; 0 shots, the batched
zero-shot, once and without augmentation. The numbers per object are of an independent run of the authors'
code whose mean is the paper's. In per cent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

SOURCE = "AnomalyDINO (arXiv 2405.14529), ViT-S/14, 3 seeds; 0 shots once"
BACKBONE = "dinov2_s"
LAYER = 12
SEEDS = 3
PRO_LIMIT = 0.3
RECIPE = "anomalydino"
RESOLUTIONS = (448, 672)


@dataclass(frozen=True)
class Published:
    """Numbers of one row in per cent; ``None`` where the source gives none."""

    image_auroc: float
    pixel_auroc: float | None = None
    pixel_f1_max: float | None = None
    pro: float | None = None

    def by_metric(self) -> dict[str, float]:
        """The numbers that there are, by the names our results use."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class OfficialObject:
    """How many pictures an object has in its data set, and whether the paper masks it."""

    train: int
    good: int
    defective: int
    masked: bool


def _object(train: int, good: int, defective: int, masked: bool = False) -> OfficialObject:
    return OfficialObject(train, good, defective, masked)


OBJECTS: Mapping[str, Mapping[str, OfficialObject]] = MappingProxyType(
    {
        "mvtec": {
            "bottle": _object(209, 20, 63),
            "cable": _object(224, 58, 92),
            "capsule": _object(219, 23, 109, masked=True),
            "carpet": _object(280, 28, 89),
            "grid": _object(264, 21, 57),
            "hazelnut": _object(391, 40, 70, masked=True),
            "leather": _object(245, 32, 92),
            "metal_nut": _object(220, 22, 93),
            "pill": _object(267, 26, 141, masked=True),
            "screw": _object(320, 41, 119, masked=True),
            "tile": _object(230, 33, 84),
            "toothbrush": _object(60, 12, 30, masked=True),
            "transistor": _object(213, 60, 40),
            "wood": _object(247, 19, 60),
            "zipper": _object(240, 32, 119),
        },
        "visa": {
            "candle": _object(900, 100, 100, masked=True),
            "capsules": _object(542, 60, 100, masked=True),
            "cashew": _object(450, 50, 100, masked=True),
            "chewinggum": _object(453, 50, 100, masked=True),
            "fryum": _object(450, 50, 100, masked=True),
            "macaroni1": _object(900, 100, 100, masked=True),
            "macaroni2": _object(900, 100, 100, masked=True),
            "pcb1": _object(904, 100, 100, masked=True),
            "pcb2": _object(901, 100, 100, masked=True),
            "pcb3": _object(905, 101, 100, masked=True),
            "pcb4": _object(904, 101, 100, masked=True),
            "pipe_fryum": _object(450, 50, 100, masked=True),
        },
    }
)

MEANS: Mapping[tuple[str, int, int], Published] = MappingProxyType(
    {
        ("mvtec", 448, 0): Published(93.0),
        ("mvtec", 448, 1): Published(96.5, 96.3, 57.9, 91.7),
        ("mvtec", 448, 2): Published(96.7, 96.5, 58.5, 92.0),
        ("mvtec", 448, 4): Published(97.6, 96.7, 59.2, 92.4),
        ("mvtec", 448, 8): Published(98.0, 97.0, 59.6, 92.7),
        ("mvtec", 448, 16): Published(98.3, 97.1, 60.0, 92.9),
        ("mvtec", 672, 0): Published(94.2),
        ("mvtec", 672, 1): Published(96.6, 96.8, 60.2, 92.7),
        ("mvtec", 672, 2): Published(96.9),
        ("mvtec", 672, 4): Published(97.7),
        ("mvtec", 672, 8): Published(98.2),
        ("mvtec", 672, 16): Published(98.4, 97.5, 62.7, 94.0),
        ("visa", 448, 0): Published(89.7),
        ("visa", 448, 1): Published(85.6, 97.5, 41.9, 90.7),
        ("visa", 448, 2): Published(88.3),
        ("visa", 448, 4): Published(91.3),
        ("visa", 448, 8): Published(92.6),
        ("visa", 448, 16): Published(93.8, 98.3, 48.6, 93.8),
        ("visa", 672, 0): Published(90.7),
        ("visa", 672, 1): Published(87.4, 97.8, 45.1, 92.5),
        ("visa", 672, 2): Published(89.7),
        ("visa", 672, 4): Published(92.6),
        ("visa", 672, 8): Published(93.8),
        ("visa", 672, 16): Published(94.8, 98.5, 52.5, 95.3),
    }
)
"""Means over the whole data set, by data set, resolution and shots; 0 is the batched zero-shot (Table 4)."""

ONE_SHOT_448: Mapping[tuple[str, str], Published] = MappingProxyType(
    {
        ("mvtec", "bottle"): Published(99.47, 98.85, pro=96.11),
        ("mvtec", "cable"): Published(91.56, 93.45, pro=88.19),
        ("mvtec", "capsule"): Published(90.01, 98.28, pro=96.58),
        ("mvtec", "carpet"): Published(100.0, 99.13, pro=97.88),
        ("mvtec", "grid"): Published(99.19, 99.12, pro=96.09),
        ("mvtec", "hazelnut"): Published(98.00, 99.44, pro=97.45),
        ("mvtec", "leather"): Published(100.0, 98.92, pro=97.85),
        ("mvtec", "metal_nut"): Published(99.89, 95.96, pro=93.77),
        ("mvtec", "pill"): Published(92.33, 96.99, pro=96.70),
        ("mvtec", "screw"): Published(89.15, 97.88, pro=90.78),
        ("mvtec", "tile"): Published(99.98, 95.80, pro=88.65),
        ("mvtec", "toothbrush"): Published(99.63, 99.14, pro=94.34),
        ("mvtec", "transistor"): Published(90.89, 84.00, pro=64.36),
        ("mvtec", "wood"): Published(98.83, 94.71, pro=93.86),
        ("mvtec", "zipper"): Published(98.85, 92.26, pro=83.19),
        ("visa", "candle"): Published(87.34),
        ("visa", "capsules"): Published(98.73),
        ("visa", "cashew"): Published(85.10),
        ("visa", "chewinggum"): Published(98.15),
        ("visa", "fryum"): Published(95.65),
        ("visa", "macaroni1"): Published(81.99),
        ("visa", "macaroni2"): Published(60.22),
        ("visa", "pcb1"): Published(87.89),
        ("visa", "pcb2"): Published(82.88),
        ("visa", "pcb3"): Published(81.41),
        ("visa", "pcb4"): Published(76.56),
        ("visa", "pipe_fryum"): Published(91.85),
    }
)
"""By data set and object; 1 shot at 448 px."""


def published_mean(dataset: str, resolution: int, shots: int) -> tuple[Published, int] | None:
    """The mean over a data set, and the resolution it was taken at.

    Where the resolution asked for was not published, the one at 448 px is given, so that there is something
    to look at beside ours; :func:`edgead.evaluation.comparability.why_not_comparable` says so then.
    """
    taken_at = resolution if resolution in RESOLUTIONS else RESOLUTIONS[0]
    found = MEANS.get((dataset, taken_at, shots))
    return None if found is None else (found, taken_at)


def published_object(dataset: str, name: str, shots: int) -> tuple[Published, int] | None:
    """The numbers of one object, and the resolution they were taken at."""
    found = ONE_SHOT_448.get((dataset, name)) if shots == 1 else None
    return None if found is None else (found, RESOLUTIONS[0])
