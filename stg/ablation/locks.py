"""Who works on what: lock files."""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from stg.runtime.errors import Preempted

LOCK_SECONDS = 0.1


@contextmanager
def claim(path: Path, *, wait: bool = False, stop: Callable[[], bool] = lambda: False) -> Iterator[bool]:
    """Hold a lock file, if nobody else does; yields whether it is held. Whoever dies lets go of it.

    Args:
        path: of the lock file, which stays behind empty: removing it would let two hold it.
        wait: until the other lets go.
        stop: asked while waiting.

    Raises:
        Preempted: ``stop`` said so.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        while not (mine := _locked(file)) and wait:
            if stop():
                raise Preempted(f"stopped while another process held {path}: the same command resumes from there")
            time.sleep(LOCK_SECONDS)
        yield mine


def _locked(file: IO[str]) -> bool:

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def held(path: Path) -> bool:
    """Whether another process holds a lock file at this moment."""
    if not path.exists():
        return False
    with claim(path) as free:
        return not free
