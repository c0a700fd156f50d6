"""What a person should know of how the good pictures fit the encoder."""

from __future__ import annotations

from collections.abc import Sequence

from edgead_runtime.bank import Reference
from edgead_runtime.encoder import Encoder
from edgead_runtime.preprocess import aspect_keeping_input


def enrollment_notes(
    encoder: Encoder, layers: Sequence[int], references: Sequence[Reference]
) -> tuple[str, ...]:
    """One sentence for each thing that costs accuracy, time, or leaves part of a frame unseen.

    Args:
        encoder: The encoder.
        layers: The layers that are used of it.
        references: The good pictures.
    """
    notes = list(encoder.remarks)
    sizes = sorted({reference.frame_hw for reference in references})
    if len(sizes) > 1:
        notes.append(
            f"The good pictures have {len(sizes)} different sizes, so frames of any size will be accepted."
        )
    notes += frame_notes(encoder, sizes)
    computed = sorted(output.layer for output in encoder.manifest.features)
    if set(computed) != set(layers):
        notes.append(
            f"The encoder computes layers {', '.join(map(str, computed))} and this detector uses "
            f"{', '.join(map(str, sorted(layers)))}; an encoder exported with --layers "
            f"{','.join(map(str, sorted(layers)))} alone is faster."
        )
    for reference in references:
        if reference.alignment is not None and not reference.alignment.found:
            notes.append(
                f"{reference.picture.name} could not be aligned: {reference.alignment.reason}. "
                "It is remembered as it was taken."
            )
    return tuple(notes)


def frame_notes(encoder: Encoder, frame_sizes: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """What of frames of these sizes is squeezed or not seen.

    Args:
        encoder: The encoder.
        frame_sizes: (height, width), in any order; equal ones count once.
    """
    notes = []
    sizes = sorted(set(frame_sizes))
    entry = encoder.manifest.input
    squeezed = [size for size in sizes if encoder.preprocessor.plan(size).squeezed]
    if squeezed:
        height, width = squeezed[0]
        keep_h, keep_w = aspect_keeping_input(
            (height, width), min(entry.height, entry.width), encoder.manifest.patch_size
        )
        notes.append(
            f"Frames of {width} x {height} are squeezed to the encoder's {entry.width} x {entry.height}; "
            f"an encoder exported with --res {keep_h}x{keep_w} keeps their aspect."
        )
    for size in sizes:
        plan = encoder.preprocessor.plan(size)
        rows, columns = plan.uninspected_px(size)
        if rows or columns:
            strip = f"{columns} pixels at the right" if columns else f"{rows} pixels at the bottom"
            notes.append(
                f"Of frames of {size[1]} x {size[0]} the last {strip} are not inspected (the paper's crop to "
                "whole patches); an encoder exported with --fit stretch inspects the whole frame."
            )
            break
    return tuple(notes)
