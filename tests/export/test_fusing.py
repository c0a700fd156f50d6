"""Exporting the frame graph: written, compared, refused; with trained weights it gives what stages give."""

import json
from dataclasses import replace

import msgspec
import numpy as np
import onnx
import pytest
from edgead_export import bundle_files
from edgead_export.errors import ParityError
from edgead_export.export import ExportOptions, export_encoder
from edgead_export.frame_parity import FrameOutputParity, _verdict
from edgead_export.fusing import fuse
from edgead_export.parity import parity_pictures
from edgead_runtime import Detector, Encoder, EncoderBundle, get_recipe

# What is put around the encoder; TensorRT-RTX 1.7 parsed and built it on a machine without a GPU.
OPERATORS = {
    *("Add", "Cast", "Clip", "Div", "Gather", "Identity", "Loop", "MatMul", "Max", "Mul", "ReduceL2"),
    *("ReduceMax", "ReduceMean", "Reshape", "Shape", "Sub", "TopK", "Transpose"),
}


def operators(graph):
    for node in graph.node:
        if node.name.startswith("frame/"):
            yield node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from operators(attribute.g)


def test_it_is_written_beside_the_encoder_which_stays_as_it_is(tiny_export):
    stages = []
    options = tiny_export(resolution="56x84", layers=(1, 3), attention=True, fuse=True)
    outcome = export_encoder(options, stage=stages.append)
    assert stages == ["weights", "tracing", "checking", "parity", "fusing", "writing"]
    bundle = EncoderBundle.open(options.out)
    frame = bundle.manifest.frame
    assert (frame.layer, frame.block_rows, frame.precision) == (3, 24, "fp32")
    model = onnx.load_from_string(bundle.read_frame_graph())
    onnx.checker.check_model(model, full_check=True)
    assert {entry.version for entry in model.opset_import} == {17}
    assert set(operators(model.graph)) == OPERATORS
    assert "edgead.graph" in {entry.key for entry in model.metadata_props}

    report = json.loads((options.out / "parity.json").read_bytes())["frame"]
    assert report["passed"]
    assert report["distance_error_max"] < 1e-5
    assert len(report["rows"]) == len(parity_pictures())

    alone = msgspec.structs.replace(outcome.manifest, frames=[])
    assert alone.fingerprint() == outcome.manifest.fingerprint()
    said = {entry.key for entry in onnx.load_from_string(bundle.read_model()).metadata_props}
    assert "edgead.graph" not in said


@pytest.mark.parametrize("opset", [18, 20])
def test_newer_opsets_write_reductions_otherwise(tiny_export, opset):
    options = tiny_export(resolution="56x84", opset=opset, fuse=True)
    export_encoder(options)
    bundle = EncoderBundle.open(options.out)
    model = onnx.load_from_string(bundle.read_frame_graph())
    onnx.checker.check_model(model, full_check=True)
    assert {entry.version for entry in model.opset_import} == {opset}
    report = json.loads((options.out / "parity.json").read_bytes())["frame"]
    assert report["distance_error_max"] < 1e-5


def test_a_frame_graph_that_disagrees_is_not_written(tiny_export, monkeypatch, tmp_path):
    def bent(model, manifest):
        fused = fuse(model, manifest)
        for constant in fused.graph.initializer:
            if constant.name == "frame/shift":
                wrong = onnx.numpy_helper.to_array(constant) + 0.2
                constant.CopyFrom(onnx.numpy_helper.from_array(wrong, constant.name))
        return fused

    monkeypatch.setattr(bundle_files, "fuse", bent)
    with pytest.raises(ParityError, match="frame graph does not agree") as caught:
        export_encoder(tiny_export(fuse=True))
    assert "--fuse" in caught.value.remedy
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("field", ["distance_error", "score_error", "map_error"])
@pytest.mark.parametrize("value", [float("nan"), 2e-3])
def test_the_verdict_holds_every_limit(field, value):
    good = FrameOutputParity("a.jpg", 1e-6, 1e-6, 1e-6)
    assert _verdict([good, good], "engine").passed
    assert not _verdict([good, replace(good, **{field: value}), good], "engine").passed


MASKS = {
    "none": {"mask": "off"},
    "pca": {"mask": "on"},
    "attention": {"mask": "on", "mask_from": "attention"},
    "area": {"mask_from": "area", "mask_polygon": ((0.1, 0.1), (0.9, 0.2), (0.5, 0.9))},
}


@pytest.mark.slow
@pytest.mark.parametrize("resolution", ["224", "196x280"])
def test_with_trained_weights_it_agrees_with_the_stages(standin, tmp_path, resolution):
    export_encoder(
        ExportOptions(
            "dinov2_s",
            tmp_path / "encoder",
            resolution,
            attention=True,
            weights="standin",
            dynamic_batch=resolution == "224",
            fuse=True,
        )
    )
    frames = [np.ascontiguousarray(picture.frame[:400]) for picture in parity_pictures()]
    for engine in ("onnxruntime", "openvino"):
        if engine == "openvino":
            pytest.importorskip("openvino", reason="OpenVINO is not installed")
        with (
            Encoder.load(tmp_path / "encoder", engine=engine) as fused,
            Encoder.load(tmp_path / "encoder", engine=engine, fused=False) as staged,
        ):
            for changes in MASKS.values():
                recipe = get_recipe("anomalydino-informed").with_(**changes)
                by_graph = Detector.enroll(fused, frames[:2], recipe=recipe)
                by_stages = Detector.enroll(staged, frames[:2], recipe=recipe)
                assert by_graph.threshold == pytest.approx(by_stages.threshold, abs=1e-4)
                for frame in frames[2:]:
                    one, other = by_graph(frame), by_stages(frame)
                    assert "frame" in one.timings_ms
                    assert one.score == pytest.approx(other.score, abs=1e-4)
                    assert one.patch_distances == pytest.approx(other.patch_distances, abs=1e-4)
                    assert one.map == pytest.approx(other.map, abs=1e-3)
