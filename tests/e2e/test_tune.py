"""``edgead tune`` and what ``detect`` makes of it. Nothing here depends on how long anything took."""

import json
import shutil

import msgspec
import pytest
from drawn_parts import contents
from edgead_runtime import Detector, Encoder, get_recipe, read_picture
from edgead_runtime.enrollment import ignore_progress
from edgead_runtime.tiered import TieredDetector
from PIL import Image
from tiny_encoder import write_tiny_encoder

from edgead.jobs.tune.fidelity import draw_scenes, look
from edgead.jobs.tune.record import Tune

FEW = ["--frames", 4, "--threads", 1]
HOUR = 3_600_000


def by_the_size(detectors, frames, count, stage, progress):
    """Times as a quiet machine would take them: by the pixels of the input."""
    progress(stage, count, count)
    sizes = [detector.encoder.manifest.input for detector in detectors]
    return [[size.height * size.width / 1000 + number / 1000 for number in range(count)] for size in sizes]


@pytest.fixture(scope="module", autouse=True)
def quiet_machine():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edgead.jobs.tune.run.times_in_turns", by_the_size)
        yield


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoders") / "small", side=56)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, detector, small, quiet_machine):
    """A copy that was tuned once, with everything beside it."""
    from edgead.cli import run

    folder = tmp_path_factory.mktemp("tuned")
    options = ["--budget", HOUR, "--encoder", small, *FEW, "-o", folder / "part.edgead", "--quiet"]
    before = detector.read_bytes()
    assert run([str(option) for option in ["tune", detector, *options]]) == 0
    assert detector.read_bytes() == before
    return folder / "part.edgead"


def test_the_files_say_what_was_measured(tuned):
    assert contents(tuned.parent) == ["part.edgead", "part.tune.json", "part.tune.png"]
    found = msgspec.json.decode((tuned.parent / "part.tune.json").read_bytes(), type=Tune)
    assert [row.name for row in found.rows] == ["112 x 112, onnxruntime, fp32", "56 x 56, onnxruntime, fp32"]
    full, other = found.rows
    assert full.fidelity.map_rank == pytest.approx(1)
    assert full.fidelity.same_verdict == 1
    assert -1 <= other.fidelity.map_rank < 1
    assert all(len(row.frames_ms) == 4 for row in found.rows)
    assert (found.good_pictures, found.drawn_defects) == (4, 32)
    assert found.holds
    assert found.cascade.tried <= 16
    assert Image.open(tuned.parent / "part.tune.png").size[0] > 900


def test_a_detector_with_a_budget_has_both_settings(tuned):
    with Detector.load(tuned, budget_ms=HOUR, threads=1) as detector:
        assert isinstance(detector, TieredDetector)
        assert detector.settings[0].startswith("112 x 112")
        assert detector.setting == detector.tuning.chosen
        assert detector.settings[1].startswith("56 x 56")
        assert [tier.options["engine"] for tier in detector.tuning.tiers] == ["onnxruntime"] * 2
        assert detector.budget_notes == ()


def test_what_it_says_and_returns(edgead, detector, small, tmp_path):
    shutil.copy(detector, tmp_path / "part.edgead")
    ran = edgead("tune", tmp_path / "part.edgead", "--budget", HOUR, "--encoder", small, *FEW)
    assert ran.code == 0
    for said in ("map rank", "<- chosen", "112 x 112, onnxruntime, fp32", "holds 3.6e+06 ms", "Cascade"):
        assert said in ran.out
    assert "p99 of 4 frames" in ran.err
    assert Detector.load(tmp_path / "part.edgead").tuning.budget_ms == HOUR
    ran = edgead(
        "tune", tmp_path / "part.edgead", "--budget", 1e-3, "--encoder", small, *FEW, "--json", "--overwrite"
    )
    assert ran.code == 1
    assert not ran.summary["holds"]
    assert "frames_ms" not in ran.summary["rows"][0]
    assert any("a budget of" in remark for remark in ran.summary["remarks"])
    stored = Detector.load(tmp_path / "part.edgead").tuning
    assert stored.tiers[stored.chosen].name == ran.summary["chosen"]


@pytest.mark.parametrize("share", [0.25, 1 / 256])
def test_a_coreset_is_chosen_anew_without_the_picture_that_is_looked_at(encoder, good, share):
    """Else there were holes where its patches stood for others, or no patch at all."""
    with Encoder.load(encoder, threads=1) as loaded:
        full = Detector.enroll(
            loaded,
            [read_picture(path) for path in sorted(good.iterdir())],
            recipe=get_recipe("anomalydino-informed").with_(mask="off", coreset=share),
        )
        scenes = [scene for scene in draw_scenes(full) if not scene.is_defective]
        assert len(scenes) == len(full.references)
        results = look(full, scenes, "look", ignore_progress)
    # The largest score of a good picture left out is what the threshold is.
    assert max(result.times_threshold for result in results) == pytest.approx(1, abs=1e-4)


