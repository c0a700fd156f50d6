"""Which file a precision is, in which engines, and that a processor without bf16 and VNNI is no worse off."""

import json
import os
import subprocess
import sys

import msgspec
import numpy as np
import onnx
import pytest
from edgead_export.precisions.int8 import quantize_linears
from edgead_export.precisions.linears import find_linears
from edgead_export.precisions.statistics import observe
from edgead_runtime import Detector, Encoder, EncoderBundle
from edgead_runtime.engines import PINNED, EngineOptions, create_engine
from edgead_runtime.errors import BundleError, EngineUnavailableError
from edgead_runtime.files import sha256_bytes
from edgead_runtime.manifest import EncoderFile, decode_manifest, encode_manifest
from edgead_runtime.precision import plan_execution


def with_int8(bundle, folder, **judged):
    """A copy of an encoder bundle with an int8 file; ``openvino_bf16`` says what the gate found there."""
    opened = EncoderBundle.open(bundle)
    model = onnx.load_from_string(opened.read_model())
    random = np.random.default_rng(0)
    entry = opened.manifest.input
    inputs = [{entry.name: random.standard_normal((1, 3, entry.height, entry.width), dtype=np.float32)}]
    ranges = observe(model, [linear.source for linear in find_linears(model)], inputs)
    data = quantize_linears(model, ranges).SerializeToString()
    ways = {name.replace("_", "+"): passed for name, passed in judged.items()}
    folder.mkdir()
    for name in ("encoder.onnx",):
        (folder / name).write_bytes((bundle / name).read_bytes())
    (folder / "int8.onnx").write_bytes(data)
    int8 = EncoderFile(
        precision="int8", path="int8.onnx", sha256=sha256_bytes(data), bytes=len(data), judged=ways
    )
    manifest = msgspec.structs.replace(opened.manifest, files=[*opened.manifest.files, int8])
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    return folder


@pytest.fixture(scope="module")
def int8_bundle(two_layer_bundle, tmp_path_factory):
    return with_int8(
        two_layer_bundle, tmp_path_factory.mktemp("int8") / "b", onnxruntime=True, openvino_bf16=True
    )


def test_a_plan_is_a_file_and_how_to_compute_it(int8_bundle, two_layer_bundle):
    manifest = EncoderBundle.open(int8_bundle).manifest
    plans = {name: plan_execution(manifest, name) for name in ("fp32", "bf16", "int8")}
    facts = {
        name: (plan.file.precision, plan.engine_precision, plan.rest_in_bf16, plan.without)
        for name, plan in plans.items()
    }
    assert facts == {
        "fp32": ("fp32", "fp32", False, ()),
        "bf16": ("fp32", "bf16", False, ()),
        "int8": ("int8", "int8", True, ()),
    }
    with pytest.raises(BundleError, match="no int8 file") as caught:
        plan_execution(EncoderBundle.open(two_layer_bundle).manifest, "int8")
    assert "--precision int8" in caught.value.remedy
    with pytest.raises(BundleError, match="no fp16 file"):
        plan_execution(manifest, "fp16")


@pytest.mark.parametrize(
    ("judged", "rest_in_bf16", "without"),
    [
        ({}, False, ()),
        ({"onnxruntime": True, "openvino": True}, False, ()),
        ({"openvino+bf16": False}, False, ("openvino+bf16",)),
        ({"openvino": False}, False, ("openvino",)),
    ],
)
def test_what_did_not_pass_is_not_done(int8_bundle, judged, rest_in_bf16, without):
    manifest = EncoderBundle.open(int8_bundle).manifest
    files = [msgspec.structs.replace(file, judged=judged) for file in manifest.files]
    changed = msgspec.structs.replace(manifest, files=files)
    assert changed.fingerprint() == manifest.fingerprint()
    plan = plan_execution(changed, "int8")
    assert (plan.rest_in_bf16, plan.without) == (rest_in_bf16, without)
    for way in without:
        with pytest.raises(EngineUnavailableError, match="did not pass the gate in openvino"):
            plan_execution(changed, "int8", way)
    if judged.get("openvino+bf16") is False:
        with pytest.raises(EngineUnavailableError, match="did not pass"):
            plan_execution(changed, "bf16", "openvino")
        assert plan_execution(changed, "bf16").without == ("openvino",)


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_auto_takes_no_engine_in_which_nobody_judged_it(int8_bundle, precision, monkeypatch):
    manifest = EncoderBundle.open(int8_bundle).manifest
    files = [
        msgspec.structs.replace(file, judged={"onnxruntime": True}, precision=name)
        for file, name in zip(manifest.files, ("fp32", precision), strict=True)
    ]
    changed = msgspec.structs.replace(manifest, files=files)
    monkeypatch.delenv(PINNED, raising=False)
    plan = plan_execution(changed, precision)
    assert plan.without == ("openvino", "tensorrt", "tensorrt-rtx")
    assert plan.remarks == ()
    by_name = plan_execution(changed, precision, "openvino")
    assert by_name.without == ()
    assert "Nobody has judged" in by_name.remarks[0]
    monkeypatch.setenv(PINNED, "openvino")
    assert plan_execution(changed, precision) == by_name
    assert plan_execution(changed, precision, "onnxruntime").remarks == ()
    assert plan_execution(changed, "bf16").without == ()


