"""What the commands leave behind, print and end with, when all is well."""

import csv
import json
import shutil
from itertools import pairwise

import pytest
from drawn_parts import contents, draw_part
from edgead_runtime import Detector, read_picture
from PIL import Image


def read_jsonl(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text("utf-8").splitlines()]


def test_enroll_writes_the_detector_and_its_sheet(edgead, encoder, good, tmp_path):
    ran = edgead("enroll", "--encoder", encoder, "--good", good, "-o", tmp_path / "part.edgead")
    assert ran.code == 0
    assert contents(tmp_path) == ["part.edgead", "part.enrolment.png"]
    assert "Enrolled 4 good pictures" in ran.out
    assert "20.0%" in ran.out
    assert str(tmp_path / "part.enrolment.png") in ran.out
    assert ran.err.count("not the official weights") == 1


def test_enroll_as_json(edgead, encoder, good, tmp_path):
    options = ["--recipe", "anomalydino-informed", "--shots", 3, "--top-fraction", 0.02, "--smoothing", 0]
    ran = edgead(
        "enroll", "--encoder", encoder, "--good", good, "-o", tmp_path / "p.edgead", "--json", *options
    )
    assert ran.summary["references"] == ["good-0.png", "good-1.png", "good-2.png"]
    assert ran.summary["recipe"]["top_fraction"] == 0.02
    assert ran.summary["recipe"]["rotations_deg"] == [0.0]
    assert ran.summary["calibration"]["method"] == "leave-one-out"
    assert ran.summary["official_weights"] is False


@pytest.mark.parametrize("recipe", ["anomalydino-informed", "patchead"])
def test_enroll_inspects_nothing_but_an_area(edgead, encoder, good, tmp_path, recipe):
    """Also with a recipe that does not mask, or that only damps."""
    corners = "0.25,0.25 0.75,0.25 0.75,0.75 0.25,0.75"
    options = ["--recipe", recipe, "--set", "background_weight=0.5", "--area-polygon", corners]
    ran = edgead("enroll", "--encoder", encoder, "--good", good, "-o", tmp_path / "a", "--json", *options)
    assert ran.summary["mask"]["enabled"]
    assert {"#", "."} == set("".join(ran.summary["mask"]["area"]))
    assert ran.summary["recipe"]["background_weight"] == 0.5  # as was asked for
    ran = edgead("enroll", "--encoder", encoder, "--good", good, "-o", tmp_path / "b", "--json", *options[:2],
                 *options[4:])  # fmt: skip
    assert ran.summary["recipe"]["background_weight"] == 0.0


def test_enroll_with_held_out_pictures_and_a_rate(edgead, encoder, good, tmp_path):
    held_out = tmp_path / "held-out"
    held_out.mkdir()
    for number in range(20, 24):
        Image.fromarray(draw_part(number)).save(held_out / f"{number}.png")
    ran = edgead(
        "enroll", "--encoder", encoder, "--good", good, "-o", tmp_path / "p.edgead", "--json",
        "--calibrate", held_out, "--false-alarm-rate", 0.4,
    )  # fmt: skip
    assert ran.summary["calibration"]["method"] == "held-out"
    assert ran.summary["calibration"]["false_alarm_rate"] == pytest.approx(0.4)


def test_enroll_replaces_only_when_asked(edgead, encoder, good, tmp_path):
    command = ["enroll", "--encoder", encoder, "--good", good, "-o", tmp_path / "p.edgead", "--quiet"]
    assert edgead(*command).code == 0
    before = (tmp_path / "p.edgead").read_bytes()
    edgead(*command, "--threshold", 1).assert_refused("exists already", "--overwrite")
    assert (tmp_path / "p.edgead").read_bytes() == before
    assert edgead(*command, "--threshold", 1, "--overwrite").code == 0
    assert (tmp_path / "p.edgead").read_bytes() != before


def test_a_self_contained_detector_needs_no_encoder(edgead, good, pictures, tmp_path, encoder):
    moved = shutil.copytree(encoder, tmp_path / "moved")
    path = tmp_path / "p.edgead"
    assert edgead("enroll", "--encoder", moved, "--good", good, "-o", path, "--self-contained").code == 0
    shutil.rmtree(moved)
    assert edgead("detect", path, pictures, "-o", tmp_path / "out").code in (0, 1)


