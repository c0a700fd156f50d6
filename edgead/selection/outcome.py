"""What the choice of a recipe came to, for a terminal and as plain data."""

from __future__ import annotations

from typing import Any

from edgead.selection.choose import MARGIN, SURE, Choice
from edgead.wording import count_of


def as_lines(choice: Choice) -> list[str]:
    """The outcome for a terminal: a table and the reason."""
    width = max(len(trial.candidate.name) for trial in choice.trials)
    lines = [
        f"Tried {count_of(len(choice.trials), 'recipe')} on {count_of(choice.pictures, 'good picture')} and "
        f"{count_of(choice.defects, 'synthetic defect')} ({choice.encodes} encodes):",
        f"  {'':{width}}  separation  image AUROC  patch AP  bank MB  search ms",
    ]
    lines += [
        f"  {trial.candidate.name:{width}}  {trial.separation:10.3f}  {trial.image_auroc:11.3f}  "
        f"{trial.patch_ap:8.3f}  {trial.bank_kb / 1000:7.1f}  {trial.search_ms:9.1f}"
        + ("  <- chosen" if trial is choice.chosen else "")
        for trial in choice.trials
    ]
    return [*lines, choice.reason]


def as_data(choice: Choice) -> dict[str, Any]:
    """The outcome as plain data, for JSON."""
    return {
        "chosen": choice.chosen.candidate.name,
        "changes": dict(choice.chosen.candidate.changes),
        "reason": choice.reason,
        "margin": MARGIN,
        "sure": SURE,
        "pictures": choice.pictures,
        "defects": choice.defects,
        "encodes": choice.encodes,
        "tried": [
            {
                "name": trial.candidate.name,
                "changes": dict(trial.candidate.changes),
                "separation": trial.separation,
                "image_auroc": trial.image_auroc,
                "patch_ap": trial.patch_ap,
                "bank_kb": trial.bank_kb,
                "search_ms": trial.search_ms,
            }
            for trial in choice.trials
        ],
    }
