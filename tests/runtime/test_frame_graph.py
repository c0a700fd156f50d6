"""The frame graph gives what the stages give, and a detector takes it exactly where it does."""

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from edgead_runtime import Detector, Encoder, EncoderBundle, frame_graph, get_recipe
from edgead_runtime.anomaly_map import axis_matrix, make_map
from edgead_runtime.blocked_bank import BlockedBank
from edgead_runtime.engines import EngineOptions, create_engine
from edgead_runtime.errors import BundleError
from edgead_runtime.index import nearest_distances
from edgead_runtime.manifest import EncoderManifest, decode_manifest
from edgead_runtime.preprocess import Preprocessor
from edgead_runtime.scoring import image_score
from hypothesis import given
from hypothesis import strategies as st

ENGINES = ("onnxruntime", "openvino")


@pytest.fixture(params=ENGINES)
def engine(request):
    if request.param == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    return request.param


@pytest.fixture(scope="session")
def fused_encoder(fused_bundle):
    return Encoder.load(fused_bundle, engine="onnxruntime", threads=1)


@pytest.fixture(scope="session")
def graph(fused_bundle):
    """The mini encoder's frame graph in an engine."""
    bundle = EncoderBundle.open(fused_bundle)
    with create_engine(bundle.read_frame_graph(), "onnxruntime", EngineOptions(threads=1)) as engine:
        yield bundle.manifest, engine


def feeds_for(manifest, pixels, blocks, bias):
    return {
        frame_graph.FRAME: pixels[None],
        frame_graph.BANK: blocks,
        frame_graph.BANK_BIAS: np.asarray(bias, np.float32).reshape(-1, 1),
        frame_graph.PATCH_WEIGHTS: np.ones(manifest.grid, np.float32),
        **frame_graph.no_map(manifest.grid),
    }


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def enroll_both(fused_bundle, frames, recipe, engine="onnxruntime"):
    """Two detectors of the same pictures: by the frame graph, and by the stages."""
    return [
        Detector.enroll(
            Encoder.load(fused_bundle, engine=engine, threads=1, fused=fused), frames, recipe=recipe
        )
        for fused in (True, False)
    ]


def assert_agree(fused, staged, frame, *, by_graph=True):
    one, other = fused(frame), staged(frame)
    assert ("frame" in one.timings_ms) is by_graph
    assert "search" in other.timings_ms
    assert "frame" not in other.timings_ms
    assert one.score == pytest.approx(other.score, abs=1e-4)
    assert one.patch_distances == pytest.approx(other.patch_distances, abs=1e-4)
    assert one.map == pytest.approx(other.map, abs=1e-3)
    assert np.array_equal(one.mask, other.mask) if one.mask is not None else other.mask is None


# -- the graph by itself ---------------------------------------------------------------------------------


def test_all_of_its_outputs(graph, part):
    manifest, engine = graph
    pixels = np.array(Preprocessor(manifest.input, manifest.preprocess, 14).resize(part(0)))
    bank = unit(np.random.default_rng(0).standard_normal((3, 64, 16)))
    feeds = feeds_for(manifest, pixels, bank, [0, 0, 0])
    feeds[frame_graph.MAP_DOWN], feeds[frame_graph.MAP_ACROSS] = axis_matrix(8, 30, 2), axis_matrix(8, 50, 2)
    feeds[frame_graph.PATCH_WEIGHTS] = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    outputs = engine.run(feeds)
    tokens = outputs["patch_features_1"][0]
    assert outputs["lengths"] == pytest.approx(np.linalg.norm(tokens, axis=1), rel=1e-6)
    expected = nearest_distances(unit(tokens), list(bank)).reshape(8, 8) * feeds[frame_graph.PATCH_WEIGHTS]
    assert outputs["distances"] == pytest.approx(expected, abs=1e-6)
    assert outputs["score"] == pytest.approx(image_score(expected, frame_graph.TOP_FRACTION), abs=1e-6)
    assert outputs["map"] == pytest.approx(make_map(expected, (30, 50), 2), abs=1e-6)


