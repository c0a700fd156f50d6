import numpy as np
import pytest

from edgead.report.contact_sheet import MAX_TILES, Tile, dim_ignored, draw_contact_sheet

FRAME = np.full((80, 100, 3), 200, dtype=np.uint8)
ALL = np.ones((8, 10), dtype=bool)


def tiles(count, **fields):
    return [Tile(name=f"good-{n}.png", frame=FRAME, inspected=ALL, **fields) for n in range(count)]


def test_what_is_inspected_stays_as_it_is():
    np.testing.assert_array_equal(dim_ignored(FRAME, ALL, (1.0, 1.0)), FRAME)


def test_what_is_ignored_is_dark_and_hatched():
    inspected = ALL.copy()
    inspected[:, :5] = False
    shown = dim_ignored(FRAME, inspected, (1.0, 1.0))
    np.testing.assert_array_equal(shown[:, 50:], FRAME[:, 50:])
    assert (shown[:, :50] != 200).all(axis=2).any()
    assert len(np.unique(shown[:, :50].reshape(-1, 3), axis=0)) == 2


def test_a_strip_that_the_crop_cuts_off_counts_as_ignored():
    shown = dim_ignored(FRAME, ALL, (0.9, 1.0))
    np.testing.assert_array_equal(shown[:72], FRAME[:72])
    assert (shown[72:] != FRAME[72:]).any(axis=2).all()


@pytest.mark.parametrize("count", [1, 4, 5, 6, 16])
def test_the_sheet_grows_with_the_references(count):
    one = draw_contact_sheet("part.edgead", ["Mask off."], tiles(1))
    sheet = draw_contact_sheet("part.edgead", ["Mask off."], tiles(count, score=0.1, sets_threshold=True))
    assert sheet.dtype == np.uint8
    assert sheet.shape[0] >= one.shape[0]
    assert sheet.shape[1] >= one.shape[1]


def test_very_many_references_are_counted_and_not_all_drawn():
    full = draw_contact_sheet("part", [], tiles(MAX_TILES))
    more = draw_contact_sheet("part", [], tiles(MAX_TILES + 500))
    assert more.shape[0] - full.shape[0] < 60


def test_any_name_and_shape_can_be_drawn():
    odd = [
        Tile("部品 größe <&>.png" * 12, np.zeros((4000, 20, 3), dtype=np.uint8), np.ones((2, 2), dtype=bool)),
        Tile("", np.zeros((16, 16, 3), dtype=np.uint8), np.zeros((2, 2), dtype=bool)),
    ]
    assert draw_contact_sheet("part", ["word " * 200], odd).ndim == 3
