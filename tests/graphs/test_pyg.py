"""PyG's own transforms and layers on our graphs: what each does to our fields, and where its equation meets ours."""

from collections.abc import Callable

import pytest
import torch
import torch_geometric.transforms as T
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GATConv, GCNConv, GINEConv, GraphConv, RGCNConv, SAGEConv, TransformerConv
from torch_geometric.utils import to_dense_adj

from graphs.build import build_graph
from graphs.conv import STGConv, symmetric_norm
from graphs.encoder import STGEncoder
from graphs.transforms import SelectVariant, paper_edges
from tests.graphs.graph_reference import make_video


def graph(counts: tuple[int, ...] = (2, 3, 0, 1, 2), seed: int = 0) -> Data:
    data = build_graph(make_video(list(counts), seed=seed, dtype=torch.float32))
    data.pos = (data.boxes[:, :2] + data.boxes[:, 2:]) / 2
    return data


def weights(data: Data) -> Tensor:
    """``[N N]``: what goes from row to column."""
    return to_dense_adj(data.edge_index, edge_attr=data.edge_weight, max_num_nodes=data.num_nodes)[0]


def encoded(data: Data, width: int = 6) -> Tensor:
    torch.manual_seed(3)
    return STGEncoder(width, 4, num_layers=1)(data).frames


def ends(values: Tensor, data: Data) -> Tensor:
    """From the target to the source of each edge, as PyG's transforms of positions have it."""
    return values[data.edge_index[0]] - values[data.edge_index[1]]


KEEP_EDGES = {
    "NormalizeFeatures": (
        T.NormalizeFeatures(),
        lambda old, new: torch.allclose(new.x, (old.x - old.x.min()) / (old.x - old.x.min()).sum(1, keepdim=True)),
    ),
    "Distance": (
        T.Distance(norm=False),
        lambda old, new: torch.allclose(new.edge_attr[:, 0], ends(old.pos, old).norm(dim=1)),
    ),
    "Cartesian": (T.Cartesian(norm=False), lambda old, new: torch.equal(new.edge_attr, ends(old.pos, old))),
    "LocalCartesian": (T.LocalCartesian(norm=False), lambda old, new: torch.equal(new.edge_attr, ends(old.pos, old))),
    "Polar": (
        T.Polar(norm=False),
        lambda old, new: torch.allclose(new.edge_attr[:, 0], ends(old.pos, old).norm(dim=1)),
    ),
    "Center": (T.Center(), lambda old, new: torch.allclose(new.pos, old.pos - old.pos.mean(0))),
    "NormalizeScale": (T.NormalizeScale(), lambda old, new: bool((new.pos.abs() <= 1).all())),
    "AddRandomWalkPE": (
        T.AddRandomWalkPE(2, attr_name="pe"),
        lambda old, new: torch.allclose(new.pe, _returns(weights(old)), atol=1e-6),
    ),
    "AddLaplacianEigenvectorPE": (
        T.AddLaplacianEigenvectorPE(2, attr_name="pe"),
        lambda old, new: new.pe.shape == (8, 2),
    ),
    "TargetIndegree": (
        T.TargetIndegree(norm=False),
        lambda old, new: torch.equal(new.edge_attr[:, 0], old.edge_index[1].bincount()[old.edge_index[1]].float()),
    ),
    "RandomNodeSplit": (
        T.RandomNodeSplit(num_val=2, num_test=3, key=None),
        lambda old, new: (new.train_mask.int() + new.val_mask.int() + new.test_mask.int()).tolist() == [1] * 8,
    ),
    "Constant": (T.Constant(), lambda old, new: torch.equal(new.x, torch.cat([old.x, torch.ones(8, 1)], 1))),
    "OneHotDegree": (
        T.OneHotDegree(9, cat=False),
        lambda old, new: torch.equal(new.x.argmax(1), old.edge_index[0].bincount(minlength=8)),
    ),
    "RandomJitter": (T.RandomJitter(0.1), lambda old, new: bool(((new.pos - old.pos).abs() <= 0.1).all())),
    "ToDevice": (T.ToDevice("cpu"), lambda old, new: torch.equal(new.x, old.x)),
    "Compose": (
        T.Compose([T.Center(), T.Cartesian(norm=False)]),
        lambda old, new: torch.allclose(new.edge_attr, ends(old.pos, old), atol=1e-4),
    ),
}
"""Transforms that leave edges and nodes as they are, and what they do."""


