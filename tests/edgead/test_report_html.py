import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from edgead_runtime import Region
from edgead_runtime.images import encode_jpeg
from PIL import Image

from edgead.evaluation.latency import stage_latencies
from edgead.records import FailedPicture, InspectedPicture
from edgead.report.facts import DetectorFacts
from edgead.report.html import Report, ReportWords, Section, Thumbnails, render_report

NASTY = "line 3/<script>alert('x')</script> & \"Größe\" 部品.png"
FACTS = DetectorFacts(
    name="part.edgead",
    threshold=0.2,
    pixel_threshold=0.3,
    backbone="dinov2_s",
    official_weights=True,
    weights_note="",
    rows=(("Backbone", "dinov2_s, output of block 12"), ("Recipe", "anomalydino")),
)
THUMBNAILS = Thumbnails(*[encode_jpeg(np.full((20, 30, 3), level, dtype=np.uint8)) for level in (90, 160)])


def picture(file, score, *, regions=()):
    return InspectedPicture(
        file=file,
        width=30,
        height=20,
        score=score,
        threshold=0.2,
        is_anomaly=score > 0.2,
        regions=regions,
        timings_ms={"preprocess": 1.0, "encode": 10.0 * score, "map": 2.0},
        overlay="overlays/x.jpg",
    )


def report(records, **changes):
    files = [record.file for record in records if isinstance(record, InspectedPicture)]
    fields = {"thumbnails": dict.fromkeys(files, THUMBNAILS), "facts": FACTS, **changes}
    return render_report(Report(title="Inspection", records=records, **fields))


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def attributes(self, name):
        return [attributes[name] for _, attributes in self.tags if attributes.get(name)]


def test_nothing_is_fetched_and_nothing_is_run():
    text = report([picture("a.png", 0.3), picture("b.png", 0.1)])
    page = Page(text)
    without_data = re.sub(r"data:image/jpeg;base64,[\w+/=]+", "", text)
    assert not re.search(r"https?:|//\w|@import|url\(", without_data)
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.attributes("src"))
    assert all(target.startswith("#") for target in page.attributes("href"))
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    policy = next(a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy


def test_pictures_of_a_faster_setting_are_ranked_by_their_own_threshold():
    degraded = replace(picture("small.png", 0.4), threshold=0.1, degraded=("with less",))
    text = report([picture("full.png", 0.5), degraded])
    assert text.index("small.png") < text.index("full.png")


@pytest.mark.parametrize("kind", ["inspected", "failed", "title", "section", "note"])
def test_every_text_from_outside_is_escaped(kind):
    records = [picture(NASTY if kind == "inspected" else "a.png", 0.3)]
    changes = {}
    if kind == "failed":
        records.append(FailedPicture(NASTY, f"{NASTY} is damaged", "Copy it again."))
    if kind == "section":
        changes["sections"] = (Section(NASTY, (NASTY,)),)
    if kind == "note":
        changes["facts"] = DetectorFacts(
            **{**FACTS.__dict__, "official_weights": False, "weights_note": NASTY, "rows": ((NASTY, NASTY),)}
        )
    if kind == "title":
        text = render_report(Report(title=NASTY, records=records, facts=FACTS, thumbnails={}))
    else:
        text = report(records, **changes)
    page = Page(text)
    assert "<script" not in text
    assert "部品.png" in page.text
    assert not any(tag == "script" for tag, _ in page.tags)


def test_the_highest_score_comes_first():
    text = Page(report([picture("low.png", 0.1), picture("high.png", 0.5), picture("mid.png", 0.3)])).text
    assert text.index("high.png") < text.index("mid.png") < text.index("low.png")


def test_counts_scores_and_verdicts():
    text = " ".join(Page(report([picture("a.png", 0.1), picture("b.png", 0.5)])).text.split())
    assert "2pictures inspected" in text
    assert "1anomalous" in text
    assert "ANOMALY" in text
    assert "2.50 × threshold" in text


def test_pictures_beyond_the_limit_are_listed_without_images_and_it_is_said():
    records = [picture("a.png", 0.3), picture("b.png", 0.1)]
    text = report(records, thumbnails={"a.png": THUMBNAILS})
    page = Page(text)
    assert len(page.attributes("src")) == 2
    assert "b.png" in page.text
    assert "Only the 1 highest-scoring pictures are shown with images; the other 1 are listed" in page.text


def test_unofficial_weights_have_a_banner_and_official_ones_do_not():
    stand_in = DetectorFacts(**{**FACTS.__dict__, "official_weights": False, "weights_note": "A stand-in."})
    assert "Not the official weights" in report([picture("a.png", 0.3)], facts=stand_in)
    assert "Not the official weights" not in report([picture("a.png", 0.3)])


def test_labels_are_compared_with_verdicts():
    records = [
        picture(f"{name}.png", score) for name, score in zip("abcd", (0.5, 0.3, 0.15, 0.1), strict=True)
    ]
    labels = {"a.png": True, "b.png": False, "c.png": True, "d.png": False}
    text = " ".join(Page(report(records, labels=labels)).text.split())
    assert "Image AUROC 0.750" in text
    for outcome in ("defective: found", "good: FALSE ALARM", "defective: MISSED", "good: passed"):
        assert f"known {outcome}" in text
    assert "Wrong 2" in text


def test_failed_pictures_are_listed_and_a_page_of_only_failures_works():
    text = Page(report([FailedPicture("x.png", "x.png is not a picture", "Give PNG files.")])).text
    assert "x.png is not a picture. Give PNG files." in " ".join(text.split())


def test_regions_are_listed_strongest_first_and_the_rest_counted():
    regions = tuple(Region(x=n, y=2, width=3, height=4, area_px=12, peak=1 - n / 10) for n in range(6))
    text = Page(report([picture("a.png", 0.5, regions=regions)])).text
    assert "3 × 4 px at (0, 2), peak 1" in text
    assert "and 2 weaker" in text


def test_thumbnails_are_the_jpegs_given():
    sources = Page(report([picture("a.png", 0.3)])).attributes("src")
    decoded = Image.open(io.BytesIO(base64.b64decode(sources[0].split(",")[1])))
    assert decoded.size == (30, 20)


def test_latency_is_per_stage_and_in_total():
    latencies = {
        latency.stage: latency
        for latency in stage_latencies([picture("a", 1), picture("b", 2), picture("c", 3)])
    }
    assert list(latencies) == ["preprocess", "encode", "map", "total"]
    assert latencies["encode"].p50_ms == 20
    assert latencies["encode"].p95_ms == pytest.approx(29)
    assert latencies["total"].p50_ms == 23


def test_a_ranking_is_not_shown_as_a_verdict():
    words = ReportWords(
        lead="Ranked.", banner_head="A ranking.", banner="<b>A guess.</b>", threshold="guess",
        above="above the guess", below="below the guess", above_badge="up", below_badge="low", ranked=True,
    )  # fmt: skip
    text = report([picture("a.png", 0.1), picture("b.png", 0.3)], words=words)
    page = " ".join(Page(text).text.split())
    assert "1 of 2 score above the guess of 0.2" in page
    assert "<b>A guess.</b>" in page
    assert "no. 1 of 2 b.png" in page
    assert "no. 2 of 2 a.png" in page
    for verdict in ("ANOMALY", "OK", "is an anomaly"):
        assert verdict not in page
