import csv
import io
import statistics
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from edgead_runtime import get_recipe
from edgead_runtime.images import encode_jpeg

from edgead.evaluation import published
from edgead.evaluation.comparability import (
    RunFacts,
    why_mean_not_comparable,
    why_object_not_comparable,
    why_run_not_comparable,
)
from edgead.evaluation.results import METRICS, Problem, ScoredPicture, UnitResult, WorstCase
from edgead.evaluation.summary import summarize
from edgead.evaluation.tables import to_csv, to_json_object, to_markdown
from edgead.report.curves import make_chart
from edgead.report.evaluation_page import EvaluationPage, render_evaluation

NASTY = "<script>alert('x')</script> & \"Größe\".png"
OFFICIAL = RunFacts(
    dataset="mvtec",
    official_weights=True,
    backbone="dinov2_s",
    input_hw=(448, 448),
    fit="crop",
    layers=(12,),
    final_norm=True,
    recipe=get_recipe("anomalydino"),
    seeds=3,
    pro_limit=0.3,
)


def unit(name="bottle", shots=1, seed=0, *, value=0.9, **changes):
    """A unit with as many pictures as MVTec-AD's own object of that name has."""
    there = published.OBJECTS["mvtec"].get(name, published.OfficialObject(5, 2, 3, False))
    pictures = [
        ScoredPicture(file=f"{i}.png", kind="x", anomalous=i >= there.good, score=i / 100, alarm=i > 5)
        for i in range(there.good + there.defective)
    ]
    fields = {
        "settings": "s",
        "object": name,
        "shots": shots,
        "seed": seed,
        "train_pictures": there.train,
        "masked": there.masked,
        "metrics": {metric: value for metric, _ in METRICS},
        "curves": {
            "image_roc": [(0, 0), (0, 0.5), (1, 1)], "pixel_roc": [(0, 0), (1, 1)], "pro": [(0, 0), (1, 1)],
        },
        "pictures": pictures,
    }  # fmt: skip
    return UnitResult(**{**fields, **changes})


@pytest.mark.parametrize(
    ("dataset", "metrics"), [("mvtec", ("image_auroc", "pixel_auroc", "pro")), ("visa", ("image_auroc",))]
)
def test_the_published_means_are_those_of_the_objects(dataset, metrics):
    for metric in metrics:
        mean = statistics.fmean(
            getattr(published.ONE_SHOT_448[dataset, name], metric) for name in published.OBJECTS[dataset]
        )
        assert mean == pytest.approx(getattr(published.MEANS[dataset, 448, 1], metric), abs=0.06)


def test_the_data_sets_have_their_known_sizes():
    totals = {
        name: [
            sum(getattr(each, field) for each in objects.values()) for field in ("train", "good", "defective")
        ]
        for name, objects in published.OBJECTS.items()
    }
    assert totals == {"mvtec": [3629, 467, 1258], "visa": [8659, 962, 1200]}
    assert {(d, o) for d, objects in published.OBJECTS.items() for o in objects} == set(
        published.ONE_SHOT_448
    )


def test_a_run_as_published_is_comparable():
    assert why_run_not_comparable(OFFICIAL) == ()
    assert why_object_not_comparable(OFFICIAL, [unit(), unit(seed=1)]) == ()
    assert (
        why_mean_not_comparable(OFFICIAL, {name: [unit(name)] for name in published.OBJECTS["mvtec"]}) == ()
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"official_weights": False}, "not the official"),
        ({"backbone": "dinov2_b"}, "dinov2_b"),
        ({"input_hw": (224, 224)}, "224 x 224"),
        ({"input_hw": (448, 588)}, "588 x 448"),
        ({"fit": "stretch"}, "stretched"),
        ({"layers": (9,)}, "block 9"),
        ({"final_norm": False}, "without the final norm"),
        ({"recipe": get_recipe("anomalydino-informed")}, "anomalydino-informed"),
        ({"recipe": get_recipe("anomalydino").with_(top_fraction=0.02)}, "recipe"),
        ({"seeds": 1}, "seeds: 1"),
    ],
)
def test_what_differs_is_said(changes, reason):
    (said,) = why_run_not_comparable(replace(OFFICIAL, **changes))
    assert reason in said


