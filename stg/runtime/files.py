"""Files that others will read are written whole or not at all."""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from graphs import open_plain
from stg.runtime.errors import StgError, UserError
from stg.runtime.reading import open_regular

LOCK_FILE = ".lock"
"""In a folder into which one process writes at a time."""

_TEMPORARY = re.compile(r"\.(.*)\.[0-9a-f]{8}\.tmp", re.DOTALL)

_PLACE = re.compile(r"(?<![\w./~-])(?:~?/(?!/)|[A-Za-z]:[\\/]|\\\\)(?:[^\s/\\:'\",;]*[/\\])*([^\s/\\:'\",;]+)")
"""An absolute path, and its last part. An address (``https://...``) and ``val/test`` are none."""


def write_atomic(path: str | Path, data: bytes | str) -> None:
    """Write ``data`` to a temporary name next to ``path``, flush it to disk, and rename it into place.

    A reader, or a run killed at any moment, sees the old file or the new one, never a part.

    Raises:
        StgError: the folder cannot be written to or the disk is full; the old file is intact.
    """
    # What is no Unicode in the name of a file becomes an escape, which JSON reads back as it was.
    payload = data.encode(errors="backslashreplace") if isinstance(data, str) else data
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
    temporary, lock = None, -1
    try:
        remove_leftovers(path.parent, path.name)
        temporary, lock = _temporary(path)
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
        if lock >= 0:
            os.close(lock)


def _temporary(path: Path) -> tuple[Path, int]:
    """A new file next to ``path``, and a descriptor whose lock says that somebody writes it."""
    while True:
        hidden = path.parent / f".{path.name[:40]}.{secrets.token_hex(4)}.tmp"
        # Not by tempfile, whose files none but their owner may read: what is written here is to be shared.
        lock = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        with contextlib.suppress(OSError):  # without locks on this disk nobody takes it for a leftover
            fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.lexists(hidden) and os.path.samestat(os.stat(hidden), os.fstat(lock)):
            return hidden, lock
        os.close(lock)  # taken for a leftover before it was locked


def remove_leftovers(folder: str | Path, name: str | None = None) -> None:
    """Remove the temporary files of writers that were killed; those of living ones are locked, and stay.

    Args:
        folder: that of this package alone, where all of them are removed.
        name: of the only file whose temporary files are meant.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in list(entries):
            match = _TEMPORARY.fullmatch(entry.name)
            if not match or (name is not None and match[1] != name[:40]):
                continue
            with contextlib.suppress(OSError):
                lock = open_plain(entry.path, os.O_RDWR)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.path)
                finally:
                    os.close(lock)


def is_leftover(name: str) -> bool:
    """Whether a file of this name is a temporary one, or a lock, which a killed process leaves behind."""
    return name == LOCK_FILE or _TEMPORARY.fullmatch(name) is not None


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
    """Append one JSON object as a line, whole or not at all; half a line of a killed writer is taken away first.

    Raises:
        StgError: the disk is full, the folder cannot be written to, or the name is that of a link.
    """
    # What is no Unicode in the name of a file becomes an escape of JSON.
    line = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="backslashreplace")
    try:
        descriptor = open_plain(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            end = _heal(descriptor)
            try:
                if os.write(descriptor, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StgError(f"could not write {path}: {error.strerror or error}") from error


def heal_jsonl(path: str | Path) -> None:
    """Take half a line of a killed writer away from the end of a file of JSON lines.

    Raises:
        StgError: it cannot be read or written, or the name is that of a link.
    """
    try:
        descriptor = open_plain(path, os.O_RDWR | os.O_APPEND)
        try:
            _heal(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StgError(f"could not write {path}: {error.strerror or error}") from error


def _heal(descriptor: int) -> int:
    """Let a file of JSON lines end with a whole line; returns its length."""
    end = os.fstat(descriptor).st_size
    if not end or os.pread(descriptor, 1, end - 1) == b"\n":
        return end
    start, tail = end, b""
    while start and b"\n" not in tail:
        start = max(start - 2**16, 0)
        tail = os.pread(descriptor, end - start, start)
    half = tail.rpartition(b"\n")[2]
    try:
        whole = bool(half) and isinstance(json.loads(half), dict)
    except ValueError:
        whole = False
    if whole:  # only its line end was lost
        return end + os.write(descriptor, b"\n")
    os.ftruncate(descriptor, end - len(half))
    return end - len(half)


@contextlib.contextmanager
def noted(note: Callable[[], None], *, replaces: bool) -> Iterator[None]:
    """Note what is stored within the block, in an order that holds wherever the process is killed.

    What is new is noted first, as nothing may be stored without a note. What takes the place of another is noted last,
    as the former one must not be taken for it.
    """
    if not replaces:
        note()
    yield
    if replaces:
        note()


def last_rows(lines: Iterable[bytes]) -> dict[str, bytes]:
    """The last line of each ``id`` in a file of JSON lines, in the order of these; what is no row is left out."""
    rows = dict[str, bytes]()
    for line in lines:
        try:
            video = json.loads(line)["id"]
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        if isinstance(video, str):
            rows.pop(video, None)
            rows[video] = line
    return rows


def open_log(path: str | Path) -> TextIOWrapper:
    """A text file to append lines to; half a line at its end is ended.

    Raises:
        OSError: it cannot be written, or its name is that of a link.
    """
    descriptor = open_plain(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    end = os.fstat(descriptor).st_size
    if end and os.pread(descriptor, 1, end - 1) != b"\n":
        os.write(descriptor, b"\n")
    return open(descriptor, "a", encoding="utf-8", errors="backslashreplace")


def printable(text: str) -> str:
    """``text`` as one line that every terminal and log can hold: what is no text, or moves the cursor, is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def sha256_file(path: str | Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"could not read {path}: {error.strerror or error}") from error


def fingerprint(values: Any) -> str:
    """The SHA-256 of what JSON can hold, in hexadecimal: equal for equal values, in whatever order their keys are."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


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
