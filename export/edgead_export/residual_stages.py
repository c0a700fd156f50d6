"""What an encoder's graph has in its residual stream after each half of a block, as outputs of the graph.

A transformer's block is ``x + attention(norm(x))`` and then ``x + mlp(norm(x))``: what goes into a
LayerNormalization is the stream itself. So its stages are found in any precision's graph, by the order of
these nodes and not by names, which converters change. Marking an output keeps an engine from fusing across
it, and may thereby mend what it shows.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from edgead_export.errors import TraceError

_THE_SAME_STREAM = frozenset({"Cast", "Slice"})
"""What may stand between it and a LayerNormalization: another type, or the patches by themselves."""


def with_residual_stages(model: bytes) -> tuple[bytes, dict[str, str]]:
    """The graph with its residual stream as outputs, in float32.

    Args:
        model: An encoder's ONNX file, in any precision.

    Returns:
        The graph, and the name of each stage with that of its output, in order: what goes into the first
        block, for each block what its attention leaves and what it gives (``[1, tokens, D]``), and the
        encoder's own outputs.

    Raises:
        TraceError: There is no residual stream.
    """
    opened = onnx.load_from_string(model)
    graph = opened.graph
    made_by = {name: node for node in graph.node for name in node.output}

    def stream_of(name: str) -> str:
        while name in made_by and made_by[name].op_type in _THE_SAME_STREAM:
            name = made_by[name].input[0]
        return name

    given = [output.name for output in graph.output]
    norms = [node for node in graph.node if node.op_type == "LayerNormalization"]
    # Each place once, by what it is called where it is normalized: that is float32 in every precision.
    places: dict[str, str] = {}
    for node in norms:
        places.setdefault(stream_of(node.input[0]), node.input[0])
    # CLIP normalizes what goes into its first block: of such a one the result is the stream.
    for node in norms:
        if node.output[0] in places:
            places.pop(stream_of(node.input[0]), None)
    if len(places) < 2:
        raise TraceError(
            "the encoder has no blocks with LayerNormalization, so there is nothing to look at in between",
            "Compare its outputs: `edgead verify` without --bisect.",
        )
    outputs = {_stage_name(number): name for number, name in enumerate(places.values())}
    for name in outputs.values():
        if name not in given:
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, None, None]))
    outputs.update((f"output {name}", name) for name in given)
    return opened.SerializeToString(), outputs


def _stage_name(place: int) -> str:
    if place == 0:
        return "patches and positions"
    block, in_the_middle = divmod(place + 1, 2)
    return f"block {block}" if in_the_middle else f"block {block}, attention"
