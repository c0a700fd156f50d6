"""Every kind of bad input: its exit code, one line with the remedy, and nothing half-written."""

import errno
import json
import os
import shutil
import signal
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from drawn_parts import SIDE, contents, draw_part
from edgead_runtime.files import sha256_bytes
from PIL import Image
from safetensors.numpy import save_file
from tiny_encoder import write_tiny_encoder

# -- export --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--backbone", "dinov2_small"], ["dinov2_small", "dinov2_s"]),
        (["--backbone", "dinov2_s", "--res", "20"], ["20", "28"]),
        (["--backbone", "dinov2_s", "--res", "100000"], ["100000", "1400"]),
        (["--backbone", "dinov2_s", "--res", "large"], ["large", "448"]),
        (["--backbone", "dinov2_s", "--layers", "13"], ["layer 13", "12"]),
        (["--backbone", "dinov2_s", "--layers", "last"], ["last", "6,9"]),
        (["--backbone", "dinov2_s", "--weights", "no-such.pth"], ["no-such.pth", "standin"]),
        (["--backbone", "dinov2_s", "--fit", "zoom"], ["zoom", "--help"]),
    ],
)
def test_export_refuses_impossible_options(edgead, tmp_path, arguments, parts):
    edgead("export", *arguments, "--out", tmp_path / "encoder", "--quiet").assert_refused(*parts)
    assert contents(tmp_path) == []


def test_export_refuses_weights_of_another_model(edgead, tmp_path):
    weights = tmp_path / "resnet.safetensors"
    save_file({"layer1.0.conv1.weight": np.zeros((64, 64, 3, 3), dtype=np.float32)}, weights)
    ran = edgead("export", "--backbone", "dinov2_s", "--weights", weights, "--out", tmp_path / "e", "--quiet")
    ran.assert_refused("resnet.safetensors")
    assert contents(tmp_path) == ["resnet.safetensors"]


@pytest.mark.parametrize(
    ("command", "warnings"), [(["export", "--weights", "standin", "--out"], 1), (["demo", "-o"], 0)]
)
def test_no_network(edgead, tmp_path, monkeypatch, command, warnings):
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    ran = edgead(*command, tmp_path / "made", "--quiet")
    ran.assert_refused("cannot fetch", "network", warnings=warnings)
    assert not list((tmp_path / "cache").rglob("*.whl"))
    assert not (tmp_path / "made" / "encoder").exists()


def test_export_and_demo_replace_nothing_of_others(edgead, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    edgead("export", "--out", tmp_path, "--overwrite").assert_refused(
        "not of an encoder bundle (thesis.txt)", "--out"
    )
    edgead("demo", "-o", tmp_path, "--quiet").assert_refused("not the demo's", "-o")
    assert contents(tmp_path) == ["thesis.txt"]


# -- enroll --------------------------------------------------------------------------------------------


def test_enroll_without_pictures(edgead, encoder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no picture")
    edgead("enroll", "--encoder", encoder, "--good", empty, "-o", tmp_path / "p.edgead").assert_refused(
        "no pictures", "at least one picture"
    )
    assert contents(tmp_path) == ["empty", "empty/notes.txt"]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--recipe", "anomalydini"], ["anomalydini", "anomalydino-informed"]),
        (["--shots", "9"], ["--shots 9", "--shots 4"]),
        (["--shots", "0"], ["--shots", "--help"]),
        (["--false-alarm-rate", "0.01"], ["1.00%", "99"]),
        (["--false-alarm-rate", "7"], ["7", "between 0 and 1"]),
        (["--threshold", "nan"], ["nan"]),
        (["--top-fraction", "3"], ["top_fraction is 3", "up to 1"]),
        (["--layers", "12"], ["no layer 12", "--layers 12"]),
        (["--layers", "last"], ["last", "--help"]),
        (["--set", "neighbours"], ["--set neighbours", "NAME=VALUE"]),
        (["--set", "neighbors=3"], ["no field neighbors", "Did you mean neighbours?"]),
        (["--set", "statistic=median"], ["statistic"]),
        (["--area-image", "nowhere.png"], ["there is no mask_image", "nowhere.png"]),
        (["--area-polygon", "0,0 1,0 1"], ["--area-polygon", "corners"]),
        (["--area-polygon", "0,0 1,0"], ["2 corners"]),
        (["--area-polygon", "0,0 1,0 1,1", "--mask", "off"], ["masking is off"]),
        (["--set", "x=" + "[" * 5000], ["nested too deeply"]),
        (["--recipe", "patchead+"], ["attention", "--attention"]),
        (["--mask", "maybe"], ["maybe", "--help"]),
        (["--calibrate", "nowhere"], ["nowhere", "path"]),
        (["--sheet", "/no/such/folder/sheet.png"], ["no folder", "Make it"]),
        (["--mask", "maybe"], ["'--mask': 'maybe' is not one of"]),
        (["--bogus"], ["--bogus", "--help"]),
    ],
)
def test_enroll_refuses_impossible_options(*, edgead, encoder, good, tmp_path, options, parts):
    command = ["enroll", "--encoder", encoder, "--good", good, "-o", tmp_path / "p.edgead", "--quiet"]
    edgead(*command, *options).assert_refused(*parts)
    assert contents(tmp_path) == []


