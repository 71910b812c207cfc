"""Files of models on a hub such as huggingface.co: the copies on this machine, and, where asked for, over the network.

Needs ``huggingface_hub`` (extra ``hub``), which is imported when a hub is asked. Imports no torch.
"""

import os
import re
import socket
import threading
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stg.runtime.errors import UserError, first_line

SECONDS = 2.0
"""Longest wait for the first sign of a hub: a machine without a network answers by then."""

_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)


def is_hub_id(name: str | Path) -> bool:
    """Whether a name may be that of a model on a hub, ``owner/model``, as no file or folder has it."""
    return bool(_ID.fullmatch(str(name))) and not Path(name).exists()


def cached_copy(model: str, files: Sequence[str], revision: str | None = None) -> Path | None:
    """The folder of this machine's copy of a model, if it has these files; else None. Asks no network."""
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
    api = _api()
    from huggingface_hub import snapshot_download

    advice = how_to_fetch(model, files, option)
    _check_reachable(api.endpoint, f"{model} is not on this machine", advice)
    try:
        folder = snapshot_download(
            model, revision=revision, allow_patterns=list(files), endpoint=api.endpoint, etag_timeout=SECONDS * 5
        )
    except Exception as error:  # of the library, of its HTTP client and of the system: they share no base class
        raise UserError(
            f"{model} could not be fetched from {api.endpoint}: {first_line(error, most=200)}; {advice}"
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
    api = _api()
    _check_reachable(
        api.endpoint,
        f"{model} was not sent",
        f"the files are made by save_pretrained, too: then `hf upload {model} FOLDER` sends them",
    )
    try:
        repository = api.create_repo(model, private=private, exist_ok=True).repo_id
        return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload a captioner"))
    except Exception as error:  # as above
        raise UserError(f"{model} could not be sent to {api.endpoint}: {first_line(error, most=200)}") from error


def _api() -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise UserError(
            "models of a hub need huggingface_hub, which is not installed: pip install 'stg-video[hub]', or give a "
            "folder with the files of the model"
        ) from error
    return HfApi(endpoint=os.getenv("HF_ENDPOINT"), library_name="stg")


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
