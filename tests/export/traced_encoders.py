"""Tiny encoders as ONNX graphs, and what a precision makes of them."""

import numpy as np
from edgead_export.encoder_module import PatchEncoder
from edgead_export.tracing import trace
from edgead_export.weights.loading import build_model
from edgead_runtime.agreement import GateLimits
from edgead_runtime.engines import EngineOptions, create_engine

LOOSE = GateLimits(rank_correlation_min=0.5, score_error_median=0.3, score_error_max=0.6)
"""Random weights have no structure that a gate could hold them to."""
_GRID = (4, 6)


def traced_encoder(tiny, random_weights, name, opset=17):
    """The graph of a tiny backbone with random weights, and the size of its pictures (height, width)."""
    spec = tiny(name)
    size = tuple(count * spec.patch_size for count in _GRID)
    weights = random_weights(spec)
    encoder = PatchEncoder(
        build_model(spec, weights.state, "random"),
        spec,
        size=size,
        layers=(1, 3),
        attention=True,
        position_rule=spec.position_rule,
    ).eval()
    return trace(encoder, size, opset=opset, dynamic_batch=False), size


def inputs_of(size, count=2):
    """Noise of this size, one picture a run."""
    random = np.random.default_rng(0)
    return [{"image": random.standard_normal((1, 3, *size), dtype=np.float32)} for _ in range(count)]


def run(model, feeds, precision="fp32"):
    """What a graph gives in ONNX Runtime."""
    options = EngineOptions(precision=precision, threads=1)
    with create_engine(model.SerializeToString(), "onnxruntime", options) as engine:
        return engine.run(feeds)


def apart(found, expected):
    """The largest relative distance between outputs of one name."""
    return max(
        float(np.linalg.norm(found[name] - expected[name]) / np.linalg.norm(expected[name]))
        for name in expected
    )
