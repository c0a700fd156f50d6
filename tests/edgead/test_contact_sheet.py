import numpy as np
import pytest

from edgead.report.aligned_pairs import MAX_PAIRS, AlignedPair, in_squares
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


# Aligned pairs


def pairs(
    count,
    *,
    found=True,
    reason="turned by 31.2 degrees, shifted by 14 px; 182 of 240 matches agree",
    **frames,
):
    shown = {"fixed": FRAME, "before": FRAME, "after": FRAME, **frames}
    return [
        AlignedPair("good-0.png", f"good-{n}.png", found=found, reason=reason, **shown) for n in range(count)
    ]


def colored(bgr):
    return np.full((80, 100, 3), bgr, dtype=np.uint8)


def pixels_of(sheet, bgr):
    return int((sheet == bgr).all(axis=2).sum())


def test_without_pairs_the_sheet_is_as_it_was():
    plain = draw_contact_sheet("part", ["Mask off."], tiles(3))
    np.testing.assert_array_equal(draw_contact_sheet("part", ["Mask off."], tiles(3), []), plain)
    more = draw_contact_sheet("part", ["Mask off."], tiles(3), pairs(1))
    np.testing.assert_array_equal(more[: plain.shape[0] - 20], plain[:-20])
    assert more.shape[0] > plain.shape[0]


def test_a_pair_shows_all_that_there_is_to_compare():
    red, green, blue = (0, 0, 200), (0, 200, 0), (200, 0, 0)
    frames = {"fixed": colored(red), "before": colored(green), "after": colored(blue)}
    sheet = draw_contact_sheet("part", [], tiles(1), pairs(1, **frames))
    # The fixed one and the aligned one once each, and once more in squares.
    whole = pixels_of(sheet, green)
    assert whole > 10_000
    assert pixels_of(sheet, red) + pixels_of(sheet, blue) == 3 * whole
    assert pixels_of(sheet, red) == pytest.approx(1.5 * whole, rel=0.05)


def test_a_pair_that_was_not_aligned_stands_out_and_shows_no_result():
    red, green, blue = (0, 0, 200), (0, 200, 0), (200, 0, 0)
    frames = {"fixed": colored(red), "before": colored(green), "after": colored(blue)}
    reason = "only 7 of 31 matches agree"
    sheet = draw_contact_sheet("part", [], tiles(1), pairs(1, found=False, reason=reason, **frames))
    assert pixels_of(sheet, red) == pixels_of(sheet, green) > 10_000
    assert pixels_of(sheet, blue) == 0
    warning = (12, 62, 166)
    assert pixels_of(sheet, warning) > 500
    assert pixels_of(draw_contact_sheet("part", [], tiles(1), pairs(1)), warning) == 0


def test_very_many_pairs_are_counted_and_not_all_drawn():
    full = draw_contact_sheet("part", [], tiles(1), pairs(MAX_PAIRS))
    more = draw_contact_sheet("part", [], tiles(1), pairs(MAX_PAIRS + 500))
    assert more.shape[0] - full.shape[0] < 60


@pytest.mark.parametrize("found", [True, False])
def test_a_pair_of_any_names_and_shapes_can_be_drawn(found):
    tall, small = np.zeros((4000, 20, 3), dtype=np.uint8), np.zeros((16, 16, 3), dtype=np.uint8)
    odd = [
        AlignedPair("部品 größe <&>.png" * 12, "", tall, small, tall, found, "word " * 60),
        AlignedPair("", "x" * 300, small, tall, small, found, ""),
    ]
    assert draw_contact_sheet("part", [], [], odd).ndim == 3


def test_squares_alternate():
    one, other = np.zeros((60, 120, 3), np.uint8), np.ones((60, 120, 3), np.uint8)
    board = in_squares(one, other)
    assert board[::20, ::20, 0].tolist() == [[0, 1, 0, 1, 0, 1], [1, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 1]]
    np.testing.assert_array_equal(in_squares(one, one), one)
