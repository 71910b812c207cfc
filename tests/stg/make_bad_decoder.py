"""A reader of clips that misbehaves where the name of the file says so; child processes import it from here."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from stg.video.clip import ClipPart, ClipRequest
from stg.video.clips import read_clip


def read(path: Path, request: ClipRequest) -> Iterator[ClipPart]:
    """``hang.mp4`` sleeps, ``crash.mp4`` crashes, ``greedy.mp4`` eats memory; all others are read."""
    if path.stem == "hang":
        time.sleep(1000)
    elif path.stem == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif path.stem == "greedy":
        np.empty(2**30)  # 8 GiB, of which nothing is touched
    yield from read_clip(path, request)
