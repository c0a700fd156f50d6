"""Nearest-neighbour search over a bank of L2-normalized patch features."""

from edgead_runtime.index.exact import nearest_distances

__all__ = ["nearest_distances"]
