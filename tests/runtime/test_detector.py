"""The detector as its user has it: enrol, inspect, learn, keep."""

import dataclasses
import pickle
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from edgead_runtime import Detector, Encoder, Picture
from edgead_runtime.anomaly_map import make_map
from edgead_runtime.bank import normalize
from edgead_runtime.errors import (
    EdgeadError,
    EngineUnavailableError,
    EnrollmentError,
    FrameSizeError,
    PictureError,
    RecipeError,
)
from edgead_runtime.views import rotate

MASKED = {"mask": "on", "mask_threshold": 0.5}


# Finding


def test_a_picture_in_the_bank_scores_nothing(detector, good_frames):
    for frame in good_frames[:4]:
        result = detector(frame)
        assert result.score == pytest.approx(0, abs=1e-6)
        assert not result.is_anomaly
        assert result.regions == ()


def test_a_new_good_part_scores_far_below_a_defective_one(detector, good_frames, defective):
    good = max(detector(frame).score for frame in good_frames[4:])
    assert detector(defective.frame).score > 10 * good


def test_the_defect_is_found_where_it_is(detector, defective):
    result = detector(defective.frame)
    assert result.is_anomaly
    region = result.regions[0]
    assert region.peak == pytest.approx(result.map.max())
    left, top = max(region.x, defective.x), max(region.y, defective.y)
    right = min(region.x + region.width, defective.x + defective.width)
    bottom = min(region.y + region.height, defective.y + defective.height)
    assert (right - left) * (bottom - top) > 0.6 * defective.width * defective.height
    row, column = np.unravel_index(result.map.argmax(), result.map.shape)
    assert defective.y <= row < defective.y + defective.height
    assert defective.x <= column < defective.x + defective.width


def test_a_result_in_numbers(detector, defective, mini_encoder):
    """Search, score and shape worked out again from the encoder's tokens."""
    result = detector(defective.frame)
    tokens = normalize(mini_encoder.encode(defective.frame).tokens).astype(np.float64)
    bank = np.concatenate([reference.tokens[0] for reference in detector.references]).astype(np.float64)
    distances = 1 - (tokens @ bank.T).max(axis=1)
    assert result.patch_distances.ravel() == pytest.approx(distances, abs=1e-6)
    assert result.score == pytest.approx(distances.max(), abs=1e-6)  # 1 % of 64 patches is less than one
    assert result.map.shape == (160, 160)
    assert result.mask is None
    assert result.degraded == ()
    assert not result.provenance.official_weights
    assert result.provenance.engine == "onnxruntime/cpu"


def test_masked_patches_do_not_count(mini_encoder, good_frames, defective, quick):
    masked = Detector.enroll(mini_encoder, good_frames[:3], recipe=quick.with_(**MASKED))
    assert masked.mask.enabled
    assert masked.mask.threshold == 0.5
    assert masked.references[0].mask.any()
    frame = defective.frame.copy()
    frame[:20, :20] = (10, 60, 10)  # a leaf in the background
    plain = Detector.enroll(mini_encoder, good_frames[:3], recipe=quick)
    result, unmasked = masked(frame), plain(frame)
    assert not result.mask[0, 0]
    assert (result.patch_distances[~result.mask] == 0).all()
    assert np.array_equal(result.patch_distances[result.mask], unmasked.patch_distances[result.mask])
    assert unmasked.patch_distances[0, 0] > 10 * plain(defective.frame).patch_distances[0, 0]


