"""Write down the names that a release of TensorRT has, from its bindings' wheel.

    python tests/tensorrt_names/collect.py tensorrt-cu12-bindings==10.3.0
    python tests/tensorrt_names/collect.py tensorrt-cu12-bindings==11.4.0.106
    python tests/tensorrt_names/collect.py tensorrt-rtx-cu13-bindings==1.7.1.116

The wheel (1 MB) has the extension module and not the libraries that it is linked with. The module is imported
all the same: it needs a handful of functions of them, which are made up here and never called. Needs pip and
a C compiler.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
_INTROSPECT = """
import importlib, inspect, json, sys
module = importlib.import_module(sys.argv[1])
names = {"": sorted(name for name in dir(module) if not name.startswith("_"))}
def walk(prefix, holder):
    for name in dir(holder):
        value = getattr(holder, name, None)
        if name.startswith("_") or not inspect.isclass(value) or value.__module__.startswith("typing"):
            continue
        path = prefix + name
        if path not in names and "tensorrt" in value.__module__:
            names[path] = sorted(member for member in dir(value) if not member.startswith("_"))
            walk(path + ".", value)
walk("", module)
print(json.dumps({"version": module.__version__, "names": names}))
"""


def main(requirement: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work)]
        subprocess.run([*pip, requirement], check=True)
        (wheel,) = work.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(work / "unpacked")
        (extension,) = (work / "unpacked").rglob("*.so")
        _make_up_libraries(extension, work / "libraries")
        done = subprocess.run(
            [sys.executable, "-c", _INTROSPECT, extension.parent.name],
            env={
                **os.environ,
                "PYTHONPATH": str(work / "unpacked"),
                "LD_LIBRARY_PATH": str(work / "libraries"),
            },
            capture_output=True,
            text=True,
            check=True,
        )
    found = json.loads(done.stdout)
    kind = "tensorrt-rtx" if "rtx" in requirement else "tensorrt"
    lines = [f"  {json.dumps(name)}: {json.dumps(members)}" for name, members in found["names"].items()]
    text = f'{{"version": {json.dumps(found["version"])}, "names": {{\n' + ",\n".join(lines) + "\n}}\n"
    path = HERE / f"{kind}-{found['version']}.json"
    path.write_text(text)
    print(f"{path.name}: {len(lines) - 1} classes")


def _make_up_libraries(extension: Path, folder: Path) -> None:
    """Libraries of the names that the extension is linked with, with the functions that it takes from
    them."""
    folder.mkdir()
    linked = subprocess.run(["objdump", "-p", extension], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"NEEDED\s+(lib(?:nv|tensorrt)\S+)", linked)
    symbols = subprocess.run(
        ["nm", "-D", "--undefined-only", extension], capture_output=True, text=True, check=True
    ).stdout
    functions = re.findall(r" U (\w+)$", symbols, flags=re.MULTILINE)
    wanted = [name for name in functions if re.match(r"(create|get|init|load)\w*(Nv|Infer|Plugin)", name)]
    source = folder / "stubs.c"
    source.write_text("\n".join(f"void *{name}(void) {{ return 0; }}" for name in wanted))
    for library in libraries:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / library, source], check=True)


if __name__ == "__main__":
    main(sys.argv[1])
