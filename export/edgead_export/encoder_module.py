"""The traced module: ``transformers``' blocks around baked positions, cut after the deepest layer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgead_export.backbones import BackboneSpec, Family, PositionRule
from edgead_export.position import bake_positions

if TYPE_CHECKING:
    from collections.abc import Iterator

ATTENTION_OUTPUT = "cls_attention"
_ATTENTION_NAME = "edgead"


def feature_output(layer: int) -> str:
    """Name of the output that holds the patch features of ``layer``."""
    return f"patch_features_{layer}"


# The attention of the CLS token leaves the deepest block through this list. The blocks themselves do not
# pass it on, and where they keep it has moved between releases of transformers.
_cls_rows: ContextVar[list[Tensor] | None] = ContextVar("cls_rows", default=None)


def _attention(
    _module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Plain softmax attention in few ONNX nodes; scaling the query is cheaper than scaling N x N scores."""
    if attention_mask is not None:
        raise ValueError("vision blocks have no attention mask")
    scale = query.size(-1) ** -0.5 if scaling is None else scaling
    weights = torch.softmax(torch.matmul(query * scale, key.transpose(2, 3)), dim=-1)
    rows = _cls_rows.get()
    if rows is not None:
        rows.append(weights[:, :, 0])
    return torch.matmul(weights, value).transpose(1, 2), None


@contextmanager
def _collect_cls_rows() -> Iterator[list[Tensor]]:
    rows: list[Tensor] = []
    token = _cls_rows.set(rows)
    try:
        yield rows
    finally:
        _cls_rows.reset(token)


@dataclass(frozen=True)
class _Anatomy:
    """Where a family keeps its parts."""

    model_class: str
    config_class: str
    tower: Callable[[Any], Any]
    embed: Callable[[Any], nn.Module]
    """Image ``[B, 3, H, W]`` to patch embeddings, ``[B, N, D]`` or ``[B, D, rows, columns]``."""
    cls_token: Callable[[Any], Tensor]
    """``[1, D]``"""
    positions: Callable[[Any], Tensor]
    """``[1 + M * M, D]``"""
    enter: Callable[[Any], nn.Module]
    """Applied to the tokens before the first block."""
    blocks: Callable[[Any], nn.ModuleList]
    run_block: Callable[[nn.Module, Tensor], Any]


_DINOV2 = _Anatomy(
    model_class="Dinov2Model",
    config_class="Dinov2Config",
    tower=lambda model: model,
    embed=lambda tower: tower.embeddings.patch_embeddings,
    cls_token=lambda tower: tower.embeddings.cls_token[0],
    positions=lambda tower: tower.embeddings.position_embeddings[0],
    enter=lambda _tower: nn.Identity(),
    blocks=lambda tower: tower.encoder.layer,
    run_block=lambda block, tokens: block(tokens),
)

_ANATOMIES: dict[Family, _Anatomy] = {
    "dinov2": _DINOV2,
    "dinov2_with_registers": replace(
        _DINOV2, model_class="Dinov2WithRegistersModel", config_class="Dinov2WithRegistersConfig"
    ),
    "clip": _Anatomy(
        model_class="CLIPVisionModel",
        config_class="CLIPVisionConfig",
        # Earlier releases of transformers wrap the tower once more.
        tower=lambda model: getattr(model, "vision_model", model),
        embed=lambda tower: tower.embeddings.patch_embedding,
        cls_token=lambda tower: tower.embeddings.class_embedding[None],
        positions=lambda tower: tower.embeddings.position_embedding.weight,
        enter=lambda tower: tower.pre_layrnorm,
        blocks=lambda tower: tower.encoder.layers,
        run_block=lambda block, tokens: block(tokens, attention_mask=None),
    ),
}


def model_class(spec: BackboneSpec) -> Any:
    """The backbone's model class of ``transformers``."""
    import transformers  # seconds to import

    return getattr(transformers, _ANATOMIES[spec.family].model_class)