def test_rotations_are_in_the_bank(mini_encoder, good_frames, quick):
    recipe = quick.with_(rotations_deg=[0, 90, 180, 270])
    detector = Detector.enroll(mini_encoder, good_frames[:1], recipe=recipe)
    plain = Detector.enroll(mini_encoder, good_frames[:1], recipe=quick)
    turned = rotate(good_frames[0], 90)
    assert detector.references[0].tokens[0].shape == (4 * 64, 16)
    assert detector(turned).score == pytest.approx(0, abs=1e-6)
    assert plain(turned).score > 1e-3


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_rotating_is_about_the_centre_of_opencvs_pixels(turns):
    """(w/2, h/2) is half a pixel off the picture's centre, as in the release: one row is reflected in."""
    frame = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    turned = rotate(frame, 90 * turns)
    shift = {1: (1, 0), 2: (1, 1), 3: (0, 1)}[turns]
    expected = np.roll(np.rot90(frame, turns), shift, axis=(0, 1))
    assert np.array_equal(turned[2:-2, 2:-2], expected[2:-2, 2:-2])
    assert rotate(frame, 0) is frame


def test_layers_are_chosen_by_the_recipe(two_layer_bundle, good_frames, quick):
    with Encoder.load(two_layer_bundle, threads=1) as encoder:
        deepest = Detector.enroll(encoder, good_frames[:2], recipe=quick)
        first = Detector.enroll(encoder, good_frames[:2], recipe=quick.with_(layers=[1]))
        assert (deepest.layers, first.layers) == ((2,), (1,))
        assert deepest.references[0].tokens[0].shape == (64, 12)
        assert first.references[0].tokens[0].shape == (64, 16)
        with pytest.raises(RecipeError, match="no layer 3"):
            Detector.enroll(encoder, good_frames[:2], recipe=quick.with_(layers=[3]))


# Masking, decided at enrolment


def test_auto_masks_an_object_and_says_so(mini_encoder, good_frames, quick):
    detector = Detector.enroll(mini_encoder, good_frames[:2], recipe=quick.with_(mask="auto"))
    assert detector.mask.enabled
    assert detector.mask.requested == "auto"
    assert detector.mask.reason.startswith("masked: one object")
    mask = detector.references[0].mask
    assert mask[3:5, 3:5].all()
    assert not mask[[0, 0, -1, -1], [0, -1, 0, -1]].any()


def test_auto_does_not_mask_a_texture_and_says_why(mini_encoder, quick):
    random = np.random.default_rng(0)
    cloth = [random.integers(0, 256, (160, 160, 3), dtype=np.uint8) for _ in range(2)]
    detector = Detector.enroll(mini_encoder, cloth, recipe=quick.with_(mask="auto"))
    assert not detector.mask.enabled
    assert detector.mask.reason.startswith("not masked: in reference ")
    assert detector.mask.threshold is None
    assert detector.references[0].mask is None
    assert detector(cloth[0]).mask is None


def test_the_encoders_own_mask_threshold_is_used(build_bundle, good_frames, quick, tmp_path):
    folder = build_bundle(tmp_path / "encoder", pca_mask_threshold=1.25)
    with Detector.enroll(folder, good_frames[:1], recipe=quick.with_(mask="on")) as detector:
        assert detector.mask.threshold == 1.25
    with Detector.enroll(
        folder, good_frames[:1], recipe=quick.with_(mask="on", mask_threshold=2)
    ) as detector:
        assert detector.mask.threshold == 2


# Learning


def test_add_good_is_known_at_once_and_undo_takes_it_back(detector, defective, good_frames):
    frames = [defective.frame, good_frames[5]]
    before = [detector(frame).patch_distances for frame in frames]
    threshold = detector.threshold
    name = detector.add_good(defective.frame)
    assert detector(defective.frame).score == pytest.approx(0, abs=1e-6)
    assert detector.threshold == threshold
    assert [reference.picture.name for reference in detector.references][-1] == name
    assert detector.undo() == name
    for frame, distances in zip(frames, before, strict=True):
        assert detector(frame).patch_distances.tobytes() == distances.tobytes()


