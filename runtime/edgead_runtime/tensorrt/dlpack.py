"""DLPack, as far as it takes to find an array on the GPU: https://dmlc.github.io/dlpack/latest/c_api.html.

NumPy reads DLPack of the host alone, so the structure is read here.
"""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgead_runtime.errors import PictureError

ON_CUDA = frozenset({2, 13})
"""``kDLCUDA`` and ``kDLCUDAManaged``."""
DEFAULT_STREAM = 1
"""What stands for CUDA's (legacy) default stream, here and in CUDA's own functions."""
_USED = b"used_dltensor"  # a capsule keeps no copy of its name
_KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("number", ctypes.c_int32))


class _Type(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _Type),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class ManagedTensor(ctypes.Structure):
    """``DLManagedTensor``: a tensor and how it is given back."""


_DELETER = ctypes.CFUNCTYPE(None, ctypes.POINTER(ManagedTensor))
ManagedTensor._fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _DELETER))


@dataclass(frozen=True, eq=False)
class DlpackTensor:
    """Where an array lies; what it was read from is given back when nobody holds this any more."""

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    strides: tuple[int, ...] | None
    """In elements; ``None`` where it is contiguous."""


def read_capsule(capsule: Any) -> DlpackTensor:
    """Take over what a ``__dlpack__`` method gave.

    Raises:
        PictureError: It is no such capsule, or of a type that NumPy has no name for.
    """
    python = ctypes.pythonapi
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    python.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
    try:
        address = python.PyCapsule_GetPointer(capsule, b"dltensor")
    except ValueError as error:
        raise PictureError("the array's DLPack capsule was used before", "Give the array anew.") from error
    # By DLPack's protocol it is ours from here on, and the capsule no longer gives it back itself.
    python.PyCapsule_SetName(capsule, _USED)
    managed = ctypes.cast(address, ctypes.POINTER(ManagedTensor))
    found = managed.contents.tensor
    sizes = range(found.ndim)
    strides = tuple(found.strides[axis] for axis in sizes) if found.strides else None
    code, bits, lanes = found.dtype.code, found.dtype.bits, found.dtype.lanes
    taken = DlpackTensor(
        address=(found.data or 0) + found.byte_offset,
        shape=tuple(found.shape[axis] for axis in sizes),
        dtype=np.dtype(f"{_KINDS.get(code, 'V')}{bits // 8}"),
        strides=strides,
    )
    if managed.contents.deleter:
        weakref.finalize(taken, managed.contents.deleter, managed).atexit = False
    if code not in _KINDS or lanes != 1:
        raise PictureError("the array on the GPU is of a type that NumPy has not", "Convert it on the GPU.")
    return taken
