"""``config.pbtxt``: what Triton has to know of a model, as protobuf text.

The format is ``ModelConfig`` of Triton's ``model_config.proto``. It is written by hand, since the message's
classes come with Triton's client and nothing else of it is needed here; the tests parse it with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import onnx
from onnx import TensorProto

from edgead_export.errors import TritonError

Backend = Literal["onnxruntime", "openvino", "tensorrt", "python"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
CONFIG_NAME = "config.pbtxt"
MARK = "# Written by edgead export --triton."
"""First line of every config; who replaces a model looks for it."""
OPEN = -1
"""A size that a request chooses."""

_KINDS: dict[Backend, str] = {
    "onnxruntime": "KIND_AUTO",  # the GPUs where there are any, else the processor
    "openvino": "KIND_CPU",
    "tensorrt": "KIND_GPU",
    "python": "KIND_CPU",  # what it starts chooses its device itself
}
_FILES: dict[Backend, str] = {
    "onnxruntime": "model.onnx",
    "openvino": "model.onnx",  # its own default would be an IR; it reads ONNX as well
    "tensorrt": "model.plan",
    "python": "model.py",
}
_TYPES: dict[int, str] = {
    TensorProto.FLOAT: "TYPE_FP32",
    TensorProto.FLOAT16: "TYPE_FP16",
    TensorProto.UINT8: "TYPE_UINT8",
    TensorProto.BOOL: "TYPE_BOOL",
    TensorProto.INT64: "TYPE_INT64",
}


@dataclass(frozen=True)
class Tensor:
    """An input or output, without the batch where the model has one."""

    name: str
    data_type: str
    """E.g. ``TYPE_UINT8``."""
    dims: tuple[int, ...]


@dataclass(frozen=True)
class WarmUp:
    """A request that Triton makes before the model counts as ready: sizes of what is open."""

    shapes: Mapping[str, tuple[int, ...]]
    random: frozenset[str] = frozenset()
    """Inputs filled with noise; the others are 0."""


@dataclass(frozen=True)
class ServedModel:
    """One model of a repository."""

    name: str
    backend: Backend
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    warm_up: WarmUp
    instances: int = 1
    max_batch: int = 0
    """Requests that Triton may join; 0: the model takes one at a time."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What a client may want to know; read back through the server as the config's parameters."""

    @property
    def file_name(self) -> str:
        """Of the file in the version's folder."""
        return _FILES[self.backend]


def tensors_of(model: onnx.ModelProto, *, batched: bool) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Inputs and outputs of a graph as Triton describes them.

    Args:
        model: The graph.
        batched: Leave out the first size, which is then the batch.
    """
    constants = {constant.name for constant in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in constants]
    inputs = tuple(_tensor(value, batched=batched) for value in given)
    return inputs, tuple(_tensor(value, batched=batched) for value in model.graph.output)


def _tensor(value: onnx.ValueInfoProto, *, batched: bool) -> Tensor:
    kind = value.type.tensor_type
    if kind.elem_type not in _TYPES:
        name = TensorProto.DataType.Name(kind.elem_type)
        raise TritonError(f"Triton is not told what a {name} is ('{value.name}')", "Report this.")
    dims = tuple(size.dim_value if size.HasField("dim_value") else OPEN for size in kind.shape.dim)
    return Tensor(value.name, _TYPES[kind.elem_type], dims[1:] if batched else dims)


def write_config(model: ServedModel) -> str:
    """The text of ``config.pbtxt``."""
    lines = [
        MARK,
        f"name: {_text(model.name)}",
        f"backend: {_text(model.backend)}",
        f"default_model_filename: {_text(model.file_name)}",
        f"max_batch_size: {model.max_batch}",
        *_tensors("input", model.inputs),
        *_tensors("output", model.outputs),
        "version_policy { latest { num_versions: 1 } }",
        f"instance_group [ {{ count: {model.instances} kind: {_KINDS[model.backend]} }} ]",
    ]
    if model.max_batch > 1:
        # No preferred sizes: every one up to the largest runs, and the delay is what a lone frame waits.
        lines.append("dynamic_batching { max_queue_delay_microseconds: 1000 }")
    lines += _warm_up(model)
    for key, value in model.facts.items():
        lines.append(f"parameters {{ key: {_text(key)} value {{ string_value: {_text(value)} }} }}")
    return "\n".join(lines) + "\n"


def _tensors(kind: str, tensors: Sequence[Tensor]) -> Iterator[str]:
    for tensor in tensors:
        dims = _dims(tensor.dims)
        yield f"{kind} {{ name: {_text(tensor.name)} data_type: {tensor.data_type} dims: {dims} }}"


def _warm_up(model: ServedModel) -> Iterator[str]:
    yield "model_warmup {"
    yield '  name: "one request"'
    yield "  batch_size: 1"
    for tensor in model.inputs:
        filling = "random_data" if tensor.name in model.warm_up.random else "zero_data"
        dims = _dims(model.warm_up.shapes.get(tensor.name, tensor.dims))
        yield f"  inputs {{ key: {_text(tensor.name)}"
        yield f"    value {{ data_type: {tensor.data_type} dims: {dims} {filling}: true }} }}"
    yield "}"


def _dims(sizes: Sequence[int]) -> str:
    return f"[ {', '.join(map(str, sizes))} ]"


def _text(value: str) -> str:
    # JSON's escapes are among those that protobuf's text format knows; other characters stay UTF-8.
    return json.dumps(value, ensure_ascii=False)
