"""Areas that a person draws: as pictures, as polygons, as patches."""

import cv2
import numpy as np
import pytest
from edgead_runtime import Detector, Encoder
from edgead_runtime.areas import _from_polygon, area_from_rows, area_to_rows, drawn_area
from edgead_runtime.errors import BundleError, PictureError, RecipeError
from edgead_runtime.images import encode_png
from hypothesis import given
from hypothesis import strategies as st

LEFT_HALF = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]


def _drawn(quick, **fields):
    return quick.with_(**{"mask": "on", "mask_from": "area", **fields})


def _picture(path, inside):
    path.write_bytes(encode_png(np.repeat(inside.astype(np.uint8)[:, :, None] * 255, 3, axis=2)))
    return path


@given(st.data())
def test_a_patch_counts_if_any_pixel_of_it_does(mini_encoder, data):
    """Brute force: one white pixel at a time."""
    height = data.draw(st.integers(20, 300))
    width = data.draw(st.integers(20, 300))
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    inside = np.zeros((height, width), dtype=bool)
    inside[row, column] = True
    touched = mini_encoder.preprocessor.patches_touched(inside)
    plan = mini_encoder.preprocessor.plan((height, width))
    for axis, place in ((0, row), (1, column)):
        patch = 14 * inside.shape[axis] / plan.resized[axis]
        hit = np.flatnonzero(touched.any(axis=1 - axis))
        for index in range(8):
            overlap = min(place + 1, (index + 1) * patch) - max(place, index * patch)
            if abs(overlap) > 1e-5 and touched.any():
                assert (index in hit) == (overlap > 0)
    if not touched.any():  # in the strip that the crop leaves out
        rows, columns = plan.uninspected_px((height, width))
        assert row >= height - rows - 1 or column >= width - columns - 1


@pytest.mark.parametrize("size", [112, 160, 161, 448, 1000])
def test_a_polygon_as_patches(mini_encoder, quick, size):
    """An edge between two patches takes in neither row nor column of the next."""
    preprocessor = mini_encoder.preprocessor
    half = drawn_area(_drawn(quick, mask_polygon=LEFT_HALF), preprocessor, (size, size))
    expected = np.zeros((8, 8), bool)
    expected[:, :4] = True
    assert np.array_equal(half, expected)
    middle = [[0.25, 0.25], [0.75, 0.25], [0.75, 0.75], [0.25, 0.75]]
    if size % 4 == 0:
        inner = np.zeros((8, 8), bool)
        inner[2:6, 2:6] = True
        assert np.array_equal(
            drawn_area(_drawn(quick, mask_polygon=middle), preprocessor, (size, size)), inner
        )


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=7))
def test_inside_is_what_opencv_calls_inside(corners):
    """By the centres of pixels, but for those on an edge or where the polygon crosses itself."""
    found = _from_polygon(tuple(corners), (24, 31))
    outline = (np.array(corners) * (31, 24)).astype(np.float32)
    simple = cv2.isContourConvex(np.round(outline * 16).astype(np.int32))
    for row in range(0, 24, 3):
        for column in range(0, 31, 3):
            distance = cv2.pointPolygonTest(outline, (column + 0.5, row + 0.5), measureDist=True)
            if simple and abs(distance) > 0.1:
                assert found[row, column] == (distance > 0)


def test_the_same_area_drawn_both_ways(mini_encoder, quick, tmp_path):
    inside = np.zeros((160, 160), bool)
    inside[33:127, 45:101] = True
    picture = _picture(tmp_path / "area.png", inside)
    corners = [[45 / 160, 33 / 160], [101 / 160, 33 / 160], [101 / 160, 127 / 160], [45 / 160, 127 / 160]]
    preprocessor = mini_encoder.preprocessor
    by_picture = drawn_area(_drawn(quick, mask_image=str(picture)), preprocessor, (160, 160))
    by_polygon = drawn_area(_drawn(quick, mask_polygon=corners), preprocessor, (160, 160))
    assert np.array_equal(by_picture, by_polygon)
    assert 0 < by_picture.sum() < 64


def test_text_and_back():
    area = np.random.default_rng(0).random((5, 7)) > 0.5
    rows = area_to_rows(area)
    assert {len(row) for row in rows} == {7}
    assert np.array_equal(area_from_rows(rows), area)


