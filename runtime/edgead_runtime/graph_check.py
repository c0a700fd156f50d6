"""Whether an ONNX file is what its manifest says: asked before an engine or memory is made for it."""

from __future__ import annotations

from edgead_runtime import frame_graph
from edgead_runtime.errors import BundleError
from edgead_runtime.manifest import EncoderManifest, FrameFile
from edgead_runtime.onnx_bytes import input_shape, output_shape

Shape = tuple[int, ...]
_OPEN = 0


def check_graph(model: bytes, manifest: EncoderManifest, frame_file: FrameFile | None, where: str) -> None:
    """Compare what goes in and comes out of a graph with what the manifest says of it.

    Args:
        model: The file's bytes.
        manifest: Of its bundle.
        frame_file: What the manifest says of it, where it is a frame graph.
        where: The file's name, for messages.

    Raises:
        BundleError: It is no ONNX file, or another one than the manifest describes.
    """
    inputs, outputs = _expected(manifest, frame_file)
    for shapes, read in ((inputs, input_shape), (outputs, output_shape)):
        for name, expected in shapes.items():
            try:
                found = read(model, name)
            except BundleError as error:
                raise BundleError(
                    f"{where} is no ONNX file with '{name}', which its manifest names", error.remedy
                ) from error
            if not _fits(found, expected):
                shapes_are = f"{name} has shape {_text(found)}, not {_text(expected)}"
                raise BundleError(
                    f"{where} is not what its manifest says: {shapes_are}", "Export the encoder again."
                )


def _expected(
    manifest: EncoderManifest, frame_file: FrameFile | None
) -> tuple[dict[str, Shape], dict[str, Shape]]:
    size, patches = (manifest.input.height, manifest.input.width), manifest.grid[0] * manifest.grid[1]
    outputs: dict[str, Shape] = {feature.name: (1, patches, feature.dim) for feature in manifest.features}
    if manifest.attention is not None:
        outputs[manifest.attention.name] = (1, patches)
    if frame_file is None:
        return {manifest.input.name: (1, 3, *size)}, outputs
    (dim,) = (feature.dim for feature in manifest.features if feature.layer == frame_file.layer)
    inputs = {frame_graph.FRAME: (1, *size, 3), frame_graph.BANK: (_OPEN, frame_file.block_rows, dim)}
    return inputs, {**outputs, frame_graph.DISTANCES: manifest.grid}


def _fits(found: Shape, expected: Shape) -> bool:
    return len(found) == len(expected) and all(
        one == other or _OPEN in (one, other) for one, other in zip(found, expected, strict=True)
    )


def _text(shape: Shape) -> str:
    return " x ".join(str(size) if size else "any" for size in shape)
