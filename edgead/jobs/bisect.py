"""Where in an encoder a precision or an engine begins to compute something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from edgead_runtime.bank import normalize
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.engines import Array, Engine, EngineOptions, create_engine, default_device
from edgead_runtime.images import Picture
from edgead_runtime.manifest import Precision
from edgead_runtime.precision import plan_execution
from edgead_runtime.preprocess import Preprocessor
from edgead_runtime.tensorrt.api import FLAVOURS
from edgead_runtime.tensorrt.building import build_in_memory, check_precision
from edgead_runtime.tensorrt.parity import LIMITS
from numpy.typing import NDArray

_REFERENCE_ENGINE = "onnxruntime"


@dataclass(frozen=True)
class StageAgreement:
    """One place in the residual stream, over all pictures."""

    stage: str
    cosine_mean: float
    cosine_min: float
    """Of the token that is farthest off; -1 where there is something that is no number."""


@dataclass(frozen=True)
class Bisection:
    """The residual stream of a precision in an engine, beside that of fp32 in ONNX Runtime."""

    engine: str
    precision: str
    pictures: int
    limit: float
    stages: tuple[StageAgreement, ...]
    first_below: str | None
    """The first stage whose worst token is below the limit."""


def bisect(
    bundle: EncoderBundle,
    precision: Precision,
    *,
    engine: str = "auto",
    threads: int | None = None,
    pictures: Sequence[Picture] | Path | None = None,
) -> Bisection:
    """Compare what is between the blocks of an encoder, by the cosine of each token.

    Both graphs get their residual stream as outputs, which keeps an engine from fusing across blocks.
    For TensorRT the changed graph is built here and now, in memory.

    Args:
        bundle: The encoder.
        precision: Which of its files, or bf16.
        engine: A name, or ``auto`` for the fastest that runs it.
        threads: Of the engine.
        pictures: Pictures or a folder of them; by default those of the parity report.

    Raises:
        EngineUnavailableError: It does not run here.
        BundleError: The bundle has no such file.
        TraceError: The encoder has no blocks.
    """
    from edgead_export.parity import parity_pictures
    from edgead_export.residual_stages import with_residual_stages

    manifest = bundle.manifest
    chosen = parity_pictures(pictures) if pictures is None or isinstance(pictures, Path) else list(pictures)
    prepare = Preprocessor(manifest.input, manifest.preprocess, manifest.patch_size)
    inputs = [{manifest.input.name: prepare(picture.frame)[None]} for picture in chosen]
    plan = plan_execution(manifest, precision, engine)
    right, stages = with_residual_stages(bundle.read_model())
    tested, its_stages = with_residual_stages(bundle.read(plan.file))
    outputs = list(stages.values())
    options = EngineOptions(
        device=default_device(engine),
        threads=threads,
        precision=plan.engine_precision,
        rest_in_bf16=plan.rest_in_bf16,
    )
    with create_engine(right, _REFERENCE_ENGINE, EngineOptions(threads=threads)) as reference:
        expected = [reference.run(feeds, outputs) for feeds in inputs]
    with _open(bundle, tested, engine, options, precision, plan.without) as candidate:
        found = [candidate.run(feeds, list(its_stages.values())) for feeds in inputs]
        name = candidate.name
    rows = []
    for stage, output in stages.items():
        pairs = [(one[output], other[its_stages[stage]]) for one, other in zip(expected, found, strict=True)]
        cosines = np.concatenate([_cosines(*pair) for pair in pairs])
        rows.append(StageAgreement(stage, round(float(cosines.mean()), 6), round(float(cosines.min()), 6)))
    limit = LIMITS[precision].cosine
    first = next((row.stage for row in rows if row.cosine_min < limit), None)
    return Bisection(name, precision, len(chosen), limit, tuple(rows), first)


def _open(
    bundle: EncoderBundle,
    model: bytes,
    engine: str,
    options: EngineOptions,
    precision: Precision,
    without: Sequence[str],
) -> Engine:
    if engine in FLAVOURS:
        check_precision(bundle, precision)
        return build_in_memory(model, FLAVOURS[engine].name, precision)
    return create_engine(model, engine, options, without=without)


def _cosines(expected: Array, found: Array) -> NDArray[np.float64]:
    """Of each token ``[tokens]``; -1 for one that is not all numbers."""
    size = expected.shape[-1]
    first, second = (np.asarray(part, np.float32).reshape(-1, size) for part in (expected, found))
    whole = np.isfinite(second).all(axis=1)
    cosines = np.full(len(first), -1.0)
    cosines[whole] = np.einsum("td,td->t", normalize(first[whole]), normalize(second[whole]))
    return cosines
