"""The doctor: what really runs, what it makes of other machines, and what it says."""

import json
import subprocess
import sys

import msgspec
import numpy as np
import onnx
import pytest
from edgead_runtime import command
from edgead_runtime.doctor import machine as machine_module
from edgead_runtime.doctor import probe as probe_module
from edgead_runtime.doctor.findings import judge
from edgead_runtime.doctor.machine import GpuFacts, MachineFacts, examine
from edgead_runtime.doctor.probe import GRAPH, Probed, probe, probe_all
from edgead_runtime.doctor.report import as_json, lines_of
from edgead_runtime.engines import ENGINES
from onnx import helper, numpy_helper


def probed(engine, device="cpu", status="runs", reason="", precision="fp32"):
    return Probed(
        engine=engine, device=device, precision=precision, status=status, reason=reason, remedy="mend it"
    )


ON_CPU = (
    probed("onnxruntime"),
    probed("onnxruntime", "cuda", "fails", "this onnxruntime has no CUDAExecutionProvider"),
    probed("openvino", status="missing"),
    probed("tensorrt", "cuda", "missing", "not installed"),
)
ORIN = GpuFacts(name="Orin", sm=87, cuda="12.6", memory_mb=7600)


def a_machine(**changes):
    facts = MachineFacts(
        edgead_runtime="0.1.0",
        system="Ubuntu 22.04",
        architecture="aarch64",
        python="3.10.12",
        cpu="ARMv8",
        cores=6,
        instructions=("NEON",),
        memory_mb=7620,
        board="",
        l4t="",
        jetpack="",
        nvidia_driver="",
        nvidia_card=False,
        gpu=None,
        gpu_problem="CUDA finds no GPU",
        packages={"numpy": "1.26.4", "onnxruntime": "1.20.0"},
        virtual_environment=False,
        engines=ON_CPU,
    )
    return msgspec.structs.replace(facts, **changes)


JETSON = {
    "l4t": "36.4.0",
    "jetpack": "6",
    "nvidia_card": True,
    "board": "NVIDIA Jetson Orin Nano",
    "gpu": ORIN,
}
BINDINGS = {"numpy": "1", "onnxruntime": "1.20.0", "cuda-bindings": "12.9.1"}
OTHER_MACHINES = {
    "no engine": ({"engines": ()}, "No engine runs here", 'pip install "edgead-runtime[cpu]"'),
    "no engine on intel": (
        {"engines": (), "architecture": "x86_64", "cpu": "Intel Core"},
        "No engine runs here",
        "edgead-runtime[openvino]",
    ),
    "both onnxruntimes": (
        {"packages": {"onnxruntime": "1", "onnxruntime-gpu": "1"}},
        "one has overwritten the other",
        "pip uninstall onnxruntime",
    ),
    "both opencvs": (
        {"packages": {"opencv-python": "4", "opencv-python-headless": "4"}},
        "opencv-python and opencv-python-headless",
        "pip uninstall",
    ),
    "old tensorrt": ({"packages": {"tensorrt": "8.6.1"}}, "TensorRT 8.6.1 is too old", "JetPack 6.1"),
    "bindings newer than the driver": (
        {**JETSON, "packages": {"cuda-bindings": "13.0.1"}},
        "cuda-bindings 13.0.1 is newer than the driver, which knows CUDA up to 12.6",
        'pip install "cuda-bindings<13"',
    ),
    "jetpack 5": ({**JETSON, "l4t": "35.4.1", "jetpack": "5"}, "JetPack 5 (L4T 35.4.1)", "Flash JetPack 6.1"),
    "jetson in a venv": (
        {**JETSON, "virtual_environment": True, "packages": BINDINGS},
        "Orin is there, but no engine runs on it: TensorRT is not installed",
        "--system-site-packages",
    ),
    "jetson without tensorrt": (
        {**JETSON, "packages": BINDINGS},
        "not installed",
        "apt install nvidia-jetpack",
    ),
    "jetson without bindings": (
        {**JETSON, "gpu": None},
        "nothing here to reach it with",
        'cuda-bindings<13"',
    ),
    "server without tensorrt": (
        {"nvidia_card": True, "nvidia_driver": "570.1", "gpu": ORIN, "packages": BINDINGS},
        "TensorRT is not installed",
        "pip install tensorrt",
    ),
    "card without a driver": ({"nvidia_card": True}, "no driver for it", "Install NVIDIA's driver"),
    "container without the gpu": (
        {"nvidia_card": True, "nvidia_driver": "570.1", "packages": BINDINGS},
        "The NVIDIA driver is loaded, but CUDA finds no GPU",
        "--gpus all",
    ),
    "half an installation": (
        {
            **JETSON,
            "engines": (*ON_CPU, probed("tensorrt", "cuda", "fails", "does not load (libnvinfer.so.10)")),
        },
        "tensorrt on cuda is installed and does not run: does not load",
        "mend it",
    ),
    "python 3.9": ({"python": "3.9.1"}, "Python 3.9.1", "3.10 to 3.13"),
    "no avx2": ({"architecture": "x86_64", "instructions": ("bfloat16",)}, "no AVX2", "newer"),
    "no openvino": ({"architecture": "x86_64"}, "OpenVINO is usually", "edgead-runtime[openvino]"),
    "bfloat16": ({"engines": (probed("openvino", precision="bf16"),)}, "bfloat16", 'precision="bf16"'),
}


