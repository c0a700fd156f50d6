"""The whole way, with tiny backbones and, once, with trained weights."""

import errno
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from edgead_export import export, tracing
from edgead_export.errors import (
    LayerError,
    ParityError,
    PrecisionError,
    ResolutionError,
    TraceError,
    UnknownBackboneError,
    WeightsError,
)
from edgead_export.export import ExportOptions, export_encoder
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.errors import OutputError
from edgead_runtime.manifest import EncoderManifest, decode_manifest


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_bundle_holds_everything_and_is_what_it_says(tiny_export, tmp_path):
    stages, notes = [], []
    options = tiny_export(resolution="60x85", layers=(3, 1), attention=True, dynamic_batch=True)
    outcome = export_encoder(options, stage=stages.append, note=notes.append)
    assert left_in(options.out) == ["encoder.onnx", "manifest.json", "parity.json", "parity.png"]
    assert left_in(tmp_path) == ["out", "tiny.safetensors"]
    assert stages == ["weights", "tracing", "checking", "parity", "writing"]
    assert notes == list(outcome.notes)
    assert "rounded to 56x84" in notes[0]

    bundle = EncoderBundle.open(options.out)
    manifest = bundle.manifest
    assert manifest == outcome.manifest
    assert manifest.grid == (4, 6)
    assert [(f.name, f.layer, f.dim, f.final_norm) for f in manifest.features] == [
        ("patch_features_3", 3, 32, True),
        ("patch_features_1", 1, 32, True),
    ]
    assert manifest.attention is not None
    assert manifest.attention.layer == 3
    assert not manifest.weights.official
    assert set(manifest.tools) >= {"torch", "transformers", "onnx", "edgead-export"}

    file = bundle.read_model()
    model = onnx.load_from_string(file)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    said = json.loads(metadata["edgead"])
    written = json.loads((options.out / "manifest.json").read_bytes())
    left_out = {"files", "frames", "created", "tools"}
    assert said == {key: value for key, value in written.items() if key not in left_out}
    assert metadata["edgead.backbone"] == "dinov2_s"
    assert metadata["edgead.official_weights"] == "false"

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).normal(size=(2, 3, 56, 84)).astype(np.float32)
    both = session.run(None, {"image": image})
    assert [output.shape for output in both] == [(2, 24, 32), (2, 24, 32), (2, 24)]
    for i in range(2):
        for together, alone in zip(both, session.run(None, {"image": image[i : i + 1]}), strict=True):
            np.testing.assert_allclose(together[i], alone[0], rtol=1e-4, atol=1e-5)


def test_the_same_export_has_the_same_fingerprint(tiny_export):
    first = export_encoder(tiny_export()).manifest
    second = export_encoder(tiny_export(overwrite=True)).manifest
    assert first.fingerprint() == second.fingerprint()
    assert first.features[0].layer == 3


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"backbone": "dinov2_z"}, UnknownBackboneError),
        ({"resolution": "13"}, ResolutionError),
        ({"resolution": "50000"}, ResolutionError),
        ({"layers": (4,)}, LayerError),
        ({"precisions": ("fp32", "int4")}, PrecisionError),
        ({"precisions": ("fp7",)}, PrecisionError),
        ({"opset": 9}, TraceError),
        ({"weights": "nowhere.pth"}, WeightsError),
        ({"parity_images": Path("nowhere")}, Exception),
    ],
)
def test_bad_options_are_refused_and_leave_nothing(tiny_export, tmp_path, changes, error):
    with pytest.raises(error) as caught:
        export_encoder(tiny_export(**changes))
    assert hasattr(caught.value, "remedy")
    assert left_in(tmp_path) == ["tiny.safetensors"]


def test_an_existing_folder_is_kept_and_nothing_is_fetched(tiny_export, monkeypatch):
    options = tiny_export()
    options.out.mkdir()
    (options.out / "mine.txt").write_text("keep")
    monkeypatch.setattr(export, "load_weights", lambda *_, **__: pytest.fail("fetched"))
    with pytest.raises(OutputError, match="exists"):
        export_encoder(options)
    assert left_in(options.out) == ["mine.txt"]


def test_a_file_that_does_not_agree_is_not_written(tiny_export, tmp_path, monkeypatch):
    traced = tracing.trace

    def wrong(*args, **kwargs):
        model = traced(*args, **kwargs)
        for constant in model.graph.initializer:
            if "mlp.fc1.bias" in constant.name:
                values = onnx.numpy_helper.to_array(constant) + np.float32(0.5)
                constant.CopyFrom(onnx.numpy_helper.from_array(values, constant.name))
        return model

    monkeypatch.setattr(export, "trace", wrong)
    with pytest.raises(ParityError, match="does not agree"):
        export_encoder(tiny_export())
    assert left_in(tmp_path) == ["tiny.safetensors"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_interruption_while_writing_leaves_nothing(tiny_export, tmp_path, monkeypatch, failure):
    def fail(_manifest):
        raise failure

    monkeypatch.setattr(export, "encode_manifest", fail)
    with pytest.raises((KeyboardInterrupt, OutputError)):
        export_encoder(tiny_export())
    assert left_in(tmp_path) == ["tiny.safetensors"]


def test_the_fixed_mask_threshold_belongs_to_the_last_layer_alone(tiny, random_weights):
    spec = tiny("dinov2_s")
    drafts = [
        export._draft_manifest(
            spec, random_weights(spec), (56, 56), layers, ExportOptions("dinov2_s", Path())
        )
        for layers in ((3,), (2,), (2, 3))
    ]
    assert [draft.pca_mask_threshold for draft in drafts] == [10, None, None]


@pytest.mark.slow
def test_trained_weights_end_to_end(standin, tmp_path):
    assert standin.state
    out = tmp_path / "encoder with space é"
    outcome = export_encoder(
        ExportOptions("dinov2_s", out, resolution="224", weights="standin", attention=True)
    )
    manifest = decode_manifest((out / "manifest.json").read_bytes(), EncoderManifest, "manifest.json")
    assert [feature.layer for feature in manifest.features] == [9]
    assert outcome.parity.cosine_min >= 0.9999
    assert outcome.parity.rank_correlation_min > 0.9999
    assert any("stand-in" in sentence for sentence in outcome.notes)
