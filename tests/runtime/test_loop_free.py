"""The frame graph as TensorRT gets it: without a loop, and with the same numbers."""

import numpy as np
import onnx
import pytest
from edgead_export.fusing import fuse
from edgead_runtime import EncoderBundle, frame_graph
from edgead_runtime.bank import normalize
from edgead_runtime.engines import create_engine
from edgead_runtime.index import nearest_distances
from edgead_runtime.tensorrt import loop_free
from edgead_runtime.tensorrt.loop_free import searched_bytes, without_loop


def feeds_for(manifest, pixels, blocks, bias):
    return {
        frame_graph.FRAME: pixels[None],
        frame_graph.BANK: blocks.astype(np.float32),
        frame_graph.BANK_BIAS: np.array(bias, np.float32)[:, None],
        frame_graph.PATCH_WEIGHTS: np.ones(manifest.grid, np.float32),
        **frame_graph.no_map(manifest.grid),
    }


@pytest.mark.parametrize("part", [128, 64, 24, 7])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_it_finds_what_the_loop_finds_and_what_the_stages_find(fused_bundle, monkeypatch, part, engine):
    if engine == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setattr(loop_free, "PART", part)
    bundle = EncoderBundle.open(fused_bundle)
    manifest, looped = bundle.manifest, bundle.read_frame_graph()
    free = without_loop(looped)
    opened = onnx.load_from_string(free)
    onnx.checker.check_model(opened, full_check=True)
    assert "Loop" not in {node.op_type for node in opened.graph.node}
    random = np.random.default_rng(part)
    with create_engine(looped, engine) as with_loop, create_engine(free, engine) as without:
        for blocks in (1, 2, 5):
            pixels = random.integers(0, 256, (112, 112, 3), dtype=np.uint8)
            bank = normalize(random.standard_normal((64 * blocks, 16)).astype(np.float32))
            filled = bank.reshape(blocks, 64, 16)
            unused = np.zeros((2, 64, 16), np.float32)
            bias = [0] * blocks + [frame_graph.UNUSED] * 2
            feeds = feeds_for(manifest, pixels, np.concatenate([filled, unused]), bias)
            expected, found = with_loop.run(feeds), without.run(feeds)
            for name, value in expected.items():
                assert found[name] == pytest.approx(value, abs=1e-5), name
            queries = normalize(found["patch_features_1"][0])
            staged = nearest_distances(queries, [bank]).reshape(manifest.grid)
            assert found["distances"] == pytest.approx(staged, abs=1e-5)


def test_other_graphs_stay_as_they_are(mini_bundle, sum_model):
    encoder = EncoderBundle.open(mini_bundle).read_model()
    for model in (encoder, sum_model):
        assert without_loop(model) is model


def test_a_newer_opset_says_axes_otherwise(mini_bundle):
    """From 18 on ReduceMax takes them as an input, and an attribute of that name would be refused."""
    manifest = EncoderBundle.open(mini_bundle).manifest
    encoder = onnx.load_from_string(EncoderBundle.open(mini_bundle).read_model())
    fused = fuse(encoder, manifest)
    fused.opset_import[0].version = 18
    opened = onnx.load_from_string(without_loop(fused.SerializeToString()))
    largest = [node for node in opened.graph.node if node.name.endswith(("of_blocks", "nearest"))]
    reductions = [node for node in largest if node.op_type == "ReduceMax"]
    assert reductions
    for node in reductions:
        assert [entry.name for entry in node.attribute] == ["keepdims"]
        assert len(node.input) == 2


def test_how_much_memory_it_takes():
    assert searched_bytes(1024, 1024, 16) == 128 * 16_384 * 4
    assert searched_bytes(64, 64, 1) == 64 * 64 * 4
