"""Names that go into topics, file names and folders."""

from __future__ import annotations

from edgead_runtime.errors import ConfigError

_NOT_IN_A_NAME = frozenset("/\\#+")
_LONGEST = 100


def check_name(name: str, what: str, *, spaces: bool = False) -> None:
    """Refuse a name that would be another topic, another folder, or none.

    Args:
        name: As it was given.
        what: Of what, in words: ``a camera``.
        spaces: Whether it may hold some, since it goes into no topic.

    Raises:
        ConfigError: It is no such name.
    """
    fits = name.isprintable() and not set(name) & _NOT_IN_A_NAME and not name.startswith(".")
    fits = fits and bool(name.strip()) and (spaces or " " not in name)
    if not fits or len(name) > _LONGEST:
        raise ConfigError(
            f"{name!r} is no name for {what}",
            "Use letters, digits, '-' and '_': it goes into topics and file names.",
        )
