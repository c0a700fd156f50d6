"""A page that looks at the live view, as a process that is told when: for :mod:`benchmarks.view`.

It asks for a picture once it has the last one, as the page does, and throws away what it gets. It draws
nothing, so what a browser costs where it runs is not in here: as a rule that is another machine.

    python -m benchmarks.view_page http://127.0.0.1:8675        # then lines on stdin: look, leave
"""

from __future__ import annotations

import sys
import threading

from websockets.sync.client import connect

_FIRST_PICTURE_S = 30.0


class Looking:
    """A page that is open until :meth:`close`.

    Args:
        address: Of its WebSocket.

    Raises:
        RuntimeError: There was no picture in time.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._first, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        if not self._first.wait(_FIRST_PICTURE_S):
            raise RuntimeError(f"no picture within {_FIRST_PICTURE_S:g} s")

    def _look(self) -> None:
        with connect(self._address, max_size=None) as socket:
            while not self._over.is_set():
                socket.send('{"do": "ready"}')
                while not self._over.is_set() and not isinstance(socket.recv(), bytes):
                    pass
                self._first.set()

    def close(self) -> None:
        """Leave, after the message that is on its way."""
        self._over.set()
        self._thread.join()


def main() -> None:
    """Do as told, and say when it is done."""
    address = f"{sys.argv[1].rstrip('/').replace('http', 'ws', 1)}/live"
    page: Looking | None = None
    for line in sys.stdin:
        if line.strip() == "look" and page is None:
            page = Looking(address)
        elif line.strip() == "leave" and page is not None:
            page.close()
            page = None
        print("done", flush=True)


if __name__ == "__main__":
    main()
