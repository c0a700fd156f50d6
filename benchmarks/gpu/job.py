"""What is to be measured, and the encoder's files in a place where engines can be built without harm."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from edgead_runtime import EncoderBundle
from edgead_runtime.encoder_bundle import MANIFEST_NAME, onnx_files
from edgead_runtime.engines import Array, Device
from edgead_runtime.errors import OutputError
from edgead_runtime.frame_graph import block_rows_for
from edgead_runtime.images import Frame
from edgead_runtime.manifest import EncoderManifest, Precision
from edgead_runtime.tensorrt.api import FlavourName
from edgead_runtime.tensorrt.device import DeviceFacts
from edgead_runtime.tensorrt.parity import gate_pictures

from benchmarks.gpu.turns import Amount


@dataclass(frozen=True)
class Job:
    """All parts measure the same."""

    scratch: Path
    """Gone when all is measured."""
    folder: Path
    """A copy of the bundle, in there: engines are built beside its files."""
    bundle: EncoderBundle
    precisions: tuple[Precision, ...]
    flavour: FlavourName
    here: DeviceFacts | None
    """``None``: there is no GPU, and what runs on the processor is measured."""
    good: tuple[int, ...]
    """Good pictures in the bank, one bank each."""
    batches: tuple[int, ...]
    frames: Sequence[Frame]
    weights: str | None
    """PyTorch's, where the manifest cannot say it."""
    amount: Amount

    @property
    def manifest(self) -> EncoderManifest:
        """The bundle's."""
        return self.bundle.manifest

    @property
    def device(self) -> Device:
        """Where the others are to run."""
        return "cpu" if self.here is None else "cuda"

    @property
    def block_rows(self) -> int:
        """Patches of a block of the frame graph's bank."""
        return block_rows_for(math.prod(self.manifest.grid))

    def blocks_of(self, good: int) -> int:
        """Blocks of a bank of so many good pictures, one view of each."""
        return good * -(-math.prod(self.manifest.grid) // self.block_rows)


def frames_of(count: int, side: int) -> list[Frame]:
    """Different crops of the runtime's own pictures, ``[side, side, 3]`` uint8."""
    pictures = [picture.frame for picture in gate_pictures()]
    frames = []
    for index in range(count):
        turn = index // len(pictures)
        down, right = 3 * (turn % 20), 3 * (turn // 20)
        cropped = pictures[index % len(pictures)][down:, right:]
        frames.append(np.asarray(cv2.resize(cropped, (side, side)), dtype=np.uint8))
    return frames


def working_copy(bundle: EncoderBundle, folder: Path) -> Path:
    """The bundle's files without its engines, which are somebody's and stay as they are.

    Raises:
        OutputError: They cannot be written.
    """
    assert bundle.root is not None
    try:
        for name in (MANIFEST_NAME, *(entry.path for entry in onnx_files(bundle.manifest))):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(bundle.root / name, target)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror or error}", "Free some space.") from error
    return folder


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(source, target)


def random_picture(manifest: EncoderManifest, batch: int = 1) -> Array:
    """An encoder's input, ``[batch, 3, height, width]``, of the size and spread that pictures have."""
    entry = manifest.input
    random = np.random.default_rng(0)
    return random.standard_normal((batch, 3, entry.height, entry.width), dtype=np.float32)
