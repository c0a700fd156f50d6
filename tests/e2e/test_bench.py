"""``edgead bench``: what it writes, says and refuses. Nothing here depends on how long anything took."""

import io
import json

import msgspec
import pytest
from drawn_parts import contents
from edgead_runtime.errors import BundleError, SchemaVersionError
from PIL import Image

from edgead.jobs.bench.record import read_bench, write_bench

FEW = ["--engine", "onnxruntime", "--threads", 1, "--frames", 4, "--warm-up", 1]


@pytest.fixture(scope="module")
def measured(tmp_path_factory, detector):
    """One benchmark with everything, made once."""
    from edgead.cli import run

    folder = tmp_path_factory.mktemp("bench")
    compared = ["--compare", "--threads 2", "--picture", folder / "bench.png", "-o", folder / "bench.json"]
    assert run([str(argument) for argument in ["bench", detector, *FEW, *compared, "--quiet"]]) == 0
    return folder


def test_the_file_says_what_was_measured(measured):
    bench = read_bench(measured / "bench.json")
    subject = bench.measurement.subject
    assert (subject.engine, subject.threads, subject.references) == ("onnxruntime/cpu", 1, 4)
    assert list(bench.measurement.stages) == ["preprocess", "encode", "search", "score", "map", "total"]
    assert all(len(times) == 4 for times in bench.measurement.frames_ms.values())
    assert bench.pictures == 4
    assert [rate.callers for rate in bench.throughput][:2] == [1, 2]
    assert bench.start.total_s >= bench.start.load_s > 0
    assert bench.machine.versions["onnxruntime"]
    (other,) = bench.comparisons
    assert other.measurement.subject.threads == 2
    assert other.ratio.low <= other.ratio.ratio <= other.ratio.high
    assert any("p99 of 4 frames" in remark for remark in bench.remarks)


def test_the_file_comes_back_as_it_was(measured, tmp_path):
    bench = read_bench(measured / "bench.json")
    write_bench(tmp_path / "again.json", bench)
    assert read_bench(tmp_path / "again.json") == bench


def test_the_picture_is_one(measured):
    picture = Image.open(measured / "bench.png")
    assert picture.format == "PNG"
    assert len(picture.convert("RGB").getcolors(1 << 24)) > 10


def test_it_says_and_returns_the_same(edgead, detector, pictures, tmp_path):
    ran = edgead("bench", detector, pictures, *FEW, "--picture", tmp_path / "b.svg", "--json")
    assert ran.code == 0
    assert ran.summary["pictures"] == 2
    assert "frames_ms" not in ran.summary["measurement"]
    assert (tmp_path / "b.svg").read_text().startswith("<svg")
    said = edgead("bench", detector, pictures, *FEW)
    for part in ("p99", "encode", "Throughput", "A fresh process", "onnxruntime/cpu"):
        assert part in said.out
    assert "p99 of 4 frames" in said.err


def test_two_files_are_compared(edgead, measured, tmp_path):
    bench = read_bench(measured / "bench.json")
    faster = msgspec.structs.replace(
        bench,
        machine=msgspec.structs.replace(bench.machine, cpu="Another <processor>"),
        measurement=msgspec.structs.replace(
            bench.measurement,
            frames_ms={
                name: [time / 2 for time in times] for name, times in bench.measurement.frames_ms.items()
            },
        ),
    )
    write_bench(tmp_path / "other.json", faster)
    ran = edgead("bench", "--diff", measured / "bench.json", tmp_path / "other.json")
    assert ran.code == 0
    assert "Another <processor>" in ran.out
    assert "did not do the same work" not in ran.out
    ran = edgead("bench", "--diff", measured / "bench.json", tmp_path / "other.json", "--json")
    assert ran.summary["ratios"]["total"]["ratio"] == pytest.approx(0.5)
    assert ran.summary["same_work"]
    assert [entry["fact"] for entry in ran.summary["differs"]] == ["processor"]


