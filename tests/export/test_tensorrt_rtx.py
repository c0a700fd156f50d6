"""TensorRT for RTX parses and builds every graph that is exported, for four generations of GPUs, on the CPU.

It is TensorRT's own parser and builder (of its 11), and needs no GPU to build. What it cannot show: that an
engine runs, how fast, and that TensorRT 10.3 on a Jetson Orin (compute capability 87, which it lacks; 86 is
the nearest) takes the same graph.
"""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from edgead_export.backbones import BACKBONES
from edgead_export.export import ExportOptions, build_bundle
from edgead_export.fusing import fuse
from edgead_export.precisions.half import BFLOAT16, to_half
from edgead_export.precisions.making import fp8_attempts, int8_attempts
from edgead_export.resolution import Resolution
from edgead_export.triton.baking import FrameConstants, bake
from edgead_runtime import EncoderBundle
from edgead_runtime.errors import EngineBuildError
from edgead_runtime.index.in_engine import search_graph
from edgead_runtime.tensorrt.api import FLAVOURS
from edgead_runtime.tensorrt.builder import build_plan
from edgead_runtime.tensorrt.building import build_engine, check_can_build
from edgead_runtime.tensorrt.layers import activation_bytes, fused_attentions, layer_names, product_types
from edgead_runtime.tensorrt.options import BuildOptions
from edgead_runtime.tensorrt.record import decode_record
from onnx import TensorProto, helper
from PIL import Image

trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")

FLAVOUR = FLAVOURS["tensorrt-rtx"]
TARGETS = (80, 86, 89, 120)


HAVE_FP8 = (89, 120)


def noise(model):
    (image,) = model.graph.input
    random = np.random.default_rng(0)
    shape = [size.dim_value or 1 for size in image.type.tensor_type.shape.dim]
    return [{image.name: random.standard_normal(shape, dtype=np.float32)}]


