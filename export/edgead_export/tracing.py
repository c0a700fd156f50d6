"""From module to one checked ONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import onnx
import torch

from edgead_export._version import __version__
from edgead_export.backbones import BackboneSpec
from edgead_export.encoder_module import PatchEncoder, model_class, model_config
from edgead_export.errors import TraceError
from edgead_export.quiet import quiet

if TYPE_CHECKING:
    from torch.export.dynamic_shapes import Dim

INPUT_NAME = "image"
DEFAULT_OPSET = 17
OPSETS = range(17, 21)
"""17 is what older parsers know; JetPack 6's stops at 20."""
_EXPORTER_OPSET = 18
"""The oldest that torch's exporter writes."""
_FILE_LIMIT_BYTES = 2**31 - 2**24
"""protobuf's 2 GiB, less some room for the graph itself."""
_REDUNDANT_ATTRIBUTES = {"Split": (18, "num_outputs")}
"""Operators that an opset changed by nothing but an attribute which repeats what the node shows anyway.
(SwiGLU is split in halves by some releases of transformers; an uneven Split fails the final check.)"""


def check_opset(opset: int) -> None:
    """Refuse an opset that is not supported, before anything is fetched.

    Raises:
        TraceError: It is out of range.
    """
    if opset not in OPSETS:
        raise TraceError(
            f"opset {opset} is not supported", f"Choose from {OPSETS.start} to {OPSETS.stop - 1}."
        )


def check_file_size(spec: BackboneSpec, layers: tuple[int, ...]) -> None:
    """Refuse an encoder that does not fit into one ONNX file, before its weights are fetched.

    Raises:
        TraceError: The blocks up to the deepest layer have more than 2 GiB in fp32.
    """
    with torch.device("meta"), quiet("transformers"):
        encoder = PatchEncoder(
            model_class(spec)(model_config(spec)),
            spec,
            size=(spec.native_px, spec.native_px),
            layers=layers,
            attention=False,
            position_rule=spec.position_rule,
        )
    parts = [*encoder.parameters(), *encoder.buffers()]
    needed = sum(4 * part.numel() for part in parts)
    if needed <= _FILE_LIMIT_BYTES:
        return
    a_block = sum(4 * parameter.numel() for parameter in encoder.blocks[0].parameters())
    fitting = max(layers) - -(-(needed - _FILE_LIMIT_BYTES) // a_block)
    raise TraceError(
        f"{spec.name} up to layer {max(layers)} has {needed / 2**30:.1f} GiB in fp32; an ONNX file holds 2",
        f"Take --layers up to {fitting}, or a smaller backbone.",
    )


def trace(
    encoder: PatchEncoder, size: tuple[int, int], *, opset: int, dynamic_batch: bool
) -> onnx.ModelProto:
    """Export the encoder with constants folded.

    Torch's exporter folds constants itself. A second simplifier was measured to remove nothing more; its
    fusions turn MatMul into Reshape and Gemm, which int8 quantization then does not find.

    Args:
        encoder: The module, in evaluation mode.
        size: Input height and width in pixels.
        opset: 17 to 20.
        dynamic_batch: Leave the batch size open; otherwise it is 1.

    Raises:
        TraceError: The graph cannot be had in this opset.
    """
    check_opset(opset)
    # Two, because the exporter takes a batch of one for a constant.
    image = torch.zeros(2 if dynamic_batch else 1, 3, *size)
    shapes: dict[str, dict[int, Dim]] | None = (
        {INPUT_NAME: {0: torch.export.Dim("batch", min=1)}} if dynamic_batch else None
    )
    with quiet("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "transformers"), torch.no_grad():
        program = torch.onnx.export(
            encoder.eval(),
            (image,),
            dynamo=True,
            verbose=False,
            opset_version=max(opset, _EXPORTER_OPSET),
            input_names=[INPUT_NAME],
            output_names=encoder.output_names,
            dynamic_shapes=shapes,
        )
    if program is None:
        raise TraceError("torch wrote no ONNX program", "Upgrade torch to 2.9 or newer.")
    model = program.model_proto
    _set_opset(model, opset)
    _strip(model)
    return model


def finish(model: onnx.ModelProto, metadata: Mapping[str, str]) -> bytes:
    """Write the metadata into the file, check all of it, and serialize it reproducibly.

    Raises:
        TraceError: The checker found the graph invalid.
    """
    onnx.helper.set_model_props(model, dict(metadata))
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise TraceError(
            f"the traced graph is not valid ONNX ({str(error).splitlines()[0]})",
            "Report this; nothing was written.",
        ) from error
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _set_opset(model: onnx.ModelProto, opset: int) -> None:
    """Declare an older opset where that changes nothing: no operator used differs between the two.

    torch asks ONNX's converter for it, which gives up on the whole graph for one operator and then leaves
    the file as it was without failing.
    """
    (declared,) = [entry for entry in model.opset_import if entry.domain == ""]
    if declared.version != opset:
        for node in model.graph.node:
            _drop_redundant_attributes(node, opset)
        changed = sorted(
            operator
            for operator in {node.op_type for node in model.graph.node} - set(_REDUNDANT_ATTRIBUTES)
            if _since(operator, opset) != _since(operator, declared.version)
        )
        if changed:
            raise TraceError(
                f"the graph cannot be written in opset {opset}: {', '.join(changed)} differs there",
                f"Ask for --opset {declared.version}.",
            )
        declared.version = opset
    foreign = sorted({node.domain for node in model.graph.node if node.domain})
    if foreign:
        raise TraceError(f"the graph uses operators of {', '.join(foreign)}", "Try another torch release.")
    del model.opset_import[:]
    model.opset_import.append(declared)


def _drop_redundant_attributes(node: onnx.NodeProto, opset: int) -> None:
    since, name = _REDUNDANT_ATTRIBUTES.get(node.op_type, (0, ""))
    if opset < since:
        kept = [attribute for attribute in node.attribute if attribute.name != name]
        del node.attribute[:]
        node.attribute.extend(kept)


def _since(operator: str, opset: int) -> int | None:
    try:
        version: int = onnx.defs.get_schema(operator, max_inclusive_version=opset).since_version
    except onnx.defs.SchemaError:
        return None
    return version


def _strip(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes about this machine: source lines, paths, module names."""
    graph = model.graph
    del graph.metadata_props[:], graph.value_info[:], model.metadata_props[:]
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    graph.doc_string = model.doc_string = ""
    graph.name = "edgead-encoder"
    model.producer_name, model.producer_version = "edgead-export", __version__
