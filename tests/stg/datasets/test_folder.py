"""One's own folder: both forms of the captions, ids from file names, given splits and splits by hash."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stg.datasets.folder import clip_id, hash_split, read_folder
from stg.runtime.errors import UserError
from stg.video.clips import SUFFIXES

HEADER = "video,caption,split\n"


def write_csv(root: Path, text: str) -> Path:
    (root / "captions.csv").write_text(text, encoding="utf-8")
    return root


def write_lines(root: Path, *rows: Any) -> Path:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (root / "captions.jsonl").write_text(text, encoding="utf-8")
    return root


def test_a_csv_with_splits(tmp_path: Path) -> None:
    root = write_csv(
        tmp_path, HEADER + 'a.MP4,"one, two",train\nmy.clip,three,Validation\na,four,train\n-c d.webm,五,test\n'
    )
    data = read_folder(root)
    assert data.name == tmp_path.name
    assert data.captions == {"a": ["one, two", "four"], "my.clip": ["three"], "-c d": ["五"]}
    assert data.splits == {"train": ["a"], "val": ["my.clip"], "test": ["-c d"]}
    assert data.notes == ()


def test_lines_of_json_with_splits(tmp_path: Path) -> None:
    root = write_lines(
        tmp_path,
        {"video": "a.mp4", "captions": ["one", "two"], "split": "train"},
        {"video": "b", "caption": "three", "split": "val"},
        {"video": "c", "captions": [], "split": "val"},
    )
    data = read_folder(root)
    assert data.captions == {"a": ["one", "two"], "b": ["three"]}
    assert data.splits == {"train": ["a"], "val": ["b", "c"]}
    assert data.problems() == {"without captions": ["c"]}


def test_without_splits_the_hash_decides_and_says_so(tmp_path: Path) -> None:
    rows = [f"v{number}.mp4,a dog {number}\n" for number in range(40)]
    data = read_folder(write_csv(tmp_path, "video,caption\n" + "".join(rows)))
    assert data.splits == hash_split(f"v{number}" for number in range(40))
    (note,) = data.notes
    counts = {split: len(videos) for split, videos in data.splits.items()}
    assert "captions.csv names no splits: videos were put into them by a hash of their ids (train " in note
    assert note.endswith(f"(train {counts['train']}, val {counts['val']}, test {counts['test']})")
    random.Random(1).shuffle(rows)
    shuffled = read_folder(write_csv(tmp_path, "video,caption\n" + "".join(rows)))
    assert {split: set(videos) for split, videos in shuffled.splits.items()} == {
        split: set(videos) for split, videos in data.splits.items()
    }


def test_a_known_split_by_hash_stays() -> None:
    """Written down: another hash would move videos from training to test between versions."""
    assert hash_split(["a", "b", "c", "d", "e"]) == {"train": ["b", "c", "d"], "val": ["e"], "test": ["a"]}


@settings(max_examples=60)
@given(st.lists(st.text(min_size=1, max_size=8), min_size=3, max_size=30, unique=True))
def test_every_video_has_one_split_and_none_is_empty(videos: list[str]) -> None:
    splits = hash_split(videos)
    assert all(splits.values())
    assert Counter(video for part in splits.values() for video in part) == Counter(videos)
    assert all(part == [video for video in videos if video in part] for part in splits.values())


def test_the_shares_are_80_10_10_and_a_growing_folder_moves_none() -> None:
    small, large = (hash_split(f"v{number}" for number in range(count)) for count in (200, 4000))
    assert [len(part) / 4000 for part in large.values()] == pytest.approx([0.8, 0.1, 0.1], abs=0.02)
    assert all(set(small[split]) < set(large[split]) for split in small)


def test_too_few_to_split() -> None:
    with pytest.raises(ValueError, match="at least 3 videos are needed for train, val and test; got 2"):
        hash_split(["a", "b"])


def test_suffixes_are_those_of_the_extraction() -> None:
    from stg.video.clips import SUFFIXES as EXTRACTED

    assert set(SUFFIXES) == set(EXTRACTED)


@pytest.mark.parametrize("name", ["a.mp4", "-4w s.AVI", "a.b.webm", "🎬.mkv", "a.mp4.mp4", "..a.mov", "a\nb.ts"])
def test_ids_are_those_of_a_store_made_from_the_clips(name: str) -> None:
    from stg.video.decoding import video_id

    assert clip_id(name, "here") == video_id(name)
    assert clip_id(video_id(name) if "." not in video_id(name) else "x", "here") == (
        video_id(name) if "." not in video_id(name) else "x"
    )


@pytest.mark.parametrize("name", ["sub/a.mp4", "/a.mp4", "../a.mp4", "", "a\0.mp4", "x" * 600, 7])
def test_hostile_names_are_refused(name: object) -> None:
    with pytest.raises(UserError, match=r"^here: (the|a) video id"):
        clip_id(name, "here")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            HEADER + "a,one,train\nb,two,val\nc,three,\n",
            r"captions\.csv line 4: 'split' must be train, val or test",
        ),
        (HEADER + "a,one,train\na.mp4,two,val\n", r"line 3: video 'a' has the split val here and train before: scores"),
        (HEADER + "a.mp4,one,train\na.avi,two,train\n", r"line 3: the clips 'a\.mp4' and 'a\.avi' have one id: rename"),
        ("video,caption\na,one\nb,two\n", r"captions\.csv has 2 video\(s\): at least 3 are needed"),
        ("video,caption\n", r"captions\.csv has 0 video\(s\)"),
        ("video,caption\nx/a,one\n", r"line 2: the video id 'x/a' must not hold '/'"),
        ("video;caption\n", r"save the file with commas"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_folder(write_csv(tmp_path, text))


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([], r'captions\.jsonl line 2 must be \{"video": ..., "caption": ...\}, got a list'),
        ({"video": "b"}, r"line 2 must have the key 'video' and one of 'caption' and 'captions'"),
        ({"caption": "b"}, r"line 2 must have the key 'video' and one of"),
        ({"video": "b", "caption": "c", "captions": ["d"]}, r"line 2 must have the key 'video' and one of"),
        ({"video": "b", "caption": 3}, r"line 2: a caption must be text, got a whole number"),
        ({"video": "b", "captions": "c"}, r"line 2: 'captions' must be a list, got text"),
        ({"video": "b", "caption": "c", "spilt": "val"}, r"line 2 has the unknown key 'spilt'; known: video, caption"),
        ({"video": "b", "caption": "c", "split": None}, r"line 2: 'split' must be train, val or test, got null"),
        (
            {"video": "b", "caption": "c", "split": "val"},
            r"video 'a' has no split, others have: give every row",
        ),
        ({"video": 3, "caption": "c"}, r"line 2: a video id must be text, got a whole number"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, row: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read_folder(write_lines(tmp_path, {"video": "a", "caption": "one"}, row))


def test_one_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds neither captions\.csv nor captions\.jsonl: write one beside the clips"):
        read_folder(tmp_path)
    write_csv(write_lines(tmp_path), "video,caption\n")
    with pytest.raises(UserError, match=r"holds captions\.csv and captions\.jsonl: keep one of them"):
        read_folder(tmp_path)


def test_empty_captions_are_counted_and_chinese_is_set_apart(tmp_path: Path) -> None:
    rows = [{"video": name, "captions": ["一个人。", " ?! "]} for name in "abc"]
    data = read_folder(write_lines(tmp_path, *rows), "zh")
    assert data.captions["b"] == ["一 个 人"]
    assert data.notes[0] == "3 captions without any word left out ('a', 'b', 'c')"
