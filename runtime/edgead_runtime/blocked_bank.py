"""A memory's patches as the frame graph's bank: blocks in one array that grows by doubling.

The references' own patches are views into that array, so the bank is in memory once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgead_runtime import frame_graph
from edgead_runtime.bank import Reference
from edgead_runtime.encoder import Encoder
from edgead_runtime.engines import Uploaded
from edgead_runtime.manifest import FrameFile

_MOST_PADDING = 2
"""Rows there is room for over rows there are, from which the bank is packed anew."""


class _Capacity:
    """An array of blocks ``[capacity, block_rows, D]``, of which the first ``written`` hold something.

    A block is written once, so whoever looks at the first few sees the same for ever.
    """

    def __init__(self, blocks: int, block_rows: int, dim: int) -> None:
        self.array = np.empty((blocks, block_rows, dim), dtype=np.float32)
        self.written = 0

    def write(self, parts: Sequence[NDArray[np.float32]]) -> list[int]:
        """Put rows ``[M_i, D]`` one after another into new blocks; where each begins and the last ends."""
        block_rows, dim = self.array.shape[1:]
        flat = self.array.reshape(-1, dim)
        places = [int(place) for place in np.cumsum([self.written * block_rows, *map(len, parts)])]
        for part, (start, end) in zip(parts, itertools.pairwise(places), strict=True):
            flat[start:end] = part
        self.written = -(-places[-1] // block_rows)
        if places[-1] % block_rows:
            # Copies of the first row come no nearer to anything than that row does.
            flat[places[-1] : self.written * block_rows] = flat[places[0]]
        return places

    def view(self, start: int, end: int) -> NDArray[np.float32]:
        """Rows from one place to another, not copied."""
        rows: NDArray[np.float32] = self.array.reshape(-1, self.array.shape[2])[start:end]
        return rows


@dataclass(frozen=True, eq=False)
class BlockedBank:
    """What a frame graph searches. Immutable: a call that is under way goes on with the one it began with.

    Successors share the array as long as it has room; :meth:`following` is not for two threads at a time.
    """

    references: tuple[Reference, ...]
    """Those it was made of, their patches (of the last layer) views into the bank."""
    blocks: int
    inputs: dict[str, Uploaded]
    """The bank and its bias, where the engine runs."""
    _starts: tuple[int, ...]
    """Row where each reference begins."""
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
        needed = -(-sum(map(_rows, references)) // frame_file.block_rows)
        dim = references[0].tokens[-1].shape[1]
        capacity = _Capacity(max(needed, room_for), frame_file.block_rows, dim)
        return cls._showing((), (), references, encoder, capacity)

    def following(
        self, references: tuple[Reference, ...], encoder: Encoder, frame_file: FrameFile
    ) -> BlockedBank:
        """The bank of a memory that came from this one's by adding or taking back."""
        known, block_rows = self.references, frame_file.block_rows
        if references == known:
            return self
        if references == known[: len(references)]:
            end = self._starts[len(references)]
            if end % block_rows:  # what is taken back shares a block with what stays
                return self.of(references, encoder, frame_file)
            blocks = end // block_rows
            inputs = _inputs(self._capacity, blocks, encoder)
            return BlockedBank(references, blocks, inputs, self._starts[: len(references)], self._capacity)
        added = references[len(known) :]
        needed = self.blocks + -(-sum(map(_rows, added)) // block_rows)
        has_room = (
            references[: len(known)] == known
            # After something was taken back, the blocks behind may still be looked at: not written over.
            and self._capacity.written == self.blocks
            and needed <= len(self._capacity.array)
        )
        is_packed = needed * block_rows <= _MOST_PADDING * sum(map(_rows, references)) + block_rows
        if has_room and is_packed:
            return self._showing(known, self._starts, added, encoder, self._capacity)
        return self.of(references, encoder, frame_file, room_for=2 * self.blocks if is_packed else 0)

    @classmethod
    def _showing(
        cls,
        known: tuple[Reference, ...],
        starts: tuple[int, ...],
        added: tuple[Reference, ...],
        encoder: Encoder,
        capacity: _Capacity,
    ) -> BlockedBank:
        """With some references more, written behind those that are known.

        Raises:
            EngineUnavailableError: The engine was built for a smaller bank; nothing has changed.
        """
        blocks = capacity.written + -(-sum(map(_rows, added)) // capacity.array.shape[1])
        encoder.check_size(frame_graph.BANK, (blocks, *capacity.array.shape[1:]))
        places = capacity.write([reference.tokens[-1] for reference in added])
        viewing = tuple(
            replace(reference, tokens=(*reference.tokens[:-1], capacity.view(start, end)))
            for reference, (start, end) in zip(added, itertools.pairwise(places), strict=True)
        )
        inputs = _inputs(capacity, capacity.written, encoder)
        return cls((*known, *viewing), capacity.written, inputs, (*starts, *places[:-1]), capacity)


def _inputs(capacity: _Capacity, blocks: int, encoder: Encoder) -> dict[str, Uploaded]:
    # Only what is filled: an engine that takes any number of blocks need not search the empty ones.
    arrays = {
        frame_graph.BANK: capacity.array[:blocks],
        frame_graph.BANK_BIAS: np.zeros((blocks, 1), np.float32),
    }
    return {name: encoder.upload(array) for name, array in arrays.items()}


def _rows(reference: Reference) -> int:
    return len(reference.tokens[-1])
