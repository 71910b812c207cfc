"""Questions of a bench go to a model clip by clip, and its answers into a file that is taken up again."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from stg.benchmark.asking import ask, letter_answer, prompt
from stg.benchmark.questions import Answer, Bench, Question, read_answers
from stg.runtime.errors import Preempted, StgError, UserError
from stg.runtime.reporter import Reporter
from stg.video.decoding import sample_video
from tests.stg.benchmark.make_bench import small_bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return small_bench(tmp_path_factory.mktemp("bench"))


class Brightness:
    """Answers by the brightness of the frames, and keeps what it was shown."""

    made = "brightness"

    def __init__(self, breaks_at: str = "") -> None:
        self.breaks_at, self.shown = breaks_at, list[tuple[np.ndarray, list[str]]]()

    def answer(self, frames: np.ndarray, questions: Sequence[Question]) -> list[Answer]:
        ids = [one.id for one in questions]
        if self.breaks_at in ids:
            raise StgError("broken")
        self.shown.append((frames, ids))
        scores = [float(frames.mean()), 0.0, -1.0]
        return [Answer(one.id, 0, tuple(scores[: len(one.choices)])) for one in questions]


def test_each_clip_is_shown_once_with_its_questions(bench: Bench, tmp_path: Path) -> None:
    model, path = Brightness(), tmp_path / "answers.jsonl"
    assert ask(bench, model, path, frames=3) == 4
    assert [ids for _, ids in model.shown] == [["verb-00000", "role-00000", "order-00000"], ["count-00000"]]
    for (frames, _), video in zip(model.shown, "ab", strict=True):
        np.testing.assert_array_equal(frames, sample_video(bench.clip(video), 3).frames)
    found = read_answers(path, bench)
    assert list(found) == [one.id for one in bench.questions]
    assert found["count-00000"].scores == (float(model.shown[1][0].mean()), 0.0)
    assert json.loads(path.read_text().splitlines()[0])["made"] == "brightness, 3 frames"


def test_answers_that_are_there_are_kept(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    with pytest.raises(StgError, match="broken"):
        ask(bench, Brightness(breaks_at="count-00000"), path)
    before = read_answers(path, bench)
    assert len(before) == 3
    # As a killed process leaves it.
    path.write_text(path.read_text() + '{"id": "count-0')
    model = Brightness()
    assert ask(bench, model, path) == 1
    assert [ids for _, ids in model.shown] == [["count-00000"]]
    assert read_answers(path, bench).items() >= before.items()
    assert ask(bench, model, path) == 0


def test_answers_of_another_model_are_not_mixed_in(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    ask(bench, Brightness(), path, frames=2)
    with pytest.raises(UserError, match="is an answer of brightness, 2 frames, and brightness, 4 frames is asked"):
        ask(bench, Brightness(), path, frames=4)
    path.write_text('{"id": "verb-00000", "choice": 1}\n')
    with pytest.raises(UserError, match="is an answer of an unknown model"):
        ask(bench, Brightness(), path)


def test_it_stops_between_clips_when_asked_to(bench: Bench, tmp_path: Path) -> None:
    class Stops(Reporter):
        def should_stop(self) -> bool:
            return path.exists()

    path = tmp_path / "answers.jsonl"
    with pytest.raises(Preempted, match="stopped after 3 questions: the same command asks the others"):
        ask(bench, Brightness(), path, reporter=Stops())
    assert ask(bench, Brightness(), path) == 1


def test_a_missing_clip_is_named(tmp_path: Path) -> None:
    bench = small_bench(tmp_path / "bench")
    bench.clip("b").unlink()
    with pytest.raises(UserError, match=r"b\.mp4 is not there"):
        ask(bench, Brightness(), tmp_path / "answers.jsonl")


def test_the_prompt_lists_the_choices(bench: Bench) -> None:
    asked = bench.questions[1]
    assert prompt(asked, "letter").splitlines()[1:] == [
        "How many balls are there?", "A. There are three.", "B. There are four.", "Answer with the letter alone.",
    ]  # fmt: skip
    assert prompt(asked, "likelihood").splitlines()[2] == "- There are three."
    many = Question("verb-1", "verb", "a", "What?", tuple(map(str, range(27))))
    with pytest.raises(UserError, match="'verb-1' has 27 choices, and there are 26 letters"):
        prompt(many, "letter")


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("B", 1),
        (" b. no: (C)", 2),
        ("**A**", 0),
        ("The answer is B.", 1),
        ("A ball rolls, so it is\nB\nbecause", 1),
        ("It rolls right", 1),
        ("I think it falls. or it rolls left.", None),
        ("A ball", None),
        ("D", None),
        ("", None),
    ],
)
def test_a_reply_in_words_chooses_or_not(reply: str, choice: int | None, bench: Bench) -> None:
    assert letter_answer(bench.questions[0], reply).choice == choice
