"""Errors that a user is meant to read, and the exit code that goes with each."""


class StgError(Exception):
    """Something failed; the message says what, on which item, and what to do next."""

    exit_code = 1


class UserError(StgError):
    """A wrong option, configuration or input file."""

    exit_code = 2


class TooManySkipped(StgError):
    """The work is done, but more items were skipped than allowed."""

    exit_code = 3


class ProcessLost(StgError):
    """Another process of the run has failed, was killed, or does not answer: this one cannot go on alone."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Preempted(StgError):
    """Stopped on request with a checkpoint saved: the same command resumes from there."""

    exit_code = 75


def first_line(error: BaseException, text: str | None = None, *, most: int = 300) -> str:
    """What the error of a library says, as a part of a line of one's own: its kind where it says nothing.

    Args:
        text: what is left of its words; None: all of them.
        most: letters.
    """
    return ((str(error) if text is None else text).strip() or type(error).__name__).splitlines()[0][:most]
