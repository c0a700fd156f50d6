"""Precisions through the command line: refused where there is no file, judged where a person asks."""

import hashlib
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import onnx
import pytest
from drawn_parts import draw_part
from edgead_export.precisions.half import to_half
from edgead_runtime import Encoder, EncoderBundle
from edgead_runtime.manifest import EncoderFile, encode_manifest
from PIL import Image

from edgead.jobs import verify


@pytest.fixture(scope="module")
def with_fp16(encoder, tmp_path_factory):
    """The tiny encoder with an fp16 file, and one in its place that computes something else."""
    folders = []
    for spoiled in (False, True):
        folder = tmp_path_factory.mktemp("encoders") / "fp16"
        shutil.copytree(encoder, folder)
        bundle = EncoderBundle.open(encoder)
        model = to_half(onnx.load_from_string(bundle.read_model()))
        if spoiled:
            for constant in model.graph.initializer:
                if constant.name.startswith("weight"):
                    values = onnx.numpy_helper.to_array(constant)[::-1].copy()
                    constant.CopyFrom(onnx.numpy_helper.from_array(values, constant.name))
        data = model.SerializeToString()
        entry = EncoderFile(
            precision="fp16", path="half.onnx", sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)
        )
        (folder / "half.onnx").write_bytes(data)
        manifest = msgspec.structs.replace(bundle.manifest, files=[*bundle.manifest.files, entry])
        (folder / "manifest.json").write_bytes(encode_manifest(manifest))
        folders.append(folder)
    return folders


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labelled")
    for kind, numbers in (("good", range(6)), ("scratch", range(10, 12))):
        (folder / kind).mkdir()
        for number in numbers:
            part = draw_part(number, defect=kind != "good")
            Image.fromarray(part).save(folder / kind / f"{number}.png")
    return folder


def test_verify_says_what_was_compared(edgead, with_fp16, good, labelled):
    arguments = ("--precision", "fp16", "--engine", "onnxruntime", "--good", good, "--labelled", labelled)
    ran = edgead("verify", with_fp16[0], *arguments)
    assert ran.code == 0, ran.err
    assert "inspects as fp32 does, in every way" in ran.out + ran.err
    ran = edgead("verify", with_fp16[0], *arguments, "--json", "--quiet")
    report = ran.summary["report"]
    assert report["passed"]
    assert report["engine"] == "onnxruntime/cpu/fp16"
    assert report["auroc"] == report["auroc_reference"]


def test_verify_fails_what_inspects_otherwise(edgead, with_fp16, good):
    ran = edgead(
        "verify", with_fp16[1], "--precision", "fp16", "--engine", "onnxruntime", "--good", good, "--quiet"
    )
    assert ran.code == 2
    assert "rank correlation" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("offered", [False, True])
@pytest.mark.parametrize("spoiled", [False, True])
def test_verify_judges_the_rest_in_bf16_whatever_the_export_found(
    encoder, with_fp16, monkeypatch, offered, spoiled
):
    """As if every processor had bfloat16. What is judged are an fp32 file and one that is spoiled."""
    bundle, broken = EncoderBundle.open(encoder), EncoderBundle.open(with_fp16[1])
    int8 = msgspec.structs.replace(
        bundle.manifest.file("fp32"),
        precision="int8",
        judged={"onnxruntime": True, "openvino": True, "openvino+bf16": offered},
    )
    manifest = msgspec.structs.replace(bundle.manifest, files=[*bundle.manifest.files, int8])
    loaded = []

    def load(opened, *, engine, precision="fp32", **options):
        loaded.append(engine)
        if engine == "openvino+bf16" and spoiled:
            return Encoder.load(broken, engine="onnxruntime", precision="fp16", **options)
        return Encoder.load(opened, engine="onnxruntime", **options)

    monkeypatch.setattr(verify, "Encoder", SimpleNamespace(load=load))
    found = verify.verify_encoder(replace(bundle, manifest=manifest), "int8", engine="openvino")
    assert loaded == ["onnxruntime", "openvino", "openvino+bf16"]
    assert [report.passed for report in found.reports] == [True, not spoiled]
    # A way that the bundle does not let detectors take may fail.
    assert found.passed is not (offered and spoiled)


