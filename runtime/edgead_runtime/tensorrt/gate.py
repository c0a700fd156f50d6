"""The parity gate for an engine of a bundle: who is compared with whom. How is in ``parity.py``."""

from __future__ import annotations

from collections.abc import Sequence

from edgead_runtime.encoder import Encoder
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.images import Picture
from edgead_runtime.manifest import Precision
from edgead_runtime.tensorrt.engine import TensorRtEngine
from edgead_runtime.tensorrt.parity import compare, compare_search
from edgead_runtime.tensorrt.record import EngineParity


def judge(
    bundle: EncoderBundle,
    engine: TensorRtEngine,
    precision: Precision,
    pictures: Sequence[Picture],
    neighbours: int = 1,
) -> EngineParity:
    """Compare an engine with ONNX Runtime in fp32; it is closed then.

    Args:
        bundle: Whose graph it runs.
        engine: Its record says which graph that is, and how large a bank it takes.
        precision: Of the bundle's file.
        pictures: At least two.
        neighbours: Of a search.
    """
    record = engine.record
    with engine, Encoder.load(bundle, engine="onnxruntime", device="cpu", fused=False) as reference:
        if record.graph == "search":
            return compare_search(reference, engine, pictures, neighbours)
        frame_file = bundle.manifest.frame_of(precision) if record.graph == "frame" else None
        with Encoder(bundle, engine, frame_file) as tested:
            return compare(reference, tested, pictures, record.precision, record.options.bank_blocks[1])
