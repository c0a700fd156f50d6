"""The loop for minutes or hours at full rate: frames, memory, events, lessons; judged at the end.

    python -m benchmarks.soak --minutes 60
    python -m benchmarks.soak --minutes 60 --encoder BUNDLE --engine openvino
    python -m benchmarks.soak --quick           # a minute: whether everything runs

A video is made of a real photograph (a slow pan, a scratch drawn on for four seconds of ten) and played as
a camera, as fast as it comes: what the engine cannot take is dropped. Around the loop is all that a line
has: JSON lines, pictures, clips, numbers, the watch over drift, the live view, learning; and a sink that is
down for the middle third of the time. A second process has the page open, and every minute teaches a good
frame or keeps a defect, and takes that back.

At the end everything that was promised is checked: every frame accounted for, every scratch an event, every
message at every sink once and in order, memory flat, quotas kept, the detector what it was before the
lessons. Writes soak.md, soak.json and soak.png to benchmarks/out, says whether it passed, and ends with exit
code 1 where it did not.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import get_args

from edgead_runtime.manifest import Precision

from benchmarks.common import OUT, save
from benchmarks.soak.judging import Limits, judge
from benchmarks.soak.report import as_text, draw, verdict
from benchmarks.soak.run import Plan, soak
from benchmarks.soak.scene import apart

_MINUTES, _QUICK_MINUTES, _QUICK_LESSON_S = 60.0, 1.0, 10.0


def main() -> None:
    """Run, judge, and write the report."""
    options = _options()
    OUT.mkdir(parents=True, exist_ok=True)
    # What a person would read while it runs, and afterwards where something went wrong.
    logging.basicConfig(
        filename=OUT / "soak.log",
        filemode="w",
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    quick = options.quick
    lesson_every_s = options.lesson_every
    if lesson_every_s is None:
        lesson_every_s = _QUICK_LESSON_S if quick else Plan.lesson_every_s
    plan = Plan(
        encoder=options.encoder or Path(apart("benchmarks.soak.encoder")),
        minutes=options.minutes or (_QUICK_MINUTES if quick else _MINUTES),
        side=options.side,
        fps=options.fps,
        engine=options.engine,
        precision=options.precision,
        threads=options.threads,
        recipe=options.recipe,
        lesson_every_s=lesson_every_s,
        view=not options.no_view,
    )
    print(f"{plan.minutes:g} minutes; log: {OUT / 'soak.log'}; process {os.getpid()}", flush=True)
    data = soak(plan, OUT / "soak")
    limits = Limits(options.max_growth_mb, options.max_gap_s, options.max_p99_ms, options.max_dropped)
    checks = judge(data, limits)
    judged = [{"name": each.name, "passed": each.passed, "found": each.found} for each in checks]
    save("soak", as_text(data, checks), {"verdict": verdict(checks), "checks": judged, **data})
    if data["samples"]:
        draw(data, OUT / "soak.png")
    print(verdict(checks))
    sys.exit(any(check.passed is False for check in checks))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run = parser.add_argument_group("what is run")
    run.add_argument("--minutes", type=float, help="default 60")
    run.add_argument("--quick", action="store_true", help="one minute, a lesson every ten seconds")
    run.add_argument("--side", type=int, default=640, help="of the camera's picture, pixels")
    run.add_argument("--fps", type=int, default=25)
    run.add_argument("--encoder", type=Path, help="a bundle; default dinov2_s at 224 with a frame graph")
    run.add_argument("--engine", default="auto", help="onnxruntime, openvino, ...; default the fastest here")
    run.add_argument("--precision", choices=get_args(Precision), default="fp32")
    run.add_argument("--threads", type=int, help="of the engine")
    run.add_argument("--recipe", default="anomalydino-informed")
    run.add_argument("--lesson-every", type=float, help="seconds between two lessons; 0: none; default 60")
    run.add_argument("--no-view", action="store_true", help="nobody has the page open, nobody teaches")
    limits = parser.add_argument_group("what is allowed")
    limits.add_argument("--max-growth-mb", type=float, default=Limits.growth_mb, help="default %(default)s")
    limits.add_argument("--max-gap-s", type=float, default=Limits.gap_s, help="default %(default)s")
    limits.add_argument("--max-p99-ms", type=float, help="default: none, it depends on the machine")
    limits.add_argument("--max-dropped", type=float, help="share of the frames, 0 to 1; default: none")
    return parser.parse_args()


if __name__ == "__main__":
    main()
