"""What importing the package settles before NumPy is loaded."""

import os
import subprocess
import sys

import pytest

NAME = "OPENBLAS_THREAD_TIMEOUT"


def _said_by(script, **variables):
    environment = {key: value for key, value in os.environ.items() if key != NAME}
    command = [sys.executable, "-c", f"import os\n{script}\nprint(os.environ.get({NAME!r}))"]
    environment |= variables
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("module", ["edgead_runtime", "edgead.cli", "edgead_runtime.command"])
def test_numpys_threads_rest_whatever_is_imported_first(module):
    assert _said_by(f"import {module}") == "4"


def test_what_the_user_has_set_stays():
    assert _said_by("import edgead_runtime", **{NAME: "20"}) == "20"


def test_where_numpy_is_loaded_already_it_would_be_a_lie():
    assert _said_by("import numpy, edgead_runtime") == "None"
