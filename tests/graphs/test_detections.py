"""Detections of other libraries become the same VideoFeatures; what does not fit is refused in words."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import graphs
from graphs import VideoFeatures

BOXES = [[[10.0, 20, 30, 60], [0, 0, 64, 48]], [], [[5, 5, 15, 25]]]
SCORES, LABELS, TRACKS = [[0.9, 0.25], [], [0.5]], [[3, 1], [], [3]], [[7, -1], [], [7]]
SIZE = (48, 64)


@dataclass
class Supervised:
    """The fields of supervision.Detections that matter, and one that does not."""

    xyxy: np.ndarray
    confidence: np.ndarray | None = None
    class_id: np.ndarray | None = None
    tracker_id: np.ndarray | None = None
    mask: None = None

    def __iter__(self) -> Iterator[Any]:
        return iter([(box, None, None) for box in self.xyxy])


def rows(values: list[Any]) -> np.ndarray:
    return np.array(values, np.float32).reshape(-1, 4)


MAKERS: dict[str, Callable[[int], Any]] = {
    "supervision": lambda t: Supervised(
        rows(BOXES[t]), np.array(SCORES[t], np.float32), np.array(LABELS[t], int), np.array(TRACKS[t], int)
    ),
    "ultralytics": lambda t: SimpleNamespace(
        xyxy=torch.from_numpy(rows(BOXES[t])), conf=torch.tensor(SCORES[t]), cls=torch.tensor(LABELS[t]).float(),
        id=torch.tensor(TRACKS[t]).float(),
    ),
    "torchvision": lambda t: {
        "boxes": torch.from_numpy(rows(BOXES[t])).requires_grad_(), "labels": torch.tensor(LABELS[t]).long(),
        "scores": torch.tensor(SCORES[t]), "tracks": torch.tensor(TRACKS[t]), "masks": None,
    },
    "lists": lambda t: {"boxes": BOXES[t], "labels": LABELS[t], "scores": SCORES[t], "tracks": TRACKS[t]},
    "rows": lambda t: {
        "boxes": list(rows(BOXES[t])), "labels": [torch.tensor(v) for v in LABELS[t]],
        "scores": np.array(SCORES[t]), "tracks": np.array(TRACKS[t], np.uint64 if t == 2 else np.int32),
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_of_detections_gives_the_same(kind: str) -> None:
    items = [MAKERS[kind](t) for t in range(3)]
    found = VideoFeatures.from_detections(items, size=SIZE, video="a", num_classes=4, fps=25.0)
    assert found.boxes.tolist() == [*BOXES[0], *BOXES[2]]
    assert found.frame.tolist() == [0, 0, 2]
    assert (found.num_frames, found.size, found.video, found.fps) == (3, SIZE, "a", 25.0)
    assert found.scores is not None
    assert found.scores.tolist() == [pytest.approx(0.9), 0.25, 0.5]
    assert found.label is not None
    assert found.label.tolist() == [3, 1, 3]
    assert found.track is not None
    assert found.track.tolist() == [7, -1, 7]
    # Centre and extent as shares of 64 x 48, score, class.
    expected = torch.tensor(
        [
            [20 / 64, 40 / 48, 20 / 64, 40 / 48, 0.9, 0, 0, 0, 1],
            [0.5, 0.5, 1, 1, 0.25, 0, 1, 0, 0],
            [10 / 64, 15 / 48, 10 / 64, 20 / 48, 0.5, 0, 0, 0, 1],
        ]
    )
    torch.testing.assert_close(found.objects, expected)


def test_plain_boxes_and_frames_by_number() -> None:
    boxes = {5: rows(BOXES[2]), 2: torch.from_numpy(rows(BOXES[0])), 3: None, 4: np.array([])}
    found = VideoFeatures.from_detections(boxes, size=SIZE, num_frames=9)
    assert found.frame.tolist() == [2, 2, 5]
    assert found.num_frames == 9
    assert (found.scores, found.label, found.track) == (None, None, None)
    assert found.objects[:, 4].tolist() == [1, 1, 1]
    assert VideoFeatures.from_detections(boxes, size=SIZE).num_frames == 6
    nothing = VideoFeatures.from_detections([None, []], size=SIZE, num_classes=2)
    assert (nothing.num_frames, nothing.num_objects, nothing.objects.shape) == (2, 0, (0, 7))


def test_classes_and_tracks_may_be_known_in_some_frames() -> None:
    frames = [
        Supervised(rows(BOXES[0]), class_id=np.array([2, 3])),
        Supervised(rows(BOXES[2]), tracker_id=np.array([4])),
    ]
    found = VideoFeatures.from_detections(frames, size=SIZE)
    assert found.label is not None
    assert found.label.tolist() == [2, 3, 0]
    assert found.track is not None
    assert found.track.tolist() == [-1, -1, 4]


def test_features_of_ones_own() -> None:
    frames = [BOXES[0], [], BOXES[2]]
    vectors = [torch.arange(6.0).view(2, 3), None, np.full((1, 3), 9.0)]
    found = VideoFeatures.from_detections(frames, features=vectors)
    assert found.objects.tolist() == [[0, 1, 2], [3, 4, 5], [9, 9, 9]]
    both = VideoFeatures.from_detections(frames, features={0: vectors[0], 2: vectors[2]}, with_boxes=True, size=SIZE)
    assert torch.equal(both.objects[:, :3], found.objects)
    assert torch.equal(both.objects[:, 3:], graphs.box_features(both.boxes, SIZE))
    assert VideoFeatures.from_detections([None], features=[np.zeros((0, 4))]).objects.shape == (0, 4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.tuples(*[st.integers(0, 500)] * 4), max_size=3), min_size=1, max_size=4))
def test_formats_of_boxes_agree(frames: list[list[tuple[int, ...]]]) -> None:
    """Boxes as corner and extent, or centre and extent, are those as corners."""
    corners = [[[x, y, x + 2 * w, y + 2 * h] for x, y, w, h in boxes] for boxes in frames]
    extents = [[[x, y, 2 * w, 2 * h] for x, y, w, h in boxes] for boxes in frames]
    centres = [[[x + w, y + h, 2 * w, 2 * h] for x, y, w, h in boxes] for boxes in frames]
    expected = VideoFeatures.from_detections(corners, size=(1, 1)).boxes
    for box_format, boxes in (("xywh", extents), ("cxcywh", centres)):
        assert torch.equal(VideoFeatures.from_detections(boxes, size=(1, 1), box_format=box_format).boxes, expected)


def test_a_store_takes_them_in_one_line(tmp_path: Any) -> None:
    videos = [VideoFeatures.from_detections([MAKERS["lists"](t) for t in range(3)], size=SIZE, video=v) for v in "ab"]
    with graphs.GraphStore(tmp_path / "s.lmdb", "a", features_dtype="float32") as store:
        store.put_many((features.video, graphs.flat_graph(features)) for features in videos)
        assert torch.equal(store.get("b").x, videos[1].objects)
        assert store.get("a").track.tolist() == [7, -1, 7]


class OneFrame(list[Any]):
    """As the ``Results`` of ultralytics, which are not one item a frame though they have items."""

    boxes = None


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    (
        [[[80.0, 5, 64, 9], [3, 4, 9, 9]]],
        {},
        r"boxes must be \(x1, y1, x2, y2\) with x2 >= x1 .*, got \[80.0, 5.0, 64.0, 9.0\]; video 'v' frame 0 "
        r"box 0 \(1 of 2 boxes are so; if they are \(x, y, width, height\): box_format='xywh'\)",
    ),
    ([[], [[0, 0, 1, 1], [3, 4, -2, 9]]], {}, r"got \[3.0, 4.0, -2.0, 9.0\]; video 'v' frame 1 box 1$"),
    ([[[3, 4, -2, 9]]], {"box_format": "xywh"}, r"upper left corner, with width >= 0 .*, got \[3.0, 4.0, -2.0, 9"),
    ([[[3, 4, 2, 9]]], {"box_format": "xyxx"}, "box_format must be one of xyxy, xywh, cxcywh, got 'xyxx'"),
    ([[[0.1, 0.2, 0.5, 0.9]]], {}, r"in pixels of a picture of 64 x 48, but all numbers lie in -1..1"),
    ([[[0, 0, float("nan"), 1]]], {}, r"boxes must be finite, got \[0.0, 0.0, nan, 1.0\]; video 'v' frame 0 box 0"),
    ([[0.0, 1, 2, 3]], {}, r"boxes must have shape \[n 4\], got \[4\]; video 'v' frame 0"),
    ([[[0, 1, 2], [1, 2]]], {}, "boxes must be numbers in rows of one length: .*; video 'v' frame 0"),
    ([[["a", 1, 2, 3]]], {}, "boxes must be numbers in rows of one length: .*; video 'v' frame 0"),
    ({"boxes": [[0, 0, 5, 5]]}, {}, "must be a list of one item a frame, or .*, got the key 'boxes'; video 'v'"),
    ({-1: []}, {}, "got the key -1"),
    (Supervised(rows(BOXES[0])), {}, "detections must be one item a frame, in a list, got one Supervised; video 'v'"),
    ({3: [[0, 0, 5, 5]]}, {"num_frames": 3}, "detections of frame 3 are given, but the video has num_frames=3"),
    ([], {}, "num_frames must be at least 1, got 0"),
    ([7], {}, "the detections of a frame must have xyxy .*, got int; video 'v' frame 0"),
    ([{"bbox": [1], "score": 2}], {}, r"detections must hold boxes or xyxy \[n 4\], got the keys bbox, score; video"),
    ([{"boxes": BOXES[0], "scores": [1]}], {}, r"scores must have shape \[2\], one a box, got \[1\]; video"),
    ([{"boxes": BOXES[0], "labels": [1, 2.5]}], {}, "labels must hold whole numbers, got 2.5; video 'v' frame 0 row 1"),
    ([{"boxes": BOXES[2], "tracks": [float("inf")]}], {}, "tracks must hold whole numbers, got inf; video 'v' frame 0"),
    ([{"boxes": BOXES[0], "tracks": [4, 4]}], {}, "tracks holds 4 twice: .*; video 'v' frame 0 row 1$"),
    ([[], {"boxes": BOXES[0], "tracks": [4, -2]}], {}, "tracks must be 0 or more, or -1 .*, got -2; video"),
    ([Supervised(rows(BOXES[0]), class_id=np.array([1]))], {}, r"class_id must have shape \[2\], one a box"),
    ([Supervised(rows(BOXES[0]), class_id=np.array([1, 0.5]))], {}, "class_id must hold whole numbers, got 0.5"),
    ([Supervised(rows(BOXES[0]), tracker_id=np.array([4, 4]))], {}, "tracker_id holds 4 twice"),
    (
        [Supervised(rows(BOXES[0]), tracker_id=np.array([2**63 - 1, 2**63 + 5], np.uint64))],
        {},
        r"tracker_id must hold whole numbers below 2\*\*63, got 9223372036854775813; video 'v' frame 0 row 1",
    ),
    ([Supervised(rows(BOXES[2]), np.array([np.nan]))], {}, "confidence must be finite, got nan; .* frame 0 row 0"),
    ([{"boxes": BOXES[2], "labels": ["cat"]}], {}, "labels must be numbers .*: got the text 'cat', give each"),
    ([[{"box": 1, "label": "cat"}]], {}, "must be one dict, of arrays, got a list of 1 dicts, one an object"),
    (OneFrame(), {}, "detections must be one item a frame, in a list, got one OneFrame; video 'v'"),
    ({10**12: BOXES[0]}, {}, r"at most 1048576 frames, got 1000000000001 \(frame 1000000000000 is the"),
    ([], {"num_frames": 2**20 + 1}, r"at most 1048576 frames, got 1048577 \(num_frames=1048577\)"),
    ([{"boxes": BOXES[0], "labels": [1, -2]}], {}, "labels must be 0 or more, got -2; video 'v' frame 0 row 1"),
    ([{"boxes": BOXES[0], "labels": [1, 9]}], {"num_classes": 9}, r"classes must lie in 0..8 \(num_classes=9\), got 9"),
    ([{"boxes": BOXES[2], "scores": [1]}, BOXES[2]], {}, "scores must be given in all frames .*: frame 1"),
    ([BOXES[0]], {"size": None}, r"give size=\(height, width\) in pixels, or features, one \[n D\] a frame; video 'v'"),
    ([BOXES[0]], {"size": (0, 5)}, r"size must be \(height, width\) in pixels, both at least 1, got \(0, 5\)"),
    ([BOXES[0]], {"features": [None]}, "must be given for all objects: there are 2 boxes, no features; video 'v'"),
    ([BOXES[0]], {"features": [[[1.0]]]}, r"features must have shape \[2 D\], one row a box, got \[1, 1\]; vid"),
    ([BOXES[2]] * 2, {"features": [[[1.0]], [[1.0, 2]]]}, "must all have one width: 1, then 2; video 'v' frame 1"),
    ([None], {"features": [None]}, "no frame has features, so that their width is not known"),
]  # fmt: skip


def test_results_of_ultralytics_are_taken_whole() -> None:
    """A frame's ``Results`` and their ``boxes`` give the same."""
    boxes = [MAKERS["ultralytics"](t) for t in range(3)]
    results = [SimpleNamespace(boxes=held, masks=None, names={0: "person"}) for held in boxes]
    expected, found = (VideoFeatures.from_detections(items, size=SIZE) for items in (boxes, results))
    assert torch.equal(found.objects, expected.objects)
    assert found.track.tolist() == expected.track.tolist() == [7, -1, 7]


