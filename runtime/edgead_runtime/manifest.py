"""What the two kinds of bundle say about themselves, as strictly decoded records.

An *encoder bundle* is a folder with ``manifest.json``, ``encoder.onnx`` and ``parity.json``. A
*detector bundle* is one ``NAME.edgead`` file. Both manifests are decoded against the types below, so a
missing or mistyped field is an error that names the field and not a surprise ten calls later.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec

from edgead_runtime.errors import BundleError, PrecisionMissingError, SchemaVersionError
from edgead_runtime.json_text import UNREADABLE

ENCODER_SCHEMA_VERSION = 1
DETECTOR_SCHEMA_VERSION = 3
"""2: several layers and views; nothing was released with 1. 3: banks that leave patches out, or keep them in
fewer bytes."""

# Far above what can be exported. Memory is asked for by these numbers before a graph contradicts them.
_MOST_PIXELS, _MOST_PATCHES = 1 << 24, 1 << 16
_MOST_FEATURES, _MOST_BLOCK_ROWS = 1 << 14, 1 << 12

_Positive = Annotated[int, msgspec.Meta(gt=0)]
_PositiveFloat = Annotated[float, msgspec.Meta(gt=0)]
Fit = Literal["crop", "stretch"]
Interpolation = Literal["bicubic-antialias", "area"]
Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


class _Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all manifest records: immutable, keyword only."""


class EncoderInput(_Record, frozen=True, kw_only=True):
    """The image input: float32 ``[B, 3, height, width]``, RGB, normalized; ``B`` is 1 unless dynamic."""

    name: str
    height: _Positive
    width: _Positive
    dynamic_batch: bool = False


class Preprocess(_Record, frozen=True, kw_only=True):
    """How a frame becomes the input tensor; pinned here so that bank and query never differ.

    ``fit="crop"`` is the papers' rule (smaller edge to size, aspect kept, top-left crop to whole patches)
    wherever the frame's aspect allows it; ``"stretch"`` always resizes the whole frame to the input.
    ``interpolation="bicubic-antialias"`` is the papers' (Pillow's), ``"area"`` a cheaper one (OpenCV's).
    """

    mean: tuple[float, float, float]
    std: tuple[_PositiveFloat, _PositiveFloat, _PositiveFloat]
    interpolation: Interpolation = "bicubic-antialias"
    fit: Fit = "crop"


class FeatureOutput(_Record, frozen=True, kw_only=True):
    """One patch-feature output: float32 ``[B, N, dim]``, N patches in raster order, not L2-normalized.

    ``layer`` counts blocks from 1; ``final_norm`` says whether the backbone's last LayerNorm was applied.
    """

    name: str
    layer: int
    dim: Annotated[int, msgspec.Meta(gt=0, le=_MOST_FEATURES)]
    final_norm: bool


class AttentionOutput(_Record, frozen=True, kw_only=True):
    """CLS-to-patch attention of ``layer``, mean over heads: float32 ``[B, N]``."""

    name: str
    layer: int


class EncoderFile(_Record, frozen=True, kw_only=True):
    """One ONNX file of the bundle."""

    precision: Precision
    path: str
    sha256: str
    bytes: int
    judged: dict[str, bool] = {}
    """Whether it passed the gate (:mod:`edgead_runtime.agreement`), by the ways it was run in.

    ``onnxruntime``, or ``openvino+bf16`` where what the file has in float32 was computed in bfloat16;
    ``emulated`` for a bf16 file, by a float32 graph that rounds as it does. A way that is not here was not
    tried."""
    symmetric: bool = False
    """Of int8: activations are signed around 0, as TensorRT takes them. Else unsigned, as processors like."""


class FrameFile(_Record, frozen=True, kw_only=True):
    """The frame-to-heatmap graph: the encoder with the search, the score and the map behind it.

    Its inputs and outputs are those of :mod:`edgead_runtime.frame_graph`.
    """

    precision: Precision
    path: str
    sha256: str
    bytes: int
    layer: int
    """Whose features are searched for."""
    block_rows: Annotated[int, msgspec.Meta(gt=0, le=_MOST_BLOCK_ROWS)]
    """Rows of one block of the bank."""


class Weights(_Record, frozen=True, kw_only=True):
    """Where the weights came from. ``official=False`` travels into every bundle, result and report."""

    source: str
    official: bool
    licence: str
    sha256: str
    note: str = ""


