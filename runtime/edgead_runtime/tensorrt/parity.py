"""Whether an engine computes what its ONNX file computes, on real pictures; after every build on a device.

TensorRT has given wrong numbers for vision transformers without a word, in fp16 and in fp32 (its issues
#4558, #4723 and #4742 on GitHub: cosines down to 0.02). What is compared is what a detector depends on: the
direction of each patch feature, and in a distance map the order of the patches and the distances themselves:
a map that is all twice too large is in the right order, and alarms on every good part.

The gate runs in the tests on a simulated device; it has not judged an engine of a real one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgead_runtime import frame_graph
from edgead_runtime.agreement import rank_correlation
from edgead_runtime.bank import normalize
from edgead_runtime.encoder import Encoder
from edgead_runtime.engines.protocol import Engine
from edgead_runtime.errors import BundleError, EngineBuildError, EngineUnavailableError, PictureError
from edgead_runtime.images import Picture, decode_picture, find_pictures, read_picture
from edgead_runtime.index import EngineSearch, nearest_distances
from edgead_runtime.tensorrt.record import EngineParity

Floats = NDArray[np.float32]
_MOST_PICTURES = 16
_AS_WRONG_AS_CAN_BE = 1e6
"""An error that JSON can hold, which has no infinity."""
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Limits:
    """What an engine must reach on every picture."""

    cosine: float
    rank_correlation: float
    distance_error: float = 0.25
    """Root mean square of a map's errors, as a share of that of the map."""


LIMITS = {
    "fp32": Limits(cosine=0.999, rank_correlation=0.999, distance_error=0.01),
    "fp16": Limits(cosine=0.99, rank_correlation=0.99, distance_error=0.05),
    "bf16": Limits(cosine=0.97, rank_correlation=0.97, distance_error=0.15),
    "int8": Limits(cosine=0.9, rank_correlation=0.9, distance_error=0.25),
    "fp8": Limits(cosine=0.9, rank_correlation=0.9, distance_error=0.25),
}
"""By the precision of the ONNX file, against fp32. They tell a working engine from a broken one: what the
precision itself costs was judged when the file was exported."""


def gate_pictures(folder: Path | None = None) -> list[Picture]:
    """Four small pictures of the distribution's own, or the first sixteen of a folder.

    Raises:
        PictureError: The folder has fewer than two, or one cannot be read.
    """
    if folder is None:
        bundled = resources.files("edgead_runtime.tensorrt") / "pictures"
        files = sorted((entry for entry in bundled.iterdir() if entry.name.endswith(".jpg")), key=str)
        return [decode_picture(entry.read_bytes(), entry.name) for entry in files]
    found = [read_picture(path) for path in find_pictures([folder])[:_MOST_PICTURES]]
    if len(found) < 2:
        raise PictureError(
            f"{folder} has {len(found)} pictures; each is compared with the others", "Give at least two."
        )
    return found


def check_reference() -> None:
    """Refuse to build where nothing can be compared with, before the minutes that a build takes.

    Raises:
        EngineUnavailableError: ONNX Runtime is not installed.
    """
    if find_spec("onnxruntime") is None:
        raise EngineUnavailableError(
            "an engine is compared with ONNX Runtime before it is used, and that is not installed",
            "pip install onnxruntime (it has wheels for Jetsons too), or add --unchecked.",
        )


def compare(
    reference: Encoder, tested: Encoder, pictures: Sequence[Picture], precision: str, most_blocks: int
) -> EngineParity:
    """Compare two encoders of one bundle, and what they find in each picture that the others have not.

    Args:
        reference: In fp32, by ONNX Runtime.
        tested: With the engine in question; where it runs the frame graph, that makes the distances.
        pictures: At least two.
        precision: Of the ONNX file that the engine was built from.
        most_blocks: How large a bank the engine takes.
    """
    expected = [reference.encode(picture.frame, layers="all").layers for picture in pictures]
    searched = _searched(tested)
    rows = [normalize(layers[searched]) for layers in expected]
    cosines: list[float] = []
    maps: list[MapAgreement] = []
    for index, picture in enumerate(pictures):
        try:
            found = tested.encode(picture.frame, layers="all").layers
        except BundleError:  # not finite: as wrong as can be
            return _verdict([-1.0], [MapAgreement.none()] * len(pictures), precision)
        cosines += [_cosine_min(*pair) for pair in zip(expected[index], found, strict=True)]
        others = np.concatenate([bank for other, bank in enumerate(rows) if other != index])
        if tested.frame_file is not None:
            others = others[: most_blocks * tested.frame_file.block_rows]
        right = nearest_distances(rows[index], [others])
        maps.append(MapAgreement.of(right, _distances(tested, picture, found[searched], others)))
    return _verdict(cosines, maps, precision)


