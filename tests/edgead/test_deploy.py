"""The guides and Dockerfiles for devices, which nobody here can run, say nothing that is not so.

What a build would stumble over and what can be seen without one: files that are not there, extras and
commands that do not exist, versions that contradict the packages' own.
"""

import re
import shlex
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import msgspec
import pytest
from edgead_runtime.command import _parser
from packaging.requirements import Requirement
from typer.main import get_command

from edgead.cli.app import app

dockerfile_parse = pytest.importorskip("dockerfile_parse", reason="dockerfile-parse is not installed")

ROOT = Path(__file__).parents[2]
DOCKERFILES = sorted((ROOT / "docs" / "deploy").glob("*.Dockerfile"))
EVERY_DOCKERFILE = [*DOCKERFILES, ROOT / "docs" / "deploy" / "Dockerfile"]
NEVER_BUILT = ("jetson.Dockerfile", "server.Dockerfile")
GUIDES = [ROOT / "docs" / name for name in ("jetson.md", "server.md", "tensorrt.md", "triton.md")]
RUNTIME = msgspec.toml.decode((ROOT / "runtime" / "pyproject.toml").read_bytes())["project"]
EXTRAS = RUNTIME["optional-dependencies"]
_REQUIREMENT = re.compile(r"[A-Za-z][\w.-]*(\[[\w,-]+\]([<>=!~].*)?|[<>=!~].*)")
"""With extras or a version: a bare word may be anything."""


def read(path):
    """The instructions as (name, text) after continuation lines are joined, without comments."""
    parser = dockerfile_parse.DockerfileParser(fileobj=BytesIO(path.read_bytes()))
    return [(one["instruction"], one["value"]) for one in parser.structure if one["instruction"] != "COMMENT"]


def requirements_in(text):
    """The pip requirements of a shell command, whose variables and local wheels are left out."""
    found = []
    for word in shlex.split(re.sub(r"\$\([^)]*\)", "WHEEL", text)):
        name = word.split("@")[0].strip()
        if re.fullmatch(r"[A-Za-z][\w.-]*(\[[\w,-]+\])?([<>=!~]=?[\w.,<>=]+)?", name) and re.search(
            "[<>=[]", name
        ):
            found.append(Requirement(name))
    return found


def known_requirements():
    texts = [text for extra in EXTRAS.values() for text in extra] + RUNTIME["dependencies"]
    return list(map(Requirement, texts))


def assert_agrees(asked, where):
    """An extra exists; a bound is not below the package's own."""
    if asked.name == "edgead-runtime":
        assert asked.extras <= set(EXTRAS), where
    known = [one for one in known_requirements() if one.name == asked.name and one.specifier]
    for bound in asked.specifier:
        if bound.operator == ">=" and known:  # one extra may ask for more than another
            assert any(bound.version in one.specifier for one in known), where


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_a_dockerfile_asks_for_what_there_is(path):
    instructions = read(path)
    assert instructions, "no instructions"
    stages, users = [], {}
    arguments = {
        value.split("=")[0]: value.partition("=")[2] for name, value in instructions if name == "ARG"
    }
    for name, value in instructions:
        if name == "FROM":
            source, _, stage = value.partition(" AS ")
            is_variable = re.fullmatch(r"\$\{(\w+)\}", source)
            assert is_variable is None or is_variable[1] in arguments
            before = users.get(source, "root")
            stages.append(stage or "the last")
            users[stages[-1]] = before
            # A tag, so that a build in a year is one of the same system.
            image = arguments[is_variable[1]] if is_variable else source
            assert image in stages or ":" in image.rpartition("/")[2], value
        elif name in ("COPY", "ADD"):
            words = value.split()
            other = next((word[7:] for word in words if word.startswith("--from=")), None)
            sources = [word for word in words[:-1] if not word.startswith("--")]
            if other is not None:
                assert other in stages, value
                continue
            for source in sources:
                assert list(ROOT.glob(source.rstrip("/"))), f"{path.name} copies {source}, which is not there"
        elif name == "RUN":
            for asked in requirements_in(value):
                assert_agrees(asked, f"{path.name}: {asked}")
            if "apt-get install" in value:
                assert "rm -rf /var/lib/apt/lists" in value
                assert "--no-install-recommends" in value
        elif name == "USER":
            users[stages[-1]] = value
        elif name in ("CMD", "ENTRYPOINT"):
            command = msgspec.json.decode(value)
            assert command[0] in {*RUNTIME["scripts"], "edgead", "python", "python3"}
    assert users[stages[-1]] not in ("root", "0"), "it would run as root"
    for value in arguments.values():
        for asked in requirements_in(value):
            assert_agrees(asked, f"{path.name}: {asked}")


