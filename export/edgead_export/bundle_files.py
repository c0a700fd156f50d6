"""The files of an encoder bundle, gathered before anything is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import onnx
from edgead_runtime.encoder_bundle import onnx_name
from edgead_runtime.errors import BundleError
from edgead_runtime.files import sha256_bytes
from edgead_runtime.frame_graph import block_rows_for
from edgead_runtime.images import Picture
from edgead_runtime.manifest import EncoderFile, EncoderManifest, FrameFile, Precision

from edgead_export.errors import ParityError
from edgead_export.frame_parity import FrameParity, compare_frame
from edgead_export.fusing import fuse, fused_feature
from edgead_export.parity import require_same_frame
from edgead_export.precisions.offering import Offer, Say
from edgead_export.tracing import finish


class BundleFiles:
    """ONNX files and what the manifest says of them.

    Args:
        draft: The manifest without files.
        metadata: What each ONNX file says of itself.
        pictures: Frame graphs are compared with the stages on these.
    """

    def __init__(
        self, draft: EncoderManifest, metadata: Mapping[str, str], pictures: Sequence[Picture]
    ) -> None:
        self._draft, self._metadata, self._pictures = draft, metadata, pictures
        self._files: list[EncoderFile] = []
        self._frames: list[FrameFile] = []
        self._contents: dict[str, bytes] = {}

    def add(
        self,
        precision: Precision,
        data: bytes,
        judged: Mapping[str, bool] | None = None,
        *,
        symmetric: bool = False,
    ) -> None:
        """Add an encoder."""
        path = onnx_name("encoder", precision)
        self._contents[path] = data
        self._files.append(
            EncoderFile(
                precision=precision,
                path=path,
                sha256=sha256_bytes(data),
                bytes=len(data),
                judged=dict(judged or {}),
                symmetric=symmetric,
            )
        )

    def add_offer(self, offer: Offer, *, fuse: bool, note: Say) -> None:
        """Add a precision that passed, with its frame graph where there are any and that agrees.

        Args:
            offer: What was judged.
            fuse: Whether there are frame graphs.
            note: Told where the frame graph is left out.
        """
        if offer.model is None:  # the fp32 file, run in another way
            (reference,) = [file for file in self._files if file.precision == "fp32"]
            judged = {**reference.judged, **offer.judged}
            self._files[self._files.index(reference)] = msgspec.structs.replace(reference, judged=judged)
        elif offer.passed:
            self.add(offer.precision, offer.data, offer.judged, symmetric=offer.symmetric)
            if not fuse:
                return
            try:
                require_same_frame(self.add_frame(offer.precision, offer.model, offer.data, offer.stand_in))
            except (ParityError, BundleError) as error:
                left_out = self._frames.pop()
                del self._contents[left_out.path]
                note(
                    f"In {offer.precision} detectors go by the stages: {error.problem}. "
                    f"{left_out.path} is not written."
                )

    def add_frame(
        self,
        precision: Precision,
        model: onnx.ModelProto,
        encoder: bytes,
        stand_in: onnx.ModelProto | None = None,
    ) -> FrameParity:
        """Make and add the frame graph of an encoder; returns how it compares with the stages.

        Args:
            precision: Of the encoder.
            model: Its graph.
            encoder: Its file.
            stand_in: What is compared in its place, where nothing here can run it.
        """
        data = self._frame_of(model)
        path = onnx_name("frame", precision)
        self._contents[path] = data
        self._frames.append(
            FrameFile(
                precision=precision,
                path=path,
                sha256=sha256_bytes(data),
                bytes=len(data),
                layer=fused_feature(self._draft).layer,
                block_rows=block_rows_for(math.prod(self._draft.grid)),
            )
        )
        if stand_in is not None:
            data, encoder = self._frame_of(stand_in), finish(stand_in, self._metadata)
        return compare_frame(data, encoder, self._draft, self._pictures, precision)

    def _frame_of(self, model: onnx.ModelProto) -> bytes:
        return finish(fuse(model, self._draft), {**self._metadata, "edgead.graph": "frame"})

    def write(self, folder: Path) -> EncoderManifest:
        """Write the ONNX files; returns the whole manifest."""
        for path, data in self._contents.items():
            (folder / path).write_bytes(data)
        return msgspec.structs.replace(self._draft, files=self._files, frames=self._frames)
