"""Sharpened weights are those of edges drawn with that temperature; what they are by a loop over rows."""

import math

import pytest
import torch
from torch import Tensor
from torch.export import Dim, export
from torch_geometric.data import Batch, Data

from graphs import (
    EDGE_TYPES,
    GraphStore,
    LearnedTemperature,
    SharpenEdges,
    STGEncoder,
    TrackEdges,
    VideoFeatures,
    build_graph,
    select_edges,
    sharpen_edges,
)
from graphs.sharpen import Tau
from tests.graphs.graph_reference import dense, make_video, matrix

COUNTS = ([2, 3, 0, 1, 2], [4], [5, 5, 5], [0, 1])


@pytest.mark.parametrize("top_k", [None, 1, 2])
@pytest.mark.parametrize("tau", [(0.1, 0.05), (3.0, 0.3), (1.0, 1.0)])
@pytest.mark.parametrize("counts", COUNTS)
def test_edges_equal_those_drawn_from_boxes(counts: list[int], tau: tuple[float, float], top_k: int | None) -> None:
    video = make_video(counts)
    data, drawn = build_graph(video), build_graph(video, tau_space=tau[0], tau_time=tau[1], top_k=top_k)
    named = {"spatial": tau[0], "temporal": tau[1]}
    found = SharpenEdges(named, top_k)(data.clone())
    for name in ("edge_index", "edge_type"):
        assert torch.equal(found[name], drawn[name])
    torch.testing.assert_close(found.edge_weight, drawn.edge_weight, rtol=0, atol=1e-12)
    reference = matrix(video, tau_space=tau[0], tau_time=tau[1], top_k=top_k)
    torch.testing.assert_close(
        dense(found.edge_index, found.edge_weight, video.num_objects), reference, rtol=0, atol=1e-12
    )
    *_, kept = sharpen_edges(
        data.edge_index, data.edge_weight, video.num_objects, data.edge_type, tau=named, top_k=top_k
    )
    assert torch.equal(data.edge_index[:, kept], drawn.edge_index)


def slow_weights(index: Tensor, weight: list[float], kind: list[int], tau: dict[int, float]) -> list[float]:
    """Row by row: powers, and what they sum to."""
    target = index[1].tolist()
    powers = [w ** (1 / tau[k]) if k in tau else w for w, k in zip(weight, kind, strict=True)]
    rows = [(t, k) for t, k in zip(target, kind, strict=True)]
    total = {row: sum(p for p, other in zip(powers, rows, strict=True) if other == row) for row in rows}
    return [p / (total[row] or 1.0) if row[1] in tau else p for p, row in zip(powers, rows, strict=True)]


def test_any_weights_equal_the_loop_over_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(6, (2, 60), generator=generator)
    weight = torch.rand(60, generator=generator, dtype=torch.float64)
    weight[::7] = 0
    kind = torch.tensor([0, 1, 255, -1])[torch.randint(4, (60,), generator=generator)]
    weight[(index[1] == 2) & (kind == 1)] = 0  # nothing to share out
    for tau, numbers in (
        ({"temporal": 0.2, "track": 2.0}, {1: 0.2, 255: 2.0}),
        (0.5, {0: 0.5, 1: 0.5, 255: 0.5, -1: 0.5}),
    ):
        found = sharpen_edges(index, weight, 6, kind, tau=tau)  # type: ignore[arg-type]
        expected = slow_weights(index, weight.tolist(), kind.tolist(), numbers)
        torch.testing.assert_close(found[1], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-14)
        assert torch.equal(found[3], torch.arange(60))
    alone = sharpen_edges(index, weight, 6, tau=0.5)
    assert alone[2] is None
    expected = slow_weights(index, weight.tolist(), [0] * 60, {0: 0.5})
    torch.testing.assert_close(alone[1], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-14)


