"""CPU seconds and memory of a stretch of work in this process, as Linux counts them."""

import resource
import threading
from pathlib import Path

LOOK = 0.005
"""Seconds between two looks at the memory."""
STATUS = Path("/proc/self/status")


class Memory:
    """The most memory of this process while a block runs, above what it had before.

    Attributes:
        own: MiB that belong to the process alone.
        mapped: MiB with the pages of mapped files.
    """

    own = mapped = 0.0

    def __enter__(self) -> "Memory":
        self._start, self._most, self._looking = kibibytes(), 0, threading.Lock()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        self.look()
        self.own = (self._most - self._start["RssAnon"]) / 1024
        self.mapped = (kibibytes()["VmHWM"] - self._start["VmRSS"]) / 1024

    def look(self) -> None:
        """Take note of the memory that is in use now."""
        # Or a look of the other thread that began earlier and ends later would undo this one.
        with self._looking:
            self._most = max(self._most, kibibytes()["RssAnon"])

    def _watch(self) -> None:
        while not self._done.wait(LOOK):
            self.look()


def kibibytes() -> dict[str, int]:
    """What Linux says of the memory of this process."""
    lines = (line.split() for line in STATUS.read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) for words in lines if words[-1] == "kB"}


def seconds() -> float:
    """CPU seconds of this process and of its children that have ended, user and system."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
