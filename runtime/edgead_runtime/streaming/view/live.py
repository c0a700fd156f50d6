"""The live view as a listener of the loop: a web server in a thread of its own."""

from __future__ import annotations

import contextlib
import secrets
import socket
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import quote

from edgead_runtime.errors import ConfigError
from edgead_runtime.streaming.listening import listening_socket
from edgead_runtime.streaming.messages import Message
from edgead_runtime.streaming.results import StreamResult
from edgead_runtime.streaming.teaching import Teacher
from edgead_runtime.streaming.thresholds import Thresholds
from edgead_runtime.streaming.view.addresses import is_loopback
from edgead_runtime.streaming.view.panel import Panel

if TYPE_CHECKING:
    from edgead_runtime.streaming.loop import Stream
    from edgead_runtime.streaming.view.serving import Serving

DEFAULT_PORT = 8675
_NEEDED = ("starlette", "uvicorn", "websockets")
_SHORTEST_TOKEN = 16
_EVERYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  (as it is written, to recognize it)


class LiveView:
    """A page with the live picture, its heat map and boxes, the score over time, events and buttons.

    A listener of the stream and a context manager around it; :meth:`watch` tells it of the stream. What it
    does for a frame in the loop's thread is to remember it: pictures are made in a thread of the view's, and
    only while somebody looks.

    Args:
        host: To listen on. On anything but this machine a token is needed to come in.
        port: 0: any that is free; see :attr:`url`.
        token: At least 16 characters; ``None``: made where one is needed, and part of
            :attr:`url`.
        teacher: Takes what the buttons "good" and "defect" say; ``None``: there are none.
        thresholds: Moves thresholds; ``None``: they are shown and cannot be moved.
        max_fps: Pictures a second at most, of each camera.
        max_side_px: Longest side of a picture in pixels.

    Raises:
        ConfigError: The token is too short, a number is out of range, or a package is not installed. On
            entering: the port is in use.

    Example:
        >>> with LiveView(port=8675, thresholds=DetectorThresholds(cameras)) as view:  # doctest: +SKIP
        ...     loop = Stream(cameras, listeners=[view])
        ...     view.watch(loop)
        ...     for result in loop: ...
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        *,
        token: str | None = None,
        teacher: Teacher | None = None,
        thresholds: Thresholds | None = None,
        max_fps: float = 10.0,
        max_side_px: int = 960,
    ) -> None:
        require_packages()
        if token is not None and len(token) < _SHORTEST_TOKEN:
            raise ConfigError(
                f"the token of the live view has {len(token)} characters",
                f"Give {_SHORTEST_TOKEN} or more, or none: then one is made.",
            )
        if not (max_fps > 0 and max_side_px > 0):
            raise ConfigError(
                f"the live view's max_fps is {max_fps} and max_side_px {max_side_px}",
                "Give numbers above 0.",
            )
        self._made_token = token is None
        self._token = secrets.token_urlsafe(16) if token is None and not is_loopback(host) else token
        self._host, self._port = host, port
        self._max_fps, self._max_side_px = max_fps, max_side_px
        self._panel = Panel(teacher, thresholds)
        self._serving: Serving | None = None

    def watch(self, stream: Stream) -> None:
        """Show the cameras and counts of this stream.

        Another stream than before is another run: pages load themselves again, and nothing that they say of
        an earlier frame is taken.
        """
        self._panel.watch(stream)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def url(self) -> str:
        """What to open, with the token where one was made here. One that was given is not told."""
        host = _reachable_name() if self._host in _EVERYWHERE else self._host
        shown = f"[{host}]" if ":" in host else host
        token = f"?token={quote(self._token)}" if self._token is not None and self._made_token else ""
        return f"http://{shown}:{self.port}/{token}"

    @property
    def run(self) -> str:
        """Of the stream that is watched: what changes something has to name it, and another is refused."""
        return self._panel.run

    @property
    def pictures_made(self) -> int:
        """How many pictures were made for browsers; none while nobody looks."""
        return 0 if self._serving is None else self._serving.pictures_made

    def on_result(self, result: StreamResult) -> None:
        """A frame went through."""
        self._panel.on_result(result)

    def on_message(self, message: Message) -> None:
        """An event or a trouble changed."""
        self._panel.on_message(message)

    # -- life ------------------------------------------------------------------------------------------

    def __enter__(self) -> LiveView:
        listening = listening_socket("the live view", self._host, self._port)
        self._port = int(listening.getsockname()[1])
        from edgead_runtime.streaming.view.serving import Serving

        self._serving = Serving(
            self._panel,
            listening,
            host=self._host,
            token=self._token,
            max_fps=self._max_fps,
            max_side_px=self._max_side_px,
        )
        self._serving.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._serving is not None:
            self._serving.end()


def require_packages() -> None:
    """Look whether what the live view needs is installed.

    Raises:
        ConfigError: It is not.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the live view needs {', '.join(missing)}, not installed here",
            'Install it: pip install "edgead-runtime[view]".',
        )


def _reachable_name() -> str:
    """This machine's address in its network, as far as it knows it."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # nothing is sent; an address for documentation, RFC 5737
        return str(probe.getsockname()[0])
    return socket.gethostname()
