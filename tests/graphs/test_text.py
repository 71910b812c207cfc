"""A graph in words: the right words and numbers on made scenes, bounds, and what is refused."""

import json
from typing import Any

import pytest
import torch
from torch_geometric.data import Batch, Data

from graphs import FlatBatch, VideoFeatures, build_graph, flat_graph, link_tracks, to_text
from tests.graphs.made_graphs import made_graph

LEFT, RIGHT = [20.0, 40.0, 40.0, 60.0], [120.0, 40.0, 160.0, 80.0]


def scene(boxes: list[list[tuple[int, list[float]]]], **fields: Any) -> VideoFeatures:
    """A video of 200 x 100 pixels from each frame's (track, box)."""
    rows = [(frame, track, box) for frame, found in enumerate(boxes) for track, box in found]
    return VideoFeatures(
        boxes=torch.tensor([box for *_, box in rows]).reshape(-1, 4),
        objects=torch.ones(len(rows), 3),
        frame=torch.tensor([frame for frame, *_ in rows], dtype=torch.int64),
        num_frames=len(boxes),
        size=(100, 200),
        track=torch.tensor([track for _, track, _ in rows], dtype=torch.int64),
        **fields,
    )


def moved(box: list[float], right: float, down: float = 0.0) -> list[float]:
    return [box[0] + right, box[1] + down, box[2] + right, box[3] + down]


def arriving() -> VideoFeatures:
    """A box of 20 pixels goes 40 to the right, then 70 into the place of a larger one that stands still."""
    return scene(
        [[(7, moved(LEFT, step)), (3, RIGHT)] for step in (0.0, 40.0, 110.0)],
        label=torch.tensor([2, 5] * 3),
        scores=torch.tensor([0.5, 1.0] * 3),
        fps=10.0,
        frame_number=torch.tensor([0, 5, 20]),
        total_frames=30,
        video="street",
    )


def lines(data: Data | FlatBatch, **options: Any) -> list[str]:
    return to_text(data, **options).splitlines()


def records(data: Data | FlatBatch, **options: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(data, format="jsonl", **options)]


def test_the_text_of_a_small_scene() -> None:
    found = lines(build_graph(arriving()), names={2: "ball"})
    assert found[0] == (
        "Video street: 3 frames from 0.00 s to 2.00 s, picture (width x height) 200 x 100 pixels, 2 tracks."
    )
    # Of two that are always there the larger is the first.
    assert found[2:] == [
        "A: class 5, score 1.00, seen in 3 of 3 frames; still",
        "A places: 0.00 s right (0.70, 0.60; 0.20 x 0.40), 0.50 s right (0.70, 0.60; 0.20 x 0.40), "
        "2.00 s right (0.70, 0.60; 0.20 x 0.40)",
        "B: ball, score 0.50, seen in 3 of 3 frames; moves right 0.55 from 0.00 s to 2.00 s, on a way of 0.55, at most "
        "0.55 from its start",
        "B places: 0.00 s left (0.15, 0.50; 0.10 x 0.20), 0.50 s centre (0.35, 0.50; 0.10 x 0.20), "
        "2.00 s right (0.70, 0.50; 0.10 x 0.20)",
        "A to B: 0.00 s right of, apart (gap 0.40), approaching; 0.50 s right of, apart (gap 0.20), approaching; "
        "2.00 s below, around, approaching; least gap 0.00 at 2.00 s",
    ] or found[-1].startswith(
        "A to B: 0.00 s to 0.50 s right of, apart (gap 0.40 to 0.20), approaching; 2.00 s below, around"
    )


def test_json_lines_hold_the_same_numbers_whatever_holds_the_graph() -> None:
    video, larger, smaller, pair = found = records(build_graph(arriving()), precision=3)
    assert found == records(flat_graph(arriving()), precision=3)
    assert (video["type"], video["size"], video["tracks"], video["tracks_from"]) == ("video", [100, 200], 2, "graph")
    assert (larger["track"], smaller["track"]) == (3, 7)
    assert smaller["boxes"][1] == [0.35, 0.5, 0.1, 0.2]
    assert smaller["motion"]["right"] == 0.55
    assert [run["gap"] for run in pair["runs"]] == [[0.4, 0.2], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("other", "side", "contact"),
    [
        ([22.0, 42.0, 38.0, 58.0], "at the place of", "around"),
        ([10.0, 30.0, 60.0, 80.0], "above and left of", "inside"),
        ([30.0, 40.0, 50.0, 60.0], "left of", "overlapping"),
        ([20.0, 61.0, 40.0, 81.0], "above", "touching"),
        ([20.0, 79.0, 40.0, 99.0], "above", "near"),
        # 20 pixels each way are .14 of the width.
        ([60.0, 0.0, 80.0, 20.0], "below and left of", "apart"),
        # Half as far to the side as down counts, less does not.
        ([32.0, 62.0, 52.0, 82.0], "above and left of", "near"),
        ([30.0, 62.0, 50.0, 82.0], "above", "near"),
    ],
)
def test_how_two_boxes_lie_to_each_other(other: list[float], side: str, contact: str) -> None:
    features = scene([[(0, LEFT), (1, other)], [(0, LEFT)]])
    (pair,) = [record for record in records(build_graph(features)) if record["type"] == "pair"]
    assert [(run["side"], run["contact"], run["change"]) for run in pair["runs"]] == [(side, contact, "steady")]


def test_what_changes_is_said_of_the_time_until_the_next() -> None:
    # 3 pixels of 200 are below what counts, 5 are not.
    steps = (0.0, 3.0, -2.0, -2.0, 50.0)
    found = records(build_graph(scene([[(0, moved(LEFT, step)), (1, RIGHT)] for step in steps])))
    assert [(run["from"], run["to"], run["change"]) for run in found[-1]["runs"]] == [
        (0, 0, "steady"), (1, 1, "moving away"), (2, 2, "steady"), (3, 4, "approaching"),
    ]  # fmt: skip
    assert found[-1]["nearest"] == {"gap": 0.15, "at": 4}