@given(
    used=st.integers(1, 5),
    unused=st.integers(0, 3),
    away=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_what_does_not_count_never_wins(graph, used, unused, away, seed):
    """Also where all that counts points away from every query, and what does not is the query itself."""
    manifest, engine = graph
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (112, 112, 3), dtype=np.uint8)
    probe = engine.run(feeds_for(manifest, pixels, np.zeros((1, 64, 16), np.float32), [0]))
    queries = unit(probe["patch_features_1"][0])
    rows = unit(random.standard_normal((used * 64 - random.integers(0, 64), 16)))
    if away:
        rows = unit(-queries.mean(axis=0, keepdims=True) + 0.01 * rows)
    blocks = frame_graph.fill_blocks(rows, 64)
    assert blocks.shape == (used, 64, 16)
    padding = np.repeat(queries[None], unused, axis=0)
    bias = [0] * used + [frame_graph.UNUSED] * unused
    outputs = engine.run(feeds_for(manifest, pixels, np.concatenate([blocks, padding]), bias))
    expected = nearest_distances(queries, [rows])
    assert outputs["distances"].ravel() == pytest.approx(expected, abs=1e-5)


def test_blocks_are_pictures_or_equal_parts_of_them():
    for patches in (1, 64, 256, 1024, 1025, 1344, 1369, 4096):
        rows = frame_graph.block_rows_for(patches)
        blocks = -(-patches // rows)
        assert rows <= 1024
        assert blocks * rows - patches < blocks


def test_it_encodes_as_the_encoder_does(fused_bundle, mini_encoder, part, engine):
    with Encoder.load(fused_bundle, engine=engine, threads=1) as encoder:
        assert encoder.fingerprint == mini_encoder.fingerprint
        found, expected = encoder.encode(part(3)), mini_encoder.encode(part(3))
        assert found.tokens == pytest.approx(expected.tokens, abs=1e-4)


# -- detectors -------------------------------------------------------------------------------------------

POLYGON = ((0.2, 0.2), (0.9, 0.3), (0.5, 0.9))
BY_GRAPH = {
    "no mask": {"mask": "off"},
    "pca": {"mask": "on"},
    "pca, 2d": {"mask": "on", "mask_morphology": "2d", "background_weight": 0.5},
    "attention": {"mask": "on", "mask_from": "attention"},
    "area": {"mask_from": "area", "mask_polygon": POLYGON, "background_weight": 0.25},
    "half": {"distance": "half-cosine", "mask": "off", "statistic": "max"},
    "aligned once": {"align": "enrolment", "flips": ("horizontal",), "mask": "off"},
}
BY_STAGES = {
    "other layer": {"layers": (1,)},
    "two layers": {"layers": (1, 2)},
    "neighbours": {"neighbours": 3},
    "views": {"rotations_deg": (0, 180), "view_reduction": "mean"},
    "references": {"reduction": "worst-references"},
    "subspace": {"head": "subspace", "subspace_components": 4},
    "aligned": {"align": "frame"},
}


@pytest.mark.parametrize("changes", BY_GRAPH.values(), ids=BY_GRAPH)
def test_they_agree(fused_two_layer_bundle, good_frames, defective, changes, engine):
    recipe = get_recipe("anomalydino-informed").with_(**changes)
    fused, staged = enroll_both(fused_two_layer_bundle, good_frames[:3], recipe, engine)
    for frame in (defective.frame, good_frames[4], good_frames[0]):
        assert_agree(fused, staged, frame)


@pytest.mark.parametrize("changes", BY_STAGES.values(), ids=BY_STAGES)
def test_other_recipes_go_by_the_stages(fused_two_layer_bundle, good_frames, defective, changes):
    recipe = get_recipe("anomalydino-informed").with_(mask="off", **changes)
    fused, staged = enroll_both(fused_two_layer_bundle, good_frames[:3], recipe)
    assert_agree(fused, staged, defective.frame, by_graph=False)


def test_frames_that_are_not_square(build_bundle, add_frame_graph, tmp_path, engine):
    bundle = add_frame_graph(build_bundle(tmp_path / "wide", height=56, width=112), tmp_path / "fused")
    random = np.random.default_rng(2)
    frames = [random.integers(0, 256, (101, 211, 3), dtype=np.uint8) for _ in range(4)]
    fused, staged = enroll_both(bundle, frames[:3], get_recipe("anomalydino"), engine)
    assert_agree(fused, staged, frames[3])


def test_the_threshold_is_the_same(fused_bundle, good_frames, quick):
    fused, staged = enroll_both(fused_bundle, good_frames, quick)
    assert fused.threshold == pytest.approx(staged.threshold, abs=1e-5)
    assert fused.calibration.normal_scores == pytest.approx(staged.calibration.normal_scores, abs=1e-5)
    assert fused.recalibrate().method == "leave-one-out"
    assert fused.threshold == pytest.approx(staged.threshold, abs=1e-5)


def test_explaining_and_saving(fused_bundle, mini_bundle, good_frames, defective, quick, tmp_path):
    fused, staged = enroll_both(fused_bundle, good_frames[:3], quick)
    result, why = fused.explain(defective.frame)
    assert result.score == pytest.approx(staged(defective.frame).score, abs=1e-5)
    assert why
    fused.save(tmp_path / "part.edgead", self_contained=True)
    with Detector.load(tmp_path / "part.edgead", engine="onnxruntime") as alone:
        assert "frame" in alone(defective.frame).timings_ms
    with Detector.load(tmp_path / "part.edgead", engine="onnxruntime", fused=False) as alone:
        assert "search" in alone(defective.frame).timings_ms
    # A bundle without a frame graph has the same fingerprint, so it serves the same detectors.
    with Detector.load(tmp_path / "part.edgead", encoder=mini_bundle, engine="onnxruntime") as old:
        assert_agree(fused, old, defective.frame)


# -- adding and taking back ------------------------------------------------------------------------------


def test_the_bank_grows_as_the_memory_does(fused_bundle, part, quick, engine):
    fused, staged = enroll_both(fused_bundle, [part(0), part(1)], quick, engine)
    probe = part(50)
    capacities = set()
    for number in range(2, 7):
        for detector in (fused, staged):
            detector.add_good(part(number))
        assert fused(part(number)).score == pytest.approx(0, abs=1e-5)
        assert_agree(fused, staged, probe)
        capacities.add(len(fused._state.bank._capacity.array))
    assert capacities == {4, 8}
    for _ in range(3):
        assert fused.undo() != ""
        staged.undo()
        assert_agree(fused, staged, probe)


def test_the_bank_is_in_memory_once(fused_encoder, part, quick):
    detector = Detector.enroll(fused_encoder, [part(0), part(1)], recipe=quick)
    for number in range(2, 6):
        detector.add_good(part(number))
        bank = detector._state.bank._capacity.array
        assert all(np.shares_memory(reference.tokens[-1], bank) for reference in detector.references)


def test_what_was_taken_back_is_not_written_over_while_it_is_looked_at(fused_encoder, part, quick):
    detector = Detector.enroll(fused_encoder, [part(number) for number in range(3)], recipe=quick)
    detector.add_good(part(3))
    before = detector._state.bank
    kept = before._capacity.array[: before.blocks].copy()
    detector.undo()
    detector.add_good(part(4))
    detector.add_good(part(5))
    assert np.array_equal(before._capacity.array[: before.blocks], kept)
    assert detector._state.bank._capacity is not before._capacity


def test_a_view_that_fills_no_block_is_filled_up(build_bundle, add_frame_graph, tmp_path, monkeypatch, quick):
    monkeypatch.setattr(frame_graph, "_MOST_BLOCK_ROWS", 24)
    bundle = add_frame_graph(build_bundle(tmp_path / "few", height=70, width=70), tmp_path / "fused")
    assert EncoderBundle.open(bundle).manifest.frame.block_rows == 13  # two blocks of 13 for 25 patches
    random = np.random.default_rng(2)
    frames = [random.integers(0, 256, (70, 70, 3), dtype=np.uint8) for _ in range(4)]
    fused, staged = enroll_both(bundle, frames[:2], quick)
    for detector in (fused, staged):
        detector.add_good(frames[2])
    assert fused._state.bank.blocks == 6
    assert_agree(fused, staged, frames[3])


def test_detectors_that_share_an_encoder_have_banks_of_their_own(fused_encoder, part, quick):
    kinds = [[part(number) for number in range(start, start + 3)] for start in (0, 10)]
    inverted = [[255 - frame for frame in kinds[1]]]
    one = Detector.enroll(fused_encoder, kinds[0], recipe=quick)
    other = Detector.enroll(fused_encoder, inverted[0], recipe=quick)
    expected = {id(one): one(part(40)).score, id(other): other(part(40)).score}
    assert expected[id(other)] > 2 * expected[id(one)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda detector: (id(detector), detector(part(40)).score), [one, other] * 20))
    assert all(score == pytest.approx(expected[which], abs=1e-6) for which, score in found)


