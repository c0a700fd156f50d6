"""An environment for anomalib, which wants another torch: made once, under ``benchmarks/out``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

PINS = (
    "torch==2.14.1",
    "torchvision==0.29.1",
    "anomalib==2.7.0",
    "openvino==2026.4.1",
    "onnx",
    "onnxscript",
)
_NEEDED_GB = 9
_DONE = ".edgead-complete"


def anomalib_python(folder: Path) -> Path:
    """The environment's interpreter; made on the first call (five minutes, 6.5 GB).

    Raises:
        RuntimeError: There is no room, or pip did not come through; what it said is in it.
    """
    python = folder / "bin" / "python"
    if (folder / _DONE).exists():
        return python
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free / 1e9
    if free < _NEEDED_GB:
        raise RuntimeError(f"anomalib's environment needs {_NEEDED_GB} GB, {free:.1f} are free")
    print(f"making {folder}: {', '.join(PINS)}")
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--no-cache-dir", *PINS]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "WARNING" not in line]
        raise RuntimeError(f"pip could not install anomalib: {' '.join(said[-3:])}")
    (folder / _DONE).touch()
    return python
