"""An encoder that is one convolution with fixed weights: real enough for the command line, ready at once."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from edgead_runtime.manifest import (
    EncoderFile,
    EncoderInput,
    EncoderManifest,
    FeatureOutput,
    Preprocess,
    Weights,
    encode_manifest,
)
from onnx import TensorProto, helper, numpy_helper

PATCH = 14
DIM = 24


def write_tiny_encoder(folder: Path, *, side: int = 112, seed: int = 0) -> Path:
    """Write an encoder bundle of ``side`` px; another ``seed`` is another encoder."""
    random = np.random.default_rng(seed)
    weight = random.standard_normal((DIM, 3, PATCH, PATCH)).astype(np.float32) / PATCH
    bias = random.standard_normal(DIM).astype(np.float32)
    patches = (side // PATCH) ** 2
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["pixels", "weight", "bias"], ["maps"], strides=[PATCH, PATCH]),
            helper.make_node("Reshape", ["maps", "shape"], ["columns"]),
            helper.make_node("Transpose", ["columns"], ["features_1"], perm=[0, 2, 1]),
        ],
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("features_1", TensorProto.FLOAT, [1, patches, DIM])],
        [
            numpy_helper.from_array(weight, "weight"),
            numpy_helper.from_array(bias, "bias"),
            numpy_helper.from_array(np.array([1, DIM, patches], dtype=np.int64), "shape"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    data = model.SerializeToString()
    folder.mkdir(parents=True)
    (folder / "encoder.onnx").write_bytes(data)
    manifest = EncoderManifest(
        schema_version=1,
        kind="edgead-encoder",
        backbone="tiny",
        input=EncoderInput(name="pixels", height=side, width=side),
        preprocess=Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        patch_size=PATCH,
        features=[FeatureOutput(name="features_1", layer=1, dim=DIM, final_norm=False)],
        attention=None,
        files=[
            EncoderFile(
                precision="fp32",
                path="encoder.onnx",
                sha256=hashlib.sha256(data).hexdigest(),
                bytes=len(data),
            )
        ],
        weights=Weights(
            source="random", official=False, licence="none", sha256="0" * 64, note="Random numbers."
        ),
        opset=17,
        tools={},
        created="2026-01-01T00:00:00+00:00",
    )
    (folder / "manifest.json").write_bytes(encode_manifest(manifest))
    return folder
