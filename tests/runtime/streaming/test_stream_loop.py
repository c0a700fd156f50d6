"""The loop: order, drops, fairness, budget, shutdown."""

import threading
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from edgead_runtime import stream
from edgead_runtime.errors import ConfigError, PictureError, SourceError, StreamStoppedError
from edgead_runtime.streaming import Camera, CaptureSettings, Rules, Stream, Trigger, Zone, capture
from edgead_runtime.streaming.sources import Frames
from stream_fakes import FakeCamera, FakeDetector, Recorder, frame_scoring, wait_until


def frames(count, score=0.1):
    return [frame_scoring(score, number) for number in range(count)]


def test_every_frame_of_an_iterable_comes_in_order_whatever_the_detector_takes():
    results = list(stream(FakeDetector(takes_s=0.003), frames(20)))
    assert [result.frame.sequence for result in results] == list(range(20))
    assert all(result.is_good and result.dropped == 0 for result in results)


def test_a_real_detector_in_the_loop_says_what_it_says_alone(detector, good_frames, defective):
    looked_at = [*good_frames[:2], defective.frame]
    results = list(stream(detector, looked_at))
    assert [result.score for result in results] == [detector(frame).score for frame in looked_at]
    assert [result.is_good for result in results] == [not detector(frame).is_anomaly for frame in looked_at]
    (opened,) = results[2].events
    box = opened.regions[0]
    assert box.x < defective.x + defective.width
    assert box.x + box.width > defective.x


def test_from_a_camera_the_newest_frame_wins_and_drops_are_counted():
    running = stream(FakeDetector(takes_s=0.02), FakeCamera([frames(200)]))
    assert list(running)
    stats = running.stats()["camera"]
    assert stats.captured == 200
    assert stats.dropped > 50
    assert stats.inspected + stats.dropped == 200


def test_dropped_frames_are_told_with_the_next_result():
    dropped, sequences = 0, []
    for result in stream(FakeDetector(takes_s=0.02), FakeCamera([frames(100)])):
        dropped += result.dropped
        sequences.append(result.frame.sequence)
    assert sequences == sorted(set(sequences))
    assert sequences[-1] == 99
    assert dropped + len(sequences) == 100


def test_several_cameras_take_turns_and_a_fast_one_starves_none():
    fast = FakeCamera([frames(5000)], period_s=0.0002)
    slow = FakeCamera([frames(5000)], period_s=0.012)
    shared = FakeDetector(takes_s=0.004)
    cameras = [Camera("fast", shared, fast), Camera("slow", shared, slow)]
    counts = {"fast": 0, "slow": 0}
    running = Stream(cameras)
    for result in running:
        counts[result.camera] += 1
        if sum(counts.values()) == 120:
            break
    assert counts["slow"] >= 25, counts


def test_late_frames_are_counted():
    results = list(stream(FakeDetector(takes_s=0.03), frames(3), budget_ms=10))
    assert all(result.late and result.latency_ms >= 30 for result in results)
    assert not any(result.late for result in stream(FakeDetector(), frames(3), budget_ms=5000))


def test_breaking_off_closes_events_and_ends_the_threads():
    heard = Recorder()
    before = threading.active_count()
    for result in stream(FakeDetector(), FakeCamera([frames(5000, score=0.9)]), listeners=[heard]):
        if result.frame.sequence > 3:
            break
    assert heard.heard("event")[0] == ("", "opened")
    assert heard.heard("event")[-1] == ("", "closed")
    assert heard.messages[-1].body["reason"] == "stopped"
    wait_until(lambda: threading.active_count() <= before)


def test_stop_from_another_thread_ends_it_though_no_frame_comes():
    silent = FakeCamera([[lambda: time.sleep(30)]])
    running = stream(FakeDetector(), silent)
    threading.Timer(0.2, running.stop).start()
    began = time.monotonic()
    assert list(running) == []
    assert time.monotonic() - began < 5


