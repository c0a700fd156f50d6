"""What the live view, the watch over drift and a lesson cost the loop they are beside.

    python -m benchmarks.view                 # dinov2_s at 448; about ten minutes on two cores
    python -m benchmarks.view --docs          # and write the table into docs/loop.md
    python -m benchmarks.view --quick         # a few frames at 224: whether everything runs

One loop inspects real pictures as fast as it can, with sensor noise; what listens to it takes turns, a few
frames each, in an order that changes from turn to turn. So a slow minute of the machine hits all of them, and
what counts are the ratios to the loop alone. The ways:

- ``view``: the page is served and nobody has it open; then one page, then three, each a process of its own
  (see view_page: a browser on the same machine would take more).
- ``drift``: the watch over drift with its defaults.
- ``teaching``: frames that are inspected while another thread teaches a good part, as a button on the page
  does. The part is taken back between the turns.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from edgead_runtime import Detector, Encoder, Picture
from edgead_runtime.files import write_atomic
from edgead_runtime.images import Frame
from edgead_runtime.streaming import Camera, Drift, LineLearning, Listener, Message, Stream, StreamResult
from edgead_runtime.streaming.sources import Frames
from edgead_runtime.streaming.view import LiveView

from benchmarks.common import encoder_bundle, machine, real_frames, save, table
from benchmarks.documents import fill
from benchmarks.drift import noisy
from benchmarks.undisturbed import least_disturbed
from edgead.jobs.bench.statistics import paired_ratio

PAGE = Path(__file__).parent.parent / "docs" / "loop.md"
MARK = "view"
_ROOT = Path(__file__).parent.parent
_CAMERA = "camera"
_ALONE, _TEACHING = "the loop alone", "while a good part is taught"
_VIEW_PAGES = {"live view, no page open": 0, "live view, one page": 1, "live view, three pages": 3}
_DRIFT = "drift watched"
_SETTLING = 2
"""Frames of a turn that do not count: pages come and go, caches change hands."""
_SHOTS = 4


class Switch:
    """A listener that passes on to whoever's turn it is."""

    def __init__(self) -> None:
        self.to: tuple[Listener, ...] = ()

    def on_result(self, result: StreamResult) -> None:
        """A frame went through."""
        for listener in self.to:
            listener.on_result(result)

    def on_message(self, message: Message) -> None:
        """Something changed."""
        for listener in self.to:
            listener.on_message(message)


