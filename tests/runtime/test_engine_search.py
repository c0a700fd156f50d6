"""Exact search in an engine: the same distances as NumPy's, for every recipe that compares with patches."""

import numpy as np
import onnx
import pytest
from edgead_runtime import Detector, Encoder, get_recipe
from edgead_runtime.bank import normalize
from edgead_runtime.engines import EngineOptions, create_engine
from edgead_runtime.errors import EngineBuildError, EngineUnavailableError, IndexUnavailableError
from edgead_runtime.index import IN_ENGINE, EngineSearch, in_engine, nearest_distances
from edgead_runtime.index.in_engine import neighbours_of, search_graph
from edgead_runtime.memory import bank_distances
from edgead_runtime.tensorrt import api, building
from hypothesis import given
from hypothesis import strategies as st

DIM = 6


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def opened(request):
    """Opens searches in an engine, and remembers them."""
    pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    engines = {}

    def open_search(dim, neighbours):
        if (dim, neighbours) not in engines:
            options = EngineOptions(threads=1)
            engines[dim, neighbours] = create_engine(search_graph(dim, neighbours), request.param, options)
        return engines[dim, neighbours]

    yield open_search
    for engine in engines.values():
        engine.close()


@pytest.fixture(autouse=True)
def small_runs(monkeypatch):
    """So that small banks take several."""
    monkeypatch.setattr(in_engine, "ROWS_AT_ONCE", 40)
    monkeypatch.setattr(in_engine, "QUERIES_AT_ONCE", 30)
    monkeypatch.setattr(in_engine, "LEAST_ROWS", 4)


def unit(random, rows, dim=DIM):
    return normalize(random.standard_normal((rows, dim)).astype(np.float32))


@given(
    seed=st.integers(0, 10_000),
    queries=st.integers(0, 70),
    sizes=st.lists(st.integers(0, 130), min_size=1, max_size=4).filter(any),
    neighbours=st.sampled_from([1, 2, 5]),
)
def test_distances_are_numpys(opened, seed, queries, sizes, neighbours):
    random = np.random.default_rng(seed)
    tokens, banks = unit(random, queries), [unit(random, size) for size in sizes]
    found = EngineSearch(opened).nearest_distances(tokens, banks, neighbours)
    assert found.dtype == np.float32
    assert found == pytest.approx(nearest_distances(tokens, banks, neighbours), abs=2e-6)


@given(
    st.integers(0, 10_000),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from(["nearest", "mean"]),
    st.sampled_from(["nearest", "worst-references"]),
    st.sampled_from([1, 3]),
)
def test_every_reduction(opened, seed, references, views, view_reduction, reduction, neighbours):
    random = np.random.default_rng(seed)
    tokens = unit(random, 7)
    banks = [unit(random, views * 7) for _ in range(references)]
    recipe = get_recipe("anomalydino-informed").with_(
        view_reduction=view_reduction, reduction=reduction, neighbours=neighbours
    )
    expected = bank_distances(tokens, banks, 7, recipe)
    found = bank_distances(tokens, banks, 7, recipe, EngineSearch(opened).nearest_distances)
    assert found == pytest.approx(expected, abs=2e-6)


def test_nothing_to_search_in(opened):
    for banks in ([], [np.zeros((0, DIM), np.float32)]):
        with pytest.raises(ValueError, match="nothing to search in"):
            EngineSearch(opened).nearest_distances(np.ones((1, DIM), np.float32), banks)


def test_a_bank_is_put_there_once(opened):
    class Counting:
        def __init__(self, engine):
            self.engine, self.uploads = engine, 0

        def upload(self, array):
            self.uploads += 1
            return self.engine.upload(array)

        def run(self, feeds, outputs=None):
            return self.engine.run(feeds, outputs)

    counting = Counting(opened(DIM, 1))
    search = EngineSearch(lambda dim, neighbours: counting)
    random = np.random.default_rng(0)
    bank, tokens = unit(random, 100), unit(random, 10)
    for _ in range(3):
        search.nearest_distances(tokens, [bank, bank[:20]])
    assert counting.uploads == 4  # three equal parts, and the smaller view


@pytest.mark.parametrize("neighbours", [1, 4])
def test_the_graph_is_onnx(neighbours):
    data = search_graph(384, neighbours)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    assert neighbours_of(data) == neighbours


