"""The files of a bench: its settings, its questions, their key, and the answers that a model gives to them."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from stg.runtime.errors import UserError
from stg.runtime.files import sha256_file, write_atomic
from stg.runtime.reading import counted, kind, number, read_json, read_json_lines, require, require_id, shown

FORMAT = 1
SETTINGS, QUESTIONS, KEY, CAPTIONS, CLIPS = "bench.json", "questions.jsonl", "key.jsonl", "captions.jsonl", "clips"
FILES = (QUESTIONS, KEY, CAPTIONS)

KINDS: Mapping[str, str] = {
    "verb": "what one thing does, of four statements that differ in the verb",
    "order": "which event of two that are each other's reverse",
    "role": "who follows whom",
    "direction": "which way something moves",
    "event": "what the actor does to the target, of four statements that differ in the verb (a frame may show it)",
    "agent": "who does it to whom (a frame may show it)",
    "count": "how many objects there are (a frame shows it)",
    "attribute": "which object has which colour (a frame shows it)",
}
"""Kind of question -> what it asks."""

IN_TIME = ("verb", "order", "role", "direction")
"""Kinds that no single frame answers: the frames of a clip in another order are those of a twin with another answer."""

TWINS: Mapping[str, str] = {
    "reversed": "the same frames in reverse order",
    "roles": "actor and target have exchanged shape and colour",
    "colours": "actor and target have exchanged colours",
    "still": "the same objects, none of which moves, and one more or less",
    "event": "the same objects in another event",
}
"""How the clip of a question's twin differs from its own."""


@dataclass(frozen=True)
class Question:
    """One question on one clip.

    Args:
        id: its kind and a number.
        kind: one of :data:`KINDS`.
        video: name of the clip.
        question: the text.
        choices: the statements to choose from, one of which is true.
    """

    id: str
    kind: str
    video: str
    question: str
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Key:
    """The solution of one question.

    Args:
        id: of the question.
        answer: which choice is true, from 0.
        pair: id of the twin question: the same text on the twin of the clip, where another choice is true.
        twin: one of :data:`TWINS`.
        event: what happens in the clip; None where nothing does.
    """

    id: str
    answer: int
    pair: str | None
    twin: str | None
    event: str | None


@dataclass(frozen=True)
class Answer:
    """What a model answers.

    Args:
        id: of the question.
        choice: from 0; None where the model finds several choices likeliest.
        scores: one a choice, the larger the likelier; None where the model gave the choice alone.
    """

    id: str
    choice: int | None
    scores: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Bench:
    """An exported bench.

    Args:
        folder: where it lies.
        settings: the content of ``bench.json``.
        captions: true captions of each clip, in the order of ``captions.jsonl``.
        questions: all, in the order of ``questions.jsonl``.
    """

    folder: Path
    settings: Mapping[str, Any]
    captions: Mapping[str, tuple[str, ...]]
    questions: tuple[Question, ...]

    @property
    def videos(self) -> tuple[str, ...]:
        """Names of the clips."""
        return tuple(self.captions)

    def clip(self, video: str) -> Path:
        """The file of a clip.

        Raises:
            UserError: it is not there.
        """
        path = self.folder / CLIPS / f"{video}.mp4"
        if not path.is_file():
            raise UserError(f"{path} is not there: copy the bench with all its clips, or export it again")
        return path

    @cached_property
    def key(self) -> dict[str, Key]:
        """The solution of each question, by its id.

        Raises:
            UserError: ``key.jsonl`` is not there (who only asks needs none), damaged, or of other questions.
        """
        path = self.folder / KEY
        _require_unchanged(self.folder, self.settings, KEY)
        asked, found = {one.id: one for one in self.questions}, dict[str, Key]()
        for where, row in read_json_lines(path):
            name = require(row, "id", str, where)
            question = asked.get(name)
            if question is None or name in found:
                raise UserError(f"{where}: {shown(name)} is {'a second solution' if question else 'no question'} here")
            answer = require(row, "answer", int, where)
            if not 0 <= answer < len(question.choices):
                raise UserError(f"{where}: 'answer' must lie in 0..{len(question.choices) - 1}, got {answer}")
            pair, twin, event = (row.get(part) for part in ("pair", "twin", "event"))
            if pair is not None and pair not in asked:
                raise UserError(f"{where}: 'pair' must be the id of a question, got {pair!r:.60}")
            found[name] = Key(name, answer, pair, twin, event)
        if missing := [name for name in asked if name not in found]:
            raise UserError(f"{path} has no solution of question {shown(missing[0])}: export the bench again")
        return found


