"""What a benchmark finds out about the machine, on machines that are not this one."""

import pytest

from edgead.jobs.bench.machine import describe_machine, temperatures_c, usable_cores


@pytest.fixture
def jetson(tmp_path):
    files = {
        "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimddp bf16 other\nCPU part\t: 0xd42\n",
        "proc/loadavg": "2.50 1.00 0.50 3/83 24322",
        "proc/meminfo": "MemTotal:  8388608 kB\nMemAvailable:  4194304 kB\nHugePages_Total: 0\n",
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano\0",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/thermal/thermal_zone0/temp": "48500\n",
        "sys/class/thermal/thermal_zone1/type": "switched-off\n",
        "sys/class/thermal/thermal_zone1/temp": "-256000\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_board(jetson):
    machine = describe_machine(jetson)
    assert machine.board == "NVIDIA Jetson Orin Nano"
    assert machine.flags == ("asimd", "asimddp", "bf16")
    assert machine.governor == "schedutil"
    assert machine.load == 2.5
    assert (machine.memory_mb, machine.available_mb) == (8192, 4096)
    assert machine.temperatures_c == {"cpu-thermal": 48.5}
    assert machine.versions["numpy"]


def test_the_power_mode_is_what_nvpmodel_says(jetson, tmp_path, monkeypatch):
    tool = tmp_path / "bin" / "nvpmodel"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho 'NV Power Mode: 15W'\necho 0\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=":")
    assert describe_machine(jetson).power_mode == "NV Power Mode: 15W 0"


def test_a_machine_that_tells_nothing(tmp_path):
    machine = describe_machine(tmp_path)
    assert machine.cpu
    assert machine.load is None
    assert machine.memory_mb is None
    assert temperatures_c(tmp_path) == {}


def test_a_container_is_given_a_share(tmp_path):
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("50000 100000\n")
    assert usable_cores(tmp_path) == 0.5
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("max 100000\n")
    assert usable_cores(tmp_path) >= 1


def test_variables_that_choose_instructions_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("SECRET", "x")
    environment = describe_machine(tmp_path).environment
    assert environment["OPENBLAS_CORETYPE"] == "Haswell"
    assert "SECRET" not in environment
