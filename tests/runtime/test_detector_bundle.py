"""``NAME.edgead``: what goes in comes out bit for bit, and whatever is wrong with a file is noticed."""

import hashlib
import json
import shutil
import struct
import zipfile

import numpy as np
import pytest
from edgead_runtime import Detector, Picture
from edgead_runtime.detector_bundle import read_bundle
from edgead_runtime.errors import (
    BundleError,
    EdgeadError,
    EncoderMismatchError,
    EncoderNotFoundError,
    OutputError,
    SchemaVersionError,
)
from edgead_runtime.images import decode_picture, encode_jpeg, encode_png
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_tensors


@pytest.fixture(scope="module")
def saved(mini_encoder, good_frames, quick, tmp_path_factory):
    """A small detector file: two references, masked, one of them a JPEG file."""
    pictures = [
        decode_picture(encode_jpeg(good_frames[0]), "Prüfteil 1 ✓.jpg"),
        Picture("camera", good_frames[1]),
    ]
    detector = Detector.enroll(mini_encoder, pictures, recipe=quick.with_(mask="on", mask_threshold=0.5))
    path = tmp_path_factory.mktemp("saved") / "part.edgead"
    detector.save(path)
    return path


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copy(saved, tmp_path / "copy.edgead")


def _same(one, other):
    assert one.recipe == other.recipe
    assert one.mask == other.mask
    assert one.calibration == other.calibration
    assert one.layers == other.layers
    assert one.provenance == other.provenance
    assert one.notes == other.notes
    for ours, theirs in zip(one.references, other.references, strict=True):
        assert [tokens.tobytes() for tokens in ours.tokens] == [tokens.tobytes() for tokens in theirs.tokens]
        assert np.array_equal(ours.mask, theirs.mask)
        assert ours.patches == theirs.patches
        assert ours.added == theirs.added
        assert ours.picture.name == theirs.picture.name
        assert ours.picture.suffix == theirs.picture.suffix
        assert ours.picture.encode() == theirs.picture.encode()
        assert np.array_equal(ours.picture.frame, theirs.picture.frame)


@pytest.mark.parametrize("mask", ["on", "off"])
@pytest.mark.parametrize("rotations", [(0.0,), (0.0, 90.0, 45.0)])
@pytest.mark.parametrize("self_contained", [True, False])
def test_round_trip(mini_encoder, good_frames, quick, defective, tmp_path, mask, rotations, self_contained):
    path = tmp_path / "Teil ✓.edgead"
    recipe = quick.with_(mask=mask, rotations_deg=rotations)
    jpeg = decode_picture(encode_jpeg(good_frames[2]), "a.jpeg")
    before = Detector.enroll(mini_encoder, [*good_frames[:2], jpeg], recipe=recipe, false_alarm_rate=0.5)
    before.add_good(decode_picture(encode_jpeg(good_frames[3]), "b.jpeg"), name="renamed: ../x")
    before.save(path, self_contained=self_contained)
    with Detector.load(path, threads=1) as after:
        _same(before, after)
        for frame in (good_frames[5], defective.frame):
            ours, theirs = before(frame), after(frame)
            assert ours.score == theirs.score
            assert ours.threshold == theirs.threshold
            assert np.array_equal(ours.patch_distances, theirs.patch_distances)
            assert np.array_equal(ours.map, theirs.map)
            assert ours.regions == theirs.regions
        again = tmp_path / "again.edgead"
        after.save(again, self_contained=self_contained)
    with Detector.load(again, threads=1) as third:
        _same(before, third)


def test_it_is_a_stored_zip_without_pickle(saved):
    with zipfile.ZipFile(saved) as archive:
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        assert archive.namelist() == [
            "manifest.json",
            "arrays.safetensors",
            "references/0000.jpg",
            "references/0001.png",
        ]
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["references"][0]["name"] == "Prüfteil 1 ✓.jpg"
    assert b"pickle" not in saved.read_bytes()


def test_the_same_detector_twice_is_the_same_file_but_for_the_date(saved, mini_encoder, tmp_path):
    with Detector.load(saved, encoder=mini_encoder) as detector:
        for name in ("a", "b"):
            detector.save(tmp_path / name)
    one, other = (zipfile.ZipFile(tmp_path / name) for name in ("a", "b"))
    with one, other:
        assert [i.CRC for i in one.infolist()][1:] == [i.CRC for i in other.infolist()][1:]
        texts = [json.loads(archive.read("manifest.json")) for archive in (one, other)]
    for text in texts:
        del text["created"]
    assert texts[0] == texts[1]


