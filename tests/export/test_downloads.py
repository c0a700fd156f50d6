"""fetch_wheel with a pip that does what it is told, mostly wrong."""

import errno
import hashlib
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from edgead_export.downloads import fetch_wheel
from edgead_export.errors import DownloadError
from edgead_runtime.cache import cache_dir

WHEEL = b"PK wheel of the test"
SHA256 = hashlib.sha256(WHEEL).hexdigest()


class FakePip:
    """Stands in for ``subprocess.run``: writes what it was given to ``--dest`` and notes each call."""

    def __init__(self, content: bytes | None = WHEEL, stderr: str = "", raises: BaseException | None = None):
        self.content, self.stderr, self.raises = content, stderr, raises
        self.commands: list[list[str]] = []

    def __call__(self, command, **kwargs):
        self.commands.append(command)
        destination = Path(command[command.index("--dest") + 1])
        if self.content is not None:
            (destination / "thing-1.0-py3-none-any.whl").write_bytes(self.content)
        if self.raises:
            raise self.raises
        return subprocess.CompletedProcess(command, int(bool(self.stderr)), None, self.stderr)


@pytest.fixture
def pip(monkeypatch, empty_cache):
    def install(*args, **kwargs):
        fake = FakePip(*args, **kwargs)
        monkeypatch.setattr("edgead_export.downloads.subprocess.run", fake)
        return fake

    return install


def left_in(cache):
    return sorted(path.relative_to(cache).as_posix() for path in cache.rglob("*") if path.is_file())


def test_a_wheel_is_fetched_once_and_found_again(pip, empty_cache):
    fake = pip()
    path = fetch_wheel("thing", "1.0", SHA256)
    assert path.read_bytes() == WHEEL
    assert path.suffix == ".whl"
    assert fetch_wheel("thing", "1.0", SHA256) == path
    assert len(fake.commands) == 1
    assert fake.commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--require-hashes", "--only-binary=:all:"} <= set(fake.commands[0])
    assert len(left_in(empty_cache)) == 1


def test_the_requirement_pins_version_and_hash(pip, monkeypatch):
    seen = []
    fake = pip()

    def run(command, **kwargs):
        seen.append(Path(command[command.index("--requirement") + 1]).read_text())
        return fake(command, **kwargs)

    monkeypatch.setattr("edgead_export.downloads.subprocess.run", run)
    fetch_wheel("thing", "1.0", SHA256)
    assert seen == [f"thing==1.0 --hash=sha256:{SHA256}\n"]


@pytest.mark.parametrize(("progress", "flag"), [(True, "on"), (False, "--quiet")])
def test_progress_is_pips_own(pip, progress, flag):
    fake = pip()
    fetch_wheel("thing", "1.0", SHA256, progress)
    assert flag in fake.commands[0]


def test_a_damaged_wheel_in_the_cache_is_fetched_again(pip):
    fake = pip()
    path = fetch_wheel("thing", "1.0", SHA256)
    path.write_bytes(WHEEL[:-1])
    assert fetch_wheel("thing", "1.0", SHA256).read_bytes() == WHEEL
    assert len(fake.commands) == 2


@pytest.mark.parametrize(
    ("fake", "problem", "remedy"),
    [
        ({"content": b"another wheel"}, "SHA-256 differs", "index"),
        ({"content": None}, "SHA-256 differs", "index"),
        (
            {"stderr": "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE FILE"},
            "SHA-256 differs",
            "index",
        ),
        ({"stderr": "/usr/bin/python: No module named pip"}, "no pip", "ensurepip"),
        (
            {"stderr": "WARNING: Retrying\nERROR: No matching distribution found for thing==1.0\n"},
            "No matching distribution",
            "network",
        ),
        ({"stderr": "ERROR: OSError: [Errno 28] No space left on device"}, "disk is full", "EDGEAD_CACHE"),
        ({"raises": OSError(errno.ENOSPC, "No space left on device")}, "disk is full", "EDGEAD_CACHE"),
        ({"raises": OSError(errno.EROFS, "Read-only file system")}, "Read-only", "EDGEAD_CACHE"),
        ({"stderr": "killed"}, "pip ended with 1", "network"),
    ],
)
def test_what_goes_wrong_is_said_and_leaves_nothing(pip, empty_cache, fake, problem, remedy):
    pip(**fake)
    with pytest.raises(DownloadError) as caught:
        fetch_wheel("thing", "1.0", SHA256)
    assert problem in caught.value.problem
    assert remedy in caught.value.remedy
    assert left_in(empty_cache) == []


def test_ctrl_c_leaves_nothing(pip, empty_cache):
    pip(raises=KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        fetch_wheel("thing", "1.0", SHA256)
    assert left_in(empty_cache) == []


def test_a_disk_that_fills_while_renaming_leaves_nothing(pip, empty_cache, monkeypatch):
    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    pip()
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DownloadError, match="disk is full"):
        fetch_wheel("thing", "1.0", SHA256)
    assert left_in(empty_cache) == []


def test_what_a_killed_process_left_is_removed_after_a_day(pip, empty_cache):
    pip()
    old, young = (empty_cache / "wheels" / f".fetching-{name}" for name in ("old", "young"))
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "half.whl").write_bytes(b"half")
    os.utime(old, (0, 0))
    fetch_wheel("thing", "1.0", SHA256)
    assert not old.exists()
    assert young.exists()


def test_two_at_once_both_end_well(pip, empty_cache, monkeypatch):
    fake, both_are_here = pip(), threading.Barrier(2, timeout=10)

    def run(command, **kwargs):
        both_are_here.wait()
        return fake(command, **kwargs)

    monkeypatch.setattr("edgead_export.downloads.subprocess.run", run)
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(fetch_wheel("thing", "1.0", SHA256))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert {path.read_bytes() for path in found} == {WHEEL}
    assert len(left_in(empty_cache)) == 1


def test_the_cache_cannot_be_made(pip, tmp_path, monkeypatch):
    pip()
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="EDGEAD_CACHE"):
        fetch_wheel("thing", "1.0", SHA256)


def test_the_cache_folder_follows_the_platform_or_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("EDGEAD_CACHE")
    assert "edgead" in cache_dir().parts


def test_real_pip_takes_a_wheel_from_a_folder_and_checks_it(empty_cache, tmp_path, monkeypatch):
    """The command line that is built is one that pip understands; no network."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    wheel = _minimal_wheel(shelf)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    fetched = fetch_wheel("thing", "1.0", hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert fetched.read_bytes() == wheel.read_bytes()
    shutil.rmtree(empty_cache)
    with pytest.raises(DownloadError, match="SHA-256 differs"):
        fetch_wheel("thing", "1.0", "0" * 64, progress=False)
    with pytest.raises(DownloadError, match="No matching distribution"):
        fetch_wheel("thing", "2.0", "0" * 64, progress=False)
    assert left_in(empty_cache) == []


def _minimal_wheel(folder: Path) -> Path:
    import zipfile

    path = folder / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        archive.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("thing-1.0.dist-info/RECORD", "")
    return path