class EncoderManifest(_Record, frozen=True, kw_only=True):
    """Everything the runtime needs to know of an encoder."""

    schema_version: int
    kind: Literal["edgead-encoder"]
    backbone: str
    input: EncoderInput
    preprocess: Preprocess
    patch_size: _Positive
    features: Annotated[list[FeatureOutput], msgspec.Meta(min_length=1)]
    attention: AttentionOutput | None
    files: list[EncoderFile]
    weights: Weights
    opset: int
    tools: dict[str, str]
    created: str
    pca_mask_threshold: float | None = None
    """Fixed threshold on the first principal component, where the source gives one (10 for DINOv2's own
    final tokens); ``None``: choose it from the data."""

    frames: list[FrameFile] = []
    """The graphs of a whole frame, at most one for each precision. They decide no feature, so they are not in
    the fingerprint: a bundle can be given one later."""

    def __post_init__(self) -> None:
        if min(self.grid) < 1:
            raise ValueError("the input is smaller than a patch")
        rows, columns = self.grid
        if rows * columns > _MOST_PATCHES or self.input.height * self.input.width > _MOST_PIXELS:
            raise ValueError("the input is larger than any encoder's")
        if len({feature.layer for feature in self.features}) < len(self.features):
            raise ValueError("two of its outputs are of one layer")
        if not {frame.layer for frame in self.frames} <= {feature.layer for feature in self.features}:
            raise ValueError("the frame graph searches for a layer that the encoder does not give")

    @property
    def grid(self) -> tuple[int, int]:
        """Patches as (rows, columns)."""
        return self.input.height // self.patch_size, self.input.width // self.patch_size

    @property
    def frame(self) -> FrameFile | None:
        """The frame graph in fp32."""
        return self.frame_of("fp32")

    def frame_of(self, precision: Precision) -> FrameFile | None:
        """The frame graph of ``precision``, where there is one."""
        return next((frame for frame in self.frames if frame.precision == precision), None)

    def file(self, precision: Precision) -> EncoderFile:
        """The ONNX file of ``precision``.

        Raises:
            PrecisionMissingError: The bundle has no such file.
        """
        for entry in self.files:
            if entry.precision == precision:
                return entry
        have = ", ".join(entry.precision for entry in self.files)
        # Without --engine bf16 is the fp32 file, computed so by OpenVINO.
        engine = " --engine tensorrt (or tensorrt-rtx)" if precision == "bf16" else ""
        raise PrecisionMissingError(
            f"the encoder bundle has no {precision} file (it has: {have})",
            f"Export it again with --precision {precision}{engine}.",
        )

    def fingerprint(self) -> str:
        """Content hash (SHA-256, hex) of all that decides a feature's value.

        Tool versions, dates and files of other precisions are left out, so that adding an int8 file to a
        bundle does not orphan the detectors that were enrolled with it.
        """
        decisive = {
            "input": self.input,
            "preprocess": self.preprocess,
            "patch_size": self.patch_size,
            "features": self.features,
            "attention": self.attention,
            "reference": self.file("fp32").sha256,
        }
        return hashlib.sha256(msgspec.json.encode(decisive, order="deterministic")).hexdigest()


class EncoderReference(_Record, frozen=True, kw_only=True):
    """The encoder a detector was enrolled with."""

    fingerprint: str
    backbone: str
    layers: Annotated[list[int], msgspec.Meta(min_length=1)]
    weights: Weights
    path_hint: str | None
    embedded: bool


class MaskDecision(_Record, frozen=True, kw_only=True):
    """Whether the detector masks its frames, who decided, and why."""

    enabled: bool
    requested: Literal["auto", "on", "off"]
    reason: str
    threshold: float | None
    area: list[str] | None = None
    """Where a person drew it: a text a row of patches, ``#`` for those that count."""


class Calibration(_Record, frozen=True, kw_only=True):
    """Where the thresholds come from.

    ``attainable_false_alarm_rate`` is the conformal bound 1 / (n + 1): no alarm can honestly claim less
    from ``n`` good pictures. ``false_alarm_rate`` is the bound that the chosen threshold has, or ``None``
    for one set by hand. ``normal_scores`` are the scores it was chosen from, ``normal_means`` the mean patch
    distances of the same pictures; files of before this field have none.
    """

    method: Literal["leave-one-out", "held-out", "self-similarity", "manual"]
    threshold: Annotated[float, msgspec.Meta(ge=0)]
    pixel_threshold: Annotated[float, msgspec.Meta(ge=0)]
    pictures: int
    attainable_false_alarm_rate: float
    false_alarm_rate: float | None
    normal_scores: list[float]
    normal_means: list[float] = []


