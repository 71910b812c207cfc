"""The graph convolution, and the sparse operator that makes it fast."""

import warnings
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch_geometric.nn import Linear, MessagePassing
from torch_geometric.typing import OptTensor
from torch_geometric.utils import is_sparse, to_edge_index

from graphs.windows import Windows, windows


class SparseOperator(NamedTuple):
    """The normalised matrix of a batch and its transpose: built once, shared by all layers.

    ``matrix[i, j]`` weighs what node i gathers from node j. The transpose is what the backward pass multiplies with.
    Both are CSR tensors or, where frames hold dozens of objects, :class:`~graphs.windows.Windows`.
    """

    matrix: Tensor | Windows
    transpose: Tensor | Windows


def symmetric_norm(
    edge_index: Int[Tensor, "2 E"], edge_weight: Float[Tensor, " E"], num_nodes: int
) -> Float[Tensor, " E"]:
    r"""Entries of :math:`\Lambda^{-1/2} G \Lambda^{-1/2}` (Pan et al., 2020, Eq. 4), one an edge.

    ``Lambda[i, i]`` is the sum of row i, that is of the weights of the edges whose *target* is i. Where the paper
    divides by zero, in a row without edges (or with weights that sum to 0), it is taken as 1: the columns of such nodes
    keep their edges. Weights are expected to be non-negative.
    """
    source, target = edge_index
    # By target, as row i of the paper's matrix is what node i gathers.
    degree = edge_weight.new_zeros(num_nodes).index_add(0, target, edge_weight)
    inverse_root = torch.where(degree > 0, degree, 1).rsqrt()
    return inverse_root[target] * edge_weight * inverse_root[source]


def sparse_operator(
    edge_index: Int[Tensor, "2 E"], edge_weight: Float[Tensor, " E"] | None, num_nodes: int
) -> SparseOperator:
    """Normalise the edges as Eq. 4 has it and lay them out as CSR or in windows, with the transpose.

    Args:
        edge_index: ``[2 E]`` edges in any order; edges given twice add up.
        edge_weight: ``[E]`` their weights, ones if None.
        num_nodes: number ``N`` of nodes.

    Raises:
        ValueError: if ``edge_weight`` requires a gradient, which the operator could not give.
    """
    if edge_weight is None:
        edge_weight = torch.ones(edge_index.size(1), device=edge_index.device)
    if edge_weight.requires_grad:
        raise ValueError(
            "a sparse operator gives no gradient to edge_weight: call the layer with edge_index and edge_weight instead"
        )
    # Lambda^-1/2 G Lambda^-1/2 of Eq. 4, once for all layers.
    weight = symmetric_norm(edge_index, edge_weight, num_nodes)
    source, target = edge_index
    # Both or neither: the product and its gradient then run on one layout.
    matrix = windows(target, source, weight, num_nodes)
    transpose = None if matrix is None else windows(source, target, weight, num_nodes)
    if matrix is not None and transpose is not None:
        return SparseOperator(matrix, transpose)
    return SparseOperator(_csr(target, source, weight, num_nodes), _csr(source, target, weight, num_nodes))


