"""Run a tiny graph in one engine: installed is not the same as running.

Each is run in a process of its own, since half an installation of a GPU's libraries can end the process.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Literal, get_args

import msgspec
import numpy as np

from edgead_runtime.engines import ENGINES, Device, EngineOptions, EnginePrecision, create_engine
from edgead_runtime.errors import EdgeadError
from edgead_runtime.tensorrt.api import FLAVOURS

GRAPH = bytes.fromhex(
    "080812066564676561643a6a0a1a0a01780a01771201791a0770726f6475637422064d61744d756c120570726f62652a"
    "1b0802080210014201774a100000803f0000004000004040000080405a130a0178120e0a0c080112080a0208010a0208"
    "0262130a0179120e0a0c080112080a0208010a02080242040a001011"
)
"""ONNX, opset 17: ``y = x @ [[1, 2], [3, 4]]`` for x of ``[1, 2]``. Nothing here can write ONNX;
``tests/runtime/test_doctor.py`` makes it again."""
_X, _Y = np.array([[1, 10]], np.float32), np.array([[31, 42]], np.float32)
_SECONDS = 120
"""A first build with TensorRT on a small Jetson takes tens of them."""

Status = Literal["runs", "builds", "missing", "fails"]


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """One engine on one device."""

    engine: str
    device: str
    precision: str
    status: Status
    """``builds``: no engine can run here, but engines for other machines can be built."""
    reason: str = ""
    remedy: str = ""

    @property
    def name(self) -> str:
        """For a person."""
        return f"{self.engine} on {self.device}" + (
            "" if self.precision == "fp32" else f" in {self.precision}"
        )


def probe_all() -> list[Probed]:
    """Every engine on every device that it has."""
    wanted = [
        (spec.name, device, precision)
        for spec in ENGINES.values()
        for device in spec.devices
        for precision in spec.precisions
    ]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda entry: _in_a_process(*entry), wanted))


def _in_a_process(engine: str, device: Device, precision: EnginePrecision) -> Probed:
    spec = ENGINES[engine]
    if not _installed(spec.requires):
        return Probed(
            engine=engine,
            device=device,
            precision=precision,
            status="missing",
            reason="not installed",
            remedy=spec.install,
        )
    try:
        done = subprocess.run(  # noqa: S603  (this module, by this Python)
            [sys.executable, "-m", __name__, engine, device, precision],
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=Probed)
    except subprocess.TimeoutExpired:
        reason = f"did not finish within {_SECONDS} s"
    except (IndexError, msgspec.MsgspecError):
        ended = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        reason = f"ends the process ({ended})"
    return Probed(
        engine=engine,
        device=device,
        precision=precision,
        status="fails",
        reason=reason,
        remedy=f"Install it again: {spec.install}.",
    )


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:
        return False


def probe(engine: str, device: Device, precision: EnginePrecision) -> Probed:
    """Run the graph once, in this process."""
    status: Status = "runs"
    reason = remedy = ""
    try:
        if engine in FLAVOURS:
            _run_tensorrt(engine)
        else:
            options = EngineOptions(device=device, threads=1, precision=precision)
            with create_engine(GRAPH, engine, options) as made:
                found = made.run({"x": _X})["y"]
            _check(found)
    except EdgeadError as error:
        status, reason, remedy = "fails", error.problem, error.remedy
        if engine in FLAVOURS and FLAVOURS[engine].ahead_of_time and _builds(engine):
            status = "builds"
    return Probed(
        engine=engine, device=device, precision=precision, status=status, reason=reason, remedy=remedy
    )


def _run_tensorrt(name: str) -> None:
    from edgead_runtime.tensorrt.api import load
    from edgead_runtime.tensorrt.builder import build_plan
    from edgead_runtime.tensorrt.building import make_record
    from edgead_runtime.tensorrt.device import open_device
    from edgead_runtime.tensorrt.engine import TensorRtEngine
    from edgead_runtime.tensorrt.options import BuildOptions

    flavour = FLAVOURS[name]
    device = open_device()
    here = device.facts()
    trt = load(flavour)
    options = BuildOptions(timing_cache=False, sm=(here.sm,) if flavour.ahead_of_time else ())
    plan = build_plan(trt, flavour, GRAPH, options)
    record = make_record(flavour, trt, here, "encoder", "fp32", GRAPH, plan, options, rebuild="")
    with TensorRtEngine(trt, flavour, device, plan.data, record) as made:
        _check(made.run({"x": _X})["y"])


def _builds(name: str) -> bool:
    from edgead_runtime.tensorrt.api import load
    from edgead_runtime.tensorrt.builder import build_plan
    from edgead_runtime.tensorrt.options import BuildOptions

    try:
        build_plan(load(FLAVOURS[name]), FLAVOURS[name], GRAPH, BuildOptions(sm=(86,)))
    except EdgeadError:
        return False
    return True


def _check(found: object) -> None:
    if not np.allclose(np.asarray(found, np.float32), _Y, rtol=1e-2):
        raise EdgeadError("it computes wrong numbers", "Use another engine, and report this.")


def main(arguments: list[str]) -> None:
    """Probe what the command line names, and print one line of JSON."""
    engine, device, precision = arguments
    if device not in get_args(Device) or precision not in get_args(EnginePrecision):
        raise SystemExit(2)
    probed = probe(engine, msgspec.convert(device, Device), msgspec.convert(precision, EnginePrecision))
    print(msgspec.json.encode(probed).decode())


if __name__ == "__main__":
    main(sys.argv[1:])