def test_with_0_shots_neither_seeds_nor_rotations_nor_good_pictures_matter():
    once = replace(OFFICIAL, seeds=1, recipe=get_recipe("anomalydino-informed"))
    assert why_run_not_comparable(once, (0,)) == ()
    assert len(why_run_not_comparable(once, (0, 1))) == 2
    assert why_object_not_comparable(once, [unit(shots=0, train_pictures=0)]) == ()
    assert why_object_not_comparable(once, [unit(train_pictures=0)])
    for changes in ({"batch_share": 0.01}, {"batch_rule": "worst-references"}):
        other = replace(OFFICIAL, recipe=OFFICIAL.recipe.with_(**changes))
        assert "recipe" in why_run_not_comparable(other, (0,))[0]
        assert why_run_not_comparable(other, (1,)) == ()


def test_the_published_batched_zero_shot_stands_beside_ours():
    units = [unit(name, shots=0) for name in published.OBJECTS["mvtec"]]
    summary = summarize(units, replace(OFFICIAL, seeds=1))
    assert summary.means[0].published.percent == {"image_auroc": 93.0}
    assert summary.means[0].published.not_comparable == ()
    assert all(row.published is None for row in summary.rows)
    large = summarize(units, replace(OFFICIAL, input_hw=(672, 672)))
    assert large.means[0].published.percent == {"image_auroc": 94.2}
    one = units[0]
    unlike = [unit(one.object, shots=0, masked=not one.masked), *units[1:]]
    assert "bottle" in summarize(unlike, OFFICIAL).means[0].published.not_comparable[0]
    assert (published.MEANS["visa", 448, 0].image_auroc, published.MEANS["visa", 672, 0].image_auroc) == (
        89.7,
        90.7,
    )


@pytest.mark.parametrize(
    ("units", "reason"),
    [
        ([unit("cookie")], "no object of that name"),
        ([unit(train_pictures=28)], "28 good to enrol"),
        ([unit(), unit(seed=1, masked=True)], "masked here"),
        ([unit(not_run="x", pictures=[])], "missing"),
        ([unit(failed=[Problem(file="a", problem="b", remedy="c")])], "missing"),
    ],
)
def test_other_pictures_under_the_same_name_are_noticed(units, reason):
    assert reason in why_object_not_comparable(OFFICIAL, units)[0]


def test_a_mean_over_some_objects_is_not_the_published_mean():
    assert "over 1 objects" in why_mean_not_comparable(OFFICIAL, {"bottle": [unit()]})[0]


def test_mean_and_deviation_over_seeds():
    units = [
        unit(o, 1, s, value=v)
        for o, s, v in (("bottle", 0, 0.8), ("bottle", 1, 0.9), ("cable", 0, 0.6), ("cable", 1, 0.6))
    ]
    summary = summarize(units, OFFICIAL)
    bottle, cable = summary.rows
    assert bottle.metrics["pro"].mean == pytest.approx(0.85)
    assert bottle.metrics["pro"].deviation == pytest.approx(statistics.stdev([0.8, 0.9]))
    assert cable.metrics["pro"].deviation == 0
    (mean,) = summary.means
    # The mean over the objects first: 0.7 and 0.75.
    assert mean.metrics["pro"].mean == pytest.approx(0.725)
    assert mean.metrics["pro"].deviation == pytest.approx(statistics.stdev([0.7, 0.75]))
    assert mean.published.percent["image_auroc"] == 96.5


def test_a_seed_that_lacks_an_object_is_not_in_the_mean():
    units = [
        unit("bottle", 1, 0),
        unit("bottle", 1, 1),
        unit("cable", 1, 0),
        unit("cable", 1, 1, not_run="no", metrics={}),
    ]
    summary = summarize(units, OFFICIAL)
    assert summary.means[0].metrics["pro"].seeds == 1
    assert summary.rows[1].metrics["pro"].seeds == 1
    assert summary.incomplete
    assert summary.remarks == ("cable (1-shot seed 1): Not run: no",)


