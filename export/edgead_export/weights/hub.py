"""Official weights from the Hugging Face hub, verified against the hash that the hub publishes.

A machine without a way to the hub must not wait long for each export, so the hub is asked once with a
deadline before anything is downloaded: ``huggingface_hub`` itself would retry for half a minute.
"""

from __future__ import annotations

import json
import os
import re
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgead_runtime.cache import cache_dir
from edgead_runtime.files import sha256_file, write_atomic

from edgead_export.backbones import BackboneSpec
from edgead_export.downloads import disk_errors, fetching_folder, is_intact, move_into_place
from edgead_export.errors import DownloadError
from edgead_export.quiet import quiet

_FILES = ("model.safetensors", "pytorch_model.bin")
"""In order of preference: some repositories have never been given safetensors."""
_NETWORK = (ConnectionError, TimeoutError)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONNECT_TIMEOUT_S = 5.0
_DEADLINE_S = 12.0
"""For the first answer in all. A timeout alone does not bound name resolution, nor several addresses."""


@dataclass(frozen=True)
class HubFile:
    """A verified checkpoint as it lies on the hub."""

    path: Path
    sha256: str
    repo: str


def find_cached(spec: BackboneSpec) -> HubFile | None:
    """The backbone's checkpoint from our cache or the hub library's; a damaged one of ours is removed."""
    return _from_our_cache(spec) or _from_hub_cache(spec)


def download(spec: BackboneSpec, progress: bool = True) -> HubFile:
    """Fetch the checkpoint into the cache; progress is shown by the hub's library.

    Raises:
        DownloadError: The hub is switched off, cannot be reached, has no such file or sent another one.
    """
    from huggingface_hub import constants  # slow to import

    if constants.HF_HUB_OFFLINE:
        raise DownloadError(
            "the Hugging Face hub is switched off by HF_HUB_OFFLINE", "Unset it, or give a file."
        )
    name, expected, commit = _ask(spec.hub_repo)
    folder = _folder(spec)
    with disk_errors(folder), fetching_folder(folder) as partial:
        fetched = _fetch(spec.hub_repo, name, commit, partial, progress)
        if sha256_file(fetched) != expected:
            raise DownloadError(
                f"{name} of {spec.hub_repo} arrived damaged (SHA-256 differs)",
                "Run the same command again.",
            )
        target = folder / f"{expected[:12]}-{name}"
        move_into_place(fetched, target, expected)
        record = {**asdict(HubFile(target, expected, spec.hub_repo)), "path": target.name, "commit": commit}
        write_atomic(folder / "record.json", json.dumps(record, indent=2).encode())
    return HubFile(target, expected, spec.hub_repo)


def _fetch(repo: str, name: str, commit: str | None, folder: Path, progress: bool) -> Path:
    """Download one file with the hub's library."""
    from huggingface_hub import hf_hub_download, utils  # slow to import

    hide_bars = not progress and not utils.are_progress_bars_disabled()  # type: ignore[attr-defined]
    if hide_bars:
        utils.disable_progress_bars()  # type: ignore[attr-defined]
    try:
        with quiet("huggingface_hub"):
            return Path(hf_hub_download(repo, name, revision=commit, local_dir=folder, endpoint=_endpoint()))
    except Exception as error:
        # Whatever its HTTP library raises, whose very package name has changed between releases.
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, _NETWORK):
            raise  # the disk's word, which the caller puts better
        raise _unreachable(repo, error) from error
    finally:
        if hide_bars:
            utils.enable_progress_bars()  # type: ignore[attr-defined]


def _folder(spec: BackboneSpec) -> Path:
    return cache_dir() / "hub" / spec.hub_repo.replace("/", "--")


def _from_our_cache(spec: BackboneSpec) -> HubFile | None:
    record_path = _folder(spec) / "record.json"
    try:
        record = json.loads(record_path.read_bytes())
        path, sha256 = _folder(spec) / Path(record["path"]).name, str(record["sha256"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        record_path.unlink(missing_ok=True)
        return None
    if is_intact(path, sha256):
        return HubFile(path, sha256, spec.hub_repo)
    record_path.unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    return None


def _from_hub_cache(spec: BackboneSpec) -> HubFile | None:
    """A file that another tool fetched. The library names its blobs by their SHA-256."""
    from huggingface_hub import try_to_load_from_cache  # slow to import

    for name in _FILES:
        found = try_to_load_from_cache(spec.hub_repo, name)
        if isinstance(found, str):
            blob = Path(found).resolve()
            if _SHA256.fullmatch(blob.name) and is_intact(blob, blob.name):
                return HubFile(Path(found), blob.name, spec.hub_repo)
    return None


def _ask(repo: str) -> tuple[str, str, str | None]:
    """Which file the hub has, its SHA-256 and the commit, within the deadline."""
    answer: list[tuple[str, Any]] = []
    failure: list[Exception] = []

    def ask() -> None:
        try:
            answer.append(_metadata(repo))
        except Exception as error:  # noqa: BLE001  (handed to the caller's thread)
            failure.append(error)

    # A daemon: a name server that never answers must not keep the process alive either.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_DEADLINE_S)
    if failure:
        raise _unreachable(repo, failure[0]) from failure[0]
    if not answer:
        raise _unreachable(repo, TimeoutError(f"no answer within {_DEADLINE_S:.0f} s"))
    name, metadata = answer[0]
    if not _SHA256.fullmatch(metadata.etag or ""):
        raise DownloadError(
            f"the hub gives no SHA-256 for {name} of {repo}, so it cannot be verified",
            "Fetch the file yourself and give its path.",
        )
    return name, metadata.etag, metadata.commit_hash


def _metadata(repo: str) -> tuple[str, Any]:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url  # slow to import
    from huggingface_hub.errors import EntryNotFoundError

    *preferred, last = _FILES
    for name in preferred:
        try:
            url = hf_hub_url(repo, name, endpoint=_endpoint())
            return name, get_hf_file_metadata(url, timeout=_CONNECT_TIMEOUT_S, endpoint=_endpoint())
        except EntryNotFoundError:
            continue
    url = hf_hub_url(repo, last, endpoint=_endpoint())
    return last, get_hf_file_metadata(url, timeout=_CONNECT_TIMEOUT_S, endpoint=_endpoint())


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _unreachable(repo: str, error: Exception) -> DownloadError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
    return DownloadError(
        f"{repo} cannot be fetched from the Hugging Face hub ({reason[:160]})",
        f"Connect to the hub, or fetch {_FILES[0]} of {repo} on another machine and give its path.",
    )
