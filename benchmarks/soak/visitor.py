"""Who has the live view open during a soak: a process that looks as a browser does, and teaches.

Started by the soak. It asks for a picture once it has the last one, as the page does. From time to time it
says of a good picture "this is good", of a bad one "this is a defect", and takes that back some seconds
later, so that at the end the detector has to be what it was. When its stdin is closed it takes back what is
left and writes what it saw as one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass, field
from typing import Any

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect

_SURELY_GOOD = 0.7
"""Of the threshold: what scores less is taught, so that no scratch is taught as good."""
_UNTIL_UNDONE_S = 15.0
_PICTURE_TIMEOUT_S = 5.0
_AGAIN_S = 1.0
_REMEMBERED = 20


@dataclass
class Seen:
    """What it saw and did."""

    pictures: int = 0
    states: int = 0
    longest_wait_s: float = 0.0
    """For a picture."""
    connections: int = 0
    taught: int = 0
    kept: int = 0
    undone: int = 0
    slowest_lesson_s: float = 0.0
    problems: list[str] = field(default_factory=list)
    """What went wrong, the first of it."""

    def note(self, problem: str) -> None:
        """Keep a problem."""
        if len(self.problems) < _REMEMBERED:
            self.problems.append(problem)


class Visitor:
    """Looks and teaches until ``over`` is set.

    Args:
        address: ``http://HOST:PORT``.
        lesson_every_s: Seconds between two lessons; 0: never.
        over: Ends it.
    """

    def __init__(self, address: str, lesson_every_s: float, over: threading.Event) -> None:
        self._address, self._every_s, self._over = address.rstrip("/"), lesson_every_s, over
        self.seen = Seen()
        self._lesson_due_s = time.monotonic() + lesson_every_s
        self._open_lesson: tuple[str, dict[str, Any], float] | None = None
        self._next_is_defect = False

    def run(self) -> None:
        """Look, and look again where the connection is lost."""
        while not self._over.is_set():
            try:
                with connect(f"{self._address.replace('http', 'ws', 1)}/live", max_size=None) as socket:
                    self.seen.connections += 1
                    self._look(socket)
            except (OSError, TimeoutError, WebSocketException) as error:
                self.seen.note(f"connection: {type(error).__name__}: {error}")
                self._over.wait(_AGAIN_S)
        self._take_back()

    def _look(self, socket: ClientConnection) -> None:
        while not self._over.is_set():
            socket.send('{"do": "ready"}')
            asked_s = time.monotonic()
            picture: bytes | None = None
            while picture is None and not self._over.is_set():
                got = socket.recv(timeout=_PICTURE_TIMEOUT_S)
                self.seen.states += isinstance(got, str)
                picture = got if isinstance(got, bytes) else None
            if picture is None:
                return
            self.seen.pictures += 1
            self.seen.longest_wait_s = max(self.seen.longest_wait_s, time.monotonic() - asked_s)
            length = int.from_bytes(picture[:4], "big")
            self._maybe_teach(json.loads(picture[4 : 4 + length]))

    # -- lessons ---------------------------------------------------------------------------------------

    def _maybe_teach(self, about: dict[str, Any]) -> None:
        now = time.monotonic()
        if self._open_lesson is not None:
            if now >= self._open_lesson[2]:
                self._take_back()
            return
        if self._every_s <= 0 or now < self._lesson_due_s or not about["inspected"]:
            return
        if self._next_is_defect != about["anomaly"]:
            return  # the next picture may be of the kind that is wanted
        if not self._next_is_defect and about["score"] > _SURELY_GOOD * about["threshold"]:
            return
        what = "defect" if self._next_is_defect else "good"
        frame = {name: about[name] for name in ("camera", "run", "sequence")}
        lesson = self._post(what, frame)
        self._lesson_due_s = now + self._every_s
        self._next_is_defect = not self._next_is_defect
        if lesson is not None:
            self.seen.taught += what == "good"
            self.seen.kept += what == "defect"
            undo = {"camera": about["camera"], "run": about["run"], "lesson": lesson["id"]}
            self._open_lesson = lesson["id"], undo, now + min(_UNTIL_UNDONE_S, self._every_s / 2)

    def _take_back(self) -> None:
        if self._open_lesson is not None:
            self.seen.undone += self._post("undo", self._open_lesson[1]) is not None
            self._open_lesson = None

    def _post(self, what: str, body: dict[str, Any]) -> dict[str, Any] | None:
        request = urllib.request.Request(
            f"{self._address}/api/{what}",
            json.dumps({**body, "who": "soak"}).encode(),
            {"Content-Type": "application/json"},
        )
        began_s = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                said: dict[str, Any] = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            self.seen.note(f"{what}: {error.code} {error.read().decode(errors='replace')}")
            return None
        except OSError as error:
            self.seen.note(f"{what}: {error}")
            return None
        self.seen.slowest_lesson_s = max(self.seen.slowest_lesson_s, time.monotonic() - began_s)
        return said


def main() -> None:
    """Look until stdin is closed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("address")
    parser.add_argument("--lesson-every", type=float, default=60.0, help="seconds; 0: never")
    given = parser.parse_args()
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    visitor = Visitor(given.address, given.lesson_every, over)
    visitor.run()
    print(json.dumps(asdict(visitor.seen)), flush=True)


if __name__ == "__main__":
    main()
