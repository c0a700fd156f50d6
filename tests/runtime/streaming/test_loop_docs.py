"""What docs/loop.md shows is so."""

import json
import re
from pathlib import Path

from edgead_runtime import stream
from edgead_runtime.service.titles import SINKS
from edgead_runtime.streaming import Delivery, Drift, DriftSettings
from edgead_runtime.streaming.drift.words import NAMES
from edgead_runtime.streaming.sinks import JsonLines
from stream_fakes import FakeDetector, frame_scoring

TEXT = (Path(__file__).parents[3] / "docs" / "loop.md").read_text(encoding="utf-8")


def _block(language):
    return re.search(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)[1]


def _fields(value):
    """The names of all fields, at every depth."""
    if isinstance(value, dict):
        return set(value) | {inner for each in value.values() for inner in _fields(each)}
    return {inner for each in value for inner in _fields(each)} if isinstance(value, list) else set()


def test_a_message_has_the_fields_that_are_shown(tmp_path):
    with Delivery([JsonLines(tmp_path / "e.jsonl")]) as delivery:
        list(stream(FakeDetector(), [frame_scoring(0.9), frame_scoring(0.1)], listeners=[delivery]))
    closed = json.loads((tmp_path / "e.jsonl").read_text().splitlines()[-1])
    shown = json.loads(_block("json"))
    assert _fields(shown) | {"backbone", "official_weights"} == _fields(closed)
    assert shown["attachments"] == closed["attachments"]


def test_a_drift_alert_has_the_fields_that_are_shown(tmp_path, detector, good_frames):
    settings = {"camera": DriftSettings(window=10, for_s=0)}
    dark = [(frame * 0.5).astype("uint8") for frame in good_frames] * 3
    with (
        Delivery([JsonLines(tmp_path / "e.jsonl")]) as delivery,
        Drift({"camera": detector}, tell=[delivery], settings=settings) as drift,
    ):
        list(stream(detector, dark, listeners=[drift]))
    written = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    opened = next(each for each in written if each["drift"] == "brightness")
    shown = json.loads(re.findall(r"```json\n(.*?)```", TEXT, flags=re.DOTALL)[1])
    assert list(shown) == list(opened)
    assert re.sub(r"[\d:]+", "1", shown["text"]) == re.sub(r"[\d:]+", "1", opened["text"])


def test_every_measure_of_drift_is_described():
    for name in NAMES:
        assert f"| `{name}` |" in TEXT


def test_the_example_imports_what_there_is_and_is_valid_python():
    code = _block("python")
    compile(code, "docs/loop.md", "exec")
    imports = [line for line in code.splitlines() if line.startswith("from ")]
    assert len(imports) == 4
    exec("\n".join(imports), {})
    assert len(code.splitlines()) <= 34


def test_every_sink_is_described():
    for sink in SINKS:
        assert f"`{sink}`" in TEXT
