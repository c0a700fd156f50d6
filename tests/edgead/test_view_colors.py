"""The live view paints as the reports do: the page has the numbers once more, since it cannot import them."""

import re
from importlib.resources import files

import edgead_runtime
from edgead_runtime.streaming.view.painting import HEAT_FULL_SCALE

from edgead.report.overlay import MAX_OPACITY, SATURATED_AT, SHOWN_FROM, palette_hex

SCRIPT = (files(edgead_runtime) / "streaming/view/static/picture.js").read_text("utf-8")


def _constant(name):
    return float(re.search(rf"const {name} = ([\d.]+);", SCRIPT)[1])


def test_the_colors_and_their_scale_are_the_same():
    palette = re.search(r"PALETTE = \[(.*?)\]", SCRIPT, re.DOTALL)[1]
    assert re.findall(r'"(#\w+)"', palette) == palette_hex(9)
    assert _constant("FULL_SCALE") == HEAT_FULL_SCALE == SATURATED_AT
    assert _constant("SHOWN_FROM") == SHOWN_FROM
    assert _constant("MAX_OPACITY") == MAX_OPACITY
