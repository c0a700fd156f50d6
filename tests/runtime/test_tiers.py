"""Settings of one part: enrolled alike, stored together, learning together."""

import pickle
import shutil
import threading
import zipfile

import msgspec
import numpy as np
import pytest
from edgead_runtime import Detector, Encoder, get_recipe, siblings
from edgead_runtime.cascade import Band, CascadeDetector
from edgead_runtime.errors import (
    BundleError,
    EdgeadError,
    EncoderMismatchError,
    EnrollmentError,
    PictureError,
)
from edgead_runtime.images import as_pictures
from edgead_runtime.leading import store_tuning
from edgead_runtime.manifest import CascadeRecord, Measured, TierRecord, TunedOn
from edgead_runtime.siblings import enroll_like
from edgead_runtime.tiered import TieredDetector
from edgead_runtime.unchanged import UnchangedFrames
from paced import same_bank

PLAIN = {"engine": "onnxruntime", "precision": "fp32", "threads": 1}
SMALL_SIDE, SIDE = 70, 112


def measured(p99):
    return Measured(p50_ms=p99 / 2, p95_ms=p99, p99_ms=p99, map_rank=1, score_rank=1, same_verdict=1)


@pytest.fixture(scope="module")
def small_bundle(tmp_path_factory, build_bundle):
    return build_bundle(tmp_path_factory.mktemp("encoders") / "small", height=SMALL_SIDE, width=SMALL_SIDE)


@pytest.fixture(scope="module")
def small_encoder(small_bundle):
    with Encoder.load(small_bundle, threads=1) as encoder:
        yield encoder


@pytest.fixture
def full(mini_encoder, good_frames, quick):
    return Detector.enroll(mini_encoder, good_frames[:4], recipe=quick)


def tune(full, companion, path, **options):
    """Store a full setting and a small one, and save."""
    tiers = [
        TierRecord(name="full", options=PLAIN, measured=measured(40)),
        TierRecord(name="small", options=PLAIN, bank=0, measured=measured(10)),
    ]
    cascade = CascadeRecord(
        first=tiers[1], low=0.8, high=1.5, pictures=4, second_looks=0.2, tried=8, missed=0
    )
    store_tuning(full, [companion], budget_ms=20, tiers=tiers, chosen=1, cascade=cascade)
    full.save(path, **options)
    return path


@pytest.fixture
def tuned(full, small_encoder, tmp_path):
    return tune(full, enroll_like(full, small_encoder), tmp_path / "part.edgead")


def small_of(detector):
    return detector._others[0]


# -- enrolling again ---------------------------------------------------------------------------------------


def test_the_same_pictures_rate_and_names(full, small_encoder, good_frames):
    name = full.add_good(good_frames[5])
    made = enroll_like(full, small_encoder).detector
    assert [(each.digest, each.added) for each in made.references] == [
        (each.digest, each.added) for each in full.references
    ]
    assert made.references[-1].picture.name == name
    assert made.calibration.method == "leave-one-out"
    assert made.calibration.pictures == 4
    assert made.calibration.false_alarm_rate == full.calibration.false_alarm_rate
    assert made.threshold != full.threshold


def test_it_is_what_enrolling_with_that_encoder_gives(full, small_encoder, good_frames, quick):
    made = enroll_like(full, small_encoder).detector
    direct = Detector.enroll(small_encoder, good_frames[:4], recipe=quick)
    assert same_bank(made, direct)
    assert made.threshold == direct.threshold


@pytest.mark.parametrize("by_hand", [0.0, 0.5])
def test_a_threshold_set_by_hand_is_carried_over_in_proportion(full, small_encoder, by_hand):
    own = enroll_like(full, small_encoder)
    # Both thresholds are their largest good score, so the scale is their ratio.
    assert own.scale == pytest.approx(own.detector.threshold / full.threshold)
    full.set_threshold(by_hand)
    made = enroll_like(full, small_encoder)
    assert made.detector.threshold == pytest.approx(by_hand * made.scale)
    assert made.scale == own.scale
    assert made.detector.calibration.false_alarm_rate is None


