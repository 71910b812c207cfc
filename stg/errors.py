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


class Preempted(StgError):
    """Stopped on request with a checkpoint saved: the same command goes on from there."""

    exit_code = 75
