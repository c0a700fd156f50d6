"""Log lines: for a person, or as JSON for a collector."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from datetime import datetime, timezone

import cv2

_FFMPEG_LEVEL, _OPENCV_LEVEL = "OPENCV_FFMPEG_LOGLEVEL", "OPENCV_LOG_LEVEL"
_QUIET = "-8"  # AV_LOG_QUIET


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "at": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


class _LineFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the base class's name)
        # The name of a file may hold a line break, and so a line that nobody logged.
        line = super().formatMessage(record)
        return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in line)


@contextlib.contextmanager
def logging_to_stderr(*, as_json: bool, level: str) -> Iterator[None]:
    """Send edgead's log to stderr, until this ends; with what libraries warn of, in the same form.

    Args:
        as_json: One JSON object a line.
        level: ``debug``, ``info``, ``warning`` or ``error``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if as_json else _LineFormatter())
    logger, root = logging.getLogger("edgead"), logging.getLogger()
    before = logger.handlers[:], logger.propagate, logger.level
    hook = threading.excepthook
    logger.handlers[:], logger.propagate = [handler], False
    logger.setLevel(level.upper())
    ours = not root.handlers  # else somebody takes care of it
    if ours:
        root.addHandler(handler)
        logging.captureWarnings(capture=True)
    threading.excepthook = _log_thread
    try:
        with _opencv_silent() if as_json else contextlib.nullcontext():
            yield
    finally:
        threading.excepthook = hook
        if ours:
            logging.captureWarnings(capture=False)
            root.removeHandler(handler)
        logger.handlers[:], logger.propagate = before[:2]
        logger.setLevel(before[2])


@contextlib.contextmanager
def _opencv_silent() -> Iterator[None]:
    """Its lines, and those of its FFmpeg, would be no JSON; of a camera that is lost we tell ourselves.

    Whoever wants them sets the variables of the environment that are there for that.
    """
    ours = _FFMPEG_LEVEL not in os.environ
    os.environ.setdefault(_FFMPEG_LEVEL, _QUIET)  # read when it first opens a stream
    level = cv2.utils.logging.getLogLevel()
    if _OPENCV_LEVEL not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
        if ours:
            os.environ.pop(_FFMPEG_LEVEL, None)


def _log_thread(found: threading.ExceptHookArgs) -> None:
    """A thread that ended by an error of ours: a line like any other, and no bare traceback."""
    name = "" if found.thread is None else found.thread.name
    error = found.exc_value
    logging.getLogger("edgead.run").error("the thread %s ended: %s", name, error, exc_info=error)
