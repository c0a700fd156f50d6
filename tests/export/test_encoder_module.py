"""Each family's code path against transformers' own full forward."""

import onnxruntime
import pytest
import torch
from edgead_export.backbones import BACKBONES
from edgead_export.encoder_module import PatchEncoder
from edgead_export.errors import LayerError, TraceError
from edgead_export.tracing import finish, trace
from edgead_export.weights.loading import build_model

CODE_PATHS = ("dinov2_s", "dinov2_g", "dinov2_s_reg", "dinov2_g_reg", "clip_b16")


def transformers_forward(spec, state, image):
    """Every hidden state and the last attention, by transformers alone."""
    model = build_model(spec, state, "random")
    model.set_attn_implementation("eager")
    outputs = model(image, output_hidden_states=True, output_attentions=True)
    special = 1 + spec.registers
    states = list(outputs.hidden_states)
    # Some releases record the last state before, some after the final LayerNorm; last_hidden_state is clear.
    final = outputs.last_hidden_state[:, special:]
    norm = model.layernorm if spec.final_norm else torch.nn.Identity()
    features = [norm(state)[:, special:] for state in states[1 : spec.depth]] + [final]
    return features, outputs.attentions[-1][:, :, 0, special:].mean(dim=1)


def native_encoder(spec, state, layers, attention):
    return PatchEncoder(
        build_model(spec, state, "random"),
        spec,
        size=(spec.native_px, spec.native_px),
        layers=layers,
        attention=attention,
        position_rule=spec.position_rule,
    ).eval()


@pytest.mark.parametrize("name", BACKBONES)
def test_features_are_those_of_transformers(name, tiny, random_state):
    spec = tiny(name)
    state = random_state(spec)
    image = torch.randn(2, 3, spec.native_px, spec.native_px)
    features, attention = transformers_forward(spec, state, image)
    outputs = native_encoder(spec, state, (1, 2, 3), attention=True)(image)
    for ours, theirs in zip(outputs, [*features, attention], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CODE_PATHS)
def test_the_onnx_file_computes_what_transformers_computes(name, tiny, random_state):
    spec = tiny(name)
    state = random_state(spec)
    encoder = native_encoder(spec, state, (3, 1), attention=True)
    model = trace(encoder, (spec.native_px,) * 2, opset=17, dynamic_batch=True)
    session = onnxruntime.InferenceSession(finish(model, {}), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == [
        "patch_features_3",
        "patch_features_1",
        "cls_attention",
    ]
    for batch in (1, 2, 3):
        image = torch.randn(batch, 3, spec.native_px, spec.native_px)
        features, attention = transformers_forward(spec, state, image)
        found = session.run(None, {"image": image.numpy()})
        for ours, theirs in zip(found, [features[2], features[0], attention], strict=True):
            torch.testing.assert_close(torch.from_numpy(ours), theirs, rtol=1e-4, atol=1e-5)


def test_blocks_after_the_deepest_layer_are_left_out(tiny, random_state):
    spec = tiny("dinov2_s")
    whole, cut = (
        native_encoder(spec, random_state(spec), layers, attention=False) for layers in ((3,), (1,))
    )
    assert len(list(cut.parameters())) < len(list(whole.parameters()))
    assert len(cut.blocks) == 1


def test_a_layer_too_deep_is_refused(tiny, random_state):
    spec = tiny("dinov2_s")
    with pytest.raises(LayerError, match="1 to 3"):
        native_encoder(spec, random_state(spec), (4,), attention=False)


def test_an_oblong_resolution_keeps_rows_and_columns_apart(tiny, random_state):
    """A patch depends on nothing but its place: swapping the picture's axes must not give the same."""
    spec = tiny("clip_b16")
    model = build_model(spec, random_state(spec), "random")
    model.set_attn_implementation("eager")
    size = 3 * spec.patch_size, 5 * spec.patch_size
    image = torch.randn(1, 3, *size)
    expected = model(image, interpolate_pos_encoding=True).last_hidden_state[:, 1:]
    encoder = PatchEncoder(model, spec, size=size, layers=(3,), attention=False, position_rule="size")
    torch.testing.assert_close(encoder(image)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("opset", [16, 21])
def test_other_opsets_are_refused(opset, tiny, random_state):
    spec = tiny("dinov2_s")
    encoder = native_encoder(spec, random_state(spec), (1,), attention=False)
    with pytest.raises(TraceError, match="17 to 20"):
        trace(encoder, (56, 56), opset=opset, dynamic_batch=False)
