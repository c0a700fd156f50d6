"""The commands with an encoder that has a frame graph: the same results, and nothing that trips over it."""

import hashlib
import json
import shutil

import msgspec
import onnx
import pytest
from edgead_export.fusing import fuse
from edgead_runtime import Detector, EncoderBundle
from edgead_runtime.manifest import FrameFile, encode_manifest

from edgead.evaluation.remembering import RememberingEncoder

QUICK = ("--no-rotations", "--mask", "on", "--threads", 1)


@pytest.fixture(scope="module")
def fused(encoder, tmp_path_factory):
    """The tiny encoder with a frame graph."""
    folder = tmp_path_factory.mktemp("encoders") / "fused"
    shutil.copytree(encoder, folder)
    bundle = EncoderBundle.open(encoder)
    data = fuse(onnx.load_from_string(bundle.read_model()), bundle.manifest).SerializeToString()
    frame = FrameFile(
        precision="fp32",
        path="frame.onnx",
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        layer=1,
        block_rows=64,
    )
    (folder / "frame.onnx").write_bytes(data)
    manifest = msgspec.structs.replace(bundle.manifest, frames=[frame])
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    return folder


def test_enroll_and_detect_give_the_same(edgead, encoder, fused, good, pictures, tmp_path):
    results = []
    for number, bundle in enumerate((encoder, fused)):
        part, out = tmp_path / f"{number}.edgead", tmp_path / f"out-{number}"
        ran = edgead("enroll", "--encoder", bundle, "--good", good, "-o", part, *QUICK)
        assert ran.code == 0, ran.err
        ran = edgead("detect", part, pictures, "-o", out, "--threads", 1)
        assert ran.code == 1, ran.err
        results.append([json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()])
    for staged, by_graph in zip(*results, strict=True):
        assert by_graph["score"] == pytest.approx(staged["score"], abs=1e-5)
        assert len(by_graph["regions"]) == len(staged["regions"])
        assert {"preprocess", "frame", "mask", "score", "map"} == set(by_graph["timings_ms"])


def test_what_remembers_features_goes_by_the_stages(edgead, fused, good, tmp_path):
    ran = edgead("enroll", "--encoder", fused, "--good", good, "-o", tmp_path / "p.edgead", "--auto", *QUICK)
    assert ran.code == 0, ran.err
    with RememberingEncoder.load(fused, threads=1) as encoder:
        assert encoder.frame_file is None
        with Detector.load(tmp_path / "p.edgead", encoder=encoder) as detector:
            assert detector.encoder is encoder