def test_calls_see_the_old_bank_or_the_new_one(fused_bundle, part, quick, engine):
    with Encoder.load(fused_bundle, engine=engine, threads=1) as encoder:
        detector = Detector.enroll(encoder, [part(0), part(1)], recipe=quick)
        probe = part(30)
        without = detector(probe).score
        detector.add_good(probe)
        known = detector(probe).score
        detector.undo()
        assert known == pytest.approx(0, abs=1e-5)
        assert without > 10 * abs(known) + 1e-4
        done = threading.Event()
        scores, failures = [], []

        def look():
            while not done.is_set():
                try:
                    scores.append(detector(probe).score)
                except Exception as error:  # noqa: BLE001
                    failures.append(error)

        threads = [threading.Thread(target=look) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(25):
            detector.add_good(probe)
            detector.undo()
        done.set()
        for thread in threads:
            thread.join()
    assert not failures
    assert scores
    assert all(min(abs(score - without), abs(score - known)) < 1e-5 for score in scores)


# -- what can be wrong -----------------------------------------------------------------------------------


def test_a_damaged_frame_graph_is_refused(fused_bundle, add_frame_graph, mini_bundle, tmp_path):
    folder = add_frame_graph(mini_bundle, tmp_path / "copy")
    file = folder / "frame.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(BundleError, match=r"frame.onnx in .* is damaged"):
        Encoder.load(folder)
    file.unlink()
    with pytest.raises(BundleError, match="cannot read"):
        Encoder.load(folder)
    with Encoder.load(folder, fused=False) as encoder:
        assert encoder.frame_file is None


def test_a_bundle_without_one(mini_bundle):
    bundle = EncoderBundle.open(mini_bundle)
    assert bundle.manifest.frame is None
    with pytest.raises(BundleError, match="no frame graph") as caught:
        bundle.read_frame_graph()
    assert "--fuse" in caught.value.remedy


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("path", "../frame.onnx", "outside itself"),
        ("layer", 7, "does not give"),
        ("block_rows", 0, "damaged"),
    ],
)
def test_a_manifest_that_cannot_be(
    fused_bundle, add_frame_graph, mini_bundle, tmp_path, field, value, problem
):
    import json

    folder = add_frame_graph(mini_bundle, tmp_path / "copy")
    fields = json.loads((folder / "manifest.json").read_text())
    fields["frames"][0][field] = value
    (folder / "manifest.json").write_text(json.dumps(fields))
    with pytest.raises(BundleError, match=problem):
        EncoderBundle.open(folder)


