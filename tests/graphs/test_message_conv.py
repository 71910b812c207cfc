"""Messages of both ends and the edge against a loop over edges in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.export import Dim, export
from torch_geometric.explain import Explainer, GNNExplainer

from graphs import MessageConv


def slow(layer: MessageConv, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None) -> Tensor:
    rows = []
    for i in range(len(x)):
        messages = []
        for e, (source, target) in enumerate(edge_index.T.tolist()):
            if target == i:
                total = layer.target.weight @ x[i] + layer.target.bias + layer.source.weight @ x[source]
                if edge_attr is not None:
                    total = total + layer.edge.weight @ edge_attr[e]
                messages.append(total.clamp(min=0))
        if messages:
            all_of = torch.stack(messages)
            both = torch.cat([all_of.max(0).values, all_of.mean(0)])
        else:
            both = x.new_zeros(2 * layer.out_channels)
        rows.append(layer.out.weight @ both + layer.out.bias)
    return torch.stack(rows)


def made(nodes: int, edges: int, seed: int, width: int = 3, known: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, attr = (torch.randn(n, w, generator=generator, dtype=torch.float64) for n, w in ((nodes, width), (edges, known)))
    return x, torch.randint(nodes, (2, edges), generator=generator), attr


@settings(max_examples=25, deadline=None)
@given(nodes=st.integers(1, 6), edges=st.integers(0, 12), seed=st.integers(0, 10**6), known=st.booleans())
def test_it_equals_the_loop_for_edges_in_any_order(nodes: int, edges: int, seed: int, known: bool) -> None:
    x, index, attr = made(nodes, edges, seed)
    torch.manual_seed(seed)
    layer = MessageConv(3, 4, edge_dim=2 if known else None).double()
    given_attr = attr if known else None
    expected = slow(layer, x, index, given_attr)
    torch.testing.assert_close(layer(x, index, given_attr), expected, rtol=0, atol=1e-12)
    order = index[1].argsort(stable=True)
    found = layer(x, index[:, order], None if given_attr is None else given_attr[order])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_gradients_are_those_of_the_function() -> None:
    x, index, attr = made(4, 9, seed=3)
    layer = MessageConv(3, edge_dim=2).double()
    assert torch.autograd.gradcheck(
        lambda x, attr: layer(x, index, attr), (x.requires_grad_(), attr.requires_grad_()), atol=1e-6
    )


def test_the_explainer_finds_the_edge_that_decides() -> None:
    layer = MessageConv(1, edge_dim=1)
    with torch.no_grad():
        for part in (layer.target, layer.source, layer.edge, layer.out):
            part.weight.fill_(1.0)
        layer.target.bias.zero_()
        layer.out.bias.zero_()
    index, attr = torch.tensor([[1, 2, 3], [0, 0, 0]]), torch.tensor([[0.0], [8.0], [0.0]])
    torch.manual_seed(0)
    explain = Explainer(
        layer, GNNExplainer(epochs=60), explanation_type="model", edge_mask_type="object",
        model_config={"mode": "regression", "task_level": "node", "return_type": "raw"},
    )  # fmt: skip
    mask = explain(torch.zeros(4, 1), index, edge_attr=attr, index=0).edge_mask
    assert int(mask.argmax()) == 1


@pytest.mark.usefixtures("open_shapes")
def test_it_can_be_exported_for_any_nodes_and_edges() -> None:
    layer = MessageConv(3, edge_dim=2).double()
    shapes = ({0: Dim("nodes")}, {1: Dim("edges")}, {0: Dim("edges")})
    exported = export(layer, made(5, 7, seed=0), dynamic_shapes=shapes).module()
    for other in (made(3, 4, seed=1), made(8, 20, seed=2)):
        torch.testing.assert_close(exported(*other), layer(*other), rtol=0, atol=1e-12)


@pytest.mark.usefixtures("open_shapes")
def test_widths_that_do_not_fit_are_named() -> None:
    x, index, attr = made(3, 2, seed=0)
    layer = MessageConv(3, edge_dim=2).double()
    with pytest.raises(ValueError, match="x has width 2, but the layer was built with in_channels=3"):
        layer(x[:, :2], index, attr)
    with pytest.raises(ValueError, match="edge_dim=2 needs edge_attr"):
        layer(x, index)
    with pytest.raises(ValueError, match="in_channels=-1 leaves both widths open: give out_channels too"):
        MessageConv(-1)
    lazy = MessageConv(-1, 4).double()
    assert lazy(x, index).shape == (3, 4)
    assert repr(layer) == "MessageConv(3, 3, edge_dim=2)"
