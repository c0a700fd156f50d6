"""Plain data that is nearly right: what a parser must survive besides garbage."""

import copy
import json

from hypothesis import strategies as st

VALUES = (
    None, True, -1, 0, 1, 2, 7.5, 2**31, 2**62, -(2**62), 1e300, "", "x", "../x", "a\0b", "\ud800",
    "\u2603" * 300, [], [[]], [0], [0.5, 0.5], {}, {"x": 1}, [1] * 300,
)  # fmt: skip


def paths_of(plain, path=()):
    """Keys and indices to everything in it but itself."""
    inner = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, value in inner:
        yield (*path, key)
        yield from paths_of(value, (*path, key))


@st.composite
def nearly(draw, plain, keep=()):
    """``plain`` with up to three values replaced, left out or doubled.

    Args:
        draw: By hypothesis.
        plain: What JSON can hold.
        keep: Top-level fields that stay.
    """
    changed = json.loads(json.dumps(plain))
    for _ in range(draw(st.integers(1, 3))):
        paths = [path for path in paths_of(changed) if path[0] not in keep]
        *way, last = draw(st.sampled_from(paths))
        place = changed
        for step in way:
            place = place[step]
        how = draw(st.sampled_from(["value", "value", "value", "gone", "twice"]))
        if how == "gone":
            del place[last]
        elif how == "twice" and isinstance(place, list):
            place.append(place[last])
        else:
            place[last] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    return changed
