"""``edgead verify --bisect``: after which block a file begins to compute something else."""

import gc
import hashlib
import json
import math
import shutil

import msgspec
import numpy as np
import onnx
import pytest
from edgead_export.export import ExportOptions, build_bundle
from edgead_export.precisions.half import to_half
from edgead_export.resolution import Resolution
from edgead_runtime import EncoderBundle
from edgead_runtime.manifest import EncoderFile, encode_manifest
from simulated_gpu import tensorrt as simulated

from edgead.cli import run
from edgead.jobs.bisect import bisect


@pytest.fixture(scope="module")
def blocks(tiny, random_weights, tmp_path_factory):
    """A small encoder of three blocks with an fp16 file, and one whose fp16 file is wrong in block 2."""
    spec = tiny("dinov2_s")
    folder = tmp_path_factory.mktemp("encoders") / "whole"
    folder.mkdir()
    side = 4 * spec.patch_size
    options = ExportOptions(spec.name, folder)
    build_bundle(folder, spec, random_weights(spec), Resolution(side, side, ""), options)
    wrong = folder.with_name("wrong")
    shutil.copytree(folder, wrong)
    for place, spoiled in ((folder, False), (wrong, True)):
        _add_half(place, spoiled=spoiled)
    return folder, wrong


def _add_half(folder, *, spoiled):
    bundle = EncoderBundle.open(folder)
    model = to_half(onnx.load_from_string(bundle.read_model()))
    if spoiled:
        _spoil(model, norm=2)  # what goes into the attention of block 2
    data = model.SerializeToString()
    (folder / "half.onnx").write_bytes(data)
    entry = EncoderFile(
        precision="fp16", path="half.onnx", sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)
    )
    manifest = msgspec.structs.replace(bundle.manifest, files=[*bundle.manifest.files, entry])
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))


def _spoil(model, norm):
    """Turn the scale of one LayerNormalization around."""
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    (scale,) = (entry for entry in model.graph.initializer if entry.name == norms[norm].input[1])
    values = onnx.numpy_helper.to_array(scale)
    scale.CopyFrom(onnx.numpy_helper.from_array(-8 * values[::-1].copy(), scale.name))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_sound_file_is_below_the_limit_nowhere(blocks, engine):
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    for precision in ("fp32", "fp16"):
        found = bisect(EncoderBundle.open(blocks[0]), precision, engine=engine, threads=1)
        assert found.first_below is None
        assert found.pictures >= 2
        assert [row.stage for row in found.stages][:3] == [
            "patches and positions",
            "block 1, attention",
            "block 1",
        ]
        assert min(row.cosine_min for row in found.stages) > (0.99999 if precision == "fp32" else 0.99)


def test_the_first_that_is_wrong_is_named(blocks):
    found = bisect(EncoderBundle.open(blocks[1]), "fp16", engine="onnxruntime", threads=1)
    assert found.first_below == "block 2, attention"
    worst = {row.stage: row.cosine_min for row in found.stages}
    assert worst["block 1"] > 0.99 > worst["block 2, attention"]


def test_what_is_no_number_is_as_wrong_as_can_be(blocks, tmp_path):
    folder = tmp_path / "encoder"
    shutil.copytree(blocks[0], folder)
    bundle = EncoderBundle.open(folder)
    model = onnx.load_from_string(bundle.read_model("fp16"))
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    (scale,) = (entry for entry in model.graph.initializer if entry.name == norms[1].input[1])
    broken = np.full(onnx.numpy_helper.to_array(scale).shape, math.inf, np.float32)
    scale.CopyFrom(onnx.numpy_helper.from_array(broken, scale.name))
    data = model.SerializeToString()
    (folder / "half.onnx").write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][1] |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    found = bisect(EncoderBundle.open(folder), "fp16", engine="onnxruntime", threads=1)
    assert found.first_below == "block 1"
    assert {row.stage: row.cosine_min for row in found.stages}["block 1"] == -1


@pytest.fixture
def wrong_from(monkeypatch):
    """Let TensorRT build engines that compute something else from a LayerNormalization on.

    The file is as it should be, and ONNX Runtime runs it as it is.
    """
    genuine = simulated.SimulatedTensorRt._build

    def spoil(norm):
        def build(self, logger, network, config):
            _spoil(network._model, norm)
            return genuine(self, logger, network, config)

        monkeypatch.setattr(simulated.SimulatedTensorRt, "_build", build)

    return spoil


NORMS = {0: "block 1, attention", 1: "block 1", 2: "block 2, attention", 5: "block 3"}
"""LayerNormalizations by number, and what comes out of the part that they are the first of."""


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_an_engine_of_tensorrt_that_is_sound(blocks, gpu, precision):
    found = bisect(EncoderBundle.open(blocks[0]), precision, engine="tensorrt")
    assert (found.engine, found.first_below) == (f"tensorrt/cuda/{precision}", None)
    gc.collect()
    assert gpu.leaks() == []


@pytest.mark.parametrize(("norm", "stage"), NORMS.items(), ids=NORMS.values())
def test_from_where_on_tensorrt_computes_something_else(blocks, gpu, wrong_from, norm, stage):
    wrong_from(norm)
    found = bisect(EncoderBundle.open(blocks[0]), "fp32", engine="tensorrt")
    assert found.first_below == stage
    cosines = [row.cosine_min for row in found.stages]
    before = [row.stage for row in found.stages].index(stage)
    assert min(cosines[:before]) > 0.99999
    assert cosines[before] < found.limit


def test_tensorrt_on_the_command_line(blocks, gpu, wrong_from, capfd):
    wrong_from(2)
    assert run(["verify", str(blocks[0]), "--engine", "tensorrt", "--bisect"]) == 2
    said = "".join(capfd.readouterr())
    assert "tensorrt/cuda/fp32 in fp32 against fp32 in ONNX Runtime" in said
    assert "The first that is below 0.999 comes out of: block 2, attention." in said


def test_labelled_pictures_are_for_judging(blocks, capfd, tmp_path):
    assert run(["verify", str(blocks[0]), "--bisect", "--labelled", str(tmp_path)]) == 2
    assert "--labelled is for judging, which --bisect is instead of" in capfd.readouterr().err


def test_on_the_command_line(blocks, capfd):
    arguments = ["--precision", "fp16", "--engine", "onnxruntime", "--bisect"]
    assert run(["verify", str(blocks[1]), *arguments]) == 2
    assert "The first that is below 0.99 comes out of: block 2, attention." in "".join(capfd.readouterr())
    assert run(["verify", str(blocks[0]), *arguments, "--json", "--quiet"]) == 0
    assert json.loads(capfd.readouterr().out)["first_below"] is None
