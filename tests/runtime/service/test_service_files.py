"""The files under docs/deploy: what can be held against them without a container engine."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from edgead_runtime.service.config import load_config
from edgead_runtime.service.tables import JsonlSink, MetricsTable, ViewTable

DEPLOY = Path(__file__).parents[3] / "docs" / "deploy"
ROOT = DEPLOY.parents[1]
TOKEN = "sixteen or more characters"
_VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")
"""Of the Compose specification: ``${NAME}``, ``${NAME:-default}``, ``${NAME:?why it is needed}``."""


@pytest.mark.parametrize(
    "environment",
    [
        {"STATE_DIRECTORY": "/var/lib/edgead/line", "METRICS_HOST": "127.0.0.1", "VIEW_HOST": "127.0.0.1"},
        {"STATE_DIRECTORY": "/var/lib/edgead", "METRICS_HOST": "0.0.0.0", "VIEW_HOST": "0.0.0.0"},
    ],
    ids=["systemd", "container"],
)
def test_the_configuration_is_valid_and_writes_nowhere_but_to_its_state(environment):
    config = load_config(DEPLOY / "line.toml", {**environment, "CAMERA_PASSWORD": "x", "VIEW_TOKEN": TOKEN})
    state = environment["STATE_DIRECTORY"]
    assert config.outbox.path.startswith(state)
    for sink in config.sink:
        written = sink.path if isinstance(sink, JsonlSink) else sink.folder
        assert written.startswith(state)
    assert config.metrics == MetricsTable(host=environment["METRICS_HOST"])
    assert config.view == ViewTable(host=environment["VIEW_HOST"], token=TOKEN)


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


def _is_allowed(path):
    """By the JSON schema of the Compose specification."""
    pytest.importorskip("check_jsonschema", reason="check-jsonschema is not installed")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode in (0, 1), checked.stderr
    print(checked.stdout)
    return checked.returncode == 0


def test_compose_is_what_the_specification_allows(tmp_path):
    assert _is_allowed(DEPLOY / "compose.yaml")
    wrong = tmp_path / "compose.yaml"
    wrong.write_text((DEPLOY / "compose.yaml").read_text().replace("    read_only:", "    readonly:"))
    assert not _is_allowed(wrong), "or the check finds nothing"


@pytest.fixture
def service():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_compose_names_what_is_there(service):
    composed, service = service, service["services"]["inspection"]
    assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    named = [volume.split(":")[0] for volume in service["volumes"] if not volume.startswith(".")]
    assert named == list(composed["volumes"])


def test_compose_gives_the_configuration_what_it_asks_for_and_publishes_its_ports(service):
    service = service["services"]["inspection"]
    text = (DEPLOY / "line.toml").read_text()
    asked = {name for name, _, _ in _VARIABLE.findall(text)}
    of_the_image = dict(
        word.split("=", 1) for name, value in _instructions() if name == "ENV" for word in value.split()
    )
    assert asked <= set(service["environment"]) | set(of_the_image)
    # A secret that was forgotten is said before anything starts, and is not an empty one.
    for name, value in service["environment"].items():
        assert re.fullmatch(rf"\$\{{{name}:\?.+\}}", value)
    environment = dict.fromkeys(service["environment"], "x" * 16)
    config = load_config(DEPLOY / "line.toml", {**of_the_image, **environment})
    published = [_interpolated(port, {}).rsplit(":", 2) for port in service["ports"]]
    exposed = next(value.split() for name, value in _instructions() if name == "EXPOSE")
    assert {inside for _, _, inside in published} == {str(config.metrics.port), str(config.view.port)}
    assert {inside for _, _, inside in published} == set(exposed)
    # Beyond this machine only if somebody says so.
    assert {address for address, _, _ in published} == {"127.0.0.1"}
    opened = [_interpolated(port, {"VIEW_ADDRESS": "0.0.0.0"}) for port in service["ports"]]
    assert [port for port in opened if not port.startswith("127.")] == [f"0.0.0.0:{config.view.port}:8675"]


def test_the_example_of_the_environment_has_all_that_compose_asks_for():
    named = _VARIABLE.findall((DEPLOY / "compose.yaml").read_text())
    example = (DEPLOY / ".env.example").read_text()
    for name, _, _ in named:
        assert re.search(rf"^#?{name}=\S+$", example, flags=re.MULTILINE), name
    (token,) = re.findall(r"^VIEW_TOKEN=(.*)$", example, flags=re.MULTILINE)
    assert len(token) >= 16
    assert "\n.env\n" in (ROOT / ".gitignore").read_text(), "secrets are not for the repository"


def _interpolated(text, environment):
    """As Compose fills in variables."""
    return _VARIABLE.sub(lambda found: environment.get(found[1]) or found[3], text)


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