def test_held_out_pictures_given_again_calibrate_it(mini_encoder, small_encoder, good_frames, quick):
    full = Detector.enroll(mini_encoder, good_frames[:3], recipe=quick, calibration_good=good_frames[3:])
    given = enroll_like(full, small_encoder, as_pictures(good_frames[3:], "held-out"))
    assert given.detector.calibration.method == "held-out"
    assert given.detector.calibration.pictures == 3
    without = enroll_like(full, small_encoder)
    assert without.detector.calibration.false_alarm_rate is None
    assert without.detector.threshold == pytest.approx(full.threshold * without.scale)


def test_one_picture_guesses_as_the_full_one_does(mini_encoder, small_encoder, good_frames, quick):
    full = Detector.enroll(mini_encoder, good_frames[:1], recipe=quick)
    assert enroll_like(full, small_encoder).detector.calibration.method == "self-similarity"


@pytest.mark.parametrize("mask", ["on", "off"])
def test_it_masks_where_the_full_one_does(mini_encoder, small_encoder, good_frames, mask):
    recipe = get_recipe("anomalydino-informed").with_(mask=mask)
    full = Detector.enroll(mini_encoder, good_frames[:3], recipe=recipe)
    made = enroll_like(full, small_encoder).detector
    assert made.mask.enabled == (mask == "on")
    assert made(good_frames[4]).is_anomaly in (True, False)


def test_a_drawn_area_is_carried_over_without_its_file(mini_encoder, small_encoder, good_frames, quick):
    recipe = quick.with_(
        mask="on", mask_from="area", mask_polygon=((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))
    )
    full = Detector.enroll(mini_encoder, good_frames[:3], recipe=recipe)
    made = enroll_like(full, small_encoder).detector
    assert made.mask.area == [".....", ".###.", ".###.", ".###.", "....."]


def test_another_backbone_or_other_layers_are_refused(
    tmp_path, full, build_bundle, two_layer_bundle, good_frames
):
    folder = build_bundle(tmp_path / "other", height=56, width=56)
    text = (folder / "manifest.json").read_text()
    for old, new, said in (
        ('"backbone": "mini"', '"backbone": "mega"', "is mega"),
        ('"source": "random"', '"source": "trained"', "other weights"),
        ('"layer": 1', '"layer": 3', "no layer 1"),
    ):
        (folder / "manifest.json").write_text(text.replace(old, new))
        with Encoder.load(folder, threads=1) as encoder, pytest.raises(EncoderMismatchError, match=said):
            enroll_like(full, encoder)


def test_the_layers_are_those_of_the_detector(tmp_path, full, build_bundle, defective):
    """A second layer in the other export does not make it the deepest."""
    bundle = build_bundle(tmp_path / "two", height=70, width=70, second=True)
    with Encoder.load(bundle, threads=1) as encoder:
        path = tune(full, enroll_like(full, encoder), tmp_path / "part.edgead")
    with Detector.load(path, budget_ms=1e6, threads=1) as detector:
        assert small_of(detector).layers == (1,)
        assert small_of(detector)(defective.frame).is_anomaly


# -- the file ----------------------------------------------------------------------------------------------


def test_a_tuned_file_is_a_plain_detector_too(tuned, full, defective):
    with Detector.load(tuned, threads=1) as plain:
        assert type(plain) is Detector
        assert plain(defective.frame).score == full(defective.frame).score
        assert plain.tuning.budget_ms == 20


def test_both_settings_come_back_as_they_were(tuned, full, small_encoder, defective):
    companion = enroll_like(full, small_encoder)
    with Detector.load(tuned, budget_ms=1e6, threads=1) as detector:
        assert isinstance(detector, TieredDetector)
        assert same_bank(small_of(detector), companion.detector)
        assert detector(defective.frame).score == full(defective.frame).score
        assert small_of(detector)(defective.frame).score == companion.detector(defective.frame).score
        assert detector.setting == 0
        assert detector.budget_notes == ()


def test_saving_and_loading_again_changes_nothing(tuned, tmp_path, defective):
    with Detector.load(tuned, budget_ms=1e6, threads=1) as first:
        first.save(tmp_path / "again.edgead")
        with Detector.load(tmp_path / "again.edgead", budget_ms=1e6, threads=1) as again:
            assert same_bank(first, again)
            assert same_bank(small_of(first), small_of(again))
            assert again.tuning.tiers == first.tuning.tiers


