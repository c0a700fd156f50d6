"""Exports DINOv2 and CLIP patch encoders to ONNX for edgead. The only part that imports torch.

This module itself stays light: ``edgead_export.export`` and ``edgead_export.parity`` import torch.
"""

from edgead_runtime.cache import cache_dir

from edgead_export._version import __version__
from edgead_export.backbones import BACKBONES, BackboneSpec, get_backbone
from edgead_export.downloads import fetch_wheel

__all__ = ["BACKBONES", "BackboneSpec", "__version__", "cache_dir", "fetch_wheel", "get_backbone"]
