"""Stopping on request: the first signal asks, the second ends at once."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from stg.runtime.errors import Preempted

REPEATED = 5.0
"""Seconds in which a launcher may pass on a signal that its processes have got themselves."""


class Stopper:
    """Remembers that somebody asked the run to stop; call it to know."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        return self.asked

    def ask(self) -> None:
        """Ask for a stop after the step at hand."""
        self.asked = True


@contextmanager
def stop_on_signal(*, repeated: float = 0.0) -> Iterator[Stopper]:
    """Turn SIGTERM, Ctrl-C and a closed terminal into a request to stop; the handlers of before return afterwards.

    Args:
        repeated: seconds in which a second signal is taken for the first one again. A launcher passes on what its
            processes may have got themselves.
    """
    stopper = Stopper()
    first = 0.0
    hangup = _hangup()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, *hangup)}

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal first
        again = stopper.asked
        if not again:
            stopper.ask()
            first = time.monotonic()
        # Of a terminal that closes, the system and the shell may both tell.
        if number in hangup:
            return
        # Ctrl-C reaches all processes, and a launcher passes it on once more: one wish, not two.
        if repeated and time.monotonic() - first < repeated:
            return
        # The next signal is for the impatient.
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        if again:
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, handle)
    try:
        yield stopper
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Let a request to terminate, or a closed terminal, do what Ctrl-C does: raise KeyboardInterrupt. The handlers of
    before return."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, *_hangup())}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _hangup() -> tuple[int, ...]:
    """The signal of a closed terminal, unless it is to be ignored, as by nohup."""
    number = getattr(signal, "SIGHUP", None)
    return () if number is None or signal.getsignal(number) == signal.SIG_IGN else (number,)


def until_stopped(progress: Callable[[int, int], None], stop: Callable[[], bool]) -> Callable[[int, int], None]:
    """``progress`` (done, total) of graphs that are made, which raises `Preempted` once ``stop`` says so."""

    def go_on(done: int, total: int) -> None:
        progress(done, total)
        if stop():
            raise Preempted(f"stopped with {done} of {total} graphs made: the same command resumes from there")

    return go_on