def test_what_was_added_is_kept_and_can_be_undone_later(detector, mini_encoder, part, tmp_path):
    detector.add_good(part(20), name="first")
    detector.add_good(Picture("second.png", part(21)))
    expected = detector(part(21)).score
    detector.save(tmp_path / "a.edgead")
    with Detector.load(tmp_path / "a.edgead", encoder=mini_encoder) as loaded:
        assert loaded(part(21)).score == expected
        assert loaded.undo() == "second.png"
        loaded.save(tmp_path / "b.edgead")
    with Detector.load(tmp_path / "b.edgead", encoder=mini_encoder) as loaded:
        assert loaded.undo() == "first"
        with pytest.raises(EnrollmentError, match="nothing was added"):
            loaded.undo()
        assert len(loaded.references) == 4


def test_one_of_many_can_be_undone_by_its_name(detector, part):
    frames = {name: part(number) for number, name in enumerate(("first", "second", "third"), start=30)}
    for name, frame in frames.items():
        detector.add_good(frame, name)
    assert detector.undo("second") == "second"
    known = {name: detector(frame).score < 1e-6 for name, frame in frames.items()}
    assert known == {"first": True, "second": False, "third": True}
    with pytest.raises(EnrollmentError, match="nothing of the name second was added"):
        detector.undo("second")
    with pytest.raises(EnrollmentError, match="nothing of the name reference-000"):
        detector.undo("reference-000")  # of enrolment
    assert [detector.undo(), detector.undo()] == ["third", "first"]


def test_a_bank_may_have_a_limit(detector, part):
    detector.bank_limit = detector.rows + 64
    detector.add_good(part(30))
    state = detector.state
    with pytest.raises(EnrollmentError, match="the bank is full"):
        detector.add_good(part(31))
    assert detector.state is state


def test_nothing_to_undo(detector):
    with pytest.raises(EnrollmentError, match="nothing was added since enrolment"):
        detector.undo()
    assert len(detector.references) == 4


def test_the_order_is_that_of_enrolment_then_of_adding(mini_encoder, part, quick):
    good = [Picture(f"{name}.png", part(i)) for i, name in enumerate("cab")]
    detector = Detector.enroll(mini_encoder, [*good, part(7)], recipe=quick)
    names = [detector.add_good(part(8)), detector.add_good(part(9), name="x"), detector.add_good(part(10))]
    assert len(set(names)) == 3
    found = [reference.picture.name for reference in detector.references]
    assert found == ["c.png", "a.png", "b.png", "reference-003", *names]
    assert [reference.added for reference in detector.references] == ["enrollment"] * 4 + ["add_good"] * 3


def test_a_reused_camera_buffer_does_not_change_the_bank(mini_encoder, part, quick):
    buffer = part(0)
    detector = Detector.enroll(mini_encoder, [buffer, part(1)], recipe=quick)
    buffer[:] = part(2)
    detector.add_good(buffer)
    buffer[:] = 0
    assert np.array_equal(detector.references[0].picture.frame, part(0))
    assert np.array_equal(detector.references[2].picture.frame, part(2))


def test_recalibrate_uses_what_was_added(detector, defective):
    before = detector.calibration
    detector.add_good(defective.frame)
    assert detector.calibration == before
    after = detector.recalibrate()
    assert after == detector.calibration
    assert after.pictures == 5
    assert after.threshold > before.threshold


def test_calls_see_one_bank_or_the_other_while_it_changes(detector, defective):
    """Eight threads inspect while another adds and takes back: never anything in between."""
    frame = defective.frame
    without = detector(frame).patch_distances.tobytes()
    detector.add_good(frame, name="it")
    with_it = detector(frame).patch_distances.tobytes()
    detector.undo()
    stop = threading.Event()

    def inspect():
        seen = []
        while not stop.is_set():
            seen.append(detector(frame).patch_distances.tobytes())
        return seen

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(inspect) for _ in range(8)]
        try:
            for _ in range(60):
                detector.add_good(frame, name="it")
                time.sleep(0.003)
                assert detector.undo() == "it"
                time.sleep(0.003)
        finally:
            stop.set()
        seen = {value for future in futures for value in future.result()}
    assert seen == {without, with_it}
    assert len(detector.references) == 4


