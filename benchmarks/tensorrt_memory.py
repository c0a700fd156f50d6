"""What the frame graph's search takes of a GPU's memory, with its loop and without, for several banks.

    python -m benchmarks.tensorrt_memory dinov2_s_448 --blocks 16 64 256

Builds for one compute capability with TensorRT for RTX, on the CPU, and reads the activation memory from the
builder's messages. No GPU is needed, nothing is run, and no time is measured but that of building.
``--whole`` compares all patches at once instead of :data:`edgead_runtime.tensorrt.loop_free.PART` of them.
"""

from __future__ import annotations

import argparse
import math
from unittest.mock import patch

from edgead_runtime import EncoderBundle
from edgead_runtime.tensorrt import builder, loop_free
from edgead_runtime.tensorrt.api import FLAVOURS, load
from edgead_runtime.tensorrt.layers import activation_bytes, layer_names
from edgead_runtime.tensorrt.options import BuildOptions

from benchmarks.common import save, table

FLAVOUR = FLAVOURS["tensorrt-rtx"]


def activations(model: bytes, blocks: int, sm: int) -> tuple[float, float, bool]:
    """MB between the layers, seconds to build, and whether a loop is left."""
    options = BuildOptions(sm=(sm,), bank_blocks=(min(16, blocks), blocks))
    plan = builder.build_plan(load(FLAVOUR), FLAVOUR, model, options, detailed=True)
    found = activation_bytes(plan.messages)
    looped = any("loop" in name.lower() for name in layer_names(plan.messages))
    return (math.nan if found is None else found / 1e6), plan.seconds, looped


def main() -> None:
    """Build, print a table, write benchmarks/out/tensorrt_memory.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("--blocks", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--sm", type=int, default=86)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--whole", action="store_true")
    chosen = parser.parse_args()
    bundle = EncoderBundle.open(chosen.bundle)
    model = bundle.read_frame_graph(chosen.precision)
    frame_file = bundle.manifest.frame_of(chosen.precision)
    assert frame_file is not None
    patches = math.prod(bundle.manifest.grid)
    rows = []
    for blocks in chosen.blocks:
        with patch.object(builder, "without_loop", lambda data: data):
            looped = activations(model, blocks, chosen.sm)
        with patch.object(loop_free, "PART", patches if chosen.whole else loop_free.PART):
            free = activations(model, blocks, chosen.sm)
            similarities = loop_free.searched_bytes(patches, frame_file.block_rows, blocks) / 1e6
        rows.append(
            {
                "blocks": blocks,
                "bank_rows": blocks * frame_file.block_rows,
                "loop_mb": looped[0],
                "free_mb": free[0],
                "similarities_mb": similarities,
                "loop_left": [looped[2], free[2]],
                "build_s": [looped[1], free[1]],
            }
        )
    text = table(
        ["blocks", "rows", "loop", "no loop", "of it similarities"],
        [
            [row["blocks"], f"{row['bank_rows']:,}"]
            + [f"{row[name]:.0f} MB" for name in ("loop_mb", "free_mb", "similarities_mb")]
            for row in rows
        ],
    )
    facts = {"bundle": chosen.bundle, "sm": chosen.sm, "precision": chosen.precision, "whole": chosen.whole}
    save("tensorrt_memory", text, {**facts, "rows": rows})


if __name__ == "__main__":
    main()
