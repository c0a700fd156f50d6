import pytest
import torch
from edgead_export.errors import WeightsError
from edgead_export.weights.loading import build_model


@pytest.mark.parametrize("name", ["dinov2_s", "dinov2_g_reg", "clip_b16"])
def test_every_parameter_comes_from_the_file(name, tiny, random_state, capfd):
    spec = tiny(name)
    state = random_state(spec)
    loaded = sorted(value.sum().item() for value in build_model(spec, state, "file").state_dict().values())
    halves = [value.chunk(2) if "weights_in" in key else [value] for key, value in state.items()]
    given = sorted(part.sum().item() for parts in halves for part in parts)
    whole = sorted(value.sum().item() for value in state.values())
    # Some releases keep SwiGLU's packed pair together, some apart.
    assert loaded == pytest.approx(given if len(loaded) == len(given) else whole, abs=1e-4)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize(
    "name",
    [
        "encoder.layer.1.attention.attention.key.bias",
        "encoder.layer.2.layer_scale2.lambda1",
        "layernorm.weight",
        "embeddings.patch_embeddings.projection.bias",
    ],
)
def test_a_parameter_left_unset_is_refused(name, tiny, random_state):
    spec = tiny("dinov2_s")
    state = random_state(spec)
    del state[name]
    with pytest.raises(WeightsError, match="lacks"):
        build_model(spec, state, "file")


def test_the_mask_token_may_be_missing(tiny, random_state):
    spec = tiny("dinov2_s_reg")
    state = random_state(spec)
    del state["embeddings.mask_token"]
    build_model(spec, state, "file")


def test_a_tensor_that_has_no_place_is_refused(tiny, random_state):
    spec = tiny("dinov2_s")
    with pytest.raises(WeightsError, match="do not belong"):
        build_model(spec, random_state(spec) | {"adapter.weight": torch.zeros(2)}, "file")


def test_another_shape_is_refused(tiny, random_state):
    spec = tiny("clip_b16")
    state = random_state(spec) | {"vision_model.encoder.layers.0.mlp.fc1.bias": torch.zeros(7)}
    with pytest.raises(WeightsError, match="another shape"):
        build_model(spec, state, "file")
