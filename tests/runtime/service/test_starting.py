"""What is said of a start that takes its time."""

import logging
import threading
import time

import pytest
from edgead_runtime.service import starting as module
from edgead_runtime.service.starting import Starting


@pytest.fixture
def told(caplog, monkeypatch):
    monkeypatch.setattr(module, "_SLOW_AFTER_S", 0.05)
    caplog.set_level(logging.INFO, "edgead.run")
    return lambda: [record.message for record in caplog.records]


def test_a_slow_step_is_said_while_it_lasts(told):
    Starting(threading.Event(), [])("left: loading part.edgead")
    until = time.monotonic() + 10
    while not told() and time.monotonic() < until:
        time.sleep(0.01)
    assert told() == ["starting: left: loading part.edgead"]


def test_a_quick_start_says_nothing(told):
    starting = Starting(threading.Event(), [])
    starting("left: loading part.edgead")
    starting.over()
    time.sleep(0.2)
    assert told() == []
