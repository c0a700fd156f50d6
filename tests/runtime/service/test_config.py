"""The TOML file: what is valid, and messages that name the field."""

import contextlib

import msgspec
import pytest
from edgead_runtime.errors import ConfigError
from edgead_runtime.service.__main__ import main
from edgead_runtime.service.build import build_sinks, build_source
from edgead_runtime.service.config import config_from_data, load_config, parse_config
from edgead_runtime.service.example import example_config
from edgead_runtime.service.tables import TABLES, CameraTable
from edgead_runtime.streaming.capture import CaptureSettings
from edgead_runtime.streaming.sources import NetworkCamera, VideoFile, WatchedFolder
from hypothesis import example, given
from hypothesis import strategies as st

MINIMAL = '[[camera]]\nname = "a"\ndetector = "d.edgead"\nsource = "0"\n'
SECRETS = {"CAMERA_PASSWORD": "geheim", "MQTT_PASSWORD": "m", "HOOK_TOKEN": "t", "VIEW_TOKEN": "v" * 16}


def uncommented():
    """The example with everything that is commented out put in."""
    lines = []
    for line in example_config().splitlines()[3:]:
        text = line.removeprefix("# ") if line.startswith("# ") else line
        lines.append(text if "=" in text or text.startswith("[") else "")
    return "\n".join(lines).encode()


def test_the_example_is_valid_as_it_is_and_with_everything_in_it():
    config = parse_config(example_config().encode(), "loop.toml", SECRETS)
    assert config.camera[0].source == "rtsp://user:geheim@192.168.0.20/stream1"
    full = parse_config(uncommented(), "loop.toml", SECRETS)
    assert {type(sink).__struct_config__.tag for sink in full.sink} == {
        "jsonl", "pictures", "csv", "clips", "mqtt", "webhook", "lines"
    }  # fmt: skip
    assert full.camera[0].trigger.topic == "plc/part"
    assert full.camera[0].zone[0].name == "thread"


def test_the_example_shows_every_field_and_the_defaults_it_names():
    text = example_config()
    for table in TABLES:
        for field in table.__struct_fields__:
            assert f"{field} =" in text or f"[{field}]" in text or f".{field}]" in text, (table, field)
    full = parse_config(uncommented(), "loop.toml", SECRETS)
    bare = parse_config(MINIMAL.encode(), "loop.toml")
    assert full.outbox == bare.outbox
    assert msgspec.structs.replace(full.engine, threads=None) == bare.engine
    assert full.log == bare.log
    assert full.drift == bare.drift
    for field in ("stall_s", "frozen_s", "backoff_s", "decoder", "transport", "any_size"):
        assert getattr(full.camera[0], field) == getattr(bare.camera[0], field)


