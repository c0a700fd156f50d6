"""Files that come from outside and are nearly right, with hashes that fit: ours to refuse, in our own words.

Bytes that are damaged are in the tests of each format; here whoever wrote the file meant it.
"""

import contextlib
import dataclasses
import hashlib
import json
import shutil
import zipfile

import msgspec
import numpy as np
import pytest
from edgead_runtime import Detector, Encoder, get_recipe
from edgead_runtime.engines.measuring import Measured
from edgead_runtime.errors import BundleError, EdgeadError, RecipeError
from edgead_runtime.manifest import Tuning
from edgead_runtime.presets import find_recipe
from edgead_runtime.recipe import Recipe, recipe_from_dict
from edgead_runtime.remembered import recall
from edgead_runtime.tensorrt.options import BuildOptions
from edgead_runtime.tensorrt.record import EngineParity, EngineRecord, Gpu, decode_record, encode_record
from fuzzing import nearly
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

DEEP = b"[" * 5000
"""Nested deeper than any stack."""


# -- encoder bundles -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["stages", "fused"])
def bundle(request, two_layer_bundle, fused_two_layer_bundle, tmp_path_factory):
    """A copy whose manifest is written over."""
    source = two_layer_bundle if request.param == "stages" else fused_two_layer_bundle
    return shutil.copytree(source, tmp_path_factory.mktemp("nearly") / "encoder")


@pytest.fixture(scope="module")
def manifest(bundle):
    return json.loads((bundle / "manifest.json").read_bytes())


@settings(max_examples=150)
@given(data=st.data())
def test_an_encoders_manifest(bundle, manifest, part, data):
    changed = data.draw(nearly(manifest, keep=("schema_version", "kind")))
    (bundle / "manifest.json").write_text(json.dumps(changed))
    try:
        with Encoder.load(bundle, engine="onnxruntime", threads=1) as encoder:
            encoder.encode(part(0), layers="all")
    except EdgeadError:
        pass


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("input", "height"), 10**12),
        (("input", "width"), 14 * 10**5),
        (("patch_size",), 1),
        (("features", 0, "dim"), 10**9),
        (("features", 0, "layer"), 2),
        (("features", 0, "name"), "other"),
        (("features", 1, "dim"), 13),
        (("attention", "name"), "patch_features_1"),
        (("input", "name"), "pixels"),
        (("files", 0, "path"), "a\0b"),
    ],
)
def test_a_manifest_that_its_graph_contradicts_is_refused_when_it_is_loaded(
    two_layer_bundle, tmp_path, path, value
):
    folder = shutil.copytree(two_layer_bundle, tmp_path / "encoder")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    place = manifest
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError):
        Encoder.load(folder, engine="onnxruntime", threads=1)


# -- detectors -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["fp32", "int8", "coreset", "subspace"])
def members(request, mini_encoder, good_frames, quick, tmp_path_factory):
    """What is in a detector's file, by name."""
    recipe = {
        "fp32": quick,
        "int8": quick.with_(keep_as="int8"),
        "coreset": quick.with_(coreset=0.3, merge_within=0.01),
        "subspace": get_recipe("subspace").with_(mask="off", subspace_components=4),
    }[request.param]
    path = tmp_path_factory.mktemp("nearly") / "part.edgead"
    Detector.enroll(mini_encoder, good_frames[:2], recipe=recipe).save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def load(members, manifest, folder, encoder):
    """Write the members with hashes that fit, load the detector and inspect something."""
    payload = {name: data for name, data in members.items() if name != "manifest.json"}
    manifest["members"] = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in payload.items()
    }
    path = folder / "part.edgead"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        for name, data in payload.items():
            archive.writestr(name, data)
    with contextlib.suppress(EdgeadError):
        detector = Detector.load(path, encoder=encoder)
        result = detector(np.full((160, 160, 3), 90, np.uint8))
        assert np.isfinite(result.score)
        assert result.map.shape == (160, 160)
        detector.save(folder / "again.edgead")


@settings(max_examples=120)
@given(data=st.data())
def test_a_detectors_manifest(members, mini_encoder, tmp_path_factory, data):
    manifest = json.loads(members["manifest.json"])
    changed = data.draw(nearly(manifest, keep=("schema_version", "kind", "members")))
    load(members, changed, tmp_path_factory.mktemp("made"), mini_encoder)


_TYPES = ("float32", "float16", "float64", "int8", "int32", "uint8", "bool")


@settings(max_examples=60)
@given(data=st.data())
def test_a_detectors_arrays(members, mini_encoder, tmp_path_factory, data):
    arrays = dict(load_tensors(members["arrays.safetensors"]))
    name = data.draw(st.sampled_from(sorted(arrays)))
    how = data.draw(st.sampled_from(["type", "shape", "values", "gone"]))
    if how == "type":
        arrays[name] = arrays[name].astype(data.draw(st.sampled_from(_TYPES)))
    elif how == "shape":
        arrays[name] = np.ascontiguousarray(arrays[name][: data.draw(st.integers(0, 3))])
    elif how == "values":
        changed = arrays[name].copy()
        values = [0, 1, -1, 127] + [np.nan, np.inf, 1e38] * (changed.dtype.kind == "f")
        changed.flat[data.draw(st.integers(0, changed.size - 1))] = data.draw(st.sampled_from(values))
        arrays[name] = changed
    else:
        del arrays[name]
    made = {**members, "arrays.safetensors": save_tensors(arrays)}
    load(made, json.loads(members["manifest.json"]), tmp_path_factory.mktemp("made"), mini_encoder)


