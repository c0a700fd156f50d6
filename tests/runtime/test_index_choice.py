"""Detectors with each index, and how ``auto`` chooses one."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from edgead_runtime import Detector, Encoder, blocked_bank, index_choice
from edgead_runtime.errors import IndexUnavailableError
from edgead_runtime.index import AUTO, EXACT, INDEXES, clusters, installed_indexes
from edgead_runtime.index_choice import IndexMeasurement, choose_index
from msgspec import to_builtins


@pytest.fixture(params=list(INDEXES))
def name(request):
    spec = INDEXES[request.param]
    if spec.requires is not None:
        pytest.importorskip(spec.requires, reason=f"{spec.requires} is not installed")
    return request.param


@pytest.fixture
def misses(monkeypatch):
    """Clusters that are small and of which one is searched: much is missed."""
    monkeypatch.setattr(clusters, "ROWS_PER_CLUSTER", 8)
    monkeypatch.setattr(clusters, "_PROBES", 1)


@pytest.fixture
def saved(mini_encoder, part, quick, tmp_path):
    path = tmp_path / "part.edgead"
    frames = [part(number) for number in range(6)]
    Detector.enroll(mini_encoder, frames, recipe=quick.with_(rotations_deg=(0, 90, 180, 270))).save(path)
    return path


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / index_choice.REMEMBERED


def load(saved, mini_encoder, index):
    return Detector.load(saved, encoder=mini_encoder, index=index)


def test_scores_are_those_of_exact_search(saved, mini_encoder, part, defective, name, misses):
    exact, other = load(saved, mini_encoder, EXACT), load(saved, mini_encoder, name)
    assert other.index.index == name
    missed = 0
    for frame in (defective.frame, part(40), part(41), part(0)):
        found, expected = other(frame), exact(frame)
        assert found.score == pytest.approx(expected.score, abs=1e-6)
        assert found.is_anomaly is expected.is_anomaly
        assert (found.patch_distances >= expected.patch_distances - 1e-6).all()
        missed += int((found.patch_distances > expected.patch_distances + 1e-5).sum())
    if name == "clusters":
        assert missed  # else this test tests nothing


def test_adding_taking_back_calibrating_and_saving(saved, mini_encoder, part, name, tmp_path):
    exact, other = load(saved, mini_encoder, EXACT), load(saved, mini_encoder, name)
    probe = part(50)
    for detector in (exact, other):
        detector.add_good(part(30))
        detector.add_good(probe, "probe")
    assert other(probe).score == pytest.approx(0, abs=1e-5)
    assert exact.recalibrate().normal_scores == pytest.approx(other.recalibrate().normal_scores, abs=1e-6)
    for detector in (exact, other):
        assert detector.undo() == "probe"
    assert other(probe).score == pytest.approx(exact(probe).score, abs=1e-6)
    result, _ = other.explain(probe)
    assert result.score == pytest.approx(exact(probe).score, abs=1e-6)
    other.save(tmp_path / "again.edgead")
    again = load(tmp_path / "again.edgead", mini_encoder, name)
    assert again(probe).score == pytest.approx(exact(probe).score, abs=1e-6)
    assert len(again.references) == 7


def test_calls_from_several_threads_while_it_grows(saved, mini_encoder, part, name):
    detector = load(saved, mini_encoder, name)
    probe = part(60)
    without = detector(probe).score
    with ThreadPoolExecutor(4) as pool:
        scores = [pool.submit(lambda: detector(probe).score) for _ in range(30)]
        for _ in range(5):
            detector.add_good(probe)
            detector.undo()
        found = [score.result() for score in scores]
    assert all(min(abs(score - without), abs(score)) < 1e-5 for score in found)


def test_it_goes_to_another_process_by_its_path(saved, mini_encoder, mini_bundle, part, name):
    detector = Detector.load(saved, encoder=mini_bundle, index=name)
    again = pickle.loads(pickle.dumps(detector))
    assert again.index == detector.index
    assert again(part(7)).score == pytest.approx(detector(part(7)).score)


def test_it_goes_by_the_stages(saved, fused_bundle, part, name):
    with Encoder.load(fused_bundle, engine="onnxruntime", threads=1) as encoder:
        by_graph, other = load(saved, encoder, EXACT), load(saved, encoder, name)
        one, two = by_graph(part(9)), other(part(9))
        assert "frame" in one.timings_ms
        assert "search" in two.timings_ms
        assert two.score == pytest.approx(one.score, abs=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"neighbours": 3},
        {"reduction": "worst-references"},
        {"view_reduction": "mean"},
        {"head": "subspace", "subspace_components": 4},
    ],
)
def test_recipes_that_ask_for_more_than_the_nearest(
    mini_encoder, good_frames, quick, tmp_path, changes, monkeypatch
):
    monkeypatch.setattr(index_choice, "EXACT_BELOW", 0)
    path = tmp_path / "part.edgead"
    Detector.enroll(mini_encoder, good_frames, recipe=quick.with_(**changes)).save(path)
    with pytest.raises(IndexUnavailableError, match="asks for more"):
        load(path, mini_encoder, "clusters")
    detector = load(path, mini_encoder, AUTO)
    assert detector.index.index == EXACT
    assert "recipe" in detector.index.reason


def test_several_layers(two_layer_bundle, good_frames, defective, quick, tmp_path, misses):
    recipe = quick.with_(layers=(1, 2), score_layers="all")
    with Encoder.load(two_layer_bundle, engine="onnxruntime", threads=1) as encoder:
        exact = Detector.enroll(encoder, good_frames, recipe=recipe)
        exact.save(tmp_path / "part.edgead")
        other = load(tmp_path / "part.edgead", encoder, "clusters")
        for frame in (defective.frame, good_frames[0]):
            assert other(frame).score == pytest.approx(exact(frame).score, abs=1e-6)


def test_who_follows_builds_nothing_that_it_has(saved, fused_bundle, part, defective, monkeypatch):
    """Settings of a latency budget know what the full one knows; each searches in its own way."""
    built = []
    genuine, room = clusters.build, blocked_bank._Capacity.__init__
    monkeypatch.setattr(clusters, "build", lambda *asked: built.append("index") or genuine(*asked))
    monkeypatch.setattr(
        blocked_bank._Capacity, "__init__", lambda *asked: built.append("bank") or room(*asked)
    )
    with Encoder.load(fused_bundle, engine="onnxruntime", threads=1) as encoder:
        leader, by_graph, by_index = (load(saved, encoder, name) for name in (EXACT, EXACT, "clusters"))
        followers = (by_graph, by_index)
        before = leader(defective.frame).score
        assert built == ["bank", "bank", "index"]

        def follow():
            for one in followers:
                one._follow(leader)

        follow()
        leader.set_threshold(0.5)
        follow()
        assert [one.threshold for one in followers] == [0.5, 0.5]
        assert built == ["bank", "bank", "index"]
        leader.add_good(defective.frame)
        follow()
        assert "index" not in built[3:]
        for one in followers:
            assert one(defective.frame).score == pytest.approx(0, abs=1e-5)
        leader.undo()
        follow()
        assert "index" not in built[3:]
        for one in followers:
            assert one(defective.frame).score == pytest.approx(before, abs=1e-5)


# -- auto ------------------------------------------------------------------------------------------------


def test_small_banks_are_not_measured(saved, mini_encoder, cache):
    detector = load(saved, mini_encoder, AUTO)
    assert (detector.index.index, detector.index.measured) == (EXACT, ())
    assert "1,536 patches" in detector.index.reason
    assert not cache.exists()


def test_what_was_measured_is_remembered(saved, mini_encoder, part, cache, monkeypatch):
    monkeypatch.setattr(index_choice, "EXACT_BELOW", 1000)
    measured = load(saved, mini_encoder, AUTO).index
    assert [one.index for one in measured.measured] == [EXACT, *installed_indexes()]
    exact = measured.measured[0]
    assert (exact.recall_at_1, exact.distance_error, exact.score_error_worst) == (1, 0, 0)
    assert all(one.score_error_worst < 1e-4 for one in measured.measured)
    assert len(json.loads(cache.read_text())) == 1

    def again(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr(index_choice, "measure_indexes", again)
    assert load(saved, mini_encoder, AUTO).index == measured
    detector = load(saved, mini_encoder, AUTO)
    detector.add_good(part(33))
    detector.save(saved)
    with pytest.raises(AssertionError, match="measured again"):
        load(saved, mini_encoder, AUTO)  # another bank
    cache.write_text("no json")
    with pytest.raises(AssertionError, match="measured again"):
        load(saved, mini_encoder, AUTO)


def measurement(index, frame_ms, **errors):
    fields = {"recall_at_1": 0.99, "distance_error": 0.1, "score_error_median": 0, "score_error_worst": 0}
    return IndexMeasurement(index=index, frame_ms=frame_ms, build_s=1, **(fields | errors))


@pytest.mark.parametrize(
    ("measured", "chosen", "words"),
    [
        ([measurement("clusters", 50)], "clusters", "50 ms instead of 100"),
        ([measurement("clusters", 97)], EXACT, "nothing measured was faster"),
        ([measurement("clusters", 50), measurement("hnsw", 40)], "hnsw", "40 ms"),
        ([measurement("clusters", 50), measurement("hnsw", 40, score_error_worst=0.04)], "clusters", "50 ms"),
        ([measurement("clusters", 50, score_error_median=0.011)], EXACT, "wrong scores"),
    ],
)
def test_the_fastest_that_keeps_the_scores(saved, mini_encoder, cache, monkeypatch, measured, chosen, words):
    monkeypatch.setattr(index_choice, "EXACT_BELOW", 0)
    for one in measured:
        if INDEXES[one.index].requires:
            pytest.importorskip(INDEXES[one.index].requires, reason="not installed")
    monkeypatch.setattr(index_choice, "measure_indexes", lambda *_: (measurement(EXACT, 100), *measured))
    found = load(saved, mini_encoder, AUTO).index
    assert found.index == chosen
    assert words in found.reason


def test_one_reference_has_nothing_to_be_measured_with(mini_encoder, part, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(index_choice, "EXACT_BELOW", 0)
    detector = Detector.enroll(mini_encoder, [part(0)], recipe=quick)
    memory, choice = choose_index(detector._pipeline, detector._state.memory)
    assert choice.index == EXACT
    assert memory.is_exact


@pytest.mark.parametrize("changes", [{"merge_within": 0.3}, {"coreset": 40}])
def test_others_that_keep_next_to_nothing(mini_encoder, part, quick, tmp_path, cache, monkeypatch, changes):
    """The picture that is added is all but the first one, and the coreset keeps next to nothing of it."""
    detector = Detector.enroll(mini_encoder, [part(0)], recipe=quick.with_(**changes))
    again = part(0)
    again[0, 0, 0] ^= 1
    detector.add_good(again)
    assert len(detector.references[1].tokens[-1]) <= 2
    detector.save(tmp_path / "part.edgead")
    monkeypatch.setattr(index_choice, "EXACT_BELOW", 1)
    found = load(tmp_path / "part.edgead", mini_encoder, AUTO)
    assert found.index.index == EXACT
    assert "too few patches" in found.index.reason


def test_pictures_to_measure_with_leave_half_of_the_patches(mini_encoder, part, quick):
    frames = [part(number) for number in range(6)]
    whole = Detector.enroll(mini_encoder, frames, recipe=quick)
    assert len(index_choice._probed(whole._state.memory)) == 3
    detector = Detector.enroll(mini_encoder, frames, recipe=quick.with_(coreset=0.1))
    rows = [len(reference.tokens[-1]) for reference in detector.references]
    probed = index_choice._probed(detector._state.memory)
    assert 0 < len(probed) <= 3
    assert 2 * sum(rows[index] for index in probed) <= sum(rows)


@pytest.mark.parametrize(
    "entry",
    [
        {"index": "exact", "measured": []},
        {"index": "clusters", "measured": []},
        {"index": "none such", "measured": ["exact", "none such"]},
    ],
)
def test_a_remembered_choice_that_says_nothing(saved, mini_encoder, cache, monkeypatch, entry):
    monkeypatch.setattr(index_choice, "EXACT_BELOW", 0)
    monkeypatch.setattr(index_choice, "measure_indexes", lambda *_: (measurement(EXACT, 100),))
    expected = load(saved, mini_encoder, AUTO).index
    (key,) = json.loads(cache.read_text())
    entry["measured"] = [to_builtins(measurement(name, 1)) for name in entry["measured"]]
    cache.write_text(json.dumps({key: entry}))
    assert load(saved, mini_encoder, AUTO).index == expected


def test_what_else_a_measurement_depends_on(saved, mini_encoder, cache, monkeypatch):
    monkeypatch.setattr(index_choice, "EXACT_BELOW", 0)
    monkeypatch.setattr(index_choice, "measure_indexes", lambda *_: (measurement(EXACT, 100),))
    load(saved, mini_encoder, AUTO)
    Detector.load(saved, encoder=mini_encoder, foreground_only=False)
    assert len(json.loads(cache.read_text())) == 2
    monkeypatch.setattr(index_choice, "version_of", lambda _: "another")
    load(saved, mini_encoder, AUTO)
    assert len(json.loads(cache.read_text())) == (3 if "hnsw" in installed_indexes() else 2)


def test_a_missed_neighbor_would_look_like_a_defect(saved, mini_encoder, part, misses, monkeypatch):
    """What settling is for: without it, the score of a good part is too high."""
    exact, other = load(saved, mini_encoder, EXACT), load(saved, mini_encoder, "clusters")
    settled = [other(part(number)).score for number in range(70, 80)]
    monkeypatch.setattr("edgead_runtime.pipeline.settle", lambda found, *, combine, **_: combine(found))
    raw = [other(part(number)).score for number in range(70, 80)]
    expected = [exact(part(number)).score for number in range(70, 80)]
    assert settled == pytest.approx(expected, abs=1e-6)
    assert np.max(np.array(raw) / expected) > 1.01
