import numpy as np
import onnx
import onnx.reference
import pytest
import torch
from edgead_export.backbones import BACKBONES
from edgead_export.encoder_module import PatchEncoder
from edgead_export.errors import TraceError
from edgead_export.tracing import _set_opset, check_file_size, finish, trace
from edgead_export.weights.loading import build_model


@pytest.fixture(scope="module")
def encoder(tiny, random_state):
    spec = tiny("dinov2_s")
    return PatchEncoder(
        build_model(spec, random_state(spec), "random"),
        spec,
        size=(42, 70),
        layers=(2,),
        attention=True,
        position_rule="offset",
    ).eval()


@pytest.mark.parametrize("opset", [17, 19, 20])
def test_the_opset_is_the_one_asked_for(encoder, opset, capfd):
    model = onnx.load_from_string(
        finish(trace(encoder, (42, 70), opset=opset, dynamic_batch=False), {"edgead": "{}", "a": "b"})
    )
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    assert {entry.key: entry.value for entry in model.metadata_props} == {"edgead": "{}", "a": "b"}
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == [1, 3, 42, 70]
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_nothing_of_this_machine_is_in_the_file(encoder):
    data = finish(trace(encoder, (42, 70), opset=17, dynamic_batch=True), {})
    for trace_of_the_exporter in (b".py", b"stack_trace", b"transformers.models"):
        assert trace_of_the_exporter not in data


def test_the_same_export_gives_the_same_bytes(encoder):
    first, second = (finish(trace(encoder, (42, 70), opset=17, dynamic_batch=False), {}) for _ in range(2))
    assert first == second


def test_the_graph_has_no_resize_and_nothing_left_to_fold(encoder):
    model = trace(encoder, (42, 70), opset=17, dynamic_batch=False)
    operators = [node.op_type for node in model.graph.node]
    assert not {"Resize", "Shape", "Identity", "Constant", "Cast", "Gemm", "Expand"} & set(operators)
    # Two blocks of six linear layers and two attention products.
    assert operators.count("MatMul") == 2 * (6 + 2)


def _graph(operator, **attributes):
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, 2])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 2])
    node = onnx.helper.make_node(operator, ["x"], ["y"], **attributes)
    return onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", [value], [out]), opset_imports=[onnx.helper.make_opsetid("", 18)]
    )


def test_an_operator_that_changed_is_not_relabelled():
    with pytest.raises(TraceError, match="ReduceMean") as caught:
        _set_opset(_graph("ReduceMean"), 17)
    assert "18" in caught.value.remedy


def test_an_even_split_is_the_same_in_opset_17():
    model = _graph("Split", num_outputs=2, axis=1)
    model.graph.node[0].output.append("z")
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None))
    _set_opset(model, 17)
    halves = onnx.reference.ReferenceEvaluator(model).run(None, {"x": np.eye(2, dtype=np.float32)})
    assert [half.tolist() for half in halves] == [[[1], [0]], [[0], [1]]]


def test_a_foreign_operator_is_refused():
    with pytest.raises(TraceError, match=r"com\.example"):
        _set_opset(_graph("Relu", domain="com.example"), 18)


def test_an_invalid_graph_does_not_pass_the_check():
    model = _graph("Relu")
    model.graph.node[0].input[0] = "nowhere"
    with pytest.raises(TraceError, match="not valid ONNX"):
        finish(model, {})


def test_a_model_over_two_gigabytes_is_refused_before_its_weights_are_fetched():
    check_file_size(BACKBONES["dinov2_g"], (18,))
    with pytest.raises(TraceError, match="holds 2") as caught:
        check_file_size(BACKBONES["dinov2_g"], (40,))
    assert "up to 18" in caught.value.remedy
    assert torch.get_default_device() == torch.device("cpu")
