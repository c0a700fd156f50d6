"""Frames that are on the GPU already."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgead_runtime.engines.protocol import Engine, TakesDeviceArrays, Uploaded
from edgead_runtime.errors import FrameSizeError, PictureError
from edgead_runtime.images import TO_THE_HOST, Frame, check_frame
from edgead_runtime.manifest import EncoderInput
from edgead_runtime.tensorrt.on_device import is_on_device


@dataclass(frozen=True, eq=False)
class DeviceFrame:
    """A frame on the GPU, where an encoder's engine takes it."""

    shape: tuple[int, ...]
    """``(height, width, 3)``."""
    uploaded: Uploaded


def adopt_frame(
    frame: object, engine: Engine, entry: EncoderInput, engine_name: str, *, fused: bool
) -> DeviceFrame:
    """See :meth:`edgead_runtime.encoder.Encoder.adopt`.

    Args:
        frame: An array on the GPU.
        engine: What is to run it.
        entry: The encoder's input.
        engine_name: What the engine is called.
        fused: Whether it runs a frame graph.

    Raises:
        PictureError: The engine takes none, or it is no frame.
        FrameSizeError: It is not of the size of the encoder's input.
    """
    if not fused or not isinstance(engine, TakesDeviceArrays):
        way = f"in {engine_name}" if fused else "by the stages"
        raise PictureError(
            f"the frame is on a GPU, and the encoder runs {way}",
            f"{TO_THE_HOST}, or load an encoder that was exported with --fuse with engine='tensorrt'.",
        )
    adopted = engine.adopt(frame)
    shape, dtype = tuple(adopted.native.shape), adopted.native.dtype
    if len(shape) != 3 or shape[2] != 3 or dtype != np.uint8:
        raise PictureError(
            f"a frame must be a uint8 array [H, W, 3] in BGR order, got {dtype} {shape}",
            "Permute and convert it on the GPU.",
        )
    if shape[:2] != (entry.height, entry.width):
        raise FrameSizeError(
            f"the frame on the GPU is {shape[1]} x {shape[0]} pixels, the encoder's input is "
            f"{entry.width} x {entry.height}, and frames are resized on the host",
            f"{TO_THE_HOST}, or resize it on the GPU as the good pictures were.",
        )
    return DeviceFrame(shape, engine.adopt(adopted, (1, *shape)))


def check_host_frame(frame: object, why: str, instead: str) -> Frame:
    """Check that an object is a frame on the host, and say why one on a GPU cannot be taken.

    Args:
        frame: Anything.
        why: Goes on from "the frame is on a GPU, and".
        instead: Goes on from "or".

    Raises:
        PictureError: It is not such an array.
    """
    if is_on_device(frame):
        raise PictureError(f"the frame is on a GPU, and {why}", f"{TO_THE_HOST}, or {instead}.")
    return check_frame(frame)
