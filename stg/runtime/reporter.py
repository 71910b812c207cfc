"""What a library function says while it works, and whether it should stop."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

Progress = Callable[[int, int], None]
"""Called with (done, total) as work proceeds."""


Steps = Callable[[int, int, int, Mapping[str, float]], None]
"""Called with (epoch, batch, batches, losses) after each step of a training."""


class Reporter:
    """Hears what long work has to say. This one is silent and never stops anything; subclasses show and ask.

    A function that works long takes one of these as its ``reporter`` in place of a console, a bar and a question.
    `stg.runtime.progress.ConsoleReporter` shows all of it on a terminal.
    """

    def say(self, line: str) -> None:
        """One line of plain text for the user, without markup."""

    @contextmanager
    def bar(self, title: str) -> Iterator[Progress]:
        """Show work of known size while the block runs; call what it yields with (done, total)."""
        yield lambda done, total: None

    @contextmanager
    def training_bar(self, epochs: int) -> Iterator[Steps]:
        """Show the steps of each epoch while the block runs; call what it yields after each."""
        yield lambda epoch, batch, batches, losses: None

    def should_stop(self) -> bool:
        """Whether the work should end at its next safe point."""
        return False


class Muted(Reporter):
    """Silent, and stops when another reporter says so: for one step of longer work.

    Args:
        other: the reporter of the whole work.
    """

    def __init__(self, other: Reporter) -> None:
        self._other = other

    def should_stop(self) -> bool:
        """What the other says."""
        return self._other.should_stop()


SILENT = Reporter()
"""For callers that want to hear nothing."""