@pytest.mark.parametrize("path", EVERY_DOCKERFILE, ids=lambda path: path.name)
def test_the_context_is_what_a_dockerfile_copies(path):
    """Its own list of what is left out takes all but that; a context of everything would be gigabytes."""
    lines = path.with_name(f"{path.name}.dockerignore").read_text(encoding="utf-8").splitlines()
    kept = {line[1:] for line in lines if line.startswith("!")}
    copied = set()
    for name, value in read(path):
        if name == "COPY" and "--from=" not in value:
            copied |= set(value.split()[:-1])
    assert "*" in lines
    assert {source.partition("/")[0] for source in copied} <= kept
    assert all((ROOT / entry).exists() for entry in kept)


@pytest.mark.parametrize("path", EVERY_DOCKERFILE, ids=lambda path: path.name)
def test_who_runs_may_write_to_the_volume(path):
    """A volume is made as the image has the folder: where it has none, root's."""
    instructions = read(path)
    volumes = {value for name, value in instructions if name == "VOLUME"}
    users = {value for name, value in instructions if name == "USER"}
    made = " ".join(value for name, value in instructions if name == "RUN")
    for volume in volumes:
        for user in users:
            owned = f"chown {user} {volume}" in made
            assert owned or re.search(rf"useradd [^&]*--uid {user} --home-dir {volume} --create-home", made)


@pytest.mark.parametrize("name", NEVER_BUILT)
def test_what_was_never_built_says_so_at_the_top(name):
    head = (ROOT / "docs" / "deploy" / name).read_text().splitlines()[:2]
    assert "Not built and not run" in "\n".join(head)
    guide = (ROOT / "docs" / name.replace(".Dockerfile", ".md")).read_text()
    assert re.search(r"\*\*.*(not been run|[Nn]othing on this page has run).*", guide.splitlines()[2])


def commands_in(guide):
    """Command lines of edgead's own in the guide's shell blocks and inline."""
    text = guide.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    inline = "\n".join(re.findall(r"`((?:edgead|edgead-runtime) [^`\n]+)`", text))
    for line in f"{blocks}\n{inline}".splitlines():
        words = shlex.split(line, comments=True)
        for number, word in enumerate(words):
            is_image = number > 0 and words[number - 1] == "-t"
            if (word in ("edgead", "edgead-runtime") and not is_image) or (
                word == "-m" and words[number + 1].startswith("edgead")
            ):
                yield words[number:]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_the_commands_of_a_guide_exist(guide):
    commands = list(commands_in(guide))
    assert commands
    known = get_command(app).commands
    for program, *words in commands:
        if program == "edgead-runtime":
            if words and not {"...", "…"} & set(words):
                _parser().parse_args(words)  # ends the test where an option is unknown
        elif program == "-m":
            assert find_spec(words[0]) is not None
        else:
            options = {name for option in known[words[0]].params for name in option.opts}
            assert {word for word in words if word.startswith("--")} <= options, words


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_the_packages_of_a_guide_exist(guide):
    text = guide.read_text(encoding="utf-8")
    for extras in re.findall(r"edgead-runtime\[([\w,-]+)\]", text):
        assert set(extras.split(",")) <= set(EXTRAS), extras
