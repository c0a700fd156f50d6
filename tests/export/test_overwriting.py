"""``edgead export --overwrite``: everything that edgead puts into a bundle may go, and nothing else."""

import pytest
from edgead_export.precisions import offering
from edgead_runtime import EncoderBundle
from edgead_runtime.tensorrt.building import build_engine
from traced_encoders import LOOSE

from edgead.cli import run

PLAIN = ["encoder.onnx", "manifest.json", "parity.json", "parity.png"]


@pytest.fixture
def export(tiny_export, monkeypatch):
    """``edgead export`` of a tiny encoder."""
    options = tiny_export()
    gate = offering.Gate
    monkeypatch.setattr(offering, "Gate", lambda *judged: gate(*judged, LOOSE))

    def call(*more):
        fixed = ["--backbone", "dinov2_s", "--res", "56x84", "--weights", options.weights, "--quiet"]
        return run(["export", *fixed, "--out", str(options.out), *more])

    call.out = options.out
    return call


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_bundle_with_all_that_it_can_hold_is_replaced(export, gpu):
    assert export("--fuse", "--precision", "int8,fp16,bf16") == 0
    for graph in ("encoder", "frame", "search"):
        build_engine(export.out, "tensorrt", graph=graph)
    files = ["encoder.fp16.onnx", "encoder.int8.onnx", "frame.fp16.onnx", "frame.int8.onnx", "frame.onnx"]
    assert names(export.out) == sorted([*PLAIN, *files, "engines"])
    assert len(list((export.out / "engines").glob("tensorrt-*"))) == 6
    assert export() == 2
    assert export("--overwrite") == 0
    assert names(export.out) == PLAIN
    assert [file.path for file in EncoderBundle.open(export.out).manifest.files] == ["encoder.onnx"]


def test_a_file_of_somebody_else_protects_the_bundle(export, capsys):
    assert export() == 0
    (export.out / "encoder.best.onnx").write_bytes(b"years of work")
    assert export("--overwrite") == 2
    assert "encoder.best.onnx" in capsys.readouterr().err
    assert names(export.out) == sorted([*PLAIN, "encoder.best.onnx"])
