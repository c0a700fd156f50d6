"""For whoever has an NVIDIA GPU: build a bundle's engines, judge them, and time them beside others.

    edgead export --backbone dinov2_s --res 448 --fuse --precision fp16 --out dinov2_s_448   (on any machine)
    python -m benchmarks.gpu dinov2_s_448             # on the one with the GPU
    python -m benchmarks.gpu dinov2_s_448 --quick     # one precision, one bank, a few turns: some minutes

Needs edgead-runtime with onnxruntime, and a checkout; what else is there is compared with: TensorRT, ONNX
Runtime's CUDA and TensorRT providers, PyTorch with edgead-export. What is not is left out, with the reason.

Builds every precision that the bundle has files for, encoder and frame graph, with the parity gate, in a copy
of the bundle: engines that it has stay as they are. Measures p50, p95 and p99 of one run on the GPU by CUDA's
events, of a picture in memory to its score for several banks, and of batches where the bundle was exported
with --dynamic-batch. Writes gpu.json and gpu.md into benchmarks/out after each part, so that what was
measured is not lost with what was not. Clocks are read and never set.

It has been run on a simulated GPU (in the tests), on a processor with --without-gpu, and on no GPU.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import msgspec
from edgead_runtime import EncoderBundle
from edgead_runtime.doctor.findings import judge
from edgead_runtime.doctor.machine import examine
from edgead_runtime.doctor.report import as_json
from edgead_runtime.errors import EdgeadError, EngineUnavailableError
from edgead_runtime.files import output_error, write_atomic
from edgead_runtime.manifest import Precision
from edgead_runtime.tensorrt.api import FLAVOURS, FlavourName
from edgead_runtime.tensorrt.device import DeviceFacts, open_device

from benchmarks.common import OUT
from benchmarks.gpu import batches, device_runs, engines, whole_frames
from benchmarks.gpu.clocks import watched
from benchmarks.gpu.job import Job, frames_of, working_copy
from benchmarks.gpu.report import page
from benchmarks.gpu.turns import Amount
from edgead.jobs.bench.machine import describe_machine

SIDE = 1024
_PACKAGES = ("tensorrt", "tensorrt-rtx", "onnxruntime", "onnxruntime-gpu", "torch", "transformers", "numpy")


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, measure, print and keep; 2 where that cannot be."""
    try:
        run(_parser().parse_args(arguments))
    except EdgeadError as error:
        print(f"benchmarks.gpu: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("benchmarks.gpu: stopped; the parts that were measured are kept", file=sys.stderr)
        return 130
    return 0


def run(chosen: argparse.Namespace) -> None:
    """All parts one after the other.

    Raises:
        EdgeadError: There is no GPU, the bundle is none, or nothing can be written.
    """
    bundle = EncoderBundle.open(chosen.encoder)
    for precision in chosen.precisions or ():
        bundle.manifest.file(precision)  # or a typed error, before anything is built
    here = find_gpu(needed=not chosen.without_gpu)
    try:
        chosen.out.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(dir=chosen.out, prefix="gpu-")
    except OSError as error:
        raise output_error(chosen.out, error) from error
    with scratch as folder:
        job = _job(chosen, bundle, Path(folder), here)
        found = _facts(job)
        with watched(None if here is None else here.name) as clocks:
            for name, part in _parts(job).items():
                try:
                    found[name] = part()
                except EdgeadError as error:
                    found["problems"][name] = str(error)
                    print(f"{name}: {error}", file=sys.stderr, flush=True)
                keep(chosen.out, found)
        keep(chosen.out, {**found, "clocks": clocks.summary()})
    print(f"\n{page({**found, 'clocks': clocks.summary()})}\nWritten to {chosen.out / 'gpu.json'} and .md")


def find_gpu(*, needed: bool) -> DeviceFacts | None:
    """The GPU that is measured.

    Raises:
        EngineUnavailableError: There is none, or nothing to reach it with, and it is ``needed``.
    """
    try:
        return open_device().facts()
    except EngineUnavailableError as error:
        if not needed:
            return None
        raise EngineUnavailableError(
            f"there is no GPU to measure: {error.problem}",
            f"{error.remedy} (--without-gpu goes on all the same, on the processor alone.)",
        ) from error


def keep(folder: Path, found: dict[str, Any]) -> None:
    """Write what there is so far.

    Raises:
        OutputError: It cannot be written.
    """
    write_atomic(folder / "gpu.json", msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    write_atomic(folder / "gpu.md", page(found).encode())


def _parts(job: Job) -> dict[str, Callable[[], Any]]:
    """In this order: what is timed has been built and judged before."""
    parts: dict[str, Callable[[], Any]] = {}
    if job.here is not None:
        parts["engines"] = partial(engines.build_all, job)
    return parts | {
        "device_runs": partial(device_runs.measure, job),
        "frames": partial(whole_frames.measure, job),
        "batches": partial(batches.measure, job) if job.manifest.input.dynamic_batch else list,
    }


def _job(chosen: argparse.Namespace, bundle: EncoderBundle, scratch: Path, here: DeviceFacts | None) -> Job:
    quick: bool = chosen.quick
    warm = chosen.warm_seconds if chosen.warm_seconds is not None else (2.0 if quick else 10.0)
    return Job(
        scratch=scratch,
        folder=working_copy(bundle, scratch / "bundle"),
        bundle=bundle,
        precisions=tuple(chosen.precisions or _precisions(bundle, quick=quick)),
        flavour=chosen.engine or _flavour(),
        here=here,
        good=tuple(chosen.good or ((4,) if quick else (8, 32, 128))),
        batches=tuple(chosen.batches or ((1, 4) if quick else (1, 2, 4, 8, 16))),
        frames=frames_of(chosen.frames, chosen.side),
        weights=chosen.weights,
        amount=Amount(chosen.turns or (5 if quick else 40), warm_seconds=warm),
    )


def _precisions(bundle: EncoderBundle, *, quick: bool) -> list[Precision]:
    """Those that the bundle has files for; the one that most people take, where it is to be quick."""
    have = [file.precision for file in bundle.manifest.files]
    if not quick:
        return have
    return ["fp16"] if "fp16" in have else ["fp32"]


def _flavour() -> FlavourName:
    """The TensorRT that is installed; the usual one where neither is, so that its absence is what is said."""
    return next((kind.name for kind in FLAVOURS.values() if find_spec(kind.module) is not None), "tensorrt")


def _facts(job: Job) -> dict[str, Any]:
    machine = examine()
    manifest = job.manifest
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "gpu": None if job.here is None else msgspec.to_builtins(job.here),
        "encoder": {
            "backbone": manifest.backbone,
            "height": manifest.input.height,
            "width": manifest.input.width,
            "layers": [feature.layer for feature in manifest.features],
            "attention": manifest.attention is not None,
            "weights": manifest.weights.source,
            "official": manifest.weights.official,
            "fingerprint": manifest.fingerprint(),
            "dynamic_batch": manifest.input.dynamic_batch,
        },
        "side": job.frames[0].shape[0],
        "amount": msgspec.to_builtins(job.amount),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "doctor": as_json(machine, judge(machine)),
        "machine": msgspec.to_builtins(describe_machine()),
        "problems": {},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("encoder", type=Path, help="an encoder bundle's folder")
    parser.add_argument("--quick", action="store_true", help="one precision, one bank, few turns")
    parser.add_argument("--engine", choices=list(FLAVOURS), help="by default the TensorRT that is installed")
    parser.add_argument(
        "--precisions", nargs="+", choices=get_args(Precision), help="by default all that there are files for"
    )
    parser.add_argument(
        "--good", nargs="+", type=_positive, help="good pictures in the bank; by default 8 32 128"
    )
    parser.add_argument("--batches", nargs="+", type=_positive, help="by default 1 2 4 8 16")
    parser.add_argument("--turns", type=_positive, help="of each way, five timed runs each; by default 40")
    parser.add_argument(
        "--warm-seconds",
        type=float,
        help="at most for each way, until its times stand still; by default 10",
    )
    parser.add_argument("--frames", type=_positive, default=8, help="different ones")
    parser.add_argument("--side", type=_positive, default=SIDE, help="of a frame, in pixels")
    parser.add_argument("--weights", help="PyTorch's, as `edgead export` takes them")
    parser.add_argument(
        "--without-gpu", action="store_true", help="go on where there is none, on the processor alone"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder for gpu.json and gpu.md")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
