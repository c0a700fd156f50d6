"""Ways to make an int8 file, calibrated on the same pictures and before the same gate.

    edgead export --res 224 --out BUNDLE
    python -m benchmarks.int8_schemes BUNDLE FOLDER

FOLDER has good pictures of one part. NNCF is among them where it is installed (``pip install nncf``, in an
environment of its own: edgead does not need it). OpenVINO runs all of them, the float32 part in float32.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from edgead_export.parity import parity_pictures
from edgead_export.precisions.int8 import quantize_linears
from edgead_export.precisions.linears import find_linears
from edgead_export.precisions.offering import GatePictures
from edgead_export.precisions.smoothing import smooth
from edgead_export.precisions.statistics import observe
from edgead_runtime import Encoder, EncoderBundle
from edgead_runtime.agreement import Gate

from benchmarks.common import GATE_HEADER, gate_cells, machine, save, table

STRENGTHS = (None, 0.35, 0.5, 0.65, 0.8)
"""Of smoothing; ``None``: without."""
Feeds = dict[str, Any]


class _Compiled:
    """A compiled model as an engine."""

    def __init__(self, compiled: Any) -> None:
        self.name = "openvino/cpu/int8"
        self._request = compiled.create_infer_request()
        self._outputs = [output.get_any_name() for output in compiled.outputs]

    def run(self, feeds: Mapping[str, Any], _outputs: Sequence[str] | None = None) -> Feeds:
        """Run once; all outputs."""
        self._request.infer(dict(feeds))
        return {
            name: np.array(self._request.get_output_tensor(place).data)
            for place, name in enumerate(self._outputs)
        }

    def close(self) -> None:
        """Nothing to release."""


def quantized(fp32: onnx.ModelProto, inputs: Sequence[Feeds], strength: float | None) -> bytes:
    """All linear layers in int8, smoothed or not."""
    model = onnx.ModelProto()
    model.CopyFrom(fp32)
    ranges = observe(model, [linear.source for linear in find_linears(model)], list(inputs))
    if strength is not None:
        ranges = smooth(model, ranges, strength)
    return bytes(quantize_linears(model, ranges).SerializeToString())


def by_nncf(core: Any, fp32: bytes, inputs: Sequence[Feeds]) -> Any:
    """NNCF's own way for transformers, with its SmoothQuant."""
    import nncf

    return nncf.quantize(
        core.read_model(io.BytesIO(fp32)),
        nncf.Dataset(inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        subset_size=len(inputs),
    )


def main() -> None:
    """Judge them and print the table."""
    import openvino as ov

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("good", type=Path)
    options = parser.parse_args()
    bundle = EncoderBundle.open(options.bundle)
    pictures = GatePictures.of(parity_pictures(options.good), one_part=True)
    core = ov.Core()
    with Encoder.load(bundle, engine="onnxruntime", fused=False) as reference:
        gate = Gate(reference, pictures.scenes)
        name = bundle.manifest.input.name
        inputs = [{name: reference.preprocessor(picture.frame)[None]} for picture in pictures.calibration]
    fp32 = bundle.read_model()
    graph = onnx.load_from_string(fp32)
    models: dict[str, Any] = {
        "not smoothed" if strength is None else f"smoothed, strength {strength}": core.read_model(
            io.BytesIO(quantized(graph, inputs, strength))
        )
        for strength in STRENGTHS
    }
    if find_spec("nncf") is not None:
        models["NNCF (TRANSFORMER, SmoothQuant)"] = by_nncf(core, fp32, inputs)
    rows: list[list[object]] = []
    for title, model in models.items():
        engine: Any = _Compiled(core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}))
        report, _ = gate.judge(Encoder(bundle, engine), "int8")
        rows.append([title, *gate_cells(report)])
        print(*rows[-1], flush=True)
    header = ["all linear layers in int8", *GATE_HEADER]
    save("int8_schemes", f"On {machine()['cpu']}.\n\n{table(header, rows)}", {"rows": rows})


if __name__ == "__main__":
    main()
