"""The part-of-speech report of STaTS Fig. 5 over caption files."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stg.commands.parser import run_command
from stg.commands.words import main, show
from stg.config.results import WordsConfig
from stg.evaluation.predictions import write_predictions
from stg.runtime.errors import UserError
from stg.text.tagging import Tag
from stg.text.words import Word, WordReport, count_words


class ByEnding:
    """-ing: verb; -y: adjective; articles: other; all else: noun."""

    name = "by ending"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def __call__(self, sentences: Sequence[Sequence[str]]) -> list[list[Tag]]:
        self.asked += [list(words) for words in sentences]
        return [[self.tag(word) for word in words] for words in sentences]

    @staticmethod
    def tag(word: str) -> Tag:
        if word in ("a", "is"):
            return "other"
        return "verb" if word.endswith("ing") else "adjective" if word.endswith("y") else "noun"


CAPTIONS = [
    "a man is singing",
    "A man is singing.",
    "a furry cat is running",
    "a cat is running",
    "a man is eating a pie",
]
# a 6, is 5, man 3, cat running singing 2, eating furry pie 1: 23 words in all


def test_a_report_counted_by_hand() -> None:
    report = count_words(CAPTIONS, ByEnding(), drop=3, top=4)
    assert (report.captions, report.words, report.distinct) == (5, 23, 9)
    assert report.dropped == (Word("a", 6, "other"), Word("is", 5, "other"), Word("man", 3, "noun"))
    assert report.top == (
        Word("cat", 2, "noun"),
        Word("running", 2, "verb"),
        Word("singing", 2, "verb"),
        Word("eating", 1, "verb"),
    )
    assert (report.among_top("verb"), report.among_top("noun")) == (3, 1)
    assert report.share == pytest.approx(
        {"noun": 100 * 6 / 23, "verb": 100 * 5 / 23, "adjective": 100 / 23, "other": 100 * 11 / 23}
    )
    assert report.share_of_distinct == pytest.approx(
        {"noun": 100 * 3 / 9, "verb": 100 * 3 / 9, "adjective": 100 / 9, "other": 100 * 2 / 9}
    )


def test_the_words_of_fig_5_by_default() -> None:
    captions = [f"verb{n:02}ing" for n in range(40) for _ in range(40 - n)]
    report = count_words(captions, ByEnding())
    assert [item.word for item in report.dropped] == [f"verb{n:02}ing" for n in range(5)]
    assert [item.word for item in report.top] == [f"verb{n:02}ing" for n in range(5, 25)]


def test_adjectives_and_function_words_take_no_place_in_the_list() -> None:
    report = count_words(["a furry is cat"], ByEnding(), drop=0)
    assert report.top == (Word("cat", 1, "noun"),)
    assert report.dropped == ()


def test_a_word_of_two_kinds_has_one_place_but_is_counted_as_what_it_is() -> None:
    class PlayAfterThey(ByEnding):
        def __call__(self, sentences: Sequence[Sequence[str]]) -> list[list[Tag]]:
            return [["verb" if words[0] == "they" else "noun" for _ in words] for words in sentences]

    report = count_words(["they play", "they play", "the play"], PlayAfterThey(), drop=0)
    assert report.top[0] == Word("play", 3, "verb")
    assert report.share["noun"] == pytest.approx(100 * 2 / 6)
    assert report.share_of_distinct["noun"] == pytest.approx(100 / 3)


def test_a_repeated_caption_is_tagged_once_and_counted_each_time() -> None:
    tagger = ByEnding()
    report = count_words(["a cat"] * 1000 + [""], tagger, drop=0)
    assert tagger.asked == [["a", "cat"]]
    assert (report.captions, report.words, report.top[0].count) == (1001, 2000, 1000)


def test_shares_add_up_and_do_not_depend_on_order() -> None:
    forward, backward = count_words(CAPTIONS, ByEnding()), count_words(CAPTIONS[::-1], ByEnding())
    assert forward == backward
    assert sum(forward.share.values()) == pytest.approx(100)
    assert sum(forward.share_of_distinct.values()) == pytest.approx(100)


def test_captions_without_words_and_bad_taggers_are_refused() -> None:
    with pytest.raises(UserError, match=r"^the captions hold no word$"):
        count_words(["", "..."], ByEnding())
    with pytest.raises(UserError, match=r"^there are no captions, so no word$"):
        count_words([], ByEnding())

    class Short(ByEnding):
        def __call__(self, sentences: Sequence[Sequence[str]]) -> list[list[Tag]]:
            return [["noun"] for _ in sentences]

    with pytest.raises(ValueError, match=r"the tagger by ending gave \['noun'\] for \['a', 'cat'\]: expected one of"):
        count_words(["a cat"], Short())


def test_a_bad_file_ends_the_command_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file.json").write_text("3")
    assert run_command(WordsConfig, main, "", [str(tmp_path / "file.json"), "--tagger", "lexicon"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_file_of_empty_captions_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.json").write_text('{"v": ""}')
    assert run_command(WordsConfig, main, "", [str(tmp_path / "empty.json"), "--tagger", "lexicon"]) == 2
    assert capsys.readouterr().err.endswith("empty.json: the captions hold no word\n")


def test_numbers_out_of_range_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for options in (["--drop", "-1"], ["--top", "0"]):
        assert run_command(WordsConfig, main, "", ["a.json", *options]) == 2
        assert "drop must not be negative and top at least 1; got" in capsys.readouterr().err


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two runs; the second says more nouns and knows one video less."""
    for run, captions in (
        ("one", {"v1": "a man is singing", "v2": "a cat is running", "v3": "a dog is eating"}),
        ("two", {"v1": "a man with a hat", "v2": "a cat is running"}),
    ):
        (tmp_path / run / "evaluation").mkdir(parents=True)
        write_predictions(tmp_path / run / "evaluation" / "test-greedy.json", captions)
    return [str(tmp_path / run / "evaluation" / "test-greedy.json") for run in ("one", "two")]