def test_other_work_is_no_comparison(edgead, measured, tmp_path):
    bench = read_bench(measured / "bench.json")
    write_bench(tmp_path / "other.json", msgspec.structs.replace(bench, frame_wh=(9, 9)))
    ran = edgead("bench", "--diff", measured / "bench.json", tmp_path / "other.json")
    assert "did not do the same work" in ran.out


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--frames", 1], ["--frames 1", "at least 2"]),
        (["--frames", "many"], ["--frames", "--help"]),
        (["--warm-up", -1], ["--warm-up -1"]),
        (["--engine", "tensorflow"], ["tensorflow"]),
        (["--compare", "--engine"], ["--compare", "expected one argument"]),
        (["--compare", "--engine 'x"], ["--compare"]),
        (["--compare", "--speed 9"], ["--speed", "--precision bf16"]),
        (["--compare", "--precision int3"], ["int3"]),
        (["--compare", "--threads 0"], ["at least 1"]),
        (["--compare", ""], ["is the setting"]),
        (["--compare", "--detector nowhere.edgead"], ["nowhere.edgead"]),
        (["--picture", "bench.gif"], ["bench.gif", ".png or .svg"]),
        (["-o", "/no/such/folder/b.json"], ["no folder"]),
        (["nowhere"], ["nowhere"]),
        (["--diff"], ["two files, not 1"]),
    ],
)
def test_what_cannot_be_is_refused(edgead, detector, tmp_path, monkeypatch, options, parts):
    monkeypatch.chdir(tmp_path)
    edgead("bench", detector, "--quiet", *options).assert_refused(*parts)
    assert contents(tmp_path) == []


def test_files_are_replaced_only_when_asked(edgead, detector, tmp_path):
    (tmp_path / "b.json").write_text("mine")
    command = ["bench", detector, *FEW, "-o", tmp_path / "b.json", "--quiet"]
    edgead(*command).assert_refused("exists already", "--overwrite")
    assert (tmp_path / "b.json").read_text() == "mine"


def test_pictures_of_another_size(edgead, detector, tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "small.png")
    command = ["bench", detector, tmp_path / "small.png", *FEW]
    edgead(*command).assert_refused("--any-size")
    assert edgead(*command, "--any-size", "--quiet").code == 0


@pytest.mark.parametrize(
    ("text", "error", "part"),
    [
        ("", BundleError, "not a benchmark"),
        ("[1]", BundleError, "not a benchmark"),
        ('{"schema_version": 1, "kind": "edgead-encoder"}', BundleError, "edgead-encoder"),
        ('{"schema_version": 99, "kind": "edgead-bench"}', SchemaVersionError, "version 99"),
        ('{"schema_version": 1, "kind": "edgead-bench"}', BundleError, "damaged"),
    ],
)
def test_files_that_are_no_benchmark(tmp_path, text, error, part):
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(error, match=part):
        read_bench(path)


def test_a_file_without_frames(measured, tmp_path):
    data = json.loads((measured / "bench.json").read_text())
    data["measurement"]["frames_ms"] = {}
    (tmp_path / "b.json").write_text(json.dumps(data))
    with pytest.raises(BundleError, match="no frames"):
        read_bench(tmp_path / "b.json")


def test_both_canvases_draw_the_same_words():
    from edgead.report.latency_chart import LatencySeries, draw_latency

    series = [LatencySeries("<a>", [10.0, 12.0, 11.0], {"encode": 9.0, "map": 2.0})]
    svg = draw_latency("All & sundry", ["One line."], series, ["A doubt."], ".svg").decode()
    assert "All &amp; sundry" in svg
    assert "&lt;a&gt;" in svg
    assert "p99" in svg
    png = Image.open(io.BytesIO(draw_latency("All & sundry", [], series, [], ".png")))
    assert png.width == 2 * 980
