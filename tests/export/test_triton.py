"""Triton's models: configs that its own parser takes, and graphs that give what the detector gives."""

import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import cv2
import msgspec
import numpy as np
import onnx
import pytest
from edgead_export.errors import TritonError
from edgead_export.export import ExportOptions, build_bundle
from edgead_export.parity import parity_pictures
from edgead_export.resolution import Resolution
from edgead_export.triton import repository
from edgead_export.triton.baking import ANOMALY, OUTPUTS, bake, check_bakeable, constants_of
from edgead_export.triton.config import MARK, ServedModel, Tensor, WarmUp, write_config
from edgead_export.triton.repository import ServingOptions, serve_detector, serve_encoder
from edgead_runtime import Detector, Encoder, EncoderBundle, frame_graph, get_recipe
from edgead_runtime.engines import EngineOptions, create_engine
from edgead_runtime.errors import PrecisionMissingError
from onnx import TensorProto, numpy_helper

text_format = pytest.importorskip("google.protobuf.text_format")
model_config = pytest.importorskip(
    "tritonclient.grpc.model_config_pb2", reason="Triton's client, which has its parser, is not installed"
)

HEIGHT, WIDTH = 100, 150
"""At the encoder's 56 x 84: seven columns of the frame are cut off, so that the map has an empty strip."""
TYPES = {
    TensorProto.FLOAT: model_config.TYPE_FP32,
    TensorProto.UINT8: model_config.TYPE_UINT8,
    TensorProto.BOOL: model_config.TYPE_BOOL,
}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, tiny, random_weights):
    """A tiny DINOv2 with random weights: as usual, with an open batch, and without a frame graph."""
    folder, spec = tmp_path_factory.mktemp("encoders"), tiny("dinov2_s")
    found = {}
    for name, options in {
        "fused": {"fuse": True},
        "open-batch": {"fuse": True, "dynamic_batch": True},
        "plain": {},
    }.items():
        (folder / name).mkdir()
        chosen = ExportOptions(spec.name, folder / name, layers=(2, 3), **options)
        build_bundle(folder / name, spec, random_weights(spec), Resolution(56, 84, ""), chosen)
        found[name] = folder / name
    return found


@pytest.fixture(scope="module")
def photographs():
    """Real pictures at the camera's size: three for the bank, the rest to look at."""
    frames = [cv2.resize(picture.frame, (WIDTH, HEIGHT)) for picture in parity_pictures()]
    return [*frames, *(np.ascontiguousarray(frame[:, ::-1]) for frame in frames)]


@pytest.fixture
def enroll(bundles, photographs, tmp_path):
    def make(name="fused", frames=3, **changes):
        recipe = get_recipe("anomalydino-informed").with_(**{"mask": "off", **changes})
        encoder = Encoder.load(bundles[name], engine="onnxruntime", threads=1)
        detector = Detector.enroll(encoder, photographs[:frames], recipe=recipe)
        detector.set_threshold(detector(photographs[3]).score / 2)
        path = tmp_path / "a part.edgead"
        detector.save(path)
        encoder.close()
        return path

    return make


def parse(folder):
    """The config as Triton reads it: unknown fields, wrong types and repeated fields are errors."""
    text = (folder / "config.pbtxt").read_text()
    assert text.startswith(MARK)
    return text_format.Parse(text, model_config.ModelConfig())


def assert_describes(config, model):
    """Names, types and sizes are those of the ONNX file."""
    batched = config.max_batch_size > 0
    for said, real in ((config.input, model.graph.input), (config.output, model.graph.output)):
        values = {value.name: value.type.tensor_type for value in real}
        assert {tensor.name for tensor in said} == set(values)
        for tensor in said:
            sizes = [size.dim_value or -1 for size in values[tensor.name].shape.dim]
            if batched:
                assert sizes.pop(0) == -1
            assert list(tensor.dims) == sizes, tensor.name
            assert tensor.data_type == TYPES[values[tensor.name].elem_type], tensor.name
    (warm_up,) = config.model_warmup
    assert warm_up.batch_size == 1
    for tensor in config.input:
        asked = warm_up.inputs[tensor.name]
        assert asked.data_type == tensor.data_type
        assert all(size > 0 for size in asked.dims)
        assert all(open_ in (-1, size) for open_, size in zip(tensor.dims, asked.dims, strict=True))
    assert set(warm_up.inputs) == {tensor.name for tensor in config.input}


