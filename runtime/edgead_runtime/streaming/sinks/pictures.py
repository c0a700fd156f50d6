"""The pictures of events, as files."""

from __future__ import annotations

from pathlib import Path

from edgead_runtime.files import write_atomic
from edgead_runtime.streaming.sinks.base import Sink
from edgead_runtime.streaming.sinks.quota import FolderQuota
from edgead_runtime.streaming.stored import StoredMessage

_OURS = ("*.event.json", "*.picture.jpg", "*.map.png")


class PictureFolder(Sink):
    """Keeps each event: ``FOLDER/CAMERA/DAY/ID.picture.jpg``, ``ID.map.png`` and ``ID.event.json``.

    The files of the opening are replaced by those of the closing, which show the worst frame of all.

    Args:
        folder: Where to.
        max_mb: Quota; the oldest files go first.
    """

    def __init__(self, folder: str | Path, *, max_mb: float = 1000.0) -> None:
        self._folder = Path(folder)
        self.name = f"pictures {self._folder}"
        self.quota = FolderQuota(self._folder, _OURS, int(max_mb * 1e6))

    def send(self, message: StoredMessage) -> None:
        """Write the files of one event; other messages are passed over."""
        if message.kind != "event" or message.state == "updated":
            return
        # The day it opened, so that opening and closing meet in one folder also around midnight.
        day = str(message.body.get("opened_at", message.at))[:10]
        folder = self._folder / message.camera / day
        files = {"event.json": message.as_json().encode() + b"\n", **message.attachments}
        self.quota.make_room(sum(map(len, files.values())))
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_atomic(folder / f"{message.key}.{name}", data)
