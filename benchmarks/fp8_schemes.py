"""Ways to make an fp8 file, calibrated on the same pictures and before the same gate.

    edgead export --res 224 --out BUNDLE
    python -m benchmarks.fp8_schemes BUNDLE FOLDER [FOLDER ...]

Each FOLDER has good pictures of one part. ONNX Runtime computes all of them on the processor, slowly; what is
not fp8 is float16, as in the files that the export writes. The last lines are what the export tries one after
the other: with more and more of the most sensitive layers in float16.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from edgead_export.parity import parity_pictures
from edgead_export.precisions.fp8 import quantize_linears_to_fp8
from edgead_export.precisions.linears import find_linears
from edgead_export.precisions.making import fp8_attempts, rest_in_half, too_large_for_half
from edgead_export.precisions.offering import GatePictures
from edgead_export.precisions.statistics import observe
from edgead_runtime import Encoder, EncoderBundle
from edgead_runtime.agreement import Gate
from edgead_runtime.engines import EngineOptions, create_engine

from benchmarks.common import GATE_HEADER, gate_cells, machine, save, table

Feeds = dict[str, Any]


def not_centered(model: onnx.ModelProto, inputs: Sequence[Feeds]) -> onnx.ModelProto:
    """All linear layers in fp8, with the means of their channels."""
    ranges = observe(model, [linear.source for linear in find_linears(model)], inputs)
    made = quantize_linears_to_fp8(model, ranges)
    return rest_in_half(made, too_large_for_half(model, inputs))


def ways(model: onnx.ModelProto, inputs: Sequence[Feeds]) -> Iterator[tuple[str, onnx.ModelProto]]:
    """What each is called, and its graph."""
    yield "not centered", not_centered(model, inputs)
    for attempt in fp8_attempts(model, inputs):
        left = f", {len(attempt.kept)} layers in float16" if attempt.kept else ""
        yield f"centered{left}", attempt.model


def judge(bundle: EncoderBundle, folder: Path) -> list[list[str]]:
    """A row for each way."""
    pictures = GatePictures.of(parity_pictures(folder), one_part=True)
    with Encoder.load(bundle, engine="onnxruntime", fused=False) as reference:
        gate = Gate(reference, pictures.scenes)
        name = bundle.manifest.input.name
        inputs = [{name: reference.preprocessor(picture.frame)[None]} for picture in pictures.calibration]
    rows = []
    for title, model in ways(onnx.load_from_string(bundle.read_model()), inputs):
        engine = create_engine(model.SerializeToString(), "onnxruntime", EngineOptions(precision="fp8"))
        with Encoder(bundle, engine) as candidate:
            report, _ = gate.judge(candidate, "fp8")
        rows.append([str(folder), title, *gate_cells(report)])
        print(*rows[-1], flush=True)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge them and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("good", type=Path, nargs="+")
    options = parser.parse_args(arguments)
    bundle = EncoderBundle.open(options.bundle)
    rows = [row for folder in options.good for row in judge(bundle, folder)]
    header = ["good pictures", "linear layers in fp8", *GATE_HEADER]
    save("fp8_schemes", f"On {machine()['cpu']}.\n\n{table(header, rows)}", {"rows": rows})


if __name__ == "__main__":
    main()
