"""COCO-style prediction files: a round trip, and errors that name the file and the row."""

from pathlib import Path

import pytest

from stg.evaluation.predictions import read_predictions, write_predictions
from stg.runtime.errors import StgError, UserError


def test_a_round_trip_keeps_captions_and_order(tmp_path: Path) -> None:
    predictions = {"vid9": 'a "man"\n', "vid10": "caf\u00e9 \U0001f600", "<b>": "", "7": "x"}
    write_predictions(tmp_path / "p.json", predictions)
    assert list(read_predictions(tmp_path / "p.json").items()) == list(predictions.items())
    write_predictions(tmp_path / "p.json", {})
    assert read_predictions(tmp_path / "p.json") == {}
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_whole_number_ids_and_other_keys_are_welcome(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('[{"image_id": 139, "caption": "a room", "id": 1}, {"image_id": "x", "caption": ""}]')
    assert read_predictions(path) == {"139": "a room", "x": ""}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"vid1": "a man"}', "must hold a list of .* at its top level, got an object"),
        ("[", "not valid JSON: .* line 1"),
        ('["a man"]', "row 0 must be .* got text: 'a man'"),
        ('[{"image_id": "a", "caption": "x"}, {"image_id": "b"}]', "row 1 lacks the key 'caption'; it has 'image_id'"),
        ('[{"caption": "x"}]', "row 0 lacks the key 'image_id'"),
        ("[{}]", "row 0 lacks the key 'image_id'; it has none"),
        ('[{"image_id": 1.5, "caption": "x"}]', "image_id must be text or a whole number, got a number: 1.5"),
        ('[{"image_id": true, "caption": "x"}]', "image_id must be text or a whole number, got true or false"),
        ('[{"image_id": "a", "caption": ["x"]}]', r"row 0: the caption of video 'a' must be text, got a list: \['x'\]"),
        ('[{"image_id": "a", "caption": null}]', "must be text, got null"),
        (
            '[{"image_id": "1", "caption": "x"}, {"image_id": 1, "caption": "x"}]',
            r"row 1 is a second caption for video '1' \(the first is row 0\)",
        ),
    ],
)
def test_what_is_wrong_is_named_with_file_and_row(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "predictions.json"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="could not read"):
        read_predictions(tmp_path / "none.json")
    with pytest.raises(StgError, match="could not write"):
        write_predictions(tmp_path / "none" / "p.json", {"a": "b"})