def _returns(adjacency: Tensor) -> Tensor:
    """The chance to be back at each node after one and two steps; PyG takes weights for the sum in each row alone."""
    walk = (adjacency > 0) / adjacency.sum(1, keepdim=True).clamp(min=1)
    return torch.stack([walk.diagonal(), (walk @ walk).diagonal()], 1)


@pytest.mark.parametrize("name", KEEP_EDGES)
def test_transforms_that_keep_nodes_and_edges(name: str) -> None:
    transform, holds = KEEP_EDGES[name]
    old = graph()
    new = transform(old.clone())
    assert holds(old, new)
    for field in ("edge_index", "edge_weight", "edge_type", "frame", "boxes", "num_frames", "video"):
        assert new[field] is old[field] or torch.equal(torch.as_tensor(new[field]), torch.as_tensor(old[field])), field
    assert encoded(new, new.x.size(1)).isfinite().all()


CHANGE_EDGES: dict[str, tuple[T.BaseTransform, Callable[[Tensor], Tensor], bool]] = {
    "ToUndirected": (T.ToUndirected(), lambda dense: dense + dense.T, True),
    "AddSelfLoops": (T.AddSelfLoops(attr="edge_weight"), lambda dense: dense + torch.eye(8), False),
    "AddRemainingSelfLoops": (T.AddRemainingSelfLoops(attr="edge_weight"), lambda dense: dense, False),
    "RemoveSelfLoops": (
        T.RemoveSelfLoops(attr="edge_weight"),
        lambda dense: dense - dense.diagonal().diag(),
        False,
    ),
    "RemoveDuplicatedEdges": (
        T.RemoveDuplicatedEdges(key=["edge_weight", "edge_type"]),
        lambda dense: dense,
        True,
    ),
}
"""Transforms of edges: what they make of the weights as a matrix, and whether edge_type follows."""


@pytest.mark.parametrize("name", CHANGE_EDGES)
def test_transforms_that_change_edges(name: str) -> None:
    transform, expected, follows = CHANGE_EDGES[name]
    old = graph()
    new = transform(old.clone())
    assert torch.allclose(weights(new), expected(weights(old)))
    assert torch.equal(new.frame, old.frame)
    assert new.num_frames == 5
    # The encoder reads what stands in edge_index and edge_weight, whoever wrote it.
    assert torch.allclose(encoded(new), encoded(_graph_of(old, expected(weights(old)))), atol=1e-6)
    if follows:
        assert _types(new) == _types(old)
        SelectVariant("spatial")(new)
    else:
        with pytest.raises(
            ValueError, match=rf"edge_type \(26 rows\) does not fit edge_index \({new.num_edges} edges\)"
        ):
            SelectVariant("spatial")(new)


def _graph_of(data: Data, dense: Tensor) -> Data:
    data = data.clone()
    data.edge_index = dense.nonzero().T
    data.edge_weight = dense[tuple(data.edge_index)]
    return data


def _types(data: Data) -> dict[tuple[int, int], int]:
    """The type of each edge, whichever way it points."""
    pairs = [tuple(sorted(pair)) for pair in data.edge_index.T.tolist()]
    return dict(zip(pairs, data.edge_type.tolist(), strict=True))


def test_the_largest_component_keeps_its_frames_and_the_number_of_frames() -> None:
    old = graph()
    new = T.LargestConnectedComponents()(old.clone())
    # Frame 2 is empty, and no edge leads across it: the first five objects stay.
    assert torch.equal(weights(new), weights(old)[:5, :5])
    assert (new.frame.tolist(), new.num_frames) == ([0, 0, 1, 1, 1], 5)
    assert torch.equal(new.boxes, old.boxes[:5])
    assert torch.allclose(encoded(new)[:, :2], encoded(old)[:, :2], atol=1e-6)
    assert not encoded(new)[:, 2:].any()


@pytest.mark.filterwarnings("ignore:Sparse")
def test_a_sparse_tensor_keeps_the_weights_and_orders_the_types() -> None:
    old = graph()
    new = T.ToSparseTensor(attr="edge_weight")(old.clone())
    assert torch.equal(new.adj_t.to_dense(), weights(old).T)
    assert torch.allclose(encoded(new), encoded(old), atol=1e-6)
    kept = T.ToSparseTensor(attr="edge_weight", remove_edge_index=False)(old.clone())
    assert torch.equal(kept.edge_index, old.edge_index)


