"""int8 and fp16 files: what is in them, that they are near, and that what is broken is not offered."""

import json
from collections import Counter

import msgspec
import numpy as np
import onnx
import pytest
from edgead_export import bundle_files
from edgead_export.errors import ParityError, PrecisionError
from edgead_export.export import export_encoder
from edgead_export.parity import parity_pictures
from edgead_export.precisions import making, offering
from edgead_export.precisions.half import LARGEST_SEEN, halved_tensors, to_half, wide_nodes
from edgead_export.precisions.int8 import activation_scale, quantize_linears, weight_scales
from edgead_export.precisions.linears import Constants, find_linears
from edgead_export.precisions.making import Attempt, int8_attempts
from edgead_export.precisions.offering import GatePictures
from edgead_export.precisions.smoothing import smooth
from edgead_export.precisions.statistics import Activations, largest, observe
from edgead_runtime import Encoder, EncoderBundle
from onnx import TensorProto, helper, numpy_helper
from traced_encoders import LOOSE, apart, inputs_of, run, traced_encoder


@pytest.fixture(scope="module", params=["dinov2_s", "clip_b16"])
def traced(tiny, random_weights, request):
    return traced_encoder(tiny, random_weights, request.param)


def infer(model):
    return onnx.shape_inference.infer_shapes(model).graph


def sources(model):
    return [linear.source for linear in find_linears(model)]


def copied(model):
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made


def test_linears_are_the_six_of_each_block_by_name(traced):
    model, _ = traced
    names = [linear.name for linear in find_linears(model)]
    assert len(names) == len(set(names)) == 18
    assert sum("fc1" in name for name in names) == 3
    assert all(name.startswith("blocks.") for name in names)