def test_the_encoders_can_go_inside(full, small_encoder, tmp_path, defective, small_bundle):
    companion = enroll_like(full, small_encoder)
    path = tune(full, companion, tmp_path / "part.edgead", self_contained=True)
    bare = tune(full, companion, tmp_path / "bare.edgead")
    assert path.stat().st_size > bare.stat().st_size
    manifest = _manifest(path)
    assert f"encoders/{companion.fingerprint}/encoder.onnx" in manifest["members"]
    assert not any(name.startswith("encoders/") for name in _manifest(bare)["members"])
    # And from a detector that was loaded without a budget.
    with Detector.load(bare, threads=1) as plain:
        plain.save(tmp_path / "whole.edgead", self_contained=True)
    assert (
        f"encoders/{companion.fingerprint}/manifest.json" in _manifest(tmp_path / "whole.edgead")["members"]
    )
    with Detector.load(tmp_path / "whole.edgead", budget_ms=1e6, threads=1) as detector:
        assert small_of(detector).encoder.bundle.root is None
        assert small_of(detector)(defective.frame).is_anomaly


def _manifest(path):
    with zipfile.ZipFile(path) as archive:
        return msgspec.json.decode(archive.read("manifest.json"))


def _rewrite(path, change):
    """The file with another manifest."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = msgspec.json.decode(members["manifest.json"])
    change(manifest)
    members["manifest.json"] = msgspec.json.encode(manifest)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_what_an_older_edgead_wrote_has_no_tuning(full, tmp_path):
    full.save(tmp_path / "old.edgead")
    _rewrite(tmp_path / "old.edgead", lambda manifest: manifest.pop("tuning"))
    with Detector.load(tmp_path / "old.edgead", threads=1) as detector:
        assert detector.tuning is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tuning: tuning.update(chosen=7), "does not have"),
        (lambda tuning: tuning["tiers"][1].update(bank=3), "does not have"),
        (lambda tuning: tuning["banks"][0]["references"][0].update(picture="references/x.png"), "picture"),
        (lambda tuning: tuning["banks"][0]["references"][0].update(tokens=["nothing"]), "lacks the array"),
    ],
)
def test_a_tuning_that_contradicts_itself_is_refused(tuned, change, said):
    _rewrite(tuned, lambda manifest: change(manifest["tuning"]))
    with pytest.raises(BundleError, match=said):
        Detector.load(tuned, budget_ms=20, threads=1)


@pytest.fixture
def whole(full, small_encoder, tmp_path):
    """A file with both encoders inside, and what the small one's files are called in it."""
    companion = enroll_like(full, small_encoder)
    path = tune(full, companion, tmp_path / "whole.edgead", self_contained=True)
    return path, f"encoders/{companion.fingerprint}/encoder.onnx"


def test_an_encoder_inside_stays_there_when_a_plain_detector_is_saved(whole, good_frames):
    path, encoder = whole
    with Detector.load(path, threads=1) as plain:
        plain.add_good(good_frames[5])
        plain.save(path)
    assert encoder in _manifest(path)["members"]
    assert _manifest(path)["tuning"]["banks"][0]["encoder"]["embedded"]


def test_an_encoder_inside_that_cannot_run_here_stays_there(whole):
    path, encoder = whole
    _rewrite(path, lambda manifest: manifest["tuning"]["tiers"][1]["options"].update(lens="of the future"))
    with Detector.load(path, budget_ms=5, threads=1) as detector:
        assert len(detector.settings) == 1
        detector.save(path)
    assert encoder in _manifest(path)["members"]


# -- learning ----------------------------------------------------------------------------------------------


def test_every_setting_learns_and_forgets(tuned, good_frames):
    with Detector.load(tuned, budget_ms=1e6, threads=1) as detector:
        small = small_of(detector)
        before = small(good_frames[5]).score
        name = detector.add_good(good_frames[5])
        assert small(good_frames[5]).score < 1e-5 < before
        assert detector(good_frames[5]).score < 1e-5
        assert small.references[-1].picture.name == name == detector.references[-1].picture.name
        assert detector.undo() == name
        assert small(good_frames[5]).score == before
        with pytest.raises(EnrollmentError):
            detector.undo()


