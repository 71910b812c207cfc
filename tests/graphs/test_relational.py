"""Typed and attentive convolutions against loops over edges in float64; their traps."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from graphs import (
    AttentionConv,
    AttentionOperator,
    RelationalConv,
    STGConv,
    attention_operator,
    build_graph,
    relational_operator,
    select_edges,
)
from tests.graphs.graph_reference import make_video

COUNTS = ([2, 3, 0, 1, 2], [3], [0, 1], [2, 2])


def made(counts: list[int], types: int = 3, seed: int = 0) -> tuple[Tensor, dict[str, Any]]:
    """States and edges of the variant with tracks; the last kind stays without edges."""
    index, weight, kind = select_edges(build_graph(make_video(counts)), "full+tracks")
    generator = torch.Generator().manual_seed(seed)
    kind = torch.where(kind == 255, 2, kind) % types
    attributes = torch.randn(index.size(1), 3, generator=generator, dtype=torch.float64)
    x = torch.randn(sum(counts), 4, generator=generator, dtype=torch.float64, requires_grad=True)
    return x, {"edge_index": index, "edge_weight": weight, "edge_type": kind, "edge_attr": attributes}


def rows(edges: dict[str, Any]) -> list[tuple[int, int, float, int, Tensor | None]]:
    index, attributes = edges["edge_index"].T.tolist(), edges["edge_attr"]
    attributes = [None] * len(index) if attributes is None else list(attributes)
    return [
        (j, i, w, k, e)
        for (j, i), w, k, e in zip(
            index, edges["edge_weight"].tolist(), edges["edge_type"].tolist(), attributes, strict=True
        )
    ]


def slow_typed(layer: RelationalConv, x: Tensor, edges: dict[str, Any]) -> Tensor:
    """The formula of the docstring, edge by edge."""
    out = [row if layer.residual is None else layer.residual.weight @ row for row in x]
    width = layer.out_channels
    degree: dict[tuple[int, int], float] = {}
    for _, i, w, k, _ in rows(edges):
        degree[i, k] = degree.get((i, k), 0) + w
    for j, i, w, k, e in rows(edges):
        message = layer.linear.weight[k * width : (k + 1) * width] @ x[j]
        if e is not None:
            message = message + layer.edge.weight[:, k * len(e) : (k + 1) * len(e)] @ e
        norm = w / math.sqrt((degree.get((i, k)) or 1) * (degree.get((j, k)) or 1))
        out[i] = out[i] + norm * message
    return torch.relu(torch.stack(out))


def slow_attention(layer: AttentionConv, x: Tensor, edges: dict[str, Any]) -> Tensor:
    """The formula of the docstring, node by node and head by head."""
    out = [row if layer.residual is None else layer.residual.weight @ row for row in x]
    d = layer.out_channels // layer.heads
    for i in range(len(x)):
        own = [row for row in rows(edges) if row[1] == i]
        heads = []
        for h in range(layer.heads):
            part = slice(h * d, (h + 1) * d)
            query = layer.query.weight[part] @ x[i]
            scores, values = [], []
            for j, _, w, k, e in own:
                known = [] if e is None else [e]
                if layer.types:
                    known.append(torch.eye(layer.types, dtype=x.dtype)[k])
                attributes = layer.edge.weight[part] @ torch.cat(known) if known else torch.zeros(d, dtype=x.dtype)
                scores.append(query @ (layer.key.weight[part] @ x[j] + attributes) / math.sqrt(d) + math.log(w))
                values.append(layer.value.weight[part] @ x[j] + attributes)
            total = sum(score.exp() for score in scores)
            gathered = [score.exp() / total * value for score, value in zip(scores, values, strict=True)]
            heads.append(sum(gathered, torch.zeros(d, dtype=x.dtype)))
        out[i] = out[i] + torch.cat(heads)
    return torch.relu(torch.stack(out))


def assert_gradients(layer: torch.nn.Module, x: Tensor, found: Tensor, expected: Tensor) -> None:
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)
    seed, wanted = torch.randn_like(expected), (x, *layer.parameters())
    have, want = (
        torch.autograd.grad((out * seed).sum(), wanted, retain_graph=True, allow_unused=True, materialize_grads=True)
        for out in (found, expected)
    )
    for a, b in zip(have, want, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize("options", [{}, {"edge_dim": 3}, {"out_channels": 6, "edge_dim": 3}])
@pytest.mark.parametrize("types", [1, 2, 4])
@pytest.mark.parametrize("counts", COUNTS)
def test_typed_layers_equal_the_loop_on_both_paths(counts: list[int], types: int, options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    layer = RelationalConv(4, **options, types=types).double()
    x, edges = made(counts, types)
    if layer.edge_dim is None:
        edges["edge_attr"] = None
    expected = slow_typed(layer, x, edges)
    operator = relational_operator(**edges, num_nodes=len(x), types=types)
    for found in (layer(x, **edges), layer(x, operator)):
        assert_gradients(layer, x, found, expected)


def attention_edges(layer: AttentionConv, edges: dict[str, Any], nodes: int) -> AttentionOperator:
    weight = edges["edge_weight"]
    known = layer.known(edges["edge_type"], edges["edge_attr"], weight.dtype)
    return attention_operator(edges["edge_index"], weight, nodes, layer.heads, known)


@pytest.mark.parametrize("options", [{"edge_dim": 3, "types": 3}, {"out_channels": 6, "types": 3}, {"edge_dim": 3}, {}])
@pytest.mark.parametrize("counts", COUNTS)
def test_attention_equals_the_loop(counts: list[int], options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    layer = AttentionConv(4, heads=2, **options).double()
    x, edges = made(counts)
    if layer.edge_dim is None:
        edges["edge_attr"] = None
    expected = slow_attention(layer, x, edges)
    for found in (layer(x, **edges), layer(x, attention_edges(layer, edges, len(x)))):
        assert_gradients(layer, x, found, expected)


def test_with_one_kind_it_is_the_layer_of_the_paper() -> None:
    torch.manual_seed(1)
    typed = RelationalConv(4, types=1, edge_dim=3).double()
    torch.manual_seed(1)
    plain = STGConv(4, edge_dim=3).double()
    x, edges = made([2, 3, 1])
    edges["edge_type"] = torch.zeros_like(edges["edge_type"])
    expected = plain(x, edges["edge_index"], edges["edge_weight"], edges["edge_attr"])
    assert torch.allclose(typed(x, **edges), expected, rtol=0, atol=1e-12)
    del edges["edge_type"]
    assert torch.allclose(typed(x, **edges), expected, rtol=0, atol=1e-12)


def test_where_queries_say_nothing_the_weights_decide() -> None:
    layer = AttentionConv(4, heads=2).double()
    torch.nn.init.zeros_(layer.query.weight)
    x, edges = made([2, 3, 1])
    index, weight = edges["edge_index"], edges["edge_weight"].clone()
    weight[index[1] == 5] = 0  # nothing to share out among equals
    weight[0] = 0
    share = torch.zeros(6, 6, dtype=torch.float64)
    share[index[1], index[0]] += 1e-300
    for j, i, w in zip(*index.tolist(), weight.tolist(), strict=True):
        share[i, j] += w
    share = share / share.sum(1, keepdim=True)
    expected = torch.relu(x + share @ layer.value(x))
    assert torch.allclose(layer(x, attention_operator(index, weight, 6, 2))[:5], expected[:5], rtol=0, atol=1e-12)
    weight.requires_grad_()
    found = layer(x, index, weight)
    assert torch.allclose(found[:5], expected[:5], rtol=0, atol=1e-12)
    assert torch.autograd.grad(found.sum(), weight)[0].isfinite().all()


@pytest.mark.parametrize("layer", [RelationalConv(4, types=3, edge_dim=3), AttentionConv(4, heads=2, edge_dim=3)])
def test_gradients_by_finite_differences(layer: torch.nn.Module) -> None:
    x, edges = made([2, 0, 2])
    index, weight, kind, attributes = edges.values()
    arguments = (x, weight.clone().requires_grad_(), attributes.requires_grad_())
    layer = layer.double()
    assert torch.autograd.gradcheck(lambda x, w, e: layer(x, index, w, kind, e), arguments)


def test_no_edges_leave_the_residual_and_the_states_as_they_were() -> None:
    x, edges = made([2, 1])
    none = {name: value[..., :0] for name, value in edges.items() if name != "edge_attr"}
    before = x.detach().clone()
    typed = RelationalConv(4, types=2).double()
    for found in (
        typed(x, **none),
        typed(x, relational_operator(**none, num_nodes=3, types=2)),
        AttentionConv(4, heads=2).double()(x, **none),
        AttentionConv(4, heads=2).double()(x, attention_operator(none["edge_index"], none["edge_weight"], 3, 2)),
    ):
        assert torch.equal(found, x.relu())
    assert torch.equal(x, before)


def test_lazy_layers_and_weights_drawn_anew() -> None:
    x, edges = made([2, 3])
    operator = relational_operator(**edges, num_nodes=5, types=3)
    for layer in (RelationalConv(-1, 6, types=3, edge_dim=3), AttentionConv(-1, 6, heads=2, edge_dim=3, types=3)):
        layer = layer.double()
        given = (x, operator) if isinstance(layer, RelationalConv) else (x, *edges.values())
        assert layer(*given).shape == (5, 6)
        before = [weight.clone() for weight in layer.parameters()]
        layer.reset_parameters()
        assert all(not torch.equal(old, new) for old, new in zip(before, layer.parameters(), strict=True))
    assert repr(RelationalConv(4, 6, types=2, edge_dim=3)) == "RelationalConv(4, 6, types=2, edge_dim=3)"
    assert repr(AttentionConv(4, heads=2, types=2)) == "AttentionConv(4, heads=2, types=2)"


def test_half_precision_sums_in_float32() -> None:
    x, edges = made([3, 3])
    x, edges["edge_weight"] = x.float().detach(), edges["edge_weight"].float()
    edges["edge_attr"] = edges["edge_attr"].float()
    operator = relational_operator(**edges, num_nodes=6, types=3)
    for layer in (RelationalConv(4, types=3, edge_dim=3), AttentionConv(4, heads=2, edge_dim=3)):
        expected = layer(x, **edges)
        with torch.autocast("cpu", torch.bfloat16):
            found = [layer(x, **edges)]
            if isinstance(layer, RelationalConv):
                found.append(layer(x, operator))
            else:
                found.append(layer(x, attention_edges(layer, edges, 6)))
        for out in found:
            assert out.dtype == torch.bfloat16
            assert torch.allclose(out.float(), expected, atol=0.1)


@pytest.mark.usefixtures("open_shapes")
def test_words_for_what_cannot_be() -> None:
    x, edges = made([2, 1])
    typed, index, kind = RelationalConv(4, types=3).double(), edges["edge_index"], edges["edge_type"]
    operator = relational_operator(index, edges["edge_weight"], kind, 3, 3)
    asking = attention_operator(index, edges["edge_weight"], 3, 2)
    for call, words in (
        (lambda: RelationalConv(4, types=0), "types must be a number of kinds of edges, 1 or more, got 0"),
        (lambda: RelationalConv(-1, types=2), "in_channels=-1 leaves both widths open: give out_channels too"),
        (lambda: AttentionConv(4, heads=3), "must be a multiple of heads, got 4 and 3"),
        (
            lambda: AttentionConv(4, heads=2, types=-1),
            "types must be a number of kinds of edges, or 0 for none, got -1",
        ),
        (lambda: typed(x[:, :3], index), "x has width 3, but the layer was built with in_channels=4"),
        (lambda: typed(x, index), "types=3 needs edge_type, the kind of each edge: give it"),
        (lambda: typed(x, index, None, kind + 1), r"edge_type must lie in 0..2 \(types=3\), got 3"),
        (lambda: typed(x, index, None, kind - 1), r"edge_type must lie in 0..2 \(types=3\), got -1"),
        (lambda: typed(x, **edges), "edge_attr is given, but the layer was built without edge_dim"),
        (
            lambda: RelationalConv(4, types=3, edge_dim=2)(x, **edges),
            r"needs edge_attr of shape \[\d+, 2\], got \[\d+, 3",
        ),
        (lambda: AttentionConv(4, heads=2, edge_dim=2)(x, index), r"needs edge_attr of shape .*, none was given"),
        (lambda: RelationalConv(4, types=2)(x, operator), "the operator has 3 kinds of edges, the layer 2"),
        (lambda: RelationalConv(4, types=3, edge_dim=3)(x, operator), "edge_attr and edge_dim belong together"),
        (
            lambda: relational_operator(index, edges["edge_weight"].clone().requires_grad_(), kind, 3, 3),
            "gives no gradient to edge_weight",
        ),
        (
            lambda: attention_operator(index, edges["edge_weight"].clone().requires_grad_(), 3, 2),
            "gives no gradient to weights and attributes of edges",
        ),
        (lambda: AttentionConv(4, heads=4).double()(x, asking), "the operator has 2 heads, the layer 4"),
        (
            lambda: AttentionConv(4, heads=2, types=3).double()(x, asking),
            "the operator has 0 attributes an edge, the layer 3, kinds included",
        ),
        (lambda: AttentionConv(4, heads=2)(x.float(), asking), "is torch.float64, the layer needs torch.float32"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    attention = AttentionConv(4, heads=2).double()
    attention.explain = True
    with pytest.raises(ValueError, match="an operator has no messages to explain: give edge_index"):
        attention(x, asking)
    typed.explain = True
    with pytest.raises(ValueError, match="an operator has no messages to explain: give edge_index"):
        typed(x, operator)
