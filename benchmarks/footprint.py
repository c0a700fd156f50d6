"""Size of the runtime's wheel and of a whole environment that has nothing else.

python -m benchmarks.footprint
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import save, table

_ROOT = Path(__file__).parent.parent
_MB = 1e6
# What `python -m venv` brings and the runtime does not need.
_NOT_OURS = ("pip", "setuptools")


def _size(path: Path) -> int:
    return sum(
        entry.stat().st_size for entry in path.rglob("*") if entry.is_file() and not entry.is_symlink()
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Build, install, weigh; takes a minute, and pip's index."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build = [
            sys.executable,
            "-m",
            "build",
            "--quiet",
            "--wheel",
            "--outdir",
            str(folder),
            str(_ROOT / "runtime"),
        ]
        subprocess.run(build, check=True)
        wheel = next(folder.glob("*.whl"))
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        python = folder / "venv" / "bin" / "python"
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", f"{wheel}[cpu]"], check=True)
        packages = next((folder / "venv" / "lib").glob("python3*/site-packages"))
        sizes = {
            entry.name: _size(entry)
            for entry in packages.iterdir()
            if entry.is_dir() and not entry.name.startswith(_NOT_OURS)
        }
        wheel_bytes = wheel.stat().st_size
    total = sum(sizes.values())
    rows: list[list[object]] = [["edgead-runtime wheel", f"{wheel_bytes / _MB:.3f}"]]
    rows.append(["environment with [cpu], without pip", f"{total / _MB:.0f}"])
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:6]
    rows += [[f"of that {package}", f"{size / _MB:.0f}"] for package, size in largest]
    save("footprint", table(["what", "MB"], rows), {"wheel_bytes": wheel_bytes, "environment_bytes": sizes})


if __name__ == "__main__":
    main()
