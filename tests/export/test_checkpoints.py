import os
import pickle

import pytest
import torch
from edgead_export.errors import WeightsError
from edgead_export.weights.checkpoints import read_checkpoint
from safetensors.torch import save_file

STATE = {"a": torch.arange(4.0), "b.c": torch.ones(2, 3, dtype=torch.float16)}


def same(found):
    return found.keys() == STATE.keys() and all(torch.equal(found[name], STATE[name]) for name in STATE)


def test_safetensors_whatever_they_are_called(tmp_path):
    save_file(STATE, tmp_path / "weights.pth")
    assert same(read_checkpoint(tmp_path / "weights.pth"))


@pytest.mark.parametrize(
    "wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}]
)
@pytest.mark.parametrize("as_zip", [True, False])
def test_pth_plain_or_nested_new_or_legacy(tmp_path, wrap, as_zip):
    torch.save(wrap(STATE), tmp_path / "w.pth", _use_new_zipfile_serialization=as_zip)
    assert same(read_checkpoint(tmp_path / "w.pth"))


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path, save):
    harm = tmp_path / "harm"
    save({"a": torch.zeros(1), "evil": Malicious(str(harm))}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="run code"):
        read_checkpoint(tmp_path / "w.pth")
    assert not harm.exists()


def test_a_torchscript_program_is_refused(tmp_path):
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(tmp_path / "w.pt")
    with pytest.raises(WeightsError, match="TorchScript"):
        read_checkpoint(tmp_path / "w.pt")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x00" * 100, b"PK\x03\x04 no zip", b"\x05" + b"\x00" * 7 + b"{"]
)
def test_what_is_no_weights_file_is_refused(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.pth"):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_a_truncated_file_is_refused(tmp_path, kind):
    path = tmp_path / "w"
    if kind == "safetensors":
        save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=kind == "zip")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError):
        read_checkpoint(path)


def test_a_file_without_tensors_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no state dict"):
        read_checkpoint(tmp_path / "w.pth")
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no state dict"):
        read_checkpoint(tmp_path / "w.pth")
