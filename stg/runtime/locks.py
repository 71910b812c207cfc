"""Who writes where: locks that a process holds while it works, and that the system takes back when it dies."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from graphs import FileLock, LockHeldError
from stg.runtime.errors import Preempted, UserError
from stg.runtime.files import LOCK_FILE

LOCK_SECONDS = 0.1


@contextmanager
def claim(path: Path, *, wait: bool = False, stop: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Hold a lock file, if nobody else does; yields whether it is held. Whoever dies lets go of it.

    Args:
        path: of the lock file.
        wait: until the other lets go.
        stop: asked while waiting.

    Raises:
        Preempted: ``stop`` said so.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = None
    while lock is None:
        try:
            lock = FileLock(path)
        except LockHeldError:
            if not wait:
                break
            if stop():
                raise Preempted(
                    f"stopped while another process held {path}: the same command resumes from there"
                ) from None
            time.sleep(LOCK_SECONDS)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            lock.release()


def lock_folder(folder: str | os.PathLike[str], name: str = LOCK_FILE) -> FileLock:
    """The right to write into a folder, which others may read meanwhile.

    Args:
        folder: is there.
        name: of the lock file, where processes may write different things at a time.

    Raises:
        UserError: another process writes there (it is named), or nobody can.
    """
    try:
        return FileLock(os.path.join(folder, name))
    except LockHeldError as error:
        raise UserError(f"{os.fspath(folder)} is being written by {error}: wait for it, or end it") from error
    except OSError as error:
        raise UserError(f"{os.fspath(folder)} cannot be written to: {error.strerror or error}") from error
