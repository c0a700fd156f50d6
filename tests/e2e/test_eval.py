"""``edgead eval`` as a person uses it, on small data sets and with an encoder that is ready at once."""

import csv
import json
import os
import shutil
import signal
import sys
import time

import numpy as np
import pytest
from drawn_parts import SIDE, contents, draw_part
from edgead_runtime import Detector, read_picture
from PIL import Image
from sklearn.metrics import roc_auc_score

from edgead.cli.evaluate import repeat_option_names

RECIPE = ["--recipe", "anomalydino-informed", "--threads", 1]


def draw_mask(*, side=SIDE):
    mask = np.zeros((side, side), dtype=np.uint8)
    mask[85:95, 30:90] = 255
    return Image.fromarray(mask)


def make_object(folder, *, train=3, good=3, bad=3):
    for place in ("train/good", "test/good", "test/scratch", "ground_truth/scratch"):
        (folder / place).mkdir(parents=True)
    for number in range(train):
        Image.fromarray(draw_part(number)).save(folder / f"train/good/{number:03d}.png")
    for number in range(good):
        Image.fromarray(draw_part(50 + number)).save(folder / f"test/good/{number:03d}.png")
    for number in range(bad):
        Image.fromarray(draw_part(70 + number, defect=True)).save(folder / f"test/scratch/{number:03d}.png")
        draw_mask().save(folder / f"ground_truth/scratch/{number:03d}_mask.png")
    return folder


@pytest.fixture
def root(tmp_path):
    make_object(tmp_path / "set/plate")
    return tmp_path / "set"


@pytest.fixture
def evaluate(edgead, encoder, root, tmp_path):
    """Run it on ``root``; ``--json`` unless told otherwise."""

    def call(*options, dataset="mvtec", json=True):
        extra = ["--json"] if json else []
        return edgead(
            "eval", "--dataset", dataset, "--root", root, "--encoder", encoder, "--out", tmp_path / "out",
            *RECIPE, *options, *extra,
        )  # fmt: skip

    return call


def test_everything_is_measured_and_written(evaluate, root, tmp_path, encoder):
    make_object(root / "slab")
    ran = evaluate("--shots", 1, 2, "--seeds", 1, "--objects", "plate", "slab")
    assert ran.code == 0, ran.err
    out = tmp_path / "out"
    assert [name for name in contents(out) if "/" not in name] == [
        "report.html", "results.csv", "results.json", "results.md", "settings.json", "units",
    ]  # fmt: skip
    assert [(row["object"], row["shots"]) for row in ran.summary["rows"]] == [
        ("plate", 1), ("plate", 2), ("slab", 1), ("slab", 2),
    ]  # fmt: skip
    assert [row["shots"] for row in ran.summary["means"]] == [1, 2]
    metrics = ran.summary["rows"][0]["metrics"]
    assert list(metrics) == [
        "image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max", "pro",
    ]  # fmt: skip
    assert metrics["image_auroc"]["mean"] == 1
    assert metrics["pro"]["mean"] > 0.5
    assert ran.summary["pro_limit"] == 0.3
    assert ran.summary["official_weights"] is False

    # The same numbers as through the API.
    folder = root / "plate"
    detector = Detector.enroll(
        encoder, [read_picture(folder / "train/good/000.png")], recipe="anomalydino-informed"
    )
    scores, truth = [], []
    for path in sorted(folder.glob("test/*/*.png")):
        scores.append(detector(read_picture(path).frame).map.ravel())
        truth.append(
            np.asarray(draw_mask()).ravel() > 0 if path.parent.name != "good" else np.zeros(SIDE**2, bool)
        )
    expected = roc_auc_score(np.concatenate(truth), np.concatenate(scores))
    assert metrics["pixel_auroc"]["mean"] == pytest.approx(expected, abs=1e-9)
    with (out / "results.csv").open(encoding="utf-8", newline="") as stream:
        assert float(next(csv.DictReader(stream))["pixel_auroc"]) == pytest.approx(expected, abs=1e-9)
    assert "PRO (to 0.3)" in (out / "results.md").read_text("utf-8")
    page = (out / "report.html").read_text("utf-8")
    assert "Not the official weights" in page
    assert "Not comparable" not in page  # nothing published of these objects


