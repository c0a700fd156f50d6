"""What all tests have in common."""

import os

import pytest

# Which engine is fastest depends on the machine and the moment; what is tested does not. Also for the command
# lines that tests start.
os.environ["EDGEAD_ENGINE"] = "onnxruntime"


@pytest.fixture
def unpinned_engine(monkeypatch, tmp_path):
    """``auto`` measures, and remembers in a folder of the test's own."""
    monkeypatch.delenv("EDGEAD_ENGINE")
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
