"""The geometry of edges against a loop over edges in float64, and what must not change it."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.export import Dim, export
from torch_geometric.data import Batch, Data

from graphs import (
    CONTACT_GEOMETRY,
    RELATIVE_GEOMETRY,
    GraphStore,
    LinkTracks,
    RelativeGeometry,
    SelectVariant,
    STGConv,
    VideoFeatures,
    build_graph,
    contact_geometry,
    relative_geometry,
)
from tests.graphs.graph_reference import iou, make_video, videos


def soft_sign(value: float) -> float:
    return math.copysign(1.0, value) if math.isinf(value) else value / (1 + abs(value))


def share(value: float, unit: float) -> float:
    return value / unit if unit else math.copysign(math.inf, value) if value else 0.0


def log_ratio(a: float, b: float) -> float:
    if a == b:
        return 0.0
    return 4.0 if b == 0 else -4.0 if a == 0 else max(-4.0, min(4.0, math.log(a / b)))


def slow_velocity(i: int, centre: list[list[float]], size: list[list[float]], data: Data) -> list[float]:
    frame, track = data.frame.tolist(), data.track.tolist()
    own = sorted((frame[k], k) for k in range(len(frame)) if track[k] == track[i] >= 0)
    if not own:
        return [0.0, 0.0]
    at = own.index((frame[i], i))
    (t0, a), (t1, b) = own[max(at - 1, 0)], own[min(at + 1, len(own) - 1)]
    return [soft_sign(share((centre[b][k] - centre[a][k]) / max(t1 - t0, 1), size[i][k])) for k in (0, 1)]


def slow_geometry(data: Data) -> list[list[float]]:
    """The columns of the docstring, edge by edge, for one video."""
    corners, frame = data.boxes.tolist(), data.frame.tolist()
    centre = [[(x1 + x2) / 2, (y1 + y2) / 2] for x1, y1, x2, y2 in corners]
    size = [[x2 - x1, y2 - y1] for x1, y1, x2, y2 in corners]
    speed = [slow_velocity(i, centre, size, data) for i in range(len(frame))]
    return [
        [
            *(soft_sign(share(centre[j][k] - centre[i][k], size[i][k])) for k in (0, 1)),
            *(log_ratio(size[j][k], size[i][k]) for k in (0, 1)),
            1.0 if i == j else iou(corners[j], corners[i]),
            float((frame[j] > frame[i]) - (frame[j] < frame[i])),
            soft_sign(abs(frame[j] - frame[i])),
            *(speed[j][k] - speed[i][k] for k in (0, 1)),
        ]
        for j, i in data.edge_index.T.tolist()
    ]


def graph(video: VideoFeatures, seed: int = 0) -> Data:
    """With tracks: some found, some not known; and edges between any two objects."""
    data = LinkTracks(min_iou=0.0, patience=1)(build_graph(video))
    unknown = torch.rand(video.num_objects, generator=torch.Generator().manual_seed(seed)) < 0.2
    data.track = torch.where(unknown, -1, data.track)
    n = video.num_objects
    data.edge_index = torch.stack([torch.arange(n).repeat(n), torch.arange(n).repeat_interleave(n)])
    data.edge_weight, data.edge_type = torch.ones(n * n), torch.zeros(n * n, dtype=torch.int64)
    return data


@settings(max_examples=25, deadline=None)
@given(members=st.lists(videos(), min_size=1, max_size=3), seed=st.integers(0, 10**6))
def test_any_edges_equal_the_loop_video_by_video(members: list[VideoFeatures], seed: int) -> None:
    data = [graph(video, seed + i) for i, video in enumerate(members)]
    expected = [row for one in data for row in slow_geometry(one)]
    batch = Batch.from_data_list(data)
    found = relative_geometry(batch.edge_index, batch.boxes, batch.frame, batch.batch, batch.track)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64).view(-1, 9), rtol=0, atol=1e-12)


def test_a_walk_by_hand() -> None:
    """A box 10 wide and 20 high goes right by 10, then by 30 in two frames; the other stands, as large as a picture."""
    boxes = torch.tensor([[0.0, 0, 10, 20], [0, 0, 40, 20], [10, 0, 20, 20], [40, 0, 50, 20]])
    frame, track = torch.tensor([0, 0, 1, 3]), torch.tensor([4, 9, 4, 4])
    index = torch.tensor([[0, 2, 1, 0, 3], [1, 0, 0, 0, 2]])
    found = relative_geometry(index, boxes, frame, track=track)
    assert len(RELATIVE_GEOMETRY) == found.size(1)
    column = dict(zip(RELATIVE_GEOMETRY, found.T.tolist(), strict=True))
    assert column["dx"] == pytest.approx([-15 / 55, 1 / 2, 15 / 25, 0, 3 / 4])
    assert column["dy"] == [0] * 5
    assert column["width"] == pytest.approx([-math.log(4), 0, math.log(4), 0, 0])
    assert column["iou"] == pytest.approx([1 / 4, 0, 1 / 4, 1, 0])
    assert column["later"] == [0, 1, 0, 0, 1]
    assert column["apart"] == pytest.approx([0, 1 / 2, 0, 0, 2 / 3])
    # 1, 40 / 3 / 10 and 3 / 2 widths a frame.
    first, second, third = 1 / 2, 4 / 7, 3 / 5
    assert column["velocity_x"] == pytest.approx([first, second - first, -first, 0, third - second])
    assert column["velocity_y"] == [0] * 5
    assert relative_geometry(index, boxes, frame)[:, 7:].count_nonzero() == 0


def test_the_ends_of_a_track_are_ends_where_nothing_else_is_near() -> None:
    """One track in each of two videos, of the same number, the second later; each video alone, and together."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10], [50, 0, 60, 10], [80, 0, 90, 10]])
    frame, video, track = torch.tensor([0, 1, 2, 3]), torch.tensor([0, 0, 1, 1]), torch.zeros(4, dtype=torch.int64)
    index = torch.tensor([[0, 0, 1, 1], [2, 3, 2, 3]])
    expected = [[1 / 2 - 3 / 4, 0]] * 4
    assert relative_geometry(index, boxes, frame, video, track)[:, 7:].tolist() == expected
    # Of one track: 1, 5 / 2, 7 / 2, 3 widths a frame.
    found = relative_geometry(index, boxes, frame, None, track)[:, 7]
    assert found.tolist() == pytest.approx([1 / 2 - 7 / 9, 1 / 2 - 3 / 4, 5 / 7 - 7 / 9, 5 / 7 - 3 / 4])