def test_a_part_that_one_setting_refuses_is_known_to_none(tuned, good_frames, monkeypatch):
    with Detector.load(tuned, budget_ms=1e6, threads=1) as detector:

        def broken(*_):
            raise PictureError("cannot", "Sorry.")

        monkeypatch.setattr(small_of(detector), "add_good", broken)
        with pytest.raises(PictureError):
            detector.add_good(good_frames[5])
        assert len(detector.references) == len(small_of(detector).references) == 4


def test_what_a_plain_detector_learned_is_caught_up_with(tuned, tmp_path, good_frames, small_encoder, quick):
    with Detector.load(tuned, threads=1) as plain:
        plain.add_good(good_frames[4])
        plain.add_good(good_frames[5])
        plain.undo()
        plain.save(tuned)
    with Detector.load(tuned, budget_ms=1e6, threads=1) as detector:
        direct = Detector.enroll(small_encoder, good_frames[:5], recipe=quick)
        assert same_bank(small_of(detector), direct)
        detector.save(tuned)
        assert detector.undo().startswith("added")
        assert len(small_of(detector).references) == 4
        detector.save(tmp_path / "fewer.edgead")
    with Detector.load(tmp_path / "fewer.edgead", budget_ms=1e6, threads=1) as detector:
        assert len(small_of(detector).references) == len(detector.references) == 4


def test_undo_takes_the_same_part_from_every_setting_after_a_plain_session(tuned, good_frames):
    with Detector.load(tuned, budget_ms=1e6, threads=1) as detector:
        detector.add_good(good_frames[4], "four")
        detector.save(tuned)
    with Detector.load(tuned, threads=1) as plain:
        plain.undo()
        plain.add_good(good_frames[5], "five")
        plain.add_good(good_frames[4], "four")
        plain.save(tuned)
    with Detector.load(tuned, budget_ms=1e6, threads=1) as detector:

        def digests(one):
            return [reference.digest for reference in one.references]

        assert digests(small_of(detector)) == digests(detector)
        assert detector.undo() == "four"
        assert digests(small_of(detector)) == digests(detector)
        assert small_of(detector)(good_frames[5]).score < 1e-5


def test_a_part_that_one_setting_refuses_leaves_a_coreset_as_it_was(
    mini_encoder, small_encoder, good_frames, quick, tmp_path, monkeypatch
):
    recipe = quick.with_(coreset=0.1)
    condensed = Detector.enroll(mini_encoder, good_frames[:4], recipe=recipe)
    path = tune(condensed, enroll_like(condensed, small_encoder), tmp_path / "part.edgead")
    with Detector.load(path, budget_ms=1e6, threads=1) as detector:
        before = detector.references, detector.coreset, detector(good_frames[5]).score

        def broken(*_):
            raise PictureError("cannot", "Sorry.")

        monkeypatch.setattr(small_of(detector), "add_good", broken)
        with pytest.raises(PictureError):
            detector.add_good(good_frames[5])
        assert (detector.references, detector.coreset, detector(good_frames[5]).score) == before


def test_an_undo_that_one_setting_refuses_changes_none(tuned, good_frames, monkeypatch):
    with Detector.load(tuned, budget_ms=1e6, threads=1) as detector:
        detector.add_good(good_frames[5])

        def broken(name):
            raise EnrollmentError("cannot", "Sorry.")

        monkeypatch.setattr(small_of(detector), "undo", broken)
        with pytest.raises(EnrollmentError):
            detector.undo()
        assert len(detector.references) == len(small_of(detector).references) == 5


def test_an_answer_given_while_only_some_have_unlearned_is_not_repeated(
    full, small_encoder, defective, monkeypatch
):
    companion = enroll_like(full, small_encoder)
    detector = CascadeDetector(full, companion, Band(1.0, 1.0))
    look = UnchangedFrames(detector)
    detector.add_good(defective.frame, "by mistake")
    assert not look(defective.frame).is_anomaly
    undo = companion.detector.undo

    def slow(name):
        assert not look(defective.frame).is_anomaly  # the camera's next frame, in another thread
        return undo(name)

    monkeypatch.setattr(companion.detector, "undo", slow)
    detector.undo()
    after = look(defective.frame)
    assert (after.repeated, after.is_anomaly) == (False, True)


