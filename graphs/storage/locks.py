"""Files of one owner: opened without following a link, and locked for as long as a process writes.

A link, a pipe or a device under the name of a log or a lock may have been put there by somebody else: what is written
would go into a file that nobody named.
"""

import errno
import fcntl
import json
import os
import socket
import stat
import time
import weakref
from contextlib import suppress
from datetime import datetime
from typing import Any

_TRIES, _PAUSE = 5, 0.02
"""A look at who has a lock takes it for a moment, so one refusal does not count."""

Name = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class LockHeldError(Exception):
    """Another process has the lock; the message says which: ``process 12 on host lab since 2026-11-28 22:00:11``."""


class FileLock:
    """The right to write, by a lock on a file that names who has it.

    The system takes it back when the process ends, however it ends; a forked child has no part in it. The file is
    removed on release, at the latest when a ``with`` ends. A second lock on one file is refused in the same process,
    too.

    Args:
        path: of the lock file; made if it is not there.

    Raises:
        LockHeldError: somebody has it.
        OSError: the file cannot be made, or is a link or no regular file (as :func:`open_plain`).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        name = os.fspath(path)
        self.pid = os.getpid()
        self.descriptor = _take(name)
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        owner = {"pid": self.pid, "host": socket.gethostname(), "since": now}
        # A full disk must not cost the lock: who has it is then not known to others.
        with suppress(OSError):
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, json.dumps(owner).encode(), 0)
        _HELD.add(self)
        self.release = weakref.finalize(self, _release, name, self.descriptor, self.pid)

    def __enter__(self) -> "FileLock":
        return self

    def __exit__(self, *details: object) -> None:
        self.release()


_HELD: weakref.WeakSet[FileLock] = weakref.WeakSet()


def _forget_in_child() -> None:
    # Locks belong to the open file, which a child shares: it would hold them beyond the life of their owner.
    for lock in _HELD:
        with suppress(OSError):
            os.close(lock.descriptor)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def open_plain(path: Name, flags: int, mode: int = 0o666) -> int:
    """``os.open`` for a regular file that lies under this very name.

    Raises:
        OSError: the name is that of a link, a folder, a pipe or a device; its words say so and name the file.
    """
    try:
        # Without O_NONBLOCK the open of a pipe would wait for its other end.
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(
                errno.ELOOP, f"{os.fsdecode(path)} is a link, and what it leads to would be overwritten: remove it"
            ) from error
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, f"{os.fsdecode(path)} is not a regular file: remove it") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{os.fsdecode(path)} is not a regular file: remove it")
    return descriptor


def lock_holder(path: str | os.PathLike[str], *, elsewhere: bool = False) -> str | None:
    """Who has the lock on a file at this moment, in words; None if nobody has, or the file cannot be read.

    Args:
        elsewhere: this process does not count.
    """
    try:
        descriptor = open_plain(path, os.O_RDONLY)
    except OSError:  # it has just gone, or another user's
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        owner = _owner(descriptor)
        mine = (owner.get("pid"), owner.get("host")) == (os.getpid(), socket.gethostname())
        return None if elsewhere and mine else _words(owner)
    finally:
        os.close(descriptor)
    return None


def _take(name: str) -> int:
    for attempt in range(_TRIES):
        descriptor = open_plain(name, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its owner may have left, and taken the file away, between these two steps.
            if os.path.exists(name) and os.path.samestat(os.stat(name), os.fstat(descriptor)):
                return descriptor
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                os.close(descriptor)
                raise
            if attempt == _TRIES - 1:
                words = _words(_owner(descriptor))
                os.close(descriptor)
                raise LockHeldError(words) from error
        os.close(descriptor)
        time.sleep(_PAUSE)
    raise LockHeldError("several processes that came and went at this moment")


def _release(name: str, descriptor: int, pid: int) -> None:
    if pid == os.getpid():
        # Removed first: whoever locks the file from here on sees that it has gone.
        with suppress(OSError):
            os.unlink(name)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _owner(descriptor: int) -> dict[str, Any]:
    try:
        owner = json.loads(os.pread(descriptor, 500, 0))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _words(owner: dict[str, Any]) -> str:
    if "pid" not in owner:
        return "another process, which does not say which it is"
    since = f" since {owner['since']}" if "since" in owner else ""
    return f"process {owner['pid']} on host {owner.get('host', 'unknown')}{since}"
