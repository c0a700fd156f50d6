"""Which precisions a bundle offers: files are made, judged, and left out where they fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec

import msgspec
import onnx
from edgead_runtime.agreement import Gate, GateReport, LabelledPictures, Scene, WorstScene
from edgead_runtime.encoder import Encoder
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.engines import BF16, Array
from edgead_runtime.errors import BundleError, EngineUnavailableError
from edgead_runtime.files import sha256_bytes
from edgead_runtime.images import Picture
from edgead_runtime.manifest import EncoderFile, EncoderManifest, Precision
from edgead_runtime.preprocess import Preprocessor
from edgead_runtime.scenes import scenes_of_one_part, scenes_of_unrelated

from edgead_export.errors import PrecisionError
from edgead_export.precisions.emulation import rounded_in_float32
from edgead_export.precisions.half import BFLOAT16, LARGEST_SEEN, halved_tensors, to_half, wide_nodes
from edgead_export.precisions.making import Attempt, fp8_attempts, int8_attempts
from edgead_export.precisions.statistics import largest

Say = Callable[[str], None]
Finish = Callable[[onnx.ModelProto], bytes]
_PORTABLE, _OTHER = "onnxruntime", "openvino"
_EMULATED = "emulated"
"""The way in which a file is judged that nothing here can run: by a float32 graph that rounds as it does."""
QUANTIZED = ("int8", "fp8")
_ENOUGH_TO_SPLIT = 4
"""Pictures from which on some calibrate and others judge."""


@dataclass(frozen=True)
class GatePictures:
    """What int8 is calibrated on and what every precision is judged on."""

    calibration: tuple[Picture, ...]
    scenes: tuple[Scene, ...]
    labelled: LabelledPictures | None = None

    @classmethod
    def of(
        cls,
        pictures: Sequence[Picture],
        *,
        one_part: bool,
        labelled: LabelledPictures | None = None,
    ) -> GatePictures:
        """Divide pictures.

        Args:
            pictures: At least two.
            one_part: They show parts of one kind, not unrelated things. From four of them on every second one
                calibrates and the others judge, so that ranges are judged on pictures they have not seen.
            labelled: Where there are any.
        """
        if not one_part:
            return cls(tuple(pictures), tuple(scenes_of_unrelated(pictures)), labelled)
        split = len(pictures) >= _ENOUGH_TO_SPLIT
        calibrating, judging = (pictures[0::2], pictures[1::2]) if split else (pictures, pictures)
        return cls(tuple(calibrating), tuple(scenes_of_one_part(judging)), labelled)


@dataclass(frozen=True)
class Offer:
    """A precision that was made and judged."""

    precision: Precision
    model: onnx.ModelProto | None
    """``None`` for bf16 in OpenVINO, which is the fp32 file."""
    data: bytes
    reports: tuple[GateReport, ...]
    worst: WorstScene | None
    judged: dict[str, bool]
    kept: tuple[str, ...] = ()
    """Layers of a quantized file that stay in what its rest is in, or nodes of an fp16 one that stay in fp32.
    """
    symmetric: bool = False
    """Of int8: made for TensorRT."""
    decisive: str = _PORTABLE
    """The way in which it has to pass to be offered at all."""
    stand_in: onnx.ModelProto | None = None
    """What was judged in the place of a graph that nothing here can run."""

    @property
    def passed(self) -> bool:
        """Whether it is offered at all."""
        return self.judged.get(self.decisive, False)


@dataclass
class Offering:
    """Makes and judges the precisions of one traced encoder.

    Args:
        model: The fp32 graph.
        data: Its file.
        manifest: Says what goes in and out; its files are not looked at.
        finish: Turns a graph into a checked file.
        pictures: To calibrate and judge on.
    """

    model: onnx.ModelProto
    data: bytes
    manifest: EncoderManifest
    finish: Finish
    pictures: GatePictures
    for_tensorrt: bool = False
    """Make the int8 file as TensorRT takes it, which ONNX Runtime alone judges, and a file for bf16."""
    _gate: Gate | None = field(default=None, init=False)

    def make(self, precision: Precision) -> Offer:
        """Make and judge one precision."""
        if precision == "int8":
            return self._make_int8()
        if precision == "fp8":
            return self._make_fp8()
        if precision == "bf16":
            return self._make_bf16() if self.for_tensorrt else self._judge_bf16()
        return self._make_fp16()

    def _make_fp16(self) -> Offer:
        """The fp16 file without what overflows on a GPU.

        The gate cannot see that: ONNX Runtime computes float16 on a CPU in float32 wherever it has no kernel,
        and what is too large for float16 goes through.
        """
        seen = largest(self.model, halved_tensors(self.model), list(self._inputs()))
        # Not above: so that what is not a number is too large as well.
        too_large = {name for name, value in seen.items() if not value <= LARGEST_SEEN}
        model = to_half(self.model, too_large)
        data = self.finish(model)
        report, worst = self._judge("fp16", data, _PORTABLE)
        kept = wide_nodes(self.model, too_large)
        return Offer("fp16", model, data, (report,), worst, {_PORTABLE: report.passed}, kept)

    def _make_bf16(self) -> Offer:
        """A file with explicit bfloat16, which is judged by what rounds in the same way.

        Nothing can overflow that does not in float32.
        """
        model = to_half(self.model, kind=BFLOAT16)
        stand_in = rounded_in_float32(model)
        with self._load("fp32", self.finish(stand_in), _PORTABLE) as encoder:
            report, worst = self.gate.judge(encoder, "bf16")
        report = replace(report, engine=f"{report.engine}/bf16 {_EMULATED}")
        return Offer(
            "bf16",
            model,
            self.finish(model),
            (report,),
            worst,
            {_EMULATED: report.passed},
            decisive=_EMULATED,
            stand_in=stand_in,
        )

    def _make_fp8(self) -> Offer:
        """The fp8 file with the fewest layers in float16 that passes, else the last that was tried."""
        for attempt in fp8_attempts(self.model, list(self._inputs())):
            offer = self._judge_attempt("fp8", attempt)
            if offer.passed:
                break
        return offer

    def _judge_attempt(self, precision: Precision, attempt: Attempt, *, symmetric: bool = False) -> Offer:
        data = self.finish(attempt.model)
        report, worst = self._judge(precision, data, _PORTABLE)
        judged = {_PORTABLE: report.passed}
        return Offer(precision, attempt.model, data, (report,), worst, judged, attempt.kept, symmetric)

    def _make_int8(self) -> Offer:
        """The int8 file with the fewest layers in fp32 that passes in every installed engine it is for.

        Where there is none: the first that passes in the portable one, else the last that was tried.
        """
        passed: list[Offer] = []
        tried: list[Offer] = []
        for attempt in int8_attempts(self.model, list(self._inputs()), symmetric=self.for_tensorrt):
            offer = self._judge_attempt("int8", attempt, symmetric=self.for_tensorrt)
            if offer.passed and self.for_tensorrt:
                return offer
            if offer.passed and find_spec(_OTHER) is not None:
                offer = self._judge_elsewhere(offer)
            if all(offer.judged.values()):
                return self._judge_rest_in_bf16(offer)
            tried.append(offer)
            if offer.passed:
                passed.append(offer)
        return passed[0] if passed else tried[-1]

    def _judge_elsewhere(self, offer: Offer) -> Offer:
        return self._judge_too(offer, _OTHER)

    def _judge_rest_in_bf16(self, offer: Offer) -> Offer:
        if find_spec(_OTHER) is None:
            return offer
        try:
            return self._judge_too(offer, _OTHER + BF16)
        except EngineUnavailableError:
            return offer  # this processor has none

    def _judge_too(self, offer: Offer, way: str) -> Offer:
        try:
            report, _ = self._judge("int8", offer.data, way)
        except BundleError:  # no numbers: it fails in this way, and may be good in the others
            return replace(offer, judged={**offer.judged, way: False})
        return replace(offer, reports=(*offer.reports, report), judged={**offer.judged, way: report.passed})

    def _judge_bf16(self) -> Offer:
        with self._load("bf16", b"", _OTHER) as encoder:
            report, worst = self.gate.judge(encoder, "bf16")
        way = _OTHER + BF16
        return Offer("bf16", None, b"", (report,), worst, {way: report.passed}, decisive=way)

    def _judge(self, precision: Precision, data: bytes, engine: str) -> tuple[GateReport, WorstScene]:
        with self._load(precision, data, engine) as encoder:
            return self.gate.judge(encoder, precision)

    @property
    def gate(self) -> Gate:
        """Made when it is first needed: it encodes every scene in fp32."""
        if self._gate is None:
            with self._load("fp32", b"", _PORTABLE) as reference:
                self._gate = Gate(reference, self.pictures.scenes, self.pictures.labelled)
        return self._gate

    def _load(self, precision: Precision, data: bytes, engine: str) -> Encoder:
        """An encoder of a bundle that is not on disk yet."""
        files: dict[str, bytes] = {"fp32": self.data} | ({precision: data} if data else {})  # or in its place
        entries = [
            EncoderFile(
                precision=msgspec.convert(name, Precision),
                path=name,
                sha256=sha256_bytes(content),
                bytes=len(content),
            )
            for name, content in files.items()
        ]
        manifest = msgspec.structs.replace(self.manifest, files=entries, frames=[])
        bundle = EncoderBundle(manifest, "the export", files.__getitem__)
        return Encoder.load(bundle, engine=engine, precision=precision)

    def _inputs(self) -> Iterator[dict[str, Array]]:
        entry = self.manifest.input
        preprocess = Preprocessor(entry, self.manifest.preprocess, self.manifest.patch_size)
        for picture in self.pictures.calibration:
            yield {entry.name: preprocess(picture.frame)[None]}


def offer_all(precisions: Sequence[Precision], offering: Offering, *, stage: Say, note: Say) -> list[Offer]:
    """Make and judge precisions; what fails, or cannot be judged here, is said and not offered.

    Returns:
        Everything that was judged, passed or not.
    """
    found = []
    for precision in precisions:
        stage(precision)
        try:
            offer = offering.make(precision)
        except EngineUnavailableError as error:
            note(f"{precision} cannot be judged here: {error.problem}. It was not recorded.")
            continue
        except (PrecisionError, BundleError) as error:
            note(f"{precision} is not offered: {error.problem}. The file is not written.")
            continue
        found.append(offer)
        for report in offer.reports:
            if not report.passed:
                note(_refusal(report, offer))
        if offer.passed and offer.kept:
            why = "does not pass else" if precision in QUANTIZED else "would overflow else"
            rest = "fp16" if precision == "fp8" or offer.symmetric else "fp32"
            note(f"Left in {rest} in the {precision} file, which {why}: {', '.join(offer.kept)}.")
    return found


def _refusal(report: GateReport, offer: Offer) -> str:
    what = f"{report.precision} in {report.engine} is not offered: {'; '.join(report.failures)}."
    if offer.passed or offer.model is None:
        return what
    calibrate = "--calibrate with more good pictures of your own, or " * (report.precision in QUANTIZED)
    other = "fp16" if report.precision in ("fp8", "bf16") else "bf16"
    return f"{what} The file is not written. Try {calibrate}{other}."
