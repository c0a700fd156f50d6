"""The files under docs/deploy: what can be held against them without a container engine."""

import re
from pathlib import Path

import pytest
from edgead_runtime.service.config import load_config
from edgead_runtime.service.tables import JsonlSink, MetricsTable

DEPLOY = Path(__file__).parents[3] / "docs" / "deploy"
ROOT = DEPLOY.parents[1]


@pytest.mark.parametrize(
    "environment",
    [
        {"STATE_DIRECTORY": "/var/lib/edgead/line", "METRICS_HOST": "127.0.0.1"},
        {"STATE_DIRECTORY": "/var/lib/edgead", "METRICS_HOST": "0.0.0.0"},
    ],
    ids=["systemd", "container"],
)
def test_the_configuration_is_valid_and_writes_nowhere_but_to_its_state(environment):
    config = load_config(DEPLOY / "line.toml", {**environment, "CAMERA_PASSWORD": "x"})
    state = environment["STATE_DIRECTORY"]
    assert config.outbox.path.startswith(state)
    for sink in config.sink:
        written = sink.path if isinstance(sink, JsonlSink) else sink.folder
        assert written.startswith(state)
    assert config.metrics == MetricsTable(host=environment["METRICS_HOST"])


def _instructions():
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]


def test_the_image_is_built_in_stages_and_does_not_run_as_root():
    instructions = _instructions()
    assert [name for name, _ in instructions].count("FROM") == 2
    last_stage = instructions[max(i for i, (name, _) in enumerate(instructions) if name == "FROM") :]
    users = [value for name, value in last_stage if name == "USER"]
    assert users == ["10001"]
    assert not [value for name, value in last_stage if name == "RUN" and "pip" in value]
    health = next(value for name, value in last_stage if name == "HEALTHCHECK")
    assert "/readyz" in health


def test_what_the_image_copies_is_there_and_in_the_context():
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    for name, value in _instructions():
        if name == "COPY" and "--from" not in value:
            source = value.split()[0]
            assert (ROOT / source).exists()
            assert f"!{source.split('/')[0]}" in ignored


def test_the_extras_that_the_image_installs_exist():
    install = next(value for name, value in _instructions() if name == "RUN" and "pip install" in value)
    wanted = re.search(r"runtime\[([\w,-]+)\]", install)[1].split(",")
    project = (ROOT / "runtime" / "pyproject.toml").read_text()
    for extra in wanted:
        assert re.search(rf"^{extra} = \[", project, flags=re.MULTILINE), extra


def test_compose_names_what_is_there():
    yaml = pytest.importorskip("yaml")
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    service = composed["services"]["inspection"]
    assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    named = [volume.split(":")[0] for volume in service["volumes"] if not volume.startswith(".")]
    assert named == list(composed["volumes"])
    # Numbers are for this machine: who opens them to a network decides it.
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "CAMERA_PASSWORD" in service["environment"]


def test_the_unit_gives_the_loop_what_it_needs():
    unit = (DEPLOY / "edgead@.service").read_text()
    for line in (
        "Type=notify",
        "Restart=on-failure",
        "StateDirectory=edgead/%i",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
    ):
        assert f"\n{line}\n" in unit
    assert re.search(r"^WatchdogSec=\d+$", unit, flags=re.MULTILINE)
    # It would end every engine that compiles its kernels.
    assert "\nMemoryDenyWriteExecute" not in unit