class Page:
    """One that can be opened and closed, see :mod:`benchmarks.view_page`."""

    def __init__(self, address: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.view_page", address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        )
        self.is_open = False

    def ask(self, *, is_open: bool) -> None:
        """Begin to open or close it."""
        assert self._process.stdin is not None
        self._process.stdin.write("look\n" if is_open else "leave\n")
        self._process.stdin.flush()
        self.is_open = is_open

    def wait(self) -> None:
        """Until that is done."""
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "done\n":
            raise RuntimeError("a page ended")

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


@dataclass
class Bench:
    """The loop, and what takes turns beside it."""

    results: Iterator[StreamResult]
    switch: Switch
    view: LiveView
    pages: Sequence[Page]
    drift: Drift
    teacher: LineLearning
    lessons: Iterator[Frame]
    lessons_s: list[float] = field(default_factory=list)

    def frame_ms(self) -> float:
        """Inspect one frame; from one result to the next, listeners included."""
        began = time.perf_counter()
        next(self.results)
        return (time.perf_counter() - began) * 1e3

    def turn(self, way: str, frames: int) -> list[float]:
        """Milliseconds of each frame of a turn."""
        wanted = _VIEW_PAGES.get(way, 0)
        self.switch.to = (self.view,) if way in _VIEW_PAGES else (self.drift,) if way == _DRIFT else ()
        self._open(wanted)
        for _ in range(_SETTLING):
            self.frame_ms()
        return self._taught() if way == _TEACHING else [self.frame_ms() for _ in range(frames)]

    def _open(self, wanted: int) -> None:
        """So many pages, while the loop goes on: a page is open once it has a picture."""
        changed = [page for number, page in enumerate(self.pages) if page.is_open != (number < wanted)]
        for page in changed:
            page.ask(is_open=not page.is_open)
        waiting = threading.Thread(target=lambda: [page.wait() for page in changed], daemon=True)
        waiting.start()
        while waiting.is_alive():
            self.frame_ms()

    def _taught(self) -> list[float]:
        """The frames that a lesson lasts, at least one."""
        picture = Picture("taught.png", next(self.lessons))
        ids: list[str] = []

        def teach() -> None:
            began = time.perf_counter()
            ids.append(self.teacher.add_good(_CAMERA, picture, "benchmark").id)
            self.lessons_s.append(time.perf_counter() - began)

        teaching = threading.Thread(target=teach)
        teaching.start()
        times = [self.frame_ms()]
        while teaching.is_alive():
            times.append(self.frame_ms())
        teaching.join()
        if not ids:
            raise RuntimeError("a lesson was refused; see above")
        self.teacher.undo(_CAMERA, ids[0], "benchmark")
        return times


def opened(bundle: Path, side: int, stack: ExitStack) -> Bench:
    """Enrol, and start the loop.

    Args:
        bundle: The encoder's.
        side: Of the frames, pixels.
        stack: Closes all.
    """
    random = np.random.default_rng(0)
    pictures = real_frames(side, _SHOTS + 8)
    encoder = stack.enter_context(Encoder.load(bundle))
    good = [noisy(picture, random) for picture in pictures[:_SHOTS]]
    detector = stack.enter_context(Detector.enroll(encoder, good, recipe="anomalydino-informed"))
    seen = [noisy(picture, random) for picture in pictures]
    # One camera that gives frames as fast as they are taken: none is dropped, so each one's time counts.
    camera = Camera(_CAMERA, detector, Frames(itertools.cycle(seen)))
    switch = Switch()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    teacher = stack.enter_context(LineLearning({_CAMERA: detector}, folder))
    view = stack.enter_context(LiveView(port=0, teacher=teacher))
    stream = stack.enter_context(Stream([camera], listeners=[switch]))
    view.watch(stream)
    pages = []
    for _ in range(max(_VIEW_PAGES.values())):
        pages.append(Page(view.url))
        stack.callback(pages[-1].close)
    lessons = (noisy(pictures[number % len(pictures)], random) for number in itertools.count())
    drift = stack.enter_context(Drift({_CAMERA: detector}))
    return Bench(iter(stream), switch, view, pages, drift, teacher, lessons)


def measure(bench: Bench, turns: int, frames: int) -> dict[str, list[list[float]]]:
    """Milliseconds by way, turn by turn."""
    ways = [_ALONE, *_VIEW_PAGES, _DRIFT, _TEACHING]
    times: dict[str, list[list[float]]] = {way: [] for way in ways}
    bench.turn(_ALONE, frames)  # engines settle
    for turn in range(turns):
        # Whoever comes after the same neighbour every time has its heat every time.
        first = turn % len(ways)
        for way in ways[first:] + ways[:first]:
            _, taken = least_disturbed(lambda way=way: bench.turn(way, frames))  # type: ignore[misc]
            times[way].append(taken)
        print(f"turn {turn + 1} of {turns}", flush=True)
    return times


def report(times: dict[str, list[list[float]]], lessons_s: Sequence[float]) -> str:
    """The table, with ratios to the loop alone."""
    middle = {way: [statistics.median(turn) for turn in turns] for way, turns in times.items()}
    rows = []
    for way, turns in times.items():
        ratio = paired_ratio(middle[way], middle[_ALONE])
        frames = [ms for turn in turns for ms in turn]
        rows.append(
            [
                way,
                f"{statistics.median(frames):.0f}",
                f"{max(frames):.0f}",
                "1" if way == _ALONE else f"{ratio.ratio:.2f} ({ratio.low:.2f} to {ratio.high:.2f})",
            ]
        )
    header = ["", "ms a frame, median", "longest", "times the loop alone (95 %)"]
    longest = max(ms for turn in times[_TEACHING] for ms in turn)
    lesson = (
        f"A lesson takes {statistics.median(lessons_s):.2f} s (median of {len(lessons_s)}), and the longest "
        f"that a frame took meanwhile is {longest:.0f} ms."
    )
    return f"{table(header, rows)}\n\n{lesson}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", type=Path, help="a bundle; default: dinov2_s")
    parser.add_argument("--res", type=int, default=448, help="of the default encoder")
    parser.add_argument("--side", type=int, default=1024, help="of the frames, pixels")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--frames", type=int, default=6, help="of a turn")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/loop.md")
    options = parser.parse_args()
    turns, frames, res = (2, 3, 224) if options.quick else (options.turns, options.frames, options.res)
    bundle = options.encoder or encoder_bundle(res)
    with ExitStack() as stack:
        bench = opened(bundle, options.side, stack)
        times = measure(bench, turns, frames)
    facts = machine()
    title = (
        f"{turns} turns of {frames} frames each, {options.side} x {options.side} px, encoder {bundle.name}, "
        f"on {facts['cores']} cores of {facts['cpu']}."
    )
    text = f"{title}\n\n{report(times, bench.lessons_s)}"
    save("view", text, {"times_ms": times, "lessons_s": bench.lessons_s})
    if options.docs:
        write_atomic(PAGE, fill(PAGE.read_text(encoding="utf-8"), MARK, text).encode())


if __name__ == "__main__":
    main()