def test_manifests_from_before_there_were_frame_graphs(mini_bundle):
    fields = json.loads((mini_bundle / "manifest.json").read_text())
    del fields["frames"]
    manifest = decode_manifest(json.dumps(fields).encode(), EncoderManifest, "manifest.json")
    assert manifest.fingerprint() == EncoderBundle.open(mini_bundle).manifest.fingerprint()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_numbers_are_refused(fused_bundle, good_frames, quick, monkeypatch, value):
    with Encoder.load(fused_bundle, engine="onnxruntime", threads=1) as encoder:
        detector = Detector.enroll(encoder, good_frames[:2], recipe=quick)
        genuine = encoder._engine.run

        def overflowed(*asked):
            outputs = genuine(*asked)
            outputs["lengths"] = outputs["lengths"].copy()
            outputs["lengths"][7] = value
            return outputs

        monkeypatch.setattr(encoder._engine, "run", overflowed)
        with pytest.raises(BundleError, match="not numbers"):
            detector(good_frames[0])


def test_banks_need_no_detector(fused_encoder, detector):
    bank = BlockedBank.of(detector.references, fused_encoder, fused_encoder.frame_file)
    assert bank.blocks == len(detector.references)
    assert bank.following(detector.references, fused_encoder, fused_encoder.frame_file).blocks == bank.blocks