def test_two_threads_that_add_lose_nothing(detector, part):
    with ThreadPoolExecutor(8) as pool:
        names = list(
            pool.map(lambda number: detector.add_good(part(number), name=str(number)), range(40, 64))
        )
    assert sorted(reference.picture.name for reference in detector.references[4:]) == sorted(names)
    assert sorted(detector.undo() for _ in names) == sorted(names)


# Frames


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((160, 160, 3), np.float32),
        np.zeros((160, 160, 3), np.uint16),
        np.zeros((160, 160), np.uint8),
        np.zeros((160, 160, 4), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        None,
        "part.png",
    ],
)
def test_what_is_no_frame_is_refused_everywhere(detector, mini_encoder, quick, good_frames, frame):
    for call in (
        detector,
        detector.add_good,
        lambda wrong: detector.recalibrate([wrong]),
        lambda wrong: Detector.enroll(mini_encoder, [wrong], recipe=quick),
        lambda wrong: Detector.enroll(mini_encoder, good_frames, recipe=quick, calibration_good=[wrong]),
    ):
        with pytest.raises(PictureError):
            call(frame)
    assert len(detector.references) == 4


def test_a_frame_of_another_size(detector, part):
    wide = np.hstack([part(0), part(1)])
    for call in (detector, detector.add_good):
        with pytest.raises(
            FrameSizeError, match="320 x 160 pixels, the good pictures are 160 x 160"
        ) as caught:
            call(wide)
        assert "any_size=True" in caught.value.remedy
    detector.any_size = True
    result = detector(wide)
    assert result.map.shape == (160, 320)
    detector.add_good(wide)
    assert detector(wide).score == pytest.approx(0, abs=1e-6)


def test_any_size_when_loading(detector, mini_encoder, part, tmp_path):
    detector.save(tmp_path / "part.edgead")
    with Detector.load(tmp_path / "part.edgead", encoder=mini_encoder, any_size=True) as loaded:
        assert loaded(part(0)[:100]).map.shape == (100, 160)


def test_references_of_mixed_sizes_accept_any(mini_encoder, part, quick):
    detector = Detector.enroll(mini_encoder, [part(0), part(1)[:120]], recipe=quick)
    detector(part(2)[:, :90])
    assert any("2 different sizes" in note for note in detector.notes)


# Thresholds


def test_leave_one_out(detector, mini_encoder, good_frames, quick):
    calibration = detector.calibration
    expected = []
    for index, frame in enumerate(good_frames[:4]):
        others = [other for place, other in enumerate(good_frames[:4]) if place != index]
        expected.append(Detector.enroll(mini_encoder, others, recipe=quick)(frame).score)
    assert calibration.method == "leave-one-out"
    assert calibration.normal_scores == pytest.approx(expected, rel=1e-5)
    assert calibration.threshold == max(calibration.normal_scores)
    assert calibration.false_alarm_rate == calibration.attainable_false_alarm_rate == pytest.approx(0.2)


def test_leave_one_out_with_mask_and_rotations(mini_encoder, good_frames, quick):
    recipe = quick.with_(rotations_deg=[0, 45], **MASKED)
    detector = Detector.enroll(mini_encoder, good_frames[:3], recipe=recipe)
    alone = Detector.enroll(mini_encoder, good_frames[1:3], recipe=recipe)(good_frames[0])
    assert detector.calibration.normal_scores[0] == pytest.approx(alone.score, rel=1e-4)


def test_held_out(mini_encoder, good_frames, quick):
    detector = Detector.enroll(
        mini_encoder, good_frames[:2], recipe=quick, calibration_good=good_frames[2:], false_alarm_rate=0.5
    )
    scores = [detector(frame).score for frame in good_frames[2:]]
    calibration = detector.calibration
    assert calibration.method == "held-out"
    assert calibration.normal_scores == scores
    assert calibration.threshold == sorted(scores)[2]  # two of four may lie on it or above: 2 of 5 are 40 %
    assert calibration.false_alarm_rate == pytest.approx(0.4)
    assert len(detector.references) == 2
    assert sum(detector(frame).is_anomaly for frame in good_frames[2:]) == 1
    peaks = sorted(detector(frame).map.max() for frame in good_frames[2:])
    assert calibration.pixel_threshold == pytest.approx(peaks[2])


