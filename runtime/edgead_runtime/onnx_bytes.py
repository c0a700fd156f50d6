"""As much of ONNX's file format as it takes to write a small graph, and to replace a node of a large one.

Engines are built where they run, and the ``onnx`` package is not there. A file is a protocol buffer: fields,
each a number, a kind and a value. What is not changed is copied byte for byte, the weights too, without being
looked at. Numbers of fields are those of ``onnx.proto``, which never change; the tests hold what is written
here against the ``onnx`` package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgead_runtime.errors import BundleError

FLOAT, INT64 = 1, 7
"""Types of elements."""

_VARINT, _EIGHT_BYTES, _DELIMITED, _FOUR_BYTES = 0, 1, 2, 5
_IR_VERSION, _OPSET_IMPORT, _GRAPH = 1, 8, 7  # of a model
_NODE, _GRAPH_NAME, _CONSTANT, _INPUT, _OUTPUT = 1, 2, 5, 11, 12  # of a graph
_ATTRIBUTE_INT, _ATTRIBUTE_INTS = 2, 7  # what an attribute is
_OPSET, _OLDEST_IR = 17, 8
_DEEPEST = 16
"""Graphs inside graphs: edgead's have one."""
_MOST_FIELDS = 1 << 20
"""That are read of a file; weights are one field each. Real ones have some ten thousands."""
_MOST_DIMENSIONS = 8

Value = bytes | memoryview


@dataclass(frozen=True)
class Node:
    """An operator in a graph."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    body: tuple[Node, ...]
    """Of a loop."""


# -- reading ---------------------------------------------------------------------------------------------


def nodes_of(model: Value) -> list[Node]:
    """The operators of a model, in their order.

    Raises:
        BundleError: It is no ONNX file.
    """
    read = _Reader()
    graph = read.only(model, _GRAPH)
    return [read.node(value) for number, value, _ in read.fields(graph) if number == _NODE]


def output_shape(model: Value, name: str) -> tuple[int, ...]:
    """The sizes of an output of a model; 0 for one that is left open.

    Raises:
        BundleError: It is no ONNX file, or has no such output.
    """
    return _shape(model, _OUTPUT, name)


def input_shape(model: Value, name: str) -> tuple[int, ...]:
    """The sizes of an input of a model; 0 for one that is left open.

    Raises:
        BundleError: It is no ONNX file, or has no such input.
    """
    return _shape(model, _INPUT, name)


def _shape(model: Value, kind: int, name: str) -> tuple[int, ...]:
    read = _Reader()
    for number, value, _ in read.fields(read.only(model, _GRAPH)):
        if number == kind and read.text(value, 1) == name:
            tensor = read.only(read.only(value, 2), 1)
            sizes: list[int] = []
            for of, entry, _ in read.fields(read.only(tensor, 2)):
                if of == 1:
                    sizes.append(next((_number(size) for one, size, _ in read.fields(entry) if one == 1), 0))
                if len(sizes) > _MOST_DIMENSIONS:
                    raise _damaged()
            return tuple(sizes)
    raise _damaged()


def opset_of(model: Value) -> int:
    """The version of the operators that a model uses.

    Raises:
        BundleError: It is no ONNX file.
    """
    read = _Reader()
    for number, value, _ in read.fields(model):
        if number == _OPSET_IMPORT and not read.text(value, 1):
            return _number(read.only(value, 2))
    raise _damaged()


class _Reader:
    """Reads messages: of one file no more than so many fields, whatever its size and however nested."""

    def __init__(self) -> None:
        self._left = _MOST_FIELDS

    def fields(self, data: Value) -> Iterator[tuple[int, memoryview, memoryview]]:
        """Number, value and all bytes of each field; a number's value is its bytes, the smallest first."""
        view, place = memoryview(data), 0
        while place < len(view):
            self._left -= 1
            if self._left < 0:
                raise _damaged()
            start = place
            key, place = _read_varint(view, place)
            number, kind = key >> 3, key & 7
            if kind == _VARINT:
                found, place = _read_varint(view, place)
                value = memoryview(found.to_bytes(8, "little"))
            else:
                if kind == _DELIMITED:
                    size, place = _read_varint(view, place)
                elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
                    size = 8 if kind == _EIGHT_BYTES else 4
                else:
                    raise _damaged()
                value, place = view[place : place + size], place + size
                if place > len(view):
                    raise _damaged()
            yield number, value, view[start:place]

    def node(self, data: Value, depth: int = 0) -> Node:
        """An operator and those of the graphs in it."""
        if depth > _DEEPEST:
            raise _damaged()
        inputs, outputs, operator = [], [], ""
        body: list[Node] = []
        for number, value, _ in self.fields(data):
            if number == 1:
                inputs.append(_decoded(value))
            elif number == 2:
                outputs.append(_decoded(value))
            elif number == 4:
                operator = _decoded(value)
            elif number == 5:
                body += (
                    self.node(inner, depth + 1)
                    for of, graph, _ in self.fields(value)
                    if of == 6
                    for within, inner, _ in self.fields(graph)
                    if within == _NODE
                )
        return Node(operator, tuple(inputs), tuple(outputs), tuple(body))

    def only(self, data: Value, wanted: int) -> memoryview:
        """The value of a field that has to be there once."""
        found = None
        for number, value, _ in self.fields(data):
            if number == wanted:
                if found is not None:
                    raise _damaged()
                found = value
        if found is None:
            raise _damaged()
        return found

    def text(self, data: Value, wanted: int) -> str:
        """A field's text; empty where it is not there."""
        return next((_decoded(value) for number, value, _ in self.fields(data) if number == wanted), "")


