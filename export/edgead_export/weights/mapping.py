"""Tables that turn each way of naming a backbone's tensors into the hub checkpoints' names.

Those names are the target, not the parameters of the installed ``transformers``, which renames its
parameters between releases and converts the hub's names itself.

Sources: facebookresearch/dinov2 (dinov2/models/vision_transformer.py), huggingface/pytorch-image-models
(timm/models/vision_transformer.py), mlfoundations/open_clip (src/open_clip/transformer.py).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from edgead_export.backbones import BackboneSpec

Rules = tuple[tuple[str, str], ...]
State = dict[str, Tensor]


@dataclass(frozen=True)
class Naming:
    """One way of naming the tensors of a family."""

    name: str
    marker: str
    """Pattern of a name that only this naming has."""
    rules: Rules
    """Pattern and replacement, each applied in turn to every name."""
    drop: str = r"(?!)"
    """Pattern of names that are not the vision tower's: heads, text towers."""


_DINOV2_NAMINGS = (
    Naming(
        name="Hugging Face",
        marker=r"(\w+\.)?embeddings\.cls_token",
        rules=((r"^dinov2(_with_registers)?\.", ""),),
        drop=r"classifier\.",
    ),
    Naming(
        name="official or timm",
        marker=r"blocks\.(\d+\.)?\d+\.attn\.qkv\.weight",
        rules=(
            # Training checkpoints keep blocks in chunks; the last number counts through all of them.
            (r"^blocks\.(?:\d+\.)?(\d+)\.", r"encoder.layer.\1."),
            (r"^cls_token$", "embeddings.cls_token"),
            (r"^mask_token$", "embeddings.mask_token"),
            (r"^pos_embed$", "embeddings.position_embeddings"),
            (r"^(register_tokens|reg_token)$", "embeddings.register_tokens"),
            (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
            (r"\.attn\.qkv\.", ".attention.attention.qkv."),
            (r"\.attn\.proj\.", ".attention.output.dense."),
            (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
            (r"^norm\.", "layernorm."),
        ),
        drop=r"(head|fc_norm)\.",
    ),
)

_SWIGLU_RULES: Rules = (
    # The authors pack gate and input as w12; timm calls the packed pair fc1.
    (r"\.mlp\.(w12|fc1)\.", ".mlp.weights_in."),
    (r"\.mlp\.(w3|fc2)\.", ".mlp.weights_out."),
)

_CLIP_NAMINGS = (
    Naming(
        name="Hugging Face",
        marker=r"(vision_model\.)?embeddings\.class_embedding",
        rules=((r"^(?!vision_model\.)", "vision_model."),),
        drop=r"text_model\.|(text|visual)_projection\.|logit_scale$|(\w+\.)?embeddings\.position_ids$",
    ),
    Naming(
        name="timm",
        marker=r"norm_pre\.weight",
        rules=(
            (r"^blocks\.(\d+)\.", r"vision_model.encoder.layers.\1."),
            (r"^cls_token$", "vision_model.embeddings.class_embedding"),
            (r"^pos_embed$", "vision_model.embeddings.position_embedding.weight"),
            (r"^patch_embed\.proj\.", "vision_model.embeddings.patch_embedding."),
            (r"^norm_pre\.", "vision_model.pre_layrnorm."),
            (r"^norm\.", "vision_model.post_layernorm."),
            (r"\.norm([12])\.", r".layer_norm\1."),
            (r"\.attn\.qkv\.", ".self_attn.qkv."),
            (r"\.attn\.proj\.", ".self_attn.out_proj."),
        ),
        drop=r"(head|fc_norm)\.",
    ),
    Naming(
        name="open_clip",
        marker=r"(visual\.)?conv1\.weight",
        rules=(
            (r"^visual\.", ""),
            (r"^transformer\.resblocks\.(\d+)\.", r"vision_model.encoder.layers.\1."),
            (r"^class_embedding$", "vision_model.embeddings.class_embedding"),
            (r"^positional_embedding$", "vision_model.embeddings.position_embedding.weight"),
            (r"^conv1\.", "vision_model.embeddings.patch_embedding."),
            (r"^ln_pre\.", "vision_model.pre_layrnorm."),
            (r"^ln_post\.", "vision_model.post_layernorm."),
            (r"\.ln_([12])\.", r".layer_norm\1."),
            (r"\.attn\.in_proj_(weight|bias)$", r".self_attn.qkv.\1"),
            (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
            (r"\.mlp\.c_fc\.", ".mlp.fc1."),
            (r"\.mlp\.c_proj\.", ".mlp.fc2."),
        ),
        drop=r"(visual\.)?proj$|(token_embedding|ln_final)\.|text_projection$|logit_(scale|bias)$|attn_mask$",
    ),
)

_NAMINGS = {"dinov2": _DINOV2_NAMINGS, "dinov2_with_registers": _DINOV2_NAMINGS, "clip": _CLIP_NAMINGS}

_QKV_PARTS = {
    ".attention.attention.qkv.": (
        ".attention.attention.query.",
        ".attention.attention.key.",
        ".attention.attention.value.",
    ),
    ".self_attn.qkv.": (".self_attn.q_proj.", ".self_attn.k_proj.", ".self_attn.v_proj."),
}


def find_naming(state: State, spec: BackboneSpec) -> Naming | None:
    """The naming that the file uses for this family, or ``None``."""
    for naming in _NAMINGS[spec.family]:
        if any(re.fullmatch(naming.marker, name) for name in state):
            return naming
    return None


def to_hub_names(state: State, naming: Naming, swiglu: bool) -> State:
    """Rename, split and reshape a state dict to the hub's names, in float32.

    Names that no rule knows pass through, for the loader to refuse.
    """
    state = {name: value for name, value in state.items() if not re.match(naming.drop, name)}
    if naming.name == "open_clip" and any(name.startswith("visual.") for name in state):
        # The rest is the text tower, which uses some of the same names.
        state = {name: value for name, value in state.items() if name.startswith("visual.")}
    rules = naming.rules + (_SWIGLU_RULES if swiglu else ())
    renamed: State = {}
    for name, value in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)  # noqa: PLW2901  (rules build on each other)
        renamed |= _split_qkv(name, _reshape(name, value.float()))
    return renamed


def _split_qkv(name: str, value: Tensor) -> State:
    for fused, parts in _QKV_PARTS.items():
        if fused in name and value.shape[0] % len(parts) == 0:
            pieces = value.chunk(len(parts))
            return {name.replace(fused, part): piece for part, piece in zip(parts, pieces, strict=True)}
    return {name: value}


def _reshape(name: str, value: Tensor) -> Tensor:
    """Undo the differences in shape between namings."""
    if name.endswith("embeddings.class_embedding"):
        return value.reshape(-1)
    if name.endswith("embeddings.position_embedding.weight") and value.dim() == 3:
        return value[0]
    if name == "embeddings.position_embeddings" and math.isqrt(value.shape[1]) ** 2 == value.shape[1]:
        # timm's register models have no CLS row: its position is already added to the CLS token.
        return torch.cat([torch.zeros_like(value[:, :1]), value], dim=1)
    return value
