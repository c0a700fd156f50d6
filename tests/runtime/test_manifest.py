"""Manifests: strict on the way in, and a fingerprint over what matters."""

import hashlib
import json
import shutil

import msgspec
import pytest
from edgead_runtime import Encoder, EncoderBundle
from edgead_runtime.errors import BundleError, RecipeError, SchemaVersionError
from edgead_runtime.manifest import (
    DetectorManifest,
    EncoderFile,
    EncoderManifest,
    decode_manifest,
    encode_manifest,
)


@pytest.fixture(scope="module")
def manifest(two_layer_bundle):
    return EncoderBundle.open(two_layer_bundle).manifest


@pytest.fixture
def plain(manifest):
    return json.loads(encode_manifest(manifest))


def _decode(plain):
    return decode_manifest(json.dumps(plain).encode(), EncoderManifest, "manifest.json")


def test_round_trip(manifest):
    data = encode_manifest(manifest)
    assert decode_manifest(data, EncoderManifest, "x") == manifest
    assert data.endswith(b"}\n")
    assert data.startswith(b'{\n  "schema_version": 1')
    assert manifest.grid == (8, 8)


@pytest.mark.parametrize(
    "path",
    [
        ("backbone",),
        ("input", "width"),
        ("preprocess", "mean"),
        ("features", 0, "final_norm"),
        ("attention", "layer"),
        ("files", 0, "sha256"),
        ("weights", "official"),
    ],
)
def test_a_missing_field_is_named(plain, path):
    place = plain
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    with pytest.raises(BundleError, match=rf"manifest\.json is damaged .*`{path[-1]}`"):
        _decode(plain)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input", {"name": "image", "height": "224", "width": 224}),
        ("patch_size", 14.5),
        ("patch_size", 0),
        ("input", {"name": "image", "height": 0, "width": 224}),
        ("input", {"name": "image", "height": -224, "width": 224}),
        ("features", []),
        ("features", None),
        ("preprocess", {"mean": [0.5, 0.5], "std": [1, 1, 1]}),
        ("preprocess", {"mean": [0.5, 0.5, 0.5], "std": [1, 1, 0]}),
        ("preprocess", {"mean": [0, 0, 0], "std": [1, 1, 1], "fit": "pad"}),
        ("opset", True),
    ],
)
def test_a_value_that_cannot_be_is_refused(plain, field, value):
    plain[field] = value
    with pytest.raises(BundleError, match=f"damaged .*{field}"):
        _decode(plain)


def test_an_input_smaller_than_a_patch_is_refused(plain):
    plain["patch_size"] = 300
    with pytest.raises(BundleError):
        _decode(plain)


@pytest.mark.parametrize(
    ("version", "says", "remedy"),
    [(version, "reads up to 1", "Upgrade") for version in (2, 99)]
    + [(version, "older edgead", "Write it again") for version in (0, -1)],
)
def test_another_version_says_so_before_anything_else(plain, version, says, remedy):
    other = {"schema_version": version, "kind": plain["kind"], "shape": "unheard of"}
    with pytest.raises(SchemaVersionError, match=f"schema version {version}") as caught:
        _decode(other)
    assert says in caught.value.problem
    assert remedy in caught.value.remedy


def test_the_other_kind_says_so(manifest):
    with pytest.raises(BundleError, match="'edgead-encoder', not an 'edgead-detector'"):
        decode_manifest(encode_manifest(manifest), DetectorManifest, "x")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"{}",
        b"not json",
        b'{"kind": "\xff"}',
        b"\xff\xfe{\x00",
        b"[" * 100_000,
        b'{"x":' + b"[" * 10**5,
    ],
)
def test_what_is_no_manifest_is_a_bundle_error(data):
    with pytest.raises(BundleError, match=r"manifest\.json is not an edgead manifest"):
        decode_manifest(data, EncoderManifest, "manifest.json")


def test_unknown_fields_are_let_through(plain):
    """A later version may add some without becoming unreadable."""
    plain["remark"] = "from the future"
    plain["input"]["layout"] = "NCHW"
    assert _decode(plain).grid == (8, 8)