def compare_search(
    reference: Encoder, engine: Engine, pictures: Sequence[Picture], neighbours: int
) -> EngineParity:
    """Compare an engine that searches with NumPy, on what is in each picture that the others have not.

    Args:
        reference: Makes the patches; in fp32, by ONNX Runtime.
        engine: Runs :func:`edgead_runtime.index.in_engine.search_graph`.
        pictures: At least two.
        neighbours: How many of the nearest the graph gives.

    Returns:
        Its cosine is that of two distance maps.
    """
    rows = [normalize(reference.encode(picture.frame).tokens) for picture in pictures]
    search = EngineSearch(lambda _dim, _neighbours: engine)
    cosines: list[float] = []
    maps: list[MapAgreement] = []
    for index, queries in enumerate(rows):
        others = [bank for other, bank in enumerate(rows) if other != index]
        right = nearest_distances(queries, others, neighbours)
        found = search.nearest_distances(queries, others, neighbours)
        cosines.append(_cosine_min(right[None], found[None]) if np.isfinite(found).all() else -1.0)
        maps.append(MapAgreement.of(right, found))
    return _verdict(cosines, maps, "fp32")


@dataclass(frozen=True)
class MapAgreement:
    """How far a distance map is from the right one."""

    rank_correlation: float
    """Spearman's; -1 for what is no map at all."""
    error: float
    """Root mean square of the errors, as a share of that of the right map."""

    @classmethod
    def none(cls) -> MapAgreement:
        """Of what is not all numbers."""
        return cls(-1.0, _AS_WRONG_AS_CAN_BE)

    @classmethod
    def of(cls, right: Floats, found: Floats) -> MapAgreement:
        """Compare two maps of one shape."""
        if not np.isfinite(found).all() or found.std() == 0:
            return cls.none()
        scale = max(float(np.sqrt(np.mean(np.square(right)))), _TINY)
        error = float(np.sqrt(np.mean(np.square(found - right)))) / scale
        return cls(rank_correlation(right, found), min(error, _AS_WRONG_AS_CAN_BE))


def _verdict(cosines: Sequence[float], maps: Sequence[MapAgreement], precision: str) -> EngineParity:
    limits = LIMITS[precision]
    # Python's min passes over what is no number where that is not the first; it must not pass here.
    cosine = float(np.min(_or_else(cosines, -1.0)))
    correlation = float(np.min(_or_else([one.rank_correlation for one in maps], -1.0)))
    error = float(np.max(_or_else([one.error for one in maps], _AS_WRONG_AS_CAN_BE)))
    return EngineParity(
        pictures=len(maps),
        cosine_min=round(cosine, 6),
        rank_correlation_min=round(correlation, 6),
        distance_error_max=round(error, 6),
        passed=cosine >= limits.cosine
        and correlation >= limits.rank_correlation
        and error <= limits.distance_error,
    )


def _or_else(values: Sequence[float], worst: float) -> NDArray[np.float64]:
    """The values, with the worst in the place of those that are no numbers."""
    found = np.asarray(values, np.float64)
    return np.where(np.isfinite(found), found, worst)


def require_passed(parity: EngineParity, precision: str, tensorrt: str) -> None:
    """Refuse an engine that computes something else.

    Raises:
        EngineBuildError: With how far it is off, and what to try.
    """
    if parity.passed:
        return
    limits = LIMITS[precision]
    others = " or ".join(name for name in ("fp16", "bf16", "fp32") if name != precision)
    raise EngineBuildError(
        f"the engine does not compute what its {precision} ONNX file computes: {parity.figures()} (limits "
        f"{limits.cosine}, {limits.rank_correlation}, {limits.distance_error:.0%}); it was not written",
        f"Build from another precision ({others}), or with another TensorRT than {tensorrt}.",
    )


def _searched(encoder: Encoder) -> int:
    """Which of all layers, in their order, distances are made from."""
    outputs = encoder.feature_outputs("all")
    layer = outputs[-1].layer if encoder.frame_file is None else encoder.frame_file.layer
    return [output.layer for output in outputs].index(layer)


def _distances(tested: Encoder, picture: Picture, tokens: Floats, bank: Floats) -> Floats:
    if tested.frame_file is None:
        return nearest_distances(normalize(tokens), [bank])
    blocks = frame_graph.fill_blocks(bank, tested.frame_file.block_rows)
    feeds = {
        frame_graph.BANK: blocks,
        frame_graph.BANK_BIAS: np.zeros((len(blocks), 1), np.float32),
        frame_graph.PATCH_WEIGHTS: np.ones(tested.manifest.grid, np.float32),
        **frame_graph.no_map(tested.manifest.grid),
    }
    found = tested.run_frame(picture.frame, feeds, [frame_graph.DISTANCES])[frame_graph.DISTANCES]
    return found.reshape(-1).astype(np.float32, copy=False)


def _cosine_min(first: Floats, second: Floats) -> float:
    return float(np.einsum("nd,nd->n", normalize(first), normalize(second)).min())
