"""``edgead-runtime``: what a device needs that has only this distribution.

``build`` makes TensorRT engines, ``doctor`` says what the machine can do. No more than argparse.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec

from edgead_runtime._version import __version__
from edgead_runtime.errors import EdgeadError
from edgead_runtime.manifest import Precision
from edgead_runtime.tensorrt.api import FLAVOURS
from edgead_runtime.tensorrt.options import BuildOptions, Hardware, refuse_dla
from edgead_runtime.tensorrt.record import GraphName

OK, PROBLEMS_FOUND, FAILED = 0, 1, 2
OUTPUT_CLOSED = 141
"""As a shell says of a program that writes to one which has ended, such as ``head``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code. 1: ``doctor`` found that nothing can run here. 2: it failed."""
    chosen = _parser().parse_args(arguments)
    try:
        code: int = chosen.run(chosen)
        sys.stdout.flush()
        return code
    except EdgeadError as error:
        print(f"edgead-runtime: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("edgead-runtime: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        _write_no_more()
        return OUTPUT_CLOSED
    except OSError as error:
        _write_no_more()
        why = error.strerror or str(error)
        print(f"edgead-runtime: cannot go on ({why}). See whether the disk has room.", file=sys.stderr)
        return FAILED


def _write_no_more() -> None:
    """Python would write at its end what it could not write now."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgead-runtime", description="edgead on the device: build its engines, see what it can do."
    )
    parser.add_argument("--version", action="version", version=f"edgead-runtime {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_build(commands)
    _add_doctor(commands)
    return parser


def _add_build(commands: Any) -> None:
    build = commands.add_parser("build", help="build a TensorRT engine of an encoder for this machine")
    build.set_defaults(run=_build)
    default = BuildOptions()
    build.add_argument("encoder", metavar="ENCODER", type=Path, help="an encoder's folder, or a .edgead file")
    build.add_argument("--engine", choices=list(FLAVOURS), default="tensorrt")
    build.add_argument("--sm", nargs="+", type=int, default=[], help="for tensorrt-rtx: GPUs, e.g. 86 89 120")
    build.add_argument(
        "--graph", choices=get_args(GraphName), help="by default the one that a detector would run"
    )
    build.add_argument(
        "--precision", choices=get_args(Precision), default="fp32", help="which of the encoder's files"
    )
    build.add_argument(
        "--neighbours", type=int, default=1, metavar="K", help="with --graph search: what the recipe asks for"
    )
    build.add_argument("--bank-blocks", nargs=2, type=int, metavar=("USUAL", "MOST"))
    build.add_argument("--batch", nargs=3, type=int, metavar=("LEAST", "USUAL", "MOST"))
    build.add_argument("--map-hw", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"))
    build.add_argument("--workspace-mib", type=int, help="memory that a layer may use; by default any")
    build.add_argument(
        "--optimization-level", type=int, default=default.optimization_level, help="0 to 5; by default 3"
    )
    build.add_argument("--hardware", choices=get_args(Hardware), default=default.hardware)
    build.add_argument("--version-compatible", action="store_true", help="also for newer TensorRTs")
    build.add_argument("--tf32", action="store_true", help="faster and less exact fp32")
    build.add_argument("--no-timing-cache", dest="timing_cache", action="store_false")
    build.add_argument("--dla", action="store_true", help="why not")
    build.add_argument(
        "--cache", action="store_true", help="write it to the cache, not to the encoder's folder"
    )
    build.add_argument("--pictures", type=Path, help="folder to compare with ONNX Runtime on")
    build.add_argument("--unchecked", action="store_true", help="do not compare the engine with ONNX Runtime")
    build.add_argument("--quiet", action="store_true")
    build.add_argument("--json", action="store_true", help="print the engine's record")


def _build(chosen: argparse.Namespace) -> int:
    from edgead_runtime.tensorrt.building import build_engine
    from edgead_runtime.tensorrt.logging import ignore_progress

    if chosen.dla:
        refuse_dla()
    given = {field: getattr(chosen, field) for field in BuildOptions.__struct_fields__}
    options = msgspec.convert(
        {field: value for field, value in given.items() if value is not None}, BuildOptions
    )
    built = build_engine(
        chosen.encoder,
        chosen.engine,
        options,
        graph=chosen.graph,
        precision=chosen.precision,
        neighbours=chosen.neighbours,
        into_cache=chosen.cache,
        pictures=chosen.pictures,
        unchecked=chosen.unchecked,
        progress=ignore_progress if chosen.quiet or chosen.json else _show_progress,
    )
    if chosen.json:
        print(msgspec.json.encode({"plan": str(built.path), "record": built.record}).decode())
    elif not chosen.quiet:
        for line in built.lines():
            print(line)
    return OK


def _add_doctor(commands: Any) -> None:
    doctor = commands.add_parser("doctor", help="what this machine can do, and what to install")
    doctor.add_argument("--json", action="store_true", help="the same for a program")
    doctor.set_defaults(run=lambda chosen: run_doctor(as_json=chosen.json))


def run_doctor(*, as_json: bool) -> int:
    """Examine this machine and print what was found; 1 where no engine runs."""
    from edgead_runtime.doctor import report
    from edgead_runtime.doctor.findings import judge
    from edgead_runtime.doctor.machine import examine

    machine = examine()
    findings = judge(machine)
    summary = report.as_json(machine, findings)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(summary)).decode())
    else:
        print("\n".join(report.lines_of(machine, findings)))
    return OK if summary["runs"] else PROBLEMS_FOUND


def _show_progress(what: str, share: float) -> None:
    """One line that is written over; nothing where nobody sees it."""
    if sys.stderr.isatty():
        end = "\n" if what == "Building engine" and share >= 1 else ""
        print(f"\r\033[K{what}: {share:4.0%}", end=end, file=sys.stderr, flush=True)


def run() -> None:
    """Entry point of the ``edgead-runtime`` command."""
    sys.exit(main())
