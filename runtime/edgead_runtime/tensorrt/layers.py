"""What TensorRT made of a graph, read from its messages, which change between releases."""

from __future__ import annotations

import re

from edgead_runtime.tensorrt.logging import Messages

_LAYER = re.compile(r"^Name: (?P<name>[^,]+), LayerType: (?P<kind>\w+)", re.MULTILINE)
_PRODUCT = re.compile(r"^Name: [^\n]*?, LayerType: gemm, Inputs: \[ \{[^}\n]*Datatype: (\w+)", re.MULTILINE)
_ACTIVATIONS = re.compile(r"Total Activation Memory: (\d+) bytes")


def layer_names(messages: Messages) -> list[str]:
    """The compiled layers by name; only a build with ``detailed=True`` has them."""
    return [found["name"] for text in messages.details for found in _LAYER.finditer(text)]


def fused_attentions(messages: Messages) -> int:
    """How many attentions became one kernel, whose similarities never go to memory."""
    return sum("mha" in name for name in layer_names(messages))


def product_types(messages: Messages) -> list[str]:
    """What each matrix product takes, as TensorRT calls it, e.g. ``Half`` or ``FP8``.

    Products inside a fused attention are not among them.
    """
    return [kind for text in messages.details for kind in _PRODUCT.findall(text)]


def activation_bytes(messages: Messages) -> int | None:
    """Memory for what is between the layers, where TensorRT said it."""
    found = [int(number) for text in messages.details for number in _ACTIVATIONS.findall(text)]
    return found[-1] if found else None