@pytest.mark.parametrize(("changes", "what", "do"), OTHER_MACHINES.values(), ids=OTHER_MACHINES)
def test_what_it_makes_of_other_machines(changes, what, do):
    facts = a_machine(**changes)
    findings = judge(facts)
    assert any(what in finding.what and do in finding.do for finding in findings), findings
    page = "\n".join(lines_of(facts, findings))
    assert what in page
    assert do in page


def test_a_machine_where_all_is_well():
    on_gpu = (*ON_CPU, probed("tensorrt", "cuda"))
    facts = a_machine(**{**JETSON, "engines": on_gpu, "packages": {**BINDINGS, "tensorrt": "10.3.0"}})
    assert judge(facts) == []
    lines = lines_of(facts, [])
    assert lines[0] == "Detectors run here on the GPU (Orin) and on the processor."
    page = "\n".join(lines)
    assert "NVIDIA Jetson Orin Nano (JetPack 6, L4T 36.4.0)" in page
    assert "Orin, compute capability 8.7, 7 GB, driver for CUDA up to 12.6" in page
    assert "TensorRT in fp32, fp16, bf16, int8\n" in page + "\n"
    assert "yes  tensorrt on cuda             10.3.0" in page
    assert "To mend" not in page


def test_its_first_line_is_the_answer():
    answers = {
        "Detectors run here on the processor; there is no NVIDIA GPU.": {},
        "Detectors run here on the processor; the NVIDIA GPU cannot be used yet.": {"nvidia_card": True},
        "No detector can run here yet.": {"engines": ()},
    }
    for answer, changes in answers.items():
        assert lines_of(a_machine(**changes), [])[0] == answer
    assert as_json(a_machine(engines=()), [])["runs"] is False


# -- this machine ------------------------------------------------------------------------------------------


def test_the_graph_is_what_it_says():
    model = onnx.load_from_string(GRAPH)
    onnx.checker.check_model(model, full_check=True)
    weights = numpy_helper.from_array(np.array([[1, 2], [3, 4]], np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, 1, [1, 2]) for name in "xy")
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    graph = helper.make_graph([node], "probe", [x], [y], [weights])
    opset = [helper.make_opsetid("", 17)]
    again = helper.make_model(graph, opset_imports=opset, ir_version=8, producer_name="edgead")
    assert again.SerializeToString(deterministic=True) == GRAPH


def test_what_runs_here():
    found = {(entry.engine, entry.device, entry.precision): entry for entry in probe_all()}
    assert found["onnxruntime", "cpu", "fp32"].status == "runs"
    assert found["tensorrt", "cuda", "fp32"].status != "builds"
    assert len(found) == sum(len(spec.devices) * len(spec.precisions) for spec in ENGINES.values())


def test_wrong_numbers_do_not_count_as_running(monkeypatch):
    monkeypatch.setattr(probe_module, "_Y", np.array([[0, 0]], np.float32))
    found = probe("onnxruntime", "cpu", "fp32")
    assert (found.status, found.reason) == ("fails", "it computes wrong numbers")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.kill(os.getpid(), 11)", "ends the process .signal 11."),
        ("raise SystemExit(3)", "ends the process .exit code 3."),
        ("import time; time.sleep(60)", "did not finish within"),
        ("print('not JSON')", "ends the process .exit code 0."),
    ],
)
def test_an_engine_that_ends_the_process(monkeypatch, code, reason):
    genuine = subprocess.run

    def run(arguments, **options):
        assert arguments[1:3] == ["-m", probe_module.__name__]
        return genuine([sys.executable, "-c", code], **options)

    monkeypatch.setattr(probe_module.subprocess, "run", run)
    monkeypatch.setattr(probe_module, "_SECONDS", 1)
    found = probe_module._in_a_process("onnxruntime", "cpu", "fp32")
    assert found.status == "fails"
    assert __import__("re").search(reason, found.reason)
    assert "Install it again" in found.remedy


def test_facts_of_a_jetson(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_module, "probe_all", list)
    files = {
        "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic",
        "etc/os-release": 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
        "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd asimddp crc32\n",
        "proc/meminfo": "MemTotal:        7802604 kB\n",
        "proc/device-tree/model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super\0",
        "proc/driver/nvidia/version": (
            "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (buildbrain)\n"
        ),
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    facts = examine(tmp_path)
    assert (facts.l4t, facts.jetpack, facts.nvidia_card) == ("36.4.3", "6", True)
    assert facts.system.startswith("Ubuntu 22.04.5 LTS, Linux ")
    assert facts.instructions == ("NEON", "int8 dot products")
    assert facts.memory_mb == 7619
    assert facts.board.endswith("Kit Super")
    assert facts.nvidia_driver == "540.4.0"


def test_a_card_is_seen_without_its_driver(tmp_path, monkeypatch):
    monkeypatch.setattr(machine_module, "probe_all", list)
    card = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x10de\n")
    (card / "class").write_text("0x040300\n")
    assert not examine(tmp_path).nvidia_card  # its sound
    (card / "class").write_text("0x030000\n")
    assert examine(tmp_path).nvidia_card
    assert examine(tmp_path).nvidia_driver == ""


def test_the_command(capsys):
    assert command.main(["doctor", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["runs"] is True
    assert summary["machine"]["packages"]["numpy"] == np.__version__


def test_where_nothing_runs_the_command_says_so(capsys, monkeypatch):
    monkeypatch.setattr(machine_module, "examine", lambda: a_machine(engines=()))
    assert command.main(["doctor"]) == 1
    assert capsys.readouterr().out.startswith("No detector can run here yet.")
