"""What the benchmarks stand on: the table of ways, the floors, and text that a command writes into a page."""

import importlib.util
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import footprint, view
from benchmarks.baselines.job import Clock
from benchmarks.baselines.ways import FLOORS, WAYS
from benchmarks.documents import fill
from benchmarks.floors import FLOOR_OF, encoder_gflop
from benchmarks.plots import draw_bars, draw_lines

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
PARTS = (
    "baselines-448",
    "baselines-224",
    "resolution",
    "bank",
    "cameras",
    "encoder-graphs",
    "encoder-settings",
)


def test_every_way_has_its_module_and_its_floor():
    for way in (*WAYS.values(), *FLOORS.values()):
        assert importlib.util.find_spec(f"benchmarks.baselines.{way.module}")
        assert way.precision == way.options.get("precision", "fp32")
        assert FLOOR_OF[way.precision] in FLOORS
    assert len({way.title for way in WAYS.values()}) == len(WAYS)


def test_asking_footprint_for_help_measures_nothing(monkeypatch, capsys):
    monkeypatch.setattr(footprint.subprocess, "run", None)
    with pytest.raises(SystemExit) as ended:
        footprint.main(["--help"])
    assert ended.value.code == 0
    assert "wheel" in capsys.readouterr().out


def test_operations_of_the_encoder():
    # Linear layers 43.5, attention 19.4 and patch embedding 0.5 thousand million at 448.
    assert encoder_gflop(448) == pytest.approx(63.4, abs=0.1)
    assert encoder_gflop(224) < encoder_gflop(448) / 4


def test_the_stages_of_a_clock_are_within_its_total():
    clock = Clock()
    clock.stage("encode")
    clock.stage("search")
    times = clock.stop()
    assert list(times) == ["encode", "search", "total"]
    assert times["encode"] + times["search"] <= times["total"]


def test_measured_text_goes_between_its_comments_and_nowhere_else():
    page = "before\n<!-- measured: bank -->\nold\nlines\n<!-- end of bank -->\nafter\n"
    filled = fill(page, "bank", r"new \1 text")
    assert filled == page.replace("old\nlines", r"new \1 text")
    assert fill(filled, "bank", "old\nlines") == page
    with pytest.raises(ValueError, match="0 places for 'cameras'"):
        fill(page, "cameras", "x")


@pytest.mark.parametrize("part", PARTS)
def test_the_page_has_a_place_for_every_part(part):
    text = PAGE.read_text(encoding="utf-8")
    assert fill(text, part, "x") != text


def test_the_page_of_the_loop_has_a_place_for_what_stands_beside_it():
    text = view.PAGE.read_text(encoding="utf-8")
    assert fill(text, view.MARK, "x") != text


def test_ratios_are_to_the_loop_alone():
    turns = [[100.0, 110.0], [200.0, 220.0], [100.0, 100.0]]
    times = dict.fromkeys(("the loop alone", "live view, no page open"), turns)
    times["while a good part is taught"] = [[2 * ms for ms in turn] for turn in turns]
    told = view.report(times, [0.5, 0.7, 0.6])
    assert "| live view, no page open | 105 | 220 | 1.00 (1.00 to 1.00) |" in told
    assert "| while a good part is taught | 210 | 440 | 2.00 (2.00 to 2.00) |" in told
    assert (
        "A lesson takes 0.60 s (median of 3), and the longest that a frame took meanwhile is 440 ms" in told
    )


def test_pictures_of_tables(tmp_path):
    draw_bars(tmp_path / "bars.png", "Bars", {"one": {"encode": 90.0, "map": 3.0}, "two": {"model": 40.0}})
    draw_lines(
        tmp_path / "lines.png", "Lines", "x", "y", {"a": [(1, 5), (100, 9)], "b": [(1, 5)]}, log_x=True
    )
    for name in ("bars.png", "lines.png"):
        assert Image.open(tmp_path / name).width == 1800