def test_our_edges_in_a_chain_with_pygs_transforms() -> None:
    bare = graph()
    del bare.edge_index, bare.edge_weight, bare.edge_type
    chain = T.Compose([paper_edges(), SelectVariant("spatial"), T.AddSelfLoops(attr="edge_weight")])
    assert torch.allclose(weights(chain(bare)), weights(SelectVariant("spatial")(graph())) + torch.eye(8))


def batch() -> Batch:
    members = [graph(), graph((1, 2), seed=1), graph((3, 0, 2), seed=2)]
    made = Batch.from_data_list(members)
    made.edge_attr = made.edge_weight[:, None]
    return made


LAYERS: dict[str, tuple[Callable[[], torch.nn.Module], tuple[str, ...]]] = {
    "GCNConv": (lambda: GCNConv(6, 4), ("edge_weight",)),
    "GATConv": (lambda: GATConv(6, 4, edge_dim=1), ("edge_attr",)),
    "GraphConv": (lambda: GraphConv(6, 4), ("edge_weight",)),
    "GINEConv": (lambda: GINEConv(torch.nn.Linear(6, 4), edge_dim=1), ("edge_attr",)),
    "TransformerConv": (lambda: TransformerConv(6, 4, edge_dim=1), ("edge_attr",)),
    "SAGEConv": (lambda: SAGEConv(6, 4), ()),
    "RGCNConv": (lambda: RGCNConv(6, 4, num_relations=2), ("edge_type",)),
    "STGConv": (lambda: STGConv(6, 4, edge_dim=1), ("edge_weight", "edge_attr")),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_learns_from_a_batch(name: str) -> None:
    torch.manual_seed(0)
    make, reads = LAYERS[name]
    layer, data = make(), batch()
    target = torch.rand(data.num_nodes, 4)
    optimiser = torch.optim.SGD(layer.parameters(), lr=0.01)
    before, losses = {name: value.detach().clone() for name, value in layer.named_parameters()}, []
    for _ in range(2):
        loss = (layer(data.x, data.edge_index, **{field: data[field] for field in reads}) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    still = {name for name, value in layer.named_parameters() if torch.equal(value, before[name])}
    assert still <= {"lin_key.bias"}  # adds as much to all scores of a softmax


def test_our_layer_is_pygs_graph_convolution_with_a_residual() -> None:
    data = batch()
    norm = symmetric_norm(data.edge_index, data.edge_weight, data.num_nodes)
    ours, gcn = STGConv(6), GCNConv(6, 6, normalize=False, bias=False)
    gcn.lin.weight = ours.linear.weight
    expected = torch.relu(data.x + gcn(data.x, data.edge_index, norm))
    assert torch.allclose(ours(data.x, data.edge_index, data.edge_weight), expected, atol=1e-6)


def test_our_layer_between_widths_is_pygs_graph_conv() -> None:
    data = batch()
    norm = symmetric_norm(data.edge_index, data.edge_weight, data.num_nodes)
    ours, theirs = STGConv(6, 4), GraphConv(6, 4, bias=False)
    theirs.lin_rel.weight, theirs.lin_root.weight = ours.linear.weight, ours.residual.weight
    expected = torch.relu(theirs(data.x, data.edge_index, norm))
    assert torch.allclose(ours(data.x, data.edge_index, data.edge_weight), expected, atol=1e-6)


def test_edge_types_reach_pygs_relations() -> None:
    data = batch()
    relational, plain = RGCNConv(6, 4, num_relations=2, aggr="add", bias=False), GraphConv(6, 4, bias=False)
    with torch.no_grad():
        relational.weight[1] = 0  # temporal edges carry nothing
        plain.lin_rel.weight.copy_(relational.weight[0].T)
        plain.lin_root.weight.copy_(relational.root.T)
    spatial = data.frame[data.edge_index[0]] == data.frame[data.edge_index[1]]
    found = relational(data.x, data.edge_index, data.edge_type)
    assert torch.allclose(found, plain(data.x, data.edge_index[:, spatial]), atol=1e-5)
