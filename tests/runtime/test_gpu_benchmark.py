"""``python -m benchmarks.gpu`` on a simulated GPU: everything that has nothing to do with speed."""

import gc
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from edgead_runtime.doctor import machine
from edgead_runtime.errors import EngineUnavailableError, GpuError
from simulated_gpu import tensorrt as simulated

from benchmarks.gpu import __main__ as benchmark
from benchmarks.gpu import clocks
from benchmarks.gpu.provider import CPU, CUDA, ProviderSession
from benchmarks.gpu.turns import Amount, Way, rows_of, take_turns, warm_up

WAYS = [Way("one", "fp32", "encoder"), Way("other", "fp16", "encoder")]


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))  # an nvidia-smi of this machine's says nothing here
    monkeypatch.setattr(machine, "probe_all", list)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def bundle(add_frame_graph, mini_bundle, tmp_path):
    """Two precisions (the same numbers, in files that differ) of both graphs, for any batch."""
    folder = add_frame_graph(mini_bundle, tmp_path / "encoder")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["input"]["dynamic_batch"] = True
    model = onnx.load(folder / "encoder.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    models = {"files": model, "frames": onnx.load(folder / "frame.onnx")}
    for kind, model in models.items():
        (entry,) = manifest[kind]
        manifest[kind] = [_write(folder, entry, model, precision) for precision in ("fp32", "fp16")]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def _write(folder, entry, model, precision):
    model.producer_name = precision
    data = model.SerializeToString()
    path = f"{precision}-{entry['path']}"
    (folder / path).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return {**entry, "precision": precision, "path": path, "sha256": digest, "bytes": len(data)}


def measured(bundle, tmp_path, *more):
    """What the command writes."""
    out = tmp_path / "out"
    words = ["--quick", "--turns", "2", "--warm-seconds", "0", "--frames", "2", "--side", "160", "--out"]
    assert benchmark.main([str(bundle), *words, str(out), *more]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["gpu.json", "gpu.md"]
    return json.loads((out / "gpu.json").read_text()), (out / "gpu.md").read_text()


def times(rows):
    return {
        (row["way"], row.get("what"), row.get("good"), row.get("batch")) for row in rows if "p50_ms" in row
    }


def left_out(rows):
    return {row["way"]: row["left_out"] for row in rows if "left_out" in row}


def test_everything_is_built_judged_and_timed(gpu, bundle, tmp_path, capsys):
    more = ("--precisions", "fp32", "fp16", "--good", "2", "3", "--batches", "1", "3")
    kept, page = measured(bundle, tmp_path, *more)
    assert kept["problems"] == {}
    assert kept["gpu"]["name"] == kept["doctor"]["machine"]["gpu"]["name"] == "Simulated Orin"
    assert kept["clocks"]["why_none"] == "nvidia-smi is not there"

    graphs = [(graph, precision) for graph in ("encoder", "frame") for precision in ("fp32", "fp16")]
    assert [(entry["graph"], entry["precision"]) for entry in kept["engines"]] == graphs
    for entry in kept["engines"]:
        assert entry["record"]["parity"]["passed"]
        assert entry["memory_mb"] > 0
        assert entry["record"]["options"]["bank_blocks"] == [3, 3]

    titles = {"encoder": "encoder", "frame": "frame graph"}
    assert times(kept["device_runs"]) == {
        (f"tensorrt, {precision}, {titles[graph]}", what, None, None)
        for graph, precision in graphs
        for what in ("computing", "with copies")
    }
    assert {row["clock"] for row in kept["device_runs"] if "p50_ms" in row} == {"cuda events"}
    forms = [(precision, form) for precision in ("fp32", "fp16") for form in ("frame graph", "stages")]
    assert times(kept["frames"]) == {
        (f"tensorrt, {precision}, {form}", None, good, None) for precision, form in forms for good in (2, 3)
    }
    for row in kept["frames"]:
        if "p50_ms" in row:
            assert row["error"] < 1e-4
            assert row["resize_ms"] > 0
            assert (row["runs"], row["patches"], row["blocks"]) == (10, 64 * row["good"], row["good"])
    assert times(kept["batches"]) == {
        (f"tensorrt, {precision}, encoder", None, None, batch)
        for precision in ("fp32", "fp16")
        for batch in (1, 3)
    }
    row = next(row for row in kept["batches"] if row.get("batch") == 3)
    assert row["pictures_per_s"] == pytest.approx(3000 / row["p50_ms"])

    for part in ("device_runs", "frames", "batches"):
        why = left_out(kept[part])
        assert "no CUDAExecutionProvider" in why.pop(
            next(way for way in why if way.startswith("ONNX Runtime, CUDA"))
        )
        assert any("no TensorrtExecutionProvider" in text for text in why.values())
        assert any("finds no CUDA" in text or "not installed" in text for text in why.values())
        assert not any(way.startswith("tensorrt") for way in why)
    for words in (
        "# mini at 112 x 112 on Simulated Orin",
        "passed: patch cosine",
        "### Bank of 3 good pictures",
    ):
        assert words in page
    assert page in capsys.readouterr().out
    assert not (bundle / "engines").exists()
    gc.collect()
    assert gpu.leaks() == []


def test_engines_that_are_there_stay_as_they_are(gpu, bundle, tmp_path):
    from edgead_runtime.tensorrt.building import build_engine
    from edgead_runtime.tensorrt.options import BuildOptions

    built = build_engine(bundle, "tensorrt", BuildOptions(bank_blocks=(5, 7)), precision="fp16")
    before = {path.name: path.read_bytes() for path in built.path.parent.iterdir()}
    measured(bundle, tmp_path)
    assert {path.name: path.read_bytes() for path in built.path.parent.iterdir()} == before


def test_a_bundle_for_one_picture_at_a_time(gpu, bundle, tmp_path):
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["input"]["dynamic_batch"] = False
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    kept, page = measured(bundle, tmp_path)
    assert kept["batches"] == []
    assert "exported for one picture at a time" in page
    assert {entry["precision"] for entry in kept["engines"]} == {"fp16"}  # what --quick takes


def test_an_engine_that_fails_its_gate_is_not_timed(gpu, bundle, tmp_path, monkeypatch):
    genuine = simulated.IExecutionContext._run

    def run(self, feeds):
        found = genuine(self, feeds)
        wrong = {"distances": np.full_like(found["distances"], 0.5)} if "distances" in found else {}
        return {**found, **wrong}

    monkeypatch.setattr(simulated.IExecutionContext, "_run", run)
    kept, page = measured(bundle, tmp_path)
    refused = {entry["graph"]: entry.get("refused", "") for entry in kept["engines"]}
    assert refused["encoder"] == ""
    assert "does not compute what its fp16 ONNX file computes" in refused["frame"]
    assert "not built: the engine does not compute" in page
    why = left_out(kept["frames"])
    assert "does not compute what the ONNX file computes" in why["tensorrt, fp16, frame graph"]
    assert ("tensorrt, fp16, stages", None, 4, None) in times(kept["frames"])


def test_a_way_that_fails_in_the_middle(gpu, bundle, tmp_path, monkeypatch):
    from edgead_runtime.tensorrt.engine import TensorRtEngine

    genuine, runs = TensorRtEngine.time_run, []

    def time_run(self, feeds, outputs=()):
        runs.append(1)
        if len(runs) == 12:
            raise GpuError("the GPU refused a call (cudaGraphLaunch: cudaErrorInvalidValue)", "Try again.")
        return genuine(self, feeds, outputs)

    monkeypatch.setattr(TensorRtEngine, "time_run", time_run)
    kept, page = measured(bundle, tmp_path)
    assert left_out(kept["device_runs"])["tensorrt, fp16, encoder"].startswith("the GPU refused a call")
    assert ("tensorrt, fp16, encoder", "with copies", None, None) in times(kept["device_runs"])
    assert "- tensorrt, fp16, encoder: the GPU refused a call" in page


def test_a_gpu_that_is_lost_leaves_what_was_measured(gpu, bundle, tmp_path, monkeypatch):
    from benchmarks.gpu import whole_frames

    genuine = whole_frames.enroll

    def enroll(*arguments):
        gpu.lose()
        return genuine(*arguments)

    monkeypatch.setattr(whole_frames, "enroll", enroll)
    kept, _ = measured(bundle, tmp_path)
    assert times(kept["device_runs"])
    assert not times(kept["frames"])
    assert "cudaErrorLaunchFailure" in left_out(kept["frames"])["tensorrt, fp16, stages"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "there is no GPU to measure: CUDA finds no GPU"),
        (["--precisions", "int8"], "has no int8 file"),
        (["--out", "/dev/null/x", "--without-gpu"], "cannot write /dev/null/x"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_line(plug_in, bundle, capsys, words, problem):
    plug_in(None)
    assert benchmark.main([str(bundle), *words]) == 2
    said = capsys.readouterr().err
    assert problem in said
    assert said.count("\n") == 1
    assert benchmark.main(["nowhere"]) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_provider_that_would_run_elsewhere_is_refused(mini_bundle, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    model = (mini_bundle / "encoder.onnx").read_bytes()
    with pytest.raises(EngineUnavailableError, match=r"asked for CUDA.*, onnxruntime would run on CPU"):
        ProviderSession(model, CUDA)


def test_it_needs_no_more_than_the_runtime_and_a_checkout():
    code = "import sys; sys.modules.update(dict.fromkeys(['torch', 'edgead_export', 'typer', 'rich'])); "
    done = subprocess.run(
        [sys.executable, "-c", code + "import benchmarks.gpu.__main__"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()


# -- turns -------------------------------------------------------------------------------------------------


def test_warming_up_ends_when_times_do_not_move():
    falling = iter([10.0] * 5 + [5.0] * 5 + [4.9] * 5 + [1.0] * 5)
    assert warm_up(lambda: next(falling), seconds=60)
    assert next(falling) == 1.0
    rising = iter(range(1, 1000))
    assert not warm_up(lambda: next(rising), seconds=0)


def test_ways_take_turns_and_one_that_fails_is_dropped():
    calls = []

    def run(way, fails_at):
        def once():
            calls.append(way.title)
            if len(calls) == fails_at:
                raise MemoryError("no room\nand more")
            return float(len(way.title))

        return once

    amount = Amount(turns=4, counted=2, uncounted=1)
    taken = take_turns({WAYS[0]: run(WAYS[0], None), WAYS[1]: run(WAYS[1], 27)}, amount)
    assert taken.times_ms == {WAYS[0]: [3.0] * 8}
    assert taken.left_out == {WAYS[1]: "MemoryError: no room"}
    assert calls[20:26] == ["one"] * 3 + ["other"] * 3
    (row,) = rows_of(taken, WAYS[0])
    assert (row["p50_ms"], row["times_as_fast"], row["steady"]) == (3.0, [1.0, 1.0, 1.0], True)
    assert "times_as_fast" not in rows_of(taken, WAYS[1])[0]


def test_turns_end_when_their_time_is_up():
    amount = Amount(turns=100, counted=1, uncounted=0, most_seconds=0)
    taken = take_turns({WAYS[0]: lambda: 1.0}, amount)
    assert taken.times_ms == {WAYS[0]: [1.0] * 2}


# -- clocks ------------------------------------------------------------------------------------------------

LINE = "{index}, GPU-{index}abc, {name}, 580.65, 1500, 1980, {memory}, {power}, 700.00, 55, {slowed}"


def write_nvidia_smi(folder, *lines, reasons="clocks_event_reasons", during=""):
    """One that knows a name for the reasons, and says ``during`` when it loops."""
    folder.mkdir(exist_ok=True)
    program = folder / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *{reasons}.active*) ;; *) echo "Field is not a valid field to query."; exit 2;; esac\n'
        f'case "$*" in *--loop=1*) echo "{during}"; : > "$0.looped"; while :; do sleep 0.2; done;; esac\n'
        + "".join(f'echo "{line}"\n' for line in lines)
    )
    program.chmod(0o755)
    program.with_suffix(".looped").unlink(missing_ok=True)
    os.environ["PATH"] = f"{folder}:/usr/bin:/bin"


def wait_for_the_loop(folder):
    end = time.monotonic() + 30
    while not (folder / "nvidia-smi.looped").exists():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_gpu_says_what_slowed_it_down(tmp_path, monkeypatch):
    idle = LINE.format(index=0, name="NVIDIA X", memory="2619", power="70.10", slowed="0x0000000000000001")
    busy = LINE.format(index=0, name="NVIDIA X", memory="[N/A]", power="698.20", slowed="0x0000000000000024")
    for reasons in ("clocks_event_reasons", "clocks_throttle_reasons"):
        write_nvidia_smi(tmp_path / "bin", idle, reasons=reasons, during=busy)
        with clocks.watched("NVIDIA X") as found:
            wait_for_the_loop(tmp_path / "bin")
        summary = found.summary()
        assert summary["slowed_by"] == ["the limit of its power", "its temperature (software)"]
        assert summary["during"] == {
            "sm_mhz": [1500.0, 1500.0],
            "sm_most_mhz": [1980.0, 1980.0],
            "power_w": [698.2, 698.2],
            "power_limit_w": [700.0, 700.0],
            "temperature_c": [55.0, 55.0],
        }
        assert summary["before"]["memory_mhz"] == summary["after"]["memory_mhz"] == 2619.0
        assert summary["before"]["driver"] == "580.65"


def test_a_gpu_that_says_little(tmp_path):
    line = LINE.format(index=0, name="Orin", memory="[N/A]", power="[N/A]", slowed="[N/A]")
    write_nvidia_smi(tmp_path / "bin", line, during=line)
    with clocks.watched("Orin") as found:
        wait_for_the_loop(tmp_path / "bin")
    assert found.summary()["slowed_by"] is None
    assert "power_w" not in found.summary()["during"]


def test_which_of_several_gpus(tmp_path, monkeypatch):
    rest = {"memory": "1", "power": "1", "slowed": "0x0"}
    lines = [LINE.format(index=index, name="NVIDIA X", **rest) for index in range(2)]
    write_nvidia_smi(tmp_path / "bin", *lines)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with clocks.watched("NVIDIA X") as found:
        assert "several GPUs" in found.why_none
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1abc")
    with clocks.watched("NVIDIA X") as found:
        assert found.before["index"] == "1"
    with clocks.watched("NVIDIA Y") as found:
        assert found.why_none == "nvidia-smi says nothing of NVIDIA Y"
    write_nvidia_smi(tmp_path / "bin", LINE.format(index=0, name="Orin (nvgpu)", **rest))
    with clocks.watched("Orin") as found:
        assert found.before["name"] == "Orin (nvgpu)"
    write_nvidia_smi(tmp_path / "bin")
    with clocks.watched("Orin") as found:
        assert found.why_none == "nvidia-smi says nothing of Orin"
    with clocks.watched(None) as found:
        assert found.why_none == "there is no GPU"
