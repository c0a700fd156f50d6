"""Banks that leave patches out, and searching them otherwise, by the command line."""

import pytest
from edgead_runtime import Detector


@pytest.fixture
def small(edgead, encoder, good, tmp_path):
    out = tmp_path / "small.edgead"
    ran = edgead(
        "enroll", "--encoder", encoder, "--good", good, "-o", out, "--coreset", 0.25, "--keep-as", "int8"
    )
    assert ran.code == 0
    return ran, out


def test_enroll_says_what_a_coreset_guarantees(small):
    ran, out = small
    with Detector.load(out) as detector:
        (record,) = detector.coreset
        assert detector.rows == record.chosen == round(0.25 * record.rows)
        assert detector.recipe.keep_as == "int8"
    assert f"Kept {record.chosen:,} of {record.rows:,} patches" in ran.out
    assert "no good patch is farther than" in ran.out


def test_detect_with_an_index_gives_the_same_scores(edgead, small, good, tmp_path):
    _, detector = small
    scores = {}
    for index in ("exact", "clusters", "auto"):
        out = tmp_path / index
        ran = edgead("detect", detector, good, "-o", out, "--index", index, "--json")
        assert ran.code in (0, 1)
        scores[index] = [line.split(",") for line in (out / "results.csv").read_text().splitlines()]
    assert len(scores["exact"]) == len(scores["clusters"]) > 4
    header = scores["exact"][0]
    place = header.index("score")
    for one, other in zip(scores["exact"][1:], scores["clusters"][1:], strict=True):
        assert float(one[place]) == pytest.approx(float(other[place]), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--index", "kd-tree"], "unknown index 'kd-tree'"),
        (["--index", "hnsw "], "unknown index"),
    ],
)
def test_an_index_that_there_is_not(edgead, small, good, tmp_path, options, says):
    _, detector = small
    ran = edgead("detect", detector, good, "-o", tmp_path / "out", *options)
    assert ran.code == 2
    assert says in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", ["0", "1.5", "-3", "nan"])
def test_a_coreset_that_makes_no_sense(edgead, encoder, good, tmp_path, value):
    ran = edgead(
        "enroll", "--encoder", encoder, "--good", good, "-o", tmp_path / "p.edgead", f"--coreset={value}"
    )
    assert ran.code == 2
    assert "coreset is" in ran.err
    assert not (tmp_path / "p.edgead").exists()


def test_bench_compares_indexes(edgead, small, tmp_path):
    _, detector = small
    options = ["--frames", 6, "--warm-up", 1, "--index", "exact", "--compare", "--index clusters"]
    ran = edgead("bench", detector, *options, "--json")
    assert ran.code == 0
    assert ran.summary["measurement"]["subject"]["index"] == "exact"
    (compared,) = ran.summary["comparisons"]
    assert compared["measurement"]["subject"]["index"] == "clusters"