def test_a_picture_keeps_its_files_bytes(saved, mini_encoder, good_frames):
    with Detector.load(saved, encoder=mini_encoder) as detector:
        assert detector.references[0].picture.encoded == encode_jpeg(good_frames[0])
        assert detector.references[1].picture.encoded == encode_png(good_frames[1])


# Self-contained


def test_self_contained_needs_no_encoder_folder(build_bundle, good_frames, quick, tmp_path):
    folder = build_bundle(tmp_path / "encoder")
    with Detector.enroll(folder, good_frames[:2], recipe=quick) as detector:
        expected = detector(good_frames[3]).score
        detector.save(tmp_path / "alone.edgead", self_contained=True)
    shutil.rmtree(folder)
    with Detector.load(tmp_path / "alone.edgead", threads=1) as loaded:
        assert loaded(good_frames[3]).score == expected
        # There is no folder to point to, so it stays self-contained.
        loaded.save(tmp_path / "again.edgead")
    with Detector.load(tmp_path / "again.edgead", threads=1) as again:
        assert again(good_frames[3]).score == expected


# The encoder it belongs to


def test_the_encoder_moved_beside_the_file_is_found(build_bundle, good_frames, quick, tmp_path):
    folder = build_bundle(tmp_path / "there" / "encoder")
    with Detector.enroll(folder, good_frames[:2], recipe=quick) as detector:
        detector.save(tmp_path / "there" / "part.edgead")
    here = tmp_path / "here"
    shutil.move(tmp_path / "there", here)
    with Detector.load(here / "part.edgead", threads=1) as loaded:
        assert loaded.encoder.bundle.root == (here / "encoder").resolve()


def test_an_encoder_that_is_nowhere(build_bundle, good_frames, quick, tmp_path):
    folder = build_bundle(tmp_path / "encoder")
    with Detector.enroll(folder, good_frames[:2], recipe=quick) as detector:
        detector.save(tmp_path / "part.edgead")
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(EncoderNotFoundError, match=r"the encoder of .*part\.edgead \(mini\)") as caught:
        Detector.load(tmp_path / "part.edgead")
    assert "--encoder" in caught.value.remedy
    with Detector.load(tmp_path / "part.edgead", encoder=tmp_path / "elsewhere", threads=1) as loaded:
        assert len(loaded.references) == 2


def test_another_encoder_is_refused(saved, build_bundle, two_layer_bundle, tmp_path):
    other = build_bundle(tmp_path / "other", seed=1)
    for encoder in (other, str(other), two_layer_bundle):
        with pytest.raises(EncoderMismatchError, match="enrolled with another encoder"):
            Detector.load(saved, encoder=encoder)


def test_an_encoder_exported_anew_in_its_place_is_refused(build_bundle, good_frames, quick, tmp_path):
    folder = build_bundle(tmp_path / "encoder")
    with Detector.enroll(folder, good_frames[:2], recipe=quick) as detector:
        detector.save(tmp_path / "part.edgead")
    shutil.rmtree(folder)
    build_bundle(folder, seed=7)
    with pytest.raises(EncoderMismatchError):
        Detector.load(tmp_path / "part.edgead")


# Damage


