"""What a detector's file keeps of ``edgead tune``: settings, banks of other encoders, and those encoders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgead_runtime.cores import cpu_name, usable_cores
from edgead_runtime.detector_bundle import LoadedBundle
from edgead_runtime.encoder_bundle import EncoderBundle
from edgead_runtime.errors import BundleError, EncoderNotFoundError, EngineUnavailableError
from edgead_runtime.manifest import (
    Calibration,
    EncoderReference,
    Precision,
    ReferenceRecord,
    TierBank,
    TunedOn,
    Tuning,
)


def this_machine() -> TunedOn:
    """What times depend on first of all."""
    return TunedOn(cpu=cpu_name(), cores=usable_cores())


class _Options(msgspec.Struct):
    """Of the arguments of :meth:`Detector.load` those that a file may bring along."""

    engine: str = ""
    precision: Precision = "fp32"
    threads: Annotated[int, msgspec.Meta(gt=0, le=1024)] | None = None
    fused: bool = True
    index: str = ""
    foreground_only: bool = True


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse what a stored setting may not choose: another encoder, or that an engine is built.

    Raises:
        EngineUnavailableError: An option is unknown here, or its value is.
    """
    unknown = set(options) - set(_Options.__struct_fields__)
    if unknown:
        raise EngineUnavailableError(
            f"this edgead-runtime does not know the option {', '.join(sorted(unknown))}", "Upgrade it."
        )
    try:
        msgspec.convert(dict(options), _Options)
    except msgspec.ValidationError as error:
        raise EngineUnavailableError(
            f"this edgead-runtime does not know such a setting ({error})", "Upgrade it, or tune again."
        ) from error


@dataclass(frozen=True, eq=False)
class StoredTuning:
    """A tuning as it goes into a file, or came out of one."""

    record: Tuning
    arrays: Mapping[str, NDArray[np.generic]]
    """Those that the records of its banks name."""
    encoders: Mapping[str, EncoderBundle] = field(default_factory=dict)
    """Of the banks, by fingerprint; without those that are found by their path alone."""

    @classmethod
    def of(cls, bundle: LoadedBundle) -> StoredTuning | None:
        """What a file holds.

        Raises:
            BundleError: An array of it is missing.
        """
        record = bundle.manifest.tuning
        if record is None:
            return None
        names = {name for bank in record.banks for each in bank.references for name in arrays_of(each)}
        try:
            arrays = {name: bundle.arrays[name] for name in names}
        except KeyError as error:
            raise BundleError(f"the tuning lacks the array {error}", "Run `edgead tune` again.") from error
        return cls(record, arrays, bundle.tier_encoders)

    def for_saving(self, own: Sequence[ReferenceRecord], *, self_contained: bool) -> StoredTuning:
        """The same beside the good pictures that there are now.

        What was taken back since is dropped; what was added is missing, and is encoded at loading.

        Args:
            own: The records of the detector's own bank.
            self_contained: Put the encoders inside.

        Raises:
            EncoderNotFoundError: One that is to go inside is not where it was.
        """
        pictures = {record.digest: record.picture for record in own}
        encoders = dict(self.encoders)
        banks = []
        for bank in self.record.banks:
            expected = bank.encoder
            if self_contained and expected.fingerprint not in encoders:
                encoders[expected.fingerprint] = _opened(expected)
            embedded = expected.fingerprint in encoders and (
                self_contained or expected.embedded or expected.path_hint is None
            )
            references = [
                msgspec.structs.replace(record, picture=pictures[record.digest])
                for record in bank.references
                if record.digest in pictures
            ]
            reference = msgspec.structs.replace(expected, embedded=embedded)
            banks.append(msgspec.structs.replace(bank, encoder=reference, references=references))
        names = {name for bank in banks for record in bank.references for name in arrays_of(record)}
        return StoredTuning(
            msgspec.structs.replace(self.record, banks=banks),
            {name: self.arrays[name] for name in sorted(names)},
            encoders,
        )

    @property
    def embedded(self) -> dict[str, EncoderBundle]:
        """Which encoders go into the file."""
        wanted = {bank.encoder.fingerprint for bank in self.record.banks if bank.encoder.embedded}
        return {name: bundle for name, bundle in self.encoders.items() if name in wanted}


def _opened(expected: EncoderReference) -> EncoderBundle:
    hint = expected.path_hint
    if hint is not None and Path(hint).is_dir():
        found = EncoderBundle.open(hint)
        if found.manifest.fingerprint() == expected.fingerprint:
            return found
    raise EncoderNotFoundError(
        f"the encoder of a tuned setting ({expected.backbone}) is not at {hint}",
        "Put it back there, or run `edgead tune` again.",
    )


def arrays_of(record: ReferenceRecord) -> Iterator[str]:
    """The names of the arrays of a good picture, the same for the same kind of memory in the same order."""
    yield from record.tokens
    yield from record.kept
    for moments in record.moments:
        yield from (moments.total, moments.products)
    if record.mask is not None:
        yield record.mask


def bank_view(bundle: LoadedBundle, bank: TierBank, path: Path) -> LoadedBundle:
    """A file as if it had been enrolled with the encoder of one of its tuning's banks.

    Raises:
        BundleError: A record names a picture that is not there.
    """
    if not all(record.picture in bundle.pictures for record in bank.references):
        raise BundleError(f"{path}: its tuning names a picture that it does not hold", "Tune it again.")
    manifest = msgspec.structs.replace(
        bundle.manifest,
        encoder=bank.encoder,
        # Which layer is the deepest is another question for an encoder that was exported with others.
        recipe={**bundle.manifest.recipe, "layers": list(bank.encoder.layers)},
        mask=bank.mask,
        calibration=bank.calibration,
        references=bank.references,
        coreset=bank.coreset,
        tuning=None,
    )
    return LoadedBundle(
        manifest=manifest,
        arrays=bundle.arrays,
        pictures=bundle.pictures,
        encoder=bundle.tier_encoders.get(bank.encoder.fingerprint),
    )


def in_proportion(tier: Calibration, full: Calibration, scale: float, map_scale: float) -> Calibration:
    """Thresholds of a tier that stand to its good scores as those of the full setting stand to its own.

    For thresholds that were set by hand, or come from pictures that are not kept. No rate is claimed.

    Args:
        tier: What is replaced.
        full: The detector's own.
        scale: See :class:`edgead_runtime.manifest.TierBank`.
        map_scale: The same for maps.
    """
    return msgspec.structs.replace(
        tier,
        method="manual",
        threshold=full.threshold * scale,
        pixel_threshold=full.pixel_threshold * map_scale,
        false_alarm_rate=None,
    )
