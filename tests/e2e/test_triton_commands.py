"""``edgead export --triton`` as a person types it: for a detector, for an encoder, and what is refused."""

import json

import numpy as np
import pytest
from edgead_runtime import Detector, read_picture
from edgead_runtime.engines import EngineOptions, create_engine
from google.protobuf import text_format

model_config = pytest.importorskip(
    "tritonclient.grpc.model_config_pb2", reason="Triton's client, which has its parser, is not installed"
)


def parse(folder):
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config.ModelConfig())


def test_a_detector_is_served_by_what_its_config_says(edgead, detector, pictures, tmp_path):
    models = tmp_path / "models"
    ran = edgead("export", "--triton", models, "--detector", detector, "--instances", 2)
    assert ran.code == 0, ran.err
    assert "On 5 pictures it gives what the detector gives" in ran.out
    assert f"tritonserver --model-repository={models}" in ran.out
    config = parse(models / "part")
    assert config.instance_group[0].count == 2
    facts = {name: value.string_value for name, value in config.parameters.items()}
    data = (models / "part" / "1" / "model.onnx").read_bytes()
    with (
        Detector.load(detector, engine="onnxruntime", threads=1) as loaded,
        create_engine(data, "onnxruntime", EngineOptions(threads=1)) as engine,
    ):
        for path in sorted(pictures.iterdir()):
            frame = read_picture(path).frame
            expected = loaded(frame)
            found = engine.run({"frame": client_resize(frame, facts)[None]})
            assert found["score"] == pytest.approx(expected.score, abs=1e-4)
            assert found["map"] == pytest.approx(expected.map, abs=1e-4)
            assert bool(found["anomaly"][0]) == expected.is_anomaly
            assert expected.is_anomaly == (path.stem == "scratched")


def client_resize(frame, facts):
    """What docs/triton.md tells a client to do, with nothing of edgead."""
    from PIL import Image

    height, width = map(int, facts["edgead.resized_hw"].split())
    rows, columns = map(int, facts["edgead.crop_hw"].split())
    assert facts["edgead.resize"] == "bicubic-antialias"
    resized = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized)[:rows, :columns]


def test_models_beside_it_stay_and_only_its_like_is_replaced(edgead, detector, encoder, tmp_path):
    models = tmp_path / "models"
    (models / "other").mkdir(parents=True)
    (models / "other" / "config.pbtxt").write_text('name: "other"')
    for backend in ("onnxruntime", "openvino"):
        ran = edgead(
            "export",
            "--triton",
            models,
            "--detector",
            detector,
            "--backend",
            backend,
            "--json",
            "--overwrite",
        )
        assert ran.code == 0, ran.err
        (model,) = ran.summary["triton"]
        assert (model["name"], model["backend"]) == ("part", backend)
        assert model["parity"]["score_error"] <= 1e-4
        assert parse(models / "part").backend == backend
        assert ("bfloat16" in ran.err) == (backend == "openvino")
    ran = edgead("export", "--triton", models, "--encoder", encoder, "--quiet")
    assert ran.code == 0, ran.err
    assert {path.name for path in models.iterdir()} == {"other", "part", "tiny_encoder"}
    assert (models / "other" / "config.pbtxt").read_text() == 'name: "other"'
    edgead("export", "--triton", models, "--detector", detector).assert_refused(
        "already holds", "--overwrite"
    )
    (models / "part" / "mine.txt").write_text("precious")
    ran = edgead("export", "--triton", models, "--detector", detector, "--overwrite")
    ran.assert_refused("not of a Triton model", "mine.txt")


def test_the_python_backend_gets_the_detector_whole(edgead, detector, tmp_path):
    arguments = ("--triton", tmp_path / "models", "--detector", detector, "--backend", "python")
    edgead("export", *arguments, "--precision", "int8", "--quiet").assert_refused("no int8 file")
    ran = edgead("export", *arguments, "--precision", "bf16")  # where it runs is the server's affair
    assert ran.code == 0, ran.err
    config = parse(tmp_path / "models" / "part")
    assert config.parameters["precision"].string_value == "bf16"
    assert config.parameters["engine"].string_value == "auto"
    with Detector.load(tmp_path / "models" / "part" / "1" / "detector.edgead") as loaded:
        assert loaded.threshold > 0


def test_a_mask_of_each_frame_is_no_graph(edgead, encoder, good, tmp_path):
    part = tmp_path / "masked.edgead"
    quick = ("--no-rotations", "--mask", "on", "--threads", 1)
    assert edgead("enroll", "--encoder", encoder, "--good", good, "-o", part, *quick).code == 0
    ran = edgead("export", "--triton", tmp_path / "models", "--detector", part, "--quiet")
    ran.assert_refused("makes a mask for each frame", "--backend python")
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--detector", "PART"], ["--detector is for --triton"]),
        (["--backend", "openvino"], ["--backend is for --triton"]),
        (["--triton", "DIR", "--detector", "PART", "--encoder", "ENCODER"], ["one or the other"]),
        (["--triton", "DIR", "--detector", "PART", "--res", "224"], ["--res is for exporting a backbone"]),
        (["--triton", "DIR", "--encoder", "ENCODER", "--fuse"], ["--fuse is for exporting a backbone"]),
        (["--triton", "DIR", "--encoder", "ENCODER", "--backend", "python"], ["Add --detector"]),
        (["--triton", "DIR", "--detector", "PART", "--precision", "int8,fp16"], ["one precision"]),
        (["--triton", "DIR", "--detector", "PART", "--precision", "int8"], ["no int8 file"]),
        (["--triton", "DIR", "--encoder", "ENCODER", "--instances", "0"], ["start at 1"]),
        (["--triton", "DIR", "--encoder", "nowhere"], ["nowhere"]),
        (["--triton", "PART", "--encoder", "ENCODER"], ["is a file"]),
        (["--triton", "DIR", "--encoder", "ENCODER", "--backend", "tensorrt"], ["GPU"]),
    ],
    ids=str,
)
def test_what_is_refused(edgead, detector, encoder, tmp_path, arguments, parts):
    places = {"DIR": tmp_path / "models", "PART": detector, "ENCODER": encoder}
    edgead("export", *(places.get(one, one) for one in arguments), "--quiet").assert_refused(*parts)
    assert not (tmp_path / "models").exists()


@pytest.mark.slow
def test_an_export_writes_its_models_at_once(edgead, tmp_path):
    """With the stand-in's weights: a whole ViT-S, its batch left open."""
    models = tmp_path / "models"
    arguments = (
        "--res",
        "112",
        "--weights",
        "standin",
        "--out",
        tmp_path / "small",
        "--fuse",
        "--dynamic-batch",
    )
    ran = edgead("export", *arguments, "--triton", models, "--max-batch", 4, "--json")
    assert ran.code == 0, ran.err
    assert [model["name"] for model in ran.summary["triton"]] == ["small_encoder", "small_frame"]
    assert parse(models / "small_encoder").max_batch_size == 4
    assert json.loads(ran.out)["engines"] == []
