"""Whether the frame graph gives what the stages give, on real pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from edgead_runtime import frame_graph
from edgead_runtime.anomaly_map import axis_matrix, make_map
from edgead_runtime.bank import normalize
from edgead_runtime.engines import Array, Engine, EngineOptions, create_engine
from edgead_runtime.images import Picture
from edgead_runtime.index import nearest_distances
from edgead_runtime.manifest import EncoderManifest, Precision
from edgead_runtime.preprocess import Preprocessor
from edgead_runtime.scoring import image_score
from numpy.typing import NDArray

from edgead_export.fusing import fused_feature

DISTANCE_LIMIT = 1e-4
"""Of patch distances and score, in units of cosine distance."""
MAP_LIMIT = 1e-3
_SIGMA_PX = 4.0


@dataclass(frozen=True)
class FrameOutputParity:
    """One picture against all the others: largest differences, in units of cosine distance."""

    picture: str
    distance_error: float
    score_error: float
    map_error: float


@dataclass(frozen=True)
class FrameParity:
    """The verdict on the frame graph, with everything it rests on."""

    engine: str
    distance_limit: float
    map_limit: float
    distance_error_max: float
    score_error_max: float
    map_error_max: float
    passed: bool
    rows: tuple[FrameOutputParity, ...]


def compare_frame(
    frame_file: bytes,
    encoder_file: bytes,
    manifest: EncoderManifest,
    pictures: Sequence[Picture],
    precision: Precision = "fp32",
) -> FrameParity:
    """Run the frame graph and the stages on the pictures, as the runtime does, and compare.

    Graph and stages normalize a frame with other roundings (1e-7). In front of a quantizer that is now and
    then a whole level, so that features of a smaller precision are not the same twice. What is put around
    such an encoder is compared for the features that the graph itself gives.

    Args:
        frame_file: The file under test.
        encoder_file: The encoder by itself, which was compared with torch.
        manifest: Of the encoder; its files are not looked at.
        pictures: At least two; each is compared with all the others.
        precision: Of both files.
    """
    options = EngineOptions(precision=precision if precision in ("int8", "fp8") else "fp32")
    preprocess = Preprocessor(manifest.input, manifest.preprocess, manifest.patch_size)
    feature = fused_feature(manifest)
    with create_engine(encoder_file, "onnxruntime", options) as engine:
        runs = [engine.run({manifest.input.name: preprocess(picture.frame)[None]}) for picture in pictures]
    tokens = [normalize(_floats(outputs, feature.name)[0]) for outputs in runs]
    rows = []
    with create_engine(frame_file, "onnxruntime", options) as engine:
        for index, picture in enumerate(pictures):
            bank = [others for number, others in enumerate(tokens) if number != index]
            outputs = _run(engine, preprocess.resize(picture.frame), bank, manifest)
            given = _floats(outputs, feature.name)[0]
            query = tokens[index] if precision == "fp32" else normalize(given)
            distances = nearest_distances(query, bank).reshape(manifest.grid)
            size = manifest.input.height, manifest.input.width
            score = image_score(distances, frame_graph.TOP_FRACTION)
            drawn = make_map(distances, size, _SIGMA_PX)
            rows.append(
                FrameOutputParity(
                    picture=picture.name,
                    distance_error=_difference(_floats(outputs, frame_graph.DISTANCES), distances),
                    score_error=_difference(_floats(outputs, frame_graph.SCORE), np.float32(score)),
                    map_error=_difference(_floats(outputs, frame_graph.MAP), drawn),
                )
            )
        engine_name = engine.name
    return _verdict(rows, engine_name)


def _run(
    engine: Engine, pixels: Array, bank: Sequence[NDArray[np.float32]], manifest: EncoderManifest
) -> dict[str, Array]:
    rows, columns = manifest.grid
    block_rows = frame_graph.block_rows_for(rows * columns)
    blocks = frame_graph.fill_blocks(np.concatenate(bank), block_rows)
    # One block more than is filled, to see that it does not count.
    unused = np.zeros_like(blocks[:1])
    bias = np.zeros((len(blocks) + 1, 1), np.float32)
    bias[-1] = frame_graph.UNUSED
    return engine.run(
        {
            frame_graph.FRAME: pixels[None],
            frame_graph.BANK: np.concatenate([blocks, unused]),
            frame_graph.BANK_BIAS: bias,
            frame_graph.PATCH_WEIGHTS: np.ones(manifest.grid, np.float32),
            frame_graph.MAP_DOWN: axis_matrix(rows, manifest.input.height, _SIGMA_PX),
            frame_graph.MAP_ACROSS: axis_matrix(columns, manifest.input.width, _SIGMA_PX),
        }
    )


def _verdict(rows: Sequence[FrameOutputParity], engine: str) -> FrameParity:
    # numpy's maximum, since it keeps a NaN, and a NaN fails.
    distance, score, drawn = (
        float(np.max([getattr(row, name) for row in rows]))
        for name in ("distance_error", "score_error", "map_error")
    )
    return FrameParity(
        engine=engine,
        distance_limit=DISTANCE_LIMIT,
        map_limit=MAP_LIMIT,
        distance_error_max=distance,
        score_error_max=score,
        map_error_max=drawn,
        passed=distance <= DISTANCE_LIMIT and score <= DISTANCE_LIMIT and drawn <= MAP_LIMIT,
        rows=tuple(rows),
    )


def _floats(outputs: dict[str, Array], name: str) -> NDArray[np.float32]:
    return np.asarray(outputs[name], dtype=np.float32)


def _difference(found: NDArray[np.float32], expected: NDArray[np.float32] | np.float32) -> float:
    return float(np.abs(found - expected).max())
