"""References aligned to the frame at hand (PatchEAD+): encoded anew for every frame."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from edgead_runtime.alignment import Landmarks, align
from edgead_runtime.bank import Reference, embed_views
from edgead_runtime.encoder import PatchFeatures
from edgead_runtime.images import Frame
from edgead_runtime.masking import Mask
from edgead_runtime.memory import Memory
from edgead_runtime.recipe import Recipe
from edgead_runtime.views import views_of


class Realigner:
    """Aligns a memory's references to frames. Safe for calls from several threads."""

    def __init__(
        self,
        recipe: Recipe,
        encode: Callable[[Frame], PatchFeatures],
        find_landmarks: Callable[[Frame, Mask | None], Landmarks],
    ) -> None:
        self._recipe = recipe
        self._encode = encode
        self._find_landmarks = find_landmarks
        self._known: dict[str, tuple[Frame, Landmarks]] = {}
        self._lock = threading.Lock()

    def __call__(self, memory: Memory, frame: Frame, mask: Mask | None) -> tuple[Memory, tuple[str, ...]]:
        """The memory as it is for this frame.

        Where a reference cannot be aligned, its views as they were enrolled stand in.

        Args:
            memory: As enrolled.
            frame: ``[H, W, 3]`` uint8, BGR.
            mask: Patches that belong to the part ``[rows, columns]``: it is aligned, and not the background.

        Returns:
            The memory, and a sentence for each reference that could not be aligned.
        """
        fixed = self._find_landmarks(frame, mask)
        references, notes = [], []
        for enrolled in memory.references:
            moving, landmarks = self._landmarks(enrolled)
            alignment = align(landmarks, fixed)
            if alignment.found:
                views = views_of(self._recipe, alignment, fixed.frame_hw)
                tokens = embed_views(moving, enrolled.as_taken, views, self._encode)
                references.append(replace(enrolled, tokens=tokens, alignment=alignment))
            else:
                references.append(enrolled)
                notes.append(f"{enrolled.picture.name} is not aligned: {alignment.reason}")
        self._forget({reference.digest for reference in references})
        return memory.of(references), tuple(notes)

    def _landmarks(self, reference: Reference) -> tuple[Frame, Landmarks]:
        with self._lock:
            known = self._known.get(reference.digest)
        if known is None:
            frame = reference.picture.frame
            known = frame, self._find_landmarks(frame, reference.mask)
            with self._lock:
                self._known[reference.digest] = known
        return known

    def _forget(self, but: set[str]) -> None:
        """Keep no more decoded pictures than a memory has, with room for one that is left out in turn."""
        with self._lock:
            if len(self._known) > 2 * len(but) + 1:
                self._known = {digest: known for digest, known in self._known.items() if digest in but}