@pytest.mark.parametrize("box_format", ["xywh", "cxcywh"])
def test_corners_given_as_another_format_are_noticed_by_the_picture(box_format: str) -> None:
    corners, options = [[[5.0, 5, 20, 20]], [[30.0, 20, 60, 40]]], {"size": SIZE, "box_format": box_format}
    with pytest.raises(ValueError, match=r"leave the picture of 64 x 48, as \[.*0.0\] does, and as corners .* all"):
        VideoFeatures.from_detections(corners, video="v", **options)
    # One box that is none as corners, or lies outside as corners too: it is what it is said to be.
    for other in ([30.0, 20, 10, 10], [30.0, 20, 65, 40]):
        found = VideoFeatures.from_detections([*corners, [other]], **options)
        assert found.num_objects == 3
    # What leaves the picture by little is as detectors have it.
    VideoFeatures.from_detections([[[10.0, 5, 60, 40]]], size=SIZE, box_format="xywh")
    # Without a size nothing is known.
    VideoFeatures.from_detections(corners, box_format=box_format, features=[[[1.0]]] * 2)


@pytest.mark.parametrize(("detections", "options", "message"), REFUSED)
def test_what_does_not_fit(detections: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VideoFeatures.from_detections(detections, **({"size": SIZE, "video": "v"} | options))
