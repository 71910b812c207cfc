"""Whether a file is still the one that was read: by its stamp, and where that differs, by its content."""

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Stamp = tuple[int, int, int]
"""Size, time of the last change of the content, and of the last change at all (both in ns), of a file."""


@dataclass(frozen=True)
class Read:
    """What was read: the stamp of its file before that, and the SHA-256 of what it held."""

    stamp: Stamp
    sha256: str

    @classmethod
    def from_row(cls, row: Any) -> "Read":
        """From the keys ``stamp`` and ``sha256`` of a row of a list.

        Raises:
            ValueError, TypeError, LookupError: the row is another one.
        """
        size, modified, changed = row["stamp"]
        return cls((size, modified, changed), str(row["sha256"]))

    def row(self) -> dict[str, Any]:
        """What :meth:`from_row` takes."""
        return {"stamp": self.stamp, "sha256": self.sha256}


def stamp_of(path: Path) -> Stamp:
    """The stamp of a file. While it stays the same, so does the content.

    The third number sees what the first two do not: another file of that size and date in its place.
    """
    return _stamp(path.stat())


def read_of(file: io.BufferedReader) -> Read:
    """The stamp and the hash of an open file, from its first byte on."""
    # The stamp first: what is written meanwhile is seen by the next comparison.
    stamp = _stamp(os.fstat(file.fileno()))
    return Read(stamp, hashlib.file_digest(file, "sha256").hexdigest())


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