def test_a_rate_that_so_few_cannot_support(mini_encoder, good_frames, quick, detector):
    with pytest.raises(EnrollmentError, match=r"4 good pictures cannot support .* 1\.00%") as caught:
        Detector.enroll(mini_encoder, good_frames[:4], recipe=quick, false_alarm_rate=0.01)
    assert "at least 99 good pictures" in caught.value.remedy
    with pytest.raises(EnrollmentError):
        detector.recalibrate(false_alarm_rate=0.01)


def test_one_picture_gives_a_labelled_guess(mini_encoder, good_frames, quick):
    detector = Detector.enroll(mini_encoder, good_frames[:1], recipe=quick)
    assert detector.calibration.method == "self-similarity"
    assert detector.calibration.false_alarm_rate is None
    assert 0 < detector.threshold < 2
    with pytest.raises(EnrollmentError, match="one good picture"):
        Detector.enroll(mini_encoder, good_frames[:1], recipe=quick, false_alarm_rate=0.5)


def test_a_threshold_set_by_hand(detector, mini_encoder, good_frames, quick, tmp_path):
    pixel_threshold = detector.calibration.pixel_threshold
    detector.set_threshold(0.75)
    assert detector.threshold == detector(good_frames[0]).threshold == 0.75
    assert detector.calibration.method == "manual"
    assert detector.calibration.false_alarm_rate is None
    assert detector.calibration.pixel_threshold == pixel_threshold
    detector.save(tmp_path / "part.edgead")
    assert Detector.load(tmp_path / "part.edgead", encoder=mini_encoder).threshold == 0.75
    enrolled = Detector.enroll(mini_encoder, good_frames[:4], recipe=quick, threshold=0.5)
    assert (enrolled.threshold, enrolled.calibration.method) == (0.5, "manual")
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(EnrollmentError, match="makes no sense"):
            detector.set_threshold(wrong)
    assert detector.threshold == 0.75


def test_a_score_on_the_threshold_is_no_anomaly(detector, good_frames):
    score = detector(good_frames[5]).score
    detector.set_threshold(score)
    assert not detector(good_frames[5]).is_anomaly
    detector.set_threshold(np.nextafter(score, 0))
    assert detector(good_frames[5]).is_anomaly


def test_an_anomaly_always_shows_where(detector, good_frames):
    detector.set_threshold(0.0)
    result = detector(good_frames[5])
    assert result.is_anomaly
    assert len(result.regions) >= 1


def test_no_pictures(mini_encoder):
    with pytest.raises(EnrollmentError, match="no good pictures"):
        Detector.enroll(mini_encoder, [])


def test_progress_is_told(mini_encoder, good_frames):
    told = []
    Detector.enroll(mini_encoder, good_frames[:2], progress=lambda *step: told.append(step))
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    assert stages == ["encode", "bank", "calibrate"]
    for stage in stages:
        assert [step[1:] for step in told if step[0] == stage] == [(0, 2), (1, 2), (2, 2)]


# Notes


def test_notes_on_squeezing_and_cropping(mini_encoder, build_bundle, quick, tmp_path):
    random = np.random.default_rng(0)
    wide = random.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    squeezed = Detector.enroll(mini_encoder, [wide], recipe=quick)
    assert any("160 x 120 are squeezed" in note and "--res 112x140" in note for note in squeezed.notes)
    folder = build_bundle(tmp_path / "wide", height=112, width=140)
    with Detector.enroll(folder, [wide], recipe=quick) as cropped:
        (note,) = cropped.notes
        assert "the last 10 pixels at the right are not inspected" in note  # 9 of 149, in the frame's pixels
        assert "--fit stretch" in note
    with Detector.enroll(folder, [wide[:, :150]], recipe=quick) as exact:
        assert exact.notes == ()