class STGConv(MessagePassing):
    r"""Residual graph convolution over object nodes (Pan et al., 2020, Eq. 4).

    .. math:: H' = \mathrm{ReLU}(H + \Lambda^{-1/2} G \Lambda^{-1/2} H W)

    ``G[i, j]`` weighs what node i gathers from node j (edge j -> i, see :mod:`graphs.edges`); ``Lambda[i, i]`` is its
    row sum, taken as 1 where the row is empty. No bias, and no self-loops beyond those of G. PyG's own ``gcn_norm`` is
    not used: it drops all edges into nodes of degree 0.

    There are two paths to one result. With an ``edge_index``, messages are gathered and summed edge by edge: the
    readable one, for :mod:`torch_geometric.explain` and for gradients of the weights. With a :class:`SparseOperator`
    the sum is a matrix product, several times faster. Under autocast both sum in float32.

    Departures, each only where asked for: between different widths the residual is ``H W_r``, a projection without a
    bias; with ``edge_dim``, what node i gathers from node j is ``H_j W + e_ij W_e``, weighed like any message.

    Args:
        in_channels: width ``C`` of the states that come in; -1 to take it from the first batch, as PyG's layers do.
        out_channels: width ``O`` of those that go out; None for the paper's case, the same on both sides.
        edge_dim: width ``F`` of ``edge_attr``; None for a layer without.

    Shapes:
        x ``[N C]``, edge_index ``[2 E]``, edge_weight ``[E]``, edge_attr ``[E F]`` -> ``[N O]``.

    Raises:
        ValueError: ``in_channels=-1`` without ``out_channels``; such a layer always projects the residual.
    """

    def __init__(self, in_channels: int, out_channels: int | None = None, edge_dim: int | None = None) -> None:
        super().__init__(aggr="add")
        out_channels = output_width(in_channels, out_channels)
        self.in_channels, self.out_channels, self.edge_dim = in_channels, out_channels, edge_dim
        self.linear = linear(in_channels, out_channels)
        self.residual = None if in_channels == out_channels else linear(in_channels, out_channels)
        self.edge = None if edge_dim is None else linear(edge_dim, out_channels)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        super().reset_parameters()
        reset(self.linear, self.residual, self.edge)

    def forward(
        self,
        x: Float[Tensor, "N C"],
        edge_index: Int[Tensor, "2 E"] | Float[Tensor, "N N"] | SparseOperator,
        edge_weight: Float[Tensor, " E"] | None = None,
        edge_attr: Float[Tensor, "E F"] | None = None,
    ) -> Float[Tensor, "N O"]:
        """Apply the layer.

        Args:
            x: ``[N C]`` node states.
            edge_index: ``[2 E]`` edges, PyG's sparse ``adj_t [N N]`` with their weights as its values, or the operator
                that :func:`sparse_operator` made of them.
            edge_weight: ``[E]`` their weights, ones if None; not given along with a matrix or an operator.
            edge_attr: ``[E F]`` what else is known of each edge, for a layer with ``edge_dim``; needs an edge_index.

        Raises:
            ValueError: if x or edge_attr has another width than the layer, or edge_attr is missing or not expected; if
                weights come along with an operator, or the operator has another precision than the layer, or is to be
                explained.
        """
        check_width(x, self.linear.weight)
        if not isinstance(edge_index, SparseOperator) and is_sparse(edge_index):
            _refuse_weight(edge_weight, "sparse matrix")
            edge_index, edge_weight = sparse_edges(edge_index)
        self._check_edges(edge_index, edge_attr)
        hidden = self.linear(x)
        residual = x if self.residual is None else self.residual(x)
        # Half precision would lose the small weights of a softmax over dozens of objects in the sum.
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        if isinstance(edge_index, SparseOperator):
            self._check_operator(edge_index, edge_weight, dtype)
            matrix, transpose = edge_index
            if isinstance(matrix, Windows):  # which propagate() does not take for a matrix
                out = sparse_product(edge_index, hidden, residual)
            else:
                out = self.propagate(
                    matrix, x=hidden, edge_weight=None, edge_attr=None, transpose=transpose, residual=residual
                )
        else:
            if edge_weight is None:
                edge_weight = x.new_ones(edge_index.size(1))
            norm = symmetric_norm(edge_index, edge_weight, x.size(0)).to(dtype)
            edge_attr = None if self.edge is None else self.edge(edge_attr)
            out = residual + self.propagate(
                edge_index, x=hidden, edge_weight=norm, edge_attr=edge_attr, transpose=None, residual=None
            )
        # In place: the gradient of ReLU needs its output alone.
        return out.to(hidden.dtype).relu_()

    def _check_edges(self, edge_index: Tensor | SparseOperator, edge_attr: Tensor | None) -> None:
        if self.edge_dim is not None and isinstance(edge_index, SparseOperator):
            raise ValueError("a sparse operator has no edges for edge_attr: give edge_index and edge_weight")
        edges = 0 if isinstance(edge_index, SparseOperator) else edge_index.size(1)
        check_attributes(edge_attr, self.edge_dim, edges)

    def _check_operator(self, operator: SparseOperator, edge_weight: Tensor | None, dtype: torch.dtype) -> None:
        _refuse_weight(edge_weight, "sparse operator")
        if self.explain:
            raise ValueError("a sparse operator has no messages to explain: give edge_index and edge_weight")
        # Converting here would copy the whole matrix once a layer.
        if operator.matrix.dtype != dtype:
            raise ValueError(
                f"the sparse operator is {operator.matrix.dtype}, the layer needs {dtype}: "
                "build it from edge_weight of that type"
            )

    # PyG reads these annotations: nothing but Tensor and its own OptTensor keeps its generated fast code.
    def message(self, x_j: Tensor, edge_weight: Tensor, edge_attr: OptTensor) -> Tensor:
        return edge_weight.unsqueeze(-1) * (x_j if edge_attr is None else x_j + edge_attr)

    def message_and_aggregate(self, adj_t: Tensor, x: Tensor, transpose: Tensor, residual: Tensor) -> Tensor:
        return _SparseProduct.apply(adj_t, transpose, x, residual)

    def __repr__(self) -> str:
        out = "" if self.residual is None else f", {self.out_channels}"
        edge = "" if self.edge_dim is None else f", edge_dim={self.edge_dim}"
        return f"{type(self).__name__}({self.in_channels}{out}{edge})"