def as_json(capsys: pytest.CaptureFixture[str], *argv: str) -> Any:
    assert run_command(WordsConfig, main, "", [*argv, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_holds_all_that_is_shown(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    record = as_json(capsys, *files, "--tagger", "lexicon", "--drop", "2", "--top", "3")
    assert record["tagger"].startswith("lexicon")
    assert (record["drop"], record["top"]) == (2, 3)
    assert record["notes"] == ["the files caption different videos: 3, 2 of them, 2 in all the files"]
    one, two = record["files"]
    assert [one["file"], two["file"]] == files
    assert (one["captions"], one["words"], one["distinct"]) == (3, 12, 8)
    assert one["dropped"] == [{"word": "a", "count": 3, "kind": "other"}, {"word": "is", "count": 3, "kind": "verb"}]
    assert [item["word"] for item in one["top"]] == ["cat", "dog", "eating"]
    assert (one["top_verbs"], one["top_nouns"]) == (1, 2)
    assert one["share"] == {"noun": 25.0, "verb": 50.0, "adjective": 0.0, "other": 25.0}
    assert one["points_over_first"] == dict.fromkeys(one["share"], 0.0)
    assert two["share"]["verb"] == pytest.approx(100 * 2 / 9)
    assert two["points_over_first"]["verb"] == pytest.approx(100 * 2 / 9 - 50)
    assert two["distinct_points_over_first"]["noun"] == pytest.approx(100 * 3 / 7 - 100 * 3 / 8)


def test_the_tagger_is_said_and_how_to_get_a_better_one(
    files: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert as_json(capsys, files[0])["tagger"].startswith("spaCy ")
    monkeypatch.setattr("stg.text.tagging.installed_pipelines", lambda: [])
    record = as_json(capsys, files[0])
    assert record["tagger"].startswith("lexicon")
    assert "is not installed, so a small lexicon tagged the words: pip install" in record["notes"][0]
    assert as_json(capsys, files[0], "--tagger", "lexicon")["notes"] == []


def test_the_same_file_twice_is_noted(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    record = as_json(capsys, files[0], files[0], "--tagger", "lexicon")
    assert record["notes"] == [f"{files[0]} is given 2 times"]
    assert run_command(WordsConfig, main, "", [files[0], files[0], "--tagger", "lexicon"]) == 0
    assert "1: test-greedy.json" in capsys.readouterr().out


def test_tables_stand_side_by_side_named_by_what_differs(
    files: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert run_command(WordsConfig, main, "", [*files, "--tagger", "lexicon", "--drop", "2", "--top", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    squeezed = [" ".join(line.replace("\u2502", "|").replace("\u2503", "|").split()) for line in lines]
    assert squeezed[0] == "words by lexicon (word lists and endings; spaCy is better)"
    assert "| | one | two |" in squeezed
    assert "| verbs | 50.0 % | 22.2 % (-27.8) |" in squeezed
    assert "| nouns | 37.5 % | 42.9 % (+5.4) |" in squeezed
    assert "| verbs in the list | 1 of 3 | 1 of 3 |" in squeezed
    assert squeezed[-3:] == [
        "left out of one: a 3, is 3",
        "left out of two: a 3, cat 1",
        "note: the files caption different videos: 3, 2 of them, 2 in all the files",
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_many_files_fit_any_width(width: int) -> None:
    reports = {f"run-{n}": count_words(CAPTIONS, ByEnding(), drop=0) for n in range(7)}
    reports["long"] = WordReport(
        1,
        1,
        1,
        (),
        (Word("supercalifragilistic\x1b[31m", 123456, "noun"),),
        reports["run-0"].share,
        reports["run-0"].share,
    )
    text = io.StringIO()
    show(reports, console=Console(file=text, width=width), title="by ending")
    shown = text.getvalue()
    assert max(map(len, shown.splitlines()[1:-9])) <= width
    assert all(shown.count(f"run-{n} ") >= 2 for n in range(7))
    assert "\x1b" not in shown
    assert "\u2588" in shown


def test_a_terminal_of_ascii_gets_ascii(files: list[str]) -> None:
    text = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    show({"one": count_words(CAPTIONS, ByEnding())}, console=Console(file=text, width=80), title="by ending")
    text.flush()
    assert isinstance(text.buffer, io.BytesIO)
    assert b"##" in text.buffer.getvalue()
