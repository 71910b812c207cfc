"""COCO-VID files: frames in the order of their numbers, boxes as corners, and the words for what cannot be."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch

import graphs
from graphs.readers.coco_vid import read_coco_vid

FILE: dict[str, Any] = {
    "info": {"year": 2026},
    "categories": [{"id": 1, "name": "dog"}, {"id": 3, "name": "cat"}],
    "videos": [{"id": 7, "name": "b", "width": 64, "height": 48}, {"id": 2, "name": "a", "is_train": True}],
    "images": [
        {"id": 12, "video_id": 7, "frame_id": 9, "file_name": "b/9.jpg"},
        {"id": 11, "video_id": 7, "frame_id": 4},
        {"id": 10, "video_id": 7, "frame_id": 1},
        {"id": 20, "video_id": 2, "frame_id": 0, "width": 32, "height": 24},
    ],
    "annotations": [
        {"id": 1, "image_id": 12, "category_id": 3, "bbox": [5, 6, 7, 8], "instance_id": 4, "iscrowd": 0},
        {"id": 2, "image_id": 10, "category_id": 1, "bbox": [0.5, 0, 2, 3], "track_id": 4, "video_id": 7},
        {"id": 3, "image_id": 10, "category_id": 1, "bbox": [0, 0, 64, 48]},
    ],
}


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def changed(part: str, row: int, **changes: Any) -> dict[str, Any]:
    """The file with other members of one item; those that are None are taken out."""
    made = deepcopy(FILE)
    made[part][row] = {key: value for key, value in (made[part][row] | changes).items() if value is not None}
    return made


def test_the_videos_of_a_file(tmp_path: Path) -> None:
    (first, b), (second, a) = read_coco_vid(write(tmp_path / "vid.json", FILE))
    assert (first, second) == ("b", "a")
    assert b.boxes.tolist() == [[0.5, 0, 2.5, 3], [0, 0, 64, 48], [5, 6, 12, 14]]
    assert b.frame.tolist() == [0, 0, 2]
    assert b.frame_number is not None
    assert b.frame_number.tolist() == [1, 4, 9]
    assert b.label is not None
    assert b.label.tolist() == [1, 1, 3]
    assert b.track is not None
    assert b.track.tolist() == [4, -1, 4]
    assert (b.scores, b.size) == (None, (48, 64))
    torch.testing.assert_close(b.objects[1], torch.tensor([0.5, 0.5, 1, 1, 1, 0, 1, 0, 0]))
    assert (a.num_frames, a.num_objects, a.size, a.objects.shape) == (1, 0, (24, 32), (0, 9))


def test_frames_may_be_numbered_as_in_tao(tmp_path: Path) -> None:
    images = [{"frame_index": image["frame_id"], **image} for image in FILE["images"]]
    for image in images:
        del image["frame_id"]
    (_, found), _ = read_coco_vid(write(tmp_path / "vid.json", FILE | {"images": images}))
    assert found.frame_number.tolist() == [1, 4, 9]
    assert found.frame.tolist() == [0, 0, 2]


def test_scores_and_classes_of_ones_own(tmp_path: Path) -> None:
    made = deepcopy(FILE)
    for row, entry in enumerate(made["annotations"]):
        entry["score"] = row / 4
    path = write(tmp_path / "vid.json", made)
    ((_, b), _) = read_coco_vid(path, num_classes=5)
    assert b.scores is not None
    assert b.scores.tolist() == [0.25, 0.5, 0]
    assert b.objects.shape == (3, 10)
    with graphs.GraphStore(tmp_path / "s.lmdb", "a") as store:  # one video has no objects, and no scores of its own
        store.put_many((video, graphs.flat_graph(made)) for video, made in graphs.read_coco_vid(path))
        assert store.get("a").scores.shape == (0,)


def test_a_store_takes_them_in_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "vid.json", FILE)
    with graphs.GraphStore(tmp_path / "s.lmdb", "a") as store:
        store.put_many((video, graphs.flat_graph(made)) for video, made in graphs.read_coco_vid(path))
        assert store.keys() == ["a", "b"]
        assert store.get("b").frame_number.tolist() == [1, 4, 9]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"videos": [], "images": []}, "the key 'annotations' is missing; its keys are 'videos', 'images'"),
        (FILE | {"videos": {}}, "'videos': must be a list, got an object of 0 keys"),
        (changed("videos", 1, id=7), r"'videos'\[1\]: the id 7 is given to a video before"),
        (changed("videos", 1, name="b"), r"'videos'\[1\]: the name 'b' is given to a video before"),
        (changed("videos", 0, width=None), "video 'b' has no width and height, neither in 'videos' nor in 'images'"),
        (changed("images", 3, video_id=7, width=64, height=48), "video 'a' has no images: remove it from 'videos'"),
        (changed("images", 1, frame_id=None), r"'images'\[1\]: the key 'frame_id' is missing"),
        (changed("images", 1, frame_id=-1), r"'images'\[1\], 'frame_id': must be a whole number, 0 or more, got -1"),
        (changed("images", 1, frame_id=9), r"'images'\[1\]: video 'b' has an image with frame_id 9 before"),
        (changed("images", 1, id=12), r"'images'\[1\]: the id 12 is given to an image before"),
        (changed("images", 1, video_id=3), r"'images'\[1\]: video_id 3 is none of the videos"),
        (changed("images", 1, width=9, height=9), r"\[1\]: its height and width \(9, 9\) differ from \(48, 64\)"),
        (changed("annotations", 1, image_id=13), r"'annotations'\[1\]: image_id 13 is none of the images"),
        (changed("annotations", 1, bbox=[1, 2, -3, 4]), r"'bbox': must be x, y, width, height .*, got \[1.0, 2.0, -3"),
        (changed("annotations", 1, bbox=[1, 2, 3]), r"'bbox': must be a list of 4 numbers, .*, got \[1, 2, 3\]"),
        (changed("annotations", 1, bbox=None, bboxes=[None]), "it has bboxes, as YouTube-VIS: convert it to COCO-VID"),
        (changed("annotations", 2, track_id=4), "tracks holds 4 twice: .*; video 'b' frame 0 row 1"),
        (
            FILE | {"annotations": [FILE["annotations"][2] | {"bbox": [30, 10, 60, 40]}]},
            r"as such they leave the picture of 64 x 48, .* corners \(x1, y1, x2, y2\) all lie in it: .*convert them",
        ),
        (changed("annotations", 2, score=0.5), "'annotations': give a score to all annotations, or to none"),
        (changed("annotations", 2, category_id=4), r"classes must lie in 0..3 \(num_classes=4\), got 4; video 'b'"),
        (changed("categories", 1, id=10**9), "'categories': an id must be below 10000, .*, got 1000000000"),
    ],
)
def test_what_does_not_fit(content: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "vid.json", content)
    with pytest.raises(ValueError, match=message) as caught:
        read_coco_vid(path)
    assert str(caught.value).startswith(str(path))