def model_config(spec: BackboneSpec) -> Any:
    """The backbone's configuration of ``transformers``."""
    import transformers  # seconds to import

    return getattr(transformers, _ANATOMIES[spec.family].config_class)(**spec.config_fields())


class PatchEncoder(nn.Module):
    """Image ``[B, 3, H, W]``, normalized, to one ``[B, N, D]`` per layer, and the CLS attention ``[B, N]``.

    Args:
        model: A loaded model of :func:`model_class`. Its blocks are shared, not copied.
        spec: The backbone.
        size: Height and width of the input in pixels, whole patches.
        layers: Blocks, counted from 1, in the order of the outputs.
        attention: Add the deepest layer's CLS-to-patch attention, mean over heads, as the last output.
        position_rule: How the position embeddings are resized.
        normalized: Those of ``layers`` that go through the final LayerNorm; ``None``: all, where the
            backbone has one.
    """

    prefix: Tensor
    positions: Tensor

    def __init__(
        self,
        model: Any,
        spec: BackboneSpec,
        *,
        size: tuple[int, int],
        layers: tuple[int, ...],
        attention: bool,
        position_rule: PositionRule,
        normalized: frozenset[int] | None = None,
    ) -> None:
        super().__init__()
        from transformers import AttentionInterface  # seconds to import

        spec.check_layers(layers)
        AttentionInterface.register(_ATTENTION_NAME, _attention)
        model.config._attn_implementation = _ATTENTION_NAME
        anatomy = _ANATOMIES[spec.family]
        tower = anatomy.tower(model)
        grid = size[0] // spec.patch_size, size[1] // spec.patch_size
        self.layers = layers
        self.output_names = [feature_output(layer) for layer in layers] + [ATTENTION_OUTPUT] * attention
        self._run_block, self._attention = anatomy.run_block, attention
        self.embed = anatomy.embed(tower)
        self.blocks = anatomy.blocks(tower)[: max(layers)]
        self.enter = anatomy.enter(tower)
        self.normalized = frozenset(layers if spec.final_norm else ()) if normalized is None else normalized
        self.norm = tower.layernorm if self.normalized else nn.Identity()
        with torch.no_grad():
            positions = anatomy.positions(tower)
            prefix = [anatomy.cls_token(tower) + positions[:1]]
            if spec.registers:
                prefix.append(tower.embeddings.register_tokens[0])
            self.register_buffer("prefix", torch.cat(prefix)[None].clone())
            self.register_buffer(
                "positions", bake_positions(positions[1:], position_rule, grid)[None].clone()
            )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Patch features per layer in raster order, then the attention where it was asked for."""
        patches = self.embed(image)
        if patches.dim() == 4:
            patches = patches.flatten(2).transpose(1, 2)
        prefix = self.prefix.expand(patches.shape[0], -1, -1)
        tokens = self.enter(torch.cat([prefix, patches + self.positions], dim=1))
        special = self.prefix.shape[1]
        features: dict[int, Tensor] = {}
        cls_rows: list[Tensor] = []
        for number, block in enumerate(self.blocks, start=1):
            if self._attention and number == len(self.blocks):
                with _collect_cls_rows() as cls_rows:
                    tokens = self._run(block, tokens)
            else:
                tokens = self._run(block, tokens)
            if number in self.layers:
                patches = tokens[:, special:]
                features[number] = self.norm(patches) if number in self.normalized else patches
        outputs = [features[layer] for layer in self.layers]
        if self._attention:
            # Not mean(): opsets 17 and 18 write ReduceMean differently, ReduceSum alike.
            rows = cls_rows[0][:, :, special:]
            outputs.append(rows.sum(dim=1) * (1 / rows.shape[1]))
        return tuple(outputs)

    def _run(self, block: nn.Module, tokens: Tensor) -> Tensor:
        output = self._run_block(block, tokens)
        result: Tensor = output[0] if isinstance(output, tuple) else output
        return result
