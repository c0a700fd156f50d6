"""Arrays that lie on the GPU already, as other libraries hand them on."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgead_runtime.errors import PictureError
from edgead_runtime.tensorrt.arena import DeviceArray
from edgead_runtime.tensorrt.device import DeviceMemory, HostArray


def is_on_device(value: Any) -> bool:
    """Whether it is an array of CuPy, torch, Numba or the like on a GPU."""
    return hasattr(value, "__cuda_array_interface__")


def as_device_array(value: Any, device: DeviceMemory) -> HostArray | DeviceArray:
    """A GPU array where it lies, or a contiguous one of the host.

    By ``__cuda_array_interface__``; what only has DLPack becomes such an array by the library that made it
    (``torch.from_dlpack``, ``cupy.from_dlpack``). The stream that it names as
    its own is waited for.

    Raises:
        PictureError: It is not contiguous.
    """
    if not is_on_device(value):
        return np.ascontiguousarray(value)
    facts = value.__cuda_array_interface__
    shape, dtype = tuple(facts["shape"]), np.dtype(facts["typestr"])
    if facts.get("strides") is not None and tuple(facts["strides"]) != _packed(shape, dtype):
        raise PictureError("the array on the GPU is not contiguous", "Make it so, e.g. with .contiguous().")
    if facts.get("stream") is not None:
        device.wait(int(facts["stream"]))
    return DeviceArray(int(facts["data"][0]), shape, dtype, holds=value)


def _packed(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    strides, step = [], dtype.itemsize
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
