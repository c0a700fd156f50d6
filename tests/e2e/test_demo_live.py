"""`edgead demo --live` with a detector that is ready at once: what is said over its page is learned."""

import json
import re
import threading
import urllib.request
from contextlib import contextmanager, nullcontext

import pytest
from edgead_runtime import Detector
from websockets.sync.client import connect

from edgead.demo_data import DemoPictures
from edgead.jobs import demo_live
from edgead.jobs.demo import DemoOptions, EnrolledCells


@pytest.fixture
def cells(monkeypatch, detector, good, tmp_path):
    """In place of downloads and enrolment: one defective cell and a detector of drawn parts."""
    from drawn_parts import draw_part
    from PIL import Image

    for name in ("good", "defective"):
        (tmp_path / name).mkdir()
    Image.fromarray(draw_part(11, defect=True)).save(tmp_path / "defective" / "scratched.png")
    pictures = DemoPictures(good, tmp_path / "good", tmp_path / "defective", ())

    @contextmanager
    def enrolled(options, **_):
        with Detector.load(detector, threads=1, engine="onnxruntime") as loaded:
            yield EnrolledCells(pictures, None, loaded)

    monkeypatch.setattr(demo_live, "enrolled_cells", enrolled)
    monkeypatch.setattr(demo_live, "_CELLS_PER_SECOND", 20.0)
    return tmp_path


def test_the_buttons_of_the_demo_teach_it(cells, monkeypatch):
    address, done, stop = [], [], threading.Event()
    monkeypatch.setattr(demo_live, "stop_on_signals", lambda: nullcontext(stop))

    def run():
        live = demo_live.LiveOptions(port=0, seconds=60.0)
        options = DemoOptions(cells / "demo")
        done.append(demo_live.run_live_demo(options, live, step=print, warn=print, ready=address.append))

    loop = threading.Thread(target=run, daemon=True)
    loop.start()
    while not address:
        loop.join(0.05)
        assert loop.is_alive()
    with connect(f"{address[0].replace('http', 'ws', 1)}live", max_size=None) as page:
        about = _picture(page)
        assert about["anomaly"]
        frame = {name: about[name] for name in ("camera", "run", "sequence")}
        lesson = _post(address[0], "good", {**frame, "who": "Ann"})
        taught = _picture(page)
        while taught["anomaly"]:
            taught = _picture(page)
        assert taught["score"] < about["score"]
        ofrun = {name: about[name] for name in ("camera", "run")}
        _post(address[0], "undo", {**ofrun, "lesson": lesson["id"]})
        while not taught["anomaly"]:
            taught = _picture(page)
        assert taught["score"] == about["score"]
        _post(address[0], "threshold", {**ofrun, "threshold": 2 * about["score"]})
        while taught["anomaly"]:
            taught = _picture(page)
        assert taught["score"] == about["score"]
    stop.set()
    loop.join(20)
    assert done[0].inspected > 3
    assert 0 < done[0].anomalies < done[0].inspected
    (journal,) = (cells / "demo" / "lessons").rglob("lessons.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [(line["kind"], bool(re.match("Ann", line["who"]))) for line in lines] == [
        ("good", True), ("undo", False)
    ]  # fmt: skip


def _picture(page):
    page.send('{"do": "ready"}')
    while True:
        got = page.recv(10)
        if isinstance(got, bytes):
            return json.loads(got[4 : 4 + int.from_bytes(got[:4], "big")])


def _post(address, what, body):
    request = urllib.request.Request(
        f"{address}api/{what}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())