def test_bfloat16_finds_a_row_and_gives_its_exact_distance(fused_bundle, good_frames, defective, quick):
    """Which row is the nearest may be told wrong by as much as bfloat16 rounds; how far it is may not."""
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    with Encoder.load(fused_bundle, engine="openvino", precision="bf16") as encoder:
        assert encoder.engine_name == "openvino/cpu/bf16"
        detector = Detector.enroll(encoder, good_frames[:3], recipe=quick)
        queries = unit(encoder.encode(defective.frame).tokens)
        rows = np.concatenate([reference.tokens[0] for reference in detector.references])
        found = detector(defective.frame).patch_distances.ravel()
    each = 1 - queries @ rows.T
    assert np.abs(each - found[:, None]).min(axis=1).max() < 1e-6
    # Both operands and the product are rounded to 8 bits, for the nearest row and for the one that is found.
    assert (found - each.min(axis=1)).max() < 2 * 3 * 2.0**-9


def test_bfloat16_tells_rows_apart_that_all_point_the_same_way():
    """As features do that have collapsed: cosines of 0.99 and more are a few numbers in bfloat16."""
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no bfloat16")
    from edgead_runtime.engines.openvino_search import search_coarsely
    from openvino import opset13 as opset

    random = np.random.default_rng(0)
    common = 10 * random.standard_normal(32)
    rows, queries = (unit(common + random.standard_normal((count, 32))) for count in (256, 64))
    given, bank = (opset.parameter([count, 32], np.float32) for count in (64, 256))
    body_bank, body_given, best = (
        opset.parameter(shape, np.float32) for shape in ([256, 32], [64, 32], [64])
    )
    product = opset.matmul(body_given, opset.transpose(body_bank, opset.constant([1, 0])), False, False)
    largest = opset.reduce_max(product, opset.constant([1]), False)
    going_on = opset.constant(True)
    body = openvino.Model([opset.maximum(best, largest), going_on], [body_bank, body_given, best])
    loop = opset.loop(opset.constant(1), opset.constant(True))
    loop.set_function(body)
    loop.set_special_body_ports([-1, 1])
    loop.set_invariant_input(body_bank, bank.output(0))
    loop.set_invariant_input(body_given, given.output(0))
    nothing = opset.constant(np.full(64, -8, np.float32))
    loop.set_merged_input(best, nothing.output(0), body.results[0].output(0))
    found = loop.get_iter_value(body.results[0].output(0), -1)
    model = openvino.Model([found], [given, bank])
    search_coarsely(model)
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    similarity = compiled([queries, rows])[0]
    exact = (queries @ rows.T).max(axis=1)
    spread = (queries @ rows.T).std(axis=1)
    assert exact.min() > 0.99
    assert (exact - similarity).max() < 0.1 * spread.min()


def test_the_coarse_search_takes_the_place_of_the_exact_one_and_of_nothing_else(fused_bundle, mini_bundle):
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    from edgead_runtime.engines.openvino_search import search_coarsely

    def operators(graph):
        loops = [node.get_function() for node in graph.get_ops() if node.get_type_name() == "Loop"]
        return [node.get_type_name() for part in (graph, *loops) for node in part.get_ordered_ops()]

    frame_file = EncoderBundle.open(fused_bundle).read_frame_graph()
    graph = openvino.Core().read_model(io.BytesIO(frame_file))
    before = operators(graph)
    search_coarsely(graph)
    after = operators(graph)
    assert before.count("ReduceMax") - after.count("ReduceMax") == 1
    assert after.count("TopK") - before.count("TopK") == 1
    plain = openvino.Core().read_model(io.BytesIO(EncoderBundle.open(mini_bundle).read_model()))
    before = operators(plain)
    search_coarsely(plain)
    assert operators(plain) == before