def test_a_precision_that_is_not_there(manifest):
    with pytest.raises(BundleError, match=r"no int8 file.*has: fp32") as caught:
        manifest.file("int8")
    assert "--precision int8" in caught.value.remedy


def test_a_precision_of_the_future_is_named(plain):
    plain["files"].append({**plain["files"][0], "precision": "fp2"})
    with pytest.raises(
        SchemaVersionError, match="has a file in fp2, which this edgead does not know"
    ) as caught:
        _decode(plain)
    assert "Upgrade edgead-runtime" in caught.value.remedy


# The fingerprint


def _change(manifest, **changes):
    return msgspec.structs.replace(manifest, **changes)


def test_what_decides_a_feature_changes_the_fingerprint(manifest):
    replace = msgspec.structs.replace
    first, second = manifest.features
    others = [
        _change(manifest, input=replace(manifest.input, height=126)),
        _change(manifest, input=replace(manifest.input, width=126)),
        _change(manifest, preprocess=replace(manifest.preprocess, fit="stretch")),
        _change(manifest, preprocess=replace(manifest.preprocess, mean=(0.5, 0.5, 0.5))),
        _change(manifest, preprocess=replace(manifest.preprocess, std=(0.5, 0.5, 0.5))),
        _change(manifest, patch_size=16),
        _change(manifest, features=[first]),
        _change(manifest, features=[replace(first, layer=9), second]),
        _change(manifest, features=[replace(first, final_norm=True), second]),
        _change(manifest, attention=None),
        _change(manifest, files=[replace(manifest.files[0], sha256="1" * 64)]),
    ]
    prints = [other.fingerprint() for other in [manifest, *others]]
    assert len(set(prints)) == len(prints)
    assert all(len(text) == 64 for text in prints)


def test_what_does_not_decide_a_feature_leaves_it(manifest):
    replace = msgspec.structs.replace
    int8 = EncoderFile(precision="int8", path="encoder.int8.onnx", sha256="2" * 64, bytes=7)
    others = [
        _change(manifest, created="2031-12-31T00:00:00+00:00"),
        _change(manifest, tools={"torch": "9"}),
        _change(manifest, backbone="renamed"),
        _change(manifest, opset=18),
        _change(manifest, weights=replace(manifest.weights, note="checked")),
        _change(manifest, files=[*manifest.files, int8]),
        _change(manifest, files=[int8, *manifest.files]),
        _change(manifest, files=[replace(manifest.files[0], path="renamed.onnx")]),
        decode_manifest(encode_manifest(manifest), EncoderManifest, "x"),
    ]
    assert {other.fingerprint() for other in others} == {manifest.fingerprint()}


def test_the_fingerprint_does_not_change_between_releases(manifest):
    """Detectors on disk were enrolled with it: this value may change only with the schema version."""
    fixed = _change(manifest, files=[msgspec.structs.replace(manifest.files[0], sha256="0" * 64)])
    assert fixed.fingerprint() == "d0536063a83ece31668fa9fa115359f20292dfcfc93d7a32c47111f3fc99c483"


# The folder


@pytest.fixture
def copied(mini_bundle, tmp_path):
    return shutil.copytree(mini_bundle, tmp_path / "Kamera 1 ✓")


def test_a_bundle_opens_and_its_model_is_checked(copied):
    bundle = EncoderBundle.open(str(copied))
    assert bundle.root == copied.resolve()
    assert bundle.read_model() == (copied / "encoder.onnx").read_bytes()


