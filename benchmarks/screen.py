"""Time and memory of batched zero-shot by the size of the batch.

    python -m benchmarks.screen --pictures 50 100 200 --patches 256 --queries 3
    python -m benchmarks.screen --pictures 2000 --patches 1024 --queries 2 --rules closest-share

Patches are made from a seed and written to a file of the kind that ``edgead screen`` works on, which is read
in blocks; a few pictures are then compared with all the others. Each size runs in a process of its own, so
that its peak memory is its own. Encoding and painting are not in the figures; the memory is without the
encoder's.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from edgead_runtime import get_recipe
from edgead_runtime.batch_zero_shot import SIMILARITIES, batch_distances

from benchmarks.common import OUT, machine, save, table
from edgead.jobs.screen.record_log import Line, RecordLog

PROTOTYPES = 60
NOISE = 0.8
RULES = {"closest-share": "anomalydino", "worst-references": "patchead"}


def write_batch(folder: Path, pictures: int, patches: int, dim: int) -> None:
    """Patches around a few prototypes, as those of one kind of part are, picture by picture."""
    random = np.random.default_rng(0)
    prototypes = random.standard_normal((PROTOTYPES, dim)).astype(np.float32)
    log = RecordLog(folder, "features", (patches, dim), Line)
    for _ in range(pictures):
        found = prototypes[random.integers(0, PROTOTYPES, patches)]
        found = found + NOISE * random.standard_normal((patches, dim), dtype=np.float32)
        log.append(Line(), found / np.linalg.norm(found, axis=1, keepdims=True))
    log.close()


def measure(folder: Path, patches: int, dim: int, rule: str, queries: int) -> dict[str, Any]:
    """Compare some pictures with all the others, in this process."""
    log = RecordLog(folder, "features", (patches, dim), Line)
    before = _peak_mb()
    seconds = []
    for index in np.linspace(0, log.shape[0] - 1, queries).astype(int).tolist():
        start = time.perf_counter()
        batch_distances(log, index, get_recipe(RULES[rule]))
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "before_mb": before, "peak_mb": _peak_mb()}


def bound_mb(pictures: int, patches: int, dim: int, rule: str) -> float:
    """The formula of :mod:`edgead_runtime.batch_zero_shot`."""
    block = max(1, SIMILARITIES // patches**2)
    rank = max(1, int(get_recipe(RULES[rule]).batch_share * patches * (pictures - 1)))
    kept = 4 * patches * (rank + max(rank, 64)) if rule == "closest-share" else pictures * patches
    return 4 * (block * patches * dim + 3 * block * patches**2 + kept) / 2**20


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measure_apart(folder: Path, options: argparse.Namespace, rule: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.screen", "--measure", str(folder), "--rules", rule]
    command += [
        "--patches",
        str(options.patches),
        "--dim",
        str(options.dim),
        "--queries",
        str(options.queries),
    ]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parent.parent,
        env=os.environ,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pictures", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--patches", type=int, default=256, help="of a picture: 256 at 224 px, 1024 at 448")
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--queries", type=int, default=3, help="pictures that are compared with all")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES))
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        found = measure(options.measure, options.patches, options.dim, options.rules[0], options.queries)
        print(json.dumps(found))
        return
    rows, data = [], []
    OUT.mkdir(parents=True, exist_ok=True)
    for pictures in options.pictures:
        with tempfile.TemporaryDirectory(dir=OUT) as name:
            write_batch(Path(name), pictures, options.patches, options.dim)
            for rule in options.rules:
                found = _measure_apart(Path(name), options, rule)
                each = float(np.median(found["seconds"]))
                bound = bound_mb(pictures, options.patches, options.dim, rule)
                data.append({"pictures": pictures, "rule": rule, "bound_mb": bound, **found})
                rows.append(
                    [
                        pictures,
                        rule,
                        f"{each:.2f} s",
                        _duration(each * pictures),
                        f"{found['peak_mb']:.0f} MB",
                        f"{found['peak_mb'] - found['before_mb']:.0f} MB",
                        f"{bound:.0f} MB",
                        f"{4e-9 * pictures * options.patches * options.dim:.2f} GB",
                    ]
                )
    header = [
        "pictures",
        "rule",
        "a picture",
        "whole batch",
        "peak memory",
        "of it blocks",
        "bound",
        "on disk",
    ]
    facts = machine()
    title = (
        f"{options.patches} patches of {options.dim} a picture; median of {options.queries} pictures against "
        f"all the others, the whole batch estimated from it; {facts['cores']} cores of {facts['cpu']}."
    )
    save("screen", f"{title}\n\n{table(header, rows)}", {"patches": options.patches, "runs": data})


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )


if __name__ == "__main__":
    main()