@settings(max_examples=60)
@given(data=st.data())
def test_a_detectors_arrays_as_bytes(members, mini_encoder, tmp_path_factory, data):
    """Above all safetensors' own header: lengths, offsets, shapes."""
    changed = bytearray(members["arrays.safetensors"])
    place = data.draw(st.integers(0, min(400, len(changed)) - 1))
    changed[place : place + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    made = {**members, "arrays.safetensors": bytes(changed)}
    load(made, json.loads(members["manifest.json"]), tmp_path_factory.mktemp("made"), mini_encoder)


TUNING = {
    "budget_ms": 33.0,
    "created": "",
    "machine": {"cpu": "x", "cores": 2},
    "tiers": [{"name": "full", "options": {"engine": "onnxruntime"}}],
    "chosen": 0,
}


@settings(max_examples=60)
@given(data=st.data())
def test_a_tuning(members, mini_encoder, tmp_path_factory, data):
    manifest = json.loads(members["manifest.json"])
    tuning = {**TUNING, "calibration": manifest["calibration"]}
    msgspec.convert(tuning, Tuning)
    manifest["tuning"] = data.draw(nearly(tuning))
    load(members, manifest, tmp_path_factory.mktemp("made"), mini_encoder)


@pytest.mark.parametrize(
    "options",
    [
        {"encoder": "/elsewhere"},
        {"path": "x"},
        {"rebuild": True},
        {"threads": "all"},
        {"threads": 10**9},
        {"precision": "fp64"},
        {"engine": ["onnxruntime"]},
        {"index": None},
    ],
)
def test_a_setting_that_chooses_what_it_may_not(members, mini_bundle, tmp_path, options):
    """It is left out, and said; the detector works without it."""
    manifest = json.loads(members["manifest.json"])
    settings = [{"name": name, "options": options} for name in ("full", "other")]
    manifest["tuning"] = {**TUNING, "calibration": manifest["calibration"], "tiers": settings}
    load(members, manifest, tmp_path, mini_bundle)
    detector = Detector.load(tmp_path / "part.edgead", encoder=mini_bundle, budget_ms=1000)
    with detector:
        assert len(detector.settings) == 1
        assert "'full' is left out here" in " ".join(detector.budget_notes)


# -- recipes -------------------------------------------------------------------------------------------


def _recipe(text, folder):
    path = folder / "mine.toml"
    path.write_bytes(text)
    with contextlib.suppress(RecipeError):
        assert isinstance(find_recipe(str(path)), Recipe)


@given(st.binary(max_size=200))
@example(b"layers = " + DEEP)
@example(b"a" + DEEP)
@example(b'base = "\\ud800"')
@example(b"base = []")
@example(b"neighbours = 99999999999999999999999999")
@example(b"smoothing_sigma_px = inf")
@example(b"name = 1979-05-27T07:32:00Z")
def test_whatever_the_bytes_it_is_a_recipe_or_an_error_of_ours(tmp_path_factory, data):
    _recipe(data, tmp_path_factory.mktemp("recipe"))


@settings(max_examples=300)
@given(data=st.data())
def test_a_recipes_fields(data):
    name = data.draw(st.sampled_from(["anomalydino", "subspace", "patchead+"]))
    plain = json.loads(json.dumps(dataclasses.asdict(get_recipe(name))))
    with contextlib.suppress(RecipeError):
        recipe_from_dict(data.draw(nearly(plain)))


# -- what edgead itself has written --------------------------------------------------------------------


@given(st.binary(max_size=200))
@example(b"")
@example(DEEP)
@example(b'{"a":' * 5000)
@example(b'{"key":{"engine":"x","ms":{},"more":' + DEEP)
@example(b'{"key":{"engine":"\xff","ms":{}}}')
def test_whatever_is_remembered(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cache") / "engines.json"
    path.write_bytes(data)
    known = recall(path, Measured)
    assert all(isinstance(entry, Measured) for entry in known.values())


RECORD = EngineRecord(
    schema_version=1,
    kind="edgead-tensorrt-engine",
    flavour="tensorrt",
    graph="frame",
    precision="fp32",
    tensorrt="10.3.0",
    gpu=Gpu(name="Orin", sm=87, driver="12.6"),
    onnx_sha256="0" * 64,
    plan_sha256="0" * 64,
    plan_bytes=3,
    options=BuildOptions(),
    rebuild="",
    created="",
    seconds=1.0,
    parity=EngineParity(pictures=4, cosine_min=1.0, rank_correlation_min=1.0, passed=True),
)


@settings(max_examples=200)
@given(data=st.data())
def test_an_engines_record(data):
    changed = data.draw(nearly(json.loads(encode_record(RECORD))))
    for written in (json.dumps(changed).encode(), data.draw(st.binary(max_size=100)), DEEP, b'{"x":' + DEEP):
        with contextlib.suppress(BundleError):
            assert isinstance(decode_record(written, "x.json"), EngineRecord)