def test_alone_it_has_the_full_setting_and_says_what_would_help(edgead, detector, tmp_path):
    ran = edgead("tune", detector, "--budget", 1e-3, *FEW, "-o", tmp_path / "part.edgead")
    assert ran.code == 1
    assert "edgead export --res" in ran.err
    with Detector.load(tmp_path / "part.edgead", budget_ms=1e-3, threads=1) as alone:
        assert len(alone.settings) == 1


def test_detect_with_a_budget(edgead, tuned, pictures, tmp_path):
    ran = edgead("detect", tuned, pictures, "-o", tmp_path / "out", "--budget", HOUR, "--threads", 1)
    assert ran.code == 1
    assert "0 of 2 inspected with a faster setting" in ran.out
    records = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert all(record["degraded"] == [] for record in records)
    ran = edgead(
        "detect", tuned, pictures, "-o", tmp_path / "fast", "--budget", 1e-3, "--threads", 1, "--json"
    )
    assert ran.summary["degraded"] == 2
    records = [json.loads(line) for line in (tmp_path / "fast" / "results.jsonl").read_text().splitlines()]
    assert all("56 x 56 pixels instead of 112 x 112" in record["degraded"][0] for record in records)
    assert "0.001 ms a picture: 112 x 112 pixels" in (tmp_path / "fast" / "report.html").read_text()
    assert "instead of 112 x 112" in (tmp_path / "fast" / "report.html").read_text()


def test_what_a_faster_setting_saw_is_painted_and_ranked_by_its_own_thresholds(
    edgead, tuned, pictures, tmp_path, monkeypatch
):
    painted = []

    def draw(frame, distances, pixel_threshold, regions):
        painted.append(pixel_threshold)
        return frame

    monkeypatch.setattr("edgead.jobs.inspection.draw_overlay", draw)
    edgead("detect", tuned, pictures, "-o", tmp_path / "out", "--budget", 1e-3, "--threads", 1)
    with Detector.load(tuned, budget_ms=HOUR, threads=1) as detector:
        (small,) = detector._others
        assert small.calibration.pixel_threshold != detector.calibration.pixel_threshold
        assert painted == [small.calibration.pixel_threshold] * 2


def test_a_budget_on_a_detector_that_was_not_tuned(edgead, detector, pictures, tmp_path):
    ran = edgead(
        "detect", detector, pictures, "-o", tmp_path / "out", "--budget", HOUR, "--threads", 1, "--quiet"
    )
    assert ran.code == 1
    assert "It was not tuned" in ran.err


@pytest.mark.parametrize("budget", [0, -3, "nan", "inf"])
def test_a_budget_that_makes_no_sense(edgead, detector, pictures, tmp_path, budget):
    for command in (
        ["tune", detector, "--budget", budget],
        ["detect", detector, pictures, "-o", tmp_path / "out", "--budget", budget],
    ):
        edgead(*command).assert_refused("makes no sense", "milliseconds")
    assert contents(tmp_path) == ["pictures", "pictures/fine.png", "pictures/scratched.png"]


def test_encoders_that_cannot_stand_beside_the_detectors_own(edgead, detector, tmp_path, small, encoder):
    def refused(*said, encoders):
        options = [part for one in encoders for part in ("--encoder", one)]
        ran = edgead("tune", detector, "--budget", 10, *options, *FEW, "-o", tmp_path / "part.edgead")
        ran.assert_refused(*said)
        assert not (tmp_path / "part.edgead").exists()

    other = write_tiny_encoder(tmp_path / "other", side=56)
    text = (other / "manifest.json").read_text()
    (other / "manifest.json").write_text(text.replace('"tiny"', '"huge"'))
    refused("is huge", "enrolled with tiny", encoders=[other])
    refused("no smaller", encoders=[write_tiny_encoder(tmp_path / "larger", side=140)])
    refused("the same encoder", encoders=[small, small])
    refused("does not exist", encoders=[tmp_path / "nowhere"])


def test_its_own_encoder_can_be_given_where_it_is_not_found(edgead, detector, small, tmp_path, encoder):
    from edgead_runtime.detector_bundle import read_bundle, write_bundle

    bundle = read_bundle(detector)
    lost = msgspec.structs.replace(bundle.manifest.encoder, path_hint=str(tmp_path / "gone"))
    manifest = msgspec.structs.replace(bundle.manifest, encoder=lost)
    write_bundle(tmp_path / "part.edgead", manifest, bundle.arrays, bundle.pictures)
    edgead("tune", tmp_path / "part.edgead", "--budget", 10, "--encoder", small).assert_refused("is not at")
    ran = edgead(
        "tune", tmp_path / "part.edgead", "--budget", HOUR, "--encoder", small, "--encoder", encoder, *FEW
    )
    assert ran.code == 0


