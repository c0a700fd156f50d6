"""bf16 and fp8 files for GPUs: what is in them, and that what judges them here rounds as they do."""

import json
from collections import Counter

import ml_dtypes
import msgspec
import numpy as np
import onnx
import pytest
from edgead_export.export import export_encoder
from edgead_export.precisions import offering
from edgead_export.precisions.centering import center
from edgead_export.precisions.emulation import rounded_in_float32
from edgead_export.precisions.fp8 import LARGEST, ROOM, fp8_scale, quantize_linears_to_fp8
from edgead_export.precisions.half import BFLOAT16, to_half
from edgead_export.precisions.linears import Constants, find_linears
from edgead_export.precisions.making import fp8_attempts
from edgead_export.precisions.statistics import means, observe
from edgead_runtime import Encoder, EncoderBundle
from edgead_runtime.agreement import GateLimits
from edgead_runtime.errors import BundleError, EngineUnavailableError
from onnx import TensorProto, helper, numpy_helper
from traced_encoders import LOOSE, apart, inputs_of, run, traced_encoder


@pytest.fixture(scope="module", params=["dinov2_s", "dinov2_g_reg", "clip_b16"])
def traced(tiny, random_weights, request):
    """Each family's code path: GELU, SwiGLU with registers, and CLIP's."""
    return traced_encoder(tiny, random_weights, request.param)


def types_of(model):
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {tensor.name: tensor.data_type for tensor in inferred.initializer}