@pytest.mark.parametrize("opset", [17, 18])
def test_ranges_are_those_of_the_tensors(traced, tiny, random_weights, opset):
    # Opset 18 writes reductions in another way.
    model, size = traced if opset == 17 else traced_encoder(tiny, random_weights, "dinov2_s", opset)
    name = sources(model)[0]
    inputs = inputs_of(size)
    found = observe(model, [name], inputs)[name]
    probe = copied(model)
    probe.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    seen = np.concatenate([run(probe, feeds)[name][0] for feeds in inputs])
    np.testing.assert_allclose(found.low, seen.min(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.high, seen.max(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.magnitude, np.abs(seen).max(axis=0), rtol=1e-6)


def test_smoothing_changes_nothing_but_the_ranges(traced):
    model, size = traced
    inputs = inputs_of(size)
    before = observe(model, sources(model), inputs)
    smoothed = copied(model)
    predicted = smooth(smoothed, before)
    after = observe(smoothed, sources(smoothed), inputs)
    changed = {name for name in before if not np.allclose(before[name].high, after[name].high, rtol=1e-3)}
    # Of each block: before q, k and v; before the output projection; before fc1. GELU is not linear.
    assert len(changed) == 9
    for name, expected in predicted.items():
        np.testing.assert_allclose(after[name].high, expected.high, rtol=2e-3, atol=1e-4)
    assert len(smoothed.graph.node) == len(model.graph.node)
    assert apart(run(smoothed, inputs[0]), run(model, inputs[0])) < 1e-4


def test_int8_quantizes_linear_layers_and_nothing_else(traced):
    model, size = traced
    attempt = next(int8_attempts(model, inputs_of(size)))
    before, after = (Counter(node.op_type for node in each.graph.node) for each in (model, attempt.model))
    # A pair for each of four activations a block, and one DequantizeLinear for each weight.
    assert after - before == Counter(QuantizeLinear=12, DequantizeLinear=12 + 18)
    assert not before - after
    onnx.checker.check_model(attempt.model, full_check=True)
    constants = {tensor.name: tensor for tensor in attempt.model.graph.initializer}
    made_by = {name: node for node in attempt.model.graph.node for name in node.output}
    for node in attempt.model.graph.node:
        if node.op_type == "QuantizeLinear":
            assert constants[node.input[2]].data_type == TensorProto.UINT8
            assert constants[node.input[1]].dims == []
            # What is quantized goes into products alone, and no product's result is quantized.
            assert made_by[node.input[0]].op_type != "MatMul"
        if node.op_type in ("LayerNormalization", "Softmax"):
            assert all(made_by.get(name, node).op_type != "DequantizeLinear" for name in node.input)
        if node.op_type == "Add":
            biases = [constants[name] for name in node.input if name in constants]
            assert all(bias.data_type == TensorProto.FLOAT for bias in biases)
    weights = [tensor for tensor in constants.values() if tensor.data_type == TensorProto.INT8]
    assert len([tensor for tensor in weights if len(tensor.dims) == 2]) == 18
    expected = run(model, inputs_of(size)[0])
    assert apart(run(attempt.model, inputs_of(size)[0], "int8"), expected) < 0.1


def test_an_int8_weight_takes_a_quarter(traced):
    model, size = traced
    constants = Constants(model)
    linear = sum(int(np.prod(constants.shape(each.weight))) for each in find_linears(model))
    made = next(int8_attempts(model, inputs_of(size))).model
    saved = sum(len(numpy_helper.to_array(tensor).tobytes()) for tensor in model.graph.initializer) - sum(
        len(numpy_helper.to_array(tensor).tobytes()) for tensor in made.graph.initializer
    )
    assert 3 * linear * 0.9 < saved <= 3 * linear


def test_scales_hold_the_range_and_zero():
    scale, zero = activation_scale(Activations(np.float32([-1.0, 0.5]), np.float32([0.2, 4.1])))
    assert scale == pytest.approx(5.1 / 255)
    assert zero == 50
    scale, zero = activation_scale(Activations(np.float32([2.0]), np.float32([4.0])))
    assert (scale, zero) == (pytest.approx(4 / 255), 0)
    nothing, _ = activation_scale(Activations(np.zeros(2, np.float32), np.zeros(2, np.float32)))
    assert nothing > 0
    np.testing.assert_allclose(weight_scales(np.float32([[1, 0], [-2, 0]]))[0], 2 / 127)


def test_symmetric_scales_are_around_zero():
    for low, high in ((-1.0, 3.0), (-3.0, 1.0), (2.0, 3.0), (0.0, 0.0)):
        found = Activations(np.array([low, 0.0], np.float32), np.array([high, 0.1], np.float32))
        scale, zero = activation_scale(found, symmetric=True)
        assert (zero, zero.dtype) == (0, np.int8)
        assert scale > 0
        assert 127 * scale == pytest.approx(max(abs(low), abs(high), 0.1), rel=1e-5)


def test_symmetric_int8_is_what_tensorrt_takes(traced):
    """Signed around 0 and nothing else (NVIDIA, TensorRT, "Explicit Quantization")."""
    model, size = traced
    inputs = inputs_of(size)
    activations = observe(model, sources(model), inputs)
    made = quantize_linears(model, activations, symmetric=True)
    onnx.checker.check_model(made, full_check=True)
    pairs = ("QuantizeLinear", "DequantizeLinear")
    zeros = {node.input[2] for node in made.graph.node if node.op_type in pairs}
    constants = {tensor.name: tensor for tensor in made.graph.initializer}
    assert zeros
    for name in zeros:
        assert constants[name].data_type == TensorProto.INT8
        assert not numpy_helper.to_array(constants[name]).any()
    assert apart(run(made, inputs[0], "int8"), run(model, inputs[0])) < 0.1


def test_layers_that_are_kept_stay_as_they_are(traced):
    model, size = traced
    activations = observe(model, sources(model), inputs_of(size))
    every = [linear.name for linear in find_linears(model)]
    made = quantize_linears(model, activations, keep=every)
    assert [node.op_type for node in made.graph.node] == [node.op_type for node in model.graph.node]
    some = quantize_linears(model, activations, keep=every[:1])
    assert len(find_linears(some)) == 1


def test_the_most_sensitive_layer_is_given_up_first(traced):
    model, size = traced
    bent = copied(model)
    constants = Constants(bent)
    worst = next(linear for linear in find_linears(bent) if linear.name == "blocks.0.mlp.fc2")
    weight = constants.read(worst.weight)
    weight[0] *= 500  # one input outweighs all others: quantized, they vanish
    constants.write(worst.weight, weight)
    attempts = int8_attempts(bent, inputs_of(size))
    assert next(attempts).kept == ()
    assert next(attempts).kept == ("blocks.0.mlp.fc2",)
    kept = [len(attempt.kept) for attempt in attempts]
    assert kept == sorted(kept)


def test_fp16_keeps_what_is_delicate_in_float32(traced):
    model, size = traced
    made = to_half(model)
    onnx.checker.check_model(made, full_check=True)
    types = {
        value.name: value.type.tensor_type.elem_type
        for part in (onnx.shape_inference.infer_shapes(made).graph,)
        for value in (*part.value_info, *part.input, *part.output)
    } | {tensor.name: tensor.data_type for tensor in made.graph.initializer}
    kinds = Counter((node.op_type, types[node.output[0]]) for node in made.graph.node)
    for operator in ("LayerNormalization", "Softmax"):
        assert kinds[operator, TensorProto.FLOAT] > 0
        assert kinds[operator, TensorProto.FLOAT16] == 0
    for operator in ("MatMul", "Conv", "Erf"):
        assert kinds[operator, TensorProto.FLOAT16] > 0 or operator == "Erf"
        assert kinds[operator, TensorProto.FLOAT] == 0
    for value in (*made.graph.input, *made.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    assert made.ByteSize() < 0.62 * model.ByteSize()
    feeds = inputs_of(size)[0]
    assert apart(run(made, feeds), run(model, feeds)) < 0.01


def test_a_weight_that_float16_does_not_hold_is_refused(traced):
    model, _ = traced
    bent = copied(model)
    constants = Constants(bent)
    name = find_linears(bent)[0].weight
    constants.write(name, constants.read(name) + 1e5)
    with pytest.raises(PrecisionError, match="float16"):
        to_half(bent)


def _overflowing(model):
    """With products of one layer that float16 does not hold, though its weights fit."""
    bent = copied(model)
    constants = Constants(bent)
    linear = next(one for one in find_linears(bent) if one.name == "blocks.0.mlp.fc1")
    weight = constants.read(linear.weight)
    constants.write(linear.weight, weight * np.float32(6e4 / np.abs(weight).max()))
    return bent


def test_what_would_overflow_stays_in_fp32(traced):
    model, size = traced
    bent, inputs = _overflowing(model), inputs_of(size)
    seen = largest(bent, halved_tensors(bent), inputs)
    too_large = {name for name, value in seen.items() if not value <= LARGEST_SEEN}
    assert max(seen.values()) > 65504  # in the file as it was made before, this is infinite on a GPU
    made = to_half(bent, too_large)
    onnx.checker.check_model(made, full_check=True)
    kinds = {value.name: value.type.tensor_type.elem_type for value in infer(made).value_info}
    halves = [name for name, kind in kinds.items() if kind == TensorProto.FLOAT16]
    names = [f"{name}/seen" for name in halves]
    probe = copied(made)
    for name, output in zip(halves, names, strict=True):
        probe.graph.node.append(helper.make_node("Cast", [name], [output], to=TensorProto.FLOAT))
        probe.graph.output.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, None))
    found = run(probe, inputs[0])
    assert max(float(np.abs(found[name]).max()) for name in names) <= LARGEST_SEEN * 1.01
    assert apart({name: found[name] for name in run(bent, inputs[0])}, run(bent, inputs[0])) < 0.01
    kept = wide_nodes(bent, too_large)
    assert 0 < len(kept) < len(bent.graph.node) / 2
    assert wide_nodes(model, {n for n, v in largest(model, seen, inputs).items() if v > LARGEST_SEEN}) == ()


def test_what_is_not_a_number_is_seen(traced):
    model, size = traced
    name = halved_tensors(model)[0]
    inputs = inputs_of(size)
    inputs[0]["image"][0, 0, 0, 0] = np.nan
    assert np.isnan(largest(model, [name], inputs)[name])


def test_the_export_says_which_nodes_would_overflow(tiny_export, monkeypatch):
    _loosely(monkeypatch)
    monkeypatch.setattr(offering, "LARGEST_SEEN", 4.0)
    notes = []
    outcome = export_encoder(tiny_export(resolution="56x84", precisions=("fp16",)), note=notes.append)
    assert [file.precision for file in outcome.manifest.files] == ["fp32", "fp16"]
    (said,) = [note for note in notes if "would overflow" in note]
    assert "fp16" in said


def _not_numbers(model, too_large=()):
    made = to_half(model, too_large)
    for tensor in made.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.nan, tensor.name))
    return made


