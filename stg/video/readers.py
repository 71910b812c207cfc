"""Clips read ahead by other processes, so that a decoder that crashes, hangs or eats memory costs one clip."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from stg.runtime.errors import StgError, UserError
from stg.video.clip import ClipPart, ClipRequest
from stg.video.clips import read_clip
from stg.video.decoding import SampledFrames, VideoError
from stg.video.reader_process import Read, in_words, name_of, receive, request_values

START_LIMIT = 300.0
"""Seconds in which a new process must have loaded its libraries; a busy network drive may take a while."""

GRACE = 0.5
"""Seconds that are spent on the rest of a clip that nobody wanted to the end, before its process is ended instead."""


class Readers:
    """Reads clips in child processes, ahead of whoever uses them.

    Each child reads one clip after the other, stops when what it read is not yet wanted, and so holds one part of a
    clip at a time. A child that fails is replaced. Results do not depend on the number of children.

    Processes start with the first clip and stay until :meth:`close`; should this process be killed, they end by
    themselves. They load no torch, and nothing of the program that uses this class.

    Args:
        request: what to read of each clip.
        workers: child processes; 0 reads in this process: no limits hold then, and a crash takes everything with it.
        time_limit: seconds that are waited for one clip in all, or with ``request.cut`` for each stretch of it.
        memory: bytes that reading may take in each child, where the system can limit it.
        read: a function of a module, in place of :func:`stg.video.clips.read_clip`.
    """

    def __init__(
        self,
        request: ClipRequest,
        workers: int = 1,
        time_limit: float = 600.0,
        memory: int = 4 * 2**30,
        read: Read = read_clip,
    ) -> None:
        if workers < 0:
            raise UserError(f"workers must not be negative; got {workers}")
        if not time_limit > 0 or memory < 1:
            raise UserError(f"time_limit and memory must be positive; got {time_limit} and {memory}")
        self.request, self.workers, self.read = request, workers, read
        settings = {"request": request_values(request), "read": name_of(read) if workers else None, "memory": memory}
        self._readers = [_Reader(settings, time_limit) for _ in range(workers)]
        self._open = False

    def open(self, clips: Mapping[str, Path]) -> Iterator[tuple[str, Iterator[ClipPart]]]:
        """Each clip in order with its parts, which are read while they are iterated over, and ahead of that.

        The parts of a clip are there until the next clip is asked for; they need not be taken to the end.

        Raises:
            VideoError: (by the parts) this clip cannot be used, or its process crashed, took too long or too much
                memory. The next clips are not affected.
            UserError: (by the parts) the request is wrong for every clip.
            StgError: (by the parts) the child process does not start.
        """
        return self._in_turn(dict(clips)) if self.workers else self._here(dict(clips))

    def one(self, path: Path, request: ClipRequest | None = None) -> Generator[ClipPart]:
        """The parts of one clip, by a request of its own where one is given; errors are those of :meth:`open`."""
        if self._open:
            raise RuntimeError("these readers are at work on other clips: use them up, or close that iterator, first")
        if not self.workers:
            yield from _read_here(path, request or self.request, self.read)
            return
        reader = self._readers[0]
        clip = reader.ask(path, request)
        try:
            yield from reader.parts(clip)
        finally:
            if reader.clip == clip and reader.busy:
                reader.skip()

    def close(self) -> None:
        """End the processes, whatever they are doing. Closing twice is harmless."""
        for reader in self._readers:
            reader.leave()

    def __enter__(self) -> "Readers":
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _in_turn(self, clips: dict[str, Path]) -> Iterator[tuple[str, Iterator[ClipPart]]]:
        waiting = iter(clips.items())
        asked: deque[tuple[str, _Reader, int]] = deque()

        def ask(reader: _Reader) -> None:
            for video, path in waiting:
                asked.append((video, reader, reader.ask(path)))
                return

        def parts(reader: _Reader, clip: int) -> Iterator[ClipPart]:
            try:
                yield from reader.parts(clip)
            finally:
                # The next clip is begun now, not when it is asked for: meanwhile the networks are at this one.
                if reader.clip == clip and not reader.busy:
                    ask(reader)

        if self._open:
            raise RuntimeError("these readers are at work on other clips: use them up, or close that iterator, first")
        self._open = True
        try:
            # All processes get a clip at once; answers are taken in the order in which they were asked for.
            for reader in self._readers:
                ask(reader)
            while asked:
                video, reader, clip = asked.popleft()
                yield video, parts(reader, clip)
                # The caller may have left the clip early: its rest is read past before the next is asked for.
                if reader.clip == clip:
                    reader.skip()
                    ask(reader)
        finally:
            for reader in self._readers:
                if reader.busy:
                    reader.leave()
            self._open = False

    def _here(self, clips: dict[str, Path]) -> Iterator[tuple[str, Iterator[ClipPart]]]:
        for video, path in clips.items():
            yield video, _read_here(path, self.request, self.read)


def _read_here(path: Path, request: ClipRequest, read: Read) -> Iterator[ClipPart]:
    try:
        yield from read(path, request)
    except Exception as error:
        raise in_words(path, error) from error


class _Reader:
    """The place of one child process: who is in it, and which clip it was asked for."""

    def __init__(self, settings: dict[str, Any], time_limit: float) -> None:
        self.settings, self.time_limit = settings, time_limit
        self.clip = 0  # counts the clips
        self.busy = False
        self._path, self._left, self._cut = Path(), 0.0, False
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False

    def ask(self, path: Path, request: ClipRequest | None = None) -> int:
        """Have it begin with this clip; returns the number that :meth:`parts` takes."""
        if self._process is not None and self._process.poll() is not None:
            self.stop()
        if self._process is None:
            self._start()
        own = None if request is None else request_values(request)
        self._command({"path": os.fspath(path), "request": own})
        self._path, self._left = path, self.time_limit
        self._cut = (self.settings["request"] if own is None else own)["cut"] is not None
        self.clip, self.busy = self.clip + 1, True
        return self.clip

    def parts(self, clip: int) -> Iterator[ClipPart]:
        """The parts of the clip, as they come."""
        while True:
            if self.clip != clip:
                raise RuntimeError("the parts of this clip are gone: the next was asked for, or the readers closed")
            if not self.busy:
                return
            answer = self._next()
            if answer["kind"] == "part":
                if self._cut and isinstance(answer["part"], SampledFrames):
                    self._left = self.time_limit
                yield answer["part"]
                continue
            self.busy = False
            # Its memory may stay full or in pieces: a new process reads the next clip.
            if answer["kind"] == "memory":
                self.stop()
                raise VideoError(f"{self._path.name!r}: out of memory{self._limit()}")
            if answer["kind"] == "error":
                raise (VideoError if answer["video"] else UserError)(answer["text"])

    def skip(self) -> None:
        """Leave the rest of the clip."""
        self._left = min(self._left, GRACE)
        with suppress(StgError):
            for _ in self.parts(self.clip):
                pass

    def leave(self) -> None:
        """End the process, and whatever is still iterated over."""
        self.stop()
        self.clip += 1

    def stop(self) -> None:
        """End the process, if there is one."""
        self.busy = False
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                with suppress(BrokenPipeError):
                    stream.close()  # type: ignore[union-attr]
        self._process = None

    def _start(self) -> None:
        # Not by multiprocessing: that runs the user's script once more in the child, torch and all.
        code = f"import sys; sys.path[:] = {sys.path!a}; from stg.video.reader_process import main; main()"
        self._process = subprocess.Popen(
            [*python(), "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # out of reach of Ctrl-C
        )
        self._ready = False
        self._command(self.settings)

    def _command(self, values: dict[str, Any]) -> None:
        stream = self._process.stdin  # type: ignore[union-attr]
        with suppress(BrokenPipeError):  # the answer says what became of it
            stream.write(json.dumps(values).encode() + b"\n")  # type: ignore[union-attr]
            stream.flush()  # type: ignore[union-attr]

    def _next(self) -> dict[str, Any]:
        """The next answer about the clip; the process is gone if this raises."""
        try:
            # Loading the libraries has a limit of its own, and takes nothing from that of the clip.
            if not self._ready:
                self._answer(START_LIMIT)
                self._ready = True
            start = time.monotonic()
            answer = self._answer(self._left)
            # What counts is the time to answer, not the time until the caller asks for the next part.
            self._left -= time.monotonic() - start
        except BaseException:
            self.stop()
            raise
        return answer

    def _answer(self, limit: float) -> dict[str, Any]:
        process, late = self._process, threading.Event()
        assert process is not None

        def end() -> None:
            late.set()
            process.kill()

        # A thread, since a pipe has no time limit on every platform: killing the child ends the read.
        timer = threading.Timer(max(limit, 0), end)
        timer.daemon = True
        timer.start()
        try:
            answer = receive(process.stdout)  # type: ignore[arg-type]
        except EOFError:
            answer = None
        except (ValueError, KeyError, TypeError) as error:
            raise VideoError(f"{self._path.name!r}: the decoder's process answers nonsense ({error})") from error
        finally:
            timer.cancel()
            timer.join()
        if answer is not None and not late.is_set():
            return answer
        code = process.wait()
        if not self._ready:
            raise StgError(f"a reading process did not start within {limit:g} s" if late.is_set() else _did_not(code))
        if late.is_set():
            raise VideoError(
                f"{self._path.name!r}: no result within {self.time_limit:g} s: the decoder hangs, "
                "or it is slow and time_limit too short"
            )
        raise VideoError(f"{self._path.name!r}: {_ended(code)}")

    def _limit(self) -> str:
        return f" (limit {self.settings['memory'] / 2**30:.1f} GiB)"


def python() -> list[str]:
    """What begins the command line of a new process."""
    return [sys.executable]


def _ended(code: int) -> str:
    if code >= 0:
        return f"the decoder ended its process with code {code}"
    name = signal.Signals(-code).name
    if name == "SIGKILL":
        return "the decoder was killed (signal SIGKILL), most often because the machine is out of memory"
    return f"the decoder crashed (signal {name})"


def _did_not(code: int) -> str:
    return f"a reading process did not start (code {code}); it says why above"
