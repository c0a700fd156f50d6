"""State dict to model, with nothing left to chance."""

from __future__ import annotations

from typing import Any

import torch

from edgead_export.backbones import BackboneSpec
from edgead_export.encoder_module import model_class, model_config
from edgead_export.errors import WeightsError
from edgead_export.quiet import quiet
from edgead_export.weights.mapping import State

_MAY_BE_UNSET = "mask_token"
"""Used in pretraining only."""


def build_model(spec: BackboneSpec, state: State, where: str) -> Any:
    """The backbone's ``transformers`` model with these weights, in evaluation mode.

    ``from_pretrained`` is used for its own conversion of the hub's names to the parameters of the
    installed release; ``load_state_dict(strict=False)`` would leave renamed parameters random.

    Args:
        spec: The backbone.
        state: Tensors in the hub's names.
        where: The file's name, for messages.

    Raises:
        WeightsError: A parameter would be left unset, or a tensor has no place or another shape.
    """
    from transformers.utils import logging as transformers_logging  # seconds to import

    had_bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        with quiet("transformers"):
            model, info = model_class(spec).from_pretrained(
                None,
                config=model_config(spec),
                state_dict=dict(state),
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    finally:
        if had_bar:
            transformers_logging.enable_progress_bar()
    missing = sorted(key for key in info["missing_keys"] if not key.endswith(_MAY_BE_UNSET))
    unexpected = sorted(info["unexpected_keys"])
    mismatched = sorted(
        str(entry[0] if isinstance(entry, tuple) else entry) for entry in info["mismatched_keys"]
    )
    for names, what in (
        (mismatched, "has another shape for"),
        (missing, "lacks"),
        (unexpected, "has tensors that do not belong to the model:"),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise WeightsError(
                f"{where} does not fit {spec.name}: it {what} {', '.join(names[:3])}{more}",
                f"Give the whole weights of {spec.name}; nothing is ever left random.",
            )
    return model.eval().requires_grad_(False)
