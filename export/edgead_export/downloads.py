"""Fetching with pip's own machinery, so that whatever registry or mirror pip is set up for is used."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgead_runtime.cache import cache_dir
from edgead_runtime.files import remove_leftovers, sha256_file

from edgead_export.errors import DownloadError

_FETCHING = ".fetching-"
_DISK_FULL = "No space left on device"
_NO_PIP = "No module named pip"
_WRONG_HASH = "DO NOT MATCH THE HASHES"


def fetch_wheel(name: str, version: str, sha256: str, progress: bool = True) -> Path:
    """Fetch one wheel with ``pip download``, or find it in the cache. It is neither installed nor unpacked.

    The wheel appears in the cache whole and verified or not at all, whatever interrupts the download.
    Several processes may fetch the same wheel at once: each has a folder of its own, the last to finish
    puts the same bytes in place again.

    Args:
        name: Name of the distribution.
        version: Its exact version.
        sha256: Hash of the wheel file, hex. pip checks it, and so does this function, on every call.
        progress: Let pip show its progress (on stderr).

    Returns:
        The wheel file, to be opened as a zip.

    Raises:
        DownloadError: No pip, no network, another hash, a full or read-only disk.
    """
    wheels = cache_dir() / "wheels"
    target = wheels / f"{name}-{version}-{sha256[:12]}.whl"
    if is_intact(target, sha256):
        return target
    with disk_errors(target), fetching_folder(wheels) as folder:
        _pip_download(name, version, sha256, folder, progress)
        fetched = list(folder.glob("*.whl"))
        if len(fetched) != 1 or not is_intact(fetched[0], sha256):
            raise _wrong_hash(name, version)
        move_into_place(fetched[0], target, sha256)
    return target


@contextmanager
def fetching_folder(parent: Path) -> Iterator[Path]:
    """A folder beside the target for one download, removed with whatever is still in it afterwards.

    What a killed process or a power cut left behind a day ago or earlier is removed as well.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parent, f"{_FETCHING}*")
    with tempfile.TemporaryDirectory(dir=parent, prefix=_FETCHING) as folder:
        yield Path(folder)


def is_intact(path: Path, sha256: str) -> bool:
    """Whether the file is there and has this hash."""
    return path.is_file() and sha256_file(path) == sha256


def move_into_place(fetched: Path, target: Path, sha256: str) -> None:
    """Rename a verified file to where it is looked for; both are on one file system."""
    try:
        fetched.replace(target)
    except PermissionError:
        # Windows refuses while another process reads the file that it has just put there.
        if not is_intact(target, sha256):
            raise


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what the disk refuses while ``path`` is fetched into a :class:`DownloadError`."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _disk_full(path) from error
        raise DownloadError(
            f"cannot write to the cache {path.parent} ({error.strerror or error})",
            "Make it writable, or set EDGEAD_CACHE to a folder that is.",
        ) from error


def _pip_download(name: str, version: str, sha256: str, folder: Path, progress: bool) -> None:
    requirement = folder / "requirements.txt"
    requirement.write_text(f"{name}=={version} --hash=sha256:{sha256}\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
    ]
    # pip's own cache would hold the file a second time.
    command += ["--no-cache-dir", "--disable-pip-version-check", "--no-input"]
    command += ["--progress-bar", "on"] if progress else ["--quiet"]
    command += ["--dest", str(folder), "--requirement", str(requirement)]
    result = subprocess.run(  # noqa: S603  (a fixed command; the values are ours)
        command,
        check=False,
        # Progress goes to stderr: stdout belongs to the results of the command that is running.
        stdout=2 if progress else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "TMPDIR": str(folder)},
    )
    if result.returncode == 0:
        return
    complaint = result.stderr
    if _DISK_FULL in complaint:
        raise _disk_full(folder)
    if _NO_PIP in complaint:
        raise DownloadError(
            f"cannot fetch {name} {version}: this Python has no pip", f"Run: {sys.executable} -m ensurepip"
        )
    if _WRONG_HASH in complaint:
        raise _wrong_hash(name, version)
    errors = [line.removeprefix("ERROR: ") for line in complaint.splitlines() if line.startswith("ERROR: ")]
    last = errors[-1] if errors else f"pip ended with {result.returncode}"
    raise DownloadError(
        f"cannot fetch {name} {version} ({last})",
        "Check the network and pip's index settings (pip config list), then run the same command again.",
    )


def _wrong_hash(name: str, version: str) -> DownloadError:
    return DownloadError(
        f"the wheel {name} {version} that was fetched is not the one expected (SHA-256 differs)",
        "Check which index pip uses (pip config list); nothing was kept.",
    )


def _disk_full(path: Path) -> DownloadError:
    return DownloadError(
        f"the disk is full: {path.parent} has no room for the download",
        "Free some space, or set EDGEAD_CACHE to a folder on another disk; nothing was kept.",
    )
