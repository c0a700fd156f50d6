"""Two benchmarks, of two machines or two days, beside each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgead.jobs.bench.record import TOTAL, Bench, in_order
from edgead.jobs.bench.statistics import Ratio, unpaired_ratio


@dataclass(frozen=True)
class Difference:
    """The second benchmark over the first."""

    first: Bench
    second: Bench
    ratios: dict[str, Ratio]
    """Median of the second over that of the first, for the stages that both have and in total."""
    facts: tuple[tuple[str, str, str], ...]
    """What differs between the two: name, first, second."""
    same_work: bool
    """Whether both did the same: encoder, recipe, size of the bank and of the frames."""

    def summary(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "ratios": {
                stage: {"ratio": ratio.ratio, "low": ratio.low, "high": ratio.high}
                for stage, ratio in self.ratios.items()
            },
            "same_work": self.same_work,
            "differs": [{"fact": name, "first": one, "second": two} for name, one, two in self.facts],
        }


def difference(first: Bench, second: Bench) -> Difference:
    """Compare two benchmarks."""
    one, two = (in_order(bench.measurement.frames_ms) for bench in (first, second))
    ratios = {
        stage: unpaired_ratio(two[stage], one[stage])
        for stage in one
        if stage == TOTAL or (min(one[stage]) > 0 and min(two.get(stage, [0.0])) > 0)
    }
    return Difference(
        first=first,
        second=second,
        ratios=ratios,
        facts=tuple(
            (name, left, right)
            for (name, left), (_, right) in zip(_facts(first), _facts(second), strict=True)
            if left != right
        ),
        same_work=_work(first) == _work(second),
    )


def _work(bench: Bench) -> tuple[Any, ...]:
    subject = bench.measurement.subject
    return subject.encoder, subject.recipe, subject.patches, subject.references, bench.frame_wh


def _facts(bench: Bench) -> list[tuple[str, str]]:
    machine, subject = bench.machine, bench.measurement.subject
    versions = {
        name: machine.versions.get(name, "-")
        for name in ("onnxruntime", "onnxruntime-gpu", "openvino", "numpy")
    }
    return [
        ("processor", machine.cpu),
        ("board", machine.board),
        ("instructions", " ".join(machine.flags)),
        ("usable cores", f"{machine.usable_cores:g}"),
        ("governor", machine.governor),
        ("power mode", machine.power_mode),
        ("load before", "" if machine.load is None else f"{machine.load:.1f}"),
        ("memory", "" if machine.memory_mb is None else f"{machine.memory_mb} MB"),
        ("engine", subject.engine),
        ("precision", subject.precision),
        ("threads", "the engine's choice" if subject.threads is None else str(subject.threads)),
        *versions.items(),
        ("variables", " ".join(f"{name}={value}" for name, value in machine.environment.items())),
        ("edgead", bench.edgead),
        ("detector", f"{subject.name} ({subject.detector_sha256[:12]})"),
        (
            "encoder",
            f"{subject.backbone} {subject.input_wh[0]} x {subject.input_wh[1]} ({subject.encoder[:12]})",
        ),
        ("recipe", subject.recipe),
        ("bank", f"{subject.references} references, {subject.patches} patches"),
        ("frame", f"{bench.frame_wh[0]} x {bench.frame_wh[1]}"),
    ]
