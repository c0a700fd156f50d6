"""A memory's patches as the frame graph's bank: blocks in one array that grows by doubling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgead_runtime import frame_graph
from edgead_runtime.bank import Reference
from edgead_runtime.encoder import Encoder
from edgead_runtime.engines import Uploaded
from edgead_runtime.manifest import FrameFile


class _Capacity:
    """An array of blocks ``[capacity, block_rows, D]``, of which the first ``written`` hold something.

    A block is written once, so whoever looks at the first few sees the same for ever.
    """

    def __init__(self, blocks: int, block_rows: int, dim: int) -> None:
        self.array = np.empty((blocks, block_rows, dim), dtype=np.float32)
        self.written = 0

    def write(self, blocks: NDArray[np.float32]) -> None:
        end = self.written + len(blocks)
        self.array[self.written : end] = blocks
        self.written = end


@dataclass(frozen=True, eq=False)
class BlockedBank:
    """What a frame graph searches. Immutable: a call that is under way goes on with the one it began with.

    Successors share the array as long as it has room; :meth:`following` is not for two threads at a time.
    """

    references: tuple[Reference, ...]
    blocks: int
    inputs: dict[str, Uploaded]
    """The bank and its bias, where the engine runs."""
    _capacity: _Capacity

    @classmethod
    def of(
        cls, references: tuple[Reference, ...], encoder: Encoder, frame_file: FrameFile, room_for: int = 0
    ) -> BlockedBank:
        """The bank of these references.

        Args:
            references: At least one, each with the patches of one layer.
            encoder: Whose engine is to search.
            frame_file: Says how long a block is.
            room_for: Blocks to have room for at least.
        """
        filled = _blocks_of(references, frame_file.block_rows)
        needed = sum(map(len, filled))
        capacity = _Capacity(max(needed, room_for), *filled[0].shape[1:])
        for blocks in filled:
            capacity.write(blocks)
        return cls._showing(references, encoder, capacity, needed)

    def following(
        self, references: tuple[Reference, ...], encoder: Encoder, frame_file: FrameFile
    ) -> BlockedBank:
        """The bank of a memory that came from this one's by adding or taking back."""
        known, rows = self.references, frame_file.block_rows
        if references == known[: len(references)]:
            fewer = sum(_block_count(reference, rows) for reference in references)
            return self._showing(references, encoder, self._capacity, fewer)
        added = _blocks_of(references[len(known) :], rows)
        needed = self.blocks + sum(map(len, added))
        grows = references[: len(known)] == known
        # After something was taken back, the blocks behind may still be looked at: they are not written over.
        if grows and self._capacity.written == self.blocks and needed <= len(self._capacity.array):
            for blocks in added:
                self._capacity.write(blocks)
            return self._showing(references, encoder, self._capacity, needed)
        return self.of(references, encoder, frame_file, room_for=2 * self.blocks)

    @classmethod
    def _showing(
        cls, references: tuple[Reference, ...], encoder: Encoder, capacity: _Capacity, blocks: int
    ) -> BlockedBank:
        # Only what is filled: an engine that takes any number of blocks need not search the empty ones.
        arrays = {
            frame_graph.BANK: capacity.array[:blocks],
            frame_graph.BANK_BIAS: np.zeros((blocks, 1), np.float32),
        }
        inputs = {name: encoder.upload(array) for name, array in arrays.items()}
        return cls(references, blocks, inputs, capacity)


def _blocks_of(references: Sequence[Reference], block_rows: int) -> list[NDArray[np.float32]]:
    return [frame_graph.fill_blocks(reference.tokens[-1], block_rows) for reference in references]


def _block_count(reference: Reference, block_rows: int) -> int:
    return -(-len(reference.tokens[-1]) // block_rows)
