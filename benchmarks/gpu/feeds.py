"""What a graph is fed where only its time counts."""

from __future__ import annotations

import numpy as np
from edgead_runtime import frame_graph
from edgead_runtime.engines import Array
from edgead_runtime.tensorrt.record import GraphName

from benchmarks.gpu.job import Job, random_picture


def picture_input(job: Job, graph: GraphName) -> str:
    """The input that is another one for each picture."""
    return frame_graph.FRAME if graph == "frame" else job.manifest.input.name


def outputs_of(job: Job, graph: GraphName) -> list[str]:
    """What a detector asks for."""
    if graph == "frame":
        return [frame_graph.DISTANCES, frame_graph.LENGTHS]
    return [feature.name for feature in job.manifest.features]


def feeds_of(job: Job, graph: GraphName, batch: int = 1) -> dict[str, Array]:
    """Every input of a graph. A frame graph's bank is the smallest that is measured."""
    if graph == "encoder":
        return {job.manifest.input.name: random_picture(job.manifest, batch)}
    manifest, random = job.manifest, np.random.default_rng(0)
    searched = max(manifest.features, key=lambda feature: feature.layer)
    blocks = job.blocks_of(min(job.good))
    bank = random.standard_normal((blocks, job.block_rows, searched.dim), dtype=np.float32)
    bank /= np.linalg.norm(bank, axis=-1, keepdims=True)
    size = (1, manifest.input.height, manifest.input.width, 3)
    return {
        frame_graph.FRAME: random.integers(0, 256, size, dtype=np.uint8),
        frame_graph.BANK: bank,
        frame_graph.BANK_BIAS: np.zeros((blocks, 1), np.float32),
        frame_graph.PATCH_WEIGHTS: np.ones(manifest.grid, np.float32),
        **frame_graph.no_map(manifest.grid),
    }