@pytest.mark.parametrize("broken", ["every product overflows", "no numbers"])
def test_a_precision_that_cannot_be_made_does_not_end_the_export(tiny_export, monkeypatch, broken):
    _loosely(monkeypatch)
    if broken == "no numbers":
        monkeypatch.setattr(offering, "to_half", _not_numbers)
    else:
        monkeypatch.setattr(offering, "LARGEST_SEEN", 0.0)
    notes = []
    options = tiny_export(resolution="56x84", precisions=("fp16", "int8"))
    outcome = export_encoder(options, note=notes.append)
    assert [file.precision for file in outcome.manifest.files] == ["fp32", "int8"]
    (said,) = [note for note in notes if "fp16 is not offered" in note]
    assert "not written" in said


def test_a_frame_graph_that_does_not_agree_does_not_end_the_export(tiny_export, monkeypatch):
    _loosely(monkeypatch)

    def refuse(frame):
        raise ParityError("the frame graph does not agree with the stages", "")

    monkeypatch.setattr(bundle_files, "require_same_frame", refuse)
    notes = []
    options = tiny_export(resolution="56x84", precisions=("fp16",), fuse=True)
    outcome = export_encoder(options, note=notes.append)
    assert [file.precision for file in outcome.manifest.files] == ["fp32", "fp16"]
    assert [frame.precision for frame in outcome.manifest.frames] == ["fp32"]
    assert not (options.out / "frame.fp16.onnx").exists()
    assert any("go by the stages" in note for note in notes)


