"""The TOML file: what is valid, and messages that name the field."""

import contextlib
from typing import get_args

import msgspec
import pytest
from edgead_runtime.errors import ConfigError, SourceError
from edgead_runtime.service.__main__ import main
from edgead_runtime.service.build import build_source
from edgead_runtime.service.config import config_from_data, load_config, parse_config
from edgead_runtime.service.example import example_config
from edgead_runtime.service.sinks import build_clips, build_sinks
from edgead_runtime.service.tables import CameraTable, DriftTable, MessageKind
from edgead_runtime.service.titles import TABLES
from edgead_runtime.streaming.capture import CaptureSettings
from edgead_runtime.streaming.messages import KINDS
from edgead_runtime.streaming.sources import NetworkCamera, VideoFile, WatchedFolder, rtsp
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


DRIFT = DriftTable()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("", None),
        ("[drift]\nbrightness = 0.3", None),
        ("[camera.drift]\nposition = 0", {"position": 0.0}),
        (
            "[camera.drift]\nposition = 0\n[drift]\nbrightness = 0.3\nposition = 0.1",
            {"position": 0.0, "brightness": 0.3},
        ),
        # Said again what is a default elsewhere: it was written, and counts.
        ("[camera.drift]\nbrightness = 0.15\n[drift]\nbrightness = 0.3", {"brightness": 0.15}),
        ("[camera.drift]\n[drift]\nenabled = false", {"enabled": False}),
    ],
)
def test_a_cameras_drift_is_laid_over_that_of_all_field_by_field(written, expected):
    (camera,) = parse_config((MINIMAL + written).encode(), "loop.toml").camera
    wanted = None if expected is None else msgspec.structs.replace(DRIFT, **expected)
    assert camera.drift == wanted


def test_an_error_in_a_table_for_all_is_said_of_that():
    with pytest.raises(ConfigError, match=r"^loop.toml: drift.window: .* of at least 10"):
        parse_config(f"{MINIMAL}[camera.drift]\nposition = 0\n[drift]\nwindow = 3".encode(), "loop.toml")


