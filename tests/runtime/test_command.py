"""``edgead-runtime`` from outside: errors in one line, exit codes, what it prints."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from edgead_runtime import command
from edgead_runtime.tensorrt.options import BuildOptions


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "edgead_runtime", "--help"], capture_output=True, text=True, check=True
    )
    assert "build" in done.stdout
    assert "doctor" in done.stdout


def test_what_it_prints_can_be_written_nowhere():
    quick = "from edgead_runtime import command as c; c.run_doctor = lambda **_: print('fine') or 0; c.run()"
    doctor = [sys.executable, "-c", quick, "doctor"]
    with subprocess.Popen(doctor, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as piped:
        piped.stdout.close()  # as `| true` does
        said = piped.stderr.read()
    assert (piped.returncode, said) == (command.OUTPUT_CLOSED, "")
    full = Path("/dev/full")
    if full.exists():
        with full.open("w") as disk:
            done = subprocess.run(doctor, stdout=disk, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == command.FAILED
        assert done.stderr.startswith("edgead-runtime: cannot go on (No space left")
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--dla"], "does not run on a DLA"),
        (["--engine", "tensorrt-rtx"], "has to be told for which GPUs"),
        (["--sm", "86"], "builds for the GPU that is here"),
        (["--optimization-level", "9"], "level of 9"),
        (["--workspace-mib", "99999999999999"], "takes no workspace of 99999999999999 MiB"),
        (["--bank-blocks", "1", "9" * 30], "bank of 1 and up to 999"),
        (["--batch", "1", "1", "9" * 30], "batches of 1, 1, 999"),
    ],
)
def test_failures_are_one_line(mini_bundle, capsys, arguments, problem):
    assert command.main(["build", str(mini_bundle), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("edgead-runtime: ")
    assert problem in captured.err
    assert len(captured.err.splitlines()) == 1


def test_every_option_arrives(mini_bundle, monkeypatch, tmp_path):
    from edgead_runtime.tensorrt import building

    seen = {}

    def build_engine(source, flavour, options, **others):
        seen.update(source=source, flavour=flavour, options=options, **others)
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "build_engine", build_engine)
    options = BuildOptions(
        workspace_mib=512,
        optimization_level=4,
        timing_cache=False,
        hardware="same-capability",
        version_compatible=True,
        tf32=True,
        batch=(1, 2, 4),
        bank_blocks=(3, 9),
        map_hw=(20, 30),
        sm=(86, 89),
    )
    arguments = options.arguments().split()
    assert command.main(["build", str(mini_bundle), *arguments, "--graph", "encoder", "--cache"]) == 130
    assert seen["options"] == options
    assert (seen["flavour"], seen["graph"], seen["into_cache"]) == ("tensorrt", "encoder", True)


def test_an_engine_for_other_machines(fused_bundle, tmp_path, capsys, monkeypatch):
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed")
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path))
    words = ["build", str(fused_bundle), "--engine", "tensorrt-rtx", "--sm", "86", "120", "--cache"]
    assert command.main([*words, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["plan"].startswith(str(tmp_path))
    assert summary["record"]["options"]["sm"] == [86, 120]
    assert command.main(words) == 0
    out = capsys.readouterr().out
    assert "for compute capability 86, 120, by tensorrt-rtx" in out
    assert "has not been compared" in out