def _loosely(monkeypatch):
    gate = offering.Gate
    monkeypatch.setattr(
        offering, "Gate", lambda reference, scenes, labelled: gate(reference, scenes, labelled, LOOSE)
    )


def test_every_precision_is_written_with_its_frame_graph(tiny_export, monkeypatch):
    _loosely(monkeypatch)
    notes, stages = [], []
    options = tiny_export(resolution="56x84", layers=(1, 3), precisions=("int8", "fp16"), fuse=True)
    outcome = export_encoder(options, stage=stages.append, note=notes.append)
    assert stages[-3:] == ["int8", "fp16", "writing"]
    assert any("--calibrate" in note for note in notes)
    bundle = EncoderBundle.open(options.out)
    names = [(file.precision, file.path) for file in (*bundle.manifest.files, *bundle.manifest.frames)]
    assert names == [
        ("fp32", "encoder.onnx"),
        ("int8", "encoder.int8.onnx"),
        ("fp16", "encoder.fp16.onnx"),
        ("fp32", "frame.onnx"),
        ("int8", "frame.int8.onnx"),
        ("fp16", "frame.fp16.onnx"),
    ]
    assert bundle.manifest.file("int8").judged["onnxruntime"]
    only_fp32 = msgspec.structs.replace(outcome.manifest, files=outcome.manifest.files[:1], frames=[])
    assert only_fp32.fingerprint() == outcome.manifest.fingerprint()
    frame = parity_pictures()[0].frame
    for precision, name in (("int8", "onnxruntime/cpu/int8"), ("fp16", "onnxruntime/cpu/fp16")):
        for fused in (False, True):
            with Encoder.load(
                bundle, engine="onnxruntime", precision=precision, fused=fused, threads=1
            ) as encoder:
                assert encoder.engine_name == name
                assert (encoder.frame_file is not None) == fused
                assert np.isfinite(encoder.encode(frame).tokens).all()
    gates = json.loads((options.out / "parity.json").read_bytes())["gates"]
    assert {gate["precision"] for gate in gates} == {"int8", "fp16"}
    assert all(gate["passed"] and gate["rows"] for gate in gates)


