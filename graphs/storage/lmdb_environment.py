"""How one LMDB file is opened: its lock file, its size, and what LMDB says of both in words."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from graphs.storage.lmdb_check import being_written
from graphs.storage.locks import open_plain
from graphs.storage.records import StoreError, StoreFullError

_READERS, _SLOT, _HEADER_SLOTS = 1024, 64, 8  # of LMDB's lock file; a slot and its header are lines of the cache
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def open_environment(path: Path, write: bool, map_growth: int) -> lmdb.Environment:
    """Open a file for reading, or for writing with ``map_growth`` bytes to spare; if it grows meanwhile, once more.

    Raises:
        lmdb.Error, OSError: see :func:`translated`; ``MapResizedError`` where the file holds more than its size says.
    """
    while True:
        size = path.stat().st_size if path.exists() else 0
        try:
            return _open_once(path, write, map_growth)
        except lmdb.MapResizedError:
            # Another process wrote after a reader had asked for the size of its map; a file that is cut stays.
            if path.stat().st_size == size:
                raise


def _open_once(path: Path, write: bool, map_growth: int) -> lmdb.Environment:
    # No spare transactions: a forked child that closes its copy would free their slots in the shared lock table.
    options: dict[str, Any] = {"subdir": False, "max_spare_txns": 0}
    # Synchronous commits, no writable map: a power cut or a full disk then costs the open transaction at most.
    options |= {"sync": True, "metasync": True, "writemap": False, "map_async": False, "readahead": True}
    # The file itself, not a link to it, whose lock would be another one. As bytes: a name need not be UTF-8.
    name = os.fsencode(os.path.realpath(path))
    if write:
        size = path.stat().st_size if path.exists() else 0
        options["max_readers"] = _allocate_lock(path)
        opened = lmdb.open(name, map_size=size + map_growth, mode=0o644, lock=True, **options)
        # Readers that were killed would keep the pages they read from being used again.
        opened.reader_check()
        return opened
    options |= {"map_size": path.stat().st_size, "readonly": True, "create": False}
    # Readers enter themselves in the lock file, or a writer could reuse pages under them; on a read-only folder they
    # cannot, and nobody should write.
    lock_file = Path(beside(path, "-lock"))
    there, place = os.path.lexists(lock_file), lock_file.parent
    if not (os.access(lock_file, os.R_OK | os.W_OK) if there else os.access(place, os.W_OK)):
        return lmdb.open(name, lock=False, **options)
    try:
        return lmdb.open(name, lock=True, max_readers=_allocate_lock(path), **options)
    except OSError as error:
        # On a full disk as on a read-only one.
        if error.errno not in _DISK_FULL or being_written(path):
            raise
        return lmdb.open(name, lock=False, **options)


def beside(path: Path, end: str) -> str:
    """The name of a file that lies next to the store itself, not next to a link to it."""
    return os.path.realpath(path) + end


def _allocate_lock(path: Path) -> int:
    """Give LMDB's lock file its room on the disk; returns how many readers it has place for.

    LMDB maps this file into memory: on a full disk a page that is touched and has no room ends the process with SIGBUS.

    Raises:
        OSError: no room, or a link lies in its place, through which LMDB would write.
    """
    descriptor = open_plain(beside(path, "-lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        status = os.fstat(descriptor)
        # An old file keeps its size: who has it open would look for readers beyond the end of its map.
        size = status.st_size or _SLOT * (_READERS + _HEADER_SLOTS)
        if 512 * status.st_blocks < size and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)
    return min(_READERS, max(size // _SLOT - _HEADER_SLOTS, 1))


@contextmanager
def translated(path: Path, size: int = 0) -> Iterator[None]:
    """Turn what LMDB and the system say into words; the two errors that a larger map cures pass through."""
    try:
        yield
    except (lmdb.MapFullError, lmdb.MapResizedError):
        raise
    except lmdb.Error as error:
        if getattr(error, "code", 0) in _DISK_FULL or isinstance(error, lmdb.DiskError):
            raise _full(path, error, size) from error
        raise StoreError(f"{path}: {error}") from error
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise _full(path, error, size) from error
        raise StoreError(f"{path}: {error.strerror or error}") from error


def _full(path: Path, error: Exception, size: int) -> StoreFullError:
    free = shutil.disk_usage(path.parent).free
    needed = max(size, _SLOT * (_READERS + _HEADER_SLOTS))
    words = getattr(error, "strerror", None) or error
    return StoreFullError(
        f"could not write to {path} ({words}): the disk is full, or a quota or file-size limit is reached; about "
        f"{needed} more bytes are needed and {free} are free. All records committed before are intact: make room and "
        "run it again"
    )
