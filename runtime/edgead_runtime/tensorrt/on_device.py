"""Arrays that lie on the GPU already, as other libraries hand them on."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgead_runtime.errors import PictureError
from edgead_runtime.tensorrt.arena import DeviceArray
from edgead_runtime.tensorrt.device import DeviceMemory, HostArray
from edgead_runtime.tensorrt.dlpack import DEFAULT_STREAM, ON_CUDA, read_capsule

_INTERFACE = "__cuda_array_interface__"
_REFUSALS = (BufferError, RuntimeError, TypeError, ValueError)
"""What libraries raise where an array cannot be handed on: by DLPack's protocol a BufferError; torch, of one
with a gradient, a RuntimeError too."""


def is_on_device(value: Any) -> bool:
    """Whether it is an array of CuPy, torch, JAX, Numba or the like on a GPU."""
    if isinstance(value, np.ndarray):  # has DLPack's methods too, and is asked for every frame
        return False
    try:
        interface = hasattr(value, _INTERFACE)
    except _REFUSALS:  # torch: only where it is on a GPU; as_device_array then says what is wrong
        return True
    return interface or _dlpack_on_device(value)


def _dlpack_on_device(value: Any) -> bool:
    if not hasattr(value, "__dlpack__"):
        return False
    try:
        return int(value.__dlpack_device__()[0]) in ON_CUDA
    except (*_REFUSALS, AttributeError, IndexError):  # wherever it lies, nobody can take it there
        return False


def as_device_array(value: Any, device: DeviceMemory) -> HostArray | DeviceArray:
    """A GPU array where it lies, or a contiguous one of the host.

    By ``__cuda_array_interface__`` or DLPack. Work that its library has queued is waited for: in the stream
    that the former names, or where it names none as DLPack prescribes, in CUDA's default one.

    Raises:
        PictureError: It is not contiguous, is on another GPU than the first, or its library does not hand it
            on (torch: a tensor that requires a gradient).
    """
    if not is_on_device(value):
        return np.ascontiguousarray(value)
    if hasattr(value, "__dlpack_device__"):
        _check_first_gpu(value)
    try:
        facts = getattr(value, _INTERFACE, None)
    except _REFUSALS as error:
        raise _not_handed_on(error) from error
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
    try:
        capsule = value.__dlpack__(stream=DEFAULT_STREAM)
    except _REFUSALS as error:
        raise _not_handed_on(error) from error
    tensor = read_capsule(capsule)
    device.wait(DEFAULT_STREAM)
    if tensor.strides is not None and tensor.strides != _packed(tensor.shape, 1):
        raise _not_contiguous()
    return DeviceArray(tensor.address, tensor.shape, tensor.dtype, holds=(value, tensor))


def _not_handed_on(error: Exception) -> PictureError:
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    return PictureError(
        f"the array's library does not hand it on ({reason.rstrip('.')})",
        "Give a plain array: without a gradient (torch: .detach()), dense, uint8; or copy it to the host.",
    )


def _not_contiguous() -> PictureError:
    return PictureError("the array on the GPU is not contiguous", "Make it so, e.g. with .contiguous().")


def _packed(shape: tuple[int, ...], step: int) -> tuple[int, ...]:
    strides = []
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
