"""The files of a bench are read as they were written, and every damage to them is named."""

import json
from pathlib import Path

import pytest

from stg.benchmark.questions import (
    Answer,
    Bench,
    Key,
    Question,
    read_answers,
    read_bench,
    write_answers,
    write_bench,
)
from stg.runtime.errors import UserError

QUESTIONS = (
    Question("order-00000", "order", "clip-00001", "What happens?", ("a red star falls", "a red star rises")),
    Question("order-00001", "order", "clip-00000", "What happens?", ("a red star falls", "a red star rises")),
)
KEY = (
    Key("order-00000", 1, "order-00001", "reversed", "rises"),
    Key("order-00001", 0, "order-00000", "reversed", "falls"),
)
CAPTIONS = {"clip-00000": ["a red star falls", "a star drops"], "clip-00001": ["a red star rises"]}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return write_bench(tmp_path / "bench", {"world": {"seed": 3}}, CAPTIONS, QUESTIONS, KEY)


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_a_bench_is_read_as_it_was_written(bench: Bench) -> None:
    again = read_bench(bench.folder)
    assert again.questions == QUESTIONS
    assert again.videos == ("clip-00000", "clip-00001")
    assert list(again.key.values()) == list(KEY)
    assert (again.settings["world"], again.settings["clips"], again.settings["questions"]) == (
        {"seed": 3}, 2, {"order": 2},
    )  # fmt: skip
    assert "answer" not in (bench.folder / "questions.jsonl").read_text()


def test_who_only_asks_needs_no_key(bench: Bench) -> None:
    (bench.folder / "key.jsonl").unlink()
    again = read_bench(bench.folder)
    with pytest.raises(UserError, match=r"could not read .*key.jsonl"):
        again.key  # noqa: B018


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("questions.jsonl", "star rises", "star spins", "questions.jsonl is not the file that was exported"),
        ("captions.jsonl", "star drops", "star jumps", "captions.jsonl is not the file that was exported"),
        ("bench.json", '"format": 1', '"format": 2', "has the format 2, this version reads 1: export it again"),
        ("bench.json", '"sha256"', '"sha"', "bench.json lacks the key 'sha256'"),
    ],
)
def test_a_changed_file_is_refused(bench: Bench, name: str, old: str, new: str, message: str) -> None:
    path = bench.folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        read_bench(bench.folder)


def test_a_changed_key_is_refused(bench: Bench) -> None:
    path = bench.folder / "key.jsonl"
    path.write_text(path.read_text().replace('"answer": 1', '"answer": 0'))
    with pytest.raises(UserError, match=r"key.jsonl is not the file that was exported"):
        read_bench(bench.folder).key  # noqa: B018


def test_a_folder_that_is_no_bench_is_named(tmp_path: Path, bench: Bench) -> None:
    with pytest.raises(UserError, match=r"nowhere is not there: make a bench with python -m stg.bench export"):
        read_bench(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no bench.json"):
        read_bench(tmp_path)
    with pytest.raises(UserError, match=r"clip-00000.mp4 is not there: copy the bench with all its clips"):
        bench.clip("clip-00000")


def test_answers_are_read_as_they_were_written(tmp_path: Path, bench: Bench) -> None:
    given = [Answer("order-00001", 0, (-1.5, -2.25)), Answer("order-00000", 1)]
    write_answers(tmp_path / "answers.jsonl", given)
    assert list(read_answers(tmp_path / "answers.jsonl", bench).values()) == given


def test_equal_scores_choose_nothing(tmp_path: Path, bench: Bench) -> None:
    path = lines(tmp_path / "a.jsonl", {"id": "order-00001", "scores": [2, 2]}, {"id": "order-00000", "scores": [2, 3]})
    assert {name: answer.choice for name, answer in read_answers(path, bench).items()} == {
        "order-00001": None, "order-00000": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "order-00009", "choice": 0}, "line 1: 'order-00009' is no question of .*, whose ids are like 'order-"),
        ({"choice": 0}, "line 1 lacks the key 'id'"),
        ([1], "line 1 must be an object with the key 'id', got a list"),
        ({"id": "order-00001"}, "line 1 must have one of the keys 'choice' and 'scores'"),
        ({"id": "order-00001", "choice": 0, "scores": [1, 2]}, "must have one of the keys 'choice' and 'scores'"),
        ({"id": "order-00001", "choice": 2}, "must be the place of one of the 2 choices, 0 to 1, got 2"),
        ({"id": "order-00001", "choice": "A"}, "must be the place of one of the 2 choices, 0 to 1, got 'A'"),
        ({"id": "order-00001", "choice": True}, "must be the place of one of the 2 choices, 0 to 1, got True"),
        ({"id": "order-00001", "scores": [1]}, "'scores' must be 2 finite numbers, one a choice, got 1 of them"),
        ({"id": "order-00001", "scores": [1, "b"]}, r"must be 2 finite numbers, one a choice, got \[1, 'b'\]"),
        ({"id": "order-00001", "scores": 3}, "must be 2 finite numbers, one a choice, got a whole number"),
        ('{"id": "order-00001", "scores": [1, NaN]}', "line 1 holds NaN, which is no JSON"),
        ('{"id": "order-00001", ', "line 1 is not valid JSON"),
    ],
)
def test_bad_answers_are_named(tmp_path: Path, bench: Bench, row: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_answers(lines(tmp_path / "a.jsonl", row), bench)


def test_a_second_answer_and_no_answer_are_named(tmp_path: Path, bench: Bench) -> None:
    row = {"id": "order-00001", "choice": 0}
    with pytest.raises(UserError, match="line 2 is a second answer to 'order-00001': keep one a question"):
        read_answers(lines(tmp_path / "a.jsonl", row, row), bench)
    with pytest.raises(UserError, match=r"b.jsonl holds no answers"):
        read_answers(lines(tmp_path / "b.jsonl"), bench)
