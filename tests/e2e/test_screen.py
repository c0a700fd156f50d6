"""``edgead screen`` as a person uses it: a batch without references, its copies, gaps and interruptions."""

import csv
import json
import os
import shutil
import signal
import time

import numpy as np
import pytest
from drawn_parts import contents, draw_part
from edgead_runtime import Encoder, find_recipe, read_picture
from edgead_runtime.errors import OutputError
from PIL import Image
from reference.anomalydino import batch_zero_shot_distances, image_score
from tiny_encoder import write_tiny_encoder

from edgead.jobs.screen import ScreeningPlan, encode
from edgead.jobs.screen import screen as run_screening
from edgead.jobs.screen.work import WORK
from edgead.records import InspectedPicture

GOOD = 6


@pytest.fixture
def batch(tmp_path):
    """Six good parts and a scratched one."""
    folder = tmp_path / "batch"
    folder.mkdir()
    for number in range(GOOD):
        Image.fromarray(draw_part(number)).save(folder / f"part-{number}.png")
    Image.fromarray(draw_part(70, defect=True)).save(folder / "scratched.png")
    return folder


@pytest.fixture
def screen(edgead, encoder, batch, tmp_path):
    """Run it on ``batch`` without a mask; ``--json`` unless told otherwise."""

    def call(*options, json=True):
        extra = ["--json"] if json else []
        fixed = ["--encoder", encoder, "-o", tmp_path / "out", "--mask", "off", "--threads", 1]
        return edgead("screen", batch, *fixed, *options, *extra)

    return call


def read_records(out):
    return [json.loads(line) for line in (out / "results.jsonl").read_text("utf-8").splitlines()]


def test_the_odd_one_stands_out_and_everything_is_written(screen, tmp_path):
    ran = screen()
    assert ran.code == 1, ran.err
    out = tmp_path / "out"
    assert [name for name in contents(out) if "/" not in name] == [
        "overlays", "report.html", "results.csv", "results.jsonl",
    ]  # fmt: skip
    assert len(list((out / "overlays").iterdir())) == GOOD + 1
    assert (ran.summary["inspected"], ran.summary["anomalous"]) == (GOOD + 1, 1)
    assert ran.summary["threshold"]["is_a_guess"] is True
    assert set(ran.summary["latency_ms"]) >= {"preprocess", "encode", "search", "map", "total"}
    records = read_records(out)
    assert [record["file"].rsplit("/")[-1] for record in records if record["is_anomaly"]] == ["scratched.png"]
    assert max(record["score"] for record in records) == records[-1]["score"]
    assert "guess" in records[0]["provenance"]["threshold"]
    with (out / "results.csv").open(encoding="utf-8-sig", newline="") as stream:
        assert [float(row["score"]) for row in csv.DictReader(stream)] == [r["score"] for r in records]
    page = (out / "report.html").read_text("utf-8")
    assert page.index("scratched.png") < page.index("part-0.png")
    for said in ("A ranking, not an inspection", "guess", "no. 1 <span", "of 7", "Not the official weights"):
        assert said in page
    assert "good pictures</" not in page


def test_scores_are_those_of_the_paper(screen, batch, encoder, tmp_path):
    share = 0.02
    (tmp_path / "mine.toml").write_text(f"batch_share = {share}\ntop_fraction = 0.1\n")
    assert screen("--recipe", tmp_path / "mine.toml").code == 1
    with Encoder.load(encoder, threads=1) as loaded:
        tokens = [loaded.encode(read_picture(path).frame).tokens for path in sorted(batch.iterdir())]
    expected = []
    for distances in batch_zero_shot_distances(tokens, share):
        ordered = np.sort(distances)[::-1]
        expected.append(ordered[: int(len(ordered) * 0.1)].mean())
    assert image_score(distances) > 0
    assert [r["score"] for r in read_records(tmp_path / "out")] == pytest.approx(expected, abs=1e-5)