def test_detect_leaves_results_that_agree_with_each_other_and_with_the_api(
    edgead, detector, pictures, tmp_path
):
    out = tmp_path / "out"
    ran = edgead("detect", detector, pictures, "-o", out)
    assert ran.code == 1
    assert contents(out) == [
        "overlays",
        "overlays/00001-fine.jpg",
        "overlays/00002-scratched.jpg",
        "report.html",
        "results.csv",
        "results.jsonl",
    ]
    records = read_jsonl(out)
    assert [record["is_anomaly"] for record in records] == [False, True]
    with (out / "results.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    page = (out / "report.html").read_text("utf-8")
    with Detector.load(detector) as loaded:
        for record, row in zip(records, rows, strict=True):
            result = loaded(read_picture(pictures / row["file"].rsplit("/", 1)[-1]).frame)
            assert record["score"] == pytest.approx(result.score)
            assert float(row["score"]) == record["score"]
            assert f"{record['score']:.4g}" in page
            assert len(record["regions"]) == len(result.regions)
            assert record["provenance"]["encoder"] == loaded.provenance.encoder
    assert Image.open(out / records[1]["overlay"]).format == "JPEG"


def test_exit_code_and_summary(edgead, detector, pictures, tmp_path):
    fine = edgead("detect", detector, pictures / "fine.png", "-o", tmp_path / "1", "--json")
    assert (fine.code, fine.summary["anomalous"], fine.summary["failed"]) == (0, 0, [])
    both = edgead("detect", detector, pictures, "-o", tmp_path / "2", "--json")
    assert (both.code, both.summary["inspected"], both.summary["anomalous"]) == (1, 2, 1)
    assert set(both.summary["latency_ms"]) >= {"preprocess", "encode", "search", "map", "total"}
    none = edgead("detect", detector, pictures, "-o", tmp_path / "3", "--json", "--threshold", 2)
    assert (none.code, none.summary["anomalous"]) == (0, 0)


def test_quiet_prints_warnings_only(edgead, detector, pictures, tmp_path):
    ran = edgead("detect", detector, pictures, "-o", tmp_path / "out", "--quiet")
    assert ran.out == ""
    assert ran.err == "edgead: these are not the official weights: random\n"


def test_one_name_in_two_folders(edgead, detector, pictures, tmp_path):
    twin = tmp_path / "twin"
    twin.mkdir()
    shutil.copy(pictures / "scratched.png", twin / "fine.png")
    edgead("detect", detector, pictures, twin, "-o", tmp_path / "out")
    records = read_jsonl(tmp_path / "out")
    assert len({record["file"] for record in records}) == 3
    assert len({record["overlay"] for record in records}) == 3
    assert all((tmp_path / "out" / record["overlay"]).is_file() for record in records)
    assert [record["is_anomaly"] for record in records] == [False, True, True]


def test_detect_does_not_inspect_its_own_overlays(edgead, detector, pictures):
    out = pictures / "out"
    for _ in range(2):
        ran = edgead("detect", detector, pictures, "-o", out, "--json", "--overwrite")
        assert ran.summary["pictures"] == 2


def test_results_are_replaced_only_when_asked_and_only_results(edgead, detector, pictures, tmp_path):
    out = tmp_path / "out"
    command = ["detect", detector, pictures / "fine.png", "-o", out, "--quiet"]
    assert edgead(*command).code == 0
    edgead(*command).assert_refused("already holds results", "--overwrite")
    assert edgead(*command, "--overwrite").code == 0
    edgead("detect", detector, pictures, "-o", pictures, "--overwrite").assert_refused(
        "not of results (fine.png)", "new folder"
    )
    assert contents(pictures) == ["fine.png", "scratched.png"]


def test_the_report_limit_spares_images_and_not_results(edgead, detector, pictures, tmp_path):
    edgead("detect", detector, pictures, "-o", tmp_path / "out", "--report-limit", 1)
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg") == 2
    assert "fine.png" in page
    assert "the other 1 are listed" in page


def test_recipes_version_and_help(edgead):
    assert "anomalydino-informed" in edgead("recipes").out
    assert edgead("--version").out.startswith("edgead 0.")
    assert "Exit codes" in edgead("--help").out
    assert edgead().code == 0


@pytest.mark.parametrize("command", ["detect", "screen"])
def test_help_tells_the_exit_codes(edgead, command):
    ran = edgead(command, "--help")
    assert ran.code == 0
    assert "at least one is anomalous" in " ".join(ran.out.replace("│", " ").split())


@pytest.mark.parametrize("command", ["export", "enroll", "run", "eval", "verify", "bench", "tune", "demo"])
def test_help_reads_well(edgead, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    page = edgead(command, "--help").out
    assert "<bool>" not in page, "a switch takes no value"
    assert "anomalous" not in page.partition("Exit codes")[2], "these are not of what the command does"
    for line, following in pairwise(page.splitlines()):
        broken = line.strip() and following.strip() and not line.startswith(("│", "╭", "╰", " Usage"))
        if broken and following.startswith(" "):
            first = following.split()[0]
            assert len(line.rstrip()) + 1 + len(first) >= 99, "no line ends before it is full"


def test_files_that_are_not_looked_at_are_named(edgead, detector, pictures, tmp_path):
    (pictures / "clip.mp4").touch()
    ran = edgead("detect", detector, pictures, "-o", tmp_path / "out", "--quiet")
    assert "not looked at" in ran.err
    assert "1 file (clip.mp4)" in ran.err


def test_printed_commands_survive_spaces(edgead, encoder, good, tmp_path):
    part = tmp_path / "part no 1.edgead"
    ran = edgead("enroll", "--encoder", encoder, "--good", good, "-o", part)
    assert f"edgead detect '{part}' PICTURES" in " ".join(ran.out.split())


def test_the_doctor_says_what_runs_here(edgead):
    ran = edgead("doctor")
    assert ran.code == 0
    assert ran.out.startswith("Detectors run here on the ")
    assert "yes  onnxruntime on cpu" in ran.out
