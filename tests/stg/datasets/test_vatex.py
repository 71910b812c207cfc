"""The VATEX annotation: both languages, splits without captions, official numbers, faults by place (V9, V14)."""

import json
from pathlib import Path
from typing import Any

import pytest

from stg.datasets.vatex import FILES, OFFICIAL, read_vatex
from stg.metrics.scorer import Scorer
from stg.runtime.errors import UserError
from stg.text.vocabulary import UNK, Vocabulary
from tests.stg.make_annotations import made_vatex, write_json, write_vatex


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_vatex(tmp_path)


def test_english(root: Path) -> None:
    data = read_vatex(root)
    assert data.name == "VATEX"
    assert data.splits == {
        "train": ["-a_000001_000011", "-A_000001_000011"],  # ids that differ by case alone are two (fault B2)
        "val": ["b_000001_000011"],
        "test": ["c_000001_000011"],
        "private": ["p_000001_000011"],
    }
    assert data.captions["-A_000001_000011"] == ["A man runs.", "Someone runs 1."]
    assert data.unlabelled == ("private",)
    assert data.problems() == {}
    assert data.notes == (
        "the split 'private' comes without captions (enCap)",
        "the numbers of videos are not those of the official annotation: train 2 (official 25991), "
        "val 1 (official 3000), test 1 (official 6000)",
    )


def test_chinese_goes_through_vocabulary_and_scores(root: Path) -> None:
    data = read_vatex(root, "zh")
    assert data.name == "VATEX (Chinese)"
    assert data.captions["b_000001_000011"] == ["一 个 男 人 在 跑 步", "有 人 跑 步"]
    assert data.unlabelled == ("test", "private")
    vocabulary = Vocabulary.build([text for texts in data.captions.values() for text in texts], min_count=1)
    assert len(vocabulary) == 4 + len(set("一个男人在跑步有"))
    numbers = vocabulary.encode(data.captions["b_000001_000011"][0])
    assert len(numbers) == 7 + 2
    assert UNK not in numbers
    caption = vocabulary.decode(numbers[1:])
    with Scorer(data.references("val")) as scorer:
        assert scorer.score({"b_000001_000011": caption}, metrics=("bleu",)).values["bleu4"] == pytest.approx(1)


def test_bare_ids_are_a_private_test(root: Path) -> None:
    write_json(root / FILES["private"], ["p", "q"])
    assert read_vatex(root).splits["private"] == ["p", "q"]


def test_test_files_may_be_absent(root: Path) -> None:
    (root / FILES["test"]).unlink()
    (root / FILES["private"]).unlink()
    data = read_vatex(root)
    assert list(data.splits) == ["train", "val"]
    assert data.notes[0] == f"vatex_public_test_english_v1.1.json is not in {root}: there is no test split"


def test_the_official_numbers_need_no_note(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert OFFICIAL == {"train": 25_991, "val": 3_000, "test": 6_000}
    for split, count in (("train", 26), ("val", 3), ("test", 6)):
        monkeypatch.setitem(OFFICIAL, split, count)
    (root / FILES["private"]).unlink()
    for split, count in OFFICIAL.items():
        write_json(root / FILES[split], made_vatex([f"{split}{number}" for number in range(count)]))
    assert read_vatex(root).notes == ()


def test_gone_clips_are_missing_not_faults(root: Path) -> None:
    data = read_vatex(root).restrict(["-a_000001_000011", "b_000001_000011"])
    assert data.missing["train"] == ["-A_000001_000011"]
    assert data.problems() == {}


@pytest.mark.parametrize(
    ("split", "rows", "words"),
    [
        ("train", {"videoID": "a"}, r"training_v1\.0\.json must hold a list of videos at its top level, got an object"),
        ("train", [{"videoID": "a"}], r"training_v1\.0\.json holds no video with the key 'enCap'"),
        ("train", [], r"training_v1\.0\.json holds no video with the key 'enCap'"),
        ("val", [{"enCap": []}], r"validation_v1\.0\.json row 0 lacks the key 'videoID'"),
        ("val", [{"videoID": "a/b", "enCap": []}], r"row 0: the video id 'a/b' must not hold '/'"),
        ("val", [{"videoID": "b", "enCap": []}, "c"], r"row 1 must be an object with the key 'videoID', got text"),
        ("val", [{"videoID": "b", "enCap": "one"}], r"row 0 \(video 'b'\): 'enCap' must be a list, got text"),
        ("val", [{"videoID": "b", "enCap": ["one", 2]}], r"row 0: caption 1 of video 'b' must be text, got a whole"),
        ("val", made_vatex(["-a_000001_000011"]), r"video '-a_000001_000011' of VATEX is in two splits"),
        ("private", [7], r"private_test_without_annotations\.json row 0 must be an object with the key 'videoID'"),
    ],
)
def test_a_wrong_place_is_named(root: Path, split: str, rows: Any, words: str) -> None:
    write_json(root / FILES[split], rows)
    with pytest.raises(UserError, match=words):
        read_vatex(root)


def test_the_training_file_is_needed_and_needs_the_language(root: Path) -> None:
    rows = json.loads((root / FILES["train"]).read_text())
    write_json(root / FILES["train"], [{key: row[key] for key in ("videoID", "enCap")} for row in rows])
    with pytest.raises(UserError, match="holds no video with the key 'chCap': there are no captions to learn from"):
        read_vatex(root, "zh")
    (root / FILES["train"]).unlink()
    with pytest.raises(UserError, match=r"could not read .*vatex_training_v1\.0\.json: No such file"):
        read_vatex(root)
