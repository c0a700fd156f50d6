import errno

import pytest
from edgead_runtime import EdgeadError

from edgead.cli.failures import InterruptedByUserError, OutputClosedError, report_failure


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (EdgeadError("the lamp is off", "Switch it on."), 2, "edgead: the lamp is off. Switch it on."),
        (EdgeadError("a\nb.", "Do\nthis."), 2, "edgead: a b. Do this."),
        (InterruptedByUserError(), 130, "edgead: interrupted; nothing half-written"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), 2, "disk is full"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x/y"),
            2,
            "Choose a place that you may write to",
        ),
        (MemoryError(), 2, "the memory is full"),
        (ZeroDivisionError("division by zero"), 70, "EDGEAD_DEBUG=1 and report"),
    ],
)
def test_a_failure_is_one_line_and_a_code(error, code, line, capsys):
    assert report_failure(error) == code
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.count("\n") == 1
    assert line in written.err


def test_a_closed_pipe_is_silent(capsys):
    assert report_failure(OutputClosedError()) == 141
    assert capsys.readouterr().err == ""


def test_a_traceback_on_request(monkeypatch, capsys):
    monkeypatch.setenv("EDGEAD_DEBUG", "1")
    report_failure(ZeroDivisionError("division by zero"))
    assert "ZeroDivisionError" in capsys.readouterr().err.splitlines()[0]
