"""How far a camera may drift from enrolment before somebody is told."""

from __future__ import annotations

from dataclasses import dataclass, fields

from edgead_runtime.errors import ConfigError

_MOST = 0.5
_MEASURES = ("brightness", "sharpness", "mask_area", "score", "patch_distance", "position")


@dataclass(frozen=True)
class DriftSettings:
    """Limits of drift; a limit of 0 switches its measure off. The defaults are meant never to cry wolf."""

    window: int = 100
    """Frames whose median is compared: one odd frame, or 49 of them, do nothing."""
    for_s: float = 60.0
    """An alert opens when the limit was exceeded for so long, and closes when it was kept for so long."""
    brightness: float = 0.15
    """Of the mean grey level: the share beyond what the good pictures had."""
    sharpness: float = 0.2
    """Of :func:`~edgead_runtime.streaming.drift.looking.sharpness_of`: likewise."""
    mask_area: float = 0.3
    """Of the share of the frame that the part covers, where a mask is made from each frame: likewise."""
    score: float = 0.25
    """How much higher good parts may score than the good pictures did."""
    patch_distance: float = 0.25
    """How much larger the mean patch distance of good parts may be than that of the good pictures."""
    position: float = 0.02
    """Shift of the whole picture as a share of its width or height; 0 where parts move by design."""
    close_ratio: float = 0.8
    """An alert closes at this share of the limit, so that it does not flutter."""

    def __post_init__(self) -> None:
        if self.window < 10:
            raise ConfigError(f"a drift window of {self.window} frames is no window", "Give at least 10.")
        for name in _MEASURES:
            limit = getattr(self, name)
            if not 0 <= limit < _MOST:
                raise ConfigError(
                    f"the drift limit {name} is {limit}", f"Give a share from 0 (never) to below {_MOST:g}."
                )
        if not self.for_s >= 0:
            raise ConfigError(f"for_s of drift is {self.for_s}", "Give seconds of at least 0.")
        if not 0 < self.close_ratio <= 1:
            raise ConfigError(
                f"close_ratio of drift is {self.close_ratio}", "Give a share above 0, at most 1."
            )


def setting_names() -> tuple[str, ...]:
    """The names of all settings, for the TOML file's table."""
    return tuple(field.name for field in fields(DriftSettings))
