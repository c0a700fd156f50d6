"""From nothing to the first result, in a process that has the runtime and nothing else.

``python -m edgead.jobs.bench.start`` is that process: what it is to do comes as one line of JSON on standard
input, and it answers with one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgead.jobs.bench.record import Start
    from edgead.jobs.bench.settings import Setting

_MORE_FRAMES = 8
_FAILED = "failed"


def measure_start(setting: Setting, picture: Path) -> Start:
    """Start a process with the runtime alone, and wait for its first results.

    The files are in the system's cache by then and an engine that is chosen by measuring has been chosen:
    this is the second start of a line, not the first after switching the machine on.

    Args:
        setting: What it loads.
        picture: A file with the picture that it inspects.

    Raises:
        EdgeadError: The process ended without a result.
    """
    from edgead_runtime.errors import EdgeadError

    from edgead.jobs.bench.record import Start

    job = {
        "detector": str(setting.detector),
        "encoder": None if setting.encoder is None else str(setting.encoder),
        "engine": setting.engine,
        "precision": setting.precision,
        "threads": setting.threads,
        "index": setting.index,
        "picture": str(picture),
    }
    begun = time.time()
    done = subprocess.run(  # noqa: S603  (this file, run by this interpreter)
        [sys.executable, "-m", __name__],
        input=json.dumps({**job, "begun": begun}),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        answer = {_FAILED: (done.stderr.strip().splitlines() or ["it said nothing"])[-1]}
    if _FAILED in answer:
        raise EdgeadError(
            f"a fresh process came to no result ({answer[_FAILED]})",
            "Try `edgead detect` with the same detector.",
        )
    return Start(**answer)


def _first_results(job: dict[str, Any]) -> dict[str, Any]:
    imported = time.perf_counter()
    from edgead_runtime import Detector, read_picture

    loading = time.perf_counter()
    detector = Detector.load(
        job["detector"],
        encoder=job["encoder"],
        engine=job["engine"],
        precision=job["precision"],
        threads=job["threads"],
        index=job["index"],
        any_size=True,
    )
    loaded = time.perf_counter()
    frame = read_picture(Path(job["picture"])).frame
    ready = time.perf_counter()
    _ = detector(frame).map
    end = time.perf_counter()
    total = time.time() - job["begun"]
    for _ in range(_MORE_FRAMES):
        _ = detector(frame).map
    return {
        "import_s": loading - imported,
        "load_s": loaded - loading,
        "first_frame_s": end - ready,
        "total_s": total,
        "peak_mb": _peak_mb(),
    }


def _peak_mb() -> float | None:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    peaks = [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")]
    return peaks[0] if peaks else None


def main(lines: Sequence[str]) -> None:
    """Do what the line says and answer with one."""
    try:
        answer = _first_results(json.loads(lines[0]))
    except Exception as error:  # noqa: BLE001  (the process that waits says it in its own words)
        answer = {_FAILED: f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.stdin.readlines())
