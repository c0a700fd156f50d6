"""The command line as a person uses it, with an encoder that is ready at once."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest
from drawn_parts import draw_part
from PIL import Image
from tiny_encoder import write_tiny_encoder

from edgead.cli import run


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def summary(self):
        return json.loads(self.out)

    def assert_refused(self, *parts, warnings=0):
        """One line on stderr, after ``warnings``, that holds ``parts``; no traceback; nothing on stdout."""
        assert self.code == 2, self.err
        lines = self.err.splitlines()
        assert len(lines) == warnings + 1, self.err
        assert all(line.startswith("edgead: ") for line in lines)
        for part in parts:
            assert part in lines[-1]
        assert self.out == ""


@pytest.fixture
def edgead(capfd):
    """Run ``edgead ARGUMENTS`` in this process."""

    def call(*arguments):
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


@pytest.fixture
def start_edgead():
    """Start ``edgead ARGUMENTS`` in a process of its own."""

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "edgead", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    return start


@pytest.fixture(scope="session")
def encoder(tmp_path_factory):
    return write_tiny_encoder(tmp_path_factory.mktemp("encoders") / "tiny")


@pytest.fixture(scope="session")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    for number in range(4):
        Image.fromarray(draw_part(number)).save(folder / f"good-{number}.png")
    return folder


@pytest.fixture(scope="session")
def detector(tmp_path_factory, encoder, good):
    path = tmp_path_factory.mktemp("detector") / "part.edgead"
    options = ["--no-rotations", "--mask", "off", "--quiet", "--threads", "1"]
    assert run(["enroll", "--encoder", str(encoder), "--good", str(good), "-o", str(path), *options]) == 0
    return path


@pytest.fixture
def pictures(tmp_path):
    """A folder with one good and one defective part."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(draw_part(10)).save(folder / "fine.png")
    Image.fromarray(draw_part(11, defect=True)).save(folder / "scratched.png")
    return folder