def _read_varint(view: memoryview, place: int) -> tuple[int, int]:
    found = 0
    for shift in range(0, 70, 7):
        if place >= len(view):
            break
        byte, place = view[place], place + 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found & (1 << 64) - 1, place
    raise _damaged()


def _number(value: Value) -> int:
    if len(value) != 8:
        raise _damaged()
    return int.from_bytes(value, "little")


def _decoded(value: Value) -> str:
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        raise _damaged() from None


def _damaged() -> BundleError:
    return BundleError("the file is no ONNX graph, or is damaged", "Export the encoder again.")


# -- writing ---------------------------------------------------------------------------------------------


def replace_node(
    model: Value,
    chosen: Callable[[Node], bool],
    nodes: Iterable[bytes],
    constants: Iterable[bytes] = (),
) -> bytes:
    """A model with other nodes in the place of one.

    Args:
        model: The file's bytes.
        chosen: Says which nodes go.
        nodes: What stands there instead, from :func:`node`.
        constants: What these need beside, from :func:`int64s`.

    Raises:
        BundleError: It is no ONNX file.
    """
    instead = b"".join(_field(_NODE, made) for made in nodes)
    read = _Reader()
    graph: list[Value] = []
    for number, value, whole in read.fields(read.only(model, _GRAPH)):
        graph.append(instead if number == _NODE and chosen(read.node(value)) else whole)
    graph += [_field(_CONSTANT, made) for made in constants]
    size = sum(map(len, graph))
    parts: list[Value] = []
    for number, _, whole in read.fields(model):
        parts += [_key(_GRAPH, _DELIMITED), _varint(size), *graph] if number == _GRAPH else [whole]
    return b"".join(parts)


def model(
    name: str, nodes: Iterable[bytes], constants: Iterable[bytes], inputs: Iterable[bytes], output: bytes
) -> bytes:
    """A model of opset 17 with one output."""
    graph = b"".join(
        [
            *(_field(_NODE, made) for made in nodes),
            _field(_GRAPH_NAME, name),
            *(_field(_CONSTANT, made) for made in constants),
            *(_field(_INPUT, made) for made in inputs),
            _field(_OUTPUT, output),
        ]
    )
    imported = _field(1, "") + _field(2, _OPSET)
    return _field(_IR_VERSION, _OLDEST_IR) + _field(_GRAPH, graph) + _field(_OPSET_IMPORT, imported)


def node(
    operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: int | Sequence[int]
) -> bytes:
    """An operator, named like its first output."""
    parts = [*(_field(1, name) for name in inputs), *(_field(2, name) for name in outputs)]
    parts += [_field(3, outputs[0]), _field(4, operator)]
    for name, value in attributes.items():
        if isinstance(value, int):
            written = _field(3, value) + _field(20, _ATTRIBUTE_INT)
        else:
            written = b"".join(_field(8, one) for one in value) + _field(20, _ATTRIBUTE_INTS)
        parts.append(_field(5, _field(1, name) + written))
    return b"".join(parts)


def int64s(name: str, values: Sequence[int]) -> bytes:
    """A constant vector."""
    raw = np.asarray(values, dtype="<i8").tobytes()
    return _field(1, len(values)) + _field(2, INT64) + _field(8, name) + _field(9, raw)


def floats(name: str, shape: Sequence[int | str]) -> bytes:
    """An input or output of float32; a size that is left open has a name instead."""
    sizes = (_field(1, size) if isinstance(size, int) else _field(2, size) for size in shape)
    tensor = _field(1, FLOAT) + _field(2, b"".join(_field(1, size) for size in sizes))
    return _field(1, name) + _field(2, _field(1, tensor))


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _key(number, _VARINT) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _key(number, _DELIMITED) + _varint(len(data)) + data


def _key(number: int, kind: int) -> bytes:
    return _varint(number << 3 | kind)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # a negative number is its complement
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