def test_other_wrong_input(edgead, detector, pictures, tmp_path, tuned):
    edgead("tune", tmp_path / "no.edgead", "--budget", 10).assert_refused("does not exist")
    edgead("tune", detector, "--budget", 10, "--engine", "warp").assert_refused("unknown engine 'warp'")
    edgead("tune", detector, "--budget", 10, "--frames", 1).assert_refused("--frames 1")
    edgead("tune", detector, "--budget", 10, "-o", tuned).assert_refused("exists already")
    edgead("tune", tuned, "--budget", 10).assert_refused("part.tune.json exists already")
    edgead(
        "tune", detector, "--budget", 10, "-o", tmp_path / "p.edgead", "--picture", tmp_path / "p.bmp"
    ).assert_refused("p.bmp")
    out = ["-o", tmp_path / "out"]
    edgead("detect", detector, pictures, *out, "--cascade").assert_refused("no small encoder")
    edgead("detect", tuned, pictures, *out, "--cascade", "--budget", 10).assert_refused("one of the two")
    for option in (["--precision", "int8"], ["--engine", "openvino"]):
        ran = edgead("detect", tuned, pictures, *out, "--budget", HOUR, *option)
        ran.assert_refused("was tuned", " ".join(option).removeprefix("--"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--record", "part.edgead"], "the detector and --record"),
        (["--record", "../here/part.edgead"], "the detector and --record"),
        (["-o", "q.edgead", "--record", "q.edgead"], "--out and --record"),
        (["-o", "q.png", "--picture", "q.png"], "--out and --picture"),
        (["--record", "q.png", "--picture", "q.png"], "--record and --picture"),
    ],
)
def test_one_file_is_not_written_over_by_another(edgead, detector, tmp_path, monkeypatch, options, said):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    shutil.copy(detector, "part.edgead")
    edgead("tune", "part.edgead", "--budget", HOUR, *FEW, "--overwrite", *options).assert_refused(said)
    assert contents(tmp_path) == ["here", "here/part.edgead"]
    assert (tmp_path / "here" / "part.edgead").read_bytes() == detector.read_bytes()


def test_what_was_learned_while_it_was_tuned_is_not_lost(edgead, detector, tmp_path, monkeypatch):
    path = tmp_path / "part.edgead"
    shutil.copy(detector, path)

    def meanwhile(*arguments):
        with Detector.load(path, threads=1) as other:
            other.set_threshold(0.125)
            other.save(path)
        return by_the_size(*arguments)

    monkeypatch.setattr("edgead.jobs.tune.run.times_in_turns", meanwhile)
    ran = edgead("tune", path, "--budget", HOUR, *FEW, "--json")
    assert ran.code == 0
    assert _threshold(path) == 0.125
    assert any("was changed while it was tuned" in remark for remark in ran.summary["remarks"])
    assert ran.summary["out"] == str(tmp_path / "part.tuned.edgead")
    with Detector.load(tmp_path / "part.tuned.edgead", threads=1) as tuned:
        assert tuned.tuning.budget_ms == HOUR


def test_a_file_that_was_cut_off_is_left_alone(edgead, tuned, tmp_path):
    (tmp_path / "part.edgead").write_bytes(tuned.read_bytes()[:-100])
    before = (tmp_path / "part.edgead").read_bytes()
    edgead("tune", tmp_path / "part.edgead", "--budget", 10).assert_refused("cut off")
    assert (tmp_path / "part.edgead").read_bytes() == before


def _threshold(detector):
    with Detector.load(detector, threads=1) as full:
        return full.threshold


def test_the_cascade_where_one_was_stored(edgead, detector, tmp_path, pictures, monkeypatch):
    """An encoder that sees nearly the same and takes a tenth of the time."""

    def tenth(detectors, frames, count, stage, progress):
        return [[100.0 / 10**place] * count for place, _ in enumerate(detectors)]

    monkeypatch.setattr("edgead.jobs.tune.run.times_in_turns", tenth)
    close = write_tiny_encoder(tmp_path / "close", side=98)
    ran = edgead(
        "tune", detector, "--budget", HOUR, "--encoder", close, *FEW, "-o", tmp_path / "p.edgead", "--json"
    )
    assert ran.code == 0
    assert ran.summary["cascade"]["stored"]
    assert ran.summary["cascade"]["usual_ms"] < ran.summary["cascade"]["full_usual_ms"]
    out = tmp_path / "out"
    ran = edgead("detect", tmp_path / "p.edgead", pictures, "-o", out, "--threads", 1, "--cascade")
    assert ran.code == 1
    fine, scratched = map(json.loads, (out / "results.jsonl").read_text().splitlines())
    # Four good pictures make a narrow band: the fine one may be called anomalous, the other is never passed.
    assert scratched["is_anomaly"]
    for record in (fine, scratched):
        assert ("first look" in record["timings_ms"]) == (record["threshold"] == _threshold(detector))