class AlignmentRecord(_Record, frozen=True, kw_only=True):
    """How a good picture lies over the first one; see :class:`edgead_runtime.alignment.Alignment`."""

    matrix: list[list[float]]
    inliers: int
    matches: int
    rotation_deg: float
    shift_px: float
    reason: str
    found: bool


class MomentsRecord(_Record, frozen=True, kw_only=True):
    """The moments of one layer's patches, where a subspace is kept: count, and names of two tensors."""

    count: _Positive
    total: str
    products: str


class ReferenceRecord(_Record, frozen=True, kw_only=True):
    """One good picture in the memory: where it is kept in the bundle and which tensors it owns."""

    name: str
    picture: str
    tokens: list[str]
    """A tensor a layer; empty where a subspace is kept."""
    kept: list[str] = []
    """A tensor a layer with the numbers of the patches that are kept; empty where all are."""
    moments: list[MomentsRecord] = []
    alignment: AlignmentRecord | None = None
    mask: str | None
    height: _Positive
    width: _Positive
    digest: str
    """Of its pixels: the same part enrolled twice is noticed without decoding what is kept."""
    added: Literal["enrollment", "add_good"]


class CoresetRecord(_Record, frozen=True, kw_only=True):
    """What a coreset of one layer is of, and what it guarantees."""

    rows: _Positive
    """Patches there were, of all good pictures enrolled and added."""
    chosen: _Positive
    """Patches that were kept at enrolment."""
    radius: Annotated[float, msgspec.Meta(ge=0)]
    """No patch differs from the nearest that is kept by a vector longer than this. So no cosine distance
    grows by more."""
    enrolled_radius: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """What ``radius`` was at enrolment. ``None``: not known, or of a coreset that has been thinned since."""


class Measured(_Record, frozen=True, kw_only=True):
    """How fast and how faithful a setting was where it was tuned."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    """Of a frame in memory to score and map."""
    map_rank: float
    """Spearman correlation of patch distances with the full setting's, mean over pictures."""
    score_rank: float
    """Spearman correlation of image scores with the full setting's."""
    same_verdict: float
    """Share of pictures with the verdict of the full setting."""


class TierBank(_Record, frozen=True, kw_only=True):
    """The good pictures as another encoder remembers them, with thresholds of its own."""

    encoder: EncoderReference
    mask: MaskDecision
    calibration: Calibration
    references: list[ReferenceRecord]
    """Their pictures are those of the detector's own records. One that is missing is encoded at loading."""
    coreset: list[CoresetRecord] = []
    """A layer each; empty where all patches are kept."""
    scale: _PositiveFloat
    """Largest score of a good picture over that of the detector's own encoder, each left out of its bank."""
    map_scale: _PositiveFloat
    """The same for the peaks of the maps."""


class TierRecord(_Record, frozen=True, kw_only=True):
    """A way to run the detector: the arguments with which it is loaded, and which bank."""

    name: str
    options: dict[str, Any]
    """Arguments of :meth:`edgead_runtime.Detector.load`, e.g. engine and precision."""
    bank: int | None = None
    """Which of the banks; ``None``: the detector's own."""
    measured: Measured | None = None


class CascadeRecord(_Record, frozen=True, kw_only=True):
    """A small encoder that looks first, and when its answer is not enough."""

    first: TierRecord
    low: Annotated[float, msgspec.Meta(gt=0, le=1)]
    """Below this many times its threshold a picture is good without a second look."""
    high: Annotated[float, msgspec.Meta(ge=1)]
    """Above this many times its threshold it is anomalous without one."""
    full_threshold: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """That of the full setting when these two were found: if it is another by now, they move with it. Without
    it (an earlier tuning) the calibrations beside them are taken for those of then."""
    small_threshold: Annotated[float, msgspec.Meta(ge=0)] | None = None
    pictures: _Positive
    """Good pictures that the two come from: the claim is one in this number plus one."""
    second_looks: float
    """Share of the good pictures that needed both."""
    tried: int
    """Drawn defects that the full setting finds and that had no part in choosing the two."""
    missed: int
    """How many of them pass."""


class TunedOn(_Record, frozen=True, kw_only=True):
    """The machine whose times were measured."""

    cpu: str
    cores: _Positive


class Tuning(_Record, frozen=True, kw_only=True):
    """What ``edgead tune`` found: the settings in reach, the most faithful first."""

    budget_ms: _PositiveFloat
    created: str
    machine: TunedOn
    calibration: Calibration
    """The detector's own when it was tuned: if it is another by now, the banks' thresholds follow it."""
    tiers: Annotated[list[TierRecord], msgspec.Meta(min_length=1)]
    chosen: Annotated[int, msgspec.Meta(ge=0)]
    banks: list[TierBank] = []
    cascade: CascadeRecord | None = None

    def __post_init__(self) -> None:
        every = [*self.tiers, *([] if self.cascade is None else [self.cascade.first])]
        if self.chosen >= len(self.tiers) or not all(
            tier.bank is None or 0 <= tier.bank < len(self.banks) for tier in every
        ):
            raise ValueError("it chooses a setting or bank that it does not have")