@pytest.mark.parametrize("damage", ["truncated", "altered", "longer", "gone", "folder"])
def test_a_damaged_model_is_refused(copied, damage):
    model = copied / "encoder.onnx"
    data = bytearray(model.read_bytes())
    if damage == "altered":
        data[len(data) // 2] ^= 1
        model.write_bytes(data)
    elif damage in ("truncated", "longer"):
        model.write_bytes(data[:-1] if damage == "truncated" else data + b"\0")
    else:
        model.unlink()
        if damage == "folder":
            model.mkdir()
    with pytest.raises(BundleError, match=r"encoder\.onnx"):
        Encoder.load(copied)


def test_a_graph_that_is_none_is_refused(copied):
    junk = b"not an ONNX file"
    manifest = EncoderBundle.open(copied).manifest
    entry = msgspec.structs.replace(manifest.files[0], sha256=_sha(junk), bytes=len(junk))
    (copied / "encoder.onnx").write_bytes(junk)
    (copied / "manifest.json").write_bytes(encode_manifest(_change(manifest, files=[entry])))
    with pytest.raises(BundleError, match="no ONNX file with 'image'"):
        Encoder.load(copied)


def _sha(data):
    return hashlib.sha256(data).hexdigest()


def test_what_is_no_bundle(tmp_path, copied):
    with pytest.raises(BundleError, match="does not exist"):
        EncoderBundle.open(tmp_path / "gone")
    with pytest.raises(BundleError, match="is not a folder"):
        EncoderBundle.open(copied / "encoder.onnx")
    (copied / "manifest.json").unlink()
    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        EncoderBundle.open(copied)


def test_a_manifest_that_may_not_be_read(copied, monkeypatch):
    def denied(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", denied)
    with pytest.raises(BundleError, match=r"cannot read .*manifest\.json: Permission denied"):
        EncoderBundle.open(copied)


@pytest.mark.parametrize("name", ["../encoder.onnx", "/etc/passwd", "a/../../b", "..\\b", "C:b", ""])
def test_a_bundle_that_points_outside_itself_is_refused(copied, name):
    manifest = EncoderBundle.open(copied).manifest
    entry = msgspec.structs.replace(manifest.files[0], path=name)
    (copied / "manifest.json").write_bytes(encode_manifest(_change(manifest, files=[entry])))
    with pytest.raises(BundleError, match="names a file outside itself"):
        EncoderBundle.open(copied)


# The encoder


def test_layers_and_attention(two_layer_bundle, part):
    with Encoder.load(two_layer_bundle, threads=1) as encoder:
        timings = {}
        deepest = encoder.encode(part(0), timings_ms=timings)
        first = encoder.encode(part(0), layers=(1,))
        assert deepest.tokens.shape == (64, 12)
        assert first.tokens.shape == (64, 16)
        assert first.grid == (8, 8)
        assert deepest.attention.sum() == pytest.approx(1)
        assert set(timings) == {"preprocess", "encode"}
        assert min(timings.values()) >= 0


def test_a_manifest_with_one_frame_graph_keeps_it(fused_bundle):
    """As they were written before there was one for each precision."""
    data = (fused_bundle / "manifest.json").read_bytes()
    fields = json.loads(data)
    (fields["frame"],) = fields.pop("frames")
    older = decode_manifest(json.dumps(fields).encode(), EncoderManifest, "here")
    assert older == decode_manifest(data, EncoderManifest, "here")
    assert older.frame is not None
    fields["frame"] = None
    assert decode_manifest(json.dumps(fields).encode(), EncoderManifest, "here").frames == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_numbers_are_refused(mini_encoder, part, monkeypatch, value):
    """A score of NaN is above no threshold, so it would call every part good."""
    genuine = mini_encoder._engine.run

    def overflowed(*asked):
        outputs = genuine(*asked)
        outputs["patch_features_1"][0, 5, 3] = value
        return outputs

    monkeypatch.setattr(mini_encoder._engine, "run", overflowed)
    with pytest.raises(BundleError, match="not numbers"):
        mini_encoder.encode(part(0))


def test_a_layer_that_is_not_there(mini_encoder, part):
    with pytest.raises(RecipeError, match=r"no layer 7 \(it has: 1\)") as caught:
        mini_encoder.encode(part(0), layers=(7,))
    assert "--layers 7" in caught.value.remedy


def test_tokens_are_in_raster_order(mini_encoder, part):
    """The token of a patch is that of the patch alone: shifting the frame by one patch shifts the tokens."""
    frame = part(3)[:112, :112]
    shifted = frame.copy()
    shifted[:, 14:] = frame[:, :-14]
    plain, moved = (mini_encoder.encode(x).tokens.reshape(8, 8, -1) for x in (frame, shifted))
    assert moved[:, 1:] == pytest.approx(plain[:, :-1], abs=1e-5)
