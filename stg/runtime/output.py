"""Standard output that may fail: a pipe whose reader has left, a full disk, a terminal that was closed."""

import json
import os
import sys
import weakref
from contextlib import suppress
from typing import Any

_LOST: weakref.WeakSet[Any] = weakref.WeakSet()


class Lenient:
    """A text stream for what a run says while it works: what cannot be written is lost, and the work continues.

    Args:
        stream: takes the text.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError, ValueError):  # a ValueError: somebody has closed it
            return self._stream.write(text)
        _LOST.add(self._stream)
        return len(text)

    def flush(self) -> None:
        """Flush what can be written."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            _LOST.add(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def json_line(record: Any) -> str:
    """A record as JSON for standard output, with names as they are.

    What standard output cannot hold, and what a terminal would obey, becomes an escape that JSON reads back as it was:
    names of files that are no Unicode, controls, separators of lines, and where it is not UTF-8, all that is not ASCII.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    unicode = encoding.lower().replace("-", "").replace("_", "") == "utf8"
    line = json.dumps(record, ensure_ascii=not unicode, allow_nan=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def flush_output() -> None:
    """Flush standard output, so that a result that cannot be written is an error.

    Raises:
        OSError: it cannot be written. What a run said on its way (`Lenient`) does not count.
    """
    if sys.stdout is not None and sys.stdout not in _LOST:
        sys.stdout.flush()


def drop_output() -> None:
    """Forget what standard output and standard error could not write: Python would try once more when it ends, and
    end with a code of its own."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