def test_a_truncated_file_is_refused_at_any_length(saved, tmp_path):
    data = saved.read_bytes()
    path = tmp_path / "cut.edgead"
    for length in [*range(0, len(data), len(data) // 80), len(data) - 1, len(data) - 22]:
        path.write_bytes(data[:length])
        with pytest.raises(BundleError, match=r"cut\.edgead"):
            Detector.load(path)


def _content(bundle):
    arrays = {name: array.tobytes() for name, array in bundle.arrays.items()}
    return bundle.manifest, arrays, dict(bundle.pictures)


def test_a_flipped_byte_in_a_member_is_noticed(saved, tmp_path):
    intact = saved.read_bytes()
    path = tmp_path / "flipped.edgead"
    with zipfile.ZipFile(saved) as archive:
        members = archive.infolist()
    random = np.random.default_rng(0)
    for info in members:
        name_length, extra_length = struct.unpack("<HH", intact[info.header_offset + 26 :][:4])
        start = info.header_offset + 30 + name_length + extra_length
        for offset in {0, info.file_size - 1, *random.integers(0, info.file_size, 12).tolist()}:
            data = bytearray(intact)
            data[start + offset] ^= 1 << int(random.integers(8))
            path.write_bytes(data)
            with pytest.raises(BundleError, match=info.filename):
                read_bundle(path)


def test_a_flipped_byte_anywhere_is_noticed_or_harmless(saved, tmp_path):
    """Headers and directory, every byte of them: dates and the like may differ, contents may not."""
    intact = saved.read_bytes()
    expected = _content(read_bundle(saved))
    path = tmp_path / "flipped.edgead"
    with zipfile.ZipFile(saved) as archive:
        directory = archive.start_dir
        headers = [info.header_offset for info in archive.infolist()]
    places = [*range(directory, len(intact)), *(start + i for start in headers for i in range(50))]
    refused = 0
    for place in places:
        for flip in (0x01, 0x80, 0xFF):
            data = bytearray(intact)
            data[place] ^= flip
            path.write_bytes(data)
            try:
                bundle = read_bundle(path)
            except BundleError:
                refused += 1
            else:
                assert _content(bundle) == expected, f"byte {place}"
    assert refused > len(places)


@settings(max_examples=60)
@given(data=st.data())
def test_junk_in_the_middle_is_a_bundle_error_or_harmless(saved, tmp_path_factory, data):
    intact = saved.read_bytes()
    start = data.draw(st.integers(0, len(intact) - 1))
    junk = data.draw(st.binary(min_size=1, max_size=64))
    path = tmp_path_factory.mktemp("junk") / "x.edgead"
    path.write_bytes(intact[:start] + junk + intact[start + data.draw(st.integers(0, 64)) :])
    try:
        bundle = read_bundle(path)
    except BundleError:
        return
    assert _content(bundle) == _content(read_bundle(saved))


def test_what_is_no_detector(tmp_path, mini_bundle):
    (tmp_path / "text.edgead").write_text("not a zip")
    (tmp_path / "empty.edgead").write_bytes(b"")
    with pytest.raises(BundleError, match="not a detector bundle"):
        Detector.load(tmp_path / "text.edgead")
    with pytest.raises(BundleError, match="not a detector bundle"):
        Detector.load(tmp_path / "empty.edgead")
    with pytest.raises(BundleError, match="does not exist"):
        Detector.load(tmp_path / "gone.edgead")
    with pytest.raises(BundleError, match="is a folder"):
        Detector.load(mini_bundle)


def test_a_zip_of_something_else(tmp_path):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("holiday.jpg", b"x")
    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        Detector.load(path)


# Malice


def _rewrite(path, *, members=None, manifest=None, extra=(), compression=zipfile.ZIP_STORED):
    """Write a bundle again with changes; hashes and sizes stay right, so that only the change is wrong."""
    with zipfile.ZipFile(path) as archive:
        payload = {name: archive.read(name) for name in archive.namelist()}
    text = json.loads(payload.pop("manifest.json"))
    payload.update(members or {})
    text["members"] = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in payload.items()
    }
    if manifest is not None:
        manifest(text)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("manifest.json", json.dumps(text))
        for name, data in payload.items():
            archive.writestr(name, data, compress_type=compression)
        for name, data in extra:
            archive.writestr(name, data)


def test_rewriting_alone_is_fine(copy, saved):
    _rewrite(copy)
    assert _content(read_bundle(copy))[1:] == _content(read_bundle(saved))[1:]


@pytest.mark.parametrize("name", ["../evil", "/etc/cron.d/evil", "a/../../evil", "..\\evil", "C:\\evil"])
def test_a_member_that_leaves_the_file_is_refused_and_written_nowhere(copy, name):
    _rewrite(copy, extra=[(name, b"evil")])
    before = sorted(copy.parent.parent.rglob("*evil*"))
    with pytest.raises(BundleError, match="names a file outside itself"):
        Detector.load(copy)
    assert sorted(copy.parent.parent.rglob("*evil*")) == before
    assert sorted(path.name for path in copy.parent.iterdir()) == ["copy.edgead"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name_are_refused(copy):
    _rewrite(copy, extra=[("arrays.safetensors", b"other")])
    with pytest.raises(BundleError, match="two files of one name"):
        Detector.load(copy)


def test_compressed_members_are_refused(copy):
    _rewrite(copy, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(BundleError, match="not stored as edgead stores it"):
        Detector.load(copy)


def test_a_huge_manifest_is_refused_unread(copy, monkeypatch):
    monkeypatch.setattr("edgead_runtime.detector_bundle._MAX_MANIFEST_BYTES", 100)
    with pytest.raises(BundleError, match=r"manifest\.json is not stored"):
        Detector.load(copy)


def test_a_member_larger_than_listed_is_refused_unread(copy):
    _rewrite(copy, manifest=lambda text: text["members"]["arrays.safetensors"].update(bytes=10))
    with pytest.raises(BundleError, match=r"arrays\.safetensors"):
        Detector.load(copy)


@pytest.mark.parametrize("name", ["arrays.safetensors", "references/0000.jpg"])
def test_a_member_exchanged_by_a_zip_tool_is_noticed(copy, name):
    """The zip's own checksum is right then, and the size too: only the hash in the manifest is not."""
    with zipfile.ZipFile(copy) as archive:
        data = bytearray(archive.read(name))
        listed = json.loads(archive.read("manifest.json"))["members"]
    data[-1] ^= 1
    _rewrite(copy, members={name: bytes(data)}, manifest=lambda text: text.update(members=listed))
    with pytest.raises(BundleError, match=f"{name} does not match its hash"):
        Detector.load(copy)


@pytest.mark.parametrize("missing", ["arrays.safetensors", "references/0000.jpg"])
def test_a_listed_member_that_is_missing(copy, missing):
    with zipfile.ZipFile(copy) as archive:
        payload = {name: archive.read(name) for name in archive.namelist() if name != missing}
    with zipfile.ZipFile(copy, "w") as archive:
        for name, data in payload.items():
            archive.writestr(name, data)
    with pytest.raises(BundleError, match=f"has no {missing}"):
        Detector.load(copy)


@pytest.mark.parametrize("missing", ["arrays.safetensors", "references/0000.jpg"])
def test_a_member_the_manifest_does_not_list_is_not_used(copy, missing):
    _rewrite(copy, manifest=lambda text: text["members"].pop(missing))
    with pytest.raises(BundleError, match=missing):
        Detector.load(copy)


TOKENS = np.full((64, 16), 0.25, np.float32)
MASK = np.ones((8, 8), np.uint8)
WHOLE = {"tokens/0000/0": TOKENS, "tokens/0001/0": TOKENS, "mask/0000": MASK, "mask/0001": MASK}


@pytest.mark.parametrize(
    "change",
    [
        {"tokens/0001/0": None},
        {"mask/0000": None},
        {"tokens/0000/0": TOKENS[:63]},
        {"tokens/0000/0": TOKENS[:0]},
        {"tokens/0000/0": TOKENS[:, :15].copy()},
        {"tokens/0000/0": TOKENS.astype(np.float64)},
        {"tokens/0000/0": TOKENS.reshape(-1)},
        {"mask/0001": MASK[:7]},
    ],
)
def test_arrays_that_do_not_fit_are_refused(copy, mini_encoder, change):
    arrays = {name: array for name, array in {**WHOLE, **change}.items() if array is not None}
    _rewrite(copy, members={"arrays.safetensors": save_tensors(WHOLE)})
    Detector.load(copy, encoder=mini_encoder)
    _rewrite(copy, members={"arrays.safetensors": save_tensors(arrays)})
    with pytest.raises(BundleError, match=r"0000|0001"):
        Detector.load(copy, encoder=mini_encoder)


@pytest.mark.parametrize("arrays", [b"", b"\xff" * 100, b"\x08" + bytes(7) + b"nonsense"])
def test_arrays_that_are_none(copy, arrays):
    _rewrite(copy, members={"arrays.safetensors": arrays})
    with pytest.raises(BundleError, match="damaged"):
        Detector.load(copy)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.01, 1000.0])
def test_tokens_that_are_no_features_are_refused(copy, mini_encoder, value):
    """A score that is not a number, or 0 for everything, would pass every defect."""
    tokens = TOKENS.copy()
    tokens[7] = value
    _rewrite(copy, members={"arrays.safetensors": save_tensors({**WHOLE, "tokens/0001/0": tokens})})
    with pytest.raises(BundleError, match="tokens/0001/0 holds values that are no features"):
        Detector.load(copy, encoder=mini_encoder)


def test_a_threshold_below_zero_is_refused(copy, mini_encoder):
    _rewrite(copy, manifest=lambda text: text["calibration"].update(threshold=-1.0))
    with pytest.raises(BundleError, match="threshold"):
        Detector.load(copy, encoder=mini_encoder)


def test_a_picture_that_is_none_stops_who_looks_at_it_and_not_the_line(copy, mini_encoder, good_frames):
    _rewrite(copy, members={"references/0000.jpg": b"not a picture"})
    detector = Detector.load(copy, encoder=mini_encoder)
    assert detector(good_frames[1]).score == pytest.approx(0, abs=1e-5)
    with pytest.raises(EdgeadError, match="Prüfteil"):
        _ = detector.references[0].picture.frame


def _set(**fields):
    return lambda text: text.update(fields)


def _aligned(matrix):
    alignment = {
        "matrix": matrix,
        "inliers": 20,
        "matches": 30,
        "rotation_deg": 0.0,
        "shift_px": 0.0,
        "reason": "",
        "found": True,
    }
    return lambda text: text["references"][0].update(alignment=alignment)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (_set(schema_version=4), SchemaVersionError, "schema version 4"),
        (_set(schema_version=1), SchemaVersionError, "older edgead"),
        (lambda text: text["recipe"].update(rotations_deg=[0, 90]), BundleError, "tokens/0000/0 has shape"),
        (lambda text: text["references"][0].update(height=0), BundleError, "height"),
        (lambda text: text["recipe"].update(mask_from="attention"), EdgeadError, "attention"),
        (lambda text: text["recipe"].update(mask_from="area", mask_image="x"), BundleError, "area is none"),
        (_aligned([[1, 0], [0, 1, 0]]), BundleError, "alignment that is none"),
        (_aligned([[2, 0, 0], [0, 2, 0]]), BundleError, "alignment that is none"),
        (_set(kind="edgead-encoder"), BundleError, "edgead-encoder"),
        (_set(references=[]), BundleError, "no reference"),
        (_set(calibration={}), BundleError, "damaged"),
        (lambda text: text["calibration"].update(threshold=None), BundleError, "threshold"),
        (lambda text: text["encoder"].update(layers=[]), BundleError, "layers"),
        (lambda text: text["encoder"].update(layers=[5]), BundleError, "different layers"),
        (lambda text: text["recipe"].update(top_fraction=7), EdgeadError, "top_fraction"),
        (lambda text: text["recipe"].pop("name"), EdgeadError, "name"),
        (lambda text: text["references"][0].update(picture="../x"), BundleError, r"\.\./x"),
        (lambda text: text["encoder"].update(embedded=True), BundleError, r"lacks manifest\.json"),
    ],
)
def test_a_manifest_that_is_wrong(copy, mini_encoder, change, error, says):
    _rewrite(copy, manifest=change)
    with pytest.raises(error, match=says):
        Detector.load(copy, encoder=mini_encoder)


