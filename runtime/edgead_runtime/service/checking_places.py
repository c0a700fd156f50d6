"""Whether what a loop would open can be had here: ports, folders, the outbox, brokers. Nothing is changed."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from edgead_runtime.errors import ConfigError, EdgeadError, OutputError
from edgead_runtime.streaming.lesson_journal import JOURNAL_NAME, Entry, check_journal
from edgead_runtime.streaming.listening import listening_socket
from edgead_runtime.streaming.mqtt_client import Broker, connect, disconnect, make_client
from edgead_runtime.streaming.outbox_file import VERSION

if sys.platform != "win32":
    import fcntl

_SQLITE = b"SQLite format 3\0"
_VERSION_AT = 60
# https://www.sqlite.org/fileformat2.html#the_lock_byte_page: whoever reads has a lock here.
_LOCK_BYTES = (510, 0x4000_0002)


def check_port(what: str, host: str, port: int, stack: ExitStack) -> socket.socket:
    """Listen there until ``stack`` ends, so that a second one who wants the same port is found too.

    Raises:
        ConfigError: The port is taken, or the host is none of this machine's.
    """
    return stack.enter_context(closing(listening_socket(what, host, port)))


def check_writable(folder: Path) -> None:
    """Whether a folder is there and can be written to, or could be made.

    Raises:
        OutputError: Neither.
    """
    for each in (folder, *folder.parents):
        if each.is_dir():
            if not os.access(each, os.W_OK | os.X_OK):
                raise OutputError(f"{each} cannot be written to", "Choose another folder, or give the right.")
            return
        if os.path.lexists(each):
            raise OutputError(f"{each} is no folder", "Choose another one.")


def check_file(path: Path) -> None:
    """Whether a file can be written, or made.

    Raises:
        OutputError: It cannot.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder", "Give the name of a file.")
    check_writable(path.parent)
    if path.exists() and not os.access(path, os.W_OK):
        raise OutputError(f"{path} cannot be written to", "Choose another file, or give the right.")


def check_outbox(path: Path) -> str:
    """Whether an outbox can be used.

    Opening it with SQLite would leave files beside it, so its first bytes and its lock are looked at.

    Returns:
        What a person should know: that it is damaged and would be set aside; else nothing.

    Raises:
        OutputError: It cannot be written.
        ConfigError: Another process uses it, or a newer edgead wrote it.
    """
    check_file(path)
    if not path.exists():
        return ""
    try:
        with path.open("rb") as file:
            head = file.read(_VERSION_AT + 4)
            if sys.platform != "win32":
                try:
                    fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, *_LOCK_BYTES)
                except BlockingIOError as error:
                    raise ConfigError(
                        f"the outbox {path} is in use by another process",
                        "Stop that, or give each its own outbox.",
                    ) from error
    except OSError as error:
        raise OutputError(f"cannot read the outbox {path}: {error.strerror}", "Choose another.") from error
    if not head:
        return ""
    if not head.startswith(_SQLITE):
        return "it is damaged, and would be set aside"
    if int.from_bytes(head[_VERSION_AT:], "big") > VERSION:
        raise ConfigError(f"the outbox {path} was written by a newer edgead", "Give another file.")
    return ""


def check_lessons(folder: Path, camera: str) -> list[Entry]:
    """Whether the journal of a camera can be used.

    Returns:
        Its lessons that count.

    Raises:
        LearningError: It is damaged, or another process uses it.
        OutputError: It cannot be written.
    """
    path = folder / camera / JOURNAL_NAME
    check_file(path)
    entries = check_journal(path) if path.exists() else []
    undone = {entry.undoes for entry in entries}
    return [entry for entry in entries if entry.kind != "undo" and entry.id not in undone]


def check_broker(broker: Broker) -> None:
    """Whether a broker lets us in; nothing is said there.

    Raises:
        SinkError: It does not answer, or refuses.
        ConfigError: paho-mqtt is not installed.
    """
    client = make_client(broker)
    connect(client, broker, lambda: None)
    disconnect(client)


def problem_of(check: Callable[[], object]) -> EdgeadError | None:
    """What a check finds wrong; ``None`` where it finds nothing."""
    try:
        check()
    except EdgeadError as error:
        return error
    return None