def test_neither_scale_nor_place_of_the_picture_counts() -> None:
    data = graph(make_video([3, 2, 3, 0, 2]))
    expected = relative_geometry(data.edge_index, data.boxes, data.frame, track=data.track)
    moved = relative_geometry(data.edge_index, 1e-3 * data.boxes + 7, data.frame, track=data.track)
    torch.testing.assert_close(moved, expected, rtol=0, atol=1e-9)
    assert relative_geometry(data.edge_index, data.boxes.half(), data.frame).dtype == torch.float32


def test_the_transform_writes_what_a_layer_reads_and_a_store_keeps(tmp_path: Path) -> None:
    video = make_video([2, 3, 2], dtype=torch.float32)
    data = RelativeGeometry()(LinkTracks(min_iou=0.0)(SelectVariant("full", "both")(build_graph(video))))
    assert torch.equal(data.edge_attr, relative_geometry(data.edge_index, data.boxes, data.frame, track=data.track))
    assert data.edge_attr[:, 7:].count_nonzero() > 0
    assert STGConv(6, edge_dim=9)(data.x, data.edge_index, data.edge_weight, data.edge_attr).isfinite().all()
    with GraphStore(tmp_path / "s.lmdb", "a", features_dtype="float32") as store:
        store.put(video.video, data)
        assert torch.equal(store.get(video.video).edge_attr, data.edge_attr)
    batch = Batch.from_data_list([data, data])
    del batch.edge_attr
    assert torch.equal(RelativeGeometry()(batch).edge_attr, data.edge_attr.repeat(2, 1))
    assert repr(RelativeGeometry()) == "RelativeGeometry()"


@pytest.mark.usefixtures("open_shapes")
def test_words_for_what_cannot_be() -> None:
    data = build_graph(make_video([2, 1]))
    index, boxes, frame = data.edge_index, data.boxes, data.frame
    for arguments, words in (
        ((index, boxes, frame, None, frame[:2]), r"track must have shape \[3\], one number a box, got \[2\]"),
        ((index, boxes, frame, frame[:1]), r"batch must have shape \[3\], one number a box, got \[1\]"),
        ((index + 1, boxes, frame), "edge_index names node 3, but there are 3 boxes, numbered from 0"),
        ((index - 1, boxes, frame), "edge_index names node -1, but there are 3 boxes"),
    ):
        with pytest.raises(ValueError, match=words):
            relative_geometry(*arguments)
    with pytest.raises(ValueError, match="RelativeGeometry reads edge_index, which the data has not: build"):
        RelativeGeometry()(Data(boxes=boxes, frame=frame))


