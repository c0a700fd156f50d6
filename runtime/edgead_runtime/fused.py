"""A frame by the frame graph: one run of the engine instead of one stage after the other."""

from __future__ import annotations

import numpy as np

from edgead_runtime import frame_graph
from edgead_runtime.blocked_bank import BlockedBank
from edgead_runtime.device_frames import DeviceFrame
from edgead_runtime.engines import Array, Uploaded
from edgead_runtime.images import Frame
from edgead_runtime.memory import Memory, scale
from edgead_runtime.patch_distances import PatchDistances
from edgead_runtime.pipeline import Clock, Pipeline, Thresholds, make_result
from edgead_runtime.result import Result


def bank_for(pipeline: Pipeline, memory: Memory, before: BlockedBank | None = None) -> BlockedBank | None:
    """The bank for the frame graph, or ``None`` where the method goes by the stages.

    Args:
        pipeline: The method.
        memory: What good parts look like.
        before: The bank of the memory that this one was made from.
    """
    frame_file = pipeline.encoder.frame_file
    if frame_file is None or not memory.is_exact or not is_fused(pipeline):
        return None
    if before is None:
        return BlockedBank.of(memory.references, pipeline.encoder, frame_file)
    return before.following(memory.references, pipeline.encoder, frame_file)


def is_fused(pipeline: Pipeline) -> bool:
    """Whether the frame graph computes what the recipe asks for: the distance to the nearest patch of all."""
    encoder, recipe = pipeline.encoder, pipeline.recipe
    return (
        encoder.frame_file is not None
        and [output.layer for output in encoder.feature_outputs(recipe.layers)] == [encoder.frame_file.layer]
        and recipe.asks_for_nearest
    )


def inspect_fused(
    pipeline: Pipeline,
    frame: Frame | DeviceFrame,
    bank: BlockedBank,
    thresholds: Thresholds,
) -> Result:
    """Compare one frame with what good parts look like, in one run.

    A mask that is made from the frame is made here and not in the graph, from the features that the graph
    gives: its iteration ends when it has converged, and a graph's would have to end after a fixed number.

    Args:
        pipeline: The method.
        frame: ``[H, W, 3]`` uint8, BGR; or one on the GPU, from :meth:`Encoder.adopt`.
        bank: What good parts look like.
        thresholds: Of image and map.
    """
    encoder, recipe = pipeline.encoder, pipeline.recipe
    timings: dict[str, float] = {}
    features = encoder.feature_outputs(recipe.layers)
    wanted = [frame_graph.DISTANCES, frame_graph.LENGTHS]
    if pipeline.masks_by_features:
        wanted += encoder.output_names(features)
    feeds: dict[str, Array | Uploaded] = {
        **bank.inputs,
        frame_graph.PATCH_WEIGHTS: scale(np.ones(encoder.manifest.grid, np.float32), recipe),
        **frame_graph.no_map(encoder.manifest.grid),
    }
    outputs = encoder.run_frame(frame, feeds, wanted, timings)
    clock = Clock(timings)
    found = outputs[frame_graph.DISTANCES].astype(np.float32, copy=False)
    encoder.check_finite(outputs[frame_graph.LENGTHS], found)
    mask = pipeline.find_mask(
        encoder.features_from(outputs, features) if pipeline.masks_by_features else None
    )
    if mask is not None:
        clock.stage("mask")
    weighed = pipeline.weigh(found, mask)
    frame_hw = (frame.shape[0], frame.shape[1])
    return make_result(pipeline, frame_hw, PatchDistances.alike(weighed), mask, thresholds, clock)