# Writing


def test_a_fault_while_saving_leaves_the_old_file(detector, copy, monkeypatch):
    before = copy.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OutputError, match="the disk is full"):
        detector.save(copy)
    assert copy.read_bytes() == before
    assert list(copy.parent.iterdir()) == [copy]


def test_ctrl_c_while_saving_leaves_the_old_file(detector, copy, monkeypatch):
    before = copy.read_bytes()
    genuine = zipfile.ZipFile.writestr

    def interrupted(archive, info, data):
        genuine(archive, info, data)
        if info.filename.startswith("references"):
            raise KeyboardInterrupt

    monkeypatch.setattr(zipfile.ZipFile, "writestr", interrupted)
    with pytest.raises(KeyboardInterrupt):
        detector.save(copy)
    assert copy.read_bytes() == before
    assert list(copy.parent.iterdir()) == [copy]


def test_a_folder_that_is_not_there(detector, tmp_path):
    with pytest.raises(OutputError, match="there is no folder"):
        detector.save(tmp_path / "gone" / "part.edgead")


def test_an_encoder_changed_on_disk_since_is_not_embedded(build_bundle, good_frames, quick, tmp_path):
    folder = build_bundle(tmp_path / "encoder")
    with Detector.enroll(folder, good_frames[:2], recipe=quick) as detector:
        model = folder / "encoder.onnx"
        model.write_bytes(model.read_bytes()[:-1])
        with pytest.raises(BundleError, match="does not match"):
            detector.save(tmp_path / "part.edgead", self_contained=True)
    assert not (tmp_path / "part.edgead").exists()


def test_the_encoder_may_be_given_as_text(mini_bundle, saved):
    with Detector.load(str(saved), encoder=str(mini_bundle), threads=1) as detector:
        assert detector.encoder.bundle.source == str(mini_bundle)
