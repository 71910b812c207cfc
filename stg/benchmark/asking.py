"""Put the questions of a bench to a model, clip by clip, and keep its answers in a file."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from stg.benchmark.questions import Answer, Bench, Question, answer_row, by_clip, read_answers, write_answers
from stg.runtime.errors import Preempted, UserError
from stg.runtime.files import append_jsonl, heal_jsonl
from stg.runtime.reading import counted, read_json_lines
from stg.runtime.reporter import SILENT, Reporter
from stg.video.decoding import sample_video

Method = Literal["likelihood", "letter"]
Frames = UInt8[np.ndarray, "T H W 3"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@runtime_checkable
class Asked(Protocol):
    """Who answers questions."""

    @property
    def made(self) -> str:
        """Which model and which settings decide the answers: those of two are not mixed in a file."""

    def answer(self, frames: Frames, questions: Sequence[Question]) -> list[Answer]:
        """An answer to each question on one clip."""


def ask(bench: Bench, model: Asked, path: str | Path, *, frames: int = 8, reporter: Reporter = SILENT) -> int:
    """Ask a model all questions that have no answer in ``path`` yet: see :func:`ask_clips`.

    Args:
        bench: whose questions.
        model: who answers.
        path: file of answers; those in it are kept.
        frames: frames that are shown, from the middles of as many equal parts of the clip.
        reporter: hears the progress, and may stop between clips.

    Returns:
        How many questions were asked.

    Raises:
        Preempted, UserError: see :func:`ask_clips`; a clip cannot be read.
    """

    def answer(video: str, questions: Sequence[Question]) -> list[Answer]:
        return model.answer(sample_video(bench.clip(video), frames).frames, questions)

    return ask_clips(bench, answer, path, made=f"{model.made}, {frames} frames", reporter=reporter)


def ask_clips(
    bench: Bench,
    answer: Callable[[str, Sequence[Question]], Sequence[Answer]],
    path: str | Path,
    *,
    made: str,
    reporter: Reporter = SILENT,
) -> int:
    """Ask all questions that have no answer in ``path`` yet; the answers on each clip are added to it at once.

    Args:
        bench: whose questions.
        answer: from a clip and the questions on it to their answers.
        path: file of answers; those in it are kept. When all are there, it is put into the order of the questions.
        made: who answers; see :attr:`Asked.made`.
        reporter: hears the progress, and may stop between clips.

    Returns:
        How many questions were asked.

    Raises:
        Preempted: ``reporter`` asked to stop; what was answered is in the file.
        UserError: ``path`` holds answers of another model or to another bench, or a clip is missing.
    """
    path = Path(path)
    answers = kept_answers(path, bench, made)
    open_questions = [one for one in bench.questions if one.id not in answers]
    asked = 0
    with reporter.bar("asking") as advance:
        advance(len(answers), len(bench.questions))
        for video, questions in by_clip(open_questions):
            if reporter.should_stop():
                raise Preempted(f"stopped after {counted(asked, 'question')}: the same command asks the others")
            for found in answer(video, questions):
                answers[found.id] = found
                append_jsonl(path, answer_row(found, made))
            asked += len(questions)
            advance(len(answers), len(bench.questions))
    if asked:
        write(path, bench, answers, made)
    return asked


def kept_answers(path: Path, bench: Bench, made: str) -> dict[str, Answer]:
    """The answers that a file holds already; none if there is no file.

    Raises:
        UserError: they are another model's, or to another bench.
    """
    if not path.exists():
        return {}
    heal_jsonl(path)
    if not path.stat().st_size:
        return {}
    for where, row in read_json_lines(path):
        if (other := row.get("made") if isinstance(row, dict) else None) != made:
            raise UserError(
                f"{where} is an answer of {other or 'an unknown model'}, and {made} is asked now: name another file"
            )
    return read_answers(path, bench)


def write(path: Path, bench: Bench, answers: Mapping[str, Answer], made: str) -> None:
    """Write answers in the order of the questions, each with who gave it."""
    write_answers(path, [answers[one.id] for one in bench.questions if one.id in answers], made)


def prompt(question: Question, method: Method) -> str:
    """The text that goes along with the frames of a clip."""
    named = method == "letter"
    listed = [f"{letter}. {choice}" if named else f"- {choice}" for letter, choice in lettered(question)]
    order = "Answer with the letter alone." if named else "Answer with one of these statements."
    frames = "These are frames of one video, in the order of time."
    return "\n".join([frames, question.question, *listed, order])


def lettered(question: Question) -> Iterable[tuple[str, str]]:
    """The choices with their letters.

    Raises:
        UserError: more choices than letters.
    """
    if len(question.choices) > len(LETTERS):
        raise UserError(f"question {question.id!r} has {len(question.choices)} choices, and there are 26 letters")
    return zip(LETTERS, question.choices, strict=False)


def letter_answer(question: Question, reply: str) -> Answer:
    """What a reply in words chooses: its first letter that stands alone, or the one choice that it names.

    No choice (None) where it says neither.
    """
    letters = dict(zip(LETTERS, range(len(question.choices)), strict=False))
    # "A" is also an article: a letter counts at the end of a line or before a mark.
    if (found := re.search(r"(?<![\w'])([A-Z])(?=[.:),*\]]|\s*$)", reply, re.MULTILINE)) and found[1] in letters:
        return Answer(question.id, letters[found[1]])
    named = [place for place, choice in enumerate(question.choices) if choice.lower().rstrip(".") in reply.lower()]
    return Answer(question.id, named[0] if len(named) == 1 else None)
