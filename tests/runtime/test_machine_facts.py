"""What this machine is and has, asked for in one place each."""

import numpy as np
import pytest
from edgead_runtime.cores import cpu_flags, cpu_name
from edgead_runtime.installed import version_of


def test_a_version_is_that_of_the_first_that_is_installed():
    assert version_of("numpy") == version_of("no-such-package", "numpy") == np.__version__
    assert version_of("no-such-package") == version_of() == ""


@pytest.mark.parametrize(
    ("text", "name", "flags"),
    [
        (
            "processor\t: 0\nmodel name\t: Some CPU: 2 GHz\nflags\t\t: fpu avx2\n\nmodel name\t: Other\n",
            "Some CPU: 2 GHz",
            {"fpu", "avx2"},
        ),
        ("processor\t: 0\nFeatures\t: fp asimd\nCPU part\t: 0xd42\n", "0xd42", {"fp", "asimd"}),
        ("processor\t: 0\nvmx flags\t: ept\n", None, set()),
        ("", None, set()),
    ],
)
def test_what_the_kernel_says_of_the_processor(tmp_path, text, name, flags):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(text)
    assert cpu_name(tmp_path) == (name or cpu_name(tmp_path / "nowhere"))
    assert cpu_name(tmp_path)
    assert cpu_flags(tmp_path) == flags