def test_the_end_of_one_camera_is_not_the_end_of_the_others_and_a_failure_is_told_at_the_end():
    cameras = [
        Camera("a", FakeDetector(), Frames(frames(3))),
        Camera("b", FakeDetector(), FakeCamera([SourceError("b is broken", "Mend it.")])),
        Camera("c", FakeDetector(), Frames(frames(9))),
    ]
    heard = Recorder()
    with pytest.raises(SourceError, match="b is broken"):
        list(Stream(cameras, listeners=[heard]))
    assert Counter(result.camera for result in heard.results) == {"a": 3, "c": 9}
    assert ("source failed", "opened") in heard.heard("trouble")


def test_zones_have_events_of_their_own_and_areas_too_small_do_not_count():
    corner = ((0.0, 0.0), (0.3, 0.0), (0.3, 0.3), (0.0, 0.3))
    elsewhere = ((0.6, 0.6), (1.0, 0.6), (1.0, 1.0), (0.6, 1.0))
    zones = [Zone("hole", corner), Zone("rim", elsewhere), Zone("big", corner, min_area_px=17)]
    heard = Recorder()
    scores = [0.1, 0.9, 0.9, 0.1]
    list(stream(FakeDetector(), [frame_scoring(s) for s in scores], zones=zones, listeners=[heard]))
    assert heard.heard("event") == [("hole", "opened"), ("hole", "closed")]
    assert heard.messages[0].body["score"] == pytest.approx(0.9)


def test_zones_are_judged_by_the_setting_that_answered():
    """A faster one with half the distances of the full one, whose pixel threshold is 0.5."""

    class Faster(FakeDetector):
        def __call__(self, frame):
            return replace(super().__call__(frame), degraded=("with less",), pixel_threshold=0.25)

    corner = ((0.0, 0.0), (0.3, 0.0), (0.3, 0.3), (0.0, 0.3))
    zones = [Zone("as calibrated", corner), Zone("given", corner, threshold=0.8)]
    heard = Recorder()
    list(stream(Faster(), [frame_scoring(0.3), frame_scoring(0.45)], zones=zones, listeners=[heard]))
    opened = {m.body["zone"]: m.body for m in heard.messages if m.state == "opened"}
    assert {zone: body["threshold"] for zone, body in opened.items()} == {"as calibrated": 0.25, "given": 0.4}


def test_a_trigger_takes_the_frame_after_it_and_labels_it():
    trigger = Trigger()
    camera = FakeCamera([frames(2000)], period_s=0.002)
    running = stream(FakeDetector(), camera, trigger=trigger)
    names = []

    def fire():
        for label in ("part-1", "part-2", "part-3"):
            time.sleep(0.05)
            trigger.fire(label)

    threading.Thread(target=fire, daemon=True).start()
    for result in running:
        names.append(result.frame.name)
        if len(names) == 3:
            break
    assert names == ["part-1", "part-2", "part-3"]
    assert running.stats()["camera"].skipped > 20


def test_triggers_that_come_faster_than_frames_are_missed_aloud():
    trigger = Trigger()
    for _ in range(40):
        trigger.fire()
    heard = Recorder()
    running = stream(
        FakeDetector(takes_s=0.05), FakeCamera([frames(400)]), trigger=trigger, listeners=[heard]
    )
    for _ in running:
        if heard.heard("trouble"):
            break
    assert trigger.missed == 24
    assert ("triggers missed", "opened") in heard.heard("trouble")


def test_a_missed_trigger_is_no_trouble_for_ever(monkeypatch):
    """It would never be ready again, for one part in a month."""
    monkeypatch.setattr(capture, "_MISSED_TOLD_S", 0.2)
    trigger = Trigger()
    for _ in range(17):
        trigger.fire()
    camera = FakeCamera([frames(100_000)])
    running = stream(FakeDetector(), camera, trigger=trigger)
    looping = threading.Thread(target=lambda: list(running), daemon=True)
    looping.start()
    seen = []
    wait_until(lambda: seen.append(running.stats()["camera"].troubles) or seen[-1])
    assert "1 part came faster than frames" in seen[-1]["triggers missed"]
    wait_until(lambda: not running.stats()["camera"].troubles)
    assert running.stats()["camera"].triggers_missed == 1
    running.stop()
    looping.join(10)


