import json

import numpy as np
import onnx
import pytest
from edgead_export.encoder_module import PatchEncoder
from edgead_export.errors import ParityError
from edgead_export.parity import compare, parity_pictures, rank_correlation
from edgead_export.parity_picture import draw_parity
from edgead_export.tracing import finish, trace
from edgead_export.weights.loading import build_model
from edgead_runtime.errors import PictureError
from edgead_runtime.manifest import EncoderInput, EncoderManifest, Preprocess, Weights
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.stats import spearmanr

SIZE = (70, 112)


@pytest.fixture(scope="module")
def traced(tiny, random_state):
    spec = tiny("dinov2_s_reg")
    encoder = PatchEncoder(
        build_model(spec, random_state(spec), "random"),
        spec,
        size=SIZE,
        layers=(1, 3),
        attention=True,
        position_rule="antialias",
    )
    manifest = EncoderManifest(
        schema_version=1,
        kind="edgead-encoder",
        backbone="tiny",
        input=EncoderInput(name="image", height=SIZE[0], width=SIZE[1]),
        preprocess=Preprocess(mean=spec.mean, std=spec.std),
        patch_size=spec.patch_size,
        features=[],
        attention=None,
        files=[],
        weights=Weights(source="random", official=False, licence="none", sha256=""),
        opset=17,
        tools={},
        created="",
    )
    return encoder, trace(encoder, SIZE, opset=17, dynamic_batch=False), manifest


def perturbed(model, amount):
    """The same graph with noise on every weight matrix."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    random = np.random.default_rng(0)
    for matrix in copy.graph.initializer:
        if len(matrix.dims) == 2 and min(matrix.dims) >= 32:
            values = onnx.numpy_helper.to_array(matrix)
            noise = random.normal(scale=amount * values.std(), size=values.shape).astype(np.float32)
            matrix.CopyFrom(onnx.numpy_helper.from_array(values + noise, matrix.name))
    return copy


def test_a_faithful_file_passes_on_every_picture_and_output(traced):
    encoder, model, manifest = traced
    report, maps = compare(encoder, finish(model, {}), manifest, parity_pictures())
    report.require_passed()
    assert report.cosine_min > 0.99999
    assert len(report.rows) == 4 * 3
    assert {row.output for row in report.rows} == {"patch_features_1", "patch_features_3", "cls_attention"}
    assert [entry.torch.shape for entry in maps] == [(5, 8)] * 4


@pytest.mark.parametrize("amount", [0.05, 1.0])
def test_a_perturbed_file_is_refused(traced, amount):
    encoder, model, manifest = traced
    report, maps = compare(encoder, finish(perturbed(model, amount), {}), manifest, parity_pictures())
    assert not report.passed
    with pytest.raises(ParityError, match="cosine min"):
        report.require_passed()
    assert draw_parity(report, maps).size[0] > 1000


def test_a_file_that_gives_nan_is_refused(traced):
    encoder, model, manifest = traced
    broken = onnx.ModelProto()
    broken.CopyFrom(model)
    bias = next(i for i in broken.graph.initializer if "norm.bias" in i.name)
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(tuple(bias.dims), np.nan, np.float32), bias.name))
    report, _ = compare(encoder, finish(broken, {}), manifest, parity_pictures())
    assert not report.passed


def test_the_report_is_strict_json(traced):
    encoder, model, manifest = traced
    report, _ = compare(encoder, finish(model, {}), manifest, parity_pictures())
    data = json.loads(report.to_json())
    assert data["passed"] is True
    assert data["limits"]["cosine_min"] == 0.9999
    assert {"picture", "output", "cosine_min", "rank_correlation", "score_torch"} <= set(data["rows"][0])


@given(npst.arrays(np.float32, st.integers(2, 40), elements=st.integers(-5, 5).map(float)), st.randoms())
def test_rank_correlation_is_spearmans(values, random):
    other = np.array([value + random.choice((0, 1, 7)) for value in values], dtype=np.float32)
    if values.std() == 0 or other.std() == 0:
        return
    assert rank_correlation(values, other) == pytest.approx(spearmanr(values, other).statistic, abs=1e-9)


def test_constant_maps_agree_only_with_constant_maps():
    flat, slope = np.zeros(5, np.float32), np.arange(5, dtype=np.float32)
    assert rank_correlation(flat, flat) == 1
    assert rank_correlation(flat, slope) == 0


def test_bundled_pictures_are_real_and_named():
    pictures = parity_pictures()
    assert [picture.name for picture in pictures] == ["brick.jpg", "coffee.jpg", "grass.jpg", "gravel.jpg"]
    assert all(picture.frame.std() > 20 for picture in pictures)


def test_a_users_folder_needs_two_readable_pictures(tmp_path):
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(PictureError, match=r"a\.png"):
        parity_pictures(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises((ParityError, PictureError)):
        parity_pictures(tmp_path)