def test_temperatures_are_learned() -> None:
    data = build_graph(make_video([3, 2, 3]))
    goal = build_graph(make_video([3, 2, 3]), tau_space=0.25, tau_time=0.25).edge_weight
    weight = data.edge_weight.clone()
    weight[0] = 0
    log_tau = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def sharp(weight: Tensor, log_space: Tensor, log_time: Tensor) -> Tensor:
        tau = {"spatial": log_space.exp(), "temporal": log_time.exp()}
        return sharpen_edges(data.edge_index, weight, 8, data.edge_type, tau=tau)[1]

    other = torch.full((), -0.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: sharp(weight, a, b), (log_tau, other))
    assert torch.autograd.gradcheck(lambda w: sharp(w, log_tau, other), (data.edge_weight.clone().requires_grad_(),))
    optimiser = torch.optim.Adam([log_tau], lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        (sharp(data.edge_weight, log_tau, log_tau) - goal).square().sum().backward()
        optimiser.step()
    assert float(log_tau.detach().exp()) == pytest.approx(0.25, abs=1e-3)


def test_one_store_serves_all_temperatures_and_fields_by_edge_go_along(tmp_path: object) -> None:
    video = make_video([3, 3, 3], dtype=torch.float32)
    data = build_graph(video)
    data.track = torch.tensor([0, 1, 2] * 3)
    with GraphStore(f"{tmp_path}/s.lmdb", "a", features_dtype="float32") as store:
        store.put(video.video, TrackEdges()(data.clone()))
        stored = store.get(video.video)
    before = stored.clone()
    sharp = SharpenEdges({"spatial": 0.1, "temporal": 0.1}, top_k=1)(stored)
    drawn = build_graph(video, tau_space=0.1, tau_time=0.1, top_k=1)
    for kind in (0, 1):
        index, weight = (part[..., sharp.edge_type == kind] for part in (sharp.edge_index, sharp.edge_weight))
        assert torch.equal(index, drawn.edge_index[:, drawn.edge_type == kind])
        torch.testing.assert_close(weight, drawn.edge_weight[drawn.edge_type == kind], rtol=0, atol=1e-5)
    source, target = sharp.edge_index
    assert torch.equal(sharp.edge_attr[:, 0], (sharp.frame[source] - sharp.frame[target]).sign().float())
    tracks = EDGE_TYPES["track"]  # not named: as they were
    assert torch.equal(sharp.edge_weight[sharp.edge_type == tracks], before.edge_weight[before.edge_type == tracks])
    assert select_edges(sharp, "temporal", "both")[0].size(1) == 2 * int((sharp.edge_type == 1).sum())


def test_ties_fall_as_when_edges_are_drawn() -> None:
    """Two detections with one box, and two successors alike: the loop stays, else the lower number."""
    boxes = torch.tensor([[0.0, 0, 4, 4]] * 4, dtype=torch.float64)
    video = VideoFeatures(boxes, torch.ones(4, 2, dtype=torch.float64), torch.tensor([0, 0, 1, 1]), 2)
    found = SharpenEdges(top_k=1)(build_graph(video))
    assert found.edge_index.tolist() == [[0, 2, 1, 2, 2, 3], [0, 0, 1, 1, 2, 3]]
    assert torch.equal(found.edge_index, build_graph(video, top_k=1).edge_index)


def test_small_weights_do_not_vanish() -> None:
    weight = torch.tensor([1e-30, 1e-31, 1.0])
    index = torch.tensor([[0, 1, 2], [0, 0, 1]])
    found = sharpen_edges(index, weight, 3, tau=0.1)[1]
    assert found.tolist() == pytest.approx([1, 1e-10, 1], rel=1e-3)


@pytest.mark.usefixtures("open_shapes")
def test_words_for_what_cannot_be() -> None:
    data = build_graph(make_video([2, 1]))
    index, weight, kind = data.edge_index, data.edge_weight, data.edge_type
    for arguments, options, words in (
        ((index, weight, 3), {"tau": {"spatial": 0.1}}, "tau by kind needs edge_type: give it, or one tau"),
        ((index, weight, 3, kind), {"tau": {"spacial": 0.1}}, "of spatial, temporal, track; got 'spacial'"),
        ((index, weight, 3, kind), {"tau": {"spatial": 0.0}}, "tau of spatial must be above 0, got 0.0"),
        ((index, weight, 3), {"tau": torch.tensor(-2.0, requires_grad=True)}, "tau must be above 0, got -2.0"),
        ((index, weight, 3), {"tau": math.nan}, "tau must be above 0, got nan"),
        ((index, weight, 3), {"top_k": 0}, "top_k must be at least 1, or None for all edges, got 0"),
        ((index, weight - 1, 3), {}, "edge_weight must be 0 or more, as a softmax gives it, got -"),
    ):
        with pytest.raises(ValueError, match=words):
            sharpen_edges(*arguments, **options)
    with pytest.raises(ValueError, match="tau of temporal must be above 0, got -1"):
        SharpenEdges({"temporal": -1.0})
    assert repr(SharpenEdges(0.5, 3)) == "SharpenEdges(tau=0.5, top_k=3)"


class Sharp(torch.nn.Module):
    def __init__(self, tau: dict[str, Tau]) -> None:
        super().__init__()
        self.tau = tau

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor, edge_type: Tensor) -> Tensor:
        return sharpen_edges(edge_index, edge_weight, x.size(0), edge_type, tau=self.tau)[1]


@pytest.mark.usefixtures("open_shapes")
def test_it_can_be_exported_for_any_nodes_and_edges() -> None:
    def parts(*counts: list[int]) -> tuple[Tensor, ...]:
        data: Data = Batch.from_data_list([build_graph(make_video(count)) for count in counts])
        return data.x, data.edge_index, data.edge_weight, data.edge_type

    edges, layer = Dim("edges"), Sharp({"spatial": 0.1, "temporal": 0.3})
    shapes = ({0: Dim("nodes")}, {1: edges}, {0: edges}, {0: edges})
    exported = export(layer, parts([2, 3, 0], [1, 2]), dynamic_shapes=shapes).module()
    for other in (parts([4]), parts([0, 2], [1], [5, 5])):
        torch.testing.assert_close(exported(*other), layer(*other), rtol=0, atol=1e-12)


def test_an_encoder_learns_the_temperatures_of_its_edges() -> None:
    torch.manual_seed(0)
    video = make_video([2, 3, 1, 2])
    data = build_graph(video)
    plain = STGEncoder(video.objects.shape[1], 8, 2).double()
    model, before = LearnedTemperature(plain), data.edge_weight.clone()
    model.double()
    # It begins as the encoder itself.
    torch.testing.assert_close(model(data).nodes, plain(data).nodes, rtol=0, atol=1e-12)
    with torch.no_grad():
        model.log_tau.copy_(torch.tensor([-2.0, 0.7], dtype=torch.float64))
    drawn = build_graph(video, tau_space=math.exp(-2.0), tau_time=math.exp(0.7))
    found = model(data)
    torch.testing.assert_close(found.nodes, plain(drawn).nodes, rtol=0, atol=1e-10)
    assert torch.equal(data.edge_weight, before)
    found.nodes.square().sum().backward()
    assert model.log_tau.grad is not None
    assert model.log_tau.grad.abs().min() > 0
    with pytest.raises(ValueError, match=r"kinds must be of spatial, temporal, .*; got 'near'"):
        LearnedTemperature(plain, ("near",))
