"""What systemd is told, over a real socket; and the unit, by systemd's own checks."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from edgead_runtime.errors import ConfigError
from edgead_runtime.images import encode_png
from edgead_runtime.service.systemd import ServiceManager

ROOT = Path(__file__).parents[3]
UNIT = ROOT / "docs" / "deploy" / "edgead@.service"


@pytest.fixture
def manager_socket(tmp_path):
    """As systemd makes it, and what is said into it."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(20)
        yield address, listening


def _heard(listening):
    return listening.recv(4096).decode().split("\n")


def test_ready_fed_and_stopping(manager_socket):
    address, listening = manager_socket
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "150000", "WATCHDOG_PID": str(os.getpid())}
    with ServiceManager(environment) as manager:
        assert manager.watchdog_s == 0.15
        manager.ready(lambda: True, lambda: "all\nwell")
        assert _heard(listening) == ["READY=1", "STATUS=all well"]
        began = time.monotonic()
        assert _heard(listening) == ["WATCHDOG=1", "STATUS=all well"]
        assert _heard(listening)[0] == "WATCHDOG=1"
        assert time.monotonic() - began < 5
    said = []
    while "STOPPING=1" not in said:
        said = _heard(listening)


def test_each_step_of_a_start_gets_its_time_and_what_went_wrong_is_shown(manager_socket):
    address, listening = manager_socket
    manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000"})
    with manager:
        manager.starting("left: learning lessons again, 12 of 200")
        assert _heard(listening) == [
            "EXTEND_TIMEOUT_USEC=900000000",
            "STATUS=left: learning lessons again, 12 of 200",
        ]
        # As an error would end it.
        manager.__exit__(ConfigError, ConfigError("the port is taken", "Choose another."), None)
    assert _heard(listening) == ["STOPPING=1", "STATUS=the port is taken. Choose another."]


def test_a_loop_that_hangs_is_not_fed_and_one_that_turns_again_is(manager_socket, caplog):
    address, listening = manager_socket
    turns = [False]
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000"}
    with ServiceManager(environment) as manager:
        manager.ready(lambda: turns[0], lambda: "")
        assert _heard(listening)[0] == "READY=1"
        for _ in range(3):
            assert _heard(listening) == ["STATUS=the loop's thread does not turn"]
        turns[0] = True
        while _heard(listening)[0] != "WATCHDOG=1":
            pass
    assert "the watchdog is not fed" in caplog.text


def test_an_abstract_socket():
    name = f"edgead-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(10)
        with ServiceManager({"NOTIFY_SOCKET": f"@{name}"}) as manager:
            manager.ready(lambda: True, lambda: "")
            assert _heard(listening)[0] == "READY=1"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "x"},
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "/nowhere/at/all"},
    ],
)
def test_nobody_who_listens_is_no_reason_to_stop(environment):
    with ServiceManager(environment) as manager:
        manager.starting("loading")
        manager.ready(lambda: True, lambda: "")
        assert manager.watchdog_s is None


def test_the_service_itself_tells_systemd(tmp_path, manager_socket, mini_bundle, detector, good_frames):
    address, listening = manager_socket
    detector.save(tmp_path / "part.edgead")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.png").write_bytes(encode_png(good_frames[0]))
    (tmp_path / "loop.toml").write_text(
        f'[[camera]]\nname = "left"\ndetector = "part.edgead"\nencoder = "{mini_bundle}"\n'
        'source = "watch:in"\n[engine]\nthreads = 1\n'
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "EDGEAD_ENGINE": "onnxruntime",
        "NOTIFY_SOCKET": address,
        "WATCHDOG_USEC": "300000",
    }
    command = [sys.executable, "-m", "edgead_runtime.service", "loop.toml"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        said = _heard(listening)
        assert said == ["EXTEND_TIMEOUT_USEC=900000000", "STATUS=left: loading part.edgead"]
        while said[0] != "READY=1":
            said = _heard(listening)
        said = _heard(listening)
        while "STATUS=left: 1 inspected, 0 anomalous" not in said:
            said = _heard(listening)
        assert said[0] == "WATCHDOG=1"
        process.send_signal(signal.SIGTERM)
        while "STOPPING=1" not in _heard(listening):
            pass
    finally:
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_takes_the_unit_and_finds_it_well_shut(tmp_path):
    text = UNIT.read_text().replace("/opt/edgead/venv/bin/python", sys.executable)
    unit = tmp_path / "edgead@line.service"
    unit.write_text(text)
    environment = {**os.environ, "SYSTEMD_PAGER": ""}
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    about_ours = [line for line in verified.stderr.splitlines() if "edgead" in line]
    if verified.returncode and not about_ours:
        pytest.skip(f"systemd-analyze cannot verify here: {verified.stderr[:200]}")
    assert about_ours == []
    shut = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    overall = re.search(r"exposure level.*?: ([\d.]+)", shut.stdout)
    if overall is None:
        pytest.skip(f"this systemd-analyze judges no file: {shut.stderr[:200]}")
    assert float(overall[1]) < 2.5, shut.stdout
