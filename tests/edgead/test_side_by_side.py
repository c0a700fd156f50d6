"""The spots that are shown beside each other."""

import io

import numpy as np
import pytest
from edgead_runtime import Region
from edgead_runtime.explanation import Box, Explanation
from PIL import Image

from edgead.report.side_by_side import CROP_PX, crop_around, side_by_side

FRAME = np.full((100, 140, 3), 60, np.uint8)


@pytest.mark.parametrize("place", [(60, 40), (0, 0), (130, 90)])
def test_the_patch_is_in_the_middle(place):
    frame = FRAME.copy()
    x, y = place
    frame[y : y + 10, x : x + 10] = (200, 0, 0)
    crop = crop_around(frame, Box(x, y, 10, 10))
    assert crop.shape == (CROP_PX, CROP_PX, 3)
    assert tuple(crop[CROP_PX // 2, CROP_PX // 2]) == (200, 0, 0)
    outside = (place != (60, 40)) * 1
    assert (crop[::60, ::60] == 0).all(axis=2).any() == bool(outside)


@pytest.mark.parametrize("size", [1, 3, 14, 60, 400])
def test_patches_of_any_size(size):
    assert crop_around(FRAME, Box(0, 0, size, size)).shape == (CROP_PX, CROP_PX, 3)


def test_the_caption_says_where_it_was_seen():
    pair = side_by_side(
        FRAME,
        Explanation(
            region=Region(x=0, y=0, width=10, height=10, area_px=100, peak=0.4),
            patch=Box(5, 5, 10, 10),
            distance=0.4,
            reference="good 3.png",
            view="turned by 45°",
            reference_patch=Box(20, 20, 10, 10),
            reference_frame=FRAME,
        ),
        pixel_threshold=0.2,
    )
    assert pair.caption == (
        "Nearest good spot: good 3.png, turned by 45°. Distance 0.4, 2 times the pixel threshold."
    )
    assert Image.open(io.BytesIO(pair.spot)).size == Image.open(io.BytesIO(pair.nearest)).size