def linear(in_channels: int, out_channels: int) -> torch.nn.Linear | Linear:
    """A linear layer without a bias; ``in_channels=-1`` takes its width from the first batch."""
    # PyG's own draws its weights by another formula, so that a seed would give other last bits.
    if in_channels == -1:
        return Linear(-1, out_channels, bias=False)
    return torch.nn.Linear(in_channels, out_channels, bias=False)


def narrow_linear(layer: torch.nn.Module, x: Float[Tensor, "M F"]) -> Float[Tensor, "M O"]:
    """What a linear layer makes of a few numbers a row; the gradient of its weights comes several times faster."""
    # Laid out the other way: MKL is slow to multiply a wide matrix, turned, with a narrow one.
    weight = layer.weight.t().contiguous()  # type: ignore[operator]
    return x @ weight if layer.bias is None else torch.addmm(layer.bias, x, weight)  # type: ignore[arg-type]


def output_width(in_channels: int, out_channels: int | None) -> int:
    """The width of the states that go out: that of those that come in if None.

    Raises:
        ValueError: ``in_channels=-1``, which is taken from the first batch, leaves both open.
    """
    if in_channels == -1 and out_channels is None:
        raise ValueError("in_channels=-1 leaves both widths open: give out_channels too")
    return in_channels if out_channels is None else out_channels


def reset(*parts: torch.nn.Module | None) -> None:
    """Draw the weights of some parts of a layer anew, of those that are there."""
    for part in parts:
        if part is not None:
            part.reset_parameters()  # type: ignore[operator]


def check_width(x: Tensor, weight: Tensor) -> None:
    """Refuse states of another width than the weights ``[O C]`` that read them first; a lazy layer takes any.

    Raises:
        ValueError: naming both widths.
    """
    if not is_lazy(weight) and x.size(-1) != weight.size(1):
        raise ValueError(
            f"x has width {x.size(-1)}, but the layer was built with in_channels={weight.size(1)}: "
            "build it with the width of your features"
        )


