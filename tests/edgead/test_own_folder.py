"""What --overwrite may replace: the like of what is written, and nothing else."""

import json

import pytest
from edgead_runtime.errors import OutputError

from edgead.jobs.bundle_folder import check_bundle_folder
from edgead.jobs.results_folder import check_results_folder


def _results(folder):
    folder.mkdir()
    (folder / "results.jsonl").write_text(json.dumps({"file": "a.png", "provenance": {}}) + "\n")
    (folder / "report.html").touch()
    (folder / "overlays").mkdir()
    return folder


def test_results_may_be_replaced_when_asked(tmp_path):
    out = _results(tmp_path / "out")
    with pytest.raises(OutputError, match="already holds results"):
        check_results_folder(out, overwrite=False)
    check_results_folder(out, overwrite=True)


def test_a_stranger_beside_the_results_protects_the_folder(tmp_path):
    out = _results(tmp_path / "out")
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        check_results_folder(out, overwrite=True)


@pytest.mark.parametrize("content", ["", "not json\n", '{"epoch": 1, "loss": 0.3}\n', "[1, 2]\n"])
def test_a_file_of_the_same_name_proves_nothing(tmp_path, content):
    """Many programs write a results.jsonl."""
    (tmp_path / "results.jsonl").write_text(content)
    with pytest.raises(OutputError, match="not of results"):
        check_results_folder(tmp_path, overwrite=True)


@pytest.mark.parametrize("content", ["{}", '{"name": "My web app", "icons": []}', "not json"])
def test_a_web_apps_manifest_is_no_encoder_bundle(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(OutputError, match="not of an encoder bundle"):
        check_bundle_folder(tmp_path, overwrite=True)


def test_new_and_empty_folders_are_fine(tmp_path):
    for check in (check_results_folder, check_bundle_folder):
        check(tmp_path / "new", overwrite=False)
        check(tmp_path, overwrite=False)