PRECISIONS = {
    "fp32": lambda model: model,
    "fp16": to_half,
    "bf16": lambda model: to_half(model, kind=BFLOAT16),
    "int8": lambda model: next(int8_attempts(model, noise(model), symmetric=True)).model,
    "fp8": lambda model: next(fp8_attempts(model, noise(model))).model,
}
"""As the export makes them for TensorRT. A later precision is one more entry."""
FUSED = ("fp16", "bf16", "int8", "fp8")
"""Attention becomes one kernel. Of int8 and fp8 files for TensorRT it is the rest in fp16 that does."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two small pictures: parity is not what is tested here."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for name in ("a.png", "b.png"):
        Image.fromarray(random.integers(0, 256, (120, 120, 3), dtype=np.uint8)).save(folder / name)
    return folder


def build(model, precision="fp32", **options):
    targets = HAVE_FP8 if precision == "fp8" else TARGETS
    return build_plan(trt, FLAVOUR, model, BuildOptions(sm=targets, **options), detailed=True)


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
            plan = build(model, precision)
            assert plan.messages.errors == []
            assert not any("loop" in layer.lower() for layer in layer_names(plan.messages))
            # Of the last block the attention itself is asked for, so it cannot stay inside a kernel.
            fused = spec.depth - 1 if precision in FUSED else 0
            assert fused_attentions(plan.messages) == fused, (precision, graph)


def test_fp8_where_a_gpu_has_none(tiny, random_weights, pictures, tmp_path):
    """It is said before TensorRT would say it, in other words."""
    spec = tiny("dinov2_s")
    bundle = export(tmp_path / "encoder", spec, random_weights(spec), 4, parity_images=pictures)
    model = PRECISIONS["fp8"](onnx.load_from_string(bundle.read_model())).SerializeToString()
    with pytest.raises(EngineBuildError, match="HW-specific datatypes: fp8"):
        build(model, precision="as the others")
    kinds = product_types(build(model, precision="fp8").messages)
    assert kinds.count("FP8") >= 4 * spec.depth, kinds
    with pytest.raises(EngineBuildError, match=r"8\.0, 8\.6 have no fp8, which begins at 8\.9") as caught:
        build_engine(bundle.root, "tensorrt-rtx", BuildOptions(sm=TARGETS), precision="fp8")
    assert "int8" in caught.value.remedy
    assert "--sm 89 120 alone" in caught.value.remedy


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
    """All twelve blocks. In 16 bits each attention becomes one kernel, and takes much less memory."""
    spec = BACKBONES["dinov2_s"]
    weights = random_weights(spec)
    weights = replace(weights, state={name: 0.1 * value for name, value in weights.state.items()})
    bundle = export(tmp_path / "encoder", spec, weights, 24, parity_images=pictures)
    memory = {}
    for precision in ("fp32", "fp16", "fp8"):  # the others are built at a small size above
        for graph, model in graphs_of(bundle, precision):
            plan = build(model, precision)
            fused = spec.depth if precision in FUSED else 0
            assert fused_attentions(plan.messages) == fused, (precision, graph)
            memory[precision, graph] = activation_bytes(plan.messages)
            if precision == "fp8":  # six linear layers a block, none of them left in float16
                assert product_types(plan.messages).count("FP8") == 6 * spec.depth
    assert memory["fp16", "encoder"] < 0.5 * memory["fp32", "encoder"]
    assert memory["fp16", "frame"] < memory["fp32", "frame"]
    assert memory["fp8", "frame"] < memory["fp32", "frame"]


def test_int8_for_processors_is_not_for_tensorrt(tiny, random_weights, pictures, tmp_path):
    """Which is why there is another file for it; if this passes one day, there need not be."""
    spec = tiny("dinov2_s")
    bundle = export(tmp_path / "encoder", spec, random_weights(spec), 4, parity_images=pictures)
    model = onnx.load_from_string(bundle.read_model())
    inputs = [{"image": np.random.default_rng(0).standard_normal((1, 3, 56, 56), dtype=np.float32)}]
    with pytest.raises(EngineBuildError, match="zero point"):
        build(next(int8_attempts(model, inputs)).model.SerializeToString())


def test_a_detector_as_one_graph(tiny, random_weights, pictures, tmp_path):
    """What Triton is given: the bank and all else as constants, a verdict as an output."""
    spec = tiny("dinov2_s")
    bundle = export(tmp_path / "encoder", spec, random_weights(spec), 4, parity_images=pictures)
    random = np.random.default_rng(0)
    constants = FrameConstants(
        bank=random.standard_normal((3, 16, spec.hidden_size), dtype=np.float32),
        patch_weights=np.ones((4, 4), np.float32),
        map_down=random.random((100, 4), dtype=np.float32),
        map_across=random.random((120, 4), dtype=np.float32),
        score_weights=np.array([0.7, 0.3], np.float32),
        threshold=0.2,
    )
    made = bake(onnx.load_from_string(bundle.read_frame_graph()), constants)
    onnx.checker.check_model(made, full_check=True)
    assert build(made.SerializeToString()).messages.errors == []


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


def test_turing_has_no_fp32():
    node = helper.make_node("MatMul", ["x", "x"], ["out"])
    model = model_of(node, [64, 64], ("x", TensorProto.FLOAT, [64, 64]))
    with pytest.raises(EngineBuildError, match="FP32 GEMM") as caught:
        build_plan(trt, FLAVOUR, model, BuildOptions(sm=(75, 86)))
    assert "--precision fp16 --graph encoder" in caught.value.remedy


def test_what_is_asked_for_wrongly():
    node = helper.make_node("Relu", ["x"], ["out"])
    model = model_of(node, [2, 3], ("x", TensorProto.FLOAT, [2, 3]))
    for options, problem in {
        BuildOptions(): "has to be told for which GPUs",
        BuildOptions(sm=(87,)): "no compute capability 87",
        BuildOptions(sm=(86,), hardware="ampere-plus"): "not for TensorRT for RTX",
        BuildOptions(sm=(86,), version_compatible=True): "not for TensorRT for RTX",
        BuildOptions(sm=(86,), optimization_level=6): "no optimization level of 6",
        BuildOptions(sm=(86,), batch=(2, 1, 4)): "batches of 2, 1, 4",
        BuildOptions(sm=(86,), bank_blocks=(0, 4)): "bank of 0",
        BuildOptions(sm=(86,), map_hw=(0, 4)): "map of 0 x 4",
        BuildOptions(sm=(86,), workspace_mib=0): "workspace of 0 MiB",
        BuildOptions(sm=(86,), workspace_mib=10**14): "workspace of 100000000000000 MiB",
    }.items():
        with pytest.raises(EngineBuildError, match=problem):
            build_plan(trt, FLAVOUR, model, options)


def test_a_gpu_that_it_has_not_is_said_before_anything_is_traced():
    with pytest.raises(EngineBuildError, match="no compute capability 87"):
        check_can_build("tensorrt-rtx", BuildOptions(sm=(86, 87)))


BUILT_UNDER_CTRL_C = """
import signal, sys, time
import tensorrt_rtx as trt
from edgead_runtime.tensorrt import builder
from edgead_runtime.tensorrt.api import FLAVOURS
from edgead_runtime.tensorrt.logging import Messages
from edgead_runtime.tensorrt.options import BuildOptions


class Interrupting(list):
    def append(self, message):
        super().append(message)
        if len(self) == int(sys.argv[1]):
            signal.raise_signal(signal.SIGINT)


builder.Messages = lambda: Messages(details=Interrupting())
try:
    builder.build_plan(
        trt, FLAVOURS["tensorrt-rtx"], sys.stdin.buffer.read(), BuildOptions(sm=(86,)), detailed=True
    )
    time.sleep(5)  # a thread of TensorRT's may have logged, and Python tells the main one
except KeyboardInterrupt:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    print("stopped")
"""


@pytest.mark.parametrize("after", ["1", "30"], ids=["at the first message", "in the middle"])
def test_ctrl_c_while_it_is_built(after):
    """Python would raise it in the logger, as a rule: TensorRT prints what is raised there and goes on.

    In a process of its own: one that came late would end the tests.
    """
    node = helper.make_node("Relu", ["x"], ["out"])
    model = model_of(node, [2, 3], ("x", TensorProto.FLOAT, [2, 3]))
    ran = subprocess.run(
        [sys.executable, "-c", BUILT_UNDER_CTRL_C, after],
        input=model,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stdout.strip()) == (0, b"stopped"), ran.stderr.decode()
    assert b"Exception caught" not in ran.stderr


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
