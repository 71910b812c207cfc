"""Files of models on a hub such as huggingface.co: the copies on this machine, and, where asked for, over the network.

Needs ``huggingface_hub`` (extra ``hub``), which is imported when a hub is asked. Imports no torch.
"""

import os
import re
import socket
import sys
import threading
import urllib.request
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stg.runtime.errors import UserError, first_line

HUB = "https://huggingface.co"
"""Where models are, unless HF_ENDPOINT names another hub."""

SECONDS = 1.2
"""Longest wait for the first sign of a hub: with what goes before, a command without a network answers in two."""

ETAG_SECONDS = 10.0
"""Longest wait for what a hub knows of a file."""

_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)


def is_hub_id(name: str | Path) -> bool:
    """Whether a name may be that of a model on a hub, ``owner/model``, as no file or folder has it."""
    return bool(_ID.fullmatch(str(name))) and not Path(name).exists()


def cached_copy(model: str, files: Sequence[str], revision: str | None = None) -> Path | None:
    """The folder of this machine's copy of a model, if it has these files; else None. Asks no network."""
    # The library takes longer to import than all that follows: it is asked of what is there.
    if not (_cache() / f"models--{model.replace('/', '--')}").is_dir():
        return None
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ImportError:
        return None
    try:
        # Of other files a copy may lack some, which newer versions of the library call incomplete.
        found = snapshot_download(model, revision=revision, local_files_only=True, allow_patterns=list(files))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
    return Path(found) if all((Path(found) / file).is_file() for file in files) else None


def how_to_fetch(model: str, files: Sequence[str], option: str) -> str:
    """What to do on a machine without a network, or where nobody asked for one."""
    return (
        f"elsewhere, `hf download {model} --local-dir FOLDER` fetches its files ({', '.join(files)}): bring FOLDER "
        f"here and give it as {option}"
    )


def fetch(model: str, files: Sequence[str], option: str, revision: str | None = None) -> Path:
    """Fetch files of a model into the hub's cache, as far as they are not there; returns the folder of the copy.

    Args:
        model: ``owner/model``.
        files: their names, or patterns such as ``*.json``.
        option: what takes a folder in the place of the model, for errors.
        revision: branch, tag or commit; by default the newest.

    Raises:
        UserError: the hub cannot be reached (within :data:`SECONDS`), has no such model, or keeps it from this user.
    """
    endpoint, advice = _endpoint(), how_to_fetch(model, files, option)
    _require_library()
    _check_reachable(endpoint, f"{model} is not on this machine", advice)
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            model, revision=revision, allow_patterns=list(files), endpoint=endpoint, etag_timeout=ETAG_SECONDS
        )
    except Exception as error:  # of the library, of its HTTP client and of the system: they share no base class
        raise UserError(
            f"{model} could not be fetched from {endpoint}: {first_line(error, most=200)}; {advice}"
        ) from error
    return Path(folder)


def push(folder: Path, model: str, *, private: bool | None = None) -> str:
    """Upload a folder as one commit to a model on the hub, which is made if it is not there; returns its address.

    Args:
        folder: all of its files are sent.
        model: ``owner/model``.
        private: whether a new model is hidden from others; None: as the hub has it for this owner.

    Raises:
        UserError: the hub cannot be reached, or refuses it: no token (``hf auth login``), or not the owner.
    """
    endpoint = _endpoint()
    _require_library()
    _check_reachable(
        endpoint,
        f"{model} was not sent",
        f"the files are made by save_pretrained, too: then `hf upload {model} FOLDER` sends them",
    )
    from huggingface_hub import HfApi

    api = HfApi(endpoint=endpoint, library_name="stg")
    try:
        repository = api.create_repo(model, private=private, exist_ok=True).repo_id
        return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload a captioner"))
    except Exception as error:  # as above
        raise UserError(f"{model} could not be sent to {endpoint}: {first_line(error, most=200)}") from error


def _require_library() -> None:
    if find_spec("huggingface_hub") is None:
        raise UserError(
            "models of a hub need huggingface_hub, which is not installed: pip install 'stg-video[hub]', or give a "
            "folder with the files of the model"
        )


def _endpoint() -> str:
    """The hub's address, as the library has it."""
    return (os.getenv("HF_ENDPOINT") or str(_constant("ENDPOINT", HUB))).rstrip("/")


def _cache() -> Path:
    """Where the library keeps its copies of models."""
    home = os.getenv("HF_HOME") or Path(os.getenv("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    named = os.getenv("HF_HUB_CACHE") or os.getenv("HUGGINGFACE_HUB_CACHE") or Path(home) / "hub"
    return Path(_constant("HF_HUB_CACHE", os.path.expandvars(named))).expanduser()


def _constant(name: str, otherwise: Any) -> Any:
    """What the library has read from the environment, if it is imported: later changes are none to it."""
    return getattr(sys.modules.get("huggingface_hub.constants"), name, otherwise)


def _check_reachable(endpoint: str, what: str, advice: str) -> None:
    """Refuse at once what cannot succeed: the library itself waits and tries again for up to minutes.

    Raises:
        UserError: nothing listens there, or does not answer in time.
    """
    if os.getenv("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise UserError(f"{what}, and HF_HUB_OFFLINE forbids the network: unset it; or {advice}")
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if (proxy := urllib.request.getproxies().get(parts.scheme)) and not urllib.request.proxy_bypass(host):
        parts = urlsplit(proxy if "://" in proxy else f"//{proxy}")
    port = parts.port or (80 if parts.scheme == "http" else 443)
    failed: list[str] = ["no answer"]

    def connect() -> None:
        try:
            socket.create_connection((parts.hostname, port), timeout=SECONDS).close()
            failed.clear()
        except OSError as error:
            failed[:] = [first_line(error, most=200)]

    # In a thread, as the look-up of a name knows no time limit.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if failed:
        raise UserError(
            f"{what}, and {endpoint} cannot be reached from here ({failed[0]} within {SECONDS:g} s): {advice}"
        )
