"""Whole or not there: whatever happens in the middle, the old file stays and nothing is left behind."""

import errno
import os
from pathlib import Path

import pytest
from edgead_runtime.errors import OutputError
from edgead_runtime.files import (
    atomic_file,
    atomic_folder,
    check_writable,
    sha256_bytes,
    sha256_file,
    write_atomic,
)


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def _names(folder):
    return sorted(path.name for path in folder.iterdir())


def _fail_at(monkeypatch, method, error, times=1):
    """Make the next calls of a method of ``Path`` fail."""
    genuine = getattr(Path, method)
    left = [times]

    def call(self, *args, **kwargs):
        if left[0]:
            left[0] -= 1
            raise error
        return genuine(self, *args, **kwargs)

    monkeypatch.setattr(Path, method, call)


FULL = OSError(errno.ENOSPC, "No space left on device")
FAULTS = [
    (FULL, OutputError),
    (PermissionError(errno.EACCES, "Permission denied"), OutputError),
    (KeyboardInterrupt(), KeyboardInterrupt),
    (ValueError("a bug"), ValueError),
]

# Files


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "Teil 1 ✓.edgead"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert _names(tmp_path) == [path.name]


@pytest.mark.parametrize("existed", [True, False])
@pytest.mark.parametrize(("fault", "seen"), FAULTS)
def test_a_fault_while_writing_leaves_the_old_file(tmp_path, fault, seen, existed):
    path = tmp_path / "out.bin"
    if existed:
        path.write_bytes(b"old")
    with pytest.raises(seen), atomic_file(path) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        assert not existed or path.read_bytes() == b"old"
        raise fault
    assert _names(tmp_path) == (["out.bin"] if existed else [])
    assert not existed or path.read_bytes() == b"old"


@pytest.mark.parametrize(("fault", "seen"), FAULTS)
def test_a_fault_while_finishing_leaves_the_old_file(tmp_path, monkeypatch, fault, seen):
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    _fail_at(monkeypatch, "replace", fault)
    with pytest.raises(seen):
        write_atomic(path, b"new")
    assert _names(tmp_path) == ["out.bin"]
    assert path.read_bytes() == b"old"


def test_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    events = []
    genuine_sync, genuine_replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (events.append("sync"), genuine_sync(handle)))
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (events.append("rename"), genuine_replace(self, to))[1]
    )
    write_atomic(tmp_path / "out.bin", b"data")
    assert events[:2] == ["sync", "rename"]
    events.clear()
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "a").write_bytes(b"data")
        (folder / "deep").mkdir()
        (folder / "deep" / "b").write_bytes(b"data")
    assert events[:3] == ["sync", "sync", "rename"]


def test_a_full_disk_and_a_forbidden_place_are_told_apart(tmp_path):
    with pytest.raises(OutputError, match="the disk is full") as full, atomic_file(tmp_path / "a"):
        raise FULL
    assert "Free some space" in full.value.remedy
    with pytest.raises(OutputError) as forbidden, atomic_file(tmp_path / "a"):
        raise OSError(errno.EROFS, "Read-only file system")
    assert "may write to" in forbidden.value.remedy


