"""An encoder that does not encode the same frame twice."""

from __future__ import annotations

from dataclasses import replace

from edgead_runtime.encoder import Encoder, PatchFeatures
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.engines import Engine
from edgead_runtime.images import Frame, frame_digest
from edgead_runtime.recipe import Layers

MEMORY_BYTES = 512 << 20


class RememberingEncoder(Encoder):
    """Keeps the features of the frames it has seen, up to a bound.

    An evaluation looks at the same test pictures once for every number of shots and every seed; nine times
    for three of each. Features are the same bits either way. What does not fit under the bound is encoded
    again. Not for timing: a remembered frame takes no time.
    """

    takes_frame_graph = False
    """A frame graph gives distances, of which there is nothing to remember."""

    def __init__(self, bundle: EncoderBundle, engine: Engine, *, memory_bytes: int = MEMORY_BYTES) -> None:
        super().__init__(bundle, engine)
        self._free = self._memory_bytes = memory_bytes
        self._kept: dict[tuple[str, Layers], PatchFeatures] = {}
        self.encoded = 0
        """How often the engine ran."""
        self.keeps_all_layers = False
        """Keep every layer that a run gives, for whoever will ask for another one of the same frame."""

    def encode(
        self, frame: Frame, *, layers: Layers = "deepest", timings_ms: dict[str, float] | None = None
    ) -> PatchFeatures:
        """Patch features of one frame; see :meth:`Encoder.encode`."""
        if self.keeps_all_layers:
            every = self._encode(frame, "all", timings_ms)
            return self._chosen(every, layers)
        return self._encode(frame, layers, timings_ms)

    def _chosen(self, every: PatchFeatures, layers: Layers) -> PatchFeatures:
        """The layers asked for, of all."""
        places = [output.layer for output in self.feature_outputs("all")]
        wanted = [places.index(output.layer) for output in self.feature_outputs(layers)]
        return replace(every, layers=tuple(every.layers[place] for place in wanted))

    def _encode(self, frame: Frame, layers: Layers, timings_ms: dict[str, float] | None) -> PatchFeatures:
        key = (frame_digest(frame), layers)
        if key in self._kept:
            return self._kept[key]
        self.encoded += 1
        features = super().encode(frame, layers=layers, timings_ms=timings_ms)
        arrays = [*features.layers, *([] if features.attention is None else [features.attention])]
        size = sum(array.nbytes for array in arrays)
        if size <= self._free:
            for array in arrays:
                array.flags.writeable = False
            self._kept[key] = features
            self._free -= size
        return features

    def forget(self) -> None:
        """Make room: the frames to come are others."""
        self._kept.clear()
        self._free = self._memory_bytes