def test_a_precision_that_is_not_there_is_refused(edgead, encoder, detector, pictures, tmp_path):
    remedy = ("no int8 file", "--precision int8")
    edgead("verify", encoder, "--precision", "int8", "--quiet").assert_refused(*remedy)
    out = ("-o", tmp_path / "out", "--quiet")
    edgead("detect", detector, pictures, *out, "--precision", "int8").assert_refused(*remedy)
    edgead("bench", detector, "--precision", "fp16", "--quiet").assert_refused("no fp16 file")


def test_fp8_and_bf16_name_the_engine_that_has_them(edgead, encoder):
    verify = ("verify", encoder, "--quiet", "--precision")
    edgead(*verify, "fp8", "--engine", "openvino").assert_refused(
        "openvino does not compute in fp8", "--engine tensorrt", "int8"
    )
    edgead(*verify, "fp8").assert_refused("no fp8 file")
    edgead(*verify, "bf16", "--engine", "onnxruntime").assert_refused(
        "onnxruntime does not compute in bf16", "openvino"
    )


@pytest.mark.slow
def test_files_for_a_gpu_that_is_elsewhere(edgead, tmp_path):
    """Without a GPU, and nothing is built."""
    out = tmp_path / "encoder"
    ran = edgead(
        *("export", "--weights", "standin", "--res", "112", "--precision", "bf16"),
        *("--engine", "tensorrt", "--no-build", "--out", out, "--json", "--quiet"),
    )
    assert ran.code == 0, ran.err
    (gate,) = ran.summary["parity"]["gates"]
    assert gate["engine"] == "onnxruntime/cpu/bf16 emulated"
    assert ran.summary["engines"] == []
    assert (out / "encoder.bf16.onnx").exists() == gate["passed"]
    assert not (out / "engines").exists()


def test_export_refuses_what_makes_no_sense(edgead, tmp_path, labelled):
    target = ("--out", tmp_path / "encoder", "--quiet")
    edgead("export", *target, "--precision", "int3").assert_refused("int3", "int8")
    edgead("export", *target, "--calibrate", labelled).assert_refused("--calibrate", "--precision int8")
    edgead("export", *target, "--precision", "int8", "--labelled", tmp_path).assert_refused("good/")
    for wrong in (("--precision", "int3"), ("--calibrate", labelled)):
        ran = edgead("export", *target[:-1], *wrong)
        assert ran.code == 2
        assert "loading torch" not in ran.out + ran.err
    assert not (tmp_path / "encoder").exists()


@pytest.mark.slow
def test_int8_by_calibration_on_good_pictures(edgead, good, pictures, tmp_path):
    """Trained weights; whatever the gate finds, what is offered runs and what is not is not there."""
    bundle = tmp_path / "encoder"
    ran = edgead(
        *("export", "--weights", "standin", "--res", "112", "--out", bundle, "--precision", "int8,bf16"),
        *("--calibrate", good, "--json", "--quiet"),
    )
    assert ran.code == 0, ran.err
    gates = {gate["engine"]: gate for gate in ran.summary["parity"]["gates"]}
    int8 = gates["onnxruntime/cpu/int8"]
    sizes = {file["precision"]: file["bytes"] for file in ran.summary["manifest"]["files"]}
    assert ("int8" in sizes) == int8["passed"]
    part = tmp_path / "part.edgead"
    options = ("--no-rotations", "--mask", "off", "--threads", 1)
    ran = edgead("enroll", "--encoder", bundle, "--good", good, "-o", part, *options)
    assert ran.code == 0, ran.err
    out = tmp_path / "out"
    ran = edgead("detect", part, pictures, "-o", out, "--precision", "int8", "--engine", "onnxruntime")
    if not int8["passed"]:
        assert ran.code == 2
        return
    assert 0.2 < sizes["int8"] / sizes["fp32"] < 0.5
    assert ran.code in (0, 1), ran.err
    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert {record["provenance"]["engine"] for record in records} == {"onnxruntime/cpu/int8"}
