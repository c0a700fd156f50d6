"""From a frame to the encoder's input tensor.

Source: AnomalyDINO's release (see docs/design.md): Pillow's antialiased bicubic on 8-bit RGB, divided by
255, normalized, cropped at the top left to whole patches. An encoder may have been exported for a cheaper
resize instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgead_runtime.bicubic import bicubic_antialias
from edgead_runtime.images import Frame
from edgead_runtime.manifest import EncoderInput, Fit, Interpolation, Preprocess


@dataclass(frozen=True)
class ResizePlan:
    """How a frame of one size becomes the input; all sizes are (height, width) in pixels."""

    resized: tuple[int, int]
    crop: tuple[int, int]
    squeezed: bool
    """The aspect was changed to make the frame fit."""

    def inspected_hw(self, frame_hw: tuple[int, int]) -> tuple[int, int]:
        """Size of the part of the frame, from its top left, that the input shows."""
        rows, columns = self.uninspected_px(frame_hw)
        return frame_hw[0] - rows, frame_hw[1] - columns

    def uninspected_px(self, frame_hw: tuple[int, int]) -> tuple[int, int]:
        """Rows at the bottom and columns at the right of the *frame* that the crop cuts off."""
        rows, columns = (
            round((1 - crop / resized) * full)
            for crop, resized, full in zip(self.crop, self.resized, frame_hw, strict=True)
        )
        return rows, columns


def plan_resize(
    frame_hw: tuple[int, int], input_hw: tuple[int, int], patch_size: int, fit: Fit
) -> ResizePlan:
    """Choose the resize for a frame.

    ``crop`` scales the frame to cover the input with its aspect kept, and crops the top left, if less than
    one patch is lost on either side: that is the papers' rule for an encoder made for this aspect. Any
    other frame, and every frame under ``stretch``, is squeezed to the input.

    Args:
        frame_hw: Frame size.
        input_hw: Encoder input size.
        patch_size: Patch side in input pixels.
        fit: The encoder's rule.
    """
    height, width = frame_hw
    target_h, target_w = input_hw
    if fit == "crop":
        # Integer arithmetic: the longer side is truncated, as torchvision's Resize does.
        if target_h * width >= target_w * height:
            resized = (target_h, target_h * width // height)
        else:
            resized = (target_w * height // width, target_w)
        if resized[0] - target_h < patch_size and resized[1] - target_w < patch_size:
            return ResizePlan(resized=resized, crop=input_hw, squeezed=False)
    return ResizePlan(resized=input_hw, crop=input_hw, squeezed=target_h * width != target_w * height)


def aspect_keeping_input(frame_hw: tuple[int, int], smaller_edge: int, patch_size: int) -> tuple[int, int]:
    """The input size (height, width) at which frames of this size keep their aspect."""
    height, width = frame_hw
    shorter = min(height, width)
    return (
        smaller_edge * height // shorter // patch_size * patch_size,
        smaller_edge * width // shorter // patch_size * patch_size,
    )


class Preprocessor:
    """Turns frames into input tensors by the rule that the encoder's manifest pins.

    Stateless after construction, so safe to share between threads.
    """

    def __init__(self, encoder_input: EncoderInput, rule: Preprocess, patch_size: int) -> None:
        self._input_hw = (encoder_input.height, encoder_input.width)
        self._patch_size = patch_size
        self._fit: Fit = rule.fit
        self._scale = _SCALES[rule.interpolation]
        mean = np.asarray(rule.mean, dtype=np.float32)
        std = np.asarray(rule.std, dtype=np.float32)
        levels = np.arange(256, dtype=np.float32)[:, None] / np.float32(255)
        # One table per channel: 8-bit values have only 256 normalized results.
        self._table = np.ascontiguousarray(((levels - mean) / std).T)

    def plan(self, frame_hw: tuple[int, int]) -> ResizePlan:
        """The resize for frames of this size."""
        return plan_resize(frame_hw, self._input_hw, self._patch_size, self._fit)

    def patches_touched(self, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which patches see any of an area.

        Args:
            inside: ``[H, W]`` in pixels of the frame.

        Returns:
            ``[rows, columns]``.
        """
        plan = self.plan((inside.shape[0], inside.shape[1]))
        touched = inside
        for axis in (0, 1):
            patch = self._patch_size * inside.shape[axis] / plan.resized[axis]
            count = plan.crop[axis] // self._patch_size
            edges = np.arange(count + 1) * patch
            # The epsilon keeps a patch that ends on a pixel's edge from reaching into the next one.
            starts = np.floor(edges[:-1] + 1e-6).astype(int)
            ends = np.minimum(np.ceil(edges[1:] - 1e-6).astype(int), inside.shape[axis])
            touched = np.stack(
                [
                    touched.take(range(start, end), axis=axis).any(axis=axis)
                    for start, end in zip(starts, ends, strict=True)
                ],
                axis=axis,
            )
        return touched

    def pixels_of(self, patches: NDArray[np.bool_], frame_hw: tuple[int, int]) -> NDArray[np.bool_]:
        """The pixels of a frame that some patches see.

        Args:
            patches: ``[rows, columns]``.
            frame_hw: Size of the frame (height, width).

        Returns:
            ``[H, W]``; false on the strip that the crop cuts off.
        """
        height, width = self.plan(frame_hw).inspected_hw(frame_hw)
        pixels = np.zeros(frame_hw, dtype=np.bool_)
        seen = cv2.resize(patches.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        pixels[:height, :width] = seen > 0
        return pixels

    def resize(self, frame: Frame) -> Frame:
        """Resize and crop.

        Args:
            frame: ``[H, W, 3]`` uint8, BGR.

        Returns:
            ``[height, width, 3]`` uint8, BGR, not to be written to.
        """
        plan = self.plan((frame.shape[0], frame.shape[1]))
        # Resized as BGR: the channels do not mix, and the small picture is cheaper to reorder.
        return self._scale(frame, plan.resized)[: plan.crop[0], : plan.crop[1]]

    def __call__(self, frame: Frame) -> NDArray[np.float32]:
        """Resize and normalize.

        Args:
            frame: ``[H, W, 3]`` uint8, BGR.

        Returns:
            ``[3, height, width]`` float32, RGB, normalized.
        """
        pixels = self.resize(frame)
        tensor = np.empty((3, *pixels.shape[:2]), dtype=np.float32)
        for channel in range(3):
            np.take(self._table[channel], pixels[:, :, 2 - channel], out=tensor[channel])
        return tensor


def _area(frame: Frame, size: tuple[int, int]) -> Frame:
    # Averaging over areas is for shrinking alone: enlarged by it, pixels become squares. And a cubic that
    # shrinks skips pixels: where one side shrinks and the other grows, the one that shrinks goes first.
    smaller = min(frame.shape[0], size[0]), min(frame.shape[1], size[1])
    resized = np.ascontiguousarray(frame)
    for step, way in ((smaller, cv2.INTER_AREA), (size, cv2.INTER_CUBIC)):
        if resized.shape[:2] != step:
            resized = np.asarray(cv2.resize(resized, step[::-1], interpolation=way), dtype=np.uint8)
    return resized


_SCALES: dict[Interpolation, Callable[[Frame, tuple[int, int]], Frame]] = {
    "bicubic-antialias": bicubic_antialias,
    "area": _area,
}
"""How a frame is brought to a size (height, width), by the name that a manifest gives it."""
