"""Standard output that cannot be written."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


class _Failing(io.RawIOBase):
    def __init__(self, number: int) -> None:
        self.number = number

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        if self.number:
            raise OSError(self.number, os.strerror(self.number))
        return len(bytes(data))  # type: ignore[call-overload, no-any-return]


@contextmanager
def failing_output(monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSPC) -> Iterator[None]:
    """While the block runs, all that goes to standard output fails with the error of this number."""
    raw = _Failing(number)
    stream = io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        yield
    raw.number = 0
    stream.close()
