"""A plain JSON file of boxes: what it may hold, and the words for what it may not."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

import graphs
from graphs.readers.boxes import read_boxes

DOG = {"box": [10, 20, 50, 80], "class": "dog", "score": 0.75, "track": 1}


def document(**changes: Any) -> dict[str, Any]:
    made = {
        "format": "video-boxes/1",
        "classes": ["person", "dog"],
        "videos": {
            "kitchen": {
                "width": 640, "height": 480, "num_frames": 5, "fps": 25,
                "frames": {
                    "3": [DOG | {"box": [12, 20, 52, 80]}], "0": [DOG | {"track": -1, "class": 1}, DOG], "2": [],
                },
            },
            "yard": {"width": 64, "height": 48, "frames": [[], [{"box": [0, 0, 64, 48], "score": 1}]]},
            "street": {"width": 64, "height": 48, "num_frames": 2, "frames": {}},
        },
    }  # fmt: skip
    return made | changes


def video(**changes: Any) -> dict[str, Any]:
    return document(videos={"v": {"width": 64, "height": 48, "frames": [[DOG]]} | changes})


def of_object(**changes: Any) -> dict[str, Any]:
    return video(frames=[[], [DOG, DOG | {"track": 2} | changes]])


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_the_file_that_the_docstring_shows(tmp_path: Path) -> None:
    lines = (read_boxes.__doc__ or "").split(".. code-block:: json")[1].split("``format``")[0]
    ((name, found),) = read_boxes(write(tmp_path / "boxes.json", lines))
    assert (name, found.num_frames, found.size, found.fps) == ("kitchen", 3, (480, 640), 25)
    assert found.objects.tolist() == [
        [pytest.approx(0.1), pytest.approx(0.7)],
        [pytest.approx(0.2), pytest.approx(0.6)],
    ]


def test_everything_that_may_be_given(tmp_path: Path) -> None:
    (kitchen, found), (yard, other), (_, empty) = read_boxes(write(tmp_path / "boxes.json", document()))
    assert (kitchen, yard, found.num_frames, other.num_frames) == ("kitchen", "yard", 5, 2)
    assert found.boxes.tolist() == [[10, 20, 50, 80], [10, 20, 50, 80], [12, 20, 52, 80]]
    assert found.frame.tolist() == [0, 0, 3]
    assert found.label is not None
    assert found.label.tolist() == [1, 2, 2]
    assert found.track is not None
    assert found.track.tolist() == [-1, 1, 1]
    assert found.scores is not None
    assert found.scores.tolist() == [0.75, 0.75, 0.75]
    # Box, score and one number a class, with 0 for not known.
    torch.testing.assert_close(other.objects, torch.tensor([[0.5, 0.5, 1, 1, 1, 1, 0, 0]]))
    assert (empty.num_frames, empty.num_objects, empty.objects.shape) == (2, 0, (0, 8))
    assert [made.fps for made in (found, other, empty)] == [25, 0, 0]


def test_other_formats_of_boxes_and_files(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json.gz"
    path.write_bytes(gzip.compress(json.dumps(video() | {"box_format": "xywh"}).encode()))
    ((_, found),) = read_boxes(path)
    assert found.boxes.tolist() == [[10, 20, 60, 100]]


def test_a_store_takes_all_or_nothing(tmp_path: Path) -> None:
    with graphs.GraphStore(tmp_path / "s.lmdb", "a") as store:
        for content in (document(), of_object(box=[5, 5, 1, 1])):
            path = write(tmp_path / "boxes.json", content)
            if content == document():
                store.put_many((name, graphs.flat_graph(made)) for name, made in graphs.read_boxes(path))
            else:
                with pytest.raises(ValueError, match="boxes must be"):
                    store.put_many((name, graphs.flat_graph(made)) for name, made in graphs.read_boxes(path))
            assert list(store) == ["kitchen", "street", "yard"]
        assert store.get("kitchen").track.tolist() == [-1, 1, 1]


REFUSED: list[tuple[Any, str]] = [
    ("", "cannot be read as JSON: Expecting value"),
    ("[" * 100_000, "cannot be read as JSON: maximum recursion"),
    (
        '{"format": "video-boxes/1", "videos": {"v": {"frames": [[{"box": [1, 2, 3, 4], "box": [1, 2, 3, 4]}]]}}}',
        r"'videos', 'v', 'frames'\[0\]\[0\]: the key \"box\" is given twice in one object",
    ),
    ('{"format": 1, "format": 2}', ': the key "format" is given twice in one object'),
    ([], r": must be an object, got \[\]"),
    ({"videos": {}}, ": the key 'format' is missing; its keys are 'videos'"),
    (document(format="coco"), ": 'format': must be 'video-boxes/1'"),
    (document(box_format="ltrb"), ": 'box_format': must be one of xyxy, xywh, cxcywh, got 'ltrb'"),
    (document(classes=["dog", "dog"]), ": 'classes': a name is given twice"),
    (document(clases=[]), ": the key \"clases\" is not known: the keys are format, .*; did you mean 'classes'"),
    (video(size=[1, 2]), ": 'videos', 'v': the key \"size\" is not known: the keys are frames, width, height, num_fr"),
    (document(videos={"a\nb": 7}), r": 'videos', 'a\\nb': must be an object, got 7$"),
    (document(videos={"a\nb": {"frames": [[DOG]]}}), r"give size=.*; video 'a\\nb'$"),
    (video(width=0), ": 'videos', 'v', 'width': must be a whole number, 1 or more, got 0"),
    (document(videos={"v": {"width": 3, "frames": []}}), ": 'videos', 'v': width and height belong together"),
    (document(videos={"v": {"frames": [[DOG]]}}), r"give size=\(height, width\) in pixels, or features, .*; video 'v'"),
    (video(frames=[]), ": num_frames must be at least 1, got 0; video 'v'"),
    (video(num_frames=1.5), "'num_frames': must be a whole number, 1 or more, got 1.5"),
    (video(frames=[[], [DOG]], num_frames=1), "detections of frame 1 are given, but the video has num_frames=1, .*'v'"),
    (video(frames={"01": []}), "'frames', '01': the key must be the number of a frame, counted from 0, as '12'"),
    (video(frames={"-1": []}), "'frames', '-1': the key must be the number of a frame"),
    (video(frames=[DOG]), r"'frames'\[0\]: must be a list, got an object of 4 keys"),
    (of_object(box=[1, 2, 3]), r"'v', 'frames'\[1\]\[1\], 'box': must be a list of 4 numbers, got \[1, 2, 3\]"),
    (of_object(box=[1, 2, 3, "4"]), r"'box'\[3\]: must be a finite number, got \"4\""),
    (of_object(box=[1, 2, True, 4]), r"'box'\[2\]: must be a finite number, got true"),
    (of_object(box=[80, 20, 40, 90]), r"x2 >= x1 .*, got \[80.*\]; .*\(1 of 2 .*box_format='xywh'"),
    (of_object(score=float("nan")), "'score': must be a finite number, got NaN: leave the value out where"),
    (of_object(score=10**400), r"'score': must be a finite number, got a number that is too large"),
    (of_object(lable=1), r"\[1\]\[1\]: the key \"lable\" is not known: the keys are box, class, score, track, feature"),
    (of_object(**{"class": "cat"}), "'class': 'cat' is none of the classes; those of this file are person, dog"),
    (of_object(**{"class": 3}), r"'class': must lie in 0..2, the places in 'classes', got 3"),
    (of_object(track=1), "tracks holds 1 twice: .*; video 'v' frame 1 row 1"),
    (of_object(track=-2), "'track': must be a whole number, -1 or more, got -2"),
    (video(frames=[[DOG, {"box": [1, 1, 2, 2]}]]), "'frames': give a score to all objects of the file, or to none: "),
    (of_object(feature=[1.0]), "'frames': give a feature of one length to all .*: those of video 'v' frame 1 and of"),
    (document(videos={"a": {"frames": []}, "b": {"width": 1, "height": 1, "frames": []}}), "give width and height to"),
    (video(frames={"1000000000000": [DOG]}), "at most 1048576 frames, got 1000000000001 .*; video 'v'"),
    (video(num_frames=10**12), r"at most 1048576 frames, got 1000000000000 \(num_frames=1000000000000\)"),
    (
        video(frames=[[DOG | {"box": [30, 10, 60, 40]}]]) | {"box_format": "xywh"},
        r"as such they leave the picture of 64 x 48, as \[30.0, 10.0, 60.0, 40.0\] does, .*box_format='xyxy'",
    ),
    (video(fps=-2), "fps must be a number of frames a second, 0 where not known, got -2.0; video 'v'"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), REFUSED)
def test_what_does_not_fit(content: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "mine.json", content)
    with pytest.raises(ValueError, match=message) as caught:
        read_boxes(path)
    assert str(caught.value).startswith(str(path))


def test_features_of_ones_own(tmp_path: Path) -> None:
    """A video without objects has none of their width, so that all go into one store."""
    made = video(frames=[[DOG | {"feature": [1, 2]}], []])
    made["videos"]["empty"] = {"width": 4, "height": 4, "num_frames": 2, "frames": []}
    (_, found), (_, empty) = read_boxes(write(tmp_path / "mine.json", made))
    assert found.objects.tolist() == [[1, 2]]
    assert empty.objects.shape == (0, 2)
    made["videos"]["other"] = {"width": 4, "height": 4, "frames": [[DOG | {"feature": [1, 2, 3]}]]}
    with pytest.raises(
        ValueError, match=r"'other', 'frames': give a feature of one length to all .* 'v' frame 0 and of"
    ):
        read_boxes(write(tmp_path / "mine.json", made))


def test_files_that_are_no_text(tmp_path: Path) -> None:
    for name, content in (("a.json", b"\xff{}"), ("a.json.gz", b"{}"), ("b.json.gz", gzip.compress(b"{}")[:-9])):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name} cannot be read as JSON: "):
            read_boxes(path)
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        read_boxes(tmp_path / "none.json")