def check_attributes(edge_attr: Tensor | None, edge_dim: int | None, edges: int) -> None:
    """Refuse attributes that a layer does not read, or that are not as it reads them.

    Raises:
        ValueError: naming what came and what was expected.
    """
    if edge_dim is None:
        if edge_attr is not None:
            raise ValueError("edge_attr is given, but the layer was built without edge_dim: pass edge_dim to it")
        return
    if edge_attr is None or edge_attr.shape != (edges, edge_dim):
        given = "none was given" if edge_attr is None else f"got {list(edge_attr.shape)}"
        raise ValueError(f"edge_dim={edge_dim} needs edge_attr of shape {[edges, edge_dim]}, {given}")


def sparse_edges(adj_t: Float[Tensor, "N N"]) -> tuple[Int[Tensor, "2 E"], Float[Tensor, " E"]]:
    """The edges of PyG's sparse ``adj_t`` and their weights, its values."""
    # Row i of adj_t is what node i gathers, so its rows are the targets.
    (target, source), edge_weight = to_edge_index(adj_t)
    return torch.stack([source, target]), edge_weight


def sparse_product(operator: SparseOperator, x: Float[Tensor, "N C"], residual: Tensor | None) -> Tensor:
    """``residual + matrix @ x`` in the precision of the operator, with gradients of ``x`` and ``residual``."""
    return _SparseProduct.apply(*operator, x, residual)


def _refuse_weight(edge_weight: Tensor | None, what: str) -> None:
    if edge_weight is not None:
        raise ValueError(f"edge_weight is part of the {what} already: leave it out")


class _SparseProduct(torch.autograd.Function):
    """``residual + matrix @ x``, whose backward pass multiplies with the transpose at hand instead of making one."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        matrix: Tensor | Windows,
        transpose: Tensor | Windows,
        x: Tensor,
        residual: Tensor | None,
    ) -> Tensor:
        ctx.operator = (matrix, transpose)  # type: ignore[attr-defined]
        ctx.types = (x.dtype, None if residual is None else residual.dtype)  # type: ignore[attr-defined]
        # Under autocast the states may be narrower than the matrix, and a sparse matrix cannot be narrowed.
        with torch.autocast(x.device.type, enabled=False):
            residual = None if residual is None else residual.to(matrix.dtype)
            return multiply(matrix, x.to(matrix.dtype), residual)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[None, None, Tensor, Tensor | None]:
        matrix, transpose = ctx.operator  # type: ignore[attr-defined]
        x_type, residual_type = ctx.types  # type: ignore[attr-defined]
        x_grad = _SparseProduct.apply(transpose, matrix, grad, None).to(x_type)
        return None, None, x_grad, None if residual_type is None else grad.to(residual_type)


def multiply(matrix: Tensor | Windows, x: Tensor, residual: Tensor | None) -> Tensor:
    """``residual + matrix @ x``, without gradients."""
    if isinstance(matrix, Windows):
        out = matrix.multiply(x)
        return out if residual is None else out + residual
    # Adding onto the residual, or into memory that nobody filled with zeros, spares a pass over the states.
    if residual is not None:
        return torch.addmm(residual, matrix, x)
    out = x.new_empty(matrix.size(0), x.size(1))
    return torch.addmm(out, matrix, x, beta=0, out=out)


def _csr(row: Tensor, column: Tensor, value: Tensor, num_nodes: int) -> Tensor:
    # By row, then by column, as CSR has it; stable, so that an edge that is given twice keeps its order.
    order = (row * num_nodes + column).argsort(stable=True)
    ends = torch.bincount(row, minlength=num_nodes).cumsum(0)
    ends = torch.cat([ends.new_zeros(1), ends])
    return csr_tensor(ends, column[order], value[order], (num_nodes, num_nodes))


def csr_tensor(ends: Tensor, column: Tensor, value: Tensor, size: tuple[int, int]) -> Tensor:
    """A sparse matrix of ready parts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(ends, column, value, size, check_invariants=False)