def test_bf16_is_a_file_for_tensorrt_and_a_way_to_run_for_others(int8_bundle):
    manifest = EncoderBundle.open(int8_bundle).manifest
    with pytest.raises(BundleError, match="no bf16 file") as caught:
        plan_execution(manifest, "bf16", "tensorrt")
    assert "--engine tensorrt" in caught.value.remedy
    file = msgspec.structs.replace(manifest.files[1], precision="bf16", judged={"emulated": True})
    both = msgspec.structs.replace(manifest, files=[*manifest.files, file])
    plan = plan_execution(both, "bf16", "tensorrt-rtx")
    assert (plan.file.precision, plan.engine_precision) == ("bf16", "fp32")
    assert "Nobody has judged the bf16 file in tensorrt-rtx" in plan.remarks[0]
    for engine in ("auto", "openvino"):
        assert plan_execution(both, "bf16", engine).file.precision == "fp32"
    with pytest.raises(EngineUnavailableError, match="onnxruntime does not compute in bf16") as caught:
        plan_execution(both, "bf16", "onnxruntime")
    assert "openvino" in caught.value.remedy


def test_fp8_is_for_gpus(int8_bundle):
    manifest = EncoderBundle.open(int8_bundle).manifest
    file = msgspec.structs.replace(manifest.files[1], precision="fp8", judged={"onnxruntime": True})
    changed = msgspec.structs.replace(manifest, files=[manifest.files[0], file])
    for engine in ("openvino", "openvino+bf16"):
        with pytest.raises(EngineUnavailableError, match="openvino does not compute in fp8") as caught:
            plan_execution(changed, "fp8", engine)
        assert "--engine tensorrt" in caught.value.remedy
        assert "int8" in caught.value.remedy
    assert plan_execution(changed, "fp8", "onnxruntime").engine_precision == "fp8"
    assert "Nobody has judged" in plan_execution(changed, "fp8", "tensorrt").remarks[0]


def test_what_runs_unjudged_says_so(two_layer_bundle, part, tmp_path, unpinned_engine):
    bundle = with_int8(two_layer_bundle, tmp_path / "b", onnxruntime=True)
    with Encoder.load(bundle, precision="int8", threads=1) as encoder:
        assert encoder.engine_name == "onnxruntime/cpu/int8"
        assert encoder.remarks == ()
    with Encoder.load(bundle, precision="int8", threads=1, engine="openvino") as encoder:
        detector = Detector.enroll(encoder, [part(0), part(1)])
        assert detector.notes[: len(encoder.remarks)] == encoder.remarks
        assert "in openvino" in encoder.remarks[0]


def test_an_engine_is_left_out_by_name(sum_model, monkeypatch):
    monkeypatch.delenv(PINNED, raising=False)
    engine = create_engine(sum_model, "auto", EngineOptions(), without=("onnxruntime",))
    assert engine.name == "openvino/cpu"
    monkeypatch.setenv(PINNED, "onnxruntime")
    with pytest.raises(EngineUnavailableError, match="not to be used"):
        create_engine(sum_model, "auto", EngineOptions(), without=("onnxruntime",))


