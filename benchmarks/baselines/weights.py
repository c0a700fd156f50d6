"""The encoder that all ways share, as a PyTorch module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


class PatchTokens(torch.nn.Module):
    """``transformers``' DINOv2 to patch tokens: pixels ``[1, 3, S, S]`` to ``[1, N, D]``, final LayerNorm."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    @classmethod
    def load(cls) -> PatchTokens:
        """The weights that ``edgead export`` would take for ``dinov2_s``."""
        from edgead_export.backbones import get_backbone
        from edgead_export.weights.loading import build_model
        from edgead_export.weights.sources import load_weights

        spec = get_backbone("dinov2_s")
        state = load_weights(spec, warn=lambda _: None, progress=False).state
        return cls(build_model(spec, state, "dinov2_s")).eval()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """All twelve blocks; the CLS token is dropped."""
        tokens: torch.Tensor = self.model(pixels).last_hidden_state[:, 1:]
        return tokens


def export_plainly(path: Path, resolution: int) -> None:
    """``torch.onnx.export`` with its defaults, as its tutorial shows."""
    example = torch.zeros(1, 3, resolution, resolution)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(PatchTokens.load(), (example,), str(path), verbose=False)