def test_bf16_keeps_what_is_delicate_in_float32(traced):
    model, _ = traced
    made = to_half(model, kind=BFLOAT16)
    # Conv in bfloat16 is not in this opset, and the checker would say so.
    onnx.checker.check_model(made, full_check=True)
    types = types_of(made)
    assert TensorProto.FLOAT16 not in types.values()
    kinds = Counter((node.op_type, types[node.output[0]]) for node in made.graph.node)
    for operator in ("LayerNormalization", "Softmax", "Conv"):
        assert kinds[operator, TensorProto.FLOAT] > 0
        assert kinds[operator, TensorProto.BFLOAT16] == 0
    assert kinds["MatMul", TensorProto.BFLOAT16] >= 8 * 3  # six weights and two products of attention a block
    assert kinds["MatMul", TensorProto.FLOAT] == 0
    for value in (*made.graph.input, *made.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    constants = {tensor.name for tensor in made.graph.initializer}
    weights = {node.input[1] for node in made.graph.node if node.op_type == "MatMul"} & constants
    assert len(weights) == len(find_linears(model))
    assert {types[name] for name in weights} == {TensorProto.BFLOAT16}


def test_a_bf16_file_does_not_run_on_a_processor(traced):
    """Which is why something else is judged; if this passes one day, it need not be."""
    model, size = traced
    with pytest.raises(BundleError, match="NOT_IMPLEMENTED"):
        run(to_half(model, kind=BFLOAT16), inputs_of(size)[0])


def test_what_stands_in_for_bf16_rounds_every_tensor_as_it_does(traced):
    model, size = traced
    made = to_half(model, kind=BFLOAT16)
    stand_in = rounded_in_float32(made)
    onnx.checker.check_model(stand_in, full_check=True)
    coarse = [name for name, kind in types_of(made).items() if kind == TensorProto.BFLOAT16]
    constants = {tensor.name: tensor for tensor in stand_in.graph.initializer}
    for name in constants.keys() & set(coarse):
        values = numpy_helper.to_array(constants[name])
        np.testing.assert_array_equal(values, values.astype(ml_dtypes.bfloat16).astype(np.float32))
    computed = [name for name in coarse if name not in constants]
    products = [node.output[0] for node in stand_in.graph.node if node.op_type == "MatMul"]
    outputs = [output.name for output in stand_in.graph.output]
    probe = onnx.ModelProto()
    probe.CopyFrom(stand_in)
    for name in (*computed, *products):
        probe.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    found = run(probe, inputs_of(size)[0])
    for name in computed:
        values = found[name]
        np.testing.assert_array_equal(values, values.astype(ml_dtypes.bfloat16).astype(np.float32), name)
    # Not so what the products add up, which is float32 until it is rounded.
    assert any((found[name] != found[name].astype(ml_dtypes.bfloat16)).any() for name in products)
    for name in products:
        if name.endswith("/exact"):
            rounded = found[name].astype(ml_dtypes.bfloat16).astype(np.float32)
            np.testing.assert_array_equal(found[name.removesuffix("/exact")], rounded, name)
    # And it is a rounding that counts: neither nothing nor rubbish.
    expected = run(model, inputs_of(size)[0])
    assert 1e-4 < apart({name: found[name] for name in outputs}, expected) < 0.1


def test_centering_takes_out_the_means_and_changes_nothing(traced):
    model, size = traced
    inputs = inputs_of(size)
    sources = [linear.source for linear in find_linears(model)]
    mean = means(model, sources, inputs)
    centered = onnx.ModelProto()
    centered.CopyFrom(model)
    center(centered, mean)
    onnx.checker.check_model(centered, full_check=True)
    # Of each block only what goes into the last layer of the MLP has no bias in front of it.
    added = Counter(node.op_type for node in centered.graph.node) - Counter(
        node.op_type for node in model.graph.node
    )
    assert added == Counter(Sub=3)
    after = means(centered, [linear.source for linear in find_linears(centered)], inputs)
    assert max(float(np.abs(values).max()) for values in mean.values()) > 0.1
    assert max(float(np.abs(values).max()) for values in after.values()) < 1e-3
    exact = run(model, inputs[0])
    assert apart(run(centered, inputs[0]), exact) < 1e-4


def test_a_layer_without_a_bias_of_its_own_is_not_centered(traced):
    model, size = traced
    bent = onnx.ModelProto()
    bent.CopyFrom(model)
    linear = find_linears(bent)[5]  # the last one of the first MLP
    add = next(node for node in bent.graph.node if linear.node.output[0] in node.input)
    bias = next(name for name in add.input if name != linear.node.output[0])
    bent.graph.node.append(helper.make_node("Identity", [bias], ["who_else_reads_it"]))
    before = means(bent, [linear.source], inputs_of(size))
    center(bent, means(bent, [one.source for one in find_linears(bent)], inputs_of(size)))
    again = next(one for one in find_linears(bent) if one.name == linear.name)
    assert again.source == linear.source
    assert apart(run(bent, inputs_of(size)[0]), run(model, inputs_of(size)[0])) < 1e-4
    assert np.abs(before[linear.source]).max() > 0


def test_fp8_scales_are_powers_of_two_that_hold_the_range():
    for largest in (1e-3, 0.9, 1.0, 447.0, 448.0, 449.0, 3e4):
        scale = float(fp8_scale(largest))
        assert np.log2(scale) == int(np.log2(scale))
        assert largest / scale <= LARGEST
        assert largest / scale > LARGEST / 2 or scale == 2.0**-14
        assert np.float16(scale) == scale
    assert fp8_scale(0.0) > 0
    assert fp8_scale(float("nan")) > 0


def test_fp8_quantizes_linear_layers_and_nothing_else(traced):
    model, size = traced
    linears = find_linears(model)
    ranges = observe(model, [linear.source for linear in linears], inputs_of(size))
    made = quantize_linears_to_fp8(model, ranges)
    before, after = (Counter(node.op_type for node in each.graph.node) for each in (model, made))
    pairs = len({linear.source for linear in linears})
    assert after - before == Counter(QuantizeLinear=pairs, DequantizeLinear=pairs + len(linears))
    assert not before - after
    constants = {tensor.name: tensor for tensor in made.graph.initializer}
    for node in made.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero, scale = constants[node.input[2]], constants[node.input[1]]
            assert (zero.data_type, list(scale.dims)) == (TensorProto.FLOAT8E4M3FN, [])
    for name, found in ranges.items():
        scale = numpy_helper.to_array(constants[f"{name}/fp8_scale"])
        assert ROOM * found.magnitude.max() <= LARGEST * scale


def test_an_fp8_file_computes_what_numpy_computes(traced):
    """One layer by hand: ONNX Runtime would join these nodes to an int8 operator, which is switched off."""
    model, size = traced
    feeds = inputs_of(size)[0]
    attempt = next(fp8_attempts(model, inputs_of(size)))
    onnx.checker.check_model(attempt.model, full_check=True)
    assert attempt.kept == ()
    # The sources and results of the last block's first product, in float16 between casts.
    constants = Constants(attempt.model)
    node = [n for n in attempt.model.graph.node if n.op_type == "MatMul" and "fp8_back" in n.input[1]][-1]
    probe = onnx.ModelProto()
    probe.CopyFrom(attempt.model)
    source = node.input[0].removesuffix("_back").removesuffix("/fp8")
    quantizer = next(n for n in attempt.model.graph.node if n.output[0] == f"{source}/fp8")
    for number, name in enumerate((quantizer.input[0], node.output[0])):
        probe.graph.node.append(
            helper.make_node("Cast", [name], [f"seen{number}"], to=TensorProto.FLOAT, name=f"seen{number}")
        )
        probe.graph.output.append(helper.make_tensor_value_info(f"seen{number}", TensorProto.FLOAT, None))
    found = run(probe, feeds, "fp8")
    weight = node.input[1].removesuffix("_back").removesuffix("/fp8")
    levels = next(t for t in attempt.model.graph.initializer if t.name == f"{weight}/fp8")
    rows = np.frombuffer(levels.raw_data, ml_dtypes.float8_e4m3fn).reshape(tuple(levels.dims))
    scales = [float(constants.read(name)) for name in (quantizer.input[1], f"{weight}/fp8_scale/fp16")]
    coarse = (found["seen0"] / scales[0]).astype(ml_dtypes.float8_e4m3fn).astype(np.float32)
    expected = (coarse * scales[0]) @ (rows.astype(np.float32) * scales[1])
    np.testing.assert_allclose(found["seen1"], expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())
    exact = run(model, feeds)
    assert 1e-3 < apart({name: found[name] for name in exact}, exact) < 0.3


def test_rest_of_an_fp8_file_is_float16_but_for_what_is_delicate(traced):
    model, size = traced
    made = next(fp8_attempts(model, inputs_of(size))).model
    types = types_of(made)
    kinds = Counter((node.op_type, types[node.output[0]]) for node in made.graph.node)
    assert kinds["QuantizeLinear", TensorProto.FLOAT8E4M3FN] > 0
    assert kinds["DequantizeLinear", TensorProto.FLOAT] == 0
    assert kinds["Softmax", TensorProto.FLOAT16] == kinds["LayerNormalization", TensorProto.FLOAT16] == 0
    (declared,) = [entry.version for entry in made.opset_import if entry.domain == ""]
    assert declared == 19  # JetPack 6's parser reads up to 20


def test_more_and_more_layers_are_left_in_float16(traced):
    model, size = traced
    kept = [len(attempt.kept) for attempt in fp8_attempts(model, inputs_of(size))]
    assert kept[0] == 0
    assert kept == sorted(set(kept))
    assert 1 < len(kept) <= 6


def _loosely(monkeypatch):
    gate = offering.Gate
    monkeypatch.setattr(
        offering, "Gate", lambda reference, scenes, labelled: gate(reference, scenes, labelled, LOOSE)
    )


def test_both_are_written_for_tensorrt_with_their_frame_graphs(tiny_export, monkeypatch):
    _loosely(monkeypatch)
    notes = []
    options = tiny_export(resolution="56x84", precisions=("bf16", "fp8"), fuse=True, for_tensorrt=True)
    outcome = export_encoder(options, note=notes.append)
    bundle = EncoderBundle.open(options.out)
    names = [(file.precision, file.path) for file in (*bundle.manifest.files, *bundle.manifest.frames)]
    assert names == [
        ("fp32", "encoder.onnx"),
        ("bf16", "encoder.bf16.onnx"),
        ("fp8", "encoder.fp8.onnx"),
        ("fp32", "frame.onnx"),
        ("bf16", "frame.bf16.onnx"),
        ("fp8", "frame.fp8.onnx"),
    ]
    assert bundle.manifest.file("bf16").judged == {"emulated": True}
    assert bundle.manifest.file("fp8").judged == {"onnxruntime": True}
    gates = json.loads((options.out / "parity.json").read_bytes())["gates"]
    engines = {gate["precision"]: gate["engine"] for gate in gates}
    assert engines == {"bf16": "onnxruntime/cpu/bf16 emulated", "fp8": "onnxruntime/cpu/fp8"}
    assert all(gate["passed"] and gate["rows"] for gate in gates)
    assert any("fp8 is calibrated on" in note for note in notes)
    for name in ("encoder.bf16.onnx", "frame.bf16.onnx"):
        types = set(types_of(onnx.load(options.out / name)).values())
        assert TensorProto.BFLOAT16 in types
    for fused in (False, True):
        with Encoder.load(bundle, engine="onnxruntime", precision="fp8", fused=fused, threads=1) as encoder:
            assert encoder.engine_name == "onnxruntime/cpu/fp8"
            assert (encoder.frame_file is not None) == fused
    with pytest.raises(EngineUnavailableError, match="does not compute in bf16"):
        Encoder.load(bundle, engine="onnxruntime", precision="bf16")
    assert outcome.manifest.fingerprint() == _only_fp32(outcome.manifest).fingerprint()


def _only_fp32(manifest):
    return msgspec.structs.replace(manifest, files=manifest.files[:1], frames=[])


def test_what_does_not_inspect_as_fp32_does_is_not_written(tiny_export, monkeypatch):
    gate = offering.Gate
    strict = GateLimits(rank_correlation_min=1.0, score_error_median=0.0, score_error_max=0.0)
    monkeypatch.setattr(
        offering, "Gate", lambda reference, scenes, labelled: gate(reference, scenes, labelled, strict)
    )
    notes = []
    options = tiny_export(precisions=("bf16", "fp8"), fuse=True, for_tensorrt=True)
    outcome = export_encoder(options, note=notes.append)
    assert [file.precision for file in outcome.manifest.files] == ["fp32"]
    assert not list(options.out.glob("*.bf16.onnx")) + list(options.out.glob("*.fp8.onnx"))
    refusals = [note for note in notes if "is not offered" in note]
    assert len(refusals) == 2
    assert all("rank correlation" in said and "Try" in said and "fp16" in said for said in refusals)
    assert "--calibrate" in refusals[1]
    assert outcome.parity.passed