def run_warm_up(config, data):
    """The request that Triton makes, in ONNX Runtime."""
    numpy_types = {model_config.TYPE_FP32: np.float32, model_config.TYPE_UINT8: np.uint8}
    batch = [1] if config.max_batch_size else []
    feeds = {
        name: np.zeros([*batch, *asked.dims], numpy_types[asked.data_type])
        for name, asked in config.model_warmup[0].inputs.items()
    }
    with create_engine(data, "onnxruntime", EngineOptions(threads=1)) as engine:
        assert all(np.isfinite(output).all() for output in engine.run(feeds).values())


# -- a detector as one graph ---------------------------------------------------------------------------------

RECIPES = {
    "as it comes": {},
    "turned": {"rotations_deg": (0.0, 45.0)},
    "quantile": {"statistic": "quantile", "top_fraction": 0.11},
    "quantile of all": {"statistic": "quantile", "top_fraction": 1.0},
    "largest": {"statistic": "max"},
    "half of the patches": {"top_fraction": 0.5},
    "half-cosine, sharp map": {"distance": "half-cosine", "smoothing_sigma_px": 0.0},
    "map over the whole frame": {"map_extent": "frame"},
    "coreset": {"coreset": 0.5, "keep_as": "int8"},
    "area": {
        "mask": "on",
        "mask_from": "area",
        "mask_polygon": ((0.0, 0.0), (0.6, 0.0), (0.6, 0.7), (0.0, 0.7)),
        "background_weight": 0.3,
    },
}


@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
def test_the_file_gives_what_the_detector_gives(enroll, photographs, tmp_path, changes):
    written = serve_detector(enroll(**changes), tmp_path / "models", ServingOptions())
    assert written.parity.passed
    assert written.parity.pictures == 5
    config = parse(written.path)
    data = (written.path / "1" / "model.onnx").read_bytes()
    assert (config.name, config.backend, config.max_batch_size) == ("a_part", "onnxruntime", 0)
    assert [tensor.name for tensor in config.output] == list(OUTPUTS)
    assert_describes(config, onnx.load_from_string(data))
    run_warm_up(config, data)
    facts = {name: value.string_value for name, value in config.parameters.items()}
    with (
        Detector.load(tmp_path / "a part.edgead", engine="onnxruntime", threads=1) as detector,
        create_engine(data, "onnxruntime", EngineOptions(threads=1)) as engine,
    ):
        assert float(facts["edgead.threshold"]) == detector.threshold
        for frame in photographs:
            # As docs/triton.md tells a client to do it, by what the server says of the model.
            height, width = map(int, facts["edgead.crop_hw"].split())
            assert facts["edgead.frame_hw"] == f"{HEIGHT} {WIDTH}"
            sent = detector.encoder.preprocessor.resize(frame)
            assert sent.shape == (height, width, 3)
            found, expected = engine.run({"frame": sent[None]}), detector(frame)
            assert found["score"] == pytest.approx(expected.score, abs=1e-4)
            assert found["distances"] == pytest.approx(expected.patch_distances, abs=1e-4)
            assert found["map"].shape == (HEIGHT, WIDTH)
            assert found["map"] == pytest.approx(expected.map, abs=1e-4)
            assert bool(found[ANOMALY][0]) == expected.is_anomaly
        assert detector(photographs[3]).is_anomaly


def test_the_frame_graph_is_made_where_the_encoder_has_none(enroll, tmp_path):
    written = serve_detector(enroll("plain"), tmp_path / "models", ServingOptions())
    assert written.parity.score_error < 1e-5


def test_what_only_other_layers_need_is_gone(bundles, enroll):
    bundle = EncoderBundle.open(bundles["fused"])
    frame_model = onnx.load_from_string(bundle.read_frame_graph())
    with Detector.load(enroll(), engine="onnxruntime") as detector:
        made = bake(frame_model, constants_of(detector, (HEIGHT, WIDTH)))
    onnx.checker.check_model(made, full_check=True)
    assert [value.name for value in made.graph.input] == [frame_graph.FRAME]
    assert [value.name for value in made.graph.output] == list(OUTPUTS)
    written = {name for node in made.graph.node for name in node.output}
    other = next(feature.name for feature in bundle.manifest.features if feature.layer == 2)
    assert other in {name for node in frame_model.graph.node for name in node.output}
    assert other not in written
    assert len(made.graph.initializer) < len(frame_model.graph.initializer) + 12


