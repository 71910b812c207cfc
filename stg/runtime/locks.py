"""Who writes where: locks that a process holds while it works, and that the system takes back when it dies."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from graphs import FileLock, LockHeldError
from stg.runtime.errors import Preempted, UserError
from stg.runtime.files import LOCK_FILE, remove_leftovers

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


class FolderWriter:
    """The right to write into the folder of a run, while a ``with`` lasts.

    Where a run has begun it is taken at the start, since what is read there must not change; else by :meth:`begin`, so
    that a run that is refused leaves no trace.

    Args:
        folder: of the run.
        settings: the file that is there once the run has begun.
        option: of the command that chooses the folder, for errors.
    """

    def __init__(self, folder: Path, settings: Path, option: str) -> None:
        self._folder, self._settings, self._option = folder, settings, option
        self._lock: FileLock | None = None
        self._resumes = settings.exists()

    def __enter__(self) -> "FolderWriter":
        self.resume()
        return self

    def __exit__(self, *details: object) -> None:
        self.release()

    def resume(self) -> None:
        """Be the only writer of a run that has begun; nothing for a new one.

        Raises:
            UserError: another process writes there (it is named).
        """
        # A finished run may be one that can only be read.
        if self._resumes and os.access(self._folder, os.W_OK):
            self._lock = lock_folder(self._folder)

    def release(self) -> None:
        """Let others write."""
        if self._lock is not None:
            self._lock.release()
        self._lock = None

    def begin(self) -> None:
        """Make the folder, be its only writer, and take away what killed ones left.

        Raises:
            UserError: another process writes there (it is named), or has begun a run there; nobody can write there.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the run folder {self._folder} cannot be made: {error.strerror or error}") from error
        if self._lock is None:
            self._lock = lock_folder(self._folder)
        if self._settings.exists() and not self._resumes:
            raise UserError(f"{self._folder} was begun by another process meanwhile: the same command resumes it")
        # Old checkpoints are removed: through a link they would be those of another run.
        if (checkpoints := self._folder / "checkpoints").is_symlink():
            raise UserError(
                f"{checkpoints} is a link: put the folder itself there, or choose another folder with {self._option}"
            )
        remove_leftovers(self._folder)
