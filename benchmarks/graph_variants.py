"""Other ways to write the encoder's graph, made from the one that ``edgead export`` traces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
from edgead_export.encoder_module import PatchEncoder
from edgead_export.precisions.linears import (
    Constants,
    consumers,
    drop_unused_constants,
    find_linears,
    producers,
)
from edgead_export.tracing import INPUT_NAME, trace
from onnx import ModelProto, NodeProto, helper

Size = tuple[int, int]
_THROUGH_HEADS = ("Reshape", "Transpose")


@dataclass(frozen=True)
class Variant:
    """A way to write the graph."""

    title: str
    make: Callable[[PatchEncoder, Size, ModelProto], ModelProto]
    """From module, input size and the present graph."""
    onnxruntime_only: bool = False


def _copy(model: ModelProto) -> ModelProto:
    made = ModelProto()
    made.CopyFrom(model)
    return made


def _torchscript(encoder: PatchEncoder, size: Size, _model: ModelProto) -> ModelProto:
    """The exporter before the present one."""
    with TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "torchscript.onnx"
        torch.onnx.export(
            encoder,
            (torch.zeros(1, 3, *size),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=[INPUT_NAME],
            output_names=encoder.output_names,
        )
        return onnx.load(str(path))


def _opset_20(encoder: PatchEncoder, size: Size, _model: ModelProto) -> ModelProto:
    return trace(encoder, size, opset=20, dynamic_batch=False)


def _torch_attention(encoder: PatchEncoder, size: Size, _model: ModelProto) -> ModelProto:
    """``scaled_dot_product_attention`` as torch's exporter takes it apart: both sides scaled."""
    configs = {id(module.config): module.config for module in encoder.modules() if hasattr(module, "config")}
    kept = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = "sdpa"
        return trace(encoder, size, opset=18, dynamic_batch=False)
    finally:
        for key, config in configs.items():
            config._attn_implementation = kept[key]


def _folded_scales(_encoder: PatchEncoder, _size: Size, model: ModelProto) -> ModelProto:
    """LayerScale and the scale of the queries inside the weights before them."""
    made = _copy(model)
    constants, made_by = Constants(made), producers(made)
    renamed: dict[str, str] = {}
    kept: list[NodeProto] = []
    for node in made.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        scale = next((name for name in node.input if constants.is_float(name)), None)
        source = next((name for name in node.input if name in made_by), None)
        linear = None if scale is None or source is None else _linear_before(source, made_by)
        if node.op_type != "Mul" or scale is None or source is None or linear is None:
            kept.append(node)
            continue
        product, addition = linear
        bias = next(name for name in addition.input if constants.is_float(name))
        for name in (product.input[1], bias):
            constants.write(name, constants.read(name) * constants.read(scale))
        renamed[node.output[0]] = source
    return _with_nodes(made, kept)


def _linear_before(tensor: str, made_by: dict[str, NodeProto]) -> tuple[NodeProto, NodeProto] | None:
    node = made_by.get(tensor)
    while node is not None and node.op_type in _THROUGH_HEADS:
        node = made_by.get(node.input[0])
    if node is None or node.op_type != "Add":
        return None
    product = next((made_by[name] for name in node.input if name in made_by), None)
    return (product, node) if product is not None and product.op_type == "MatMul" else None


def _one_qkv(_encoder: PatchEncoder, _size: Size, model: ModelProto) -> ModelProto:
    """Queries, keys and values by one product, then split."""
    made = _copy(model)
    constants, users = Constants(made), consumers(made)
    by_source: dict[str, list[NodeProto]] = {}
    for linear in find_linears(made):
        by_source.setdefault(linear.source, []).append(linear.node)
    instead: dict[str, list[NodeProto]] = {}
    gone: set[str] = set()
    for source, products in by_source.items():
        if len(products) != 3:
            continue
        additions = [users[product.output[0]][0] for product in products]
        biases = [next(name for name in node.input if constants.is_float(name)) for node in additions]
        weights = [constants.read(product.input[1]) for product in products]
        weight = constants.write(f"{source}/qkv_weight", np.concatenate(weights, axis=1))
        bias = constants.write(
            f"{source}/qkv_bias", np.concatenate([constants.read(name) for name in biases])
        )
        widths = constants.write(
            f"{source}/qkv_widths", np.array([part.shape[1] for part in weights], dtype=np.int64)
        )
        outputs = [node.output[0] for node in additions]
        instead[products[0].output[0]] = [
            helper.make_node("MatMul", [source, weight], [f"{source}/qkv_product"]),
            helper.make_node("Add", [f"{source}/qkv_product", bias], [f"{source}/qkv"]),
            helper.make_node("Split", [f"{source}/qkv", widths], outputs, axis=2),
        ]
        gone.update(name for node in (*products, *additions) for name in node.output)
    nodes = [
        replacement
        for node in made.graph.node
        for replacement in (instead.get(node.output[0], []) if node.output[0] in gone else [node])
    ]
    return _with_nodes(made, nodes)


