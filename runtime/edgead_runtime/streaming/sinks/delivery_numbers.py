"""How sinks and outbox do, as lines for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgead_runtime.streaming.sinks.prometheus_text import family, sample

if TYPE_CHECKING:
    from edgead_runtime.streaming.delivery import Delivery

_COUNTED = {
    "delivered": "Messages that a sink took.",
    "refused": "Messages that a receiver will never take; passed over.",
    "failures": "Attempts to hand on a message that failed.",
}
_LOST = ("messages", "updates", "pictures")


def delivery_lines(delivery: Delivery) -> Iterator[str]:
    """All that is counted of it; from any thread."""
    yield from family("edgead_outbox_waiting", "gauge", "Messages that a sink has still to get.")
    for sink, count in delivery.waiting().items():
        yield sample("edgead_outbox_waiting", {"sink": sink}, count)
    yield from family("edgead_sink_up", "gauge", "1 while a sink takes messages.")
    for sink, state in delivery.states.items():
        yield sample("edgead_sink_up", {"sink": sink}, int(not state.down))
    for name, what in _COUNTED.items():
        yield from family(f"edgead_sink_{name}_total", "counter", what)
        for sink, state in delivery.states.items():
            yield sample(f"edgead_sink_{name}_total", {"sink": sink}, getattr(state, name))
    yield from family("edgead_outbox_lost_total", "counter", "What a sink never gets, for want of room.")
    for sink, loss in delivery.losses().items():
        for what in _LOST:
            yield sample("edgead_outbox_lost_total", {"sink": sink, "what": what}, getattr(loss, what))
    yield from family("edgead_outbox_dropped_total", "counter", "Not even kept, since the disk hung.")
    yield sample("edgead_outbox_dropped_total", {"what": "messages"}, delivery.dropped_messages)
    yield sample("edgead_outbox_dropped_total", {"what": "pictures"}, delivery.dropped_pictures)
    yield from family("edgead_outbox_disk_ok", "gauge", "0 while messages wait in memory only.")
    yield sample("edgead_outbox_disk_ok", {}, int(not delivery.disk_problem))
