"""Caption files: every form says the same, and what is wrong is named."""

import json
from pathlib import Path

import pytest

from stg.config.captioning import JSON_HELP
from stg.evaluation.predictions import read_captions, read_predicted, short_names, write_predictions
from stg.runtime.errors import UserError


def test_files_of_the_project_and_plain_objects_say_the_same(tmp_path: Path) -> None:
    captions = {"v1": "a man is singing", "v2": ""}
    write_predictions(tmp_path / "coco.json", captions)
    (tmp_path / "plain.json").write_text(json.dumps(captions))
    (tmp_path / "several.json").write_text(json.dumps({"v1": ["a man is singing", "a man sings"], "v2": []}))
    for name in ("coco", "plain"):
        assert read_captions(tmp_path / f"{name}.json") == {"v1": ["a man is singing"], "v2": [""]}
    assert read_captions(tmp_path / "several.json") == {"v1": ["a man is singing", "a man sings"], "v2": []}


def test_lines_of_the_caption_command_are_read_without_the_clips_that_failed(tmp_path: Path) -> None:
    clips = [("a.mp4", "a man is singing", None), ("b.mp4", "", "no frames"), ("c.mp4", "a cat", None)]
    keys = JSON_HELP.partition(": ")[2].partition(";")[0].split(", ")
    assert {"video", "caption", "error"} <= set(keys)
    rows = [dict.fromkeys(keys, 0) | {"video": video, "caption": text, "error": error} for video, text, error in clips]
    lines = tmp_path / "clips.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_captions(lines) == {"a": ["a man is singing"], "c": ["a cat"]}
    for content, words in (
        (None, "could not read .*clips.jsonl: No such file"),
        ("{", "clips.jsonl line 1 is not valid JSON: "),
        ('{"video": "a", "caption": "x"}\n' * 2, "clips.jsonl line 2 is a second caption for video 'a'"),
        (
            '{"video": "a", "caption": "x"}\n{"video": 3}',
            r"clips.jsonl line 2 must be an object with video and caption",
        ),
        ('{"video": "a", "caption": 3}', "the caption of video 'a' must be text or a list of text, got 3"),
        ("\n", "clips.jsonl holds no captions"),
    ):
        lines.unlink() if content is None else lines.write_text(content)
        with pytest.raises(UserError, match=words):
            read_captions(lines)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "could not read .*file.json: No such file"),
        ("a man is singing", "file.json is not valid JSON: Expecting value at line 1 column 1"),
        ("3", r"file.json must hold a list of image_id and caption, or an object \{video: caption\}"),
        ("[]", "file.json holds no captions"),
        ("{}", "file.json holds no captions"),
        ('{"v": []}', "file.json holds no captions"),
        ('[{"video": 1}]', "row 0 lacks the key 'image_id'; it has 'video'"),
        ('{"v": {"0": "a man"}}', r"the caption of video 'v' must be text or a list of text, got \{'0': 'a man'\}"),
        ('{"split": "test", "beam": 1}', "the caption of video 'beam' must be text or a list of text, got 1; expected"),
        ('{"v": ["a man", 2]}', r"the caption of video 'v' must be text or a list of text, got \['a man', 2\]"),
    ],
)
def test_a_bad_file_is_one_clear_error(content: str | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "file.json").write_text(content)
    with pytest.raises(UserError, match=words) as caught:
        read_captions(tmp_path / "file.json")
    assert "\n" not in str(caught.value)


def test_a_caption_may_hold_separators_of_lines(tmp_path: Path) -> None:
    row = {"video": "a", "caption": "one\u2028two", "error": None}
    (tmp_path / "a.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_captions(tmp_path / "a.jsonl") == {"a": ["one\u2028two"]}


def test_clips_of_caption_have_the_ids_that_extract_gives_them(tmp_path: Path) -> None:
    videos = ["CLIPS/-a_1_2.mp4", "b.MKV", "/far/cafe\u0301.webm", "no.file", "one/name"]
    rows = [{"video": video, "caption": f"{number}", "error": None} for number, video in enumerate(videos)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = {"-a_1_2": ["0"], "b": ["1"], "caf\u00e9": ["2"], "no.file": ["3"], "one/name": ["4"]}
    assert read_captions(tmp_path / "a.jsonl") == expected
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({**rows[0], "video": f"{at}/v.mp4"}) + "\n" for at in "xy"))
    with pytest.raises(UserError, match=r"a.jsonl line 2 is a second caption for video 'v'"):
        read_captions(tmp_path / "a.jsonl")


def test_a_list_is_parsed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_predictions(tmp_path / "a.json", {"v": "a cat"})
    parsed: list[str] = []
    parse = json.loads
    monkeypatch.setattr(json, "loads", lambda text, **options: parsed.append(text) or parse(text, **options))
    assert read_captions(tmp_path / "a.json") == {"v": ["a cat"]}
    assert len(parsed) == 1


def test_predictions_have_one_caption_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"v": ["a cat"], "w": [], "x": ""}')
    assert read_predicted(path) == {"v": "a cat", "x": ""}
    path.write_text('{"v": ["a cat", "a dog"]}')
    with pytest.raises(UserError, match=r"a.json: video 'v' has 2 captions: expected one a video, of one model"):
        read_predicted(path)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["runs/a/evaluation/t.json", "runs/b/evaluation/t.json"], ["a", "b"]),
        (["runs/a/greedy.json", "runs/a/beam5.json"], ["greedy.json", "beam5.json"]),
        (["x/a/t.json", "a/t.json"], ["x/a", "a"]),
        (["a/t.json", "a/t.json"], ["1: t.json", "2: t.json"]),
        (["a/t.json"], ["a/t.json"]),
    ],
)
def test_names_distinguish_files(files: list[str], names: list[str]) -> None:
    assert short_names(files) == names
