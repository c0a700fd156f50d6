"""Which backbone a state dict belongs to, told from its shapes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgead_export.backbones import BACKBONES, BackboneSpec
from edgead_export.errors import WeightsError
from edgead_export.weights.mapping import State, find_naming, to_hub_names


@dataclass(frozen=True)
class Shape:
    """The facts that tell backbones apart."""

    hidden_size: int
    depth: int
    patch_size: int
    positions: int
    registers: int
    swiglu: bool


def expected_shape(spec: BackboneSpec) -> Shape:
    """The facts of a table entry."""
    return Shape(
        hidden_size=spec.hidden_size,
        depth=spec.depth,
        patch_size=spec.patch_size,
        positions=spec.native_grid**2 + 1,
        registers=spec.registers,
        swiglu=spec.swiglu,
    )


def to_backbone_names(state: State, spec: BackboneSpec, where: str) -> State:
    """Rename a file's tensors for ``spec``, or say whose weights they are.

    Args:
        state: As read from the file.
        spec: The backbone that was asked for.
        where: The file's name, for messages.

    Raises:
        WeightsError: The file is of another model.
    """
    naming = find_naming(state, spec)
    shape = None
    if naming is not None:
        shape = _shape(to_hub_names(state, naming, swiglu=False))
        if shape == expected_shape(spec):
            return to_hub_names(state, naming, spec.swiglu)
    others = _backbones_of(state)
    if others:
        raise WeightsError(
            f"{where} holds the weights of {' or '.join(others)}, not of {spec.name}",
            f"Export with --backbone {others[0]}, or give the weights of {spec.name}.",
        )
    found = (
        f" (it has {_in_words(shape)}; {spec.name} has {_in_words(expected_shape(spec))})" if shape else ""
    )
    raise WeightsError(
        f"{where} does not hold the weights of {spec.name}{found}",
        f"Give the authors' .pth, or Hugging Face or timm safetensors, of {spec.name}.",
    )


def _backbones_of(state: State) -> list[str]:
    names = []
    for spec in BACKBONES.values():
        naming = find_naming(state, spec)
        if naming and _shape(to_hub_names(state, naming, swiglu=False)) == expected_shape(spec):
            names.append(spec.name)
    return names


_CLS = ("embeddings.cls_token", "vision_model.embeddings.class_embedding")
_PATCH = ("embeddings.patch_embeddings.projection.weight", "vision_model.embeddings.patch_embedding.weight")
_POSITIONS = ("embeddings.position_embeddings", "vision_model.embeddings.position_embedding.weight")
_SWIGLU = re.compile(r"\.mlp\.(weights_in|gate_proj|w12)\.")


def _shape(state: State) -> Shape | None:
    """Facts of a state dict in the hub's names, or ``None`` where it lacks the embeddings."""
    cls, patch, positions = (
        next((state[name] for name in names if name in state), None) for names in (_CLS, _PATCH, _POSITIONS)
    )
    if cls is None or patch is None or positions is None or patch.dim() != 4:
        return None
    blocks = [int(match[1]) for name in state if (match := re.search(r"encoder\.layers?\.(\d+)\.", name))]
    registers = state.get("embeddings.register_tokens")
    packed = state.get("encoder.layer.0.mlp.fc1.weight")
    unpacked = state.get("encoder.layer.0.mlp.fc2.weight")
    return Shape(
        hidden_size=cls.shape[-1],
        depth=max(blocks, default=-1) + 1,
        patch_size=patch.shape[-1],
        positions=positions.shape[-2],
        registers=0 if registers is None else registers.shape[1],
        # timm's packed SwiGLU keeps the names fc1 and fc2, with twice as much going in as comes out.
        swiglu=any(_SWIGLU.search(name) for name in state)
        or (packed is not None and unpacked is not None and packed.shape[0] == 2 * unpacked.shape[1]),
    )


def _in_words(shape: Shape) -> str:
    return (
        f"{shape.depth} blocks of width {shape.hidden_size}, patch {shape.patch_size}, "
        f"{shape.positions} positions, {shape.registers} registers"
    )