def test_the_kinds_of_messages_are_those_that_there_are():
    assert get_args(MessageKind) == KINDS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = ", "is not TOML"),
        ("\xff", "is not TOML .*Save it as UTF-8"),
        ('[[camera]]\ndetector = "C:\\part.edgead"', "is not TOML .*single quotes"),
        ("[[camera]]\nname = 'a'", "camera a: detector: it is missing. Add it"),
        ("[[camera]]\ndetector = 'a'", "camera 1: name: it is missing"),
        (MINIMAL + "budget = 3", "camera a: budget: there is no such field. Did you mean budget_ms"),
        (MINIMAL + "budget_ms = 'x'", "camera a: budget_ms: it takes a number, and this is a text in quotes"),
        (MINIMAL + "budget_ms = -1", "camera a: budget_ms: it takes a number above 0"),
        (MINIMAL + "budget_ms = inf", "camera a: budget_ms: inf is no number"),
        (MINIMAL + "threshold = nan", "camera a: threshold: nan is no number"),
        (MINIMAL + "any_size = 1", "camera a: any_size: it takes true or false, .*without quotes"),
        (MINIMAL + "max_fps = true", "camera a: max_fps: it takes a number, and this is true or false"),
        (MINIMAL + "crop = [1, 2]", "camera a: crop: it takes 4 values, and has 2"),
        (MINIMAL + "crop = 'x'", r"e.g. crop = \[0, 0, 640, 480\] \(x, y, width, height in pixels\)"),
        (MINIMAL + "budget_ms = 0,3", "is not TOML .*Write decimals with a point"),
        (MINIMAL + "threshold = zero", "is not TOML .*Put texts in quotes"),
        (MINIMAL + "[camera]", "is not TOML .*in two brackets"),
        (MINIMAL + "transport = 'TCP'", "there is no 'TCP'. Did you mean tcp"),
        ("[engine]\nengine = 'openvino'", "engine.engine: there is no such field. It takes name, device"),
        ("[drift]\nbrightness = 30", "below 0.5. Correct it, e.g. brightness = 0.15 .share beyond"),
        (MINIMAL + "[camera.drift]\nbrightness = 30", "camera a: drift.brightness: .*e.g. brightness = 0.15"),
        (MINIMAL + "crop = [0, 0, 0, 5]", r"camera a: crop \[0, 0, 0, 5\] is no area"),
        (MINIMAL + "backoff_s = [9, 1]", r"camera a: backoff_s is \[9.0, 1.0\]"),
        (MINIMAL + "decoder = 'pyav'", "camera a: decoder: there is no 'pyav'. Did you mean av.*auto, av or"),
        (MINIMAL.replace('"a"', '""'), "camera 1: name: it is empty"),
        (MINIMAL.replace('"a"', '"a/b"'), "'a/b' is no name for a camera"),
        (MINIMAL.replace('"a"', '".."'), "'..' is no name for a camera"),
        (MINIMAL + "[camera.rules]\nhits = 5", "camera a: hits is 5 and window 1"),
        (
            MINIMAL + "[camera.rules]\nhits = 1.5",
            "camera a: rules.hits: it takes a whole number, and",
        ),
        (MINIMAL + MINIMAL, "camera a: the name is given twice"),
        (
            MINIMAL + "[[camera.zone]]\nname = 'z'\npolygon = [[0,0],[1,1]]",
            "camera a: zone z: polygon: it takes at least 3 values",
        ),
        (
            MINIMAL + "[[camera.zone]]\nname = 'z'\npolygon = [[0,0],[1,1],[0,2]]",
            "camera a: zone z: polygon: it takes a number of at most 1",
        ),
        (
            MINIMAL + "[[camera.zone]]\nname = 'top/left'\npolygon = [[0,0],[1,1],[0,1]]",
            "camera a: 'top/left' is no name for a zone",
        ),
        (MINIMAL + "[[camera.zone]]\nnam = 'z'", "camera a: zone 1: nam: there is no such field. Did you"),
        ("[outbox]\nmax_fps = 3", r"outbox.max_fps: .*It belongs into \[\[camera\]\] or \[view\]"),
        ("[engine]\nthreshold = 3", r"engine.threshold: .* into \[\[camera\]\] or \[\[camera.zone\]\]"),
        ("[engine]\nwindow = 3", r"into \[camera.rules\], \[camera.drift\] or \[drift\]"),
        ("[learning]\npath = 'x'", r'into \[outbox\] or a \[\[sink\]\] of type "jsonl" or "csv"'),
        (
            "[engine]\nqqq = 3",
            "engine.qqq: there is no such field. It takes name, device",
        ),
        ("[drift]\nbrigthness = 0.1", "drift.brigthness: there is no such field. Did you mean brightness"),
        ("[drift]\nposition = 0.6", "drift.position: it takes a number below 0.5"),
        (
            MINIMAL + "[camera.drift]\nbrigthness = 1",
            "drift.brigthness: .*Did you mean brightness",
        ),
        (
            MINIMAL + "[camera.rules]\nhit = 2",
            "camera a: rules.hit: .* Did you mean hits",
        ),
        (
            "[[sink]]\ntype = 'csv'\npth = 'x'",
            r"sink 1 \(csv\): pth: .* Did you mean path",
        ),
        ("[[sink]]\npath = 'x'", "sink 1: type: it is missing. Add it: jsonl, csv"),
        ("metric = 3", "metric: there is no such field. Did you mean metrics"),
        ("[rules]\nhits = 3", r"rules: there is no such field. It belongs into \[\[camera\]\]"),
        ("[[sink]]\ntype = 'json'\npath = 'x'", "type: there is no 'json'. Did you mean jsonl"),
        ("[[sink]]\ntype = 'mqtt'\nhost = 'x'\nport = 0", r"sink 1 \(mqtt\): port: it takes a whole number"),
        (
            "[[sink]]\ntype = 'webhook'\nurl = 'http://x'\nkinds = ['event', 'learnt']",
            r"sink 1 \(webhook\): kinds: there is no 'learnt'. Did you mean learned.*takes event, trouble",
        ),
        ("[metrics]\nport = 99999", "metrics.port: it takes a whole number of at most 65535"),
        ("[metrics]\nhost = ''", "metrics.host: it is empty"),
        ("[metrics]\nhost = 127", "metrics.host: it takes a text in quotes, .*Put it in quotes"),
        ("[[metrics]]\nport = 1", r"metrics: there is one of it. Write \[metrics\]"),
        ("[camera]\nname = 'a'", r"camera: there may be several of it. Write \[\[camera\]\]"),
        (MINIMAL + "[camera.zone]\nname = 'a'", r"camera a: zone: .*Write \[\[camera.zone\]\]"),
        (MINIMAL + "[[camera.rules]]\nhits = 1", r"camera a: rules: .*Write \[camera.rules\]"),
        ("[log]\nlevel = 'warn'", "log.level: there is no 'warn'. Did you mean warning"),
        ("[log]\njson = 'yes'", "log.json: it takes true or false"),
        ("camera = 3", "camera: it takes a list in brackets"),
        (MINIMAL.replace('"0"', '"${NOT_SET}"'), r"camera a: source asks for the environment's NOT_SET"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        parse_config(text.encode("latin-1"), "loop.toml", {})
    assert str(caught.value).startswith("loop.toml")
    assert "\n" not in str(caught.value)
    assert "`" not in caught.value.problem  # which is how msgspec speaks


def test_what_notepad_puts_in_front_is_let_be():
    assert parse_config(b"\xef\xbb\xbf" + MINIMAL.encode(), "loop.toml").camera[0].name == "a"


@pytest.mark.parametrize(
    ("sink", "said"),
    [
        ("type = 'webhook'\nurl = 'hook.example'", r"sink 1 \(webhook\): 'hook.example' is no web address"),
        (
            "type = 'webhook'\nurl = 'http://x'\nheaders = { Authorization = \"Bearer geheim\\n\" }",
            "the header Authorization has letters that cannot be sent",
        ),
        ("type = 'mqtt'\nhost = 'x'\nprefix = 'plant/#'", r"sink 1 \(mqtt\): 'plant/#' cannot begin"),
        ("type = 'mqtt'\nhost = 'x'\nprefix = '/'", "cannot begin an MQTT topic"),
        (
            "type = 'jsonl'\npath = 'e'\n[[sink]]\ntype = 'csv'\npath = 'x/../e'",
            r"sink 2 \(csv\) writes to .*e, as sink 1 \(jsonl\) does",
        ),
        ("type = 'jsonl'\npath = 'edgead-outbox.db'", r"edgead-outbox.db, as \[outbox\] does"),
        (
            "type = 'clips'\nfolder = 'c'\n[[sink]]\ntype = 'clips'\nfolder = 'c'",
            r"sink 2 \(clips\) writes to .*c, as sink 1",
        ),
        ("type = 'lines'\n[[sink]]\ntype = 'lines'", r"sink 2 \(lines\): there is another one, lines"),
    ],
)
def test_a_sink_that_cannot_be_made_is_named(sink, said, tmp_path):
    config = parse_config(f"[[sink]]\n{sink}".encode(), "loop.toml", {})
    with pytest.raises(ConfigError, match=said) as caught:
        build_sinks(config, tmp_path)
    assert "geheim" not in str(caught.value)


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


@pytest.mark.parametrize("source", ["rtsp://c/A", "RTSP://c/A"])
def test_a_network_camera_is_opened_as_the_file_says_or_the_start_is_refused(source, tmp_path, monkeypatch):
    monkeypatch.setattr(rtsp, "find_spec", lambda name: object())
    camera = CameraTable(name="a", detector="d", source=source, decoder="av", transport="udp")
    built = build_source(camera, tmp_path)
    assert isinstance(built, NetworkCamera)
    assert (built.url, built.decoder, built.transport) == ("rtsp://c/A", "av", "udp")
    without = msgspec.structs.replace(camera, decoder="opencv")
    with pytest.raises(SourceError, match=r'over udp, .* leave decoder = "opencv" out, or take transport'):
        build_source(without, tmp_path)
    monkeypatch.setattr(rtsp, "find_spec", lambda name: None)
    with pytest.raises(SourceError, match="PyAV is not installed"):
        build_source(camera, tmp_path)
    with pytest.raises(SourceError, match="over udp, which OpenCV does not do"):
        build_source(msgspec.structs.replace(camera, decoder="auto"), tmp_path)
    as_usual = msgspec.structs.replace(camera, decoder="auto", transport="tcp")
    assert isinstance(build_source(as_usual, tmp_path), NetworkCamera)


def test_every_sink_of_the_example_can_be_made(tmp_path):
    full = parse_config(uncommented(), "loop.toml", SECRETS)
    names = [sink.name for sink in build_sinks(full, tmp_path)]
    assert len(names) == len(set(names)) == 6
    assert len(build_clips(full, tmp_path)) == 1
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
