"""``auto`` takes what the clock says, and remembers it."""

import json
import logging
import time

import numpy as np
import pytest
from edgead_runtime import engines
from edgead_runtime.engines import EngineOptions, EngineSpec, create_engine, measuring
from edgead_runtime.errors import EngineBuildError, EngineMismatchError, EngineUnavailableError

SAMPLE = {"x": np.zeros(3, np.float32)}
CREATED = []


class Paced:
    """An engine of a known pace."""

    def __init__(self, name, seconds):
        self.name, self.seconds, self.closed, self.runs = name, seconds, False, 0

    def run(self, feeds):
        self.runs += 1
        time.sleep(self.seconds)
        return dict(feeds)

    def close(self):
        self.closed = True


@pytest.fixture
def table(monkeypatch, unpinned_engine):
    """Two engines that are installed, the first of the table the slower one."""
    paces = {"steady": 0.004, "quick": 0.001}
    specs = {
        name: EngineSpec(name=name, module=name, requires="json", install=f"get {name}", devices=("cpu",))
        for name in paces
    }
    CREATED.clear()

    def create(spec, model, options):
        if spec.name not in paces:
            raise EngineUnavailableError(f"{spec.name} is broken", "Mend it.")
        CREATED.append(Paced(spec.name, paces[spec.name]))
        return CREATED[-1]

    monkeypatch.setattr(engines, "ENGINES", specs)
    monkeypatch.setattr(engines, "_create", create)
    return paces


def test_the_faster_one_is_taken_and_remembered(table, unpinned_engine):
    engine = create_engine(b"graph", sample=SAMPLE)
    assert engine.name == "quick"
    assert [(made.name, made.closed) for made in CREATED] == [("steady", True), ("quick", False)]
    (remembered,) = json.loads((unpinned_engine / "engines.json").read_text()).values()
    assert remembered["engine"] == "quick"
    assert remembered["ms"]["steady"] > remembered["ms"]["quick"]

    table["quick"] = 0.02  # would measure otherwise now
    again = create_engine(b"graph", sample=SAMPLE)
    assert again.name == "quick"
    assert again.runs == 0
    assert len(CREATED) == 3


@pytest.mark.parametrize("kind", [EngineMismatchError, EngineBuildError, EngineUnavailableError])
def test_an_engine_that_was_built_and_does_not_fit_is_told_of(table, monkeypatch, caplog, kind):
    """One that is merely not there is not: most machines have but one of them."""
    paced = engines._create

    def create(spec, model, options):
        if spec.name == "quick":
            raise kind("it was built for another GPU", "Build it again.")
        return paced(spec, model, options)

    monkeypatch.setattr(engines, "_create", create)
    with caplog.at_level(logging.WARNING, "edgead.engines"):
        assert create_engine(b"graph", sample=SAMPLE).name == "steady"
    told = ["quick is left out. it was built for another GPU. Build it again."]
    assert caplog.messages == ([] if kind is EngineUnavailableError else told)


@pytest.mark.parametrize(
    ("model", "options"), [(b"another", EngineOptions()), (b"graph", EngineOptions(threads=3))]
)
def test_another_graph_or_setting_is_measured_anew(table, model, options):
    create_engine(b"graph", sample=SAMPLE)
    table["steady"], table["quick"] = 0.001, 0.004
    assert create_engine(model, options=options, sample=SAMPLE).name == "steady"


def test_a_hair_faster_is_not_faster(table):
    table["steady"] = table["quick"] = 0.003
    assert create_engine(b"graph", sample=SAMPLE).name == "steady"


def test_without_a_sample_it_is_the_first(table):
    assert create_engine(b"graph").name == "steady"


def test_one_that_does_not_load_is_passed_over(table):
    del table["quick"]
    assert create_engine(b"graph", sample=SAMPLE).name == "steady"
    del table["steady"]
    with pytest.raises(EngineUnavailableError, match="steady is broken; quick: quick is broken"):
        create_engine(b"other", sample=SAMPLE)


def test_a_damaged_memory_is_no_obstacle(table, unpinned_engine):
    unpinned_engine.mkdir()
    for damage in (b"", b"{", b'{"a": 3}', b"\xff\xfe"):
        (unpinned_engine / "engines.json").write_bytes(damage)
        assert create_engine(b"graph", sample=SAMPLE).name == "quick"
        assert len(json.loads((unpinned_engine / "engines.json").read_text())) == 1


def test_no_place_to_remember(table, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGEAD_CACHE", str(tmp_path / "file"))
    assert create_engine(b"graph", sample=SAMPLE).name == "quick"


def test_it_can_be_pinned(table, monkeypatch):
    monkeypatch.setenv("EDGEAD_ENGINE", "steady")
    assert create_engine(b"graph", sample=SAMPLE).name == "steady"
    monkeypatch.setenv("EDGEAD_ENGINE", "nonsense")
    with pytest.raises(EngineUnavailableError, match="unknown engine 'nonsense'"):
        create_engine(b"graph", sample=SAMPLE)


def test_the_processor_has_a_name():
    assert measuring.cpu_name()


def test_one_that_fails_while_running_leaves_nothing_behind(table, monkeypatch, unpinned_engine):
    def fail(self, feeds):
        raise RuntimeError("infer failed")

    monkeypatch.setattr(Paced, "run", fail)
    with pytest.raises(RuntimeError):
        create_engine(b"graph", sample=SAMPLE)
    assert all(made.closed for made in CREATED)


def test_a_contest_with_an_absentee_is_not_remembered(table, unpinned_engine):
    quick = table.pop("quick")
    assert create_engine(b"graph", sample=SAMPLE).name == "steady"
    table["quick"] = quick
    assert create_engine(b"graph", sample=SAMPLE).name == "quick"
