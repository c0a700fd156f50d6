"""The page for a person, made of what the JSON holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.common import table
from benchmarks.gpu.batches import ONE_AT_A_TIME

Found = Mapping[str, Any]
Row = Mapping[str, Any]


def page(found: Found) -> str:
    """All of it as Markdown. Parts that are not there yet are left out."""
    parts = [_head(found), _clocks(found)]
    if "engines" in found:
        parts.append(_engines(found["engines"]))
    if "device_runs" in found:
        parts.append(_device_runs(found))
    if "frames" in found:
        parts.append(_frames(found))
    if "batches" in found:
        parts.append(_batches(found))
    parts += [f"**{part} could not be measured**: {why}" for part, why in found["problems"].items()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(found: Found) -> str:
    machine, gpu, encoder = found["doctor"]["machine"], found["gpu"], found["encoder"]
    name = "no GPU" if gpu is None else gpu["name"]
    packages = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
    lines = [
        f"# {encoder['backbone']} at {encoder['height']} x {encoder['width']} on {name}",
        f"{found['created']}, edgead {machine['edgead_runtime']}, {machine['system']}, {machine['cpu']} "
        f"({machine['cores']} cores). {packages}.",
    ]
    if gpu is None:
        lines.append(
            "**There is no GPU here. What follows ran on the processor, and says nothing of a GPU.**"
        )
    else:
        lines.append(
            f"{name}: compute capability {gpu['sm']}, {gpu['memory_bytes'] / 1e9:.1f} GB, driver for CUDA "
            f"{gpu['driver']}" + (f" ({machine['nvidia_driver']})." if machine["nvidia_driver"] else ".")
        )
    if not encoder["official"]:
        lines.append(f"Weights: {encoder['weights']}, not the authors' own; speed does not depend on them.")
    plain = "the processor" if gpu is None else "CUDA"
    lines.append(
        "Ways took turns, a few runs each. Read the ratios: `times as fast` is the median of ONNX Runtime on "
        f"{plain} in fp32 over that of the way, with a 95 % interval of the turns; whole frames are compared "
        "with it by the stages."
    )
    return "\n\n".join(lines)


def _clocks(found: Found) -> str:
    clocks = found.get("clocks")
    if clocks is None or found["gpu"] is None:
        return ""
    if clocks["why_none"]:
        return f"The GPU's clocks and heat were not read: {clocks['why_none']}."
    words = {
        "sm_mhz": "MHz of its cores",
        "memory_mhz": "MHz of its memory",
        "power_w": "W",
        "temperature_c": "degrees Celsius",
    }
    read = [
        f"{least:.0f} to {most:.0f} {words[name]}"
        for name, (least, most) in clocks["during"].items()
        if name in words
    ]
    slowed = clocks["slowed_by"]
    if slowed is None:
        said = "It does not tell whether anything slowed it down."
    else:
        said = f"**It was slowed down by: {', '.join(slowed)}.**" if slowed else "Nothing slowed it down."
    return f"Meanwhile, with the building: {', '.join(read) or 'no readings'}. {said} Clocks were not set."


def _engines(entries: Sequence[Row]) -> str:
    lines = []
    for entry in entries:
        name = (entry["graph"], entry["precision"])
        if "refused" in entry:
            lines.append((*name, "-", "-", "-", f"not built: {entry['refused']}"))
            continue
        record = entry["record"]
        lines.append(
            (
                *name,
                f"{record['seconds']:.0f} s",
                f"{record['plan_bytes'] / 1e6:.0f} MB",
                f"{entry['memory_mb']:.0f} MB",
                _verdict(record["parity"]),
            )
        )
    header = ("graph", "precision", "build", "file", "GPU memory", "gate, against ONNX Runtime in fp32")
    return "## Engines\n\n" + table(header, lines)


def _verdict(parity: Row | None) -> str:
    if parity is None:
        return "not compared: built ahead of time"
    return (
        f"{'passed' if parity['passed'] else 'failed'}: patch cosine at least {parity['cosine_min']:.5f}, "
        f"rank correlation of distances at least {parity['rank_correlation_min']:.4f}"
    )


_TIMES = ("p50 ms", "p95", "p99", "times as fast")


def _device_runs(found: Found) -> str:
    texts = [
        "## One run on the device",
        "`computing`: inputs and outputs stay on the device. `with copies`: the picture goes up and what a "
        "detector asks for comes down. By CUDA's events, or by the host's clock where the column says so.",
    ]
    for graph in dict.fromkeys(row["graph"] for row in found["device_runs"]):
        rows = [row for row in found["device_runs"] if row["graph"] == graph and "p50_ms" in row]
        lines = [(row["what"], row["title"], row["precision"], row["clock"], *_times(row)) for row in rows]
        if lines:
            texts.append(f"### {graph}\n\n" + table(("what", "way", "precision", "clock", *_TIMES), lines))
    return "\n\n".join(text for text in (*texts, _left_out(found["device_runs"])) if text)


def _frames(found: Found) -> str:
    texts = [
        "## A picture in memory to its score",
        f"{found['side']} x {found['side']} uint8 pixels, host to host, with resize and search. `resize` is "
        "what of it the processor takes to resize, the same for all; `error` the worst difference of a "
        "score to ONNX Runtime's on the processor in fp32, with the same bank.",
    ]
    for good in dict.fromkeys(row["good"] for row in found["frames"] if "good" in row):
        rows = [row for row in found["frames"] if row.get("good") == good and "p50_ms" in row]
        if not rows:
            continue
        lines = [
            (
                row["title"],
                row["precision"],
                row["graph"],
                *_times(row),
                f"{row['resize_ms']:.1f}",
                _share(row["error"]),
            )
            for row in rows
        ]
        bank = rows[0]
        title = (
            f"### Bank of {good} good pictures: {bank['patches']:,} patches, {bank['blocks']} blocks "
            f"({bank['runs']} frames a way)"
        )
        header = ("way", "precision", "by", *_TIMES, "resize ms", "error")
        texts.append(f"{title}\n\n{table(header, lines)}")
    return "\n\n".join(
        text for text in (*texts, _remarks(found["frames"]), _left_out(found["frames"])) if text
    )


def _remarks(rows: Sequence[Row]) -> str:
    said = {row["way"]: row["remarks"] for row in rows if row.get("remarks")}
    return "\n".join(f"- {way}: {' '.join(remarks)}" for way, remarks in said.items())


def _batches(found: Found) -> str:
    if not found["encoder"]["dynamic_batch"]:
        return f"## Batches\n\n{ONE_AT_A_TIME}"
    texts = ["## Batches", "The encoder's computing; inputs and outputs stay on the device."]
    rows = [row for row in found["batches"] if "p50_ms" in row]
    lines = [
        (row["batch"], row["title"], row["precision"], *_times(row), f"{row['pictures_per_s']:.1f}")
        for row in rows
    ]
    if lines:
        texts.append(table(("batch", "way", "precision", *_TIMES, "pictures a second"), lines))
    return "\n\n".join(text for text in (*texts, _left_out(found["batches"])) if text)


def _times(row: Row) -> tuple[str, ...]:
    times = [f"{row[name]:.2f}" for name in ("p50_ms", "p95_ms", "p99_ms")]
    if not row["steady"]:
        times[0] += " (not steady)"
    if "times_as_fast" not in row:
        return (*times, "-")
    ratio, low, high = row["times_as_fast"]
    return (*times, f"{ratio:.2f}x ({low:.2f} to {high:.2f})")


def _share(error: float) -> str:
    return f"{error:.2%}" if error >= 1e-4 else "below 0.01%"


def _left_out(rows: Sequence[Row]) -> str:
    """Each way that was not measured once, with its reason."""
    why = {row["way"]: row["left_out"] for row in rows if "left_out" in row}
    return "Left out:\n\n" + "\n".join(f"- {way}: {text}" for way, text in why.items()) if why else ""
