"""TensorRT for RTX parses and builds every graph that is exported, for four generations of GPUs, on the CPU.

It is TensorRT's own parser and builder (of its 11), and needs no GPU to build. What it cannot show: that an
engine runs, how fast, and that TensorRT 10.3 on a Jetson Orin (compute capability 87, which it lacks; 86 is
the nearest) takes the same graph.
"""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from edgead_export.backbones import BACKBONES
from edgead_export.export import ExportOptions, build_bundle
from edgead_export.fusing import fuse
from edgead_export.precisions.half import to_half
from edgead_export.precisions.int8 import quantize_linears
from edgead_export.precisions.linears import find_linears
from edgead_export.precisions.statistics import observe
from edgead_export.resolution import Resolution
from edgead_runtime import EncoderBundle
from edgead_runtime.errors import EngineBuildError
from edgead_runtime.index.in_engine import search_graph
from edgead_runtime.tensorrt.api import FLAVOURS
from edgead_runtime.tensorrt.builder import build_plan
from edgead_runtime.tensorrt.building import build_engine
from edgead_runtime.tensorrt.layers import activation_bytes, fused_attentions, layer_names
from edgead_runtime.tensorrt.options import BuildOptions
from edgead_runtime.tensorrt.record import decode_record
from onnx import TensorProto, helper
from PIL import Image

trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")

FLAVOUR = FLAVOURS["tensorrt-rtx"]
TARGETS = (80, 86, 89, 120)


def half(model):
    """As the exporter makes it."""
    return to_half(model)


def bfloat16(model):
    """The exporter's fp16 graph with the other 16 bits: the same products, the same casts."""
    made = to_half(model)
    for node in made.graph.node:
        for attribute in node.attribute:
            if (node.op_type, attribute.name, attribute.i) == ("Cast", "to", TensorProto.FLOAT16):
                attribute.i = TensorProto.BFLOAT16
    for constant in made.graph.initializer:
        if constant.data_type == TensorProto.FLOAT16:
            values = onnx.numpy_helper.to_array(constant).astype(np.float32)
            high = (values.view(np.uint32) >> 16).astype(np.uint16)
            constant.raw_data, constant.data_type = high.tobytes(), TensorProto.BFLOAT16
    return made


def int8(model):
    """The exporter's int8 graph with symmetric activations, which is what TensorRT takes."""
    linears = find_linears(model)
    sizes = [entry.dim_value for entry in model.graph.input[0].type.tensor_type.shape.dim]
    noise = np.random.default_rng(0).standard_normal([size or 1 for size in sizes]).astype(np.float32)
    seen = observe(model, [linear.source for linear in linears], [{model.graph.input[0].name: noise}])
    made = quantize_linears(model, seen)
    constants = {constant.name: constant for constant in made.graph.initializer}
    for node in made.graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        scale, zero = (constants[name] for name in node.input[1:])
        step, lowest = (float(onnx.numpy_helper.to_array(entry)) for entry in (scale, zero))
        largest = step * max(lowest, 255 - lowest)
        scale.CopyFrom(onnx.numpy_helper.from_array(np.array(largest / 127, np.float32), scale.name))
        zero.CopyFrom(onnx.numpy_helper.from_array(np.array(0, np.int8), zero.name))
    return made


PRECISIONS = {"fp32": lambda model: model, "fp16": half, "bf16": bfloat16, "int8": int8}
"""A later precision is one more entry: what makes its encoder from the fp32 one."""
FUSED = ("fp16", "bf16")
"""Attention becomes one kernel. With int8 it is left in fp32, as all that is not a linear layer."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two small pictures: parity is not what is tested here."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(random.integers(0, 256, (120, 120, 3), dtype=np.uint8)).save(folder / name)
    return folder


def build(model, **options):
    return build_plan(trt, FLAVOUR, model, BuildOptions(sm=TARGETS, **options), detailed=True)


def export(folder, spec, weights, patches, **options):
    side = patches * spec.patch_size
    folder.mkdir()
    chosen = ExportOptions(spec.name, folder, fuse=True, **options)
    build_bundle(folder, spec, weights, Resolution(side, side, ""), chosen)
    return EncoderBundle.open(folder)


def graphs_of(bundle, precision):
    encoder = PRECISIONS[precision](onnx.load_from_string(bundle.read_model()))
    if precision in ("fp32", "fp16"):  # of the others the frame graph alone, which has the encoder inside
        yield "encoder", encoder.SerializeToString()
    yield "frame", fuse(encoder, bundle.manifest).SerializeToString()


def small(name):
    """A backbone's code path with heads of their real width: TensorRT has fused attention for these."""
    spec = BACKBONES[name]
    return replace(spec, hidden_size=128, heads=2, depth=3, native_px=4 * spec.patch_size)


