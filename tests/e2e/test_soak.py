"""The soak itself, for a quarter of a minute with an encoder that is ready at once."""

import json

import pytest
from edgead_runtime.files import write_atomic

from benchmarks.soak.judging import Limits, judge
from benchmarks.soak.report import as_text, draw, verdict
from benchmarks.soak.run import Plan, soak


@pytest.mark.slow
def test_a_short_soak_passes(encoder, tmp_path):
    plan = Plan(encoder, minutes=0.4, side=160, fps=10, engine="onnxruntime", threads=1, lesson_every_s=4.0)
    data = soak(plan, tmp_path / "soak")
    checks = judge(data, Limits(gap_s=10))
    print(as_text(data, checks))
    assert verdict(checks).startswith("Passed"), verdict(checks)
    assert data["scratches"] >= 2
    assert data["visitor"]["taught"] >= 1
    assert data["visitor"]["pictures"] > 20
    waited = [line["waiting: away for a third"] for line in data["samples"]]
    assert max(waited) > 0, "the sink was away"
    assert len(data["samples"]) >= 8
    write_atomic(tmp_path / "soak.json", json.dumps(data).encode())
    draw(data, tmp_path / "soak.png")
