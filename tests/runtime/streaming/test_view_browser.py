"""The live view in a real browser: what a person sees and presses."""

import re
import shutil
import time

import numpy as np
import pytest
from edgead_runtime import Picture
from edgead_runtime.errors import SourceLostError
from edgead_runtime.streaming import Camera, CaptureSettings
from edgead_runtime.streaming.sources import Grab
from edgead_runtime.streaming.thresholds import DetectorThresholds
from playwright.sync_api import expect, sync_playwright
from stream_fakes import wait_until
from view_helpers import DirectTeacher, Stand, running

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here (Debian: chromium)"),
]
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def part(detector, defective, good_frames):
    """A defective part under a camera that can be taught."""
    stand = Stand(defective.frame, period_s=0.05)
    stand.good, stand.detector = good_frames[5], detector
    camera = stand.camera("left", detector, budget_ms=5000)
    stand.teacher = DirectTeacher({"left": detector})
    with running([camera], teacher=stand.teacher, thresholds=DetectorThresholds([camera])) as (view, stream):
        wait_until(lambda: stream.stats()["left"].inspected > 0)
        stand.view, stand.stream = view, stream
        yield stand


@pytest.fixture
def opened(chromium, part):
    """Open the page; at the end nothing may have gone wrong in it."""
    wrong, contexts = [], []

    def open_page(viewport=DESKTOP, **options):
        context = chromium.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
        page.goto(part.view.url)
        expect(page.locator("#verdict b")).not_to_have_text("Waiting for a picture", timeout=15_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def verdict(page, text):
    expect(page.locator("#verdict b")).to_have_text(text, timeout=15_000)


def colors(page):
    """How many different colors the picture has, sampled."""
    return page.evaluate(
        """() => {
          const canvas = document.getElementById("picture");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const seen = new Set();
          for (let i = 0; i < data.length; i += 4 * 97) seen.add(`${data[i]},${data[i + 1]},${data[i + 2]}`);
          return seen.size;
        }"""
    )


def test_the_picture_arrives_with_its_verdict_numbers_and_events(opened, part):
    page = opened()
    verdict(page, "ANOMALY")
    assert colors(page) > 100
    with_heat = colors(page)
    page.locator("#show-heat").uncheck()
    page.locator("#show-boxes").uncheck()
    assert colors(page) < with_heat
    expect(page.locator("#link")).to_have_text("connected")
    thumbnail = page.locator(".event img").first
    expect(thumbnail).to_be_visible()
    page.wait_for_function("document.querySelector('.event img').naturalWidth > 0")
    part.frame = part.good
    verdict(page, "OK")
    expect(page.locator("#numbers")).to_contain_text("inspected")
    expect(page.locator("#latency-words")).to_contain_text("budget 5000")
    page.locator(".event").first.click()
    verdict(page, "ANOMALY")
    expect(page.locator("#held")).to_contain_text("Worst picture of an event")
    page.locator("#go-live").click()
    verdict(page, "OK")


def test_the_threshold_is_dragged_and_the_verdict_follows(opened, part):
    page = opened()
    verdict(page, "ANOMALY")
    before = part.detector.threshold
    handle, chart = page.locator("#threshold").bounding_box(), page.locator("#scores").bounding_box()
    x = handle["x"] + handle["width"] - 20
    page.mouse.move(x, handle["y"] + handle["height"] / 2)
    page.mouse.down()
    page.mouse.move(x, chart["y"] + 30, steps=5)
    page.mouse.move(x, chart["y"] + 2, steps=3)
    expect(page.locator("#preview")).to_contain_text("would be anomalies")
    assert part.detector.threshold == before, "not before it is let go of"
    page.mouse.up()
    verdict(page, "OK")
    assert part.detector.threshold > before
    page.locator("#reset").click()
    verdict(page, "ANOMALY")
    assert part.detector.threshold == before


def test_the_threshold_by_keyboard_and_by_number(opened, part):
    page = opened()
    before = part.detector.threshold
    page.locator("#threshold").focus()
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    wait_until(lambda: part.detector.threshold > before)
    page.locator("#value").fill("12.5")
    page.keyboard.press("Enter")
    wait_until(lambda: part.detector.threshold == 12.5)
    verdict(page, "OK")
    expect(page.locator("#told")).to_contain_text("The threshold is 12.5")


def test_good_is_pressed_and_undone(opened, part):
    page = opened()
    verdict(page, "ANOMALY")
    page.locator("#who").fill("Anna")
    page.locator("#good").click()
    verdict(page, "OK")
    expect(page.locator("#lessons li").first).to_contain_text("good, by Anna (127.0.0.1)")
    page.locator("#undo").click()
    verdict(page, "ANOMALY")
    expect(page.locator("#lessons")).to_contain_text("taken back")
    page.locator("#defect").click()
    expect(page.locator("#lessons li").first).to_contain_text("a defect")
    assert [lesson.kind for lesson in part.teacher.taught] == ["good", "undo", "defect"]


def test_undo_takes_back_what_it_names_when_the_finger_comes_down(opened, part):
    page = opened()
    verdict(page, "ANOMALY")
    part.teacher.keep_defect("left", Picture("mine.png", part.good), "Anna")
    expect(page.locator("#undo")).to_have_text("Undo mine.png")
    page.locator("#undo").hover()
    page.mouse.down()
    part.teacher.keep_defect("left", Picture("theirs.png", part.good), "Bert")  # at another page
    expect(page.locator("#undo")).to_have_text("Undo theirs.png")
    page.mouse.up()
    wait_until(lambda: len(part.teacher.taught) == 3)
    assert [lesson.undone for lesson in part.teacher.taught] == [True, False, False]


def test_what_is_held_is_what_is_meant(opened, part):
    page = opened()
    verdict(page, "ANOMALY")
    page.locator("#hold").click()
    held = part.frame
    part.frame = part.good
    given = part.given
    wait_until(lambda: part.given > given + 10)
    verdict(page, "ANOMALY")
    page.locator("#good").click()
    wait_until(lambda: part.teacher.pictures)
    assert (part.teacher.pictures[0].frame == held).all()


def test_a_loop_that_starts_again_is_found_again(chromium, part, detector):
    context = chromium.new_context(viewport=DESKTOP)
    page = context.new_page()
    with running([part.camera("left", detector)]) as (view, _):
        port = view.port
        page.goto(view.url)
        verdict(page, "ANOMALY")
    expect(page.locator("#link")).not_to_have_text("connected")
    verdict(page, "NOT LIVE")
    expect(page.locator("#verdict span")).to_contain_text("ago, was ANOMALY")
    part.frame = part.good
    with running([part.camera("left", detector)], port=port):
        expect(page.locator("#link")).to_have_text("connected", timeout=20_000)
        verdict(page, "OK")
    context.close()


class Cable:
    """A camera whose cable can be pulled."""

    label, live, paces_itself = "rtsp://192.168.0.20/stream", True, False

    def __init__(self, frame):
        self.frame, self.pulled = frame, False

    def open(self):
        if self.pulled:
            raise SourceLostError("it cannot be opened (Connection refused)", "Check the cable.")
        return self

    def read(self):
        self.open()
        time.sleep(0.05)
        return Grab(self.frame.copy())

    def close(self):
        pass


def test_a_verdict_of_before_the_camera_was_lost_does_not_look_like_one_of_now(
    chromium, detector, good_frames
):
    source = Cable(good_frames[5])
    camera = Camera("left", detector, source, capture=CaptureSettings(frozen_s=0, backoff_s=(0.1, 0.2)))
    page = chromium.new_page(viewport=DESKTOP)
    with running([camera]) as (view, _):
        page.goto(view.url)
        verdict(page, "OK")
        expect(page.locator("#stage")).not_to_have_class(re.compile("stale"))
        source.pulled = True
        verdict(page, "NOT LIVE")
        expect(page.locator("#verdict span")).to_contain_text("nothing comes from the camera")
        expect(page.locator("#stage")).to_have_class(re.compile("stale"))
        expect(page.locator("#alerts")).to_contain_text("Connection refused")
        source.pulled = False
        verdict(page, "OK")
        expect(page.locator("#stage")).not_to_have_class(re.compile("stale"))
    page.close()


def test_a_button_on_a_picture_of_another_run_is_refused_and_the_page_loads_itself_again(
    chromium, part, detector
):
    """The page cannot know of the restart yet: its WebSocket is kept from reaching the new loop."""
    context = chromium.new_context(viewport=DESKTOP)
    page = context.new_page()
    cut = []
    page.route_web_socket("**/live", lambda socket: socket.close() if cut else socket.connect_to_server())
    with running([part.camera("left", detector)], teacher=part.teacher) as (view, _):
        port, before = view.port, view.run
        page.goto(view.url)
        verdict(page, "ANOMALY")
        page.evaluate("window.wasHereBefore = true")
        cut.append(True)
    expect(page.locator("#link")).not_to_have_text("connected")
    part.frame = part.good
    with running([part.camera("left", detector)], teacher=part.teacher, port=port) as (view, stream):
        wait_until(lambda: stream.stats()["left"].inspected > 0)
        assert view.run != before
        page.locator("#good").click()
        expect(page.locator("#told")).to_contain_text("The loop was started again")
        assert page.evaluate("window.wasHereBefore") is None, "it has loaded itself again"
        expect(page.locator("#told")).to_contain_text("press again")
        assert not part.teacher.taught
        cut.clear()
        verdict(page, "OK")
        page.locator("#good").click()
        wait_until(lambda: part.teacher.taught)
        assert (part.teacher.pictures[0].frame == part.good).all()
    context.close()


def test_a_page_without_the_new_token_is_asked_for_it(chromium, part, detector):
    context = chromium.new_context(viewport=DESKTOP)
    page = context.new_page()
    with running([part.camera("left", detector)], host="0.0.0.0") as (view, _):
        port = view.port
        page.goto(f"http://127.0.0.1:{port}/?{view.url.partition('?')[2]}")
        verdict(page, "ANOMALY")
    with running([part.camera("left", detector)], host="0.0.0.0", port=port) as (view, _):
        expect(page.get_by_label("Token")).to_be_visible(timeout=20_000)
    context.close()


def test_on_a_phone_nothing_is_wider_than_the_screen_and_all_is_large_enough(opened, part):
    page = opened(PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    verdict(page, "ANOMALY")
    expect(page.locator(".event").first).to_be_visible()
    wide = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide[0] <= wide[1] == PHONE["width"]
    for button in page.locator("button:visible, input[type=number]:visible, label.check:visible").all():
        assert button.bounding_box()["height"] >= 44, button.inner_text()
    before = part.detector.threshold
    page.locator("#threshold").scroll_into_view_if_needed()
    drag_by_finger(page, "#threshold", "#scores")
    wait_until(lambda: part.detector.threshold > before)
    expect(page.locator("#told")).to_contain_text("The threshold is")  # what comes below it has moved
    page.locator("#hold").tap()
    expect(page.locator("#held")).to_be_visible()


def drag_by_finger(page, what, to_top_of):
    """As a touch screen tells it: by the browser's own touch events, so that scrolling could interfere."""
    start, end = page.locator(what).bounding_box(), page.locator(to_top_of).bounding_box()
    x, y = start["x"] + start["width"] - 20, start["y"] + start["height"] / 2
    session = page.context.new_cdp_session(page)
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for share in (0.3, 0.6, 1.0):
        moved = {"x": x, "y": y + (end["y"] + 2 - y) * share}
        session.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [moved]})
        time.sleep(0.03)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_dark_and_light_and_every_control_by_keyboard(opened, part):
    grounds = set()
    for scheme in ("dark", "light"):
        page = opened(color_scheme=scheme)
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    assert {"hold", "show-heat", "show-boxes", "good", "defect", "threshold", "value", "who"} <= reached


