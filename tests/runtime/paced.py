"""An encoder whose runs take the time they are told to, on a clock that nobody waits for."""

import numpy as np
from edgead_runtime import Encoder, EncoderBundle
from edgead_runtime.engines import EngineOptions, create_engine


class FakeClock:
    """Seconds that pass when something says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class PacedEngine:
    """A real engine that takes ``ms`` of a fake clock a run."""

    def __init__(self, inner, clock, ms):
        self._inner, self._clock, self.ms, self.closed = inner, clock, ms, False
        self.name = inner.name

    def upload(self, array):
        return self._inner.upload(array)

    def run(self, feeds, outputs=None):
        self._clock.now += self.ms / 1e3
        return self._inner.run(feeds, outputs)

    def close(self):
        self.closed = True
        self._inner.close()


def paced_encoder(bundle, clock, ms):
    """The encoder and its engine, whose pace can be changed."""
    opened = EncoderBundle.open(bundle)
    inner = create_engine(opened.read_model(), "onnxruntime", EngineOptions(threads=1))
    engine = PacedEngine(inner, clock, ms)
    return Encoder(opened, engine), engine


def same_bank(one, other):
    """Whether two detectors know the same parts, bit by bit."""
    return len(one.references) == len(other.references) and all(
        left.digest == right.digest
        and all(np.array_equal(a, b) for a, b in zip(left.tokens, right.tokens, strict=True))
        for left, right in zip(one.references, other.references, strict=True)
    )
