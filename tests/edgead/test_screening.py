"""The parts of a screening: the guess, the sample that decides the mask, the log of arrays."""

import msgspec
import numpy as np
import pytest
from edgead_runtime.calibration import NormalScore
from edgead_runtime.errors import OutputError

from edgead.jobs.screen.record_log import Line, RecordLog
from edgead.screening.encoding import MASK_SAMPLE, _sample_order
from edgead.screening.guess import guess_thresholds


class Named(Line, frozen=True, kw_only=True):
    name: str = ""


def scores(*images):
    return [NormalScore(image, 2 * image) for image in images]


def test_the_guess_by_hand():
    guess = guess_thresholds(scores(0.1, 0.2, 0.3, 0.4, 9.0))
    assert guess.threshold == pytest.approx(0.3 + 3 * 1.4826 * 0.1)
    assert guess.pixel_threshold == pytest.approx(0.6 + 3 * 1.4826 * 0.2)
    assert guess.pictures == 5
    assert "guess" in guess.explain()


def test_the_guess_does_not_follow_a_few_defects():
    good = scores(*np.linspace(0.1, 0.2, 30))
    far = guess_thresholds([*good, *scores(*[50.0] * 5)]).threshold
    assert far == pytest.approx(guess_thresholds(good).threshold, rel=0.2)


def test_equals_lie_at_the_guess_and_not_above():
    assert guess_thresholds(scores(0.3, 0.3, 0.3)).threshold == 0.3


@pytest.mark.parametrize("pictures", [1, 2, MASK_SAMPLE, MASK_SAMPLE + 1, 1000])
def test_the_sample_is_spread_and_then_come_the_others(pictures):
    order = list(_sample_order(pictures))
    assert sorted(index for index, _ in order) == list(range(pictures))
    sampled = [index for index, spread in order if spread]
    assert len(sampled) == min(pictures, MASK_SAMPLE)
    assert (sampled[0], sampled[-1]) == (0, pictures - 1)
    assert [spread for _, spread in order] == [True] * len(sampled) + [False] * (pictures - len(sampled))


def test_a_log_gives_back_what_was_put_in(tmp_path):
    arrays = np.random.default_rng(0).random((4, 3, 2)).astype(np.float32)
    log = RecordLog(tmp_path, "x", (3, 2), Named)
    for number, array in enumerate(arrays):
        log.append(Named(name=str(number)), array)
        log.append(Named(name="without"))
    assert log.shape == (4, 3, 2)
    assert np.array_equal(log[0:4], arrays)
    assert np.array_equal(log[1:3], arrays[1:3])
    assert log[4:9].shape == (0, 3, 2)
    log.close()
    again = RecordLog(tmp_path, "x", (3, 2), Named)
    assert [line.name for line in again.lines] == [
        "0",
        "without",
        "1",
        "without",
        "2",
        "without",
        "3",
        "without",
    ]
    assert np.array_equal(again[:], arrays)
    again.close()


@pytest.mark.parametrize("cut", range(0, 240, 7))
def test_a_log_that_was_cut_anywhere_keeps_a_whole_prefix(tmp_path, cut):
    log = RecordLog(tmp_path, "x", (2,), Named)
    for number in range(4):
        log.append(Named(name=str(number)), np.full(2, number, dtype=np.float32))
    log.close()
    path = tmp_path / "x.jsonl"
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    kept = RecordLog(tmp_path, "x", (2,), Named)
    whole = data[:cut].count(b"\n")
    assert len(kept.lines) == kept.shape[0] == whole
    kept.append(Named(name="new"), np.full(2, 7, dtype=np.float32))
    assert kept[:][:, 0].tolist() == [*range(whole), 7]
    kept.close()
    lines = [msgspec.json.decode(raw, type=Named) for raw in path.read_bytes().splitlines()]
    assert [line.name for line in lines] == [*map(str, range(whole)), "new"]


def test_a_log_whose_data_vanished_meanwhile(tmp_path):
    log = RecordLog(tmp_path, "x", (2,), Named)
    log.append(Named(), np.zeros(2, dtype=np.float32))
    (tmp_path / "x.f32").write_bytes(b"")
    with pytest.raises(OutputError, match="cut short"):
        log[0:1]
    log.close()
