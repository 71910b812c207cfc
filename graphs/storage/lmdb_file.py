"""One LMDB file, opened lazily in each process, growing by itself, with one writer and any number of readers."""

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import lmdb

from graphs.storage.file_systems import check_writable
from graphs.storage.lmdb_check import check_file
from graphs.storage.lmdb_environment import beside, open_environment, translated
from graphs.storage.locks import FileLock, LockHeldError
from graphs.storage.records import StoreError

MAP_GROWTH = 256 * 2**20
_FORK_PATIENCE = 10.0

HEADER_KEY = b"\xffheader"  # never a video's key, since 0xff does not occur in UTF-8

Item = tuple[bytes, bytes | bytearray]
Transaction = lmdb.Transaction


class LMDBFile:
    """A path, and this process's share of the LMDB environment behind it.

    Safe before and after a fork, and picklable: a copy in another process opens the file itself, for reading. LMDB
    allows no second open of a file in one process, so all objects with one path share one environment.

    Args:
        path: the data file; LMDB keeps ``<path>-lock`` next to it, and a writer ``<path>-writer`` while it is open.
        write: open for writing (creating the file) at once; reading opens and checks the file at once too.
        map_growth: bytes by which the map grows when it is full; a step, not a limit.
        strict: refuse to write on a network file system, instead of warning about it.

    Raises:
        StoreError: no such file, damaged, not permitted, or (writing) another writer is at work.
    """

    def __init__(
        self, path: str | Path, write: bool = False, map_growth: int = MAP_GROWTH, strict: bool = False
    ) -> None:
        if map_growth < 1:
            raise StoreError(f"map_growth must be a positive number of bytes, got {map_growth}")
        self.path = Path(path).absolute()
        self.map_growth = map_growth
        self._closed = False
        self._writer: FileLock | None = None
        self._environment: _Environment | None = None
        if write:
            check_writable(self.path, strict)
            self._environment, self._writer = _acquire_for_writing(self, map_growth)
        else:
            self._environment = _acquire(self)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "map_growth": self.map_growth, "closed": self._closed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self.map_growth, self._closed = state["path"], state["map_growth"], state["closed"]
        self._writer = None
        self._environment = None

    @property
    def writable(self) -> bool:
        """Whether this object, in this process, may write."""
        return self._writer is not None and self._writer.pid == os.getpid() and not self._closed

    def close(self) -> None:
        """Give the environment back; the last user of a path closes it. Closing twice is harmless."""
        self._closed = True
        # What was inherited through a fork belongs to the parent, which still uses it.
        if self._environment is not None and self._environment.pid == os.getpid():
            _leave(self._environment, self)
        if self._writer is not None:
            self._writer.release()
        self._environment = self._writer = None

    @contextmanager
    def read(self) -> Iterator[lmdb.Transaction]:
        """One consistent snapshot. Values are buffers into the file: valid inside the ``with`` block only."""
        environment = self._here()
        with translated(self.path):
            try:
                transaction = environment.begin()
            # Another process has written beyond this map: take over its size, once.
            except lmdb.MapResizedError:
                environment.grow(0)
                transaction = environment.begin()
        try:
            with translated(self.path):
                yield transaction
        finally:
            environment.end(transaction)

    def commit(self, items: Sequence[Item], clear: bool = False) -> None:
        """Put all ``items``, or none of them: one transaction, on disk when this returns.

        Raises:
            StoreFullError: the disk is full. What was committed before is intact.
            StoreError: not opened for writing here.
        """
        environment = self._here()
        if not self.writable:
            raise StoreError(
                f"{self.path} is open for reading here: open it with mode 'a' to write (a forked or unpickled copy of "
                "a writer only reads)"
            )
        # How much room a transaction takes is known to LMDB alone, so it is tried again with a larger map; nothing of a
        # failed try is kept.
        size = sum(len(value) for _, value in items)
        while True:
            try:
                with translated(self.path, size):
                    environment.put(items, clear)
                return
            except lmdb.MapFullError:
                environment.grow(max(self.map_growth, 2 * size))
            except lmdb.MapResizedError:
                environment.grow(0)

    def _here(self) -> "_Environment":
        if self._closed:
            raise StoreError(f"the store {self.path} is closed")
        if self._environment is None or self._environment.pid != os.getpid():
            self._environment = _acquire(self)
        return self._environment


