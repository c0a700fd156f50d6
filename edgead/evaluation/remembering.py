"""An encoder that does not encode the same frame twice."""

from __future__ import annotations

from edgead_runtime.encoder import Encoder, PatchFeatures
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.engines import Engine
from edgead_runtime.images import Frame, frame_digest

MEMORY_BYTES = 512 << 20


class RememberingEncoder(Encoder):
    """Keeps the features of the frames it has seen, up to a bound.

    An evaluation looks at the same test pictures once for every number of shots and every seed; nine times
    for three of each. Features are the same bits either way. What does not fit under the bound is encoded
    again. Not for timing: a remembered frame takes no time.
    """

    def __init__(self, bundle: EncoderBundle, engine: Engine, *, memory_bytes: int = MEMORY_BYTES) -> None:
        super().__init__(bundle, engine)
        self._free = self._memory_bytes = memory_bytes
        self._kept: dict[tuple[str, int | None], PatchFeatures] = {}
        self.encoded = 0
        """How often the engine ran."""

    def encode(
        self, frame: Frame, *, layer: int | None = None, timings_ms: dict[str, float] | None = None
    ) -> PatchFeatures:
        """Patch features of one frame; see :meth:`Encoder.encode`."""
        key = (frame_digest(frame), layer)
        if key in self._kept:
            return self._kept[key]
        self.encoded += 1
        features = super().encode(frame, layer=layer, timings_ms=timings_ms)
        size = features.tokens.nbytes + (0 if features.attention is None else features.attention.nbytes)
        if size <= self._free:
            features.tokens.flags.writeable = False
            self._kept[key] = features
            self._free -= size
        return features

    def forget(self) -> None:
        """Make room: the frames to come are others."""
        self._kept.clear()
        self._free = self._memory_bytes