def code_paths():
    """Backbones that differ in nothing but their sizes are one graph here: the first of them by name."""
    paths = {}
    for name in BACKBONES:
        spec = small(name)
        paths.setdefault(replace(spec, name="", hub_repo="", licence=""), name)
    return list(paths.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", code_paths())
def test_every_backbone_is_built(name, random_weights, pictures, tmp_path):
    spec = small(name)
    bundle = export(
        tmp_path / "encoder",
        spec,
        random_weights(spec),
        4,
        layers=(2, 3),
        attention=True,
        parity_images=pictures,
    )
    for precision in PRECISIONS:
        for graph, model in graphs_of(bundle, precision):
            plan = build(model)
            assert plan.messages.errors == []
            assert not any("loop" in layer.lower() for layer in layer_names(plan.messages))
            # Of the last block the attention itself is asked for, so it cannot stay inside a kernel.
            fused = spec.depth - 1 if precision in FUSED else 0
            assert fused_attentions(plan.messages) == fused, (precision, graph)


@pytest.mark.slow
def test_an_open_batch(random_weights, pictures, tmp_path):
    spec = small("dinov2_s")
    bundle = export(
        tmp_path / "encoder", spec, random_weights(spec), 4, dynamic_batch=True, parity_images=pictures
    )
    for _, model in graphs_of(bundle, "fp32"):
        assert build(model, batch=(1, 2, 4)).messages.errors == []


@pytest.mark.slow
def test_dinov2_s_as_it_is_used(random_weights, pictures, tmp_path):
    """All twelve blocks. In fp16 each attention becomes one kernel, and takes much less memory."""
    spec = BACKBONES["dinov2_s"]
    weights = random_weights(spec)
    weights = replace(weights, state={name: 0.1 * value for name, value in weights.state.items()})
    bundle = export(tmp_path / "encoder", spec, weights, 24, parity_images=pictures)
    memory = {}
    for precision in PRECISIONS:
        for graph, model in graphs_of(bundle, precision):
            plan = build(model)
            assert fused_attentions(plan.messages) == (spec.depth if precision in FUSED else 0), graph
            memory[precision, graph] = activation_bytes(plan.messages)
    assert memory["fp16", "encoder"] < 0.5 * memory["fp32", "encoder"]
    assert memory["fp16", "frame"] < memory["fp32", "frame"]


@pytest.mark.parametrize("neighbours", [1, 3])
def test_the_search_by_itself(neighbours):
    plan = build(search_graph(384, neighbours))
    assert plan.messages.errors == []
    assert layer_names(plan.messages)


def model_of(node, output_shape, *inputs):
    values = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, output_shape)
    graph = helper.make_graph([node], "small", values, [out])
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def test_an_operator_that_it_does_not_know_is_named():
    node = helper.make_node("Det", ["x"], ["out"], name="the_determinant")
    with pytest.raises(EngineBuildError, match="Det 'the_determinant'") as caught:
        build(model_of(node, [2], ("x", TensorProto.FLOAT, [2, 3, 3])))
    assert "does not understand the graph" in caught.value.problem
    with pytest.raises(EngineBuildError, match="does not understand"):
        build(b"not a graph")


def test_what_is_asked_for_wrongly():
    node = helper.make_node("Relu", ["x"], ["out"])
    model = model_of(node, [2, 3], ("x", TensorProto.FLOAT, [2, 3]))
    for options, problem in {
        BuildOptions(): "has to be told for which GPUs",
        BuildOptions(sm=(87,)): "no compute capability 87",
        BuildOptions(sm=(86,), hardware="ampere-plus"): "not for TensorRT for RTX",
        BuildOptions(sm=(86,), version_compatible=True): "not for TensorRT for RTX",
        BuildOptions(sm=(86,), optimization_level=6): "no an? optimization level of 6|level of 6",
        BuildOptions(sm=(86,), batch=(2, 1, 4)): "batches of 2, 1, 4",
        BuildOptions(sm=(86,), bank_blocks=(0, 4)): "bank of 0",
        BuildOptions(sm=(86,), map_hw=(0, 4)): "map of 0 x 4",
        BuildOptions(sm=(86,), workspace_mib=0): "workspace of 0 MiB",
    }.items():
        with pytest.raises(EngineBuildError, match=problem):
            build_plan(trt, FLAVOUR, model, options)


def test_open_sizes_get_a_range_and_unknown_ones_are_refused():
    node = helper.make_node("Relu", ["x"], ["out"])
    plan = build(model_of(node, ["batch", 3], ("x", TensorProto.FLOAT, ["batch", 3])), batch=(1, 2, 8))
    assert layer_names(plan.messages)
    with pytest.raises(EngineBuildError, match="axis 1 of the graph's input 'x' is open"):
        build(model_of(node, [2, "n"], ("x", TensorProto.FLOAT, [2, "n"])))


def test_an_engine_beside_an_encoder(tiny, random_weights, pictures, tmp_path):
    spec = tiny("dinov2_s")
    bundle = export(tmp_path / "encoder", spec, random_weights(spec), 4, parity_images=pictures)
    seen = []
    built = build_engine(
        bundle.root, "tensorrt-rtx", BuildOptions(sm=(86, 120)), progress=lambda *step: seen.append(step)
    )
    assert built.path.parent == bundle.root / "engines"
    record = decode_record(built.path.with_suffix(".json").read_bytes(), "")
    assert record == built.record
    assert (record.graph, record.precision, record.gpu, record.parity) == ("frame", "fp32", None, None)
    assert record.onnx_sha256 == bundle.manifest.frame.sha256
    assert record.plan_bytes == built.path.stat().st_size
    assert record.rebuild.endswith("--engine tensorrt-rtx --sm 86 120")
    assert ("Building engine", 1.0) in seen
    assert np.diff([share for what, share in seen if what == "Building engine"]).min() >= 0

    encoder = build_engine(bundle.root, "tensorrt-rtx", BuildOptions(sm=(86,)), graph="encoder")
    assert encoder.record.rebuild.endswith("--graph encoder")
    assert encoder.path != built.path
