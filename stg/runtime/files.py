"""Files that others will read are written whole or not at all."""

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stg.runtime.errors import StgError, UserError

_PLACE = re.compile(r"(?<![\w./~-])(?:~?/(?!/)|[A-Za-z]:[\\/]|\\\\)(?:[^\s/\\:'\",;]*[/\\])*([^\s/\\:'\",;]+)")
"""An absolute path, and its last part. An address (``https://...``) and ``val/test`` are none."""


def write_atomic(path: str | Path, data: bytes | str) -> None:
    """Write ``data`` to a temporary name next to ``path``, flush it to disk, and rename it into place.

    A reader, or a run killed at any moment, sees the old file or the new one, never a part.

    Raises:
        StgError: the folder cannot be written to or the disk is full; the old file is intact.
    """
    payload = data.encode() if isinstance(data, str) else data
    with replacing(path, f" ({len(payload)} bytes)") as temporary:
        temporary.write_bytes(payload)


@contextlib.contextmanager
def replacing(path: str | Path, size: str = "") -> Iterator[Path]:
    """A temporary file next to ``path``, which takes its place once the block ends well; else it is removed.

    Args:
        path: of the file.
        size: of what is written, for errors.

    Raises:
        StgError: the folder cannot be written to or the disk is full; the old file is intact.
    """
    path = Path(path)
    temporary = None
    try:
        hidden = path.parent / f".{path.name[:40]}.{secrets.token_hex(4)}.tmp"
        # Not by tempfile, whose files none but their owner may read: what is written here is to be shared.
        os.close(os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary = hidden
        yield temporary
        with open(temporary, "rb+") as file:
            # On disk before it gets its name, or a power cut could leave an empty file under that name.
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = None
        sync_folder(path.parent)
    except OSError as error:
        raise StgError(f"could not write {path}{size}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut (where the system can)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_jsonl(path: str | Path, row: dict[str, Any]) -> None:
    """Append one JSON object as a line."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")


def printable(text: str) -> str:
    """``text`` as one line that every terminal and log can hold: what is no text, or moves the cursor, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def sha256_file(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"could not read {path}: {error.strerror or error}") from error


def without_places(text: object) -> str:
    """Text for others to read: of absolute paths the last part alone is left, for a page that may be mailed."""
    return _PLACE.sub(r"…/\1", str(text).replace(str(Path.home()), "~"))


def page_file(out: Path) -> Path:
    """The (first) file of a page that is to be written; its folder is made."""
    page = out.suffix.lower() in (".html", ".htm")
    if not page and (out.is_file() or (out.suffix and not out.is_dir())):
        raise UserError(f"a page is a file that ends in .html, or a folder for several; got {str(out)!r}")
    file = out if page else out / "index.html"
    if file.is_dir():
        raise UserError(f"{file} is a folder; give the name of a file that ends in .html, or of another folder")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"could not make the folder {file.parent} for the report: {error.strerror or error}") from error
    return file