def slow_contact(data: Data, width: float) -> list[list[float]]:
    """The columns of the docstring, edge by edge, for one video."""
    corners = data.boxes.tolist()
    rows = []
    for j, i in data.edge_index.T.tolist():
        a, b = corners[j], corners[i]
        way = [(a[k] + a[k + 2] - b[k] - b[k + 2]) / 2 for k in (0, 1)]
        between = [max(0.0, b[k] - a[k + 2], a[k] - b[k + 2]) for k in (0, 1)]
        sides = [max(1.0, b[k + 2] - b[k]) for k in (0, 1)]
        shared = [max(0.0, min(a[k + 2], b[k + 2]) - max(a[k], b[k])) for k in (0, 1)]
        lengths = [*way, math.hypot(*way), math.hypot(*between)]
        scaled = [*(10 * length / width for length in lengths), *(way[k] / sides[k] for k in (0, 1))]
        rows.append([*map(math.asinh, scaled), shared[0] * shared[1] / (sides[0] * sides[1])])
    return rows


@settings(max_examples=25, deadline=None)
@given(members=st.lists(videos(), min_size=1, max_size=3))
def test_contacts_of_any_edges_equal_the_loop_video_by_video(members: list[VideoFeatures]) -> None:
    data = [graph(video) for video in members]
    batch = Batch.from_data_list(data)
    sizes = torch.tensor([[40, 50 + 7 * video] for video in range(len(data))])
    expected = [row for video, one in enumerate(data) for row in slow_contact(one, 50 + 7 * video)]
    found = contact_geometry(batch.edge_index, batch.boxes, sizes, batch.batch)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64).view(-1, 7), rtol=0, atol=1e-12)
    one = contact_geometry(data[0].edge_index, data[0].boxes, (40, 50))
    assert torch.equal(one, found[: len(one)])


def test_contacts_by_hand() -> None:
    """In a picture 100 wide, a cup of 10 by 20 lies 30 right of a hand of 10 by 10, and the hand covers half a ball."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [30, 0, 40, 20], [5, 0, 15, 10]])
    found = contact_geometry(torch.tensor([[1, 0], [0, 2]]), boxes, (80, 100))
    column = dict(zip(CONTACT_GEOMETRY, found.T.tolist(), strict=True))
    assert [math.sinh(value) for value in column["right"]] == pytest.approx([3, -0.5])
    assert [math.sinh(value) for value in column["down"]] == pytest.approx([0.5, 0])
    assert [math.sinh(value) for value in column["distance"]] == pytest.approx([math.hypot(3, 0.5), 0.5])
    assert [math.sinh(value) for value in column["gap"]] == pytest.approx([2, 0])
    assert [math.sinh(value) for value in column["boxes_right"]] == pytest.approx([3, -0.5])
    assert column["inside"] == pytest.approx([0, 0.5])


@pytest.mark.usefixtures("open_shapes")
def test_words_for_contacts_that_cannot_be() -> None:
    data = Batch.from_data_list([build_graph(make_video([2, 1])), build_graph(make_video([1]))])
    index, boxes = data.edge_index, data.boxes
    for arguments, words in (
        ((index, boxes, (0, 50)), r"size must be \(height, width\) in pixels, both at least 1, got \[\[0, 50\]\]"),
        ((index, boxes, torch.ones(3, 3)), r"size must be \[B 2\], .* got \[3, 3\]"),
        ((index, boxes, torch.ones(2, 2), data.batch + 1), "a row for each of 3 videos, or one for all, got 2"),
        ((index + 1, boxes, (40, 50)), "edge_index names node 4, but there are 4 boxes"),
    ):
        with pytest.raises(ValueError, match=words):
            contact_geometry(*arguments)


class Geometry(torch.nn.Module):
    def forward(self, edge_index: Tensor, boxes: Tensor, frame: Tensor, batch: Tensor, track: Tensor) -> Tensor:
        return relative_geometry(edge_index, boxes, frame, batch, track)


@pytest.mark.usefixtures("open_shapes")
def test_it_can_be_exported_for_any_nodes_and_edges() -> None:
    def parts(*counts: list[int]) -> tuple[Tensor, ...]:
        data = Batch.from_data_list([graph(make_video(count, seed=i), i) for i, count in enumerate(counts)])
        return data.edge_index, data.boxes, data.frame, data.batch, data.track

    nodes = {0: Dim("nodes")}
    exported = export(Geometry(), parts([2, 3, 0], [1, 2]), dynamic_shapes=({1: Dim("edges")}, *[nodes] * 4)).module()
    for other in (parts([4]), parts([0, 2], [1], [5, 5])):
        torch.testing.assert_close(exported(*other), relative_geometry(*other), rtol=0, atol=1e-12)