def read_bench(folder: str | Path) -> Bench:
    """Open an exported bench; its key is read when it is asked for.

    Raises:
        UserError: no bench, one of a later version, or a file of it that is not as it was written.
    """
    folder = Path(folder)
    path = folder / SETTINGS
    if not path.is_file():
        hint = "is not there" if not folder.exists() else "holds no bench.json"
        raise UserError(f"{folder} {hint}: make a bench with python -m stg.bench export {folder}")
    settings = read_json(path)
    if require(settings, "format", int, str(path)) != FORMAT:
        raise UserError(f"{path} has the format {settings['format']}, this version reads {FORMAT}: export it again")
    for name in (QUESTIONS, CAPTIONS):
        _require_unchanged(folder, settings, name)
    captions = dict[str, tuple[str, ...]]()
    for where, row in read_json_lines(folder / CAPTIONS):
        video = require_id(require(row, "video", str, where), where)
        captions[video] = _texts(row, "captions", where)
    return Bench(folder, settings, captions, tuple(_questions(folder / QUESTIONS, captions)))


def _questions(path: Path, videos: Mapping[str, Any]) -> Iterable[Question]:
    seen = set[str]()
    for where, row in read_json_lines(path):
        name, asks, video, text = (require(row, part, str, where) for part in ("id", "kind", "video", "question"))
        if name in seen:
            raise UserError(f"{where}: a second question {shown(name)}")
        if asks not in KINDS:
            raise UserError(f"{where}: 'kind' must be one of {', '.join(KINDS)}, got {shown(asks)}")
        if video not in videos:
            raise UserError(f"{where}: video {shown(video)} is not in {CAPTIONS}")
        seen.add(name)
        yield Question(name, asks, video, text, _texts(row, "choices", where, least=2))


def _texts(row: Mapping[str, Any], name: str, where: str, least: int = 1) -> tuple[str, ...]:
    texts = require(row, name, list, where)
    if len(texts) < least or not all(isinstance(text, str) and text for text in texts):
        raise UserError(f"{where}: {name!r} must be a list of at least {counted(least, 'text')}, got {texts!r:.80}")
    return tuple(texts)


def _require_unchanged(folder: Path, settings: Mapping[str, Any], name: str) -> None:
    sums = require(settings, "sha256", dict, str(folder / SETTINGS))
    # Scores of a bench that somebody has edited could not be compared with those of others.
    if sha256_file(folder / name) != require(sums, name, str, f"{folder / SETTINGS} 'sha256'"):
        raise UserError(f"{folder / name} is not the file that was exported: scores of it would mean something else")


def write_bench(
    folder: str | Path,
    settings: Mapping[str, Any],
    captions: Mapping[str, Iterable[str]],
    questions: Iterable[Question],
    key: Iterable[Key],
) -> Bench:
    """Write all files of a bench but its clips; ``bench.json`` comes last, so that what has one is whole.

    Args:
        settings: what else ``bench.json`` is to hold.

    Raises:
        StgError: a file cannot be written.
    """
    folder, questions = Path(folder), tuple(questions)
    make_folder(folder)
    rows: Mapping[str, Iterable[Mapping[str, Any]]] = {
        QUESTIONS: map(asdict, questions),
        KEY: map(asdict, key),
        CAPTIONS: ({"video": video, "captions": list(texts), "split": "test"} for video, texts in captions.items()),
    }
    for name in FILES:
        write_lines(folder / name, rows[name])
    count = {name: sum(one.kind == name for one in questions) for name in KINDS}
    written = {
        "format": FORMAT,
        **settings,
        "clips": len(captions),
        "questions": {name: found for name, found in count.items() if found},
        "sha256": {name: sha256_file(folder / name) for name in FILES},
    }
    write_atomic(folder / SETTINGS, json.dumps(written, indent=2) + "\n")
    return read_bench(folder)