@pytest.mark.parametrize("learn", ["add_good", "recalibrate"])
def test_an_answer_given_while_a_refusal_is_on_its_way_is_not_repeated(
    full, small_encoder, good_frames, monkeypatch, learn
):
    companion = enroll_like(full, small_encoder)
    detector = CascadeDetector(full, companion, Band(1.0, 1.0))
    look = UnchangedFrames(detector)

    def broken(*_, **__):
        look(good_frames[5])
        raise PictureError("cannot", "Sorry.")

    monkeypatch.setattr(companion.detector, learn, broken)
    with pytest.raises(PictureError):
        detector.add_good(good_frames[4]) if learn == "add_good" else detector.recalibrate(good_frames[4:])
    assert not look(good_frames[5]).repeated


def test_a_calibration_that_one_setting_refuses_changes_none(tuned, good_frames, monkeypatch):
    with Detector.load(tuned, budget_ms=1e6, threads=1) as detector:
        before = detector.calibration, small_of(detector).calibration

        def broken(*_, **__):
            raise EnrollmentError("cannot", "Sorry.")

        monkeypatch.setattr(small_of(detector), "recalibrate", broken)
        with pytest.raises(EnrollmentError):
            detector.recalibrate(good_frames[4:])
        assert (detector.calibration, small_of(detector).calibration) == before


def test_thresholds_follow(tuned, good_frames):
    with Detector.load(tuned, budget_ms=1e6, threads=1) as detector:
        small = small_of(detector)
        ratio = small.threshold / detector.threshold
        detector.set_threshold(2 * detector.threshold)
        assert small.threshold / detector.threshold == pytest.approx(ratio)
        detector.add_good(good_frames[4])
        detector.recalibrate()
        assert small.calibration.method == "leave-one-out"
        assert small.calibration.pictures == 5
    with Detector.load(tuned, threads=1) as plain:
        plain.set_threshold(0.25)
        plain.save(tuned)
    with Detector.load(tuned, budget_ms=1e6, threads=1) as detector:
        assert small_of(detector).threshold == pytest.approx(0.25 * ratio)


def test_learning_while_threads_inspect(tuned, good_frames):
    with Detector.load(tuned, budget_ms=1e6, threads=1) as detector:
        failures, stop = [], threading.Event()

        def work():
            try:
                while not stop.is_set():
                    detector(good_frames[0])
            except Exception as error:  # noqa: BLE001  (looked at below)
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(5):
            detector.add_good(good_frames[5])
            detector.undo()
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(small_of(detector).references) == 4


# -- loading -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("budget", "setting"), [(1e6, 0), (45, 0), (39, 1), (5, 1)])
def test_it_begins_with_what_held_the_budget_here(tuned, budget, setting):
    with Detector.load(tuned, budget_ms=budget, threads=1) as detector:
        assert detector.setting == setting


def test_it_begins_with_what_was_chosen_for_this_budget(full, small_encoder, tmp_path):
    """Not with the full setting, though it held: of settings as faithful the fastest was chosen."""
    tiers = [
        TierRecord(name="full", options=PLAIN, measured=measured(19)),
        TierRecord(name="small", options=PLAIN, bank=0, measured=measured(10)),
    ]
    store_tuning(full, [enroll_like(full, small_encoder)], budget_ms=20, tiers=tiers, chosen=1)
    full.save(tmp_path / "part.edgead")
    for budget, setting in ((20, 1), (21, 0)):
        with Detector.load(tmp_path / "part.edgead", budget_ms=budget, threads=1) as detector:
            assert detector.setting == setting


def test_another_machine_is_said_and_timed(tuned, monkeypatch):
    monkeypatch.setattr("edgead_runtime.tiers.this_machine", lambda: TunedOn(cpu="Another", cores=64))
    with Detector.load(tuned, budget_ms=1e6, threads=1) as detector:
        assert any("tuned on another machine" in note for note in detector.budget_notes)
        assert detector.setting == 0


@pytest.mark.parametrize("option", [("index", "of the future"), ("precision", "int8")])
def test_a_setting_that_lacks_an_index_or_a_file_is_left_out(tuned, option):
    name, value = option

    def change(manifest):
        manifest["tuning"]["tiers"][1]["options"][name] = value

    _rewrite(tuned, change)
    with Detector.load(tuned, budget_ms=5, threads=1) as detector:
        assert len(detector.settings) == 1
        assert any("'small' is left out here" in note for note in detector.budget_notes)


