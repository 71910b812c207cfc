"""Stand-ins for `read_clip` that do what bad decoders do; child processes import them from here."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from stg.runtime.errors import UserError
from stg.video import film_sound, footage
from stg.video.clip import AudioChunk, ClipPart, ClipRequest, Film
from stg.video.decoding import VideoError
from stg.video.film import read_for_page


def sound(value: float, count: int = 1) -> AudioChunk:
    """A part that tells a number."""
    return AudioChunk(np.full((count, 96, 64), value, np.float32), np.zeros(count, bool))


def act(path: Path, request: ClipRequest) -> Iterator[ClipPart]:
    """``crash.avi`` crashes, and so on; any other name gives three parts: its pid, its length, and its length again."""
    deed = path.stem.split("-")[0]
    yield sound(os.getpid())
    if deed == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif deed == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif deed == "leave":
        os._exit(7)
    elif deed == "hang":
        time.sleep(1000)
    elif deed == "greedy":
        np.empty(2**30)  # 8 GiB, of which nothing is touched
    elif deed == "broken":
        raise VideoError(f"{path.name!r} is broken")
    elif deed == "request":
        raise UserError("the request is wrong")
    elif deed == "fault":
        raise TypeError("3 is not a frame")
    elif deed == "disk":
        raise OSError(5, "Input/output error")
    elif deed == "nonsense":
        yield "not a part"  # type: ignore[misc]
    elif deed == "chatty":
        print("a library says something", flush=True)
        os.write(1, b"and again\n")
    elif deed == "touch":
        path.touch()
    elif deed == "modules":
        yield sound(float("torch" in sys.modules))
        return
    elif deed == "endless":
        while True:
            yield sound(0.0, 100)
    yield sound(len(path.name))
    yield sound(len(path.name))


def act_at_the_film(path: Path, request: ClipRequest) -> Iterator[ClipPart]:
    """As `read_for_page`; where the film is made, the name of the folder is a deed of `act`."""
    for part in read_for_page(path, request):
        if isinstance(part, Film):
            list(act(path.with_stem(path.parent.name), request))
        yield part


def act_at_once(path: Path, request: ClipRequest) -> Iterator[ClipPart]:
    """As `act_at_the_film`, but before the first frame."""
    list(act(path.with_stem(path.parent.name), request))
    yield from read_for_page(path, request)


def read_footage(path: Path, request: ClipRequest) -> Iterator[ClipPart]:
    """As `stg.video.footage.read_footage`, and then a deed of `act`, in the middle of the frames."""
    yield from islice(footage.read_footage(path, request), 10)
    list(act(path, request))


def read_sound(path: Path, request: ClipRequest) -> Iterator[ClipPart]:
    """As `stg.video.film_sound.read_sound`, and then a deed of `act`."""
    yield from film_sound.read_sound(path, request)
    list(act(path, request))