def test_published_numbers_of_another_pro_limit_are_left_out():
    summary = summarize([unit()], replace(OFFICIAL, pro_limit=0.05))
    assert set(summary.rows[0].published.percent) == {"image_auroc", "pixel_auroc"}
    assert "PRO (to 0.05)" in to_markdown(summary, "t", ())


def test_numbers_at_448_beside_a_run_at_672():
    summary = summarize([unit()], replace(OFFICIAL, input_hw=(672, 672)))
    assert summary.rows[0].published.not_comparable == ("published at 448 px",)


def test_markdown_marks_what_is_not_comparable():
    fair = to_markdown(summarize([unit()], OFFICIAL), "t", ())
    assert "| bottle | 1 | image AUROC | 90.0 | 99.47 | comparable |" in fair
    unfair = to_markdown(summarize([unit()], replace(OFFICIAL, official_weights=False)), "t", ())
    assert "| comparable |" not in unfair
    assert "**Not comparable** with this run: the weights are not the official ones." in unfair


def test_csv_and_json_hold_the_units_and_the_spreads():
    summary = summarize([unit(value=0.8), unit(seed=1, not_run="why")], OFFICIAL)
    rows = list(csv.DictReader(io.StringIO(to_csv(summary))))
    assert [(row["seed"], row["image_auroc"], row["not_run"]) for row in rows] == [
        ("0", "0.8", ""), ("1", "", "why"), ("mean", "0.8", ""), ("std", "", ""),
    ]  # fmt: skip
    data = msgspec.json.decode(msgspec.json.encode(to_json_object(summary, {"a": 1})))
    assert data["rows"][0]["metrics"]["pro"] == {"mean": 0.8, "std": None, "seeds": 1}
    assert len(data["units"]) == 2


def page_of(units, facts=OFFICIAL):
    summary = summarize(units, facts)
    return render_evaluation(
        EvaluationPage(NASTY, summary, facts.official_weights, "dinov2_s", "", (("A", NASTY),))
    )


def test_the_page_needs_no_network_and_escapes_names():
    jpeg = encode_jpeg(np.zeros((20, 20, 3), dtype=np.uint8))
    case = {"kind": "x", "original_jpeg": jpeg, "overlay_jpeg": jpeg}
    worst = [
        WorstCase(file=NASTY, what="false alarm", times_threshold=1.5, **case),
        WorstCase(file="quiet.png", what="miss", times_threshold=0.5, **case),
    ]
    text = page_of([unit(worst=worst), unit(shots=2)])
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert text.count("data:image/jpeg") == 4
    assert text.count("<polyline") == 6
    assert "1.50 × threshold" in text
    assert "Not the official weights" not in text


def test_the_page_of_a_run_that_went_wrong():
    text = page_of(
        [
            unit("a", not_run="too few", pictures=[], metrics={}, curves={}),
            unit("b", failed=[Problem(file=NASTY, problem="b", remedy="c")]),
        ],
        replace(OFFICIAL, official_weights=False),
    )
    assert "Not the official weights" in text
    assert "It was not run." in text
    assert "too few" in text
    assert "not usable" in text


def test_a_curve_that_rises_at_once_is_drawn_at_its_height():
    chart = make_chart("t", "x", {"1-shot": [[(0, 0), (0, 0.5), (1, 1)], [(0, 0), (0, 1), (1, 1)]]})
    first, second, *_, last = chart.lines[0].points.split()
    assert float(first.split(",")[1]) == chart.baseline
    assert float(second.split(",")[1]) == pytest.approx(
        chart.top + 0.25 * (chart.baseline - chart.top), abs=0.1
    )
    assert last == f"{chart.right:.1f},{chart.top:.1f}"
