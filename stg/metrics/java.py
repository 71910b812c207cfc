"""A Java program as a child process that can neither hang nor outlive its caller."""

import os
import re
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

import pycocoevalcap

from stg.runtime.errors import StgError
from stg.text.tokenizer import (
    PUNCTUATION,
)

NEEDS = (
    "needs Java 8 or newer: install it (Debian and Ubuntu: apt install default-jre-headless) and see that `java` runs"
)

ENVIRONMENT = ("_JAVA_OPTIONS", "JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS")
"""Variables of the environment from which Java takes options unasked."""


class JavaError(StgError):
    """Java is missing, too old, hung, or died; the message says which."""


def jar(*parts: str) -> Path:
    """The path of a file inside the installed pycocoevalcap, which ships the Java programs."""

    path = Path(next(iter(pycocoevalcap.__path__))).joinpath(*parts)
    if not path.is_file():
        raise JavaError(
            f"{path.name} is not in the installed pycocoevalcap ({path.parent}): install pycocoevalcap again"
        )
    return path


def java() -> str:
    """The path of ``java``.

    Raises:
        JavaError: there is none.
    """
    program = shutil.which("java")
    if program is None:
        raise JavaError(f"{NEEDS} (no `java` on the PATH)")
    return program


class JavaProcess:
    """A running Java program spoken to in lines (POSIX).

    It leads its own process group, which is killed on a time-out, on :meth:`close`, and when the interpreter exits. Its
    error stream is read along with its answers, so that a talkative program cannot block; the last part is kept for
    error messages. It writes no file but the report of a crash, in the temporary folder.

    Args:
        arguments: of ``java``, after the settings that this class adds.
        what: name for error messages.

    Raises:
        JavaError: there is no ``java``.
    """

    def __init__(self, arguments: Sequence[str], *, what: str) -> None:
        self.what = what
        program = java()
        folder = tempfile.gettempdir()
        # Language and encoding decide how numbers and letters are printed; the last two keep its files out of the way.
        command = [
            program,
            "-Dfile.encoding=UTF-8",
            "-Duser.language=en",
            "-Duser.country=US",
            "-XX:-UsePerfData",
            f"-XX:ErrorFile={folder}/hs_err_%p.log",
            *arguments,
        ]
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                # A session of its own: Ctrl-C reaches the caller alone, which then ends the program and its children.
                command,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                cwd=folder,
                start_new_session=True,
            )
        except OSError as error:
            raise JavaError(f"{NEEDS} ({program}: {error.strerror or error})") from error
        # Also where nobody closes it: at the latest when the interpreter ends.
        self._stop = weakref.finalize(self, _stop, self._process, os.getpid())
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            # A pipe that is full or empty must not hold the caller beyond its deadline.
            os.set_blocking(stream.fileno(), False)
        self._complaint = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._stop.alive and self._process.poll() is None

    def ask(self, text: str, *, timeout: float, lines: int | None = None) -> list[str]:
        """Send ``text`` and wait for ``lines`` lines of answer (None: close the input and read to the end).

        Raises:
            JavaError: no full answer within ``timeout`` seconds, or the program ended before; it is stopped then.
        """
        try:
            return self._ask(text.encode(errors="replace"), time.monotonic() + timeout, lines)
        except TimeoutError as late:
            self.close()
            raise JavaError(f"{self.what} {late} within {timeout:g} s and was stopped{self._said()}") from None
        except BaseException:
            self.close()
            raise

    def _ask(self, unsent: bytes, deadline: float, lines: int | None) -> list[str]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        pieces: list[bytes] = []
        found = 0
        # All pipes at once: writing all before reading would deadlock when Java's own output fills its pipe.
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdin, selectors.EVENT_WRITE)
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(process.stderr, selectors.EVENT_READ)
            view = memoryview(unsent)
            while lines is None or found < lines:
                if (remaining := deadline - time.monotonic()) <= 0:
                    raise TimeoutError("did not end" if lines is None else f"gave {found} of {lines} answers")
                for key, _ in selector.select(remaining):
                    if key.fileobj is process.stdin:
                        view = view[_write(process.stdin, view) :]
                        if not view:
                            selector.unregister(process.stdin)
                            if lines is None:
                                # The end of its input is the sign that no more is asked.
                                process.stdin.close()
                        continue
                    piece = os.read(key.fd, 1 << 16)
                    if not piece:
                        # A closed pipe is readable for ever, so that the loop would spin.
                        selector.unregister(key.fileobj)
                    if key.fileobj is process.stderr:
                        # Its end says why Java failed; all of it could be megabytes.
                        self._complaint = (self._complaint + piece)[-2000:]
                    else:
                        pieces.append(piece)
                        found += piece.count(b"\n")
                        if not piece:
                            if lines is None:
                                return self._finished(b"".join(pieces), deadline)
                            raise self._ended(deadline)
        answer = b"".join(pieces).split(b"\n", lines or 0)
        # One line too many would shift every later score to another caption.
        if surplus := answer.pop():
            raise JavaError(f"{self.what} answered more than it was asked: {surplus[:80]!r}")
        if view and lines is not None:
            raise JavaError(f"{self.what} answered more than it was asked: {lines} answers before the last question")
        return [line.decode("utf-8", "replace").rstrip("\r") for line in answer]

    def _finished(self, answer: bytes, deadline: float) -> list[str]:
        if self._wait(deadline) != 0:
            raise self._ended(deadline)
        return answer.decode("utf-8", "replace").split("\n")

    def _ended(self, deadline: float) -> JavaError:
        code = self._wait(deadline)
        self._read_complaint()
        cause = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        # A Java that the environment gives bad options is no missing one.
        given = [name for name in ENVIRONMENT if os.environ.get(name)]
        there = f"Java is there, and takes options from {' and '.join(given)}: mend or unset them"
        return JavaError(f"{self.what} {cause}{self._said()}; {there if given else f'it {NEEDS}'}")

    def _read_complaint(self) -> None:
        """Read what a program that has ended said last; its answers may have ended before."""
        assert self._process.stderr is not None
        for _ in range(64):  # its children may go on talking
            try:
                piece = os.read(self._process.stderr.fileno(), 1 << 16)
            except BlockingIOError:
                return
            if not piece:
                return
            self._complaint = (self._complaint + piece)[-2000:]

    def _wait(self, deadline: float) -> int:
        try:
            return self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise TimeoutError("closed its output but did not end") from None

    def _said(self) -> str:
        said = " ".join(self._complaint.decode("utf-8", "replace").split())
        return f" (it said: {said[-300:]})" if said else ""

    def close(self) -> None:
        """Kill the process group and wait for the end; a second call does nothing."""
        self._stop()

    def __enter__(self) -> "JavaProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _write(stream: IO[bytes], view: memoryview) -> int:
    try:
        return os.write(stream.fileno(), view[: 1 << 16])
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        # The end of the answers, read next, says why.
        return len(view)


