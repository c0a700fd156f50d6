"""Whether an ONNX file computes what torch computes, on real pictures.

Measured is what a detector depends on: the direction of each patch feature, the order of the patches in
a nearest-neighbour distance map, and the image score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import msgspec
import numpy as np
import torch
from edgead_runtime.agreement import GateReport, rank_correlation
from edgead_runtime.engines import EngineOptions, create_engine
from edgead_runtime.images import Picture, decode_picture, find_pictures, read_picture
from edgead_runtime.manifest import EncoderManifest
from edgead_runtime.preprocess import Preprocessor
from numpy.typing import NDArray

from edgead_export.encoder_module import ATTENTION_OUTPUT, PatchEncoder
from edgead_export.errors import ParityError
from edgead_export.frame_parity import FrameParity
from edgead_export.tracing import INPUT_NAME

Floats = NDArray[np.float32]
MAX_PICTURES = 16
_TOP_FRACTION = 0.01
_QUERY_ROWS = 1024


@dataclass(frozen=True)
class ParityLimits:
    """What a file must reach on every picture and output to be offered."""

    cosine_min: float
    rank_correlation_min: float
    score_error_max: float


PARITY_LIMITS: dict[str, ParityLimits] = {
    "fp32": ParityLimits(cosine_min=0.9999, rank_correlation_min=0.999, score_error_max=0.001)
}


@dataclass(frozen=True)
class OutputParity:
    """One output on one picture. Scores are those of patch features; attention has none."""

    picture: str
    output: str
    cosine_min: float
    cosine_mean: float
    max_abs_diff: float
    rank_correlation: float
    """Spearman's, of the nearest-neighbour distance map (of the attention itself for attention)."""
    score_torch: float | None
    score_onnx: float | None
    score_error: float
    """Relative."""


@dataclass(frozen=True)
class DistanceMaps:
    """Nearest-neighbour distance maps of one picture, ``[rows, columns]``, for drawing."""

    picture: Picture
    torch: Floats
    onnx: Floats


