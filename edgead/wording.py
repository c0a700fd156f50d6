"""Facts in plain sentences, the same on the screen, on the sheet and in the report."""

from __future__ import annotations

from collections.abc import Sequence

from edgead_runtime.manifest import MaskDecision


def count_of(number: int, noun: str, plural: str = "") -> str:
    """``1 picture``, ``2 pictures``; ``plural`` where it is not made with an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


def shortened(names: Sequence[str], shown: int = 3) -> str:
    """The first few of many names, and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def sentence(text: str) -> str:
    """With a capital letter and a full stop; empty stays empty."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def blocks(layers: Sequence[int]) -> str:
    """``output of block 9``, ``outputs of blocks 3, 6 and 9``."""
    if len(layers) == 1:
        return f"output of block {layers[0]}"
    return f"outputs of blocks {', '.join(map(str, layers[:-1]))} and {layers[-1]}"


def background_words(weight: float) -> str:
    """What becomes of what is outside the mask, to go after a noun in the plural."""
    return "are ignored" if weight == 0 else f"count {weight:.0%}"


def mask_sentence(mask: MaskDecision, background_weight: float) -> str:
    """Whether part of a picture is ignored or counts less, and why."""
    consequence = (
        f"Patches outside the part {background_words(background_weight)}."
        if mask.enabled
        else "The whole picture is inspected."
    )
    return f"{sentence(mask.reason)} {consequence}"