def _stop(process: subprocess.Popen[bytes], owner: int) -> None:
    # A fork inherits the handle but not the right to end its parent's child.
    if os.getpid() != owner:
        return
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            try:
                stream.close()
            except OSError:
                continue


def tokenize_captions_java(captions: Mapping[str, Sequence[str]], *, timeout: float = 300.0) -> dict[str, list[str]]:
    """:func:`tokenize_captions` by the Java program itself, one run for all captions; to check this project's against.

    Raises:
        JavaError: Java is missing, ended, or needed more than ``timeout`` seconds.
    """

    # One caption a line: a line break within one would shift all that follow.
    text = "".join(re.sub(r"\s", " ", caption) + "\n" for texts in captions.values() for caption in texts)
    program = ["-cp", str(jar("tokenizer", "stanford-corenlp-3.4.1.jar")), "edu.stanford.nlp.process.PTBTokenizer"]
    with JavaProcess([*program, "-preserveLines", "-lowerCase"], what="the Java tokenizer") as process:
        lines = process.ask(text, lines=None, timeout=timeout)
    if len(lines) != text.count("\n") + 1:
        raise JavaError(f"the Java tokenizer answered {len(lines) - 1} lines to {text.count(chr(10))} captions")
    words = (" ".join(word for word in line.split(" ") if word and word not in PUNCTUATION) for line in lines)
    return {video: [next(words) for _ in texts] for video, texts in captions.items()}