def test_notes_on_layers_for_nothing(two_layer_bundle, good_frames, quick):
    with Detector.enroll(two_layer_bundle, good_frames[:2], recipe=quick) as detector:
        assert any("layers 1, 2" in note for note in detector.notes)


def test_no_news_is_no_notes(detector):
    assert detector.notes == ()


# Results


def test_timings(detector, mini_encoder, good_frames, quick):
    result = detector(good_frames[0])
    assert set(result.timings_ms) == {"preprocess", "encode", "search", "score"}
    _ = result.map
    assert set(result.timings_ms) == {"preprocess", "encode", "search", "score", "map"}
    assert all(value >= 0 for value in result.timings_ms.values())
    masked = Detector.enroll(mini_encoder, good_frames[:2], recipe=quick.with_(**MASKED))
    assert "mask" in masked(good_frames[0]).timings_ms


def test_the_map_is_made_when_asked_for_and_once(detector, good_frames, monkeypatch):
    made = []
    genuine = make_map

    def counting(*arguments, **options):
        made.append(arguments)
        return genuine(*arguments, **options)

    monkeypatch.setattr("edgead_runtime.pipeline.make_map", counting)
    result = detector(good_frames[0])
    _ = result.score, result.is_anomaly, result.patch_distances, result.timings_ms, repr(result)
    assert made == []
    assert result.map is result.map
    assert result.regions is result.regions
    assert len(made) == 1