class _Environment:
    """The one environment of a path in this process, and who uses it."""

    def __init__(self, path: Path, write: bool, map_growth: int) -> None:
        self.path = path
        self.pid = os.getpid()
        self.users: weakref.WeakSet[LMDBFile] = weakref.WeakSet()
        self.writer: Callable[[], FileLock | None] = lambda: None
        self.writable = write
        # Counts the open transactions of all threads, which a resize, a close or a fork waits for.
        self._condition = threading.Condition()
        self._active = 0
        self._reopen(write, map_growth)
        # A file that replaces this one under its name is another store: its inode differs.
        status = path.stat()
        self.identity = (status.st_dev, status.st_ino)

    def begin(self, write: bool = False) -> lmdb.Transaction:
        with self._condition:
            self._active += 1
        try:
            return self.lmdb.begin(write=True) if write else self.lmdb.begin(buffers=True)
        except BaseException:
            self._left()
            raise

    def end(self, transaction: lmdb.Transaction) -> None:
        try:
            transaction.abort()
        finally:
            self._left()

    def put(self, items: Sequence[Item], clear: bool) -> None:
        transaction = self.begin(write=True)
        try:
            if clear:
                transaction.drop(self.lmdb.open_db(txn=transaction), delete=False)
            for key, value in items:
                transaction.put(key, value)
            transaction.commit()
        finally:
            self.end(transaction)

    def grow(self, step: int) -> None:
        """Enlarge the map by ``step`` bytes; 0 takes over the size that another process set."""
        with self._alone():
            self.lmdb.set_mapsize(self.lmdb.info()["map_size"] + step if step else 0)

    def make_writable(self, map_growth: int) -> None:
        """Reopen for writing; readers of the same path continue with the new environment."""
        if not self.writable:
            with self._alone():
                self._abandon()
                self._reopen(True, map_growth)
                self.writable = True

    def close(self) -> None:
        with self._alone():
            self._abandon()

    def _reopen(self, write: bool, map_growth: int) -> None:
        self.lmdb = open_environment(self.path, write, map_growth)
        # An environment that nobody closed must not bar the path for the rest of the process.
        self._abandon = weakref.finalize(self, self.lmdb.close)
        self._abandon.atexit = False

    def before_fork(self) -> None:
        # For the same reason a fork waits until the other threads are done reading.
        self._condition.acquire()
        self._condition.wait_for(lambda: self._active == 0, timeout=_FORK_PATIENCE)

    def after_fork(self) -> None:
        self._condition.release()

    def _left(self) -> None:
        with self._condition:
            self._active -= 1
            self._condition.notify_all()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # LMDB neither allows nor checks a resize or a close while a transaction of this process is open.
        with self._condition:
            self._condition.wait_for(lambda: self._active == 0)
            yield


# LMDB forbids a second open of a file in one process (its locks are per process): hence one table per process.
_OPEN: weakref.WeakValueDictionary[str, _Environment] = weakref.WeakValueDictionary()
_TABLE_LOCKS: dict[int, AbstractContextManager[Any]] = {}
_FORKING = threading.local()


def _before_fork() -> None:
    _FORKING.held = list(_OPEN.values())
    for environment in _FORKING.held:
        environment.before_fork()


def _after_fork() -> None:
    for environment in _FORKING.held:
        environment.after_fork()
    _FORKING.held = []


@cache
def _watch_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)


def _table_lock() -> AbstractContextManager[Any]:
    return _TABLE_LOCKS.setdefault(os.getpid(), threading.RLock())


def _acquire(user: LMDBFile) -> _Environment:
    path = user.path
    with _table_lock(), translated(path):
        environment = _current(path)
        if environment is None:
            check_file(path)
            environment = _Environment(path, False, user.map_growth)
        return _join(environment, user)


def _acquire_for_writing(user: LMDBFile, map_growth: int) -> tuple[_Environment, FileLock]:
    path = user.path
    with _table_lock(), translated(path):
        # Locks of the system do not bar the process that holds them, so this process is asked first.
        environment = _current(path)
        if environment is not None and environment.writer() is not None:
            raise StoreError(f"{path} is already open for writing in this process ({os.getpid()}): close that one")
        try:
            writer = FileLock(beside(path, "-writer"))
        except LockHeldError as error:
            raise StoreError(f"{path} is being written by {error}: wait for it, or end it") from error
        if path.exists() and path.stat().st_size:
            check_file(path)
        if environment is None:
            environment = _Environment(path, True, map_growth)
        # Readers of this process have the file open already, and a second open is forbidden: theirs is reopened.
        environment.make_writable(map_growth)
        environment.writer = weakref.ref(writer)
        return _join(environment, user), writer


def _current(path: Path) -> _Environment | None:
    environment = _OPEN.get(os.path.realpath(path))
    if environment is None:
        return None
    if environment.pid != os.getpid():
        environment.lmdb.close()  # inherited through a fork, where LMDB forbids its use
        return None
    return environment if _same_file(environment, path) else None


def _join(environment: _Environment, user: LMDBFile) -> _Environment:
    _watch_forks()
    environment.users.add(user)
    _OPEN[os.path.realpath(environment.path)] = environment
    return environment


def _leave(environment: _Environment, user: LMDBFile) -> None:
    with _table_lock():
        environment.users.discard(user)
        if not environment.users:
            environment.close()
            key = os.path.realpath(environment.path)
            if _OPEN.get(key) is environment:
                del _OPEN[key]


def _same_file(environment: _Environment, path: Path) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == environment.identity