def make_folder(folder: Path) -> None:
    """Make a folder that files are to be written to.

    Raises:
        UserError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"could not make the folder {folder}: {error.strerror or error}") from error


def by_clip(questions: Iterable[Question]) -> Iterator[tuple[str, list[Question]]]:
    """The questions on each clip, so that it is read once; clips in the order of their names."""
    for video, group in groupby(sorted(questions, key=lambda one: one.video), key=lambda one: one.video):
        yield video, list(group)


def write_answers(path: str | Path, answers: Iterable[Answer], made: str | None = None) -> None:
    """Write answers as :func:`read_answers` reads them, whole or not at all.

    Args:
        made: which model and settings gave them, written with each.

    Raises:
        StgError: the file cannot be written.
    """
    write_lines(path, (answer_row(one, made) for one in answers))


def answer_row(answer: Answer, made: str | None = None) -> dict[str, Any]:
    """An answer as a file of answers holds it."""
    said = {"choice": answer.choice} if answer.scores is None else {"scores": list(answer.scores)}
    return {"id": answer.id, **said, **({} if made is None else {"made": made})}


def write_lines(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a JSON object a line, whole or not at all.

    Raises:
        StgError: the file cannot be written.
    """
    write_atomic(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def read_answers(path: str | Path, bench: Bench) -> dict[str, Answer]:
    """The answers of a model, by the ids of the questions: ``{"id": ..., "choice": 0}`` or ``{"id": ..., "scores":
    [...]}`` a line; other keys are left alone. Questions may be missing.

    Raises:
        UserError: unreadable, an answer to no question or a second one, or one that is none of the choices; names the
            file and the line.
    """
    asked, found = {one.id: one for one in bench.questions}, dict[str, Answer]()
    for where, row in read_json_lines(path):
        name = require(row, "id", str, where)
        if name not in asked:
            raise UserError(
                f"{where}: {shown(name)} is no question of {bench.folder}, whose ids are like "
                f"{bench.questions[0].id!r}: are these answers to another bench?"
            )
        if name in found:
            raise UserError(f"{where} is a second answer to {shown(name)}: keep one a question")
        found[name] = _answer(row, asked[name], where)
    if not found:
        raise UserError(f'{path} holds no answers: write {{"id": ..., "choice": 0}}, one a line')
    return found


def _answer(row: Mapping[str, Any], question: Question, where: str) -> Answer:
    count = len(question.choices)
    if ("choice" in row) == ("scores" in row):
        raise UserError(f"{where} must have one of the keys 'choice' and 'scores'")
    if "choice" in row:
        choice = row["choice"]
        if choice is not None and (type(choice) is not int or not 0 <= choice < count):
            raise UserError(
                f"{where}: 'choice' must be the place of one of the {count} choices, 0 to {count - 1}, got "
                f"{choice!r:.60}"
            )
        return Answer(question.id, choice)
    scores = row["scores"]
    if not isinstance(scores, list) or len(scores) != count or any(number(score) is None for score in scores):
        came = f"{len(scores)} of them" if isinstance(scores, list) and len(scores) != count else f"{scores!r:.60}"
        raise UserError(
            f"{where}: 'scores' must be {count} finite numbers, one a choice, got "
            f"{came if isinstance(scores, list) else kind(scores)}"
        )
    # Equal scores decide nothing: to take the first would score its place.
    best = max(scores)
    choice = scores.index(best) if scores.count(best) == 1 else None
    return Answer(question.id, choice, tuple(map(float, scores)))