def test_of_another_graph_nobody_knows_the_neighbours(sum_model):
    assert neighbours_of(sum_model) is None


# -- detectors -------------------------------------------------------------------------------------------

RECIPES = {
    "nearest": {"rotations_deg": (0.0, 90.0)},
    "neighbours": {"neighbours": 3},
    "worst references": {"reduction": "worst-references", "worst_count": 2},
    "mean over views": {"view_reduction": "mean", "rotations_deg": (0.0, 180.0)},
    "several layers": {"layers": (1, 2)},
    "a mask": {"mask": "on"},
}


@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_detector_says_the_same(two_layer_bundle, good_frames, defective, tmp_path, changes, engine):
    pytest.importorskip(engine, reason=f"{engine} is not installed")
    recipe = get_recipe("anomalydino-informed").with_(**{"mask": "off", "layers": (2,), **changes})
    with Encoder.load(two_layer_bundle, engine=engine, threads=1) as encoder:
        Detector.enroll(encoder, good_frames[:4], recipe=recipe).save(tmp_path / "part.edgead")
        exact, other = (
            Detector.load(tmp_path / "part.edgead", encoder=encoder, index=index)
            for index in ("exact", IN_ENGINE)
        )
        assert (other.index.index, other.index.reason) == (IN_ENGINE, "asked for")
        for added in (good_frames[4], None):
            for frame in (defective.frame, good_frames[5]):
                found, expected = other(frame), exact(frame)
                assert found.score == pytest.approx(expected.score, abs=2e-6)
                assert found.patch_distances == pytest.approx(expected.patch_distances, abs=2e-6)
            for detector in (exact, other):
                if added is not None:
                    detector.add_good(added)
        assert encoder._searches
        calibrated = [detector.recalibrate().threshold for detector in (exact, other)]
        assert calibrated[0] == pytest.approx(calibrated[1], abs=2e-6)
    assert not encoder._searches  # closed with the encoder


def test_a_subspace_has_no_patches_to_search_in(mini_encoder, good_frames, quick, tmp_path):
    recipe = quick.with_(head="subspace", subspace_components=4)
    Detector.enroll(mini_encoder, good_frames[:4], recipe=recipe).save(tmp_path / "part.edgead")
    with pytest.raises(IndexUnavailableError, match="keeps no patches"):
        Detector.load(tmp_path / "part.edgead", encoder=mini_encoder, index=IN_ENGINE)


def test_on_the_simulated_gpu(gpu, mini_bundle, good_frames, defective, quick, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    import shutil

    bundle = tmp_path / "encoder"
    shutil.copytree(mini_bundle, bundle)
    recipe = quick.with_(neighbours=3)
    detector = Detector.enroll(Encoder.load(bundle, engine="onnxruntime"), good_frames[:4], recipe=recipe)
    detector.save(tmp_path / "part.edgead")
    building.build_engine(bundle, "tensorrt", graph="encoder")
    with pytest.raises(EngineUnavailableError, match="no tensorrt engine was built") as caught:
        Detector.load(tmp_path / "part.edgead", engine="tensorrt", index=IN_ENGINE)
    command = f"edgead-runtime build {bundle} --engine tensorrt --graph search --neighbours 3"
    assert caught.value.remedy.endswith(command)
    with pytest.raises(EngineBuildError, match="0 neighbours"):
        building.build_engine(bundle, "tensorrt", graph="search", neighbours=0)
    built = building.build_engine(bundle, "tensorrt", graph="search", neighbours=3)
    assert command.endswith(built.record.rebuild.partition(" build ")[2])
    assert built.record.parity.passed
    assert built.record.parity.rank_correlation_min > 0.9999
    with Detector.load(tmp_path / "part.edgead", engine="tensorrt", index=IN_ENGINE) as on_gpu:
        for frame in (defective.frame, good_frames[5], good_frames[0]):
            assert on_gpu(frame).score == pytest.approx(detector(frame).score, abs=1e-5)
        copied = gpu.bytes_up[False]
        on_gpu(defective.frame)
        assert gpu.bytes_up[False] == copied  # the bank lies there
        on_gpu.add_good(good_frames[4])
        detector.add_good(good_frames[4])
        assert on_gpu(defective.frame).score == pytest.approx(detector(defective.frame).score, abs=1e-5)
    assert api.FLAVOURS[built.record.flavour].module == "tensorrt"
