"""From frame to tensor: the papers' resize rule, and every bit of the result."""

import cv2
import numpy as np
import pytest
from edgead_runtime.manifest import EncoderInput, Preprocess
from edgead_runtime.preprocess import Preprocessor, aspect_keeping_input, plan_resize
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

PATCH = 14
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

sides = st.integers(16, 5000)
inputs = st.tuples(st.integers(1, 60), st.integers(1, 60)).map(
    lambda grid: (grid[0] * PATCH, grid[1] * PATCH)
)


@given(st.tuples(sides, sides), inputs)
def test_crop_keeps_the_aspect_and_loses_less_than_a_patch(frame_hw, input_hw):
    plan = plan_resize(frame_hw, input_hw, PATCH, "crop")
    assert plan.crop == input_hw
    lost = [resized - target for resized, target in zip(plan.resized, input_hw, strict=True)]
    assert all(0 <= pixels < PATCH for pixels in lost)
    assert min(lost) == 0
    if not plan.squeezed:
        # One scale for both sides, but for the truncation of the longer one to whole pixels.
        scale = max(plan.resized[0] / frame_hw[0], plan.resized[1] / frame_hw[1])
        for resized, full in zip(plan.resized, frame_hw, strict=True):
            assert scale * full - 1 < resized <= scale * full + 1e-6


@given(st.tuples(sides, sides), inputs)
def test_a_squeeze_is_only_called_so_where_the_aspect_changes(frame_hw, input_hw):
    for fit in ("crop", "stretch"):
        plan = plan_resize(frame_hw, input_hw, PATCH, fit)
        if plan.squeezed:
            assert plan.resized == input_hw
            assert frame_hw[0] * input_hw[1] != frame_hw[1] * input_hw[0]
            assert plan.uninspected_px(frame_hw) == (0, 0)


@given(st.tuples(sides, sides))
def test_the_input_recommended_for_a_frame_does_not_squeeze_it(frame_hw):
    input_hw = aspect_keeping_input(frame_hw, 448, PATCH)
    plan = plan_resize(frame_hw, input_hw, PATCH, "crop")
    assert not plan.squeezed
    # And it is what the release does: smaller edge to 448, longer truncated, cropped to whole patches.
    short, long = sorted(frame_hw)
    longer = int(448 * long / short)
    assert sorted(plan.resized) == sorted((448, longer))
    assert sorted(input_hw) == sorted((448, longer - longer % PATCH))


@pytest.mark.parametrize(
    ("frame_hw", "input_hw", "resized", "squeezed", "unseen"),
    [
        ((300, 300), (448, 448), (448, 448), False, (0, 0)),
        ((576, 768), (448, 588), (448, 597), False, (0, 12)),  # 9 of 597 px of the input, 12 of the frame's
        ((768, 576), (588, 448), (597, 448), False, (12, 0)),
        ((576, 768), (448, 448), (448, 448), True, (0, 0)),
        ((448, 588), (448, 588), (448, 588), False, (0, 0)),
        ((449, 448), (448, 448), (449, 448), False, (1, 0)),
    ],
)
def test_shapes_of_the_paper(frame_hw, input_hw, resized, squeezed, unseen):
    plan = plan_resize(frame_hw, input_hw, PATCH, "crop")
    assert (plan.resized, plan.crop, plan.squeezed) == (resized, input_hw, squeezed)
    assert plan.uninspected_px(frame_hw) == unseen


def test_stretch_always_shows_the_whole_frame():
    plan = plan_resize((576, 768), (448, 588), PATCH, "stretch")
    assert plan.resized == plan.crop == (448, 588)
    assert plan.squeezed


def _preprocessor(input_hw, fit="crop", interpolation="bicubic-antialias"):
    entry = EncoderInput(name="image", height=input_hw[0], width=input_hw[1])
    return Preprocessor(entry, Preprocess(mean=MEAN, std=STD, fit=fit, interpolation=interpolation), PATCH)


@pytest.mark.parametrize("frame_hw", [(300, 300), (576, 768), (97, 131), (40, 300)])
@pytest.mark.parametrize("input_hw", [(224, 224), (224, 294)])
@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_the_tensor_is_pillows_bicubic_normalized_bit_for_bit(frame_hw, input_hw, fit):
    frame = np.random.default_rng(sum(frame_hw)).integers(0, 256, (*frame_hw, 3), dtype=np.uint8)
    preprocessor = _preprocessor(input_hw, fit)
    height, width = preprocessor.plan(frame_hw).resized
    rgb = Image.fromarray(frame[:, :, ::-1].copy()).resize((width, height), Image.Resampling.BICUBIC)
    scaled = np.asarray(rgb)[: input_hw[0], : input_hw[1]].astype(np.float32) / np.float32(255)
    expected = (scaled - np.float32(MEAN)) / np.float32(STD)
    tensor = preprocessor(frame)
    assert tensor.dtype == np.float32
    assert np.array_equal(tensor, expected.transpose(2, 0, 1))


def test_area_averages_what_it_shrinks_and_does_not_enlarge_pixels_to_squares():
    preprocessor = _preprocessor((28, 28), interpolation="area")
    frame = np.random.default_rng(0).integers(0, 256, (84, 56, 3), dtype=np.uint8)
    blocks = frame.reshape(28, 3, 28, 2, 3).astype(np.float64).mean(axis=(1, 3))
    assert np.abs(_preprocessor((28, 28), "stretch", "area").resize(frame) - blocks).max() <= 0.5 + 1e-6
    edge = np.zeros((7, 7, 3), np.uint8)
    edge[:, 4:] = 255
    enlarged = preprocessor.resize(edge)[14, :, 0]
    assert len(np.unique(enlarged)) > 3


def test_area_averages_a_side_that_shrinks_while_the_other_grows():
    frame = np.random.default_rng(0).integers(0, 256, (20, 280, 3), dtype=np.uint8)
    resized = _preprocessor((28, 28), "stretch", "area").resize(frame)
    averaged = frame.reshape(20, 28, 10, 3).mean(axis=2)
    expected = cv2.resize(averaged, (28, 28), interpolation=cv2.INTER_CUBIC)
    assert np.abs(resized - expected).max() <= 2


@pytest.mark.parametrize("side", [40, 64, 100, 230])
def test_area_is_near_the_papers_resize(side):
    smooth = cv2.GaussianBlur(
        np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8), (0, 0), side / 14
    )
    one, other = (
        _preprocessor((56, 56), interpolation=rule).resize(smooth) for rule in ("area", "bicubic-antialias")
    )
    assert np.abs(one.astype(int) - other).max() <= 4


def test_channels_go_in_as_bgr_and_come_out_as_rgb():
    blue = np.zeros((50, 50, 3), np.uint8)
    blue[:, :, 0] = 255
    tensor = _preprocessor((28, 28))(blue)
    expected = (np.array([0, 0, 1], np.float32) - np.float32(MEAN)) / np.float32(STD)
    assert np.array_equal(tensor[:, 5, 5], expected)
    assert (tensor == tensor[:, :1, :1]).all()


@pytest.mark.parametrize("interpolation", ["bicubic-antialias", "area"])
def test_views_of_a_larger_buffer_are_read_as_they_look(interpolation):
    buffer = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    view = buffer[10:150:2, ::-3]
    preprocessor = _preprocessor((28, 28), interpolation=interpolation)
    assert np.array_equal(preprocessor(view), preprocessor(view.copy()))