def test_a_detector_looks_nowhere_else(mini_encoder, good_frames, defective, quick, tmp_path):
    inside = np.ones((160, 160), bool)
    inside[defective.y - 25 : defective.y + defective.height + 25, 60:] = False
    picture = _picture(tmp_path / "area.png", inside)
    blind = Detector.enroll(mini_encoder, good_frames[:3], recipe=_drawn(quick, mask_image=str(picture)))
    seeing = Detector.enroll(mini_encoder, good_frames[:3], recipe=quick)
    assert seeing(defective.frame).is_anomaly
    assert not blind(defective.frame).is_anomaly
    result = blind(defective.frame)
    assert (result.patch_distances[~result.mask] == 0).all()
    assert "an area was drawn" in blind.mask.reason

    # The picture of the area is not needed again.
    blind.save(tmp_path / "part.edgead")
    picture.unlink()
    loaded = Detector.load(tmp_path / "part.edgead", encoder=mini_encoder)
    assert np.array_equal(loaded(defective.frame).mask, result.mask)


def test_an_area_of_another_encoder_is_refused(mini_encoder, good_frames, quick, tmp_path):
    path = tmp_path / "part.edgead"
    Detector.enroll(mini_encoder, good_frames[:2], recipe=_drawn(quick, mask_polygon=LEFT_HALF)).save(path)
    found = path.read_bytes()
    path.write_bytes(found.replace(b'"####...."', b'"####..."', 1))
    with pytest.raises(BundleError):
        Detector.load(path, encoder=mini_encoder)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "not given"),
        ({"mask_image": "a.png", "mask_polygon": LEFT_HALF}, "given twice"),
        ({"mask": "off", "mask_polygon": LEFT_HALF}, "masking is off"),
        ({"mask_polygon": LEFT_HALF[:2]}, "2 corners"),
        ({"mask_polygon": [[0, 0], [1, 0], [1.2, 1]]}, "outside the frame"),
        ({"mask_polygon": [[0, 0], [1, 0], [float("nan"), 1]]}, "outside the frame"),
        ({"mask_polygon": [[0, 0, 0], [1, 0, 0], [1, 1, 1]]}, "mask_polygon"),
    ],
)
def test_what_is_no_area(quick, fields, says):
    with pytest.raises(RecipeError, match=says):
        _drawn(quick, **fields)


def test_an_area_that_is_drawn_and_not_used_is_refused(quick):
    with pytest.raises(RecipeError, match="the mask is from pca"):
        quick.with_(mask="on", mask_polygon=LEFT_HALF)


def test_pictures_that_do_not_do(mini_encoder, good_frames, quick, tmp_path):
    def enroll(path):
        Detector.enroll(mini_encoder, good_frames[:2], recipe=_drawn(quick, mask_image=str(path)))

    with pytest.raises(RecipeError, match="there is no mask_image"):
        enroll(tmp_path / "gone.png")
    with pytest.raises(RecipeError, match="nothing to inspect"):
        enroll(_picture(tmp_path / "black.png", np.zeros((160, 160), bool)))
    with pytest.raises(RecipeError, match="is 200 x 160 pixels"):
        enroll(_picture(tmp_path / "wide.png", np.ones((160, 200), bool)))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(PictureError):
        enroll(tmp_path / "text.png")


def test_a_larger_drawing_of_the_same_aspect_will_do(mini_encoder, good_frames, quick, tmp_path):
    inside = np.zeros((320, 320), bool)
    inside[:160] = True
    path = _picture(tmp_path / "large.png", inside)
    detector = Detector.enroll(mini_encoder, good_frames[:2], recipe=_drawn(quick, mask_image=str(path)))
    assert np.array_equal(detector(good_frames[3]).mask[:4], np.ones((4, 8), bool))
    assert not detector(good_frames[3]).mask[4:].any()


def test_an_area_needs_no_encoder_output(two_layer_bundle, good_frames, quick):
    with Encoder.load(two_layer_bundle, threads=1) as encoder:
        recipe = _drawn(quick, mask_polygon=LEFT_HALF, background_weight=0.5)
        result = Detector.enroll(encoder, good_frames[:2], recipe=recipe)(good_frames[4])
        assert result.patch_distances[:, 6:].max() > 0  # damped, not deleted