def test_a_missing_folder(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write .*gone"):
        write_atomic(tmp_path / "gone" / "out.bin", b"")


def test_a_file_that_is_a_folder(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(OutputError, match="directory"):
        write_atomic(tmp_path / "out", b"")
    assert _names(tmp_path) == ["out"]


def test_permissions_follow_the_umask(tmp_path, umask):
    write_atomic(tmp_path / "file", b"")
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "inside").write_bytes(b"")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes == {"file": 0o640, "folder": 0o750, "inside": 0o640}
    assert os.umask(umask) == umask


# Folders


def _fill(folder, content):
    (folder / "sub").mkdir()
    (folder / "sub" / "content").write_bytes(content)


def _content(folder):
    return (folder / "sub" / "content").read_bytes()


def test_a_folder_appears_whole(tmp_path):
    path = tmp_path / "not" / "yet" / "out"
    with atomic_folder(path) as folder:
        assert not path.exists()
        assert folder.parent == path.parent
        _fill(folder, b"new")
    assert _content(path) == b"new"
    assert _names(path.parent) == ["out"]


@pytest.fixture
def old_folder(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    _fill(path, b"old")
    (path / "gone after").write_bytes(b"")
    return path


def test_a_folder_is_replaced_only_when_asked(old_folder):
    with pytest.raises(OutputError, match="exists already") as caught, atomic_folder(old_folder):
        pytest.fail("entered")
    assert "--overwrite" in caught.value.remedy
    assert _content(old_folder) == b"old"
    with atomic_folder(old_folder, overwrite=True) as folder:
        _fill(folder, b"new")
        assert _content(old_folder) == b"old"
    assert _content(old_folder) == b"new"
    assert _names(old_folder) == ["sub"]
    assert _names(old_folder.parent) == ["out"]


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "out").mkdir()
    with atomic_folder(tmp_path / "out") as folder:
        _fill(folder, b"new")
    assert _content(tmp_path / "out") == b"new"
    assert _names(tmp_path) == ["out"]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_never_takes_the_place_of_a_file(tmp_path, overwrite):
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(OutputError, match="is a file"), atomic_folder(tmp_path / "out", overwrite=overwrite):
        pytest.fail("entered")
    assert (tmp_path / "out").read_bytes() == b"mine"


@pytest.mark.parametrize(("fault", "seen"), FAULTS)
def test_a_fault_while_filling_leaves_the_old_folder(old_folder, fault, seen):
    with pytest.raises(seen), atomic_folder(old_folder, overwrite=True) as folder:  # noqa: PT012
        _fill(folder, b"half")
        raise fault
    assert _content(old_folder) == b"old"
    assert _names(old_folder.parent) == ["out"]


@pytest.mark.parametrize("stage", ["old aside", "new in place"])
@pytest.mark.parametrize(("fault", "seen"), FAULTS)
def test_a_fault_while_swapping_leaves_the_old_folder(old_folder, monkeypatch, stage, fault, seen):
    if stage == "new in place":
        genuine = Path.replace
        done = []

        def replace(self, target):
            done.append(self)
            if len(done) == 2:
                raise fault
            return genuine(self, target)

        monkeypatch.setattr(Path, "replace", replace)
    else:
        _fail_at(monkeypatch, "replace", fault)
    with pytest.raises(seen), atomic_folder(old_folder, overwrite=True) as folder:
        _fill(folder, b"new")
    assert _content(old_folder) == b"old"
    assert _names(old_folder.parent) == ["out"]


def test_where_even_going_back_fails_the_old_folder_is_kept_aside(old_folder, monkeypatch):
    genuine = Path.replace
    done = []

    def replace(self, target):
        done.append(self)
        if len(done) > 1:
            raise FULL
        return genuine(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OutputError), atomic_folder(old_folder, overwrite=True) as folder:
        _fill(folder, b"new")
    (aside,) = old_folder.parent.iterdir()
    assert _content(aside / "out") == b"old"


def test_a_link_to_a_folder_is_replaced_and_not_what_it_points_to(old_folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(old_folder, target_is_directory=True)
    with atomic_folder(link, overwrite=True) as folder:
        _fill(folder, b"new")
    assert _content(link) == b"new"
    assert _content(old_folder) == b"old"


# Hashes


def test_hashes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_file(path) == sha256_bytes(b"abc") == known
    path.write_bytes(bytes(3 << 20))
    assert sha256_file(path) == sha256_bytes(bytes(3 << 20))


@pytest.mark.parametrize("write", [atomic_file, atomic_folder])
def test_an_error_about_another_file_is_not_called_ours(write, tmp_path):
    """Reading something else inside the block must not read "cannot write"."""
    missing = tmp_path / "elsewhere" / "weights.bin"
    with pytest.raises(FileNotFoundError), write(tmp_path / "out"):
        missing.read_bytes()
    assert _names(tmp_path) == []


def test_a_name_as_long_as_names_can_be(tmp_path):
    path = tmp_path / ("x" * 255)
    write_atomic(path, b"whole")
    assert path.read_bytes() == b"whole"


def test_whether_a_folder_can_be_written(tmp_path, monkeypatch):
    check_writable(tmp_path / "new" / "deep")
    assert _names(tmp_path / "new" / "deep") == []
    (tmp_path / "file").write_bytes(b"")
    for place in (tmp_path / "file", tmp_path / "file" / "deep"):
        with pytest.raises(OutputError, match="cannot write"):
            check_writable(place)
    _fail_at(monkeypatch, "write_bytes", OSError(errno.EROFS, "Read-only file system"))
    with pytest.raises(OutputError, match="Read-only file system"):
        check_writable(tmp_path / "new")
    assert _names(tmp_path / "new") == ["deep"]