class Member(_Record, frozen=True, kw_only=True):
    """Size and hash of a file inside the detector bundle."""

    sha256: str
    bytes: int


class DetectorManifest(_Record, frozen=True, kw_only=True):
    """Everything a detector bundle says of itself."""

    schema_version: int
    kind: Literal["edgead-detector"]
    created: str
    runtime_version: str
    encoder: EncoderReference
    recipe: dict[str, Any]
    mask: MaskDecision
    calibration: Calibration
    references: list[ReferenceRecord]
    coreset: list[CoresetRecord] = []
    """A layer each; empty where all patches are kept."""
    members: dict[str, Member]
    tuning: Tuning | None = None
    """For a latency budget; ``None`` in what was written before there was one."""


class _Head(msgspec.Struct):
    """The two fields that every version of every manifest has."""

    schema_version: int
    kind: str


_M = TypeVar("_M", EncoderManifest, DetectorManifest)

_SCHEMAS: dict[type, tuple[str, int, int]] = {
    EncoderManifest: ("edgead-encoder", 1, ENCODER_SCHEMA_VERSION),
    DetectorManifest: ("edgead-detector", 2, DETECTOR_SCHEMA_VERSION),
}
"""Kind, and the oldest and newest version that can be read."""


def decode_manifest(data: bytes, manifest_type: type[_M], where: str) -> _M:
    """Decode and check a manifest.

    Args:
        data: JSON text.
        manifest_type: Which manifest is expected.
        where: The file's name, for messages.

    Raises:
        SchemaVersionError: It was written by a newer edgead, or by one that is too old.
        BundleError: It is not JSON, of another kind, or lacks a field.
    """
    kind, oldest, newest = _SCHEMAS[manifest_type]
    try:
        head = msgspec.json.decode(data, type=_Head)
    except UNREADABLE as error:
        raise BundleError(
            f"{where} is not an edgead manifest ({error})", "Write the bundle again."
        ) from error
    if head.kind != kind:
        raise BundleError(
            f"{where} describes an '{head.kind}', not an '{kind}'", f"Give the path of an {kind} bundle."
        )
    if head.schema_version < oldest:
        raise SchemaVersionError(
            f"{where} was written by an older edgead (schema version {head.schema_version}, now {newest})",
            "Write it again: export the encoder, enrol the detector.",
        )
    if head.schema_version > newest:
        raise SchemaVersionError(
            f"{where} has schema version {head.schema_version}; this edgead reads up to {newest}",
            "Upgrade edgead-runtime, or write the bundle again with this version.",
        )
    _check_precisions(data, where)
    try:
        return msgspec.json.decode(_with_frames(data), type=manifest_type)
    except UNREADABLE as error:
        raise BundleError(f"{where} is damaged ({error})", "Write the bundle again.") from error


class _FilesOfAnyPrecision(msgspec.Struct):
    """The precisions that a manifest names, whatever they are."""

    files: list[dict[str, Any]] = []
    frames: list[dict[str, Any]] = []


def _check_precisions(data: bytes, where: str) -> None:
    """Say of a file in a precision that a later edgead made what it is; all else is for the decoder.

    Raises:
        SchemaVersionError: There is one.
    """
    try:
        found = msgspec.json.decode(data, type=_FilesOfAnyPrecision)
    except UNREADABLE:
        return
    for entry in (*found.files, *found.frames):
        name = entry.get("precision")
        if isinstance(name, str) and name not in PRECISIONS:
            raise SchemaVersionError(
                f"{where} has a file in {name[:20]}, which this edgead does not know "
                f"(it knows {', '.join(PRECISIONS)})",
                "Upgrade edgead-runtime, or export the encoder again with this version.",
            )


def _with_frames(data: bytes) -> bytes:
    """A manifest from when an encoder had one frame graph at most, under ``frame``, as it is written now."""
    if b'"frame"' not in data:
        return data
    fields = msgspec.json.decode(data)
    one = fields.pop("frame", None)
    return data if one is None or "frames" in fields else msgspec.json.encode({**fields, "frames": [one]})


def encode_manifest(manifest: EncoderManifest | DetectorManifest) -> bytes:
    """Encode a manifest as indented JSON (UTF-8)."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
