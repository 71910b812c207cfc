"""Merging caption files to a submission and comparing their captions."""

import json
from pathlib import Path

import pytest

from stg.commands.parser import run_command
from stg.commands.predictions import main
from stg.config.results import PredictionsConfig
from stg.evaluation.predictions import (
    VideoCaptions,
    merge,
    merge_files,
    read_ids,
    read_predictions,
    side_by_side,
    write_predictions,
)
from stg.runtime.errors import UserError

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models; the first lacks c and has no words for b."""
    monkeypatch.chdir(tmp_path)
    for run, captions in {
        "one": {"a": "a cat", "b": " "},
        "two": {"a": "a dog", "b": "a bird", "c": "a cow", "d": "a \x1b[31mhen"},
    }.items():
        Path(run).mkdir()
        write_predictions(f"{run}/test.json", captions)


def call(*argv: str) -> int:
    return run_command(PredictionsConfig, main, "", list(argv))


FILES = ("one/test.json", "two/test.json")


def test_the_first_file_that_has_a_caption_is_taken() -> None:
    one, two, three = {"a": "1", "b": ""}, {"a": "2", "b": "2"}, {"b": "3", "c": "3"}
    assert merge([one, two, three], ["c", "b", "a", "c"]) == ({"c": "3", "b": "2", "a": "1"}, [2, 1, 0])


def test_gaps_are_refused_with_their_number_and_the_first_three() -> None:
    with pytest.raises(
        UserError, match=r"^4 of 5 videos have no caption in any of the files \('w', 'x', 'y', \.\.\.\)"
    ):
        merge([{"a": "1"}, {"w": ""}], ["w", "x", "a", "y", "z"])


def test_a_submission_holds_the_listed_videos_in_their_order(capsys: Capture) -> None:
    Path("list.json").write_text(json.dumps([{"videoID": "c"}, {"videoID": "a"}, {"videoID": "b"}]))
    assert call("merge", *FILES, "--videos", "list.json", "--form", "vatex", "--out", "s.json") == 0
    assert list(json.loads(Path("s.json").read_text()).items()) == [("c", "a cow"), ("a", "a cat"), ("b", "a bird")]
    assert capsys.readouterr().out.splitlines() == [
        "1 caption from one/test.json",
        "2 captions from two/test.json",
        "1 video left out, not listed in list.json",
        "s.json: 3 captions written",
    ]


def test_without_a_list_all_videos_are_written_as_coco_does() -> None:
    lines = merge_files(FILES, "s.json")
    expected = {"a": "a cat", "b": "a bird", "c": "a cow", "d": "a \x1b[31mhen"}
    assert list(read_predictions("s.json").items()) == list(expected.items())
    assert lines[-1] == "s.json: 4 captions written"


def test_a_gap_leaves_no_file(capsys: Capture) -> None:
    Path("list.txt").write_text("a\nz\n")
    assert call("merge", *FILES, "--videos", "list.txt", "--out", "s.json") == 2
    assert "1 of 2 videos have no caption in any of the files ('z')" in capsys.readouterr().err
    assert not Path("s.json").exists()


def test_a_file_is_replaced_only_by_force_and_an_input_never(capsys: Capture) -> None:
    Path("s.json").write_text("mine")
    assert call("merge", *FILES, "--out", "s.json") == 2
    assert "s.json is there already: choose another --out, or add --force" in capsys.readouterr().err
    assert Path("s.json").read_text() == "mine"
    assert call("merge", *FILES, "--out", "s.json", "--force") == 0
    assert len(read_predictions("s.json")) == 4
    assert call("merge", *FILES, "--out", "one/../two/test.json", "--force") == 2
    assert "is --out and one of the files to read" in capsys.readouterr().err
    assert call("merge", *FILES, "--out", "none/s.json") == 1
    assert "could not write none/s.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffa\r\n b \n\n",
        '["a", "b"]',
        '\n [{"videoID": "a"}, "b"]',
        json.dumps([{"videoID": video, "enCap": ["A man runs."]} for video in "ab"]),
    ],
)
def test_lists_of_videos_in_every_form(text: str) -> None:
    Path("list").write_text(text, encoding="utf-8")
    assert read_ids("list") == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "could not read list: No such file"),
        ("", "list lists no videos"),
        ("[]", "list lists no videos"),
        ("a\nb\na\n", "list lists video 'a' twice"),
        ("a\nx/b\n", "list line 2: the video id 'x/b' must not hold '/'"),
        ('["a", 3]', "list row 1: a video id must be text, got a whole number"),
        ('[{"id": "a"}]', "list row 0 lacks the key 'videoID'"),
        ('["a"', "list .*not valid JSON"),
        ('{"a": 1}', "list holds a JSON object: expected a list of ids, or one id a line"),
    ],
)
def test_bad_lists_are_named(text: str | None, words: str) -> None:
    if text is not None:
        Path("list").write_text(text)
    with pytest.raises(UserError, match=words):
        read_ids("list")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["join", *FILES], "the action must be one of merge, compare, got 'join'"),
        (["merge", FILES[0], "--out", "s.json"], "merge needs at least two caption files, got 1"),
        (["merge", *FILES], "merge needs --out FILE"),
        (["merge", *FILES, "--out", "s.json", "--show", "3"], "--show is an option of compare, not of merge"),
        (["compare", *FILES, "--force"], "--force is an option of merge, not of compare"),
        (["compare", *FILES, "--show", "-1"], "show must not be negative; got -1"),
        (["compare", *FILES, "--run", "r", "--references", "f"], "references come from --references or from --run"),
        (["compare", *FILES, "--run", "one"], "one is not a run folder"),
        (
            ["compare", *FILES, "--references", "other.json"],
            "other.json has no reference for any of the 4 videos, such",
        ),
    ],
)
def test_wrong_options_are_one_line(argv: list[str], words: str, capsys: Capture) -> None:
    Path("other.json").write_text('{"zz": "a cat"}')
    assert call(*argv) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_rows_of_a_comparison() -> None:
    rows = side_by_side([{"a": "x", "b": "y"}, {"c": "z", "a": "x"}], {"a": ["r", "s"], "b": []})
    assert rows == [
        VideoCaptions("a", ("x", "x"), "r"),
        VideoCaptions("b", ("y", None)),
        VideoCaptions("c", (None, "z")),
    ]
    assert [row.different for row in rows] == [False, True, True]


def test_json_prints_all_videos_one_a_line(capsys: Capture) -> None:
    Path("references.json").write_text('{"a": ["one cat", "a cat sits"]}')
    assert call("compare", *FILES, "--references", "references.json", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == {"video": "a", "captions": {"one": "a cat", "two": "a dog"}, "reference": "one cat"}
    assert rows[2] == {"video": "c", "captions": {"one": None, "two": "a cow"}, "reference": None}
    assert len(rows) == 4


@pytest.mark.parametrize("width", [40, 100])
def test_tables_fit_and_show_what_was_asked_for(width: int, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    Path("references.json").write_text('{"a": "one cat"}')
    write_predictions("two/test.json", {"a": "a cat", "b": "a bird", "c": "a cow", "d": "a \x1b[31mhen"})
    argv = ("compare", *FILES, "--references", "references.json", "--different", "true", "--show", "2")
    assert call(*argv) == 0
    out = capsys.readouterr().out
    assert "a bird" in out
    assert "a cow" in out
    assert "a reference" in out
    assert "one cat" not in out
    assert "hen" not in out
    lines = out.splitlines()
    assert lines[-2:] == [
        "2 of 3 differing videos shown; the files differ in 3 of 4",
        "note: one/test.json has no caption for 2 of the videos",
    ]
    assert max(map(len, lines[:-2])) <= width
    assert call(*argv[:-1], "0") == 0
    out = capsys.readouterr().out
    assert "\\x1b[31mhen" in "".join(out.split())
    assert "\x1b" not in out


def test_files_that_agree_leave_no_table(capsys: Capture) -> None:
    assert call("compare", FILES[0], FILES[0], "--different", "true") == 0
    assert capsys.readouterr().out == "0 of 0 differing videos shown; the files differ in 0 of 2\n"


def test_references_of_a_run(capsys: Capture) -> None:
    from stg.config.data import DataConfig
    from stg.config.schema import to_dict
    from stg.config.training import FitConfig

    for split in ("train", "val", "test"):
        Path(f"sents_{split}_lc_nopunc.txt").write_text("vid1301\ta big cat\n" if split == "test" else "")
    Path("youtube_mapping.txt").write_text("a vid1301\n")
    Path("run").mkdir()
    for root in (".", None):
        settings = FitConfig(data=DataConfig(dataset="msvd", root=root))
        Path("run/config.json").write_text(json.dumps(to_dict(settings)))
        assert call("compare", *FILES, "--run", "run", "--json", "--show", "1") == (0 if root else 2)
        printed = capsys.readouterr()
        if root:
            assert json.loads(printed.out)["reference"] == "a big cat"
        else:
            assert "the run run names no annotation files: give --references FILE" in printed.err