@dataclass(frozen=True)
class ParityReport:
    """The verdict on one file, with everything it rests on."""

    precision: str
    reference: str
    engine: str
    limits: ParityLimits
    cosine_min: float
    cosine_mean: float
    max_abs_diff: float
    rank_correlation_min: float
    score_error_max: float
    passed: bool
    rows: tuple[OutputParity, ...]
    frame: FrameParity | None = None
    """Of the frame graph with the stages, where one was made."""
    gates: tuple[GateReport, ...] = ()
    """Of the other precisions with fp32, those that are not offered as well."""

    def to_json(self) -> bytes:
        """The report as indented JSON."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"

    def require_passed(self) -> None:
        """Refuse the files if they do not agree.

        Raises:
            ParityError: A limit is broken.
        """
        if not self.passed:
            raise ParityError(
                f"the {self.precision} file does not agree with torch: patch cosine min "
                f"{self.cosine_min:.6f} (limit {self.limits.cosine_min}), rank correlation "
                f"{self.rank_correlation_min:.4f} (limit {self.limits.rank_correlation_min}), "
                f"score error {self.score_error_max:.2%} (limit {self.limits.score_error_max:.1%})",
                "Nothing was written. Try another torch or ONNX Runtime release, or report this.",
            )
        if self.frame is not None:
            require_same_frame(self.frame)


def require_same_frame(frame: FrameParity) -> None:
    """Refuse a frame graph that does not compute what the stages do.

    Raises:
        ParityError: A limit is broken.
    """
    if not frame.passed:
        raise ParityError(
            f"the frame graph does not agree with the stages: distances differ by up to "
            f"{frame.distance_error_max:.1e}, scores by {frame.score_error_max:.1e} (limit "
            f"{frame.distance_limit:.0e}), maps by {frame.map_error_max:.1e} (limit "
            f"{frame.map_limit:.0e})",
            "Nothing was written. Export without --fuse, or report this.",
        )


def parity_pictures(folder: Path | None = None) -> list[Picture]:
    """The bundled pictures, or the first sixteen of a folder.

    Raises:
        ParityError: The folder has fewer than two.
        PictureError: One of them cannot be read.
    """
    if folder is not None:
        pictures = [read_picture(path) for path in find_pictures([folder])[:MAX_PICTURES]]
    else:
        bundled = sorted(
            (entry for entry in resources.files("edgead_export").joinpath("pictures").iterdir()),
            key=lambda entry: entry.name,
        )
        pictures = [
            decode_picture(entry.read_bytes(), entry.name) for entry in bundled if entry.name.endswith(".jpg")
        ]
    if len(pictures) < 2:
        raise ParityError(
            f"{folder} has {len(pictures)} pictures; each is compared with the others",
            "Give a folder of at least two.",
        )
    return pictures


def compare(
    encoder: PatchEncoder,
    onnx_file: bytes,
    manifest: EncoderManifest,
    pictures: Sequence[Picture],
    precision: str = "fp32",
) -> tuple[ParityReport, list[DistanceMaps]]:
    """Run both on the pictures, as the runtime will, and compare.

    Args:
        encoder: The torch module, fp32: the reference.
        onnx_file: The file under test.
        manifest: Says how the runtime will prepare its frames; its files are not looked at.
        pictures: At least two.
        precision: Chooses the limits.

    Returns:
        The report, and the maps of the last feature output.
    """
    preprocess = Preprocessor(manifest.input, manifest.preprocess, manifest.patch_size)
    images = [preprocess(picture.frame)[None] for picture in pictures]
    with torch.inference_mode():
        expected = [[output.numpy()[0] for output in encoder(torch.from_numpy(image))] for image in images]
    with create_engine(onnx_file, "onnxruntime", EngineOptions()) as engine:
        found = [
            [output[0] for output in _in_order(engine.run({INPUT_NAME: image}), encoder)] for image in images
        ]
        engine_name = engine.name
    rows: list[OutputParity] = []
    maps: list[DistanceMaps] = []
    for position, output in enumerate(encoder.output_names):
        torch_side = [outputs[position] for outputs in expected]
        onnx_side = [outputs[position] for outputs in found]
        if output == ATTENTION_OUTPUT:
            rows += [
                _compare_attention(picture.name, *pair)
                for picture, *pair in zip(pictures, torch_side, onnx_side, strict=True)
            ]
            continue
        distances = list(zip(pictures, _distances(torch_side), _distances(onnx_side), strict=True))
        rows += [
            _compare_features(picture.name, output, (torch_side[i], onnx_side[i]), (by_torch, by_onnx))
            for i, (picture, by_torch, by_onnx) in enumerate(distances)
        ]
        maps = [
            DistanceMaps(picture, by_torch.reshape(manifest.grid), by_onnx.reshape(manifest.grid))
            for picture, by_torch, by_onnx in distances
        ]
    return _report(rows, precision, engine_name), maps


def _in_order(outputs: dict[str, NDArray[np.generic]], encoder: PatchEncoder) -> list[Floats]:
    return [np.asarray(outputs[name], dtype=np.float32) for name in encoder.output_names]


def _report(rows: list[OutputParity], precision: str, engine: str) -> ParityReport:
    limits = PARITY_LIMITS[precision]
    cosine_min = min(row.cosine_min for row in rows)
    rank_correlation_min = min(row.rank_correlation for row in rows)
    score_error_max = max(row.score_error for row in rows)
    return ParityReport(
        precision=precision,
        reference=f"torch {torch.__version__} fp32 eager",
        engine=engine,
        limits=limits,
        cosine_min=cosine_min,
        cosine_mean=float(np.mean([row.cosine_mean for row in rows])),
        max_abs_diff=max(row.max_abs_diff for row in rows),
        rank_correlation_min=rank_correlation_min,
        score_error_max=score_error_max,
        # Written so that a NaN fails.
        passed=cosine_min >= limits.cosine_min
        and rank_correlation_min >= limits.rank_correlation_min
        and score_error_max <= limits.score_error_max,
        rows=tuple(rows),
    )


def _compare_features(
    picture: str, output: str, tokens: tuple[Floats, Floats], maps: tuple[Floats, Floats]
) -> OutputParity:
    by_torch, by_onnx = tokens
    cosines = np.sum(_unit(by_torch) * _unit(by_onnx), axis=1)
    torch_score, onnx_score = (_image_score(distances) for distances in maps)
    return OutputParity(
        picture=picture,
        output=output,
        cosine_min=float(cosines.min()),
        cosine_mean=float(cosines.mean()),
        max_abs_diff=float(np.abs(by_torch - by_onnx).max()),
        rank_correlation=rank_correlation(*maps),
        score_torch=torch_score,
        score_onnx=onnx_score,
        score_error=abs(onnx_score - torch_score) / max(abs(torch_score), 1e-12),
    )


def _compare_attention(picture: str, by_torch: Floats, by_onnx: Floats) -> OutputParity:
    cosine = float(np.sum(_unit(by_torch[None]) * _unit(by_onnx[None])))
    return OutputParity(
        picture=picture,
        output=ATTENTION_OUTPUT,
        cosine_min=cosine,
        cosine_mean=cosine,
        max_abs_diff=float(np.abs(by_torch - by_onnx).max()),
        rank_correlation=rank_correlation(by_torch, by_onnx),
        score_torch=None,
        score_onnx=None,
        score_error=0.0,
    )


def _unit(tokens: Floats) -> NDArray[np.float64]:
    """Rows of unit length; float64, as 1 - cosine cancels."""
    wide = tokens.astype(np.float64)
    unit: NDArray[np.float64] = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return unit


def _distances(tokens: list[Floats]) -> list[Floats]:
    """Of each picture's patches to the nearest patch of all other pictures, ``[N]`` each."""
    unit = [_unit(of_picture).astype(np.float32) for of_picture in tokens]
    distances = []
    for i, queries in enumerate(unit):
        nearest = np.full(len(queries), -1.0, dtype=np.float32)
        for others in (of_picture for j, of_picture in enumerate(unit) if j != i):
            for start in range(0, len(queries), _QUERY_ROWS):
                part = slice(start, start + _QUERY_ROWS)
                nearest[part] = np.maximum(nearest[part], (queries[part] @ others.T).max(axis=1))
        distances.append(1 - nearest)
    return distances


def _image_score(distances: Floats) -> float:
    top = max(1, int(_TOP_FRACTION * distances.size))
    return float(np.sort(distances)[-top:].mean())