def test_a_setting_that_this_machine_cannot_run_is_left_out(tuned, tmp_path, good_frames):
    def change(manifest):
        manifest["tuning"]["tiers"][1]["options"]["lens"] = "of the future"

    _rewrite(tuned, change)
    with Detector.load(tuned, budget_ms=5, threads=1) as detector:
        assert len(detector.settings) == 1
        assert any(
            "'small' is left out here" in note and "option lens" in note for note in detector.budget_notes
        )
        detector.set_threshold(0.25)
        detector.save(tmp_path / "kept.edgead")
    kept = _manifest(tmp_path / "kept.edgead")["tuning"]
    assert kept["tiers"][1]["name"] == "small"
    assert kept["banks"][0]["calibration"]["threshold"] == pytest.approx(0.25 * kept["banks"][0]["scale"])


def test_an_encoder_that_is_gone_leaves_its_setting_out(tmp_path, full, build_bundle):
    folder = build_bundle(tmp_path / "gone", height=70, width=70)
    with Encoder.load(folder, threads=1) as encoder:
        path = tune(full, enroll_like(full, encoder), tmp_path / "part.edgead")
    shutil.rmtree(folder)
    with Detector.load(path, budget_ms=5, threads=1) as detector:
        assert any("is not at" in note for note in detector.budget_notes)
    with pytest.raises(BundleError, match="is not at"):
        Detector.load(path, cascade=True, threads=1)


def test_an_encoder_that_is_damaged_leaves_its_setting_out(tmp_path, full, build_bundle, defective):
    folder = build_bundle(tmp_path / "damaged", height=70, width=70)
    with Encoder.load(folder, threads=1) as encoder:
        path = tune(full, enroll_like(full, encoder), tmp_path / "part.edgead")
    (folder / "encoder.onnx").write_bytes(b"junk")
    with Detector.load(path, budget_ms=1e6, threads=1) as detector:
        assert len(detector.settings) == 1
        assert any("'small' is left out here" in note for note in detector.budget_notes)
        assert detector(defective.frame).score == full(defective.frame).score


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"precision": "int8"}, "precision int8"),
        ({"engine": "openvino"}, "engine openvino"),
        ({"threads": 2}, ""),
    ],
)
@pytest.mark.parametrize("way", [{"budget_ms": 1e6}, {"cascade": True}])
def test_an_option_that_the_tuning_would_override_is_refused(tuned, option, said, way):
    with pytest.raises(EdgeadError, match=f"was tuned.*{said}"):
        Detector.load(tuned, **way, **option)
    with Detector.load(tuned, **way, threads=1, engine="onnxruntime"):
        pass  # these are what was tuned


def test_what_makes_no_sense_is_refused(tuned, full, tmp_path):
    for budget in (0, -5, float("nan")):
        with pytest.raises(EdgeadError, match="budget"):
            Detector.load(tuned, budget_ms=budget, threads=1)
    with pytest.raises(EdgeadError, match="Give one of the two"):
        Detector.load(tuned, budget_ms=30, cascade=True, threads=1)
    full._tuning = None
    full.save(tmp_path / "plain.edgead")
    with pytest.raises(BundleError, match="no small encoder"):
        Detector.load(tmp_path / "plain.edgead", cascade=True, threads=1)


def test_without_tuning_it_says_what_there_is(full, tmp_path, defective):
    full.save(tmp_path / "plain.edgead")
    with Detector.load(tmp_path / "plain.edgead", budget_ms=1e-3, engine="onnxruntime", threads=1) as one:
        assert any("not tuned" in note for note in one.budget_notes)
        for _ in range(3):
            result = one(defective.frame)
        if one.setting == 0:  # OpenVINO and bfloat16 are not everywhere, and no faster for so small a graph
            assert result.degraded == ()
            assert any(said in result.notes[-1] for said in ("no faster setting", "the fastest setting"))
            assert result.score == full(defective.frame).score
        else:
            assert "bf16" in result.degraded[0]


