"""The way of AnomalyDINO's release: PyTorch, Pillow's resize, flat exact search, SciPy's Gaussian.

The steps are those of :mod:`tests.reference.anomalydino`, the independent transcription of the release; the
encoder is called as a whole, so that PyTorch may compile it as a whole.
"""

from __future__ import annotations

import contextlib
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.baselines.job import PATCH, Clock, Frame, Inspect, Inspected, Job
from benchmarks.baselines.weights import PatchTokens
from tests.reference import anomalydino as paper


def make(job: Job, *, compiled: bool = False, precision: str = "fp32") -> Inspect:
    """Eager fp32 as released; ``compiled`` and ``bf16`` are what PyTorch offers with one line more."""
    encoder: Any = PatchTokens.load()
    if compiled:
        encoder = torch.compile(encoder, dynamic=False)

    def tokens(tensor: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
        bf16 = (
            torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
        )
        with torch.inference_mode(), bf16:
            return encoder(tensor[None])[0].float().numpy()

    reference = cv2.cvtColor(cv2.imread(job.frames[0]), cv2.COLOR_BGR2RGB)
    views = paper.rotations(np.asarray(reference, dtype=np.uint8))
    # The release normalizes the bank once, when it fills its index.
    bank = paper.normalise(
        np.concatenate([tokens(paper.preprocess(view, job.resolution)) for view in views]), np.float32
    )
    side = job.resolution // PATCH

    def inspect(frame: Frame) -> Inspected:
        clock = Clock()
        tensor = paper.preprocess(np.ascontiguousarray(frame[:, :, ::-1]), job.resolution)
        clock.stage("preprocess")
        found = tokens(tensor)
        clock.stage("encode")
        distances = 1 - (paper.normalise(found, np.float32) @ bank.T).max(axis=1)
        clock.stage("search")
        score = paper.image_score(distances)
        clock.stage("score")
        paper.anomaly_map(distances.reshape(side, side), frame.shape[:2])
        clock.stage("map")
        return Inspected(clock.stop(), score, distances)

    return inspect
