"""Reading a weights file without running anything that is in it."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from edgead_export.errors import WeightsError
from edgead_export.quiet import quiet

_SAFETENSORS_HEADER_LIMIT = 100_000_000
_NESTED_UNDER = ("state_dict", "model", "teacher")
"""Keys under which training scripts put the state dict beside their own records."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read safetensors or a ``.pth`` of plain tensors, told apart by content.

    Raises:
        WeightsError: It is neither, is truncated, or would run code (pickled objects, TorchScript).
    """
    try:
        return load_file(path) if _is_safetensors(path) else _read_pth(path)
    except OSError as error:
        raise WeightsError(
            f"weights file {path} cannot be read ({error.strerror or error})", "Check its name and rights."
        ) from error
    except SafetensorError as error:
        raise WeightsError(f"weights file {path} is damaged ({error})", "Fetch it again.") from error


def _is_safetensors(path: Path) -> bool:
    """Eight bytes of length, then a JSON object of that length."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        return 2 <= length <= _SAFETENSORS_HEADER_LIMIT and stream.read(1) == b"{"


def _read_pth(path: Path) -> dict[str, Tensor]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(Path(name).name == "constants.pkl" for name in archive.namelist()):
                raise WeightsError(
                    f"weights file {path} is a TorchScript program, not a state dict",
                    "Give a state dict: the authors' .pth, or Hugging Face or timm safetensors.",
                )
    try:
        with quiet():
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"weights file {path} holds Python objects beside tensors, or is no weights file",
            "It was not loaded, as that would run code from the file. Give a state dict of plain tensors.",
        ) from error
    except OSError:
        raise
    except Exception as error:
        # Its unpickler was not written for arbitrary bytes: KeyError, IndexError and more come out of it.
        raise WeightsError(f"weights file {path} is damaged or no weights file", "Fetch it again.") from error
    for key in _NESTED_UNDER:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = (
        {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise WeightsError(f"weights file {path} holds no state dict", "Give a file of named tensors.")
    return tensors
