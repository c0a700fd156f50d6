"""The outbox's SQLite file: its tables, and how it is opened, also when it was damaged."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from edgead_runtime.errors import ConfigError, OutputError
from edgead_runtime.streaming.stored import StoredMessage

log = logging.getLogger("edgead.outbox")

VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY, kind TEXT, camera TEXT, key TEXT, state TEXT, at TEXT, body TEXT,
    size INTEGER);
CREATE TABLE IF NOT EXISTS attachments (
    number INTEGER, name TEXT, data BLOB, PRIMARY KEY (number, name));
CREATE TABLE IF NOT EXISTS cursors (
    sink TEXT PRIMARY KEY, number INTEGER, messages INTEGER, updates INTEGER, pictures INTEGER);
CREATE INDEX IF NOT EXISTS sizes ON messages (state, number, size);
CREATE TABLE IF NOT EXISTS still_open (
    key TEXT PRIMARY KEY, kind TEXT, camera TEXT, body TEXT);
"""


def open_database(path: Path | None) -> sqlite3.Connection:
    """Open the file, or make it. A damaged one is set aside and a new one begun.

    Args:
        path: The file; ``None``: in memory.

    Raises:
        ConfigError: Another process uses it, or a newer edgead wrote it.
        OutputError: It cannot be made.
    """
    try:
        return _opened(path)
    except sqlite3.DatabaseError as error:
        if path is None or isinstance(error, sqlite3.OperationalError):
            if "locked" in str(error):
                raise ConfigError(
                    f"the outbox {path} is in use by another process",
                    "Stop that, or give each its own outbox.",
                ) from error
            raise OutputError(f"cannot open the outbox {path}: {error}", "Choose another place.") from error
        aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
        path.replace(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        log.error("the outbox %s is damaged (%s); it is kept as %s and a new one begun", path, error, aside)  # noqa: TRY400
        return _opened(path)


def _opened(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot make {path.parent}: {error.strerror}", "Choose another place."
            ) from error
    database = sqlite3.connect(str(path) if path else ":memory:", timeout=1.0, check_same_thread=False)
    try:
        # Exclusive: two loops on one outbox would deliver each other's messages twice.
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise ConfigError(f"the outbox {path} was written by a newer edgead", "Give another file.")
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        database.executescript(_SCHEMA)
        database.execute(f"PRAGMA user_version = {VERSION}")
        with database:
            database.execute("UPDATE cursors SET number = number")  # takes the lock now, not later
    except BaseException:
        database.close()
        raise
    return database


@contextlib.contextmanager
def committed(database: sqlite3.Connection, *, synced: bool) -> Iterator[None]:
    """A transaction; with ``synced`` it is on the medium when this ends, otherwise with the kernel."""
    database.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
    with database:
        yield


def insert(database: sqlite3.Connection, message: StoredMessage) -> None:
    """Write a message, and with it what is open."""
    body = json.dumps(dict(message.body), ensure_ascii=False)
    database.execute(
        "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            message.number,
            message.kind,
            message.camera,
            message.key,
            message.state,
            message.at,
            body,
            message.size,
        ),
    )
    database.executemany(
        "INSERT INTO attachments VALUES (?, ?, ?)",
        [(message.number, name, data) for name, data in message.attachments.items()],
    )
    remember_state(database, message)


def remember_state(database: sqlite3.Connection, message: StoredMessage) -> None:
    """Remember what is open until it closes."""
    body = json.dumps(dict(message.body), ensure_ascii=False)
    if message.state == "closed":
        database.execute("DELETE FROM still_open WHERE key = ?", (message.key,))
    else:
        database.execute(
            "INSERT OR REPLACE INTO still_open VALUES (?, ?, ?, ?)",
            (message.key, message.kind, message.camera, body),
        )


def is_open(database: sqlite3.Connection, key: str) -> bool:
    """Whether the file has it as opened and not closed."""
    return database.execute("SELECT 1 FROM still_open WHERE key = ?", (key,)).fetchone() is not None


def select(database: sqlite3.Connection, after: int, limit: int) -> list[StoredMessage]:
    """Messages beyond a number, in order, with their attachments."""
    rows = database.execute(
        "SELECT number, kind, camera, key, state, at, body FROM messages WHERE number > ? "
        "ORDER BY number LIMIT ?",
        (after, limit),
    ).fetchall()
    messages = []
    for number, kind, camera, key, state, at, body in rows:
        attachments = database.execute("SELECT name, data FROM attachments WHERE number = ?", (number,))
        messages.append(
            StoredMessage(kind, camera, key, state, at, json.loads(body), dict(attachments), number)
        )
    return messages


def delete(database: sqlite3.Connection, up_to: int) -> None:
    """Forget messages up to a number."""
    database.execute("DELETE FROM messages WHERE number <= ?", (up_to,))
    database.execute("DELETE FROM attachments WHERE number <= ?", (up_to,))
