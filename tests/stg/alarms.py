"""A limit on the time of what might wait for ever."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def ends_within(seconds: int) -> Iterator[None]:
    """Fail the test instead of hanging. What raises is no `Exception`, so that no reader takes it for its own."""

    def ring(number: int, frame: object) -> None:
        pytest.fail(f"still busy after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
