"""The client of docs/triton.md, word for word, against a server that speaks Triton's protocol.

The server is a test double: NVIDIA's own service definition, config and client, and ONNX Runtime behind them.
It takes and gives what the config says and nothing else.
"""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from edgead_runtime import Detector, read_picture
from edgead_runtime.engines import EngineOptions, create_engine

grpc = pytest.importorskip("grpc", reason="Triton's client is not installed")
service = pytest.importorskip("tritonclient.grpc.service_pb2", reason="Triton's client is not installed")
stubs = pytest.importorskip("tritonclient.grpc.service_pb2_grpc", reason="Triton's client is not installed")

from google.protobuf import text_format  # noqa: E402
from tritonclient.grpc import model_config_pb2  # noqa: E402

DOCUMENT = Path(__file__).parents[2] / "docs" / "triton.md"
NUMPY = {
    model_config_pb2.TYPE_UINT8: ("UINT8", np.uint8),
    model_config_pb2.TYPE_FP32: ("FP32", np.float32),
    model_config_pb2.TYPE_BOOL: ("BOOL", np.bool_),
}


class Served(stubs.GRPCInferenceServiceServicer):
    """One model of a repository."""

    def __init__(self, folder):
        text = (folder / "config.pbtxt").read_text()
        self.config = text_format.Parse(text, model_config_pb2.ModelConfig())
        data = (folder / "1" / self.config.default_model_filename).read_bytes()
        self.engine = create_engine(data, "onnxruntime", EngineOptions(threads=1))

    def ModelConfig(self, request, context):  # noqa: N802  (the names are those of the protocol)
        assert request.name == self.config.name
        return service.ModelConfigResponse(config=self.config)

    def ModelInfer(self, request, context):  # noqa: N802
        (said,), (given,), (content,) = self.config.input, request.inputs, request.raw_input_contents
        name, kind = NUMPY[said.data_type]
        if (given.name, given.datatype, list(given.shape)) != (said.name, name, list(said.dims)):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"unexpected {given}")
        found = self.engine.run({said.name: np.frombuffer(content, kind).reshape(list(said.dims))})
        response = service.ModelInferResponse(model_name=self.config.name, model_version="1")
        described = {tensor.name: tensor for tensor in self.config.output}
        for wanted in request.outputs:
            tensor, value = described[wanted.name], found[wanted.name]
            assert (list(tensor.dims), NUMPY[tensor.data_type][1]) == (list(value.shape), value.dtype)
            response.outputs.add(name=tensor.name, datatype=NUMPY[tensor.data_type][0], shape=value.shape)
            response.raw_output_contents.append(value.tobytes())
        return response


@pytest.fixture
def port(edgead, detector, tmp_path):
    models = tmp_path / "models"
    assert edgead("export", "--triton", models, "--detector", detector, "--quiet").code == 0
    server = grpc.server(ThreadPoolExecutor(1))
    stubs.add_GRPCInferenceServiceServicer_to_server(Served(models / "part"), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    yield port
    server.stop(None).wait()


def test_the_client_of_the_document_gets_what_the_detector_finds(
    port, detector, pictures, tmp_path, monkeypatch, capfd
):
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    with Detector.load(detector, engine="onnxruntime", threads=1) as loaded:
        for path in sorted(pictures.iterdir()):
            shutil.copy(path, tmp_path / "frame.png")
            names = {}
            exec(code.replace("localhost:8001", f"localhost:{port}"), names)
            expected = loaded(read_picture(path).frame)
            assert names["answer"].as_numpy("score")[0] == pytest.approx(expected.score, abs=1e-4)
            assert names["heat"] == pytest.approx(expected.map, abs=1e-4)
            assert capfd.readouterr().out.split()[-1] == str(expected.is_anomaly)
            names["server"].close()
