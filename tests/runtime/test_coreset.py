"""What a coreset promises, what it keeps, and how it grows."""

import itertools

import numpy as np
import pytest
from edgead_runtime import Detector, Encoder
from edgead_runtime.bank import normalize
from edgead_runtime.coreset import bound
from edgead_runtime.errors import RecipeError
from edgead_runtime.farthest_first import farthest_first
from edgead_runtime.index import nearest_distances
from edgead_runtime.manifest import CoresetRecord
from hypothesis import given, settings
from hypothesis import strategies as st

SEEDS = st.integers(0, 10**6)


def rows_of(seed, count, dim=6, copies=0.0):
    """Unit rows, a share of them nearly others, and now and then a zero one."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((count, dim)).astype(np.float32)
    again = random.random(count) < copies
    noise = 10.0 ** random.uniform(-6, -1, (count, 1))
    rows[again] = (rows[random.integers(0, count, count)] + noise * rows)[again]
    rows[random.random(count) < 0.02] = 0
    return normalize(rows)


def to_nearest(rows, chosen):
    """Length of the difference from each row to the nearest chosen one, in float64."""
    apart = rows[:, None].astype(np.float64) - rows[chosen][None].astype(np.float64)
    return np.sqrt((apart**2).sum(axis=2)).min(axis=1)


def by_definition(rows, count):
    """Farthest-first traversal, one row after another, by similarities."""
    chosen = [0]
    nearest = rows @ rows[0]
    while len(chosen) < count:
        rest = np.where(np.isin(np.arange(len(rows)), chosen), np.inf, nearest)
        chosen.append(int(rest.argmin()))
        nearest = np.maximum(nearest, rows @ rows[chosen[-1]])
    return np.sort(chosen)


# -- choosing --------------------------------------------------------------------------------------------


def test_on_a_circle():
    degrees = np.array([0, 1, 2, 90, 91, 180, 181, 270])
    rows = np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1).astype(np.float32)
    cover = farthest_first(rows, count=4)
    assert len(cover.chosen) == 4
    assert {degrees[place] // 90 for place in cover.chosen} == {0, 1, 2, 3}
    assert cover.radius == pytest.approx(2 * np.sin(np.radians(2) / 2), abs=1e-6)
    assert farthest_first(rows, within=0.04).chosen.size == 4


@settings(max_examples=40)
@given(SEEDS, st.integers(2, 900), st.floats(0.01, 1))
def test_batches_choose_as_one_after_another_does(seed, count, share):
    rows = normalize(np.random.default_rng(seed).standard_normal((count, 5)).astype(np.float32))
    wanted = max(1, int(share * count))
    found = farthest_first(rows, count=wanted)
    expected = by_definition(rows, wanted)
    if not np.array_equal(found.chosen, expected):  # rounding may settle a tie otherwise
        assert to_nearest(rows, found.chosen).max() == pytest.approx(
            to_nearest(rows, expected).max(), rel=1e-3
        )


@settings(max_examples=60)
@given(SEEDS, st.integers(1, 400), st.floats(0, 1), st.floats(0, 0.8), st.floats(0, 1))
def test_leaving_out_near_duplicates_changes_no_distance_by_more(seed, count, copies, within, share_known):
    """The promise of ``merge_within``, for any query and any rows."""
    rows = rows_of(seed, count, copies=copies)
    known = rows[: int(share_known * count)]
    new = rows[len(known) :]
    cover = farthest_first(new, within=within, known=known)
    assert cover.radius <= within
    kept = np.concatenate([known, new[cover.chosen]])
    # Also those for which it matters most: along the differences between rows.
    half = len(rows) // 2
    along = normalize(rows[:half] - rows[len(rows) - half :])
    queries = np.concatenate([rows_of(seed + 1, 20), rows, along])
    grown = nearest_distances(queries, [kept]) - nearest_distances(queries, [rows])
    assert grown.max() <= cover.radius + 1e-6
    assert grown.min() >= -1e-6


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 300), st.floats(0.01, 1))
def test_the_radius_is_what_it_says_and_bounds_any_distance(seed, count, share):
    rows = rows_of(seed, count, copies=0.3)
    cover = farthest_first(rows, count=max(1, int(share * count)))
    assert (np.diff(cover.chosen) > 0).all()
    # The nearest by similarity is that by length, but for zero rows, which lie at length 1 of any.
    assert cover.radius >= to_nearest(rows, cover.chosen).max() - 1e-6
    record = CoresetRecord(rows=count, chosen=len(cover.chosen), radius=cover.radius)
    queries = normalize(np.random.default_rng(seed + 2).standard_normal((50, 6)).astype(np.float32))
    for exact, found in zip(
        nearest_distances(queries, [rows]), nearest_distances(queries, [rows[cover.chosen]]), strict=True
    ):
        assert found <= max(bound(record, float(exact)), exact) + 1e-5


def test_no_more_than_twice_the_best_radius():
    random = np.random.default_rng(0)
    centers = normalize(random.standard_normal((12, 8)).astype(np.float32))
    rows = normalize(
        np.repeat(centers, 50, axis=0) + 0.02 * random.standard_normal((600, 8)).astype(np.float32)
    )
    best = np.sqrt(2 * (1 - (rows * np.repeat(centers, 50, axis=0)).sum(axis=1))).max()
    assert farthest_first(rows, count=12).radius <= 2 * best + 1e-3


def test_copies_and_zero_rows_end_too():
    rows = np.concatenate([np.zeros((5, 4), np.float32), np.repeat(np.eye(4, dtype=np.float32), 100, axis=0)])
    cover = farthest_first(rows, within=1e-3)
    assert cover.radius <= 1e-3
    assert len(farthest_first(rows, count=len(rows)).chosen) <= len(rows)
    assert farthest_first(rows[:1], count=1).chosen.tolist() == [0]


# -- detectors -------------------------------------------------------------------------------------------


@pytest.fixture
def recipe(quick):
    return quick.with_(rotations_deg=(0, 90, 180, 270), coreset=0.25)


def load(path, encoder):
    return Detector.load(path, encoder=encoder)


def test_enrolling_saving_and_explaining(mini_encoder, part, defective, recipe, tmp_path):
    frames = [part(number) for number in range(5)]
    whole = Detector.enroll(mini_encoder, frames, recipe=recipe.with_(coreset=1))
    detector = Detector.enroll(mini_encoder, frames, recipe=recipe)
    (record,) = detector.coreset
    assert (record.rows, record.chosen, detector.rows) == (5 * 256, 320, 320)
    assert 0 < record.radius < 1
    for frame in (defective.frame, part(40)):
        exact, found = whole(frame), detector(frame)
        assert found.score >= exact.score - 1e-6
        grown = found.patch_distances - exact.patch_distances
        assert grown.min() > -1e-6
        assert grown.max() <= record.radius
    assert detector(defective.frame).is_anomaly
    result, why = detector.explain(defective.frame)
    nearest = detector(defective.frame).patch_distances.max()
    assert result.regions
    assert why[0].distance == pytest.approx(nearest, abs=1e-5)
    detector.save(tmp_path / "part.edgead")
    again = load(tmp_path / "part.edgead", mini_encoder)
    assert again.coreset == detector.coreset
    assert again(defective.frame).score == pytest.approx(detector(defective.frame).score, abs=1e-7)
    whole.save(tmp_path / "whole.edgead")


def test_thresholds_come_from_coresets_of_the_others(mini_encoder, part, recipe):
    frames = [part(number) for number in range(4)]
    detector = Detector.enroll(mini_encoder, frames, recipe=recipe)
    for index, score in enumerate(detector.calibration.normal_scores):
        others = [frame for number, frame in enumerate(frames) if number != index]
        alone = Detector.enroll(mini_encoder, others, recipe=recipe)
        assert score == pytest.approx(alone(frames[index]).score, abs=1e-6)


@pytest.mark.parametrize("count", [2, 4])
def test_a_number_is_calibrated_as_the_share_that_it_is(mini_encoder, part, quick, count):
    """Coresets of so many patches of fewer pictures would be denser than the bank."""
    frames = [part(number) for number in range(count)]
    by_number, by_share = (
        Detector.enroll(mini_encoder, frames, recipe=quick.with_(coreset=keep))
        for keep in (16, 16 / (64 * count))
    )
    assert by_number.rows == by_share.rows == 16
    assert by_number.calibration == by_share.calibration


def test_calibrating_again_takes_the_coreset_as_it_has_become(mini_encoder, part, quick):
    """What was added was known already: the bank keeps a smaller share than it was enrolled with."""
    detector = Detector.enroll(mini_encoder, [part(0), part(1)], recipe=quick.with_(coreset=0.25))
    for number in range(2, 8):
        detector.add_good(part(number))
    share = detector.rows / detector.coreset[0].rows
    assert share < 0.2
    found = detector.recalibrate()
    frames = [part(number) for number in range(8)]
    expected = Detector.enroll(mini_encoder, frames, recipe=quick.with_(coreset=share))
    assert found.normal_scores == pytest.approx(expected.calibration.normal_scores, abs=1e-6)


def test_calibrating_again_encodes_the_pictures_again(mini_encoder, part, recipe, tmp_path):
    detector = Detector.enroll(mini_encoder, [part(number) for number in range(4)], recipe=recipe)
    before = detector.calibration
    detector.save(tmp_path / "part.edgead")
    again = load(tmp_path / "part.edgead", mini_encoder)
    assert again.recalibrate().normal_scores == pytest.approx(before.normal_scores, abs=1e-5)
    held_out = again.recalibrate([part(50), part(51)])
    assert held_out.normal_scores == pytest.approx([again(part(50)).score, again(part(51)).score], abs=1e-6)


def test_many_pictures_are_left_out_in_groups(mini_encoder, part, recipe):
    detector = Detector.enroll(mini_encoder, [part(number) for number in range(10)], recipe=recipe)
    assert detector.calibration.pictures == 10
    assert len(detector.calibration.normal_scores) == 10


@pytest.mark.parametrize("fused", [False, True])
def test_it_stays_bounded_as_good_parts_come_in(fused, fused_bundle, part, recipe, tmp_path):
    with Encoder.load(fused_bundle, engine="onnxruntime", threads=1, fused=fused) as encoder:
        detector = Detector.enroll(encoder, [part(0), part(1)], recipe=recipe.with_(coreset=20))
        random = np.random.default_rng(0)
        all_rows = [Detector.enroll(encoder, [part(0), part(1)], recipe=recipe.with_(coreset=1))]
        sizes, first_added = [detector.rows], []
        for odder in range(1, 13):  # each of a sort of its own
            noise = random.normal(0, 15 * odder, (160, 160, 3))
            odd = np.clip(part(odder) + noise, 0, 255).astype(np.uint8)
            detector.add_good(odd)
            all_rows[0].add_good(odd)
            sizes.append(detector.rows)
            first_added.append(len(detector.references[2].tokens[0]))
            (record,) = detector.coreset
            kept = [reference.tokens[0] for reference in detector.references]
            seen = np.concatenate([reference.tokens[0] for reference in all_rows[0].references])
            assert record.rows == len(seen)
            nearest = (seen @ np.concatenate(kept).T).max(axis=1)
            assert np.sqrt(2 * np.clip(1 - nearest, 0, 2)).max() <= record.radius + 1e-3
        assert max(sizes) <= 40
        assert any(later < earlier for earlier, later in itertools.pairwise(first_added))  # thinned
        probe = part(60)
        detector.save(tmp_path / "part.edgead")
        again = Detector.load(tmp_path / "part.edgead", encoder=encoder)
        assert ("frame" in again(probe).timings_ms) is fused
        assert again(probe).score == pytest.approx(detector(probe).score, abs=1e-5)
        before = [reference.tokens[0].copy() for reference in detector.references[:-1]]
        detector.undo()
        assert all(
            np.array_equal(reference.tokens[0], was)
            for reference, was in zip(detector.references, before, strict=True)
        )
        expected = nearest_distances(
            normalize(encoder.encode(probe).tokens),
            [reference.tokens[0] for reference in detector.references],
        )
        assert detector(probe).patch_distances.ravel() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("keep", [12.0, 0.25])
def test_a_mistake_that_is_taken_back_leaves_no_trace(mini_encoder, part, defective, quick, keep, tmp_path):
    frames = [part(number) for number in range(4)]
    detector = Detector.enroll(mini_encoder, frames, recipe=quick.with_(coreset=keep))
    probes = [defective.frame, *(part(50 + number) for number in range(4))]
    before = [detector(frame).score for frame in probes]
    coreset, rows = detector.coreset, detector.rows
    detector.add_good(np.random.default_rng(1).integers(0, 256, (160, 160, 3), dtype=np.uint8))
    assert rows < detector.rows <= 2 * rows
    detector.save(tmp_path / "part.edgead")
    for one in (detector, load(tmp_path / "part.edgead", mini_encoder)):
        one.undo()
        assert [one(frame).score for frame in probes] == pytest.approx(before, abs=1e-7)
        assert one.coreset == coreset
        assert one.rows == rows


def test_what_was_enrolled_is_never_thinned(mini_encoder, part, quick):
    frames = [part(number) for number in range(2)]
    detector = Detector.enroll(mini_encoder, frames, recipe=quick.with_(coreset=12))
    enrolled = [reference.kept[0].tolist() for reference in detector.references]
    random = np.random.default_rng(2)
    for _ in range(5):
        detector.add_good(random.integers(0, 256, (160, 160, 3), dtype=np.uint8))
        assert [reference.kept[0].tolist() for reference in detector.references[:2]] == enrolled
    assert detector.coreset[0].radius > detector.coreset[0].enrolled_radius


def test_taking_back_forgets_the_patches_too(mini_encoder, part, quick):
    detector = Detector.enroll(mini_encoder, [part(0), part(1)], recipe=quick.with_(coreset=0.5))
    detector.add_good(part(2))
    (kept,) = detector.coreset
    for number in (10, 11, 12):
        detector.add_good(part(number))
        detector.undo()
    assert detector.coreset[0].rows == kept.rows == 3 * 64


def test_a_part_that_is_known_adds_next_to_nothing(mini_encoder, part, recipe):
    detector = Detector.enroll(mini_encoder, [part(number) for number in range(4)], recipe=recipe)
    before = detector.rows
    detector.add_good(part(20))
    assert detector.rows - before < 30
    assert sum(map(len, detector.references[-1].kept)) == detector.rows - before


def test_an_index_over_a_coreset(mini_encoder, part, recipe, tmp_path):
    detector = Detector.enroll(mini_encoder, [part(number) for number in range(4)], recipe=recipe)
    detector.save(tmp_path / "part.edgead")
    other = Detector.load(tmp_path / "part.edgead", encoder=mini_encoder, index="clusters")
    for one in (detector, other):
        one.add_good(part(30))
    assert other(part(44)).score == pytest.approx(detector(part(44)).score, abs=1e-6)


def test_near_duplicates(mini_encoder, part, recipe):
    frames = [part(number) for number in range(3)]
    whole = Detector.enroll(mini_encoder, frames, recipe=recipe.with_(coreset=1))
    fewer = Detector.enroll(mini_encoder, frames, recipe=recipe.with_(coreset=1, merge_within=0.05))
    assert fewer.rows < whole.rows
    assert fewer.coreset[0].radius <= 0.05
    difference = fewer(part(9)).patch_distances - whole(part(9)).patch_distances
    assert difference.min() > -1e-6
    assert difference.max() <= 0.05


@pytest.mark.parametrize("value", [0, -1, 1.5, float("nan"), float("inf")])
def test_a_coreset_that_makes_no_sense(quick, value):
    with pytest.raises(RecipeError, match="coreset"):
        quick.with_(coreset=value)


@pytest.mark.parametrize(
    "changes",
    [{"neighbours": 3}, {"reduction": "worst-references"}, {"align": "frame"}, {"head": "subspace"}],
)
def test_recipes_that_need_every_patch(quick, changes):
    with pytest.raises(RecipeError, match="leaving patches out"):
        quick.with_(coreset=0.5, **changes)