def test_in_words(screen, tmp_path):
    ran = screen(json=False)
    assert "is a guess from the scores of these 7 pictures" in ran.out
    assert "7 compared, 1 above the guess" in ran.out
    assert screen("--overwrite", "--quiet", json=False).out == ""
    screen(json=False).assert_refused("already holds results", "--overwrite")


def test_nothing_stands_out_among_equals(screen, batch):
    (batch / "scratched.png").unlink()
    Image.fromarray(draw_part(3)).save(batch / "more.png")
    assert screen("--recipe", "patchead").code in (0, 1)


def test_copies_count_once_and_are_named(screen, batch, tmp_path):
    assert screen().code == 1
    alone = {record["file"]: record["score"] for record in read_records(tmp_path / "out")}
    # Beside its copy the scratch would look normal.
    shutil.copy(batch / "scratched.png", batch / "a-copy.png")
    ran = screen("--overwrite")
    assert ran.code == 1
    assert ran.err.count("is a copy and counts once") == 1
    ((copy, first),) = ran.summary["copies"].items()
    # The first in the order of the names is the original.
    assert (copy.rsplit("/")[-1], first.rsplit("/")[-1]) == ("scratched.png", "a-copy.png")
    both = {record["file"]: record["score"] for record in read_records(tmp_path / "out")}
    assert both.pop(first) == both[copy]
    assert both == alone
    assert ran.summary["threshold"]["pictures"] == GOOD + 1
    assert "is a copy of" in (tmp_path / "out/report.html").read_text("utf-8")


def test_unreadable_pictures_are_skipped_counted_and_listed(screen, batch, tmp_path):
    assert screen().code == 1
    whole = [record["score"] for record in read_records(tmp_path / "out")]
    (batch / "part-0-not.png").write_bytes(b"no picture")
    ran = screen("--overwrite")
    assert ran.code == 2
    assert [failed["file"].rsplit("/")[-1] for failed in ran.summary["failed"]] == ["part-0-not.png"]
    assert "1 could not be inspected" in ran.err
    assert [record["score"] for record in read_records(tmp_path / "out") if "score" in record] == whole
    screen("--overwrite", "--strict").assert_refused("part-0-not.png", "not a picture", warnings=1)
    # The earlier results stay until there are new ones.
    assert (tmp_path / "out/report.html").exists()


def test_a_mask_in_spite_of_an_unreadable_sample(edgead, encoder, batch, tmp_path):
    for number in range(GOOD - 1):
        (batch / f"part-{number}.png").write_bytes(b"no picture")
    ran = edgead("screen", batch, "--encoder", encoder, "-o", tmp_path / "out", "--json", "--mask", "on")
    assert (ran.code, ran.summary["masked"], ran.summary["inspected"]) == (2, True, 2)


def test_auto_says_why_it_does_not_mask(edgead, encoder, batch, tmp_path):
    ran = edgead("screen", batch, "--encoder", encoder, "-o", tmp_path / "out", "--json")
    assert ran.code in (0, 1)
    assert "reference" not in ran.summary["mask_reason"]


def test_pictures_of_several_sizes(screen, batch, tmp_path):
    Image.fromarray(draw_part(5)[:, :90]).save(batch / "narrow.png")
    assert screen().code in (0, 1)
    (narrow,) = [r for r in read_records(tmp_path / "out") if r["file"].endswith("narrow.png")]
    assert (narrow["width"], narrow["height"]) == (90, 120)
    assert Image.open(tmp_path / "out" / narrow["overlay"]).format == "JPEG"


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        ({"part-0.png"}, "fewer than two different pictures"),
        ({"part-0.png", "copy.png"}, "1 of the same picture"),
        ({"part-0.png", "broken.png"}, "1 file cannot be read"),
        ({"broken.png"}, "fewer than two different pictures"),
    ],
)
def test_too_few_pictures(screen, batch, tmp_path, kept, says):
    shutil.copy(batch / "part-0.png", batch / "copy.png")
    (batch / "broken.png").write_bytes(b"no picture")
    for path in batch.iterdir():
        if path.name not in kept:
            path.unlink()
    screen().assert_refused(says, "most of them must be good", warnings=1)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--encoder", "nowhere"], ["encoder bundle nowhere does not exist"]),
        (["--recipe", "magic"], ["unknown recipe 'magic'"]),
        (["--mask", "maybe"], ["--mask"]),
        (["nowhere"], ["no file or folder nowhere"]),
    ],
)
def test_wrong_options_are_one_line(screen, options, parts, tmp_path):
    screen(*options).assert_refused(*parts)
    assert not (tmp_path / "out").exists()


