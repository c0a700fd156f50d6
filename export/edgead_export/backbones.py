"""The backbones, as data. Adding one of a known family is adding one entry.

Sources: DINOv2 (arXiv 2304.07193) and its registers (arXiv 2309.16588) as released in
facebookresearch/dinov2; CLIP (arXiv 2103.00020) as released in openai/CLIP.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import Any, Literal

from edgead_export.errors import LayerError, UnknownBackboneError

Family = Literal["dinov2", "dinov2_with_registers", "clip"]
PositionRule = Literal["offset", "antialias", "size"]
"""How position embeddings are resized; see :mod:`edgead_export.position`."""

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class BackboneSpec:
    """Facts of one pretrained vision transformer."""

    name: str
    family: Family
    hidden_size: int
    heads: int
    depth: int
    """Blocks, which are counted from 1."""
    patch_size: int
    native_px: int
    """Side of the square pictures that the position embeddings were trained for."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    hub_repo: str
    licence: str
    position_rule: PositionRule
    final_norm: bool
    """Whether features pass the last LayerNorm. DINOv2: yes, on every layer, as its authors do. CLIP's
    last LayerNorm was trained on the CLS token alone: no."""
    registers: int = 0
    swiglu: bool = False
    pca_mask_threshold: float | None = None
    """AnomalyDINO's fixed mask threshold; belongs to the official weights' *last* layer."""

    @property
    def native_grid(self) -> int:
        """Patches along one side at the native size."""
        return self.native_px // self.patch_size

    def config_fields(self) -> dict[str, Any]:
        """Keyword arguments of the family's ``transformers`` configuration."""
        fields: dict[str, Any] = {
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.depth,
            "num_attention_heads": self.heads,
            "patch_size": self.patch_size,
            "image_size": self.native_px,
        }
        if self.family == "clip":
            return {**fields, "intermediate_size": 4 * self.hidden_size}
        fields |= {"mlp_ratio": 4, "use_swiglu_ffn": self.swiglu}
        return {**fields, "num_register_tokens": self.registers} if self.registers else fields

    def check_layers(self, layers: tuple[int, ...]) -> None:
        """Refuse layers that the backbone does not have.

        Raises:
            LayerError: A layer is not between 1 and the depth, or is named twice.
        """
        for layer in layers:
            if not 1 <= layer <= self.depth:
                raise LayerError(
                    f"{self.name} has no layer {layer}",
                    f"Layers count blocks from 1; choose from 1 to {self.depth}.",
                )
        if not layers or len(set(layers)) != len(layers):
            raise LayerError(f"layers {list(layers)} are empty or repeated", "Name each layer once.")


def _dinov2(size: str, hub_size: str, hidden_size: int, heads: int, depth: int) -> tuple[BackboneSpec, ...]:
    """The model of one size, without and with registers."""
    plain = BackboneSpec(
        name=f"dinov2_{size}",
        family="dinov2",
        hidden_size=hidden_size,
        heads=heads,
        depth=depth,
        patch_size=14,
        native_px=518,
        mean=_IMAGENET_MEAN,
        std=_IMAGENET_STD,
        hub_repo=f"facebook/dinov2-{hub_size}",
        licence="Apache-2.0",
        position_rule="offset",
        final_norm=True,
        swiglu=size == "g",
        pca_mask_threshold=10.0,
    )
    with_registers = replace(
        plain,
        name=f"dinov2_{size}_reg",
        family="dinov2_with_registers",
        hub_repo=f"facebook/dinov2-with-registers-{hub_size}",
        position_rule="antialias",
        registers=4,
    )
    return plain, with_registers


def _clip(
    name: str, hub_name: str, *, hidden_size: int, heads: int, depth: int, patch_size: int, native_px: int
) -> BackboneSpec:
    return BackboneSpec(
        name=name,
        family="clip",
        hidden_size=hidden_size,
        heads=heads,
        depth=depth,
        patch_size=patch_size,
        native_px=native_px,
        mean=_CLIP_MEAN,
        std=_CLIP_STD,
        hub_repo=f"openai/{hub_name}",
        licence="MIT",
        position_rule="size",
        final_norm=False,
    )


_CLIP_B: dict[str, int] = {"hidden_size": 768, "heads": 12, "depth": 12}
_CLIP_L: dict[str, int] = {"hidden_size": 1024, "heads": 16, "depth": 24}

BACKBONES: dict[str, BackboneSpec] = {
    spec.name: spec
    for spec in (
        *_dinov2("s", "small", 384, 6, 12),
        *_dinov2("b", "base", 768, 12, 12),
        *_dinov2("l", "large", 1024, 16, 24),
        *_dinov2("g", "giant", 1536, 24, 40),
        _clip("clip_b16", "clip-vit-base-patch16", **_CLIP_B, patch_size=16, native_px=224),
        _clip("clip_l14", "clip-vit-large-patch14", **_CLIP_L, patch_size=14, native_px=224),
        _clip("clip_l14_336", "clip-vit-large-patch14-336", **_CLIP_L, patch_size=14, native_px=336),
    )
}


def get_backbone(name: str) -> BackboneSpec:
    """The backbone of that name.

    Raises:
        UnknownBackboneError: There is none; the remedy names the nearest.
    """
    try:
        return BACKBONES[name]
    except KeyError:
        nearest = difflib.get_close_matches(name.lower().replace("-", "_"), BACKBONES, n=3, cutoff=0.5)
        remedy = (
            f"Did you mean {' or '.join(nearest)}?" if nearest else f"Choose from: {', '.join(BACKBONES)}."
        )
        raise UnknownBackboneError(f"unknown backbone '{name}'", remedy) from None