def _with_quantized_outputs(model, activations, *, keep=(), symmetric=False):
    """What quantizers do that are left to themselves: also what comes out of each product."""
    made = quantize_linears(model, activations, keep=keep, symmetric=symmetric)
    scale = numpy_helper.from_array(np.array(0.7, np.float32), "out_scale")
    zero = numpy_helper.from_array(np.array(128, np.uint8), "out_zero")
    made.graph.initializer.extend([scale, zero])
    nodes = []
    for node in made.graph.node:
        nodes.append(node)
        if node.op_type == "MatMul":
            name, node.output[0] = node.output[0], f"{node.output[0]}/exact"
            nodes.append(
                helper.make_node("QuantizeLinear", [node.output[0], "out_scale", "out_zero"], [f"{name}/q"])
            )
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}/q", "out_scale", "out_zero"], [name]))
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del made.graph.node[:]
    made.graph.node.extend(copies)
    return made


def test_int8_for_tensorrt_is_a_file_of_its_own_kind(tiny_export, monkeypatch):
    _loosely(monkeypatch)
    options = tiny_export(resolution="56x84", precisions=("int8",), fuse=True, for_tensorrt=True)
    outcome = export_encoder(options)
    entry = outcome.manifest.file("int8")
    assert entry.symmetric
    assert entry.judged == {"onnxruntime": True}
    assert not outcome.manifest.file("fp32").symmetric
    bundle = EncoderBundle.open(options.out)
    for data in (bundle.read_model("int8"), bundle.read_frame_graph("int8")):
        model = onnx.load_from_string(data)
        assert not any(tensor.data_type == TensorProto.UINT8 for tensor in model.graph.initializer)
        assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    usual = export_encoder(
        tiny_export(resolution="56x84", precisions=("int8",), out=options.out.parent / "x")
    )
    assert not usual.manifest.file("int8").symmetric
    assert usual.manifest.fingerprint() == outcome.manifest.fingerprint()


def test_a_broken_int8_file_is_not_written_and_the_others_are(tiny_export, monkeypatch):
    monkeypatch.setattr(making, "quantize_linears", _with_quantized_outputs)
    notes = []
    options = tiny_export(resolution="56x84", precisions=("int8", "fp16"))
    outcome = export_encoder(options, note=notes.append)
    assert [file.precision for file in outcome.manifest.files] == ["fp32", "fp16"]
    assert not (options.out / "encoder.int8.onnx").exists()
    (refusal,) = [note for note in notes if "not offered" in note]
    assert "rank correlation of the worst distance map" in refusal
    assert "not written" in refusal
    assert "--calibrate" in refusal
    failed = next(gate for gate in outcome.parity.gates if gate.precision == "int8")
    assert not failed.passed
    assert outcome.parity.passed


def test_int8_goes_on_until_it_passes(tiny_export, monkeypatch):
    good, bad = [], []

    def attempts(model, inputs, *, symmetric):
        assert not symmetric
        broken = _with_quantized_outputs(model, observe(model, sources(model), inputs))
        bad.append(1)
        yield Attempt(broken, ())
        good.append(1)
        yield Attempt(model, ("blocks.0.mlp.fc2",))
        pytest.fail("it went on after one that passed")

    monkeypatch.setattr(offering, "int8_attempts", attempts)
    notes = []
    outcome = export_encoder(tiny_export(precisions=("int8",)), note=notes.append)
    assert (good, bad) == ([1], [1])
    assert any("blocks.0.mlp.fc2" in note for note in notes)
    assert outcome.manifest.file("int8").judged["onnxruntime"]


def test_calibration_and_judging_pictures_are_not_the_same_where_there_are_enough():
    pictures = parity_pictures()
    apart = GatePictures.of(pictures, one_part=True)
    judging = {id(scene.query) for scene in apart.scenes}
    assert judging.isdisjoint({id(picture.frame) for picture in apart.calibration})
    together = GatePictures.of(pictures[:2], one_part=True)
    assert len(together.calibration) == 2
    unrelated = GatePictures.of(pictures, one_part=False)
    assert unrelated.calibration == tuple(pictures)
