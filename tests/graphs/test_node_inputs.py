"""First states of the nodes against loops over objects in float64; what is missing is named."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.export import Dim, export
from torch_geometric.data import Batch, Data

from graphs import FlatBatch, GraphStore, NodeInputs, VideoFeatures, box_geometry, box_motion, build_graph
from tests.graphs.graph_reference import make_video


def graph(counts: list[int], seed: int = 0, size: tuple[int, int] | None = (90, 160)) -> Data:
    made, generator = make_video(counts, seed=seed), torch.Generator().manual_seed(seed)
    n = made.num_objects
    more = {
        "scores": torch.rand(n, generator=generator, dtype=torch.float64),
        "label": torch.randint(7, (n,), generator=generator),
        # by place in the frame; the third of a frame has none
        "track": torch.tensor([place if place < 2 else -1 for count in counts for place in range(count)]).long(),
    }
    return build_graph(
        VideoFeatures(made.boxes, made.objects, made.frame, made.num_frames, size=size, video=made.video, **more)
    )


def slow_geometry(data: Data) -> list[list[float]]:
    """The same, object by object, for one video."""
    corners, frames = data.boxes.tolist(), data.num_frames
    if "size" in data:
        height, width = data["size"][0].tolist()
    else:
        width, height = (max([corner[at] for corner in corners], default=0) for at in (2, 3))
    rows = []
    for (x1, y1, x2, y2), t in zip(corners, data.frame.tolist(), strict=True):
        shares = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
        time = 2 * t / (frames - 1) - 1 if frames > 1 else 0.0
        rows.append([*(2 * share - 1 for share in shares), time])
    return rows


def slow_motion(data: Data) -> Tensor:
    """From the box before to the one after in each track, object by object, for one video."""
    corners, frames, tracks = data.boxes, data.frame.tolist(), data.track.tolist()
    width = data["size"][0, 1] if "size" in data else max(corners[:, 2].tolist(), default=0)
    rows = []
    for i, (t, track) in enumerate(zip(frames, tracks, strict=True)):
        along = [j for j, other in enumerate(tracks) if other == track >= 0]
        before = max((j for j in along if frames[j] < t), key=frames.__getitem__, default=i)
        after = min((j for j in along if frames[j] > t), key=frames.__getitem__, default=i)
        way = (corners[after, :2] + corners[after, 2:] - corners[before, :2] - corners[before, 2:]) / 2
        rows.append((30 * way / width / max(frames[after] - frames[before], 1)).asinh())
    return torch.stack(rows) if rows else torch.zeros(0, 2, dtype=torch.float64)


def slow_states(layer: NodeInputs, data: Data) -> Tensor:
    """The formula of the docstring, object by object."""
    rows, motion = [], slow_motion(data)
    for i, g in enumerate(slow_geometry(data)):
        state = torch.zeros(layer.channels, dtype=torch.float64)
        if layer.project is not None:
            state = state + layer.project.weight @ data.x[i]
        if layer.box == "sinusoidal":
            angles = [v * math.pi / 2 * 2**k for v in g for k in range(6)]
            g = [*map(math.sin, angles), *map(math.cos, angles)]
        if layer.place is not None:
            state = state + layer.place.weight @ torch.tensor(g, dtype=torch.float64) + layer.place.bias
        if layer.kind is not None:
            state = state + layer.kind.weight[int(data.label[i])]
        if layer.confidence is not None:
            state = state + data.scores[i] * layer.confidence.weight[:, 0]
        if layer.motion is not None:
            state = state + layer.motion.weight @ motion[i]
        rows.append(state)
    return torch.stack(rows) if rows else torch.zeros(0, layer.channels, dtype=torch.float64)


@pytest.mark.parametrize("size", [(90, 160), None])
@pytest.mark.parametrize("options", [{}, {"box": "linear", "motion": True}, {"box": "sinusoidal", "appearance": False}])
def test_states_equal_the_formula_video_by_video(options: dict[str, Any], size: tuple[int, int] | None) -> None:
    torch.manual_seed(0)
    layer = NodeInputs(6, 4, classes=7, score=True, **options).double()
    members = [graph(counts, i, size) for i, counts in enumerate([[3, 2, 3], [3], [0, 0], [2, 0, 1, 2]])]
    if size is not None:
        members[3]["size"] = torch.tensor([[200, 80]])
    expected = torch.cat([slow_states(layer, data) for data in members])
    assert torch.allclose(layer(Batch.from_data_list(members)), expected, rtol=0, atol=1e-12)
    assert torch.allclose(layer(members[3]), expected[-5:], rtol=0, atol=1e-12)


def test_geometry_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 0, 0], [160, 90, 160, 90], [0, 0, 160, 90], [40, 0, 120, 45]])
    frame = torch.tensor([0, 1, 4, 4])
    expected = [[-1, -1, -1, -1, -1], [1, 1, -1, -1, -0.5], [0, 0, 1, 1, 1], [0, -0.5, 0, 0, 1]]
    assert box_geometry(boxes, frame, 5, (90, 160)).tolist() == expected
    assert box_geometry(boxes, frame, 5).tolist() == expected  # the largest corner is that of the picture
    assert box_geometry(boxes[:1], frame[:1], 1).tolist() == [[-1, -1, -1, -1, 0]]
    assert box_geometry(boxes[:0], frame[:0], torch.tensor([3, 2])).shape == (0, 5)


def test_motion_by_hand() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [50, 0, 60, 10], [40, 20, 50, 30], [80, 0, 90, 40], [90, 90, 99, 99]])
    moved = box_motion(boxes, torch.tensor([0, 0, 2, 3, 3]), 4, torch.tensor([0, 1, 0, 0, -1]), (50, 100))
    # Of track 0: 40 to the right in two frames, then 80 right and 15 down in three; then 40 right, 5 up in one.
    v = torch.tensor([[0.2, 0.1], [0, 0], [0.8 / 3, 0.05], [0.4, -0.05], [0, 0]])
    torch.testing.assert_close(moved, (30 * v).asinh())


def test_appearance_can_be_left_out() -> None:
    data = graph([2, 1])
    layer = NodeInputs(6, 4, classes=7, appearance=False).double()
    found = layer(data)
    data.x = data.x * 5 + 1
    assert torch.equal(layer(data), found)
    assert torch.equal(found, layer.kind.weight[data.label])


def test_without_options_it_is_the_projection_of_the_paper() -> None:
    torch.manual_seed(0)
    layer, data = NodeInputs(6, 4).double(), graph([2, 1])
    assert [name for name, _ in layer.named_parameters()] == ["project.weight"]
    assert torch.equal(layer(data), data.x @ layer.project.weight.T)
    assert torch.equal(layer(FlatBatch(x=data.x)), layer(data.x))


def test_a_lazy_layer_and_weights_drawn_anew() -> None:
    data = graph([2, 1])
    torch.manual_seed(1)
    layer = NodeInputs(-1, 4, box="sinusoidal", classes=7, score=True).double()
    assert layer(data).shape == (3, 4)
    before = [weight.clone() for weight in layer.parameters()]
    layer.reset_parameters()
    assert all(not torch.equal(old, new) for old, new in zip(before, layer.parameters(), strict=True))
    assert repr(layer) == "NodeInputs(-1, 4, box='sinusoidal', classes=7, score=True, motion=False, appearance=True)"


def test_fields_come_from_a_store_and_the_confidence_of_the_class_serves_where_there_is_no_other(
    tmp_path: object,
) -> None:
    data = graph([2, 1])
    layer = NodeInputs(6, 4, box="linear", classes=7, score=True)
    with GraphStore(f"{tmp_path}/s.lmdb", "a", features_dtype="float32") as store:
        store.put("made-0", data)
        stored = store.flat_batch(["made-0", "made-0"])
    expected = layer(stored)
    assert expected.shape == (6, 4)
    stored.label_score = stored.scores
    del stored.scores
    assert torch.equal(layer(stored), expected)


def test_words_for_what_cannot_be() -> None:
    data = graph([2, 1])
    with pytest.raises(ValueError, match="box must be None or one of linear, sinusoidal, got 'sine'"):
        NodeInputs(6, 4, box="sine")
    with pytest.raises(ValueError, match=r"classes must be 0 \(the class is not read\) or their number, got -1"):
        NodeInputs(6, 4, classes=-1)
    with pytest.raises(ValueError, match=r"x has width 6, but the layer was built with in_channels=5"):
        NodeInputs(5, 4)(data)
    with pytest.raises(ValueError, match="the graph comes alone: leave out boxes"):
        NodeInputs(6, 4)(data, data.boxes)
    with pytest.raises(ValueError, match="the graph has no x"):
        NodeInputs(6, 4)(FlatBatch(boxes=data.boxes))
    with pytest.raises(ValueError, match="box='linear' reads boxes, frame and num_frames"):
        NodeInputs(6, 4, box="linear")(data.x.float())
    highest = int(data.label.max())
    with pytest.raises(ValueError, match=rf"label must lie in 0..{highest - 1} .classes={highest}., got {highest} for"):
        NodeInputs(6, 4, classes=highest).double()(data)
    with pytest.raises(ValueError, match=r"classes=7 reads label \[N\], .* or build with classes=0"):
        NodeInputs(6, 4, classes=7).double()(data.x)
    with pytest.raises(ValueError, match="appearance=False leaves nothing to read"):
        NodeInputs(6, 4, appearance=False)
    with pytest.raises(ValueError, match=r"motion=True reads boxes, .* or build with motion=False"):
        NodeInputs(6, 4, motion=True).double()(data.x, data.boxes, data.frame, 2)
    with pytest.raises(ValueError, match=r"score=True reads scores \[N\], .* or build with score=False"):
        NodeInputs(6, 4, score=True).double()(data.x)
    for size, words in (
        (torch.ones(3, 2, dtype=torch.int64), r"size must be \[1 2\], .* got \[3, 2\]"),
        ((90, 0), r"both at least 1, got \[90, 0\] for video 0"),
    ):
        with pytest.raises(ValueError, match=words):
            box_geometry(data.boxes, data.frame, 2, size)


@pytest.mark.usefixtures("open_shapes")
def test_an_exported_layer_takes_any_nodes_and_videos() -> None:
    layer = NodeInputs(6, 4, box="sinusoidal", classes=7, score=True).double().eval()

    def parts(*counts: list[int]) -> tuple[Tensor, ...]:
        data = Batch.from_data_list([graph(count, i) for i, count in enumerate(counts)])
        return data.x, data.boxes, data.frame, data.num_frames, data["size"], data.batch, data.label, data.scores

    nodes, videos = {0: Dim("nodes")}, {0: Dim("videos")}
    shapes = (nodes, nodes, nodes, videos, videos, nodes, nodes, nodes)
    exported = export(layer, parts([2, 3, 0], [1, 2]), dynamic_shapes=shapes).module()
    for other in (parts([4]), parts([0, 2], [1], [5, 5])):
        assert torch.allclose(exported(*other), layer(*other), rtol=0, atol=1e-12)