def test_no_number_is_an_anomaly(enroll, photographs, tmp_path):
    path = enroll()
    written = serve_detector(path, tmp_path / "models", ServingOptions())
    model = onnx.load(written.path / "1" / "model.onnx")
    with Detector.load(path, engine="onnxruntime") as detector:
        sent = detector.encoder.preprocessor.resize(photographs[0])[None]
    verdicts = []
    for value in (None, np.nan, np.inf):
        spoiled = onnx.ModelProto()
        spoiled.CopyFrom(model)
        if value is not None:
            (mean,) = [one for one in spoiled.graph.initializer if one.name == "frame/shift"]
            mean.CopyFrom(numpy_helper.from_array(np.full((1, 3, 1, 1), value, np.float32), mean.name))
        with create_engine(spoiled.SerializeToString(), "onnxruntime", EngineOptions(threads=1)) as engine:
            verdicts.append(bool(engine.run({"frame": sent})[ANOMALY][0]))
    assert verdicts == [False, True, True]


def test_a_graph_that_gives_something_else_is_not_written(enroll, tmp_path, monkeypatch):
    right = repository.constants_of

    def bent(detector, map_hw):
        constants = right(detector, map_hw)
        return replace(constants, patch_weights=constants.patch_weights * np.float32(1.01))

    monkeypatch.setattr(repository, "constants_of", bent)
    with pytest.raises(TritonError, match="does not give what the detector gives in onnxruntime/cpu"):
        serve_detector(enroll(), tmp_path / "models", ServingOptions())
    assert not list(tmp_path.glob("models/*"))


def test_what_one_graph_cannot_hold_is_refused(enroll, tmp_path, monkeypatch):
    models = tmp_path / "models"
    for changes, problem in {
        "neighbours": ({"neighbours": 3}, "more than the nearest"),
        "layers": ({"layers": (2, 3)}, "more than the nearest"),
        "other layer": ({"layers": (2,)}, "nearest good patch of layer 3"),
        "mask": ({"mask": "on"}, "makes a mask for each frame"),
    }.values():
        with pytest.raises(TritonError, match=problem) as caught:
            serve_detector(enroll(**changes), models, ServingOptions())
        assert "--backend python" in caught.value.remedy
    with pytest.raises(PrecisionMissingError):
        serve_detector(enroll(), models, ServingOptions(precision="int8"))
    monkeypatch.setattr("edgead_export.triton.baking._LARGEST_FILE", 1000)
    with pytest.raises(TritonError, match="an ONNX file holds 2"):
        serve_detector(enroll(), models, ServingOptions())
    assert not models.exists()


def test_pictures_of_several_sizes_have_no_one_map(bundles, photographs, tmp_path):
    frames = [photographs[0], photographs[1][:90]]
    recipe = get_recipe("anomalydino-informed").with_(mask="off")
    Detector.enroll(bundles["fused"], frames, recipe=recipe).save(tmp_path / "p.edgead")
    with pytest.raises(TritonError, match="good pictures have 2 sizes"):
        serve_detector(tmp_path / "p.edgead", tmp_path / "models", ServingOptions())


@pytest.mark.parametrize(
    "options",
    [{"backend": "tflite"}, {"precision": "bf16"}, {"instances": 0}, {"max_batch": 0}],
    ids=str,
)
def test_options_that_cannot_be(options, tmp_path):
    with pytest.raises(TritonError):
        serve_detector(tmp_path / "nothing.edgead", tmp_path / "models", ServingOptions(**options))


# -- an encoder ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", ["fused", "open-batch", "plain"])
def test_an_encoder_is_described_as_it_is(bundles, tmp_path, name, backend):
    options = ServingOptions(backend=backend, instances=2, max_batch=4)
    written = serve_encoder(bundles[name], tmp_path / "models", options)
    suffixes = ["encoder"] if name == "plain" else ["encoder", "frame"]
    assert [model.path.name for model in written] == [f"{name}_{suffix}" for suffix in suffixes]
    for model in written:
        config, data = parse(model.path), (model.path / "1" / "model.onnx").read_bytes()
        assert data == (bundles[name] / f"{model.path.name.split('_')[1]}.onnx").read_bytes()
        assert_describes(config, onnx.load_from_string(data))
        run_warm_up(config, data)
        joins = name == "open-batch" and backend == "onnxruntime" and model.path.name.endswith("encoder")
        assert config.max_batch_size == (4 if joins else 0)
        assert config.HasField("dynamic_batching") == joins
        assert config.version_policy.latest.num_versions == 1
        (group,) = config.instance_group
        kinds = {"onnxruntime": group.KIND_AUTO, "openvino": group.KIND_CPU}
        assert (group.count, group.kind) == (2, kinds[backend])
        assert config.default_model_filename == "model.onnx"
        assert config.parameters["edgead.official_weights"].string_value == "false"


