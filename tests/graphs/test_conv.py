"""STGConv: Eq. 4 on both paths, its gradients, and the traps around it."""

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import ToSparseTensor

from graphs import windows as windows_module
from graphs.build import build_graph
from graphs.conv import SparseOperator, STGConv, sparse_operator, symmetric_norm
from graphs.variants import TIME_FLOWS, VARIANTS, select_edges
from graphs.windows import Windows
from tests.graphs.graph_reference import dense, layer, make_video, matrix

COUNTS = ([2, 3, 0, 1, 2], [3], [1], [0, 2], [1, 1, 1])


def edges(counts: list[int], variant: str = "full", time_flow: str = "literal") -> tuple[Tensor, Tensor]:
    data = build_graph(make_video(counts))
    return select_edges(data, variant, time_flow)[:2]


def layer_and_states(n: int, channels: int = 5) -> tuple[STGConv, Tensor]:
    torch.manual_seed(1)
    return STGConv(channels).double(), torch.randn(n, channels, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("time_flow", TIME_FLOWS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("counts", COUNTS)
def test_both_paths_equal_the_reference(counts: list[int], variant: str, time_flow: str) -> None:
    n = sum(counts)
    conv, x = layer_and_states(n)
    index, weight = edges(counts, variant, time_flow)
    expected = layer(x, matrix(make_video(counts), variant, time_flow), conv.linear.weight.T)
    seed = torch.randn(n, 5, dtype=torch.float64)
    wanted = torch.autograd.grad((expected * seed).sum(), (x, conv.linear.weight))
    for out in (conv(x, index, weight), conv(x, sparse_operator(index, weight, n))):
        assert torch.allclose(out, expected, rtol=0, atol=1e-10)
        found = torch.autograd.grad((out * seed).sum(), (x, conv.linear.weight))
        for have, want in zip(found, wanted, strict=True):
            assert torch.allclose(have, want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("time_flow", TIME_FLOWS)
@pytest.mark.parametrize("variant", ["full", "dense"])
@pytest.mark.parametrize("counts", [[20] * 5, [50, 50, 50], [24, 40, 0, 31, 28, 40], [41]])
def test_windows_equal_messages_for_crowded_frames(counts: list[int], variant: str, time_flow: str) -> None:
    n = sum(counts)
    conv, x = layer_and_states(n)
    index, weight = edges(counts, variant, time_flow)
    operator = sparse_operator(index, weight, n)
    # The last frame of a video has no edges forward: short videos of small frames stay below 40 edges a node.
    assert isinstance(operator.matrix, Windows) == (index.size(1) >= 40 * n)
    check_operator(conv, x, index, weight, operator)


@pytest.mark.parametrize("time_flow", TIME_FLOWS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("counts", COUNTS)
def test_windows_equal_messages_for_any_edges(
    counts: list[int], variant: str, time_flow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows_module, "_ENTRIES", 0)
    monkeypatch.setattr(windows_module, "_WASTE", 10**9)
    n = sum(counts)
    conv, x = layer_and_states(n)
    index, weight = edges(counts, variant, time_flow)
    if index.size(1) == 0:
        return  # nothing lies anywhere: the search for windows is never reached with an empty matrix
    index, weight = torch.cat([index, index[:, :1]], dim=1), torch.cat([weight, weight[:1]])  # one of them twice
    operator = sparse_operator(index, weight, n)
    assert isinstance(operator.matrix, Windows)
    norm = dense(index[:, :-1], symmetric_norm(index, weight, n)[:-1], n)
    target, source = int(index[1, -1]), int(index[0, -1])
    norm[target, source] *= 2
    assert torch.allclose(operator.matrix.to_dense(), norm)
    assert torch.allclose(operator.transpose.to_dense(), norm.T)
    check_operator(conv, x, index, weight, operator)
    assert torch.autograd.gradgradcheck(lambda x: conv(x, operator), (x[:, :5].detach().requires_grad_(),))


def check_operator(conv: STGConv, x: Tensor, index: Tensor, weight: Tensor, operator: SparseOperator) -> None:
    """Output and gradients of the operator against those of messages."""
    seed = torch.randn_like(x)
    expected, found = conv(x, index, weight), conv(x, operator)
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)
    wanted = torch.autograd.grad((expected * seed).sum(), (x, conv.linear.weight))
    for have, want in zip(torch.autograd.grad((found * seed).sum(), (x, conv.linear.weight)), wanted, strict=True):
        assert torch.allclose(have, want, rtol=0, atol=1e-10)


def test_far_edges_stay_in_csr() -> None:
    index = torch.stack([torch.randint(0, 2000, (80000,)), torch.randint(0, 2000, (80000,))])
    assert not isinstance(sparse_operator(index, None, 2000).matrix, Windows)


def test_the_layer_by_hand() -> None:
    # One object a frame: row 0 gathers .5 from itself and 1/sqrt(2) from object 1, row 1 only from itself.
    conv = STGConv(1).double()
    torch.nn.init.constant_(conv.linear.weight, 2.0)
    index, weight = edges([1, 1])
    out = conv(torch.tensor([[1.0], [10.0]], dtype=torch.float64), index, weight)
    assert out.squeeze(1).tolist() == pytest.approx([1 + 2 * (0.5 + 10 * 0.70710678), 10 + 20])
    assert conv(torch.tensor([[-1.0], [-10.0]], dtype=torch.float64), index, weight).tolist() == [[0], [0]]


def test_gradients_of_both_paths_by_finite_differences() -> None:
    conv, x = layer_and_states(6, channels=2)
    index, weight = edges([2, 0, 3, 1], time_flow="both")
    weight = weight.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, w: conv(x, index, w), (x, weight))
    operator = sparse_operator(index, weight.detach(), 6)
    assert torch.autograd.gradcheck(lambda x: conv(x, operator), (x,))
    assert torch.autograd.gradgradcheck(lambda x: conv(x, operator), (x,))


def test_row_sums_of_the_normalised_matrix() -> None:
    # Degrees 2, 1 (before an empty frame), 2, 1: a row of degree 2 that points into degree 1 sums to 1/2 + 1/sqrt(2).
    index, weight = edges([2, 3, 0, 2, 2])
    sums = dense(index, symmetric_norm(index, weight, 9), 9).sum(1)
    high = 0.5 + 0.5**0.5
    assert high == pytest.approx(1.2071, abs=1e-4)
    assert sums.tolist() == pytest.approx([high] * 2 + [1] * 3 + [high] * 2 + [1] * 2)


def test_edges_into_rows_that_gather_nothing_are_kept() -> None:
    # The last frame of a temporal graph has degree 0; PyG's gcn_norm would cut it off.
    index, weight = edges([3, 3, 3, 3], "temporal")
    sums = dense(index, symmetric_norm(index, weight, 12), 12).sum(1)
    assert sums.tolist() == pytest.approx([1] * 9 + [0] * 3)
    index, weight = edges([3, 0, 2, 1], "temporal")
    assert dense(index, symmetric_norm(index, weight, 6), 6).sum(1).tolist() == pytest.approx([0] * 3 + [1] * 2 + [0])


def test_dense_graph_adds_the_mean_of_all_objects() -> None:
    conv, x = layer_and_states(6)
    index, weight = edges([1, 2, 3], "dense")
    assert torch.allclose(conv(x, index, weight), torch.relu(x + conv.linear(x).mean(0)))


def test_no_edges_leave_the_residual() -> None:
    conv, x = layer_and_states(4)
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    operator = sparse_operator(nothing, torch.zeros(0, dtype=torch.float64), 4)
    assert torch.equal(torch.autograd.grad(conv(x, operator).sum(), x)[0], (x > 0).double())
    assert torch.equal(conv(x, nothing), torch.relu(x))
    assert torch.equal(conv(x, sparse_operator(nothing, torch.zeros(0, dtype=torch.float64), 4)), torch.relu(x))


def test_edges_without_weights_weigh_one() -> None:
    conv, x = layer_and_states(3)
    index = torch.tensor([[1, 2, 0], [0, 0, 2]])
    assert torch.equal(conv(x, index), conv(x, index, torch.ones(3, dtype=torch.float64)))
    plain = sparse_operator(index, None, 3).matrix.to_dense()
    assert torch.allclose(plain, sparse_operator(index, torch.ones(3), 3).matrix.to_dense())


def test_edges_given_twice_add_up() -> None:
    conv, x = layer_and_states(2)
    index = torch.tensor([[1, 1, 0], [0, 0, 1]])
    weight = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    once = conv(x, torch.tensor([[1, 0], [0, 1]]), torch.tensor([1.5, 2.0], dtype=torch.float64))
    assert torch.allclose(conv(x, index, weight), once)
    assert torch.allclose(conv(x, sparse_operator(index, weight, 2)), once)


def test_the_operator_is_the_matrix_and_its_transpose() -> None:
    index, weight = edges([2, 3, 1])
    shuffled = torch.randperm(index.size(1))
    operator = sparse_operator(index[:, shuffled], weight[shuffled], 6)
    norm = dense(index, symmetric_norm(index, weight, 6), 6)
    assert torch.allclose(operator.matrix.to_dense(), norm)
    assert torch.allclose(operator.transpose.to_dense(), norm.T)


def test_only_one_weight_matrix_and_no_bias() -> None:
    assert {name: tuple(p.shape) for name, p in STGConv(7).named_parameters()} == {"linear.weight": (7, 7)}


def test_fresh_weights_are_those_of_a_plain_linear_layer() -> None:
    torch.manual_seed(5)
    conv = STGConv(7)
    torch.manual_seed(5)
    assert torch.equal(conv.linear.weight, torch.nn.Linear(7, 7, bias=False).weight)


def test_another_width_projects_the_residual() -> None:
    _, x = layer_and_states(8)
    index, weight = edges([2, 3, 0, 1, 2])
    conv = STGConv(5, 3).double()
    norm = dense(index, symmetric_norm(index, weight, 8), 8)
    expected = torch.relu(x @ conv.residual.weight.T + norm @ x @ conv.linear.weight.T)
    targets = (x, *conv.parameters())
    wanted = torch.autograd.grad(expected.square().sum(), targets)
    for out in (conv(x, index, weight), conv(x, sparse_operator(index, weight, 8))):
        assert torch.allclose(out, expected, rtol=0, atol=1e-10)
        for have, want in zip(torch.autograd.grad(out.square().sum(), targets), wanted, strict=True):
            assert torch.allclose(have, want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("out", [5, 3])
def test_edge_attr_enters_each_message(out: int) -> None:
    _, x = layer_and_states(5)
    index, weight = edges([2, 3])
    attr = torch.randn(index.size(1), 2, dtype=torch.float64)
    conv = STGConv(5, out, edge_dim=2).double()
    rows = [x[i] if out == 5 else conv.residual(x[i]) for i in range(5)]
    for source, target, norm, attributes in zip(*index.tolist(), symmetric_norm(index, weight, 5), attr, strict=True):
        rows[target] = rows[target] + norm * (conv.linear.weight @ x[source] + conv.edge.weight @ attributes)
    assert torch.allclose(conv(x, index, weight, attr), torch.relu(torch.stack(rows)), rtol=0, atol=1e-10)
    assert torch.equal(conv(x, index, edge_attr=attr), conv(x, index, torch.ones_like(weight), attr))


@pytest.mark.filterwarnings("ignore:Sparse")
def test_pygs_sparse_matrix_is_the_edges_it_holds() -> None:
    conv, x = layer_and_states(5)
    index, weight = edges([2, 3])
    graph = ToSparseTensor(attr="edge_weight")(Data(x=x, edge_index=index, edge_weight=weight))
    assert torch.allclose(conv(x, graph.adj_t), conv(x, index, weight), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="edge_weight is part of the sparse matrix already"):
        conv(x, graph.adj_t, weight)


def test_a_lazy_layer_takes_its_width_from_the_first_states() -> None:
    index, weight = edges([2, 3])
    lazy = STGConv(-1, 3)
    lazy(torch.randn(5, 4), index, weight.float())
    plain = STGConv(4, 3)
    plain.load_state_dict(lazy.state_dict())
    x = torch.randn(5, 4)
    assert torch.equal(lazy(x, index, weight.float()), plain(x, index, weight.float()))
    with pytest.raises(ValueError, match="in_channels=-1 leaves both widths open: give out_channels too"):
        STGConv(-1)


def test_reset_parameters_draws_all_weights_as_a_fresh_layer_does() -> None:
    conv = STGConv(6, 4, edge_dim=3)
    before = {name: value.clone() for name, value in conv.state_dict().items()}
    torch.manual_seed(2)
    conv.reset_parameters()
    torch.manual_seed(2)
    fresh = STGConv(6, 4, edge_dim=3).state_dict()
    assert fresh.keys() == before.keys() == {"linear.weight", "residual.weight", "edge.weight"}
    for name, value in conv.state_dict().items():
        assert not torch.equal(value, before[name])
        assert torch.equal(value, fresh[name])


def test_widths_and_edge_attributes_that_do_not_fit() -> None:
    index, weight = edges([2, 3])
    with pytest.raises(ValueError, match=r"x has width 4, but the layer was built with in_channels=5"):
        STGConv(5)(torch.zeros(5, 4), index)
    conv, x = STGConv(5, edge_dim=2), torch.zeros(5, 5)
    count = index.size(1)
    with pytest.raises(ValueError, match=rf"edge_dim=2 needs edge_attr of shape \[{count}, 2\], none was given"):
        conv(x, index)
    with pytest.raises(ValueError, match=rf"edge_attr of shape \[{count}, 2\], got \[{count}, 3\]"):
        conv(x, index, edge_attr=torch.zeros(count, 3))
    with pytest.raises(ValueError, match="a sparse operator has no edges for edge_attr: give edge_index"):
        conv(x, sparse_operator(index, weight, 5))
    with pytest.raises(ValueError, match="edge_attr is given, but the layer was built without edge_dim"):
        STGConv(5)(x, index, edge_attr=torch.zeros(count, 2))


def test_layers_print_how_they_were_built() -> None:
    assert [repr(layer) for layer in (STGConv(5), STGConv(5, 3), STGConv(5, edge_dim=2))] == [
        "STGConv(5)",
        "STGConv(5, 3)",
        "STGConv(5, edge_dim=2)",
    ]


def test_pyg_generates_its_fast_code_for_the_layer() -> None:
    STGConv(2)
    assert STGConv.propagate is STGConv._jinja_propagate


def test_message_and_aggregate_is_what_the_operator_runs_through(monkeypatch: pytest.MonkeyPatch) -> None:
    conv, x = layer_and_states(5)
    index, weight = edges([2, 3])

    def refuse(**parts: Tensor) -> Tensor:
        raise AssertionError("the plain path ran")

    monkeypatch.setattr(conv, "message", refuse)
    conv(x, sparse_operator(index, weight, 5))
    with pytest.raises(AssertionError, match="the plain path ran"):
        conv(x, index, weight)


def test_what_an_operator_cannot_do() -> None:
    conv, x = layer_and_states(5)
    index, weight = edges([2, 3])
    with pytest.raises(ValueError, match="gives no gradient to edge_weight"):
        sparse_operator(index, weight.clone().requires_grad_(), 5)
    operator = sparse_operator(index, weight, 5)
    with pytest.raises(ValueError, match="edge_weight is part of the sparse operator already"):
        conv(x, operator, weight)
    with pytest.raises(ValueError, match=r"operator is torch.float32, the layer needs torch.float64"):
        conv(x, sparse_operator(index, weight.float(), 5))
    conv.explain = True
    with pytest.raises(ValueError, match="has no messages to explain"):
        conv(x, operator)


def test_both_paths_agree_under_autocast() -> None:
    conv, x = layer_and_states(5, channels=16)
    conv, x = conv.float(), x.detach().float().requires_grad_()
    index, weight = edges([2, 3])
    weight = weight.float()
    with torch.autocast("cpu", torch.bfloat16):
        plain, fast = conv(x, index, weight), conv(x, sparse_operator(index, weight, 5))
    assert torch.allclose(plain, fast, atol=1e-2)
    assert torch.allclose(fast.float(), conv(x, index, weight), atol=0.1)
    assert torch.isfinite(torch.autograd.grad(fast.float().sum(), x)[0]).all()


@pytest.mark.gpu
def test_both_paths_equal_the_cpu_on_the_device() -> None:
    conv, x = layer_and_states(8)
    index, weight = edges([2, 3, 0, 1, 2])
    expected = conv(x, index, weight)
    conv, x, index, weight = conv.cuda(), x.cuda(), index.cuda(), weight.cuda()
    for out in (conv(x, index, weight), conv(x, sparse_operator(index, weight, 8))):
        assert torch.allclose(out.cpu(), expected, atol=1e-10)