def test_defaults_are_those_of_the_loop():
    camera = CameraTable(name="a", detector="d", source="0")
    settings = CaptureSettings()
    for field in ("crop", "max_fps", "stall_s", "frozen_s", "backoff_s", "give_up_s"):
        assert getattr(camera, field) == getattr(settings, field)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = ", "is not TOML"),
        ("\xff", "is not TOML"),
        ("[[camera]]\nname = 'a'", r"camera\[0\].detector is missing"),
        (MINIMAL + "budget = 3", r"camera\[0\].budget: there is no such field. Did you mean budget_ms"),
        (MINIMAL + "budget_ms = 'x'", r"camera\[0\].budget_ms: expected `float"),
        (MINIMAL + "budget_ms = -1", r"camera\[0\].budget_ms: expected `float` > 0"),
        (MINIMAL + "crop = [1, 2]", r"camera\[0\].crop: expected `array` of length 4"),
        (MINIMAL + "[camera.rules]\nhits = 5", "camera a: hits is 5 and window 1"),
        (MINIMAL + MINIMAL, "camera a: the name is given twice"),
        (MINIMAL + "[[camera.zone]]\nname = 'z'\npolygon = [[0,0],[1,1]]", r"zone\[0\].polygon"),
        ("[outbox]\nmax_fps = 3", r"outbox.max_fps: there is no such field. It belongs into \[\[camera\]\]"),
        ("[engine]\nqqq = 3", r"engine.qqq: there is no such field. `edgead run --print-config`"),
        ("[drift]\nbrigthness = 0.1", "drift.brigthness: there is no such field. Did you mean brightness"),
        ("[drift]\nposition = 0.6", "drift.position: expected `float` < 0.5"),
        (MINIMAL + "[camera.rules]\nhit = 2", r"rules.hit: there is no such field. Did you mean hits\?"),
        ("[[sink]]\ntype = 'csv'\npth = 'x'", r"sink\[0\].pth: there is no such field. Did you mean path\?"),
        ("metric = 3", "metric: there is no such field. Did you mean metrics"),
        ("[[sink]]\ntype = 'jsn'\npath = 'x'", r"sink\[0\].type: invalid value 'jsn'. Sinks are jsonl, csv"),
        ("[[sink]]\ntype = 'mqtt'\nhost = 'x'\nport = 0", r"sink\[0\].port"),
        ("[metrics]\nport = 99999", "metrics.port"),
        ("[log]\nlevel = 'loud'", "log.level: invalid enum value 'loud'"),
        ("camera = 3", "camera: expected `array`"),
        (MINIMAL.replace('"0"', '"${NOT_SET}"'), r"camera\[0\].source asks for the environment's NOT_SET"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        parse_config(text.encode("latin-1"), "loop.toml", {})
    assert str(caught.value).startswith("loop.toml")
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=300))
@example(b"a" + b"[" * 5000)
@example(b"x=" + b"[" * 5000)
def test_whatever_the_bytes_it_is_a_configuration_or_an_error_of_ours(data):
    with contextlib.suppress(ConfigError):
        parse_config(data, "loop.toml", {})


_scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
_fields = sorted({field for table in TABLES for field in table.__struct_fields__} | {"type"})
_values = st.recursive(
    _scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(_fields), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(_fields), _values, max_size=4))
def test_whatever_the_fields_hold_it_is_a_configuration_or_an_error_of_ours(data):
    with contextlib.suppress(ConfigError):
        config_from_data(data, "loop.toml", {})


def test_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "v.avi").write_bytes(b"")
    camera = CameraTable(name="a", detector="d", source="watch:in")
    assert build_source(camera, tmp_path) == WatchedFolder(tmp_path / "in")
    video = CameraTable(name="a", detector="d", source="v.avi")
    assert build_source(video, tmp_path) == VideoFile(tmp_path / "v.avi")
    network = CameraTable(name="a", detector="d", source="rtsp://c/1", decoder="opencv", transport="udp")
    built = build_source(network, tmp_path)
    assert isinstance(built, NetworkCamera)
    assert (built.decoder, built.transport) == ("opencv", "udp")


def test_every_sink_of_the_example_can_be_made(tmp_path):
    full = parse_config(uncommented(), "loop.toml", SECRETS)
    names = [sink.name for sink in build_sinks(full, tmp_path)]
    assert len(names) == len(set(names)) == 6  # clips are a listener
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_there_or_too_large(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "none.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * 2_000_000)
    with pytest.raises(ConfigError, match="larger"):
        load_config(tmp_path / "large.toml")


def test_the_module_checks_and_prints(tmp_path, capsys, monkeypatch):
    assert main(["--print-config"]) == 0
    (tmp_path / "loop.toml").write_text(capsys.readouterr().out)
    monkeypatch.setenv("CAMERA_PASSWORD", "x")
    assert main([str(tmp_path / "loop.toml"), "--check"]) == 2
    checked = capsys.readouterr()
    assert "loop.toml is valid" in checked.out
    assert "left: PROBLEM: detector" in checked.out
    (tmp_path / "loop.toml").write_text("x = 1")
    assert main([str(tmp_path / "loop.toml")]) == 2
    assert "x: there is no such field" in capsys.readouterr().err
