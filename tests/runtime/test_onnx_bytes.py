"""ONNX files written and changed without the ``onnx`` package, held against it."""

import contextlib

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from edgead_runtime import EncoderBundle
from edgead_runtime.errors import BundleError
from edgead_runtime.onnx_bytes import (
    floats,
    int64s,
    model,
    node,
    nodes_of,
    opset_of,
    output_shape,
    replace_node,
)
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper


def run(data, **feeds):
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def small(axes=(0,)):
    return model(
        "small",
        [
            node("Slice", ["x", "starts", "ends", "axes"], ["part"]),
            node("ReduceMax", ["part"], ["y"], axes=list(axes), keepdims=0),
        ],
        [int64s("starts", [-2]), int64s("ends", [2**62]), int64s("axes", [0])],
        [floats("x", ["n", 300])],
        floats("y", [300]),
    )


def test_what_is_written_is_onnx():
    data = small(axes=[-2])
    opened = onnx.load_from_string(data)
    onnx.checker.check_model(opened, full_check=True)
    assert opened.opset_import[0].version == 17
    assert opened.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"
    assert helper.get_attribute_value(opened.graph.node[1].attribute[0]) == [-2]
    x = np.random.default_rng(0).standard_normal((5, 300)).astype(np.float32)
    assert run(data, x=x) == pytest.approx(x[-2:].max(axis=0))


def test_reading_what_onnx_wrote(fused_bundle):
    data = EncoderBundle.open(fused_bundle).read_frame_graph()
    opened = onnx.load_from_string(data)
    read = nodes_of(data)
    assert [one.operator for one in read] == [one.op_type for one in opened.graph.node]
    for one, expected in zip(read, opened.graph.node, strict=True):
        assert (one.inputs, one.outputs) == (tuple(expected.input), tuple(expected.output))
    (loop,) = (one for one in read if one.operator == "Loop")
    assert "MatMul" in [inner.operator for inner in loop.body]
    assert opset_of(data) == 17
    assert output_shape(data, "distances") == (8, 8)
    assert output_shape(data, "map") == (0, 0)


def test_one_node_is_replaced_and_all_else_stays(sum_model):
    twice = [node("Add", ["left", "right"], ["once"]), node("Mul", ["once", "two"], ["total"])]
    two = onnx.numpy_helper.from_array(np.array([2], np.float32), "two").SerializeToString()
    changed = replace_node(sum_model, lambda found: found.operator == "Add", twice, [two])
    onnx.checker.check_model(onnx.load_from_string(changed), full_check=True)
    ones = np.ones(4, np.float32)
    assert run(changed, left=ones, right=ones).tolist() == [4, 4, 4, 4]
    assert replace_node(sum_model, lambda found: False, twice) == sum_model


@given(st.data())
def test_damage_is_said(sum_model, data):
    for read in (nodes_of, opset_of, lambda model: output_shape(model, "total")):
        cut = data.draw(st.integers(0, len(sum_model) - 1))
        garbage = data.draw(st.binary(max_size=20))
        with contextlib.suppress(BundleError):  # and nothing else; what is whole by chance is read
            read(sum_model[:cut] + garbage)
    with pytest.raises(BundleError, match="no ONNX graph"):
        output_shape(sum_model, "no such output")


def test_elements_are_of_the_types_that_onnx_means():
    values = (floats("x", [3]), int64s("n", [1, -1]))
    read = onnx.ValueInfoProto.FromString(values[0]), onnx.TensorProto.FromString(values[1])
    assert read[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert read[1].data_type == TensorProto.INT64
    assert onnx.numpy_helper.to_array(read[1]).tolist() == [1, -1]
