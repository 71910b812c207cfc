"""The MSR-VTT annotation: both forms of the files, official numbers, categories, faults by place (S21, S27)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stg.datasets.msrvtt import OFFICIAL, read_msrvtt
from stg.runtime.errors import UserError
from tests.stg.make_annotations import made_msrvtt, write_json, write_msrvtt


def test_the_pair_of_files(tmp_path: Path) -> None:
    data = read_msrvtt(write_msrvtt(tmp_path))
    assert data.name == "MSR-VTT"
    assert data.splits == {"train": ["video0", "video1", "video2"], "val": ["video3"], "test": ["video4", "video5"]}
    assert data.captions["video4"] == ["a dog runs 4", "a cat runs 4"]
    assert data.category == {f"video{number}": number for number in range(6)}
    assert data.problems() == {}
    (note,) = data.notes
    assert note.endswith("split: train 3 (official 6513), val 1 (official 497), test 2 (official 2990)")


@pytest.mark.parametrize("name", ["MSRVTT_data.json", "videodatainfo_2017.json"])
def test_one_file_with_all_splits(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / name, made_msrvtt({"train": 2, "validate": 1, "test": 1}))
    assert read_msrvtt(tmp_path) == read_msrvtt(tmp_path / name)
    assert read_msrvtt(tmp_path).splits["test"] == ["video3"]


def test_the_official_numbers_need_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert OFFICIAL == {"train": 6513, "val": 497, "test": 2990}
    for split, count in (("train", 65), ("val", 5), ("test", 30)):
        monkeypatch.setitem(OFFICIAL, split, count)
    counts = {"train": OFFICIAL["train"], "validate": OFFICIAL["val"], "test": OFFICIAL["test"]}
    write_json(tmp_path / "MSRVTT_data.json", made_msrvtt(counts))
    data = read_msrvtt(tmp_path)
    assert data.notes == ()
    assert [len(videos) for videos in data.splits.values()] == [65, 5, 30]
    assert set(data.category.values()) == set(range(20))


def test_without_the_test_file_there_is_no_test_split(tmp_path: Path) -> None:
    (write_msrvtt(tmp_path) / "test_videodatainfo.json").unlink()
    data = read_msrvtt(tmp_path)
    assert list(data.splits) == ["train", "val"]
    assert data.notes == (f"test_videodatainfo.json is not in {tmp_path}: there is no test split",)


def test_a_video_in_two_splits_is_refused(tmp_path: Path) -> None:
    path = write_msrvtt(tmp_path) / "test_videodatainfo.json"
    content = json.loads(path.read_text())
    content["videos"][0]["video_id"] = "video0"
    write_json(path, content)
    with pytest.raises(UserError, match="video 'video0' of MSR-VTT is in two splits, 'train' and 'test'"):
        read_msrvtt(tmp_path)


def test_duplicates_strangers_and_bare_videos_are_told(tmp_path: Path) -> None:
    content = made_msrvtt({"train": 2, "validate": 1})
    content["videos"].append(content["videos"][1])
    content["sentences"] = [row for row in content["sentences"] if row["video_id"] != "video2"]
    content["sentences"] += [{"video_id": "video9", "caption": "lost"}, {"video_id": "video0", "caption": " . "}]
    write_json(tmp_path / "MSRVTT_data.json", content)
    data = read_msrvtt(tmp_path)
    assert data.problems() == {
        "twice in one split": ["video1"],
        "without captions": ["video2"],
        "captions without a video": ["video9"],
    }
    assert data.notes[0] == "1 caption without any word left out ('video0')"


def first(key: str, **changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content[key][0].update(changes)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (first("videos", video_id="../x"), r"data\.json videos\[0\]: the video id '../x' must not hold '/'"),
        (first("videos", split="dev"), r"videos\[0\]: 'split' must be one of train, validate, test, got 'dev'"),
        (first("videos", category=20), r"videos\[0\]: 'category' must lie in 0\.\.19, got 20"),
        (first("videos", category=True), r"videos\[0\]: 'category' must be a whole number, got true or false"),
        (first("sentences", caption=None), r"sentences\[0\]: 'caption' must be text, got null"),
        (first("sentences", video_id=""), r"sentences\[0\]: the video id '' must not be empty"),
        (lambda content: content["videos"][1].pop("video_id"), r"videos\[1\] lacks the key 'video_id'"),
        (lambda content: content["videos"].insert(0, []), r"videos\[0\] must be an object with the key 'video_id'"),
        (lambda content: content.pop("sentences"), r"data\.json lacks the key 'sentences'"),
        (lambda content: content.update(videos={}), r"data\.json: 'videos' must be a list, got an object"),
    ],
)
def test_a_wrong_place_is_named(tmp_path: Path, change: Callable[[dict[str, Any]], Any], words: str) -> None:
    content = made_msrvtt({"train": 2, "validate": 1})
    change(content)
    write_json(tmp_path / "MSRVTT_data.json", content)
    with pytest.raises(UserError, match=words):
        read_msrvtt(tmp_path)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds neither train_val_videodatainfo.json and test_videodatainfo.json nor"):
        read_msrvtt(tmp_path)
    write_json(tmp_path / "MSRVTT_data.json", [1])
    with pytest.raises(UserError, match=r"must hold an object with the keys 'videos' and 'sentences', got a list"):
        read_msrvtt(tmp_path)


@pytest.mark.shared_data
def test_the_real_captions_in_the_official_form(shared_data: Path, tmp_path: Path) -> None:
    """The shared file is not in the official form; its 2,990 videos and captions are, once rewritten."""
    path = shared_data / "msrvtt" / "test_captions_sgn.json"
    with pytest.raises(UserError, match="lacks the key 'videos'"):
        read_msrvtt(path)
    captions = json.loads(path.read_text())
    content = made_msrvtt({"train": 1, "validate": 1})
    content["videos"] += [{"video_id": video, "split": "test"} for video in captions]
    content["sentences"] += [
        {"video_id": video, "caption": text} for video, texts in captions.items() for text in list(texts.values())[:5]
    ]
    write_json(tmp_path / "MSRVTT_data.json", content)
    data = read_msrvtt(tmp_path)
    there = [clip.stem for clip in (shared_data / "msrvtt" / "clips").glob("*.mp4")]
    assert len(data.splits["test"]) == 2990
    assert len(there) == 9
    assert sum(len(data.captions[video]) for video in data.splits["test"]) == 5 * 2990
    assert data.restrict([*there, "video0", "video1"]).counts()["test"] == {
        "videos": len(set(there) & set(data.splits["test"])),
        "missing": 2990 - len(set(there) & set(data.splits["test"])),
        "captions": 5 * len(set(there) & set(data.splits["test"])),
    }
