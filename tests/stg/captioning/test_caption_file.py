"""Captions as tables, JSON and subtitles, written as they come."""

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from stg.captioning import caption_file
from stg.captioning.caption_file import CaptionFile, text_of
from stg.captioning.pipeline import ClipCaption
from stg.models.generation import Caption
from stg.runtime.errors import UserError

DONE = ClipCaption("a.mp4", 'a man says "go", and runs', 0.5, -1.25, 2.0, end=3.5)
FAILED = ClipCaption("b.mp4", error="'b.mp4' is not a video: the file is empty", seconds=0.25)


def table(*rows: ClipCaption) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text_of(rows, ".csv").removeprefix("\ufeff"), newline="")))


def test_a_table_holds_what_was_said_and_what_failed() -> None:
    text = text_of([DONE, FAILED], ".csv")
    assert text.startswith(
        "\ufeffvideo,start,end,caption,confidence,log_prob,seconds,truncated,error,warning,chance,level\r\n"
    )
    first, second = table(DONE, FAILED)
    assert first == {
        "video": "a.mp4", "start": "0", "end": "3.5", "caption": 'a man says "go", and runs', "confidence": "0.5",
        "log_prob": "-1.25", "seconds": "2", "truncated": "false", "error": "", "warning": "",
        "chance": "", "level": "",
    }  # fmt: skip
    assert (second["caption"], second["end"], second["error"]) == ("", "", FAILED.error)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_nothing_in_a_table_is_a_formula(start: str) -> None:
    text = f'{start}HYPERLINK("http://x","y")'
    (row,) = table(ClipCaption(text, text, error=text, warning=text))
    assert row["video"] == f"./{text}"
    assert [row[name] for name in ("caption", "error", "warning")] == [f"'{text}"] * 3


def test_json_holds_the_fields_and_the_candidates() -> None:
    found = tuple(Caption(text, log_prob=-1.0, length=2) for text in ("a", "b"))
    one = ClipCaption("\N{GRINNING FACE}.mp4", "a", candidates=found)
    rows = json.loads(text_of([one, FAILED], ".json", 2))
    assert [json.loads(line) for line in text_of([one, FAILED], ".jsonl", 2).splitlines()] == rows
    assert [each["caption"] for each in rows[0]["candidates"]] == ["a", "b"]
    assert rows[1] == {
        "video": "b.mp4", "caption": "", "confidence": 0.0, "log_prob": 0.0, "seconds": 0.25, "truncated": False,
        "error": FAILED.error, "start": 0.0, "end": None, "candidates": [],
    }  # fmt: skip
    assert "\N{GRINNING FACE}" in text_of([one], ".jsonl")
    assert json.loads(text_of([], ".json")) == []


def test_subtitles_have_times_and_no_blank_lines() -> None:
    last = ClipCaption("a.mp4", "the <b> & the\n\nend --> there", start=3661.0004, end=360000.9996)
    empty = ClipCaption("a.mp4", start=2.0, end=3.0)
    assert text_of([DONE, empty, last], ".srt") == (
        '1\n00:00:00,000 --> 00:00:03,500\na man says "go", and runs\n\n'
        "2\n01:01:01,000 --> 100:00:01,000\nthe <b> & the end --> there\n"
    )
    assert text_of([DONE, empty, last], ".vtt") == (
        'WEBVTT\n\n1\n00:00:00.000 --> 00:00:03.500\na man says "go", and runs\n\n'
        "2\n01:01:01.000 --> 100:00:01.000\nthe &lt;b&gt; &amp; the end --&gt; there\n"
    )


@pytest.mark.parametrize(("end", "shown"), [(None, "00:00:03,000"), (2.0, "00:00:02,001")])
def test_a_subtitle_without_a_length_is_seen(end: float | None, shown: str) -> None:
    assert f"00:00:02,000 --> {shown}\n" in text_of([ClipCaption("a", "x", start=2.0, end=end)], ".srt")


def test_what_is_done_is_in_the_file_whatever_ends_the_work(tmp_path: Path) -> None:
    path = tmp_path / "new" / "captions.JSON"

    def work() -> None:
        with CaptionFile(path, [Path("a.mp4"), Path("b.mp4")]) as file:
            file.add(DONE)
            assert [row["caption"] for row in json.loads(path.read_text())] == [DONE.caption]
            file._next = float("inf")  # as if the file had taken long to write
            file.add(FAILED)
            assert len(json.loads(path.read_text())) == 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert [row["error"] for row in json.loads(path.read_text())] == [None, FAILED.error]
    assert [item.name for item in path.parent.iterdir()] == ["captions.JSON"]


def test_writing_takes_a_small_share_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, written = [0.0], list[int]()

    def write(path: Path, text: str) -> None:
        written.append(text.count("\n"))
        clock[0] += 1.0

    monkeypatch.setattr(caption_file, "write_atomic", write)
    monkeypatch.setattr(caption_file, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with CaptionFile(tmp_path / "captions.jsonl", [Path("a.mp4")]) as file:
        for _ in range(50):
            file.add(DONE)
            clock[0] += 1.0
    # After the first, every 20 seconds, of which one is writing; and at the end.
    assert written == [1, 20, 39, 50]


def test_subtitles_of_several_clips_are_a_file_each(tmp_path: Path) -> None:
    clips = [Path("a.mp4"), Path("b.mp4"), Path("deep/c.mkv")]
    with CaptionFile(tmp_path / "subs.vtt", clips) as file:
        file.add(ClipCaption("a.mp4", "one", end=1.0))
        file.add(ClipCaption("a.mp4", "two", start=1.0, end=2.0))
        file.add(FAILED)
        file.add(ClipCaption("deep/c.mkv", "three", end=1.0))
    assert sorted(item.name for item in (tmp_path / "subs").iterdir()) == ["a.vtt", "c.vtt"]
    assert "one" in (text := (tmp_path / "subs" / "a.vtt").read_text())
    assert "two" in text
    assert "three" not in text
    assert file.files == [tmp_path / "subs" / "a.vtt", tmp_path / "subs" / "c.vtt"]
    with pytest.raises(UserError, match=r"two clips would have the id 'a': 'a\.mp4' and 'x/a\.avi'; rename one"):
        CaptionFile(tmp_path / "subs.vtt", [Path("a.mp4"), Path("x/a.avi")])


def test_a_place_that_cannot_be_written_to_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "captions.csv").mkdir()
    with pytest.raises(UserError, match=r"captions\.csv' is a folder: give the name of a file for --out"):
        CaptionFile(tmp_path / "captions.csv", [Path("a.mp4")])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"could not make the folder .*file: File exists|Not a directory"):
        CaptionFile(tmp_path / "file" / "captions.csv", [Path("a.mp4")])