def test_a_recipe_that_does_not_fit(screen, tmp_path):
    (tmp_path / "deep.toml").write_text("layers = [7]\n")
    screen("--recipe", tmp_path / "deep.toml").assert_refused("no layer 7", warnings=1)
    for recipe, says in (("subspace", "--set head=bank"), ("patchead+", "--set align=off")):
        screen("--recipe", recipe).assert_refused(says, warnings=1)
    aligned = ("--recipe", "patchead+once", "--set", "mask=off")
    screen(*aligned).assert_refused("align = 'enrolment'", "--set align=off", warnings=1)
    assert not (tmp_path / "out").exists()


def test_no_pictures(edgead, encoder, tmp_path):
    (tmp_path / "empty").mkdir()
    ran = edgead("screen", tmp_path / "empty", "--encoder", encoder, "-o", tmp_path / "out")
    ran.assert_refused("no pictures")


def test_folders_of_others_are_left_alone(screen, edgead, detector, batch, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("x")
    screen("--overwrite").assert_refused("not of results (thesis.txt)")
    (out / "thesis.txt").unlink()
    (out / WORK).mkdir()
    (out / WORK / "notes.txt").write_text("x")
    screen("--overwrite").assert_refused("not of results (work)")
    assert contents(out) == ["work", "work/notes.txt"]
    edgead("detect", detector, batch, "-o", out, "--overwrite").assert_refused("not of results (work)")


# -- interruptions -------------------------------------------------------------------------------------


class CutOffError(Exception):
    """The power cut of these tests."""


def plan_of(batch, out, **changes):
    paths = tuple(sorted(batch.iterdir()))
    recipe = find_recipe("anomalydino").with_(mask="auto", **changes)
    return ScreeningPlan(paths=paths, out=out, recipe=recipe, report_limit=3)


def scores_of(screening):
    return [
        (record.score, record.threshold, record.regions)
        if isinstance(record, InspectedPicture)
        else record.problem
        for record in screening.records
    ]


@pytest.fixture
def loaded(encoder):
    with Encoder.load(encoder, threads=1) as opened:
        yield opened


def cut_off_at(stage, done):
    def progress(now, at, total):
        if (now, at) == (stage, done):
            raise CutOffError

    return progress


@pytest.mark.parametrize(
    ("stage", "done"), [("encoding", 0), ("encoding", 4), ("comparing", 4), ("painting", 5)]
)
def test_what_was_cut_off_goes_on_with_the_same_bits(loaded, batch, tmp_path, monkeypatch, stage, done):
    shutil.copy(batch / "part-1.png", batch / "part-3-copy.png")
    (batch / "part-2-not.png").write_bytes(b"no picture")
    whole = run_screening(loaded, plan_of(batch, tmp_path / "whole"))
    out = tmp_path / "out"
    with pytest.raises(CutOffError):
        run_screening(loaded, plan_of(batch, out), cut_off_at(stage, done))
    assert contents(out)[0] == WORK
    assert not (out / "report.html").exists()
    encoded = []
    real = encode.encode_frame
    monkeypatch.setattr(encode, "encode_frame", lambda *args: encoded.append(1) or real(*args))
    continued = run_screening(loaded, plan_of(batch, out))
    assert scores_of(continued) == scores_of(whole)
    assert (out / "results.csv").read_bytes() == (tmp_path / "whole/results.csv").read_bytes()
    # Nine files, one of them no picture.
    assert len(encoded) == {("encoding", 0): 8, ("encoding", 4): 5}.get((stage, done), 0)
    assert WORK not in contents(out)


@pytest.mark.parametrize(
    ("name", "keep"),
    [("features.f32", 0.5), ("features.jsonl", 0.45), ("distances.f32", 0.3), ("distances.jsonl", 0.77)],
)
def test_a_work_file_that_was_cut_short(loaded, batch, tmp_path, name, keep):
    whole = run_screening(loaded, plan_of(batch, tmp_path / "whole"))
    out = tmp_path / "out"
    with pytest.raises(CutOffError):
        run_screening(loaded, plan_of(batch, out), cut_off_at("painting", 0))
    path = out / WORK / name
    os.truncate(path, int(path.stat().st_size * keep))
    assert scores_of(run_screening(loaded, plan_of(batch, out))) == scores_of(whole)


def test_a_work_file_with_a_flipped_bit(loaded, batch, tmp_path):
    whole = run_screening(loaded, plan_of(batch, tmp_path / "whole"))
    out = tmp_path / "out"
    with pytest.raises(CutOffError):
        run_screening(loaded, plan_of(batch, out), cut_off_at("comparing", 2))
    path = out / WORK / "features.f32"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 64
    path.write_bytes(data)
    assert scores_of(run_screening(loaded, plan_of(batch, out))) == scores_of(whole)


def test_work_of_other_settings_or_pictures_is_not_mixed_in(loaded, screen, batch, tmp_path):
    with pytest.raises(CutOffError):
        run_screening(loaded, plan_of(batch, tmp_path / "out"), cut_off_at("comparing", 2))
    screen("--recipe", "patchead").assert_refused("unfinished screening", "--overwrite", warnings=1)
    Image.fromarray(draw_part(90)).save(batch / "part-0.png")
    screen().assert_refused("other settings or pictures", "--overwrite", warnings=1)
    assert screen("--overwrite").code in (0, 1)
    assert not (tmp_path / "out" / WORK).exists()


def test_a_picture_that_changes_meanwhile_is_not_shown_with_another_ones_score(loaded, batch, tmp_path):
    def progress(stage, done, total):
        if (stage, done) == ("painting", 0):
            Image.fromarray(draw_part(90)).save(batch / "part-4.png")

    screening = run_screening(loaded, plan_of(batch, tmp_path / "out"), progress)
    (failed,) = screening.failed
    assert "changed during the screening" in failed.problem


def test_a_disk_that_is_too_small_is_told_at_once(loaded, batch, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OutputError, match="GB"):
        run_screening(loaded, plan_of(batch, tmp_path / "out"))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_a_process_that_is_stopped_twice_goes_on(start_edgead, tmp_path):
    encoder = write_tiny_encoder(tmp_path / "encoder", side=224)
    batch = tmp_path / "batch"
    batch.mkdir()
    for number in range(24):
        Image.fromarray(draw_part(number, defect=number == 7)).save(batch / f"{number:02d}.png")
    command = ["screen", batch, "--encoder", encoder, "--mask", "off", "--threads", "1", "--quiet", "-o"]
    scores = tmp_path / "out" / WORK / "distances.jsonl"
    done = 0
    for stop, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        process = start_edgead(*command, tmp_path / "out")
        deadline = time.monotonic() + 60
        while not scores.exists() or scores.stat().st_size <= done:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(stop)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code
        assert "Traceback" not in err
        assert ("the same command goes on from there" in err) == (stop == signal.SIGINT)
        assert not (tmp_path / "out/report.html").exists()
        done = scores.stat().st_size
    for out in ("out", "whole"):
        other = start_edgead(*command, tmp_path / out)
        _, err = other.communicate(timeout=60)
        assert other.returncode == 1, err
    assert (tmp_path / "out/results.csv").read_bytes() == (tmp_path / "whole/results.csv").read_bytes()