def test_a_run_in_words(evaluate):
    ran = evaluate("--seeds", 2, json=False)
    assert ran.code == 0
    assert "plate, 1-shot, seed 1: image AUROC 100.0" in ran.out
    assert "PRO (to 0.3)" in ran.out
    quiet = evaluate("--seeds", 2, "--quiet", json=False)
    assert (quiet.code, quiet.out) == (0, "")


def test_what_is_done_is_not_done_again(evaluate, root, tmp_path):
    assert evaluate("--seeds", 1).code == 0
    units = tmp_path / "out/units"
    first = (units / "plate-1-shot-seed-0.json").stat().st_mtime_ns
    more = evaluate("--seeds", 2, json=False)
    assert "seed 0: image AUROC 100.0, " in more.out
    assert more.out.count("(from the earlier run)") == 1
    assert (units / "plate-1-shot-seed-0.json").stat().st_mtime_ns == first
    Image.fromarray(draw_part(90)).save(root / "plate/test/good/002.png")
    assert "(from the earlier run)" not in evaluate("--seeds", 2, json=False).out


def test_a_damaged_unit_is_run_again(evaluate, tmp_path):
    assert evaluate("--seeds", 1).code == 0
    path = tmp_path / "out/units/plate-1-shot-seed-0.json"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    assert evaluate("--seeds", 1).code == 0
    assert path.read_bytes() == whole


def test_results_of_other_settings_are_not_mixed_in(evaluate):
    assert evaluate("--seeds", 1).code == 0
    evaluate("--seeds", 1, "--pro-limit", 0.1).assert_refused("other settings", "--overwrite", warnings=1)
    ran = evaluate("--seeds", 1, "--pro-limit", 0.1, "--overwrite")
    assert (ran.code, ran.summary["pro_limit"]) == (0, 0.1)


