"""The residual stream of an encoder, as outputs of its graph."""

import itertools

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from edgead_export.backbones import BACKBONES
from edgead_export.errors import TraceError
from edgead_export.export import ExportOptions, build_bundle, export_encoder
from edgead_export.precisions.half import to_half
from edgead_export.residual_stages import with_residual_stages
from edgead_export.resolution import Resolution
from edgead_runtime import EncoderBundle


def run(model, names, pixels):
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(names, {session.get_inputs()[0].name: pixels})


@pytest.fixture
def bundle(tiny_export):
    return EncoderBundle.open(export_encoder(tiny_export(layers=(1, 2))).path)


def test_each_half_of_a_block_is_a_stage(bundle):
    model = bundle.read_model()
    marked, stages = with_residual_stages(model)
    onnx.checker.check_model(onnx.load_from_string(marked))
    blocks = ["patches and positions"]
    blocks += [stage for block in (1, 2) for stage in (f"block {block}, attention", f"block {block}")]
    assert [stage for stage in stages if not stage.startswith("output ")] == blocks
    pixels = np.random.default_rng(0).standard_normal((1, 3, 56, 56)).astype(np.float32)
    entry = bundle.manifest.input
    pixels = pixels[:, :, : entry.height, : entry.width]
    values = dict(zip(stages, run(marked, list(stages.values()), pixels), strict=True))
    assert {value.shape[-1] for stage, value in values.items() if stage in blocks} == {32}
    # Each half of a block adds something: no stage is the one before it under another name.
    stream = [values[stage][:, -16:] for stage in blocks]  # patches alone, as the last one has no others
    assert all(np.abs(one - other).max() > 1e-4 for one, other in itertools.pairwise(stream))
    names = [feature.name for feature in bundle.manifest.features]
    for name, value in zip(names, run(model, names, pixels), strict=True):
        assert values[f"output {name}"] == pytest.approx(value, abs=1e-5)


def test_the_same_stages_in_fp16(bundle):
    model = bundle.read_model()
    half = to_half(onnx.load_from_string(model)).SerializeToString()
    (right, stages), (tested, its_stages) = map(with_residual_stages, (model, half))
    assert list(stages) == list(its_stages)
    side = bundle.manifest.input
    pixels = np.random.default_rng(1).standard_normal((1, 3, side.height, side.width)).astype(np.float32)
    for one, other in zip(
        run(right, list(stages.values()), pixels), run(tested, list(its_stages.values()), pixels), strict=True
    ):
        assert other.dtype == np.float32
        assert np.abs(one - other).max() <= 0.02 * np.abs(one).max()


@pytest.mark.parametrize("name", ["clip_b16", "dinov2_s_reg"])
def test_backbones_that_begin_otherwise(name, tiny, random_weights, tmp_path):
    if name not in BACKBONES:
        pytest.fail(f"no backbone {name}")
    spec = tiny(name)
    side = 4 * spec.patch_size
    tmp_path.joinpath("out").mkdir()
    options = ExportOptions(name, tmp_path / "out")
    build_bundle(tmp_path / "out", spec, random_weights(spec), Resolution(side, side, ""), options)
    _, stages = with_residual_stages(EncoderBundle.open(tmp_path / "out").read_model())
    assert [stage for stage in stages if stage.endswith(", attention")] == [
        f"block {block}, attention" for block in range(1, spec.depth + 1)
    ]


def test_an_encoder_without_blocks():
    value = [onnx.helper.make_tensor_value_info(name, 1, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    with pytest.raises(TraceError, match="no blocks"):
        with_residual_stages(onnx.helper.make_model(graph).SerializeToString())