def test_a_batch_that_triton_joins_runs(bundles, tmp_path):
    (encoder, _) = serve_encoder(bundles["open-batch"], tmp_path / "models", ServingOptions())
    config = parse(encoder.path)
    (image,) = config.input
    random = np.random.default_rng(0)
    batch = random.standard_normal((3, *image.dims)).astype(np.float32)
    data = (encoder.path / "1" / "model.onnx").read_bytes()
    with create_engine(data, "onnxruntime", EngineOptions(threads=1)) as engine:
        together = engine.run({image.name: batch})
        for index, picture in enumerate(batch):
            for name, alone in engine.run({image.name: picture[None]}).items():
                assert together[name][index] == pytest.approx(alone[0], abs=1e-4)


def test_an_encoder_alone_is_no_detector(bundles, tmp_path):
    with pytest.raises(TritonError, match="runs a detector"):
        serve_encoder(bundles["fused"], tmp_path, ServingOptions(backend="python"))
    with pytest.raises(PrecisionMissingError):
        serve_encoder(bundles["fused"], tmp_path, ServingOptions(precision="fp16"))


def test_names_and_facts_of_any_kind_are_read_back(tmp_path):
    model = ServedModel(
        name='a "part"\\ of\nÖl',
        backend="onnxruntime",
        inputs=(Tensor("x", "TYPE_FP32", (-1, 3)),),
        outputs=(Tensor("y", "TYPE_FP32", ()),),
        warm_up=WarmUp({"x": (1, 3)}),
        facts={"key ☃": "tab\there"},
    )
    (tmp_path / "config.pbtxt").write_text(write_config(model), encoding="utf-8")
    config = parse(tmp_path)
    assert config.name == model.name
    assert config.parameters["key ☃"].string_value == "tab\there"


# -- the Python backend --------------------------------------------------------------------------------------


class _Request(SimpleNamespace):
    def requested_output_names(self):
        return self.wanted


@pytest.fixture
def triton_python(monkeypatch):
    """What a server gives ``model.py``, as far as that asks for it."""
    module = ModuleType("triton_python_backend_utils")
    module.get_input_tensor_by_name = lambda request, name: SimpleNamespace(
        as_numpy=lambda: request.inputs[name]
    )
    module.Tensor = lambda name, value: (name, value)
    module.TritonError = str
    module.InferenceResponse = lambda tensors=(), error=None: SimpleNamespace(
        outputs=dict(tensors), error=error
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", module)


def test_the_python_backend_runs_the_detector_itself(enroll, photographs, tmp_path, triton_python):
    path = enroll(mask="on", neighbours=3)
    options = ServingOptions(backend="python", precision="fp32")
    written = serve_detector(path, tmp_path / "models", options)
    config = parse(written.path)
    assert (config.backend, config.default_model_filename) == ("python", "model.py")
    (frame,) = config.input
    assert list(frame.dims) == [HEIGHT, WIDTH, 3]

    script = {}
    exec((written.path / "1" / "model.py").read_text(), script)  # as Triton does
    served = script["TritonPythonModel"]()
    parameters = {name: {"string_value": value.string_value} for name, value in config.parameters.items()}
    served.initialize(
        {
            "model_repository": str(written.path),
            "model_version": "1",
            "model_config": msgspec.json.encode({"parameters": parameters}).decode(),
        }
    )
    wanted = {tensor.name for tensor in config.output}
    requests = [_Request(inputs={"frame": frame}, wanted=wanted) for frame in photographs[3:5]]
    requests += [
        _Request(inputs={"frame": photographs[0][:50]}, wanted=wanted),
        _Request(inputs={"frame": photographs[0]}, wanted={"score"}),
    ]
    *whole, wrong_size, brief = served.execute(requests)
    with Detector.load(path, engine="onnxruntime") as detector:
        for response, inspected in zip(whole, photographs[3:5], strict=True):
            expected = detector(inspected)
            assert set(response.outputs) == wanted
            for tensor in config.output:
                value = response.outputs[tensor.name]
                assert all(said in (-1, size) for said, size in zip(tensor.dims, value.shape, strict=True)), (
                    tensor.name
                )
            assert response.outputs["score"] == pytest.approx(expected.score, abs=1e-5)
            assert response.outputs["map"] == pytest.approx(expected.map, abs=1e-4)
            assert bool(response.outputs[ANOMALY][0]) == expected.is_anomaly
            assert len(response.outputs["regions"]) == len(expected.regions)
    assert "the good pictures are" in wrong_size.error
    assert set(brief.outputs) == {"score"}
    served.finalize()


def test_a_detector_that_fits_is_taken(enroll):
    with Detector.load(enroll(), engine="onnxruntime") as detector:
        check_bakeable(detector)
