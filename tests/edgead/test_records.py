import csv
import json
import os
from pathlib import Path

import pytest
from edgead_runtime import Region

from edgead.records import (
    FailedPicture,
    InspectedPicture,
    shown_path,
    write_results_csv,
    write_results_jsonl,
)

INSPECTED = InspectedPicture(
    file="line 1/Größe, 2.png",
    width=30,
    height=20,
    score=0.25,
    threshold=0.2,
    is_anomaly=True,
    regions=(Region(x=1, y=2, width=3, height=4, area_px=9, peak=0.5),),
    timings_ms={"encode": 1.23456},
    overlay="overlays/00001-x.jpg",
)
FAILED = FailedPicture("text.png", "text.png is not a picture", "Give PNG files.")


def test_jsonl_has_one_object_a_picture_in_order(tmp_path):
    write_results_jsonl(tmp_path / "r.jsonl", [INSPECTED, FAILED], {"detector": "abc"})
    first, second = map(json.loads, (tmp_path / "r.jsonl").read_text("utf-8").splitlines())
    assert first["file"] == INSPECTED.file
    assert first["regions"] == [{"x": 1, "y": 2, "width": 3, "height": 4, "area_px": 9, "peak": 0.5}]
    assert first["timings_ms"] == {"encode": 1.235}
    assert first["provenance"] == second["provenance"] == {"detector": "abc"}
    assert second["error"] == FAILED.problem
    assert "score" not in second


def test_csv_has_one_row_a_picture(tmp_path):
    write_results_csv(tmp_path / "r.csv", [INSPECTED, FAILED])
    with (tmp_path / "r.csv").open(encoding="utf-8-sig", newline="") as stream:
        first, second = csv.DictReader(stream)
    assert (first["file"], first["score"], first["is_anomaly"]) == (INSPECTED.file, "0.25", "true")
    assert (first["regions"], first["largest_region_px"], first["error"]) == ("1", "9", "")
    assert (second["score"], second["error"]) == ("", FAILED.problem)


@pytest.mark.skipif(os.name == "nt", reason="Windows file names are Unicode")
def test_a_name_that_is_not_unicode_can_be_written():
    shown_path(Path(os.fsdecode(b"caf\xe9.png"))).encode("utf-8")


def test_a_name_that_a_spreadsheet_would_run_is_disarmed():
    assert shown_path(Path("=cmd|' /C calc'!A0.png")) == "./=cmd|' /C calc'!A0.png"
    assert shown_path(Path("line/-3.png")) == "line/-3.png"
