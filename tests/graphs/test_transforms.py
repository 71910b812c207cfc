"""build_graph and the transforms it is made of."""

import copy
from typing import Any

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import Compose

from graphs.build import build_graph
from graphs.edges import EDGE_TYPES
from graphs.features import VideoFeatures
from graphs.transforms import DenseEdges, SelectVariant, SpatialEdges, TemporalEdges
from graphs.variants import TIME_FLOWS, VARIANTS, select_edges
from tests.graphs.graph_reference import dense, make_video, matrix

OPTIONS: list[dict[str, Any]] = [
    {},
    {"tau_space": 0.3, "tau_time": 2.0},
    {"top_k": 2},
    {"iou_threshold": 0.1},
]


def nodes(video: VideoFeatures) -> Data:
    return Data(x=video.objects, boxes=video.boxes, frame=video.frame, num_frames=video.num_frames)


@pytest.mark.parametrize("options", OPTIONS)
def test_build_graph_is_the_matrix_of_equation_3(options: dict[str, Any]) -> None:
    video = make_video([2, 3, 0, 4, 1])
    data = build_graph(video, **options)
    expected = matrix(video, **options)
    assert torch.allclose(dense(data.edge_index, data.edge_weight, 10), expected, atol=1e-12)
    spatial = data.edge_type == EDGE_TYPES["spatial"]
    found = dense(data.edge_index[:, spatial], data.edge_weight[spatial], 10)
    assert torch.allclose(found, matrix(video, "spatial", **options), atol=1e-12)
    assert bool((data.edge_index[1].diff() >= 0).all())


def test_everything_goes_along() -> None:
    video = VideoFeatures(
        boxes=torch.zeros(2, 4),
        objects=torch.ones(2, 3),
        frame=torch.tensor([0, 1]),
        num_frames=3,
        scores=torch.tensor([0.5, 0.6]),
        scene=torch.zeros(3, 2),
        motion=torch.ones(1, 4),
        motion_row=torch.tensor([0, 0, 0]),
        frame_number=torch.tensor([5, 15, 25]),
        size=(240, 320),
        video="-4wsuPCjDBc_5_15",
    )
    data = build_graph(video)
    for name in ("scores", "scene", "motion", "motion_row", "frame_number"):
        assert torch.equal(data[name], getattr(video, name))
    assert data["size"].tolist() == [[240, 320]]
    assert data.video == video.video
    assert "scene" not in build_graph(make_video([1]))


def test_batching_leaves_the_frames_alone() -> None:
    members = [build_graph(make_video(counts, seed=i)) for i, counts in enumerate([[2, 1], [0, 0, 0], [1, 0, 2]])]
    batch = Batch.from_data_list(members)
    assert batch.frame.tolist() == [0, 0, 1, 0, 2, 2]
    assert batch.num_frames.tolist() == [2, 3, 3]
    assert batch.ptr.tolist() == [0, 3, 3, 6]
    assert batch.video == ["made-0", "made-1", "made-2"]
    for found, member in zip(batch.to_data_list(), members, strict=True):
        assert torch.equal(found.edge_index, member.edge_index)
        assert torch.equal(found.edge_weight, member.edge_weight)


@pytest.mark.parametrize("options", OPTIONS)
def test_transforms_compose_to_the_full_graph(options: dict[str, Any]) -> None:
    video = make_video([2, 3, 0, 4, 1])
    space = SpatialEdges(options.get("tau_space", 1.0), options.get("top_k"), options.get("iou_threshold"))
    time = TemporalEdges(options.get("tau_time", 1.0), options.get("top_k"))
    full = build_graph(video, **options)
    for steps in ([space, time], [time, space], [space, time, space]):
        data = Compose(steps)(nodes(video))
        for name in ("edge_index", "edge_weight", "edge_type"):
            assert torch.equal(data[name], full[name])


@pytest.mark.parametrize("time_flow", TIME_FLOWS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_selecting_before_or_after_batching_is_the_same(variant: str, time_flow: str) -> None:
    members = [build_graph(make_video(counts, seed=i)) for i, counts in enumerate([[2, 1], [0, 0], [1, 0, 2, 2]])]
    select = SelectVariant(variant, time_flow)
    before = Batch.from_data_list([select(member) for member in members])
    full = Batch.from_data_list(members)
    index, weight, _ = select_edges(full, variant, time_flow)
    n = full.num_nodes
    assert torch.equal(dense(before.edge_index, before.edge_weight, n), dense(index, weight, n))
    after = select(copy.copy(full))
    assert torch.equal(after.edge_index, index)
    names = ("frame", "batch", "track", "edge_index", "edge_weight", "edge_type")
    flat = Data(**{name: full[name] for name in names})
    assert torch.equal(select(flat).edge_index, index)


def test_transforms_know_the_videos_of_a_batch() -> None:
    members = [nodes(make_video(counts, seed=i)) for i, counts in enumerate([[2, 1], [0, 0, 2, 1]])]
    edges = Compose([SpatialEdges(), TemporalEdges()])
    together = edges(Batch.from_data_list(members))
    apart = Batch.from_data_list([edges(member) for member in members])
    assert torch.equal(together.edge_index, apart.edge_index)
    assert torch.allclose(together.edge_weight, apart.edge_weight)


def test_dense_edges_take_the_place_of_all_others() -> None:
    video = make_video([2, 1, 3])
    for data in (nodes(video), build_graph(video)):
        data = DenseEdges()(data)
        assert torch.equal(dense(data.edge_index, data.edge_weight, 6), matrix(video, "dense"))
        assert set(data.edge_type.tolist()) == {-1}


def test_the_data_given_stays_as_it_is() -> None:
    data = build_graph(make_video([2, 3]))
    keep = data.edge_index.clone(), data.edge_weight.clone(), data.edge_type.clone()
    for transform in (SelectVariant("temporal", "both"), SpatialEdges(top_k=1), TemporalEdges(), DenseEdges()):
        transform(data)
        for value, before in zip((data.edge_index, data.edge_weight, data.edge_type), keep, strict=True):
            assert torch.equal(value, before)


def test_a_loader_takes_them() -> None:
    transform = Compose([SpatialEdges(), TemporalEdges(), SelectVariant("full", "forward")])
    videos = [make_video([2, 1, 2], seed=seed) for seed in range(4)]
    loader = DataLoader([transform(nodes(video)) for video in videos], batch_size=4)
    (batch,) = loader
    expected = torch.block_diag(*(matrix(video, "full", "forward") for video in videos))
    assert torch.allclose(dense(batch.edge_index, batch.edge_weight, 20), expected, atol=1e-12)


def test_words_for_what_cannot_be() -> None:
    data = nodes(make_video([2]))
    data.edge_index = torch.tensor([[0], [1]])
    with pytest.raises(ValueError, match="data has edges without edge_type"):
        SpatialEdges()(data)
    with pytest.raises(ValueError, match=r"variant must be one of .*, got 'all'"):
        SelectVariant("all")
    with pytest.raises(ValueError, match=r"time_flow must be one of .*, got 'back'"):
        SelectVariant("full", "back")


def test_names_show_the_options() -> None:
    steps = Compose([SpatialEdges(top_k=3), TemporalEdges(0.5), DenseEdges(), SelectVariant("full")])
    for part in ("SpatialEdges(tau=1.0, top_k=3", "TemporalEdges(tau=0.5", "DenseEdges()", "SelectVariant('full'"):
        assert part in repr(steps)
