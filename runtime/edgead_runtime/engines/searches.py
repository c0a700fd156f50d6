"""Engines that search banks for an encoder, of the kind that the encoder itself runs in."""

from __future__ import annotations

import threading
from dataclasses import replace

from edgead_runtime.engines import Engine, EngineOptions, create_engine
from edgead_runtime.index.in_engine import search_graph


class SearchEngines:
    """Made when they are first asked for, in float32 whatever the encoder's precision.

    Args:
        engine_name: Of the encoder's engine, e.g. ``openvino/cpu/bf16``.
        options: Of the encoder's engine.
    """

    def __init__(self, engine_name: str, options: EngineOptions) -> None:
        self._kind = engine_name.partition("/")[0]
        self._options = replace(options, precision="fp32", rest_in_bf16=False, exact_after=())
        self._lock = threading.Lock()
        self._engines: dict[tuple[int, int], Engine] = {}

    def opened(self, dim: int, neighbours: int) -> Engine:
        """The engine for features of a size and so many neighbours.

        Raises:
            EngineUnavailableError: It has to be built first, and was not.
        """
        with self._lock:
            known = self._engines.get((dim, neighbours))
            if known is None:
                known = create_engine(search_graph(dim, neighbours), self._kind, self._options)
                self._engines[dim, neighbours] = known
            return known

    def __len__(self) -> int:
        return len(self._engines)

    def close(self) -> None:
        """Release them."""
        with self._lock:
            while self._engines:
                self._engines.popitem()[1].close()
