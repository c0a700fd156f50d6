"""Half a picture on each of two cores must not be told from Pillow's own."""

import os
import threading

import numpy as np
import pytest
from edgead_runtime import bicubic
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

pytestmark = pytest.mark.skipif(bicubic.usable_cores() < 2, reason="one core: pictures are never split")


def _picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _pillow(frame, size):
    return np.asarray(Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC))


@pytest.fixture(autouse=True)
def nothing_is_known_of_any_shape():
    bicubic._earlier.cache_clear()
    bicubic._cut.cache_clear()


def _twice(frame, size):
    """Resized when the shape comes for the second time."""
    bicubic.bicubic_antialias(frame, size)
    return bicubic.bicubic_antialias(frame, size)


@pytest.fixture
def any_size_is_split(monkeypatch):
    monkeypatch.setattr(bicubic, "_WORTH_A_THREAD", 0)


@pytest.fixture
def parts(monkeypatch):
    """The rows that were resized in one piece, in no order."""
    found, rows = [], bicubic._rows

    def spy(frame, size, first, end):
        found.append((first, end))
        return rows(frame, size, first, end)

    monkeypatch.setattr(bicubic, "_rows", spy)
    return found


@pytest.mark.parametrize(
    ("frame_hw", "size"),
    [
        ((1024, 1024), (448, 448)),
        ((1080, 1920), (448, 796)),
        ((900, 900), (448, 448)),
        ((1000, 700), (672, 470)),
        ((2048, 1536), (298, 224)),
    ],
)
def test_a_large_picture_is_split_and_the_same_to_the_last_bit(frame_hw, size, parts):
    frame = _picture(*frame_hw)
    assert np.array_equal(_twice(frame, size), _pillow(frame, size))
    (top, bottom) = sorted(parts[-2:])  # before them Pillow was asked about this shape
    assert (top[0], top[1], bottom[1]) == (0, bottom[0], size[0])


@settings(deadline=None, max_examples=150)
@given(
    common=st.integers(2, 12),
    rows=st.tuples(st.integers(1, 25), st.integers(1, 25)),
    columns=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    seed=st.integers(0, 99),
)
def test_any_shrinking_or_enlarging_is_the_same(common, rows, columns, seed):
    frame = _picture(common * rows[0], columns[0], seed)
    size = (common * rows[1], columns[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bicubic, "_WORTH_A_THREAD", 0)
        assert np.array_equal(_twice(frame, size), _pillow(frame, size))


def test_a_shape_that_comes_once_costs_one_resize(parts):
    """A folder of pictures of many sizes."""
    for height in range(900, 950, 2):
        bicubic.bicubic_antialias(_picture(height, 900), (448, 448))
    assert parts == [(0, 448)] * 25


def test_pillow_is_asked_at_the_second_time_and_not_again(parts):
    frame, whole = _picture(900, 900), (0, 448)
    bicubic.bicubic_antialias(frame, (448, 448))
    assert parts == [whole]
    bicubic.bicubic_antialias(frame, (448, 448))
    assert len(parts) == 1 + 3 + 2  # asking: two halves and the whole
    assert parts.count(whole) == 2
    bicubic.bicubic_antialias(frame, (448, 448))
    assert len(parts) == 1 + 3 + 2 + 2
    assert parts.count(whole) == 2


def test_shapes_that_are_forgotten_are_not_asked_about(any_size_is_split, parts):
    """More shapes in turns than are remembered: none comes again, as far as it knows."""
    for _ in range(3):
        for width in range(40, 41 + bicubic._REMEMBERED):
            bicubic.bicubic_antialias(_picture(20, width), (10, 10))
    assert set(parts) == {(0, 10)}


@pytest.mark.parametrize(("frame_hw", "size"), [((1021, 1024), (448, 448)), ((400, 400), (224, 224))])
def test_what_has_no_common_row_or_is_small_is_done_in_one(frame_hw, size, parts):
    frame = _picture(*frame_hw)
    assert np.array_equal(_twice(frame, size), _pillow(frame, size))
    assert parts == [(0, size[0])] * 2


def test_where_pillow_would_do_a_half_in_another_way_it_does_the_whole(monkeypatch, any_size_is_split):
    frame, rows = _picture(256, 256), bicubic._rows
    monkeypatch.setattr(
        bicubic,
        "_rows",
        lambda frame, size, first, end: rows(frame, size, first, end) ^ np.uint8(end - first < size[0]),
    )
    assert np.array_equal(_twice(frame, (112, 112)), _pillow(frame, (112, 112)))


def test_many_threads_at_once(any_size_is_split):
    frames = [_picture(256, 256, seed) for seed in range(6)]
    wanted = [_pillow(frame, (112, 112)) for frame in frames]
    wrong = []

    def work(index):
        wrong.extend(
            index
            for _ in range(20)
            if not np.array_equal(bicubic.bicubic_antialias(frames[index], (112, 112)), wanted[index])
        )

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_can_resize_too(any_size_is_split):
    frame = _picture(256, 256)
    _twice(frame, (112, 112))
    child = os.fork()
    if child == 0:
        right = np.array_equal(bicubic.bicubic_antialias(frame, (112, 112)), _pillow(frame, (112, 112)))
        os._exit(0 if right else 1)
    _wait_for(child)


def _wait_for(child):
    """Fails where the process does not end by itself within a few seconds."""
    alarm = threading.Timer(10, os.kill, (child, 9))
    alarm.start()
    _, status = os.waitpid(child, 0)
    alarm.cancel()
    assert os.waitstatus_to_exitcode(status) == 0
