"""Arrays that lie on the GPU already, as other libraries hand them on."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgead_runtime.errors import PictureError
from edgead_runtime.tensorrt.arena import DeviceArray
from edgead_runtime.tensorrt.device import DeviceMemory, HostArray
from edgead_runtime.tensorrt.dlpack import DEFAULT_STREAM, ON_CUDA, read_capsule


def is_on_device(value: Any) -> bool:
    """Whether it is an array of CuPy, torch, JAX, Numba or the like on a GPU."""
    if isinstance(value, np.ndarray):  # has DLPack's methods too, and is asked for every frame
        return False
    return hasattr(value, "__cuda_array_interface__") or _dlpack_on_device(value)


def _dlpack_on_device(value: Any) -> bool:
    return hasattr(value, "__dlpack__") and int(value.__dlpack_device__()[0]) in ON_CUDA


def as_device_array(value: Any, device: DeviceMemory) -> HostArray | DeviceArray:
    """A GPU array where it lies, or a contiguous one of the host.

    By ``__cuda_array_interface__`` or DLPack. Work that its library has queued is waited for: in the stream
    that the former names, or where it names none as DLPack prescribes, in CUDA's default one.

    Raises:
        PictureError: It is not contiguous, or is on another GPU than the first.
    """
    if not is_on_device(value):
        return np.ascontiguousarray(value)
    if hasattr(value, "__dlpack_device__"):
        _check_first_gpu(value)
    facts = getattr(value, "__cuda_array_interface__", None)
    # Version 2 of the interface, which torch has, says nothing of streams: DLPack does.
    if facts is None or ("stream" not in facts and hasattr(value, "__dlpack__")):
        return _by_dlpack(value, device)
    shape, dtype = tuple(facts["shape"]), np.dtype(facts["typestr"])
    if facts.get("strides") is not None and tuple(facts["strides"]) != _packed(shape, dtype.itemsize):
        raise _not_contiguous()
    if "stream" not in facts:
        device.wait(DEFAULT_STREAM)
    elif facts["stream"] is not None:
        device.wait(int(facts["stream"]))
    return DeviceArray(int(facts["data"][0]), shape, dtype, holds=value)


def _check_first_gpu(value: Any) -> None:
    number = int(value.__dlpack_device__()[1])
    if number:
        raise PictureError(
            f"the array is on GPU {number}, engines run on the first",
            "Copy it there, or choose the GPU with CUDA_VISIBLE_DEVICES.",
        )


def _by_dlpack(value: Any, device: DeviceMemory) -> DeviceArray:
    tensor = read_capsule(value.__dlpack__(stream=DEFAULT_STREAM))
    device.wait(DEFAULT_STREAM)
    if tensor.strides is not None and tensor.strides != _packed(tensor.shape, 1):
        raise _not_contiguous()
    return DeviceArray(tensor.address, tensor.shape, tensor.dtype, holds=(value, tensor))


def _not_contiguous() -> PictureError:
    return PictureError("the array on the GPU is not contiguous", "Make it so, e.g. with .contiguous().")


def _packed(shape: tuple[int, ...], step: int) -> tuple[int, ...]:
    strides = []
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