def test_a_track_that_comes_back_and_one_that_is_lost() -> None:
    frames = [[(0, moved(LEFT, 0, step))] for step in (0.0, 30.0, 0.0)]
    found = lines(build_graph(scene([*frames, []])))
    assert found[2] == (
        "A: object, seen in 3 of 4 frames; moves and comes back from frame 0 to frame 2, on a way of 0.30, at most "
        "0.15 from its start"
    )
    assert found[3].count("frame") == 3
    # At the last of three times nobody is there.
    assert [place is None for place in records(build_graph(scene([*frames, []])), frames=2)[1]["boxes"]] == [
        False,
        True,
    ]


def test_the_number_of_lines_is_bounded() -> None:
    box = [0.0, 0.0, 10.0, 10.0]
    frames = [[(track, moved(box, 15 * track, time)) for track in range(12)] for time in range(30)]
    data = build_graph(scene(frames))
    for tracks in (1, 5, 12):
        found = lines(data, tracks=tracks, frames=4)
        assert len(found) == 2 + (tracks < 12) + 2 * tracks + tracks * (tracks - 1) // 2
    assert records(data, frames=4)[0]["times"] == [0, 10, 19, 29]
    assert records(data)[0]["shown"] == 8
    assert records(data, tracks=30)[-1]["to"] == "L"


def test_tracks_are_linked_where_there_are_none_or_not() -> None:
    data = build_graph(scene([[(0, moved(LEFT, step)), (1, RIGHT)] for step in (0.0, 5.0, 10.0)]))
    del data.track
    linked = lines(data)
    assert "2 tracks, joined from frame to frame by overlap and appearance." in linked[0]
    given = data.clone()
    given.track = link_tracks(data.boxes, data.x, data.frame)
    assert lines(given)[2:] == linked[2:]
    video, *rest = records(data, link=False)
    assert (video["tracks"], video["tracks_from"]) == (6, "objects")
    assert {record["seen"] for record in rest if record["type"] == "track"} == {"1 of 3"}
    # As an object whose track is not known.
    data.track = torch.full((6,), -1)
    assert records(data)[1:] == rest


def test_weights_of_edges_are_means_by_type_and_direction() -> None:
    data = build_graph(scene([[(0, LEFT), (1, RIGHT)]] * 2))
    data.edge_index = torch.tensor([[0, 1, 3, 2, 3], [1, 0, 2, 0, 1]])
    data.edge_weight = torch.tensor([0.25, 0.5, 0.75, 1.0, 0.5])
    data.edge_type = torch.tensor([0, 0, 0, 1, 1])
    # RIGHT is the larger, so A is track 1.
    _, right, left, pair = records(data, weights=True, precision=3)
    # What A gathers from B, then what B gathers from A: nodes 1 and 3 are A.
    assert pair["edges"] == {"spatial": [0.25, 0.625], "temporal": [None, None]}
    assert (right["edges"], left["edges"]) == (
        {"spatial": None, "temporal": 0.5}, {"spatial": None, "temporal": 1.0},
    )  # fmt: skip
    found = lines(data, weights=True, precision=3)
    assert found[-1].endswith("; spatial edges 0.250 from B to A; spatial edges 0.625 from A to B")
    assert found[2].endswith("still; temporal edges along it 0.500")
    del data.edge_weight
    with pytest.raises(ValueError, match="weights=True reads edge_weight, which the graph has not"):
        to_text(data, weights=True)


def test_an_empty_video_and_a_picture_of_unknown_size() -> None:
    assert lines(build_graph(scene([[], []])))[-1] == "No object is seen."
    data = build_graph(scene([[(0, LEFT), (1, RIGHT)]]))
    del data["size"]
    assert "picture (width x height) 160 x 80 (as far as boxes reach)" in lines(data)[0]
    assert to_text(Data(boxes=data.boxes, frame=data.frame, track=data.track)).splitlines()[2:] == lines(data)[2:]


def test_the_same_graph_gives_the_same_text() -> None:
    data = made_graph([3, 0, 4, 2])
    data.boxes = torch.cat([data.boxes[:, :2], data.boxes[:, :2] + 2], 1)
    assert to_text(data) == to_text(data.clone())


def test_what_is_refused() -> None:
    data = build_graph(arriving())
    with pytest.raises(ValueError, match="the graph of one video, got a batch of several"):
        to_text(Batch.from_data_list([data, data]))
    with pytest.raises(ValueError, match="the graph has no boxes"):
        to_text(Data(frame=data.frame))
    with pytest.raises(ValueError, match="format must be one of text, jsonl, got 'xml'"):
        to_text(data, format="xml")
    for option, value in (("frames", 0), ("tracks", 0), ("precision", -1), ("precision", 10)):
        with pytest.raises(ValueError, match=f"{option} must .*, got {value}"):
            to_text(data, **{option: value})
    for name, wrong, match in (
        ("track", data.track[1:], "track must have 6 rows, one a box, got 5"),
        ("track", torch.zeros_like(data.track), "track 0 is more than once in frame 0"),
        ("num_frames", 2, r"frame must lie in 0\.\.1 \(num_frames - 1\), got 0\.\.2"),
        ("boxes", data.boxes * torch.inf, "boxes must be finite"),
        ("boxes", data.boxes[:4], r"boxes must have shape \[6, 4\]"),
    ):
        broken = data.clone()
        broken[name] = wrong
        with pytest.raises(ValueError, match=match):
            to_text(broken)