def test_onnxruntime_computes_it_in_int8(int8_bundle, tmp_path):
    import onnxruntime as ort

    # The same options as the engine's; what ONNX Runtime made of the graph is written out.
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "made.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(
        EncoderBundle.open(int8_bundle).read_model("int8"),
        sess_options=options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["MatMulAddFusion"],
    )
    operators = {node.op_type for node in onnx.load(str(tmp_path / "made.onnx")).graph.node}
    assert operators & {"MatMulIntegerToFloat", "MatMulInteger", "DynamicQuantizeMatMul"}


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_int8_is_near_and_says_what_ran(int8_bundle, part, engine):
    with (
        Encoder.load(int8_bundle, engine=engine, precision="int8", threads=1) as small,
        Encoder.load(int8_bundle, engine=engine, threads=1) as exact,
    ):
        assert small.engine_name.startswith(f"{engine}/cpu/int8")
        assert small.fingerprint == exact.fingerprint
        one, other = small.encode(part(0)).tokens, exact.encode(part(0)).tokens
    assert not np.array_equal(one, other)
    assert np.linalg.norm(one - other) < 0.1 * np.linalg.norm(other)


def test_a_detector_enrolled_in_fp32_runs_in_int8(int8_bundle, part, tmp_path):
    with (
        Encoder.load(int8_bundle, engine="onnxruntime", threads=1) as encoder,
        Detector.enroll(encoder, [part(0), part(1)]) as detector,
    ):
        detector.save(tmp_path / "part.edgead", self_contained=True)
        expected = detector(part(2)).score
    with Detector.load(
        tmp_path / "part.edgead", engine="onnxruntime", precision="int8", threads=1
    ) as detector:
        result = detector(part(2))
    assert result.provenance.engine == "onnxruntime/cpu/int8"
    assert result.score != expected
    assert result.score == pytest.approx(expected, rel=0.3)


def test_the_manifest_keeps_what_the_gate_found(int8_bundle):
    data = (int8_bundle / "manifest.json").read_bytes()
    manifest = decode_manifest(data, type(EncoderBundle.open(int8_bundle).manifest), "x")
    assert manifest.file("int8").judged == {"onnxruntime": True, "openvino+bf16": True}
    fields = json.loads(data)
    for file in fields["files"]:
        del file["judged"]  # as older bundles are
    older = decode_manifest(json.dumps(fields).encode(), type(manifest), "x")
    assert older.file("int8").judged == {}


_ON_AN_OLD_PROCESSOR = """
import json, sys
import numpy as np
from edgead_runtime import Encoder

bundle = sys.argv[1]
frame = np.random.default_rng(1).integers(0, 256, (112, 112, 3), dtype=np.uint8)
said = {}
for engine in ("auto", "onnxruntime", "openvino"):
    with Encoder.load(bundle, engine=engine, precision="int8", threads=1) as encoder:
        said[engine] = [encoder.engine_name, encoder.encode(frame).tokens.ravel().tolist()]
with Encoder.load(bundle, threads=1) as encoder:
    said["fp32"] = [encoder.engine_name, encoder.encode(frame).tokens.ravel().tolist()]
print(json.dumps(said))
"""


def test_without_bf16_and_vnni_nothing_breaks_and_the_choice_is_measured(int8_bundle, tmp_path):
    """The features are masked in a process of its own, since engines read them once."""
    environment = {
        **os.environ,
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "EDGEAD_CACHE": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    environment.pop("EDGEAD_ENGINE", None)
    ran = subprocess.run(
        [sys.executable, "-c", _ON_AN_OLD_PROCESSOR, str(int8_bundle)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    # The gate allows the rest in bfloat16, and OpenVINO says that it has it; without the instructions it does
    # not compile so, or is many times slower, and float32 is taken.
    assert said["openvino"][0] == "openvino/cpu/int8"
    assert said["onnxruntime"][0] == "onnxruntime/cpu/int8"
    exact = np.array(said["fp32"][1])
    for engine in ("auto", "onnxruntime", "openvino"):
        found = np.array(said[engine][1])
        assert np.linalg.norm(found - exact) < 0.1 * np.linalg.norm(exact)
    measured = json.loads((tmp_path / "cache" / "engines.json").read_text())
    in_fp32 = [entry for entry in measured.values() if entry["engine"] == said["fp32"][0].split("/")[0]]
    assert any(set(entry["ms"]) == {"onnxruntime", "openvino"} for entry in in_fp32)