def test_a_folder_of_something_else_is_left_alone(evaluate, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("x")
    evaluate().assert_refused("no evaluation", "--out", warnings=1)
    assert contents(tmp_path / "out") == ["thesis.txt"]


def test_unreadable_pictures_are_skipped_counted_and_listed(evaluate, root):
    (root / "plate/test/good/001.png").write_bytes(b"no picture")
    ran = evaluate("--seeds", 2)
    assert ran.code == 2
    assert [failed["file"] for failed in ran.summary["failed"]] == ["plate/test/good/001.png"]
    assert "1 could not be used" in ran.err
    assert ran.summary["rows"][0]["metrics"]["image_auroc"]["mean"] == 1
    # Also when the units are there already.
    evaluate("--seeds", 2, "--strict").assert_refused("001.png", "not a picture", warnings=1)


def test_an_unreadable_reference(evaluate, root):
    (root / "plate/train/good/001.png").write_bytes(b"no picture")
    ran = evaluate("--seeds", 3)
    assert (ran.code, ran.summary["not_run"]) == (2, 1)
    assert ran.summary["rows"][0]["metrics"]["image_auroc"]["seeds"] == 2
    assert any("001.png" in remark and "seed 1" in remark for remark in ran.summary["remarks"])
    evaluate("--seeds", 3, "--strict").assert_refused("001.png", warnings=1)


def test_missing_and_black_masks_are_told(evaluate, root):
    (root / "plate/ground_truth/scratch/000_mask.png").unlink()
    Image.new("L", (SIDE, SIDE)).save(root / "plate/ground_truth/scratch/001_mask.png")
    ran = evaluate("--seeds", 1)
    assert ran.code == 0
    (remark,) = ran.summary["remarks"]
    assert "2 defective pictures without a marked defect" in remark
    assert "plate/test/scratch/000.png, plate/test/scratch/001.png" in remark
    assert "pro" in ran.summary["rows"][0]["metrics"]


def test_a_mask_of_another_size(evaluate, root):
    draw_mask(side=100).save(root / "plate/ground_truth/scratch/002_mask.png")
    ran = evaluate("--seeds", 1)
    assert ran.code == 2
    (failed,) = ran.summary["failed"]
    assert "002_mask.png is 100 x 100" in failed["problem"]
    assert "002.png is 120 x 120" in failed["problem"]
    assert "pro" in ran.summary["rows"][0]["metrics"]
    evaluate("--seeds", 1, "--strict").assert_refused("100 x 100", "120 x 120", "not resized", warnings=1)


def test_one_kind_only_has_no_auroc_and_is_no_crash(evaluate, root, tmp_path):
    for path in (root / "plate/test/good").iterdir():
        path.unlink()
    ran = evaluate("--seeds", 1)
    assert ran.code == 0
    assert set(ran.summary["rows"][0]["metrics"]) == {"pixel_auroc", "pixel_ap", "pixel_f1_max", "pro"}
    assert "not defined for 0 good and 3 defective" in ran.summary["remarks"][0]
    assert "–" in (tmp_path / "out/results.md").read_text("utf-8")


def test_only_good_pictures(evaluate, root):
    for path in (root / "plate/test/scratch").iterdir():
        path.unlink()
    ran = evaluate("--seeds", 1)
    assert (ran.code, ran.summary["rows"][0]["metrics"]) == (0, {})
    assert len(ran.summary["remarks"]) == 2


def test_an_object_with_one_picture(evaluate, root):
    make_object(root / "single", train=1, good=1, bad=1)
    ran = evaluate("--shots", 1, 2, "--seeds", 2, "--objects", "single")
    assert (ran.code, ran.summary["not_run"]) == (2, 3)
    assert ran.summary["rows"][0]["metrics"]["image_auroc"] == {"mean": 1.0, "std": None, "seeds": 1}
    assert any(
        "2 shots with seed 0 need 2 good pictures, and there are 1" in r for r in ran.summary["remarks"]
    )


def test_pictures_of_several_sizes(evaluate, root):
    Image.fromarray(draw_part(5)[:, :90]).save(root / "plate/test/good/001.png")
    assert evaluate("--seeds", 1).code == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs file names of any bytes")
def test_names_that_are_no_text(evaluate, root, tmp_path):
    strange = os.fsdecode(b"caf\xe9")
    (root / "plate").rename(root / strange)
    picture = root / strange / "test/scratch/000.png"
    picture.rename(picture.with_name(f"{strange}.png"))
    draw_mask(side=100).save(root / strange / f"ground_truth/scratch/{strange}_mask.png")
    ran = evaluate("--seeds", 1, "--shots", 1, 9)
    assert (ran.code, len(ran.summary["failed"]), ran.summary["not_run"]) == (2, 1, 1)
    assert "caf" in (tmp_path / "out/report.html").read_text("utf-8")


def test_a_plain_folder_without_masks(evaluate, root):
    shutil.rmtree(root / "plate/ground_truth")
    ran = evaluate("--seeds", 1, dataset="folder")
    assert ran.code == 0
    assert set(ran.summary["rows"][0]["metrics"]) == {"image_auroc", "image_ap", "image_f1_max"}
    assert "there are no masks" in ran.summary["remarks"][0]


def test_worst_cases_are_shown(evaluate, root, tmp_path):
    # A good picture under "scratch" is missed; a scratched one under "good" is a false alarm.
    Image.fromarray(draw_part(95)).save(root / "plate/test/scratch/000.png")
    Image.fromarray(draw_part(96, defect=True)).save(root / "plate/test/good/000.png")
    assert evaluate("--seeds", 1, "--shots", 3).code == 0
    unit = json.loads((tmp_path / "out/results.json").read_text("utf-8"))["units"][0]
    assert {"plate/test/good/000.png": "false alarm"}.items() <= {
        w["file"]: w["what"] for w in unit["worst"]
    }.items()
    page = (tmp_path / "out/report.html").read_text("utf-8")
    assert "Anomaly map over plate/test/good/000.png" in page


def test_published_numbers_are_marked_when_they_do_not_compare(evaluate, root, tmp_path):
    (root / "plate").rename(root / "hazelnut")
    ran = evaluate("--seeds", 1)
    row = ran.summary["rows"][0]
    assert row["published_percent"]["image_auroc"] == 98.0
    assert any("official" in reason for reason in row["not_comparable"])
    assert any("other pictures" in reason for reason in row["not_comparable"])
    assert "not comparable" in (tmp_path / "out/results.md").read_text("utf-8")


def test_0_shots_compare_the_test_pictures_with_each_other(evaluate, edgead, encoder, root, tmp_path):
    # One scratch: two that are alike would excuse each other.
    make_object(root / "slab", train=0, good=6, bad=1)
    ran = evaluate("--shots", 0, "--seeds", 3, "--objects", "slab")
    assert ran.code == 0, ran.err
    (unit,) = json.loads((tmp_path / "out/results.json").read_text("utf-8"))["units"]
    assert (unit["shots"], unit["seed"], unit["references"], unit["failed"]) == (0, 0, [], [])
    metrics = ran.summary["rows"][0]["metrics"]
    assert metrics["image_auroc"] == {"mean": 1.0, "std": None, "seeds": 1}
    assert metrics["pro"]["mean"] > 0.5
    assert "compared with all the others of its object, once" in (tmp_path / "out/results.md").read_text(
        "utf-8"
    )
    # The same numbers as by the command that screens.
    command = [
        "screen",
        root / "slab/test",
        "--encoder",
        encoder,
        "-o",
        tmp_path / "screened",
        "--threads",
        1,
    ]
    assert edgead(*command, "--json").summary["masked"] == unit["masked"]
    lines = (tmp_path / "screened/results.jsonl").read_text("utf-8").splitlines()
    screened = [(line["score"], line["threshold"]) for line in map(json.loads, lines)]
    assert screened == [(picture["score"], unit["threshold"]) for picture in unit["pictures"]]


def test_0_shots_beside_others_in_words(evaluate):
    ran = evaluate("--shots", 0, 1, "--seeds", 2, json=False)
    assert ran.code == 0
    assert "0-shot is run once for each object" in ran.out
    assert ran.out.count("plate, 0-shot, seed 0: image AUROC") == 1
    assert ran.out.count("plate, 1-shot, seed") == 2


def test_0_shots_with_copies_and_gaps(evaluate, root):
    shutil.copy(root / "plate/test/scratch/000.png", root / "plate/test/scratch/001.png")
    (root / "plate/test/good/001.png").write_bytes(b"no picture")
    ran = evaluate("--shots", 0)
    assert ran.code == 2
    assert [failed["file"] for failed in ran.summary["failed"]] == ["plate/test/good/001.png"]
    assert any("1 copy of other test pictures counted once" in remark for remark in ran.summary["remarks"])
    evaluate("--shots", 0, "--strict").assert_refused("001.png", "not a picture", warnings=1)


def test_0_shots_of_one_picture_are_not_run(evaluate, root):
    make_object(root / "single", train=1, good=1, bad=0)
    ran = evaluate("--shots", 0, "--objects", "single")
    assert (ran.code, ran.summary["not_run"]) == (2, 1)
    assert any("two different test pictures" in remark for remark in ran.summary["remarks"])


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--objects", "cup"], ["no object cup", "plate"]),
        (["--dataset", "visa"], ["split_csv/1cls.csv"]),
        (["--root", "nowhere"], ["no folder nowhere"]),
        (["--recipe", "magic"], ["unknown recipe 'magic'"]),
        (["--pro-limit", 0], ["--pro-limit 0.0"]),
        (["--shots", -1], ["--shots"]),
        (["--dataset", "imagenet"], ["imagenet"]),
        (["--encoder", "nowhere"], ["encoder bundle nowhere does not exist"]),
    ],
)
def test_wrong_options_are_one_line(evaluate, options, parts):
    evaluate(*options).assert_refused(*parts)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_an_interrupted_run_goes_on(start_edgead, encoder, root, tmp_path):
    command = [
        "eval", "--dataset", "mvtec", "--root", root, "--encoder", encoder, "--out", tmp_path / "out",
        "--recipe", "anomalydino-informed", "--threads", "1",
    ]  # fmt: skip
    for number in range(3, 60):
        os.link(root / "plate/test/good/000.png", root / f"plate/test/good/{number:03d}.png")
    process = start_edgead(*command, "--shots", "1", "2", "3", "--seeds", "1")
    units = tmp_path / "out/units"
    deadline = time.monotonic() + 60
    while not list(units.glob("*.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from there" in err
    assert "Traceback" not in err
    assert not (tmp_path / "out/report.html").exists()
    assert all(path.suffix == ".json" for path in units.iterdir())
    finished = start_edgead(*command, "--shots", "1", "2", "3", "--seeds", "1")
    out, _ = finished.communicate(timeout=60)
    assert finished.returncode == 0
    assert out.count("(from the earlier run)") >= 1
    assert (tmp_path / "out/report.html").exists()


def test_values_after_an_option_are_its_own():
    given = ["--shots", "1", "2", "--quiet", "--objects", "a", "--root", "x"]
    expected = ["--shots", "1", "--shots", "2", "--quiet", "--objects", "a", "--root", "x"]
    assert repeat_option_names(given, ("--shots", "--objects")) == expected
    assert repeat_option_names(["--shots"], ("--shots",)) == ["--shots"]


def _area(path, *, left):
    area = np.zeros((SIDE, SIDE), dtype=np.uint8)
    area[:, : SIDE // 2 if left else SIDE] = 255
    Image.fromarray(area).save(path)


def test_an_area_that_was_drawn_anew_is_measured_anew(evaluate, tmp_path):
    (tmp_path / "area.toml").write_text(
        'base = "anomalydino-informed"\nmask = "on"\nmask_from = "area"\nmask_image = "area.png"\n'
    )
    _area(tmp_path / "area.png", left=True)
    options = ("--recipe", tmp_path / "area.toml", "--seeds", 1)
    first = json.loads(evaluate(*options).out)["rows"]
    _area(tmp_path / "area.png", left=False)
    assert evaluate(*options).code == 2
    second = json.loads(evaluate(*options, "--overwrite").out)["rows"]
    assert first != second


def test_what_does_not_fit_is_found_out_before_anything_is_written(evaluate, tmp_path):
    evaluate("--shots", 1, 0, "--set", "align=enrolment").assert_refused("--set align=off", warnings=1)
    evaluate("--set", "layers=[7]").assert_refused("no layer 7", warnings=1)
    assert not (tmp_path / "out").exists()


def test_other_settings_are_named(evaluate):
    assert evaluate("--seeds", 1).code == 0
    ran = evaluate("--seeds", 1, "--pro-limit", 0.5)
    assert ran.code == 2
    assert "pro_limit" in ran.err


def test_how_often_alignment_was_refused_is_said(evaluate, root):
    for path in sorted((root / "plate/train/good").iterdir())[1:]:
        Image.fromarray(np.full((SIDE, SIDE), 90, np.uint8)).save(path)
        break
    found = json.loads(evaluate("--shots", 2, "--seeds", 1, "--set", "align=enrolment").out)
    assert any("1 of 1 reference could not be aligned to the first one" in text for text in found["remarks"])