def test_crop_and_frame_rate_limit():
    frame = np.arange(40 * 60 * 3, dtype=np.uint8).reshape(40, 60, 3)
    settings = CaptureSettings(crop=(10, 5, 32, 20), max_fps=50)
    began = time.monotonic()
    results = list(stream(FakeDetector(), [frame] * 6, capture=settings))
    assert time.monotonic() - began >= 0.09  # a file waits for its turn instead of being skipped
    assert len(results) == 6
    np.testing.assert_array_equal(results[0].frame.image, frame[5:25, 10:42])


def test_a_live_source_above_the_frame_rate_is_thinned():
    running = stream(FakeDetector(), FakeCamera([frames(100)]), capture=CaptureSettings(max_fps=20))
    seen = list(running)
    stats = running.stats()["camera"]
    assert len(seen) < 40
    assert stats.skipped >= 50
    assert stats.captured == stats.inspected + stats.skipped + stats.dropped


@pytest.mark.parametrize(
    "make",
    [
        lambda: Stream([]),
        lambda: Stream([Camera("a", FakeDetector(), Frames([]))] * 2),
        lambda: Camera("a/b", FakeDetector(), Frames([])),
        lambda: Camera("..", FakeDetector(), Frames([])),
        lambda: Camera("a" * 101, FakeDetector(), Frames([])),
        lambda: Zone("top/left", ((0.1, 0.1), (0.2, 0.1), (0.5, 0.5))),
        lambda: Zone("", ((0.1, 0.1), (0.2, 0.1), (0.5, 0.5))),
        lambda: Camera("a", FakeDetector(), Frames([]), budget_ms=0),
        lambda: CaptureSettings(crop=(0, 0, 0, 5)),
        lambda: CaptureSettings(max_fps=0),
        lambda: Rules(hits=3, window=2),
        lambda: Rules(close_ratio=1.5),
        lambda: Zone("z", ((0.1, 0.1), (2.0, 0.1), (0.5, 0.5))),
    ],
)
def test_settings_that_make_no_sense_are_refused(make):
    with pytest.raises(ConfigError):
        make()


def test_a_listener_that_raises_does_not_stop_the_loop():
    class Broken(Recorder):
        def on_result(self, result):
            raise RuntimeError("no")

    running = stream(FakeDetector(), frames(5), listeners=[Broken()])
    assert len(list(running)) == 5
    assert running.listener_failures == 5


def test_a_second_iteration_is_refused():
    running = stream(FakeDetector(), frames(2))
    list(running)
    with pytest.raises(StreamStoppedError, match="twice"):
        iter(running)


def test_an_iterable_that_raises_is_no_good_end():
    def broken():
        yield frame_scoring(0.1)
        raise ValueError("the driver says no")

    seen = []
    with pytest.raises(SourceError, match="driver says no"):
        seen.extend(stream(FakeDetector(), broken()))
    assert len(seen) <= 1


def test_what_is_no_frame_is_not_inspected_and_not_good():
    given = [frame_scoring(0.1), np.zeros((40, 40), np.uint8), frame_scoring(0.1)]
    results = list(stream(FakeDetector(), given))
    assert [result.is_good for result in results] == [True, False, True]
    assert isinstance(results[1].failure, PictureError)
    assert not results[1].is_anomaly
    assert np.isnan(results[1].score)


def test_a_scene_at_rest_is_inspected_once_and_the_rest_is_counted(detector, good_frames):
    frames = [*[good_frames[0]] * 5, *[good_frames[1]] * 3]
    running = stream(detector, FakeCamera([frames], period_s=0.05), skip_unchanged=2.0)
    results = [result.result for result in running]
    stats = running.stats()["camera"]
    assert stats.repeated == sum(result.repeated for result in results) > 0
    assert stats.repeated <= len(results) - 2
    assert {round(result.score, 6) for result in results} == {
        round(detector(frame).score, 6) for frame in good_frames[:2]
    }


def test_parts_that_are_alike_are_never_passed_over_for_one_at_rest(detector, tmp_path):
    with pytest.raises(ConfigError, match="whose every frame is another part"):
        stream(detector, f"watch:{tmp_path}", skip_unchanged=2.0)
    with pytest.raises(ConfigError, match="whose every frame is another part"):
        stream(detector, FakeCamera([[]]), trigger=Trigger(), skip_unchanged=2.0)
