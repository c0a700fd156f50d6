"""Messages that wait on disk until every sink has them.

A message is committed with an fsync, so that neither ``kill -9`` nor a power cut takes it back. Each sink has
a cursor: the number of the last message it took. Cursors are written without an fsync: after a power cut a
sink may get some messages again, never fewer.

Where the disk cannot be written, messages wait in memory and still reach the sinks; then they do not survive
the process, and ``disk_problem`` says so.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgead_runtime.errors import OutputError
from edgead_runtime.streaming.outbox_file import (
    committed,
    delete,
    insert,
    is_open,
    open_database,
    remember_state,
    select,
)
from edgead_runtime.streaming.stored import Loss, StoredMessage

log = logging.getLogger("edgead.outbox")

_ROOM_MADE = 0.9
"""Share of the quota that is left after making room, so that it is not made for each message."""
_MEMORY_SHARE = 0.1
"""Share of the quota that may wait in memory while the disk does not work."""


class Outbox:
    """See the module. Safe from any thread.

    Args:
        path: The file; ``None``: in memory, for this process alone.
        sinks: Names of those who shall get every message from now on. One that was known before gets what it
            has not had; one that is no longer named is forgotten.
        max_bytes: Quota for what waits. Beyond it go, oldest first: updates, then pictures, then messages.
            Each
            is counted, and a sink is told of what it lost before it gets the next message.

    Raises:
        ConfigError: Another process uses the file.
        OutputError: It cannot be made.
    """

    def __init__(self, path: Path | None, sinks: Sequence[str], max_bytes: int = 200_000_000) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.RLock()
        self.changed = threading.Condition(self._lock)
        """Notified when there is something new to deliver."""
        self.disk_problem = ""
        """Why messages wait in memory only; empty while the disk works."""
        self._unsaved: dict[int, StoredMessage] = {}
        self._untold: dict[str, StoredMessage] = {}
        """By key: what went from memory alone, and opened or closed something that the disk is to know of."""
        self._database = open_database(path)
        self._cursors: dict[str, int] = {}
        self._losses: dict[str, Loss] = {}
        try:
            self._load(sinks)
        except sqlite3.Error as error:
            self._database.close()
            raise OutputError(f"cannot write the outbox {path}: {error}", "Free some space.") from error

    def _load(self, sinks: Sequence[str]) -> None:
        rows = self._database.execute("SELECT sink, number, messages, updates, pictures FROM cursors")
        known = {sink: (number, Loss(*lost)) for sink, number, *lost in rows}
        last = self._count("SELECT coalesce(max(number), 0) FROM messages")
        self._next = 1 + max([last, *(number for number, _ in known.values())])
        for gone in set(known) - set(sinks):
            log.warning("the outbox forgets the sink %s, which is no longer configured", gone)
        for sink in sinks:
            self._cursors[sink], self._losses[sink] = known.get(sink, (self._next - 1, Loss()))
        with committed(self._database, synced=True):
            self._database.execute("DELETE FROM cursors")
            self._write_cursors()
            delete(self._database, self._delivered_to_all())

    def _count(self, query: str) -> int:
        (value,) = self._database.execute(query).fetchone()
        return int(value)

    def _stored_size(self) -> int:
        return self._count("SELECT coalesce(sum(size), 0) FROM messages")

    def _delivered_to_all(self) -> int:
        return min(self._cursors.values(), default=self._next - 1)

    # -- in --------------------------------------------------------------------------------------------

    def add(self, messages: Sequence[StoredMessage]) -> None:
        """Take in messages; when this returns they are on the disk, or ``disk_problem`` says why not."""
        with self._lock:
            for message in messages:
                self._unsaved[self._next] = replace(message, number=self._next)
                self._next += 1
            self.save()
            self.changed.notify_all()

    def save(self) -> bool:
        """Bring to the disk what waits in memory; false if the disk will not have it."""
        with self._lock:
            if not self._unsaved and not self._untold:
                return True
            before = {sink: replace(loss) for sink, loss in self._losses.items()}
            try:
                with committed(self._database, synced=True):
                    for message in self._untold.values():
                        remember_state(self._database, message)
                    for message in self._unsaved.values():
                        insert(self._database, message)
                    self._keep_to_quota()
            except sqlite3.Error as error:
                self._losses = before  # what was to make room is still there
                if not self.disk_problem:
                    log.error("the outbox cannot be written (%s): messages wait in memory", error)  # noqa: TRY400
                self.disk_problem = str(error)
                self._keep_memory_to_quota()
                return False
            if self.disk_problem:
                log.warning("the outbox can be written again")
            self.disk_problem = ""
            self._unsaved.clear()
            self._untold.clear()
            return True

    def unfinished(self) -> list[StoredMessage]:
        """What was opened and never closed, by this process or one that was killed, as last told."""
        with self._lock:
            rows = self._database.execute("SELECT kind, camera, key, body FROM still_open ORDER BY rowid")
            return [
                StoredMessage(kind, camera, key, "", "", json.loads(body)) for kind, camera, key, body in rows
            ]

    # -- out -------------------------------------------------------------------------------------------

    def next_for(self, sink: str, limit: int = 20) -> list[StoredMessage]:
        """What a sink has to get next, in order; at most ``limit``."""
        with self._lock:
            after = self._cursors[sink]
            stored = select(self._database, after, limit)
            waiting = [message for number, message in self._unsaved.items() if number > after]
            return (stored + waiting)[:limit]

    def took(self, sink: str, number: int) -> None:
        """A sink has all up to a number."""
        with self._lock:
            self._cursors[sink] = max(number, self._cursors[sink])
            done = self._delivered_to_all()
            for each in [each for each in self._unsaved if each <= done]:
                self._keep_state(self._unsaved.pop(each))
            self._remember_cursors(done)

    def _keep_state(self, message: StoredMessage) -> None:
        """Of a message that will not be on the disk any more.

        Or a crash after that would leave open what was told to be, or close again what was closed.
        """
        self._untold[message.key] = replace(message, attachments={})
        if message.state == "closed" and not is_open(self._database, message.key):
            del self._untold[message.key]

    def lost(self, sink: str) -> Loss:
        """What a sink will never get and was not told of yet."""
        with self._lock:
            return replace(self._losses[sink])

    def told(self, sink: str, loss: Loss) -> None:
        """A sink knows of a loss."""
        with self._lock:
            self._losses[sink] = self._losses[sink].minus(loss)
            self._remember_cursors(self._delivered_to_all())

    def waiting(self) -> dict[str, int]:
        """How many messages each sink has still to get."""
        with self._lock:
            numbers = [number for (number,) in self._database.execute("SELECT number FROM messages")]
            numbers += self._unsaved
            return {
                sink: sum(number > cursor for number in numbers) for sink, cursor in self._cursors.items()
            }

    def close(self) -> None:
        """Save what can be saved and close the file."""
        with self._lock:
            self.save()
            self._remember_cursors(self._delivered_to_all())
            self._database.close()

    def _remember_cursors(self, done: int) -> None:
        try:
            with committed(self._database, synced=False):
                self._write_cursors()
                delete(self._database, done)
        except sqlite3.Error as error:
            # They are right in memory; at worst a sink gets something again after a restart.
            log.debug("cursors could not be written: %s", error)

    def _write_cursors(self) -> None:
        self._database.executemany(
            "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?, ?)",
            [
                (sink, number, loss.messages, loss.updates, loss.pictures)
                for (sink, number), loss in zip(self._cursors.items(), self._losses.values(), strict=True)
            ],
        )

    # -- too much --------------------------------------------------------------------------------------

    def _keep_to_quota(self) -> None:
        """Make room in the file. Within a transaction."""
        size = self._stored_size()
        if size <= self._max_bytes:
            return
        delete(self._database, self._delivered_to_all())
        target = self._max_bytes * _ROOM_MADE
        stages = (
            ("updates", "SELECT number, size FROM messages WHERE state = 'updated' ORDER BY number"),
            (
                "pictures",
                "SELECT number, sum(length(data)) FROM attachments GROUP BY number ORDER BY number",
            ),
            ("messages", "SELECT number, size FROM messages ORDER BY number"),
        )
        size = self._stored_size()
        for what, query in stages:
            for number, freed in self._database.execute(query).fetchall():
                if size <= target:
                    break
                self._database.execute("DELETE FROM attachments WHERE number = ?", (number,))
                if what == "pictures":
                    self._database.execute(
                        "UPDATE messages SET size = size - ? WHERE number = ?", (freed, number)
                    )
                else:
                    self._database.execute("DELETE FROM messages WHERE number = ?", (number,))
                size -= freed
                self._count_loss(number, what)
        self._write_cursors()

    def _keep_memory_to_quota(self) -> None:
        size = sum(message.size for message in self._unsaved.values())
        limit = self._max_bytes * _MEMORY_SHARE
        by_worth = sorted(self._unsaved.values(), key=lambda each: (each.state != "updated", each.number))
        for message in by_worth:
            if size <= limit:
                return
            size -= message.size
            del self._unsaved[message.number]
            if message.state != "closed":  # whoever missed that one is told by the next process
                self._keep_state(message)
            self._count_loss(message.number, "updates" if message.state == "updated" else "messages")

    def _count_loss(self, number: int, what: str) -> None:
        for sink, cursor in self._cursors.items():
            if cursor < number:
                loss = self._losses[sink]
                setattr(loss, what, getattr(loss, what) + 1)
