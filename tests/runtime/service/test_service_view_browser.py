"""The page's buttons in a real browser, against the service as a process: what is pressed is learned."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from edgead_runtime import Detector, Encoder, read_picture
from edgead_runtime.images import encode_png
from playwright.sync_api import expect, sync_playwright

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here (Debian: chromium)"),
]
LONG_MS = 20_000


@pytest.fixture
def line(tmp_path, mini_bundle, good_frames, defective, quick):
    """A loop that sees one defective part, over and over, and is taught."""
    with Encoder.load(mini_bundle, threads=1) as encoder:
        Detector.enroll(encoder, good_frames[:4], recipe=quick).save(tmp_path / "part.edgead")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "scratched.png").write_bytes(encode_png(defective.frame))
    (tmp_path / "loop.toml").write_text(
        f"""
        [[camera]]
        name = "left"
        detector = "part.edgead"
        encoder = "{mini_bundle}"
        source = "play:parts"
        frozen_s = 0
        [[sink]]
        type = "jsonl"
        path = "events.jsonl"
        [view]
        port = 0
        [learning]
        folder = "learned"
        [engine]
        threads = 1
        """
    )
    return tmp_path


@contextmanager
def service(line):
    """The loop as a process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "EDGEAD_ENGINE": "onnxruntime"}
    with subprocess.Popen(
        [sys.executable, "-m", "edgead_runtime.service", "loop.toml"],
        cwd=line,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            for said in process.stderr:
                found = re.search(r"live view at (\S+)", said)
                if found:
                    break
            else:
                raise AssertionError("the service did not start")
            process.address = found[1]
            yield process
        finally:
            process.kill()


@pytest.fixture
def page():
    """An empty one, in which nothing may go wrong."""
    wrong = []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page()
        opened.set_default_timeout(LONG_MS)
        opened.on("pageerror", lambda error: wrong.append(str(error)))
        yield opened
        browser.close()
    assert not wrong


def shows(page, text):
    expect(page.locator("#verdict b")).to_have_text(text, timeout=LONG_MS)


def says(page, text):
    expect(page.locator("#told")).to_contain_text(text, timeout=LONG_MS)


def score(page):
    return float(re.search(r"score ([\d.]+)", page.locator("#verdict span").inner_text())[1])


def journal(line):
    (path,) = line.glob("learned/left/lessons.jsonl")
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_what_is_pressed_is_learned_taken_back_and_kept(page, line, defective):
    with Detector.load(line / "part.edgead", threads=1, engine="onnxruntime") as enrolled:
        rows, threshold = enrolled.rows, enrolled.threshold
    with service(line) as running:
        page.goto(running.address)
        shows(page, "ANOMALY")
        before = score(page)
        assert before > threshold

        page.locator("#who").fill("Jörg Müller")
        page.locator("#good").click()
        says(page, "scratched.png is known as good from now on")
        shows(page, "OK")
        assert score(page) < before / 2
        expect(page.locator("#lessons li").first).to_contain_text("good, by Jörg Müller (127.0.0.1)")
        (good,) = journal(line)
        assert (good["kind"], good["who"], good["camera"]) == ("good", "Jörg Müller (127.0.0.1)", "left")
        assert good["patches"] > rows
        kept = read_picture(line / "learned" / good["picture"]).frame
        assert np.array_equal(kept, defective.frame), "the pixels that were inspected"

        page.locator("#undo").click()
        shows(page, "ANOMALY")
        assert score(page) == before, "as if it had never been"
        undone = journal(line)[1]
        assert (undone["kind"], undone["undoes"], undone["patches"]) == ("undo", good["id"], rows)
        expect(page.locator("#lessons li span.undone")).to_have_count(1)

        page.locator("#defect").click()
        says(page, "scratched.png is kept as a defect")
        defect = journal(line)[2]
        assert (defect["kind"], defect["patches"]) == ("defect", rows)
        assert "defect" in Path(defect["picture"]).parts
        assert np.array_equal(read_picture(line / "learned" / defect["picture"]).frame, defective.frame)
        page.locator("#good").click()
        says(page, "was taught as a defect already")

        page.locator("#value").fill(f"{2 * before:.3f}")
        page.keyboard.press("Enter")
        shows(page, "OK")
        assert score(page) == before, "the line has moved, not the score"
        page.locator("#reset").click()
        shows(page, "ANOMALY")
        running.send_signal(signal.SIGTERM)
        _, told = running.communicate(timeout=20)
        assert running.returncode == 0, told
    # What was decided while the line was where it was: closed by the lesson, by the line, and by the end.
    events = [json.loads(text) for text in (line / "events.jsonl").read_text().splitlines()]
    assert [e["state"] for e in events if e["kind"] == "event" and e["state"] != "updated"] == [
        "opened", "closed"
    ] * 3  # fmt: skip
    assert [e["kind"] for e in events if "learned" in e["kind"]] == ["learned", "unlearned", "learned"]


def test_after_a_kill_the_page_finds_the_loop_and_the_lesson_again(page, line):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = line / "loop.toml"
    config.write_text(config.read_text().replace("port = 0", f"port = {port}"))
    with service(line) as running:
        page.goto(running.address)
        shows(page, "ANOMALY")
        page.locator("#good").click()
        shows(page, "OK")
        page.evaluate("window.wasHereBefore = true")
    expect(page.locator("#link")).not_to_have_text("connected", timeout=LONG_MS)
    with service(line):
        says(page, "The loop was started again")
        assert page.evaluate("window.wasHereBefore") is None, "it has loaded itself again"
        shows(page, "OK")
        expect(page.locator("#lessons li")).to_have_count(1)
        page.locator("#undo").click()
        shows(page, "ANOMALY")
    assert [lesson["kind"] for lesson in journal(line)] == ["good", "undo"]
