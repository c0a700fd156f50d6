"""Whether a soak went well: what was promised, one by one, with what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.soak.run import CLIPS_MB, LESSONS_MB, PICTURES_MB

_SHORTEST_FOR_MEMORY_MIN = 10.0
"""Pools and caches fill in the first minutes; less says nothing of growth."""
_SPLIT_OR_MISSED = 0.02
"""Share of the scratches that may be two events, or none, where frames are few."""
_DISK_SLACK_MB = 3.0
"""The file that is being written, and small files beside pictures."""
_MORE_FILES = 4


@dataclass(frozen=True)
class Limits:
    """What is allowed."""

    growth_mb: float = 25.0
    """Of resident memory, from the second quarter of the run to the last."""
    gap_s: float = 5.0
    """Between two results."""
    p99_ms: float | None = None
    """From capture to verdict; depends on the machine, so none by default."""
    dropped: float | None = None
    """Share of the captured frames; likewise."""


@dataclass(frozen=True)
class Check:
    """One promise."""

    name: str
    passed: bool | None
    """``None``: it could not be judged."""
    found: str


def judge(data: dict[str, Any], limits: Limits) -> list[Check]:
    """All checks.

    Args:
        data: Of :func:`benchmarks.soak.run.soak`.
        limits: What is allowed.
    """
    return [
        *_frames(data, limits),
        *_events(data),
        *_memory(data, limits),
        *_beside(data),
        *_lessons(data),
    ]


def _frames(data: dict[str, Any], limits: Limits) -> list[Check]:
    frames, latency = data["frames"], data["latency_ms"]
    on_the_way = frames["captured"] - sum(
        frames[name] for name in ("inspected", "dropped", "skipped", "not_inspected")
    )
    share = frames["dropped"] / max(1, frames["captured"])
    return [
        Check(
            "every frame is accounted for",
            0 <= on_the_way <= 2,
            f"{frames['captured']} captured = {frames['inspected']} inspected + {frames['dropped']} dropped "
            f"+ {frames['not_inspected']} not inspected + {on_the_way} on the way",
        ),
        Check("all were inspected that were not dropped", frames["not_inspected"] == 0, "as above"),
        Check("the camera was never lost", frames["reconnects"] == 0, f"{frames['reconnects']} reconnects"),
        Check(
            f"never {limits.gap_s:g} s without a result",
            data["longest_gap_s"] <= limits.gap_s,
            f"the longest were {data['longest_gap_s']:.2f} s",
        ),
        Check(
            "p99 from capture to verdict",
            None if limits.p99_ms is None else latency["p99"] <= limits.p99_ms,
            f"p50 {latency['p50']:.0f}, p99 {latency['p99']:.0f}, largest {latency['max']:.0f} ms"
            + ("; no limit given" if limits.p99_ms is None else f"; limit {limits.p99_ms:g} ms"),
        ),
        Check(
            "frames dropped",
            None if limits.dropped is None else share <= limits.dropped,
            f"{share:.1%}; "
            + ("no limit given" if limits.dropped is None else f"limit {limits.dropped:.1%}"),
        ),
        Check("no listener raised", data["listener_failures"] == 0, f"{data['listener_failures']} times"),
    ]


def _events(data: dict[str, Any]) -> list[Check]:
    decided = [tuple(pair) for pair in data["events"]]
    written = [tuple(each) for each in data["written"]]
    away = [tuple(each) for each in data["reached_the_sink_that_was_away"]]
    told = [(key, state) for kind, key, state in written if kind == "event"]
    opened = sum(state == "opened" for _, state in decided)
    allowed = max(1, round(_SPLIT_OR_MISSED * data["scratches"]))
    gone = {
        "refused": sum(sink["refused"] for sink in data["delivery"]["sinks"].values()),
        "losses told": sum(kind == "loss" for kind, _, _ in written + away),
        "messages dropped": data["delivery"]["dropped_messages"],
        "pictures dropped": data["delivery"]["dropped_pictures"],
        "left in the outbox": data["left_in_the_outbox"],
    }
    return [
        Check(
            "every scratch is an event, and nothing else is",
            # The last scratch may be seen in part.
            -allowed <= opened - data["scratches"] <= allowed + 1,
            f"{data['scratches']} scratches, {opened} events",
        ),
        Check("each event opens once, then closes once", *_well_formed(decided)),
        Check(
            "every event's message is in the file, once and in order",
            told == decided,
            f"{len(decided)} decided, {len(told)} written" + _first_difference(decided, told),
        ),
        Check(
            "and every message, of every kind, reached the sink that was away for a third, in the same order",
            away == written,
            f"{len(written)} written, {len(away)} reached it; {_waited(data)}"
            + _first_difference(written, away),
        ),
        Check(
            "nothing was refused, lost or left in the outbox",
            not any(gone.values()),
            ", ".join(f"{count} {what}" for what, count in gone.items()),
        ),
    ]


def _waited(data: dict[str, Any]) -> str:
    lines = data["samples"]
    waiting = [name for name in (lines[0] if lines else ()) if name.startswith("waiting")]
    most = max((line[name] for line in lines for name in waiting), default=0)
    size_mb = max((line["outbox_mb"] for line in lines), default=0.0)
    return f"at most {most:g} waited, the outbox took {size_mb:.1f} MB"


def _well_formed(decided: Sequence[tuple[str, str]]) -> tuple[bool, str]:
    states: dict[str, list[str]] = {}
    for key, state in decided:
        states.setdefault(key, []).append(state)
    wrong = [
        key
        for key, seen in states.items()
        if seen[0] != "opened" or seen[-1] != "closed" or set(seen[1:-1]) - {"updated"}
    ]
    return not wrong, f"{len(states)} events" + (f", wrong: {', '.join(wrong[:5])}" if wrong else "")


def _first_difference(one: Sequence[object], other: Sequence[object]) -> str:
    for place, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return f"; they differ from number {place}: {left} and {right}"
    return ""


def _quarter(data: dict[str, Any], number: int, name: str) -> float:
    """Median of a column over a quarter of the run, 0 to 3."""
    lines = data["samples"]
    at = len(lines) * number // 4, len(lines) * (number + 1) // 4
    return float(np.median([line[name] for line in lines[slice(*at)]]))


def _memory(data: dict[str, Any], limits: Limits) -> list[Check]:
    lines = data["samples"]
    if len(lines) < 8 or data["seconds"] < 60 * _SHORTEST_FOR_MEMORY_MIN:
        told = f"not judged in less than {_SHORTEST_FOR_MEMORY_MIN:g} minutes"
        return [Check("memory is flat", None, told)]
    checks = []
    for what, name in (("memory", "resident_mb"), ("the children's memory", "children_mb")):
        second, last = _quarter(data, 1, name), _quarter(data, 3, name)
        settled = lines[len(lines) // 4 :]
        slope = np.polyfit([line["minutes"] for line in settled], [line[name] for line in settled], 1)[0]
        found = (
            f"median {second:.0f} MB in the second quarter, {last:.0f} in the last (limit "
            f"+{limits.growth_mb:g}), largest {max(line[name] for line in lines):.0f}; {60 * slope:+.1f} MB "
            "an hour by a line through all but the first quarter"
        )
        checks.append(Check(f"{what} is flat", last - second <= limits.growth_mb, found))
    for name in ("threads", "open_files"):
        second, last = _quarter(data, 1, name), _quarter(data, 3, name)
        what = name.replace("_", " ")
        checks.append(
            Check(f"{what} do not grow", last <= second + _MORE_FILES, f"{second:g}, then {last:g}")
        )
    return checks


def _beside(data: dict[str, Any]) -> list[Check]:
    disk = data["disk_mb"]
    quotas = {"events": PICTURES_MB, "clips": CLIPS_MB, "lessons": LESSONS_MB}
    return [
        Check(
            "folders keep to their quotas",
            all(disk[name] <= quota + _DISK_SLACK_MB for name, quota in quotas.items()),
            ", ".join(f"{name} {disk[name]:.1f} of {quota} MB" for name, quota in quotas.items()),
        ),
        Check(
            "clips were written",
            data["clips"]["written"] > 0 if data["scratches"] else None,
            f"{data['clips']['written']}, {data['clips']['left_out']} frames left out, "
            f"{data['clips']['removed']} removed for the quota",
        ),
    ]


def _lessons(data: dict[str, Any]) -> list[Check]:
    seen, detector = data["visitor"], data["detector"]
    before, after = detector["before"], detector["after"]
    checks = [
        Check(
            "the detector is what it was",
            before == after,
            f"{before['rows']} and {after['rows']} patches, a good frame {before['good']:.4f} and "
            f"{after['good']:.4f}, a scratched one {before['scratched']:.4f} and {after['scratched']:.4f}",
        )
    ]
    if seen is None:
        return checks
    if "pictures" not in seen:
        return [*checks, Check("somebody had the page open", False, "; ".join(seen["problems"]))]
    checks.append(
        Check(
            "the page was served all the time",
            seen["connections"] == 1 and seen["pictures"] > 0 and not seen["problems"],
            f"{seen['pictures']} pictures, {seen['connections']} connections, the longest wait for a picture "
            f"{seen['longest_wait_s']:.2f} s" + "".join(f"; {problem}" for problem in seen["problems"]),
        )
    )
    wanted = data["plan"]["lesson_every_s"] > 0
    lessons = seen["taught"] + seen["kept"]
    enough = lessons > 0 and seen["undone"] == lessons if wanted else None
    told = f"{seen['taught']} taught as good, {seen['kept']} kept as defects, {seen['undone']} taken back; "
    told += f"the slowest took {seen['slowest_lesson_s']:.2f} s"
    if wanted and lessons == 0 and data["seconds"] < 2 * data["plan"]["lesson_every_s"]:
        enough, told = None, "too short a run for a lesson"
    return [*checks, Check("lessons were taken, and taken back", enough, told)]
