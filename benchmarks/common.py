"""What the benchmarks share: encoders, frames, facts of the machine, tables."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from edgead_runtime.agreement import GateReport
from edgead_runtime.cores import cpu_name
from edgead_runtime.images import Frame, encode_png
from edgead_runtime.manifest import Interpolation

PAPERS_RESIZE: Interpolation = "bicubic-antialias"
OUT = Path(__file__).parent / "out"


def encoder_bundle(
    resolution: int,
    layers: tuple[int, ...] = (),
    *,
    fuse: bool = False,
    resize: Interpolation = PAPERS_RESIZE,
) -> Path:
    """Folder of a ``dinov2_s`` encoder bundle; exported on the first call.

    Args:
        resolution: Side in pixels.
        layers: Empty for the weights' default layer.
        fuse: With a frame graph.
        resize: How frames are resized.
    """
    from edgead_export.export import ExportOptions, export_encoder

    name = f"dinov2_s_{resolution}" + "".join(f"_{layer}" for layer in layers)
    name += ("_fused" if fuse else "") + ("" if resize == PAPERS_RESIZE else f"_{resize}")
    folder = OUT / "encoders" / name
    if not (folder / "manifest.json").is_file():
        print(f"exporting {name}")
        export_encoder(
            ExportOptions("dinov2_s", folder, str(resolution), layers=layers, fuse=fuse, resize=resize),
            note=print,
        )
    return folder


def real_frames(side: int = 1024, count: int = 8) -> list[Frame]:
    """Different crops of real photographs, ``[side, side, 3]`` uint8."""
    from edgead_export.parity import parity_pictures

    frames = []
    pictures = parity_pictures()
    for index in range(count):
        picture = pictures[index % len(pictures)].frame
        shift = 8 * (index // len(pictures))
        frames.append(np.asarray(cv2.resize(picture[shift:, shift:], (side, side)), dtype=np.uint8))
    return frames


def write_frames(folder: Path, side: int = 1024) -> list[Path]:
    """:func:`real_frames` as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, frame in enumerate(real_frames(side)):
        paths.append(folder / f"{side}-{index}.png")
        paths[-1].write_bytes(encode_png(frame))
    return paths


def machine() -> dict[str, Any]:
    """Facts that a figure means nothing without."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


GATE_HEADER = ("rank correlation, mean / worst", "score error, median / worst", "")


def gate_cells(report: GateReport) -> tuple[str, str, str]:
    """What the gate of precisions found, under :data:`GATE_HEADER`."""
    return (
        f"{report.rank_correlation_mean:.4f} / {report.rank_correlation_min:.4f}",
        f"{report.score_error_median:.2%} / {report.score_error_max:.2%}",
        "passed" if report.passed else "failed",
    )


def save(name: str, text: str, data: Mapping[str, Any]) -> None:
    """Print a result and keep it as Markdown and JSON under ``benchmarks/out``."""
    print(f"\n{text}\n")
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.md").write_text(text + "\n")
    (OUT / f"{name}.json").write_text(json.dumps({"machine": machine(), **data}, indent=2) + "\n")