def _gelu(model: ModelProto, write: Callable[[Constants, str, str], list[NodeProto]]) -> ModelProto:
    """The graph with another GELU in place of the five nodes around Erf."""
    made = _copy(model)
    constants, made_by, users = Constants(made), producers(made), consumers(made)
    instead: dict[str, list[NodeProto]] = {}
    gone: set[str] = set()
    for erf in [node for node in made.graph.node if node.op_type == "Erf"]:
        division = made_by[erf.input[0]]
        addition = users[erf.output[0]][0]
        halving = users[addition.output[0]][0]
        product = users[halving.output[0]][0]
        instead[product.output[0]] = write(constants, division.input[0], product.output[0])
        gone.update(node.output[0] for node in (division, erf, addition, halving, product))
    nodes = [
        replacement
        for node in made.graph.node
        for replacement in (instead.get(node.output[0], []) if node.output[0] in gone else [node])
    ]
    return _with_nodes(made, nodes)


def _gelu_operator(_encoder: PatchEncoder, _size: Size, model: ModelProto) -> ModelProto:
    made = _gelu(model, lambda _, source, output: [helper.make_node("Gelu", [source], [output])])
    made.opset_import[0].version = 20
    return made


def _gelu_by_tanh(_encoder: PatchEncoder, _size: Size, model: ModelProto) -> ModelProto:
    def write(_: Constants, source: str, output: str) -> list[NodeProto]:
        return [helper.make_node("Gelu", [source], [output], approximate="tanh")]

    made = _gelu(model, write)
    made.opset_import[0].version = 20
    return made


def _normalized_inside(_encoder: PatchEncoder, _size: Size, model: ModelProto) -> ModelProto:
    """Takes RGB from 0 to 1 and normalizes it: what a frame graph has in front."""
    made = _copy(model)
    constants = Constants(made)
    (first,) = [node for node in made.graph.node if INPUT_NAME in node.input]
    factor = constants.write("normal_factor", np.full((1, 3, 1, 1), 1.0, np.float32))
    shift = constants.write("normal_shift", np.zeros((1, 3, 1, 1), np.float32))
    first.input[:] = ["normal" if name == INPUT_NAME else name for name in first.input]
    head = [
        helper.make_node("Mul", [INPUT_NAME, factor], ["scaled_pixels"]),
        helper.make_node("Add", ["scaled_pixels", shift], ["normal"]),
    ]
    return _with_nodes(made, [*head, *made.graph.node])


def _contrib_fusions(_encoder: PatchEncoder, _size: Size, model: ModelProto) -> ModelProto:
    """ONNX Runtime's own optimizer for transformers, which writes operators that only it has."""
    from onnxruntime.transformers.optimizer import optimize_model

    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, str(path))
        optimized = optimize_model(str(path), model_type="vit", num_heads=6, hidden_size=384, opt_level=0)
        made: ModelProto = optimized.model
        return made


def _with_nodes(model: ModelProto, nodes: list[NodeProto]) -> ModelProto:
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:], model.graph.value_info[:]
    model.graph.node.extend(copies)
    drop_unused_constants(model)
    return model


VARIANTS: dict[str, Variant] = {
    "torchscript": Variant("TorchScript tracing", _torchscript),
    "opset20": Variant("traced for opset 20", _opset_20),
    "sdpa": Variant("torch's own attention, both sides scaled", _torch_attention),
    "folded": Variant("LayerScale and query scale in the weights", _folded_scales),
    "qkv": Variant("one product for queries, keys and values", _one_qkv),
    "gelu": Variant("GELU as one operator (opset 20)", _gelu_operator),
    "tanh": Variant("GELU by tanh (opset 20)", _gelu_by_tanh),
    "normalized": Variant("normalizing inside the graph", _normalized_inside),
    "contrib": Variant("ONNX Runtime's transformer optimizer", _contrib_fusions, onnxruntime_only=True),
}
