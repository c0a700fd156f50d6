from pathlib import Path

import pytest

from edgead.jobs.inspection import Gallery, overlay_name
from edgead.report.html import Thumbnails

PAIR = Thumbnails(b"original", b"overlay")


def test_the_gallery_keeps_the_highest_scores():
    gallery = Gallery(2)
    for file, score in [("a", 0.1), ("b", 0.9), ("c", 0.5), ("d", 0.2)]:
        if gallery.wants(score):
            gallery.add(file, score, PAIR)
    assert set(gallery.by_file()) == {"b", "c"}


def test_a_gallery_of_none_wants_nothing():
    assert not Gallery(0).wants(1.0)


def test_equal_scores_are_no_trouble():
    gallery = Gallery(1)
    for file in "abc":
        gallery.add(file, 0.5, PAIR)
    assert len(gallery.by_file()) == 1


def test_equal_names_in_two_folders_have_overlays_of_their_own():
    assert overlay_name(0, Path("a/x.png")) != overlay_name(1, Path("b/x.png"))


@pytest.mark.parametrize("stem", ["部品" * 100, "../../etc", "a b:c*?", ".hidden", "x" * 250])
def test_an_overlay_name_is_one_plain_file_name(stem):
    name = overlay_name(0, Path(f"{stem}.png"))
    assert Path(name).name == name
    assert len(name.encode()) < 255
    assert not set(name) & set(' :*?/\\"<>|')