def test_a_result_cannot_be_changed(detector, defective):
    result = detector(defective.frame)
    for field in ("score", "threshold", "patch_distances", "provenance"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(result, field, None)
    with pytest.raises(AttributeError):
        result.is_anomaly = False
    with pytest.raises(ValueError, match="read-only"):
        result.patch_distances[0, 0] = 7
    result.timings_ms["score"] = -1
    assert result.timings_ms["score"] >= 0


def test_a_result_outlives_its_frame(detector, defective):
    frame = defective.frame.copy()
    expected = detector(frame).map
    result = detector(frame)
    frame[:] = 0
    assert np.array_equal(result.map, expected)


def test_the_same_frame_gives_the_same_bits(detector, defective):
    one, other = detector(defective.frame), detector(defective.frame.copy())
    assert one.score == other.score
    assert one.map.tobytes() == other.map.tobytes()


# Whose encoder


def test_a_shared_encoder_outlives_its_detectors(mini_encoder, good_frames, quick):
    with Detector.enroll(mini_encoder, good_frames[:2], recipe=quick):
        pass
    mini_encoder.encode(good_frames[0])


def test_an_encoder_of_its_own_is_closed(mini_bundle, good_frames, quick, monkeypatch):
    closed = []
    genuine = Encoder.close
    monkeypatch.setattr(Encoder, "close", lambda self: (closed.append(self), genuine(self)))
    with Detector.enroll(mini_bundle, good_frames[:2], recipe=quick) as detector:
        assert closed == []
    assert closed == [detector.encoder]


def test_a_threshold_that_makes_no_sense_is_refused_before_any_work(good_frames, quick):
    with pytest.raises(EnrollmentError, match="nan"):
        Detector.enroll("no such encoder", good_frames, recipe=quick, threshold=float("nan"))


def test_a_closed_detector_says_so(mini_bundle, good_frames, quick):
    detector = Detector.enroll(mini_bundle, good_frames, recipe=quick)
    detector.close()
    with pytest.raises(EngineUnavailableError, match="closed"):
        detector(good_frames[0])


def test_the_right_encoder_beside_the_file_wins_over_a_new_one_at_the_old_place(
    build_bundle, good_frames, quick, tmp_path
):
    old = build_bundle(tmp_path / "line" / "encoder", seed=1)
    with Detector.enroll(old, good_frames, recipe=quick) as detector:
        fingerprint = detector.encoder.fingerprint
        moved = tmp_path / "device" / "part.edgead"
        moved.parent.mkdir()
        detector.save(moved)
    shutil.copytree(old, moved.parent / "encoder")
    shutil.rmtree(old)
    build_bundle(old, seed=2)
    with Detector.load(moved) as loaded:
        assert loaded.encoder.fingerprint == fingerprint


def test_the_same_picture_twice_is_refused(mini_encoder, good_frames, quick):
    """It would score 0 against its copy, and the threshold with it."""
    copied = Picture("copy.png", good_frames[0].copy())
    with pytest.raises(EnrollmentError, match=r"reference-000 and copy\.png are the same picture"):
        Detector.enroll(mini_encoder, [*good_frames[:3], copied], recipe=quick)
    with pytest.raises(EnrollmentError, match="the same picture"):
        Detector.enroll(mini_encoder, good_frames[:3], calibration_good=good_frames[2:5], recipe=quick)


def test_what_is_in_the_bank_is_not_added_again(detector, good_frames, part):
    with pytest.raises(EnrollmentError, match="the same picture"):
        detector.add_good(good_frames[0])
    with pytest.raises(EnrollmentError, match="the same picture"):
        detector.recalibrate([part(50), good_frames[1]])
    assert [detector.add_good(part(number), name="new") for number in (51, 52)] == ["new", "new (2)"]


def test_pictures_that_are_all_but_copies_make_no_threshold(mini_encoder, good_frames, quick):
    burst = [good_frames[0].copy() for _ in range(3)]
    for number, frame in enumerate(burst):
        frame[0, 0] = number  # one pixel of sensor noise
    with pytest.raises(EnrollmentError, match="all but copies"):
        Detector.enroll(mini_encoder, burst, recipe=quick)


@pytest.mark.parametrize(("count", "rate"), [(1, 0.5), (4, 0.01), (4, 5.0)])
def test_a_rate_is_refused_before_any_work(good_frames, quick, count, rate):
    with pytest.raises(EnrollmentError, match="false-alarm rate"):
        Detector.enroll("no such encoder", good_frames[:count], recipe=quick, false_alarm_rate=rate)


def test_a_defect_is_found_where_it_is_in_a_frame_that_is_cropped(build_bundle, quick, tmp_path):
    """The map lies over what was inspected; nothing is painted on the strip that was cut off."""
    bundle = build_bundle(tmp_path / "wide", height=112, width=168)
    rng = np.random.default_rng(3)
    good = [
        np.kron(rng.integers(90, 110, (48, 75, 3)), np.ones((10, 10, 1))).astype(np.uint8) for _ in range(3)
    ]
    bad = good[0].copy()
    bad[200:260, 560:620] = 255  # near the right, where stretching shifts most
    with Detector.enroll(bundle, good, recipe=quick.with_(smoothing_sigma_px=0)) as detector:
        plan = detector.encoder.preprocessor.plan((480, 750))
        assert plan.uninspected_px((480, 750)) == (0, 30)
        anomaly_map = detector(bad).map
        row, column = np.unravel_index(anomaly_map.argmax(), anomaly_map.shape)
        assert 200 - 60 <= row <= 260 + 60
        assert 560 - 15 <= column <= 620 + 15
        assert not anomaly_map[:, 720:].any()
        assert anomaly_map[:, :720].any()


def test_a_detector_goes_to_another_process_by_its_path(detector, mini_bundle, part, defective, tmp_path):
    path = tmp_path / "part.edgead"
    with pytest.raises(EdgeadError, match="as it was loaded"):
        pickle.dumps(detector)
    detector.save(path)
    with Detector.load(path, threads=1) as loaded:
        sent = pickle.dumps(loaded)
        assert len(sent) < 2000
        with pickle.loads(sent) as received:
            assert received(defective.frame).score == loaded(defective.frame).score
        loaded.add_good(part(60))
        with pytest.raises(EdgeadError, match="as it was loaded"):
            pickle.dumps(loaded)


def test_loading_decodes_no_picture(detector, mini_encoder, tmp_path, monkeypatch):
    path = tmp_path / "part.edgead"
    detector.save(path)
    monkeypatch.setattr("edgead_runtime.images.decode_picture", None)
    assert len(Detector.load(path, encoder=mini_encoder).references) == len(detector.references)


def test_a_map_cannot_be_changed_under_its_regions(detector, defective):
    with pytest.raises(ValueError, match="read-only"):
        detector(defective.frame).map[0, 0] = 1


# Other recipes


def test_a_defect_that_one_odd_reference_has_is_not_excused(mini_encoder, good_frames, defective, quick):
    """The nearest patch of the whole bank is the odd reference's own; the worst references do not know it."""
    good = [*good_frames[:3], defective.frame]
    again = np.roll(defective.frame, 1, axis=0)
    nearest, worst = (
        Detector.enroll(mini_encoder, good, recipe=quick.with_(reduction=reduction))(again).score
        for reduction in ("nearest", "worst-references")
    )
    assert worst > 2 * nearest


def test_worst_references_with_one_of_each(mini_encoder, good_frames, defective, quick):
    recipe = quick.with_(reduction="worst-references", worst_share=0.5)
    detector = Detector.enroll(mini_encoder, good_frames[:3], recipe=recipe)
    tokens = normalize(mini_encoder.encode(defective.frame).tokens).astype(np.float64)
    each = np.stack([1 - (tokens @ reference.tokens[0].T).max(axis=1) for reference in detector.references])
    expected = np.sort(each, axis=0)[-2:].mean(axis=0)
    assert detector(defective.frame).patch_distances.ravel() == pytest.approx(expected, abs=2e-6)


def test_half_cosine_is_half_the_cosine(mini_encoder, good_frames, defective, quick):
    for count in (1, 3):
        whole, half = (
            Detector.enroll(mini_encoder, good_frames[:count], recipe=quick.with_(distance=distance))
            for distance in ("cosine", "half-cosine")
        )
        assert half.threshold == pytest.approx(whole.threshold / 2)
        assert half(defective.frame).score == pytest.approx(whole(defective.frame).score / 2)


def test_flips_are_in_the_bank(mini_encoder, good_frames, quick):
    frame = good_frames[0].copy()
    frame[:, :40] = 30  # not its own mirror image
    mirrored = np.ascontiguousarray(frame[:, ::-1])
    plain, flipped = (
        Detector.enroll(mini_encoder, [frame], recipe=quick.with_(flips=flips))
        for flips in ((), ("horizontal",))
    )
    assert flipped(mirrored).score == pytest.approx(0, abs=1e-5)
    assert plain(mirrored).score > 0.001
    assert flipped.references[0].tokens[0].shape == (2 * 64, 16)


def test_an_attention_mask_damps_what_is_outside(two_layer_bundle, good_frames, defective, quick, tmp_path):
    soft = {"mask": "on", "mask_from": "attention", "background_weight": 0.5, "mask_threshold": 0.5}
    with Encoder.load(two_layer_bundle, threads=1) as encoder:
        plain = Detector.enroll(encoder, good_frames[:3], recipe=quick)(defective.frame)
        detector = Detector.enroll(encoder, good_frames[:3], recipe=quick.with_(**soft))
        detector.save(tmp_path / "part.edgead")
        for found in (detector, Detector.load(tmp_path / "part.edgead", encoder=encoder)):
            result = found(defective.frame)
            assert 0 < result.mask.sum() < result.mask.size
            expected = np.where(result.mask, plain.patch_distances, plain.patch_distances / 2)
            assert result.patch_distances == pytest.approx(expected)


def test_attention_that_the_encoder_does_not_give(mini_encoder, good_frames, quick):
    recipe = quick.with_(mask="on", mask_from="attention")
    with pytest.raises(RecipeError, match="--attention"):
        Detector.enroll(mini_encoder, good_frames, recipe=recipe)
