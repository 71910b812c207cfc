"""The far side of :class:`stg.video.readers.Readers`: a process that only decodes, and the form its answers take.

Commands come in as lines of JSON; each answer is one line of JSON and then the bytes of its arrays, so that nothing
is unpickled from a process that reads files of strangers. No torch in here.
"""

import importlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from math import prod
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

import numpy as np

from stg.runtime.errors import UserError
from stg.video.clip import (
    AudioChunk,
    ClipPart,
    ClipRequest,
    Film,
    Frame,
    NumberedFrames,
    Segment,
    SegmentRequest,
    SoundPiece,
    Timeline,
)
from stg.video.decoding import SampledFrames, VideoError
from stg.video.packets import NO_MEMORY, OutOfMemory

PARTS = {kind.__name__: kind for kind in (SampledFrames, Segment, AudioChunk, Film, Timeline, Frame, SoundPiece)}

Read = Callable[[Path, ClipRequest], Iterator[ClipPart]]


def main() -> None:
    """Serve one :class:`Readers` on the standard input and output, until it closes them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it ends this process
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not get between the answers
    commands: SimpleQueue[dict[str, Any]] = SimpleQueue()
    threading.Thread(target=_listen, args=(commands,), daemon=True).start()
    try:
        # The first command is the settings, every other one a clip.
        settings = commands.get()
        request, read, memory = request_from(settings["request"]), named(settings["read"]), settings["memory"]
        import av  # noqa: F401  so that the limit counts what reading takes, not the libraries

        _limit_memory(memory)
        send(answers, {"kind": "ready"})
        while True:
            command = commands.get()
            own = command["request"]
            _answer(answers, Path(command["path"]), request if own is None else request_from(own), read)
    except BrokenPipeError:
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def send(stream: BinaryIO, header: dict[str, Any], arrays: tuple[np.ndarray, ...] = ()) -> None:
    """Write one answer whole."""
    views = [np.ascontiguousarray(array).reshape(-1).view(np.uint8).data for array in arrays]
    for view in [memoryview(json.dumps(header).encode() + b"\n"), *views]:
        rest = view
        while rest:
            rest = rest[stream.write(rest) :]


def send_part(stream: BinaryIO, part: ClipPart) -> None:
    """Write one part of a clip."""
    if type(part) not in PARTS.values():
        raise TypeError(f"a clip has parts {', '.join(PARTS)}; got {type(part).__name__}")
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    shapes = [[name, array.dtype.str, array.shape] for name, array in arrays.items()]
    rest = {name: value for name, value in values.items() if name not in arrays}
    header = {"kind": "part", "type": type(part).__name__, "values": rest, "arrays": shapes}
    send(stream, header, tuple(arrays.values()))


def receive(stream: BinaryIO) -> dict[str, Any]:
    """Read one answer; of a part, the part itself is under ``part``.

    Raises:
        EOFError: the stream ends.
        ValueError: this is no answer.
    """
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    header = json.loads(line)
    if header["kind"] != "part":
        return header
    values = dict(header["values"])
    for name, dtype, shape in header["arrays"]:
        kind = np.dtype(dtype)
        # Plain numbers alone: an array of objects would hold addresses that the other side made up.
        if kind.kind not in "buif":
            raise ValueError(f"an array of {kind}")
        # Read into its final place: a segment is megabytes.
        content = np.empty(prod(shape) * kind.itemsize, np.uint8)
        if stream.readinto(content) != len(content):  # type: ignore[attr-defined]
            raise EOFError
        values[name] = content.view(kind).reshape(shape)
    return {"kind": "part", "part": PARTS[header["type"]](**values)}


def request_from(values: dict[str, Any]) -> ClipRequest:
    """The request that ``dataclasses.asdict`` and JSON made into ``values``."""
    segments, wanted = values["segments"], values["wanted"]
    if segments is not None:
        crop, resize = tuple(segments["crop"]), segments["resize"]
        resize = tuple(resize) if isinstance(resize, list) else resize
        segments = SegmentRequest(**segments | {"crop": crop, "resize": resize})
    if wanted is not None:
        size = wanted["size"]
        wanted = NumberedFrames(tuple(wanted["numbers"]), wanted["total"], None if size is None else tuple(size))
    return ClipRequest(**values | {"segments": segments, "wanted": wanted})


def request_values(request: ClipRequest) -> dict[str, Any]:
    """What :func:`request_from` takes."""
    return asdict(request)


def name_of(read: Read) -> list[str]:
    """Module and name under which another process finds this function.

    Raises:
        ValueError: it cannot.
    """
    module, name = getattr(read, "__module__", ""), getattr(read, "__qualname__", "")
    if module != "__main__" and getattr(sys.modules.get(module), name, None) is read:
        return [module, name]
    raise ValueError(f"read must be a function at the top of a module that can be imported; got {read!r}")


def named(name: list[str]) -> Read:
    """The function of :func:`name_of`."""
    return getattr(importlib.import_module(name[0]), name[1])


def in_words(path: Path, error: Exception) -> UserError:
    """What a user reads about an error while a clip was read.

    Errors meant for the user pass through. Anything else is a fault of the program: the clip is lost, the work goes
    on, and the words say where, for a report.
    """
    if isinstance(error, UserError):
        return error
    if isinstance(error, NO_MEMORY):
        return VideoError(f"{path.name!r}: out of memory")
    if isinstance(error, OSError):
        return VideoError(f"{path.name!r} cannot be read: {error.strerror or error}")
    # The innermost line, without which a report of the fault is of little use.
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name} line {place.lineno}"
    return VideoError(
        f"{path.name!r} was given up through a fault of this program, please report it: "
        f"{type(error).__name__}: {error} ({where})"
    )


def _answer(answers: BinaryIO, path: Path, request: ClipRequest, read: Read) -> None:
    try:
        for part in read(path, request):
            send_part(answers, part)
    except BrokenPipeError:
        raise
    # The parent ends this process, whose memory may be in pieces.
    except (*NO_MEMORY, OutOfMemory):
        send(answers, {"kind": "memory"})
    except Exception as error:
        shown = in_words(path, error)
        send(answers, {"kind": "error", "video": isinstance(shown, VideoError), "text": str(shown)})
    else:
        send(answers, {"kind": "end"})


def _listen(commands: SimpleQueue[dict[str, Any]]) -> None:
    with open(0, "rb", closefd=False) as stream:
        for line in stream:
            commands.put(json.loads(line))
    os._exit(0)  # the parent is gone, whatever the decoder is at


def _limit_memory(memory: int) -> None:
    try:
        import resource
    except ImportError:  # not on this system; the machine's own limit remains
        return
    # A decoder that crashes would leave a file as large as its memory.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The limit is for the clip: what the libraries take comes on top.
    taken = Path("/proc/self/statm")
    if taken.exists():
        memory += int(taken.read_text().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (memory if hard < 0 else min(memory, hard), hard))
