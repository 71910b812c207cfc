"""RelationalEncoder: its parts by loops in float64, batched, explained, exported; the paper's encoder as a case."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.export import Dim, export
from torch_geometric.data import Batch, Data
from torch_geometric.explain import Explainer, GNNExplainer
from torch_geometric.nn import global_mean_pool

from graphs import (
    FlatBatch,
    GraphStore,
    RelationalEncoder,
    RelativeGeometry,
    SelectVariant,
    STGEncoder,
    TrackEdges,
    VideoStates,
    build_graph,
)
from tests.graphs.graph_reference import make_video
from tests.graphs.test_edge_geometry import slow_geometry
from tests.graphs.test_node_inputs import graph as node_graph
from tests.graphs.test_node_inputs import slow_states
from tests.graphs.test_relational import slow_attention, slow_typed

RAGGED = ([2, 3, 0, 1], [0, 0], [4], [1, 1, 1, 0, 0, 2])
CONVS = ("typed", "attention")
SLOW: dict[str, Any] = {"typed": slow_typed, "attention": slow_attention}


def graph(counts: list[int], seed: int = 0, variant: str = "full+tracks") -> Data:
    data = node_graph(counts, seed)
    data.track = make_video(counts).track
    return SelectVariant(variant, "both")(data)


def encoder(conv: str, **options: Any) -> RelationalEncoder:
    torch.manual_seed(3)
    given = {"num_layers": 2, "box": "sinusoidal", "classes": 7, "score": True, "heads": 2, **options}
    return RelationalEncoder(6, 4, conv=conv, **given).double()


@pytest.mark.parametrize("conv", CONVS)
def test_it_is_its_parts_one_after_the_other(conv: str) -> None:
    model, data = encoder(conv), graph([2, 3, 0, 1])
    edges = {
        "edge_index": data.edge_index,
        "edge_weight": data.edge_weight,
        "edge_type": torch.tensor([{0: 0, 1: 1, 255: 2}[kind] for kind in data.edge_type.tolist()]),
    }
    edges["edge_attr"] = torch.tensor(slow_geometry(data), dtype=torch.float64)
    hidden = slow_states(model.nodes, data)
    for layer in model.convs:
        hidden = SLOW[conv](layer, hidden, edges)
    states = model(data)
    assert torch.allclose(states.nodes, hidden, rtol=0, atol=1e-10)
    means = [hidden[:2].mean(0), hidden[2:5].mean(0), torch.zeros(4, dtype=torch.float64), hidden[5]]
    assert torch.allclose(states.frames, torch.stack(means).unsqueeze(0), rtol=0, atol=1e-10)
    assert states.frame_mask.tolist() == [[True, True, False, True]]


@pytest.mark.parametrize("conv", CONVS)
def test_a_batch_equals_its_members_on_both_paths(conv: str) -> None:
    model = encoder(conv)
    members = [graph(counts, i) for i, counts in enumerate(RAGGED)]
    batch = Batch.from_data_list(members)
    states = model(batch)
    expected = [model(member) for member in members]
    assert torch.allclose(states.nodes, torch.cat([one.nodes for one in expected]), rtol=0, atol=1e-12)
    for row, one in enumerate(expected):
        assert torch.allclose(states.frames[row, : one.frames.size(1)], one.frames[0], rtol=0, atol=1e-12)
    # With a gradient of the weights, edge by edge.
    batch.edge_weight = batch.edge_weight.clone().requires_grad_()
    slow = model(batch)
    assert torch.allclose(slow.nodes, states.nodes, rtol=0, atol=1e-12)
    seed = torch.randn_like(states.frames)
    parameters = list(model.parameters())
    for a, b in zip(
        torch.autograd.grad((slow.frames * seed).sum(), parameters, retain_graph=True),
        torch.autograd.grad((states.frames * seed).sum(), parameters),
        strict=True,
    ):
        assert torch.allclose(a, b, rtol=0, atol=1e-9)
    assert torch.autograd.grad((slow.frames * seed).sum(), batch.edge_weight)[0].count_nonzero() > 0


def test_the_encoder_of_the_paper_is_a_case_of_it() -> None:
    model = encoder("typed", box=None, classes=0, score=False, geometry=False, types=("spatial",), num_layers=3)
    torch.manual_seed(3)
    paper = STGEncoder(6, 4, num_layers=3).double()
    data = Batch.from_data_list([build_graph(make_video(counts, seed=i)) for i, counts in enumerate(RAGGED)])
    for found, expected in zip(model(data), paper(data), strict=True):
        assert torch.allclose(found, expected, rtol=0, atol=1e-12) if found.is_floating_point() else True
    del data.edge_type
    assert torch.equal(model(data).frame_mask, paper(data).frame_mask)


@pytest.mark.parametrize("conv", CONVS)
def test_what_it_reads_counts(conv: str) -> None:
    model, data = encoder(conv), graph([2, 3, 2])
    before = model(data).nodes
    for name, value in (
        ("boxes", data.boxes.flip(0)),
        ("edge_type", data.edge_type[torch.randperm(len(data.edge_type), generator=torch.Generator().manual_seed(0))]),
        ("label", 6 - data.label),
        ("scores", 1 - data.scores),
        ("edge_weight", data.edge_weight.square()),
        ("track", data.track.flip(0)),
        ("size", data["size"] * 2),
    ):
        changed = data.clone()
        changed[name] = value
        assert (model(changed).nodes - before).abs().max() > 1e-4, name
    other = data.clone()
    other.label_score = other.scores
    del other.scores
    assert torch.equal(model(other).nodes, before)
    given = RelativeGeometry()(data.clone())
    assert torch.equal(model(given).nodes, before)
    given.edge_attr = given.edge_attr + 1
    assert not torch.allclose(model(given).nodes, before)


@pytest.mark.parametrize("conv", CONVS)
def test_every_variant_out_of_a_store(tmp_path: object, conv: str) -> None:
    data = node_graph([2, 3, 0, 1])
    data.track = make_video([2, 3, 0, 1]).track
    model = encoder(conv, types=("spatial", "temporal", "track", "dense")).float()
    with GraphStore(f"{tmp_path}/s.lmdb", "a", features_dtype="float32") as store:
        store.put("made-0", data)
        for variant in ("full", "spatial", "temporal", "dense", "none", "tracks", "full+tracks"):
            states = model(store.flat_batch(["made-0"], variant, "both"))
            assert states.frames.isfinite().all()
            torch.autograd.grad(states.frames.sum(), list(model.parameters()), allow_unused=True)


class Classifier(torch.nn.Module):
    def __init__(self, conv: str) -> None:
        super().__init__()
        self.encoder = RelationalEncoder(6, 4, num_layers=1, conv=conv, heads=2)
        self.head = torch.nn.Linear(4, 2)

    def forward(self, x: Tensor, edge_index: Tensor, **known: Tensor) -> Tensor:
        return self.head(global_mean_pool(self.encoder(x, edge_index=edge_index, **known).nodes, known["batch"]))


@pytest.mark.parametrize("conv", CONVS)
def test_it_can_be_explained(conv: str) -> None:
    torch.manual_seed(0)
    data = Batch.from_data_list([graph([2, 2, 1]).apply(lambda v: v.float() if v.is_floating_point() else v)])
    # Of all edges those into node 4 carry nothing.
    data.edge_weight = torch.where(data.edge_index[1] == 4, 0, data.edge_weight)
    explainer = Explainer(
        Classifier(conv).eval(),
        GNNExplainer(epochs=10),
        explanation_type="model",
        node_mask_type="attributes",
        edge_mask_type="object",
        model_config={"mode": "multiclass_classification", "task_level": "graph", "return_type": "raw"},
    )
    known = {
        name: data[name]
        for name in ("frame", "edge_weight", "edge_type", "batch", "num_frames", "boxes", "size", "track")
    }
    found = explainer(data.x, data.edge_index, **known)
    assert found.edge_mask.shape == (data.edge_index.size(1),)
    into = data.edge_index[1] == 4
    assert (found.edge_mask[~into] > 0).sum() > 5
    if conv == "typed":  # attention shares out what is left among all that have no weight
        assert not found.edge_mask[into].any()
    assert torch.equal(found.node_mask.abs().sum(1) > 0, torch.ones(5, dtype=torch.bool))


class WithFields(torch.nn.Module):
    """What is exported has arguments by name: `torch.export` cannot run what takes any."""

    def __init__(self, model: RelationalEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, *given: Tensor) -> VideoStates:
        edge_type, boxes, size, track = given[6:]
        return self.model(*given[:6], edge_type=edge_type, boxes=boxes, size=size, track=track)


@pytest.mark.usefixtures("open_shapes")
@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 9),
    reason="torch 2.8 cannot export a division by the number of objects in each frame",
)
@pytest.mark.parametrize("conv", CONVS)
def test_an_exported_encoder_takes_any_frames_nodes_edges_and_videos(conv: str) -> None:
    model = WithFields(encoder(conv, classes=0, score=False, num_layers=1)).eval()

    def parts(*counts: list[int]) -> tuple[Tensor, ...]:
        data = Batch.from_data_list([graph(count, i) for i, count in enumerate(counts)])
        given = (data.x, data.frame, data.edge_index, data.edge_weight, data.batch, data.num_frames)
        return (*given, data.edge_type, data.boxes, data["size"], data.track)

    nodes, edges, videos = {0: Dim("nodes")}, {0: Dim("edges")}, {0: Dim("videos")}
    shapes = (nodes, nodes, {1: edges[0]}, edges, nodes, videos, edges, nodes, videos, nodes)
    exported = export(model, parts([2, 3, 0, 1], [1, 2]), dynamic_shapes=(shapes,)).module()
    for other in (parts([0, 2, 1], [4]), parts([3, 3])):
        found, expected = exported(*other), model(*other)
        assert torch.allclose(found.nodes, expected.nodes, rtol=0, atol=1e-12)
        assert torch.allclose(found.frames, expected.frames, rtol=0, atol=1e-12)


def test_lazy_widths_and_weights_drawn_anew() -> None:
    model = RelationalEncoder(-1, 4, num_layers=1, classes=7).double()
    data = graph([2, 1])
    before = model(data).nodes
    model.reset_parameters()
    assert not torch.allclose(model(data).nodes, before)


@pytest.mark.usefixtures("open_shapes")
def test_words_for_what_cannot_be() -> None:
    data = graph([2, 1])
    model = encoder("typed")

    def without(*names: str) -> FlatBatch:
        return FlatBatch(**{name: value for name, value in data.to_dict().items() if name not in names})

    dense = SelectVariant("dense")(data.clone())
    tracks = TrackEdges()(data.clone())
    for call, words in (
        (lambda: encoder("gat"), "conv must be one of typed, attention, got 'gat'"),
        (lambda: encoder("typed", types=("spacial",)), r"names of edges, of spatial, .*, dense; got \('spacial',\)"),
        (lambda: encoder("typed", types="spatial"), r"types must be a list of names of edges, .*; got 'spatial'"),
        (lambda: encoder("typed", types=()), r"types must be a list of names of edges, .*; got \(\)"),
        (lambda: model(data, data.frame), "the graph comes alone: leave out frame"),
        (lambda: model(data, boxes=data.boxes), "the graph comes alone"),
        (lambda: model(data.x), "x needs frame, edge_index and num_frames along with it"),
        (lambda: model(without("frame")), "the graph has no frame, which every graph"),
        (lambda: model(without("edge_type")), "edges of 3 types need edge_type, which the graph has not"),
        (lambda: model(without("label")), r"classes=7 reads label \[N\]"),
        (lambda: encoder("typed", box=None)(without("boxes")), "geometry=True reads edge_attr, or boxes to make it of"),
        (lambda: model(dense), "edges of type 'dense', the encoder reads spatial, temporal, track: name it in types"),
        (lambda: model(tracks), r"reads edge_attr \[\d+ 9\] as RelativeGeometry writes it, got \[\d+, 2\]: remove it"),
        (
            lambda: model(data.x, data.frame, data.edge_index, num_frames=2, box=data.boxes),
            "box is not known: what is read of a graph are x, frame",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            call()
