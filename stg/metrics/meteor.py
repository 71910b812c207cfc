"""METEOR of the COCO evaluation code: its Java program, in a process that is kept and guarded here."""

import threading
import time
from collections.abc import Sequence
from types import TracebackType

from stg.metrics.java import JavaError, JavaProcess, jar


class Meteor:
    """METEOR 1.5 (Denkowski and Lavie, 2014), as pycocoevalcap calls it: English, ``-norm``.

    One Java process serves any number of calls: it takes seconds to start, and scores thousands of captions a second
    from then on. One that died between two calls is replaced (it keeps no state); one that dies, hangs or answers
    nonsense during a call is an error, and is gone.

    Args:
        timeout: seconds that one call of :meth:`score` may take, the start of Java included.
        memory: heap of the Java machine.
    """

    def __init__(self, *, timeout: float = 300.0, memory: str = "2G") -> None:
        self.timeout = timeout
        self._memory = memory
        self._process: JavaProcess | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start Java now, without waiting for it, so that it loads its tables alongside other work.

        Raises:
            JavaError: there is no ``java``.
        """
        with self._lock:
            self._running()

    def score(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
        """Score tokenised captions, each against its references (words with single spaces).

        Returns:
            the corpus score and the score of each caption, fractions. The corpus score is not the mean of the others.

        Raises:
            ValueError: not as many lists of references as captions, or none.
            JavaError: Java is missing, ended, exceeded ``timeout`` or answered with something else than numbers.
        """
        if len(captions) != len(references) or not captions:
            raise ValueError(
                f"got {len(captions)} captions and {len(references)} lists of references: give one for one"
            )
        questions = "".join(
            f"SCORE ||| {' ||| '.join(map(_one_line, texts))} ||| {_one_line(caption)}\n"
            for caption, texts in zip(captions, references, strict=True)
        )
        deadline = time.monotonic() + self.timeout
        with self._lock:
            process = self._running()
            # In two steps, as pycocoevalcap does: the corpus score comes from
            # summed statistics and is no mean of scores.
            statistics = process.ask(questions, lines=len(captions), timeout=self.timeout)
            for line in statistics:
                self._numbers(process, line)
            remaining = max(0.1, deadline - time.monotonic())
            answer = process.ask(f"EVAL ||| {' ||| '.join(statistics)}\n", lines=len(captions) + 1, timeout=remaining)
            scores = [number for line in answer for number in self._numbers(process, line, count=1)]
        return scores[-1], scores[:-1]

    def _running(self) -> JavaProcess:
        if self._process is None or not self._process.alive:
            self.close()
            program = ["-jar", f"-Xmx{self._memory}", str(jar("meteor", "meteor-1.5.jar"))]
            self._process = JavaProcess(
                [*program, "-", "-", "-stdio", "-l", "en", "-norm"], what="METEOR's Java program"
            )
        return self._process

    @staticmethod
    def _numbers(process: JavaProcess, line: str, count: int | None = None) -> list[float]:
        try:
            numbers = [float(word) for word in line.split()]
            if not numbers or count not in (None, len(numbers)):
                raise ValueError
        # Questions and answers are out of step from here on, so the program is stopped; the next call starts another.
        except ValueError:
            process.close()
            raise JavaError(
                f"{process.what} answered {line[:80]!r} where numbers were expected, and was stopped"
            ) from None
        return numbers

    def close(self) -> None:
        """Stop Java; the next call starts it again."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def __enter__(self) -> "Meteor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _one_line(text: str) -> str:
    """The protocol's own signs inside a caption would shift the answers of all later ones."""
    return text.replace("|||", " ").replace("\n", " ").replace("\r", " ")