def test_it_goes_to_another_process_by_its_path(tuned, good_frames, defective):
    with Detector.load(tuned, budget_ms=1e6, threads=1) as detector:
        copied = pickle.loads(pickle.dumps(detector))
        assert copied.budget_ms == 1e6
        assert copied(defective.frame).score == detector(defective.frame).score
        copied.close()
        detector.add_good(good_frames[5])
        with pytest.raises(EdgeadError, match="as it was loaded"):
            pickle.dumps(detector)


def test_what_is_made_of_several_detectors_is_no_other_kind_to_load(tuned, small_encoder, good_frames, quick):
    for kind in (TieredDetector, CascadeDetector):
        with kind.load(tuned, threads=1) as plain:
            assert type(plain) is Detector
        with kind.load(tuned, budget_ms=1e6, threads=1) as tiered:
            assert type(tiered) is TieredDetector
            pickle.loads(pickle.dumps(tiered)).close()
        assert type(kind.enroll(small_encoder, good_frames[:3], recipe=quick)) is Detector


def test_pictures_that_are_the_same_to_an_encoder_have_no_proportion(full, small_encoder, monkeypatch):
    calibrate = siblings.calibrate_memory

    def nothing_between(*arguments, **options):
        return msgspec.structs.replace(calibrate(*arguments, **options), pixel_threshold=0.0)

    monkeypatch.setattr(siblings, "calibrate_memory", nothing_between)
    with pytest.raises(EnrollmentError, match="proportion"):
        enroll_like(full, small_encoder)


def test_closing_closes_every_encoder(tuned, good_frames):
    detector = Detector.load(tuned, budget_ms=1e6, threads=1)
    small = small_of(detector)
    detector.close()
    for closed in (detector, small):
        with pytest.raises(EdgeadError, match="closed"):
            closed(good_frames[0])


@pytest.mark.parametrize("recorded", [True, False])
def test_the_band_moves_with_thresholds_that_are_saved(tuned, full, recorded):
    small = full.threshold * _manifest(tuned)["tuning"]["banks"][0]["scale"]
    if recorded:
        _rewrite(
            tuned,
            lambda manifest: manifest["tuning"]["cascade"].update(
                full_threshold=full.threshold, small_threshold=small
            ),
        )
    with Detector.load(tuned, cascade=True, threads=1) as detector:
        assert detector.band == Band(0.8, 1.5)
    with Detector.load(tuned, threads=1) as plain:
        plain.set_threshold(2 * plain.threshold)
        plain.save(tuned)
    with Detector.load(tuned, cascade=True, threads=1) as detector:
        assert detector.band.low == pytest.approx(0.4)
        if recorded:
            detector.save(tuned)
            with Detector.load(tuned, cascade=True, threads=1) as again:
                assert again.band.low == pytest.approx(0.4)
        detector.set_threshold(full.threshold * 0.99)
        assert detector.band.low == 0


def test_the_cascade_comes_back(tuned, good_frames, defective):
    with Detector.load(tuned, cascade=True, threads=1) as detector:
        assert isinstance(detector, CascadeDetector)
        assert (detector.band.low, detector.band.high) == (0.8, 1.5)
        assert detector(defective.frame).is_anomaly
        assert np.isfinite(detector(good_frames[0]).score)


def test_settings_with_frame_graphs_learn_as_well(
    tmp_path, fused_bundle, build_bundle, add_frame_graph, good_frames, quick, defective
):
    plain = build_bundle(tmp_path / "plain", height=SMALL_SIDE, width=SMALL_SIDE)
    small = add_frame_graph(plain, tmp_path / "small")
    with Encoder.load(fused_bundle, threads=1) as first, Encoder.load(small, threads=1) as second:
        full = Detector.enroll(first, good_frames[:4], recipe=quick)
        path = tune(full, enroll_like(full, second), tmp_path / "part.edgead", self_contained=True)
    with Detector.load(path, budget_ms=39, threads=1) as detector:
        assert detector.setting == 1
        assert "frame" in detector(defective.frame).timings_ms
        assert detector(defective.frame).is_anomaly
        detector.add_good(good_frames[5])
        assert detector(good_frames[5]).score < 1e-5
        assert small_of(detector)(good_frames[5]).score < 1e-5
        detector.undo()
        assert small_of(detector)(good_frames[5]).score > 1e-5
