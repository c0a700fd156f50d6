"""JSON that is nested deeper than any stack: not readable, like any other garbage."""

import pytest
from edgead_runtime.errors import BundleError, OutputError

from edgead.evaluation.results import load_unit
from edgead.jobs.bench.record import read_bench
from edgead.jobs.file_states import what_differs
from edgead.jobs.results_folder import check_results_folder

DEEP = "[" * 100_000


@pytest.mark.parametrize("text", [DEEP, f'{{"schema_version": 1, "kind": "edgead-bench", "more": {DEEP}'])
def test_a_benchmark(tmp_path, text):
    (tmp_path / "bench.json").write_text(text)
    with pytest.raises(BundleError, match=r"bench\.json"):
        read_bench(tmp_path / "bench.json")


@pytest.mark.parametrize("text", [DEEP, f'{{"more": {DEEP}'])
def test_what_an_earlier_run_left(tmp_path, text):
    (tmp_path / "unit.json").write_text(text)
    assert load_unit(tmp_path / "unit.json", "") is None
    assert what_differs(text, "{}") == "its settings cannot be read"


def test_somebody_elses_results(tmp_path):
    (tmp_path / "results.jsonl").write_text(DEEP)
    with pytest.raises(OutputError, match="not of results"):
        check_results_folder(tmp_path, overwrite=True)
