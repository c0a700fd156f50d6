"""ONNX files written and changed without the ``onnx`` package, held against it."""

import contextlib

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from edgead_runtime import EncoderBundle, onnx_bytes
from edgead_runtime.errors import BundleError
from edgead_runtime.index.in_engine import neighbours_of
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
from edgead_runtime.tensorrt.loop_free import without_loop
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper


def run(data, **feeds):
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def field(number, content):
    """A field of bytes."""
    return onnx_bytes._field(number, content)


@pytest.fixture(scope="module")
def skeleton(fused_bundle):
    """A frame graph without its weights, so that what is changed is structure."""
    opened = onnx.load_from_string(EncoderBundle.open(fused_bundle).read_frame_graph())
    del opened.graph.initializer[:]
    return opened.SerializeToString()


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


def readers(name):
    """Whatever reads a model that came from outside."""
    return (
        nodes_of,
        opset_of,
        neighbours_of,
        without_loop,
        lambda data: output_shape(data, name),
        lambda data: replace_node(data, lambda found: found.operator in ("Add", "Loop"), []),
    )


def without_search(data):
    return replace_node(data, lambda found: found.operator == "Loop", [])


@given(st.data())
def test_damage_is_said(sum_model, data):
    for read in readers("total"):
        cut = data.draw(st.integers(0, len(sum_model) - 1))
        garbage = data.draw(st.binary(max_size=20))
        with contextlib.suppress(BundleError):  # and nothing else; what is whole by chance is read
            read(sum_model[:cut] + garbage)
    with pytest.raises(BundleError, match="no ONNX graph"):
        output_shape(sum_model, "no such output")


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_bytes_that_were_changed_are_read_or_refused(skeleton, data):
    changed = bytearray(skeleton)
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, len(changed) - 1))
        length = data.draw(st.integers(0, 12))
        changed[place : place + length] = data.draw(st.binary(max_size=12))
    for read in readers("distances"):
        with contextlib.suppress(BundleError):
            read(bytes(changed))


@given(st.binary(max_size=200))
@example(b"")
@example(b"\x3a" + b"\xff" * 9 + b"\x01")  # a graph of 2^64 - 1 bytes
@example(b"\x3a\xff\xff\xff\xff\x0f")
@example(b"\xff" * 200)
def test_whatever_the_bytes(data):
    for read in readers("y"):
        with contextlib.suppress(BundleError):
            read(data)
        with contextlib.suppress(BundleError):
            read(field(7, data))


def test_graphs_in_graphs_end_somewhere():
    nested = b""
    for _ in range(3000):
        nested = field(1, field(5, field(6, nested)))
    with pytest.raises(BundleError, match="damaged"):
        nodes_of(field(7, nested))


@pytest.mark.parametrize(
    ("made", "read"),
    [
        pytest.param(lambda many: field(7, b"\x0a\x00" * many), nodes_of, id="nodes"),
        pytest.param(lambda many: b"\x1a\x00" * many + field(7, b""), nodes_of, id="beside the graph"),
        pytest.param(lambda many: field(7, field(1, field(5, b"\x32\x00" * many))), nodes_of, id="bodies"),
        pytest.param(lambda many: field(7, field(1, b"\x0a\x00" * many)), nodes_of, id="inputs"),
        pytest.param(lambda many: field(7, b"\x0a\x00" * many), without_search, id="nodes to replace"),
    ],
)
def test_fields_of_two_bytes_do_not_fill_the_memory(made, read, monkeypatch):
    """Each becomes an object of a hundred: a file may be large by its weights, not by their number."""
    monkeypatch.setattr(onnx_bytes, "_MOST_FIELDS", 1000)
    read(made(900))
    with pytest.raises(BundleError, match="damaged"):
        read(made(1100))


def test_what_there_may_be_once_is_not_collected():
    with pytest.raises(BundleError, match="damaged"):
        nodes_of(b"\x3a\x00" * 3)


def test_a_shape_of_a_million_dimensions_is_none():
    """Multiplied, they would be a number of eight million digits."""
    huge = field(1, b"\x08" + b"\xff" * 8 + b"\x7f")
    tensor = field(2, field(1, field(1, b"") + field(2, huge * 100_000)))
    with pytest.raises(BundleError, match="damaged"):
        output_shape(field(7, field(12, field(1, b"distances") + tensor)), "distances")


def test_numbers_that_are_texts_are_none():
    opset = field(8, field(1, b"") + field(2, b"17"))
    with pytest.raises(BundleError, match="damaged"):
        opset_of(opset + field(7, b""))


def test_real_encoders_are_far_from_the_limit(fused_bundle):
    """Blocks have some 250 fields each, in int8 five times as many; the largest encoders have 40 blocks."""
    read = onnx_bytes._Reader()
    graph = read.only(EncoderBundle.open(fused_bundle).read_frame_graph(), 7)
    nodes = [read.node(value) for number, value, _ in read.fields(graph) if number == 1]
    fields = onnx_bytes._MOST_FIELDS - read._left
    assert fields < 15 * len(nodes) + 200
    assert onnx_bytes._MOST_FIELDS > 15 * 40 * 5 * 25


def test_elements_are_of_the_types_that_onnx_means():
    values = (floats("x", [3]), int64s("n", [1, -1]))
    read = onnx.ValueInfoProto.FromString(values[0]), onnx.TensorProto.FromString(values[1])
    assert read[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert read[1].data_type == TensorProto.INT64
    assert onnx.numpy_helper.to_array(read[1]).tolist() == [1, -1]