def test_enroll_does_not_leave_its_sheet_among_the_good_pictures(edgead, encoder, tmp_path):
    Image.fromarray(draw_part(0)).save(tmp_path / "good.png")
    command = ["enroll", "--encoder", encoder, "--good", tmp_path, "-o", tmp_path / "p.edgead"]
    edgead(*command).assert_refused("among the good pictures", "--sheet")
    assert contents(tmp_path) == ["good.png"]


def test_enroll_with_a_text_file_among_the_good(edgead, encoder, tmp_path):
    folder = tmp_path / "good"
    folder.mkdir()
    Image.fromarray(draw_part(0)).save(folder / "a.png")
    (folder / "b.png").write_text("I am no picture")
    command = ["enroll", "--encoder", encoder, "--good", folder, "-o", tmp_path / "p.edgead"]
    edgead(*command).assert_refused("b.png is not a picture", "PNG")
    assert contents(tmp_path) == ["good", "good/a.png", "good/b.png"]


def test_enroll_on_a_full_disk(edgead, encoder, good, tmp_path, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    command = ["enroll", "--encoder", encoder, "--good", good, "-o", tmp_path / "p.edgead", "--quiet"]
    edgead(*command).assert_refused("disk is full", "Free some space")
    assert contents(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="rights are told of a folder on POSIX alone")
def test_a_place_without_rights_is_refused_before_the_work(edgead, encoder, good, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, _mode: place != tmp_path)  # root may write everywhere
    enrolling = ["enroll", "--encoder", encoder, "--good", good, "-o", tmp_path / "p.edgead"]
    edgead(*enrolling).assert_refused("p.edgead: Permission denied", "that you may write to")
    exporting = ["export", "--backbone", "dinov2_s", "--out", tmp_path / "new" / "encoder"]
    edgead(*exporting).assert_refused("encoder: Permission denied", "that you may write to")


def test_enroll_into_a_place_that_cannot_be_written(edgead, encoder, good, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    command = ["enroll", "--encoder", encoder, "--good", good, "-o", tmp_path / "file" / "p.edgead"]
    edgead(*command).assert_refused("no folder", "Make it")


# -- bundles -------------------------------------------------------------------------------------------


def rewritten(detector, target, change):
    """A copy of a detector whose members went through ``change(name, data) -> (name, data)``."""
    with zipfile.ZipFile(detector) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            new.writestr(*change(name, old.read(name)))
    return target


def manifest_with(**fields):
    def change(name, data):
        return name, json.dumps({**json.loads(data), **fields}) if name == "manifest.json" else data

    return change


def test_a_truncated_detector(edgead, detector, pictures, tmp_path):
    cut = tmp_path / "cut.edgead"
    cut.write_bytes(detector.read_bytes()[:-2000])
    edgead("detect", cut, pictures, "-o", tmp_path / "out").assert_refused(
        "cut.edgead", "Copy the file again"
    )
    assert not (tmp_path / "out").exists()


def test_an_altered_detector(edgead, detector, pictures, tmp_path):
    def flip(name, data):
        return name, data[:-1] + bytes([data[-1] ^ 1]) if name.endswith("safetensors") else data

    bad = rewritten(detector, tmp_path / "bad.edgead", flip)
    edgead("detect", bad, pictures, "-o", tmp_path / "out").assert_refused("hash", "again")


def test_something_else_than_a_detector(edgead, pictures, tmp_path):
    (tmp_path / "text.edgead").write_text("hello")
    for path in (tmp_path / "text.edgead", tmp_path / "missing.edgead", tmp_path):
        edgead("detect", path, pictures, "-o", tmp_path / "out").assert_refused(path.name)


def test_a_detector_of_a_newer_edgead(edgead, detector, pictures, tmp_path):
    newer = rewritten(detector, tmp_path / "new.edgead", manifest_with(schema_version=99))
    edgead("detect", newer, pictures, "-o", tmp_path / "out").assert_refused("version 99", "Upgrade")


def test_a_detector_that_tries_to_leave_its_folder(edgead, detector, pictures, tmp_path):
    evil = tmp_path / "evil.edgead"
    shutil.copy(detector, evil)
    with zipfile.ZipFile(evil, "a") as archive:
        archive.writestr("../../escaped.txt", "gotcha")
    edgead("detect", evil, pictures, "-o", tmp_path / "out").assert_refused("escaped.txt", "Do not use")
    assert not list(tmp_path.parent.parent.rglob("escaped.txt"))


def test_another_encoder(edgead, detector, pictures, tmp_path):
    other = write_tiny_encoder(tmp_path / "other", seed=1)
    command = ["detect", detector, pictures, "-o", tmp_path / "out", "--encoder"]
    edgead(*command, other).assert_refused("another encoder", "enrol again")
    edgead(*command, tmp_path / "nowhere").assert_refused("nowhere", "edgead export")


def test_a_damaged_encoder(edgead, good, tmp_path):
    broken = write_tiny_encoder(tmp_path / "encoder")
    model = broken / "encoder.onnx"
    model.write_bytes(model.read_bytes()[:-10])
    command = ["enroll", "--encoder", broken, "--good", good, "-o", tmp_path / "p.edgead"]
    edgead(*command).assert_refused("encoder.onnx", "Export the encoder again")
    assert not (tmp_path / "p.edgead").exists()


# -- pictures ------------------------------------------------------------------------------------------


def inspect_one(edgead, detector, folder, *options):
    ran = edgead("detect", detector, folder / "in", "-o", folder / "out", "--json", "--quiet", *options)
    return ran, ran.summary["failed"]


@pytest.fixture
def inbox(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def _names_only(value):
    return value if isinstance(value, str) else ""


def as_rgb():
    return Image.fromarray(draw_part(10)).convert("RGB")


@pytest.mark.parametrize(
    ("name", "save"),
    ids=_names_only,
    argvalues=[
        ("grey.png", lambda path: Image.fromarray(draw_part(10)).save(path)),
        ("rgb.jpg", lambda path: as_rgb().save(path, quality=95)),
        ("rgba.png", lambda path: as_rgb().convert("RGBA").save(path)),
        ("cmyk.jpg", lambda path: as_rgb().convert("CMYK").save(path, quality=95)),
        ("palette.png", lambda path: as_rgb().quantize(64).save(path)),
        ("sixteen.png", lambda path: Image.fromarray(draw_part(10).astype(np.uint16) << 8).save(path)),
        ("with space.png", lambda path: as_rgb().save(path)),
        ("Größe 部品 <b>&.png", lambda path: as_rgb().save(path)),
        ("UPPER.PNG", lambda path: as_rgb().save(path)),
    ],
)
def test_unusual_pictures_are_inspected(edgead, detector, inbox, name, save):
    save(inbox / name)
    ran, failed = inspect_one(edgead, detector, inbox.parent)
    assert (ran.code, failed) == (0, [])
    record = json.loads((inbox.parent / "out" / "results.jsonl").read_text("utf-8"))
    assert Path(record["file"]).name == name


def test_a_picture_turned_by_exif_is_turned_back(edgead, detector, inbox):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(draw_part(10), 1)).save(inbox / "turned.jpg", quality=95, exif=exif)
    ran, failed = inspect_one(edgead, detector, inbox.parent)
    assert (ran.code, failed) == (0, [])


@pytest.mark.parametrize(
    ("name", "save", "problem"),
    ids=_names_only,
    argvalues=[
        ("text.png", lambda path: path.write_text("hello"), "is not a picture"),
        ("empty.png", lambda path: path.write_bytes(b""), "is not a picture"),
        ("dot.png", lambda path: Image.new("L", (1, 1)).save(path), "1 x 1 pixels"),
        ("cut.jpg", lambda path: (as_rgb().save(path), path.write_bytes(path.read_bytes()[:900])), "damaged"),
        ("small.png", lambda path: Image.new("L", (64, 64)).save(path), "64 x 64"),
        ("twelve.png", lambda path: Image.fromarray(draw_part(10).astype(np.uint16)).save(path), "16-bit"),
        ("large.png", lambda path: Image.new("1", (10_000, 10_000)).save(path), "10000 x 10000"),
        ("huge.png", lambda path: Image.new("1", (20_000, 20_000)).save(path), "megapixels"),
    ],
)
def test_a_picture_that_cannot_be_inspected_is_listed_and_the_others_are_inspected(
    *, edgead, detector, inbox, name, save, problem
):
    save(inbox / name)
    as_rgb().save(inbox / "zz-fine.png")
    ran, failed = inspect_one(edgead, detector, inbox.parent)
    assert ran.code == 2
    assert [Path(failure["file"]).name for failure in failed] == [name]
    assert problem in failed[0]["problem"]
    assert failed[0]["remedy"]
    assert ran.summary["inspected"] == 1
    assert "Traceback" not in ran.err
    assert name in (inbox.parent / "out" / "report.html").read_text("utf-8")


def test_strict_stops_at_the_first_and_leaves_nothing(edgead, detector, inbox):
    Image.new("L", (64, 64)).save(inbox / "small.png")
    ran = edgead("detect", detector, inbox, "-o", inbox.parent / "out", "--strict")
    ran.assert_refused("small.png", "--any-size", warnings=1)
    assert contents(inbox.parent) == ["in", "in/small.png"]


def test_any_size_accepts_other_frames(edgead, detector, inbox):
    Image.fromarray(draw_part(10)).resize((2 * SIDE, SIDE)).save(inbox / "wide.png")
    ran, failed = inspect_one(edgead, detector, inbox.parent, "--any-size")
    assert ran.code in (0, 1)
    assert failed == []


@pytest.mark.slow
def test_a_hundred_megapixels_can_be_inspected(edgead, detector, inbox):
    Image.new("L", (10_000, 10_000), 150).save(inbox / "large.png")
    ran, failed = inspect_one(edgead, detector, inbox.parent, "--any-size")
    assert ran.code in (0, 1)
    assert failed == []
    overlay = next((inbox.parent / "out" / "overlays").iterdir())
    assert max(Image.open(overlay).size) == 1600


# -- results -------------------------------------------------------------------------------------------


def test_no_pictures_to_inspect(edgead, detector, inbox):
    out = inbox.parent / "out"
    edgead("detect", detector, inbox, "-o", out).assert_refused("no pictures", "PNG")
    edgead("detect", detector, inbox / "nowhere.png", "-o", out).assert_refused("nowhere.png", "path")
    assert not out.exists()


def test_results_into_a_place_that_cannot_be_written(edgead, detector, pictures, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    ran = edgead("detect", detector, pictures, "-o", tmp_path / "file" / "out")
    ran.assert_refused("cannot write", "another place", warnings=1)
    edgead("detect", detector, pictures, "-o", tmp_path / "file").assert_refused("is a file", "folder")
    assert (tmp_path / "file").read_text() == "not a folder"


@pytest.mark.parametrize("existing", [False, True])
def test_detect_on_a_full_disk(*, edgead, detector, pictures, tmp_path, monkeypatch, existing):
    out = tmp_path / "out"
    if existing:
        edgead("detect", detector, pictures, "-o", out)
    before = contents(tmp_path)

    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    ran = edgead("detect", detector, pictures, "-o", out, "--overwrite")
    ran.assert_refused("disk is full", "Free some space", warnings=1)
    assert contents(tmp_path) == before


def test_sha256_of_the_detector_is_in_the_results(edgead, detector, pictures, tmp_path):
    edgead("detect", detector, pictures, "-o", tmp_path / "out")
    line = (tmp_path / "out" / "results.jsonl").read_text("utf-8").splitlines()[0]
    assert json.loads(line)["provenance"]["detector"] == sha256_bytes(detector.read_bytes())


# -- interruption --------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("stop", ["SIGINT", "SIGTERM"])
def test_an_interruption_in_the_middle_leaves_nothing(start_edgead, detector, inbox, stop):
    picture = inbox / "0000.png"
    Image.fromarray(draw_part(10)).save(picture)
    for number in range(1, 3000):
        os.link(picture, inbox / f"{number:04d}.png")
    process = start_edgead("detect", detector, inbox, "-o", inbox.parent / "out")
    deadline = time.monotonic() + 60
    while not list(inbox.parent.glob(".edgead-*/overlays/*.jpg")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(getattr(signal, stop))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "edgead: interrupted; nothing half-written"
    assert "Traceback" not in err
    assert out == ""
    assert [path.name for path in inbox.parent.iterdir()] == ["in"]


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX pipes")
def test_a_reader_that_goes_away_is_no_error(start_edgead):
    process = start_edgead("recipes")
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert process.returncode == 141
    assert err == ""


def test_engines_that_cannot_be_built_are_refused_before_anything_is_exported(edgead, tmp_path):
    out = ("--out", tmp_path / "encoder")
    edgead("export", "--engine", "tensorrt-rtx", *out).assert_refused("has to be told for which GPUs", "--sm")
    edgead("export", "--engine", "tensorrt", "--sm", 86, 89, *out).assert_refused("Leave out --sm")
    fp8 = ("--engine", "tensorrt-rtx", "--precision", "fp8", "--sm", 80, 89)
    edgead("export", *fp8, *out).assert_refused("8.0 have no fp8", "int8", "--sm 89 alone")
    edgead("export", "--no-build", *out).assert_refused("--engine")
    edgead("export", "--no-build", "--engine", "tensorrt", "--sm", 86, *out).assert_refused("leave out --sm")
    assert not (tmp_path / "encoder").exists()
