"""Patches in fewer bytes, and detector files from before."""

import json
import zipfile

import numpy as np
import pytest
from edgead_runtime import Detector
from edgead_runtime.bank import normalize
from edgead_runtime.detector_bundle import read_bundle
from edgead_runtime.errors import BundleError, RecipeError
from edgead_runtime.token_storage import DTYPES, pack, rounded, unpack
from hypothesis import given
from hypothesis import strategies as st

NEW_IN_3 = ("coreset", "merge_within", "keep_as")


def rows_of(seed, count, dim):
    random = np.random.default_rng(seed)
    rows = random.standard_normal((count, dim)) * 10.0 ** random.uniform(-3, 1, (1, dim))
    rows[random.random(count) < 0.1] = 0
    return normalize(rows.astype(np.float32))


@given(st.integers(0, 10**6), st.integers(0, 30), st.integers(1, 400), st.sampled_from(list(DTYPES)))
def test_rounding_again_changes_nothing(seed, count, dim, precision):
    rows = rows_of(seed, count, dim)
    stored = pack(rows, precision)
    assert stored.dtype == DTYPES[precision]
    once = unpack(stored)
    assert once.dtype == np.float32
    assert np.array_equal(pack(once, precision), stored)
    assert np.array_equal(rounded(once, precision), once)
    lengths = np.linalg.norm(once, axis=1)
    assert np.all((np.abs(lengths - 1) < 5e-4) | (lengths == 0))
    assert np.array_equal(lengths == 0, np.linalg.norm(rows, axis=1) == 0)


@given(st.integers(0, 10**6), st.integers(2, 400), st.sampled_from(["fp16", "int8"]))
def test_it_stays_near(seed, dim, precision):
    rows = rows_of(seed, 20, dim)
    apart = np.linalg.norm(rounded(rows, precision) - rows, axis=1)
    # Half a step in each number: 2^-11 of each in fp16, 1/254 of the largest in int8; twice for the length.
    largest = np.abs(rows).max(axis=1)
    step = 2**-11 if precision == "fp16" else largest * np.sqrt(dim) / 254
    assert (apart <= 2 * step + 1e-6).all()


@pytest.mark.parametrize(("precision", "share"), [("fp16", 0.5), ("int8", 0.25)])
def test_a_detector(mini_encoder, good_frames, defective, quick, tmp_path, precision, share):
    exact = Detector.enroll(mini_encoder, good_frames, recipe=quick)
    detector = Detector.enroll(mini_encoder, good_frames, recipe=quick.with_(keep_as=precision))
    assert detector(defective.frame).score == pytest.approx(exact(defective.frame).score, rel=0.03)
    for one, name in ((exact, "exact"), (detector, "small")):
        one.save(tmp_path / name)
    arrays = [read_bundle(tmp_path / name).arrays.values() for name in ("exact", "small")]
    sizes = [sum(array.nbytes for array in of_one) for of_one in arrays]
    assert sizes[1] == pytest.approx(share * sizes[0], rel=0.01)
    again = Detector.load(tmp_path / "small", encoder=mini_encoder)
    # The threshold is that of the patches as they are now: none scores otherwise than at enrolment.
    assert again(defective.frame).score == detector(defective.frame).score
    assert again.recalibrate().normal_scores == detector.calibration.normal_scores
    again.save(tmp_path / "again")
    for name, array in read_bundle(tmp_path / "small").arrays.items():
        assert np.array_equal(array, read_bundle(tmp_path / "again").arrays[name])


def test_a_subspace_keeps_no_patches(quick):
    with pytest.raises(RecipeError, match="keeps no patches"):
        quick.with_(head="subspace", subspace_components=4, keep_as="int8")


# -- versions --------------------------------------------------------------------------------------------


def rewritten(path, change):
    """The file with its manifest changed; the members and their hashes stay."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    manifest = json.loads(members["manifest.json"])
    change(manifest)
    members["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_a_file_of_version_2(detector, mini_encoder, defective, tmp_path):
    """As it was written before patches could be left out or rounded."""
    path = tmp_path / "old.edgead"
    detector.save(path)

    def as_before(manifest):
        manifest["schema_version"] = 2
        del manifest["coreset"]
        for record in manifest["references"]:
            del record["kept"]
        for name in NEW_IN_3:
            del manifest["recipe"][name]

    rewritten(path, as_before)
    old = Detector.load(path, encoder=mini_encoder)
    assert old(defective.frame).score == detector(defective.frame).score
    assert old.coreset == ()


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda manifest: manifest["recipe"].update(keep_as="fp16"), "does not fit"),
        (lambda manifest: manifest["recipe"].update(coreset=1), "has not the patches"),
        (lambda manifest: manifest.update(coreset=[]), "its coreset is not"),
        (lambda manifest: manifest["references"][0].update(kept=[]), "has not the patches"),
        (lambda manifest: manifest["references"][0].update(kept=["kept/0001/0"]), "does not fit|not there"),
        (lambda manifest: manifest["coreset"][0].update(radius=-1), "radius"),
    ],
)
def test_what_contradicts_itself(mini_encoder, good_frames, quick, tmp_path, change, problem):
    path = tmp_path / "part.edgead"
    Detector.enroll(mini_encoder, good_frames, recipe=quick.with_(coreset=0.3)).save(path)
    rewritten(path, change)
    with pytest.raises(BundleError, match=problem):
        Detector.load(path, encoder=mini_encoder)