def test_the_token_is_asked_for_once_and_the_address_forgets_it(chromium, part, detector):
    camera = part.camera("left", detector)
    with running([camera], host="0.0.0.0") as (view, _):
        token = view.url.partition("?token=")[2]
        address = f"http://127.0.0.1:{view.port}/"
        context = chromium.new_context(viewport=PHONE)
        page = context.new_page()
        page.goto(address)
        page.get_by_label("Token").fill("not this one")
        page.get_by_role("button", name="Open").click()
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Open").click()
        verdict(page, "ANOMALY")
        assert page.url == address
        again = context.new_page()
        again.goto(address)
        verdict(again, "ANOMALY")
        assert again.evaluate("document.cookie") == "", "no script can read it"
        context.close()


def test_what_was_not_inspected_is_neither_good_nor_bad(opened, part):
    page = opened()
    expect(page.locator("#link")).to_have_text("connected")
    part.frame = np.zeros((4, 4), np.uint8)
    verdict(page, "NOT INSPECTED")
    assert colors(page) == 1, "no earlier picture in its place"
    expect(page.locator("#good")).to_be_disabled()
    expect(page.locator("#alerts")).to_contain_text("Frames cannot be inspected")
    part.frame = part.good
    verdict(page, "OK")
    expect(page.locator("#alerts")).not_to_contain_text("Frames cannot be inspected")


def test_names_from_outside_are_text(opened, part):
    page = opened()
    part.teacher.add_good("left", Picture("<img src=x onerror=alert(1)>", part.good), "<b>x</b>")
    page.locator("#defect").click()
    expect(page.locator("#lessons")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("#lessons img").count() == 0
