"""Graph convolutions that tell kinds of edges apart, or weigh edges by what their ends are."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear as multiply
from torch.nn.functional import one_hot
from torch.nn.parameter import is_lazy
from torch_geometric.nn import MessagePassing
from torch_geometric.typing import OptTensor
from torch_geometric.utils import softmax

from graphs.attention_edges import AttentionOperator, attend
from graphs.conv import (
    SparseOperator,
    check_attributes,
    check_width,
    linear,
    narrow_linear,
    output_width,
    reset,
    sparse_operator,
    sparse_product,
    symmetric_norm,
)


class RelationalOperator(NamedTuple):
    """The edges of a batch as matrices, one a kind (None where it has no edges), shared by all layers.

    ``attributes [N K F]`` are the weighted sums of what is known of the edges that each node gathers by; None where
    nothing is.
    """

    matrices: tuple[SparseOperator | None, ...]
    attributes: Float[Tensor, "N K F"] | None


def relational_operator(
    edge_index: Int[Tensor, "2 E"],
    edge_weight: Float[Tensor, " E"],
    edge_type: Int[Tensor, " E"],
    num_nodes: int,
    types: int,
    edge_attr: Float[Tensor, "E F"] | None = None,
) -> RelationalOperator:
    """Normalise the edges of each kind as Eq. 4 has it, and lay them out as :func:`graphs.sparse_operator` does.

    Args:
        edge_index, edge_weight: ``[2 E]`` edges and ``[E]`` their weights.
        edge_type: ``[E]`` kinds, from 0 to ``types - 1``.
        num_nodes: number ``N`` of nodes.
        types: number ``K`` of kinds.
        edge_attr: ``[E F]`` what is known of each edge, for layers with ``edge_dim``.

    Raises:
        ValueError: if ``edge_weight`` requires a gradient, which the operator could not give.
    """
    matrices: list[SparseOperator | None] = []
    for number in range(types):
        own = (edge_type == number).nonzero().squeeze(1)
        some = len(own) > 0
        matrices.append(sparse_operator(edge_index[:, own], edge_weight[own], num_nodes) if some else None)
    if edge_attr is None:
        return RelationalOperator(tuple(matrices), None)
    slots = edge_index * types + edge_type
    norm = symmetric_norm(slots, edge_weight, num_nodes * types)
    weighed = norm.unsqueeze(1) * edge_attr.to(norm.dtype)
    sums = weighed.new_zeros(num_nodes * types, edge_attr.size(1)).index_add(0, slots[1], weighed)
    return RelationalOperator(tuple(matrices), sums.view(num_nodes, types, edge_attr.size(1)))


class RelationalConv(MessagePassing):
    r"""The paper's convolution with weights of its own for each kind of edge (Schlichtkrull et al., 2018, R-GCN).

    .. math:: H' = \mathrm{ReLU}(H + \sum_k \Lambda_k^{-1/2} G_k \Lambda_k^{-1/2} H W_k)

    ``G_k`` holds the edges of kind k and ``Lambda_k`` its row sums, taken as 1 where a row is empty, so that each kind
    is normalised by itself, as in Eq. 4 of Pan et al. (2020); R-GCN takes means, and weights of its own in place of the
    residual. With one kind it is :class:`graphs.STGConv`. With ``edge_dim``, what node i gathers by an edge of kind k
    is ``H_j W_k + e_ij U_k``.

    As there, two paths lead to one result: edge by edge, for :mod:`torch_geometric.explain` and gradients of the
    weights, or with a :class:`RelationalOperator`, several times faster. There, ``e_ij`` is summed before it is
    multiplied: its cost does not grow with the channels.

    Args:
        in_channels: width ``C`` of the states that come in; -1 to take it from the first batch.
        out_channels: width ``O`` of those that go out; None: the same. Otherwise the residual is projected.
        types: number ``K`` of kinds of edges.
        edge_dim: width ``F`` of ``edge_attr``; None for a layer without.

    Shapes:
        x ``[N C]``, edge_index ``[2 E]``, edge_weight, edge_type ``[E]``, edge_attr ``[E F]`` -> ``[N O]``.

    Raises:
        ValueError: ``types`` below 1, or ``in_channels=-1`` without ``out_channels``.
    """

    def __init__(
        self, in_channels: int, out_channels: int | None = None, *, types: int, edge_dim: int | None = None
    ) -> None:
        super().__init__(aggr="add")
        out_channels = output_width(in_channels, out_channels)
        if types < 1:
            raise ValueError(f"types must be a number of kinds of edges, 1 or more, got {types}")
        self.in_channels, self.out_channels, self.types, self.edge_dim = in_channels, out_channels, types, edge_dim
        self.linear = linear(in_channels, types * out_channels)
        self.residual = None if in_channels == out_channels else linear(in_channels, out_channels)
        self.edge = None if edge_dim is None else linear(types * edge_dim, out_channels)

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        super().reset_parameters()
        reset(self.linear, self.residual, self.edge)

    def forward(
        self,
        x: Float[Tensor, "N C"],
        edge_index: Int[Tensor, "2 E"] | RelationalOperator,
        edge_weight: Float[Tensor, " E"] | None = None,
        edge_type: Int[Tensor, " E"] | None = None,
        edge_attr: Float[Tensor, "E F"] | None = None,
    ) -> Float[Tensor, "N O"]:
        """Apply the layer.

        Args:
            x: ``[N C]`` node states.
            edge_index: ``[2 E]`` edges, or what :func:`relational_operator` made of them, which comes alone.
            edge_weight: ``[E]`` their weights, ones if None.
            edge_type: ``[E]`` their kinds, from 0 to ``types - 1``; None where there is one kind.
            edge_attr: ``[E F]`` what else is known of each edge, for a layer with ``edge_dim``.

        Raises:
            ValueError: x or edge_attr of another width, a kind that is not there, or attributes that are missing or
                not expected.
        """
        check_width(x, self.linear.weight)
        if is_lazy(self.linear.weight):
            self.linear(x[:0])
        residual = x if self.residual is None else self.residual(x)
        if isinstance(edge_index, RelationalOperator):
            return self._multiply(x, edge_index, residual)
        edge_weight, kind = _edges(edge_index, edge_weight, edge_type, self.types, x)
        check_attributes(edge_attr, self.edge_dim, edge_index.size(1))
        # Each node once a kind: a message comes from the copy that has been multiplied with the weights of its kind.
        slots = edge_index * self.types + kind
        hidden = self.linear(x).view(-1, self.out_channels)
        norm = symmetric_norm(slots, edge_weight, hidden.size(0))
        norm = norm.to(torch.promote_types(hidden.dtype, torch.float32))
        attributes = None
        if self.edge is not None and edge_attr is not None:
            by_kind = one_hot(kind, self.types).to(edge_attr.dtype).unsqueeze(2) * edge_attr.unsqueeze(1)
            attributes = self.edge(by_kind.flatten(1))
        messages = torch.stack([slots[0], edge_index[1]])
        out = residual + self.propagate(
            messages, x=(hidden, None), edge_weight=norm, edge_attr=attributes, size=(hidden.size(0), x.size(0))
        )
        return out.to(hidden.dtype).relu_()

    def _multiply(self, x: Tensor, operator: RelationalOperator, residual: Tensor) -> Tensor:
        if self.explain:
            raise ValueError("an operator has no messages to explain: give edge_index, edge_weight and edge_type")
        if len(operator.matrices) != self.types:
            raise ValueError(f"the operator has {len(operator.matrices)} kinds of edges, the layer {self.types}")
        if (self.edge_dim is None) != (operator.attributes is None):
            raise ValueError(
                "edge_attr and edge_dim belong together: make the operator with edge_attr for such a layer"
            )
        out, dtype = residual, residual.dtype
        for weight, matrix in zip(self.linear.weight.chunk(self.types), operator.matrices, strict=True):
            if matrix is not None:
                hidden = multiply(x, weight)
                out, dtype = sparse_product(matrix, hidden, out), hidden.dtype
        if self.edge is not None and operator.attributes is not None:
            out = out + narrow_linear(self.edge, operator.attributes.flatten(1))
        return out.to(dtype).relu()

    # PyG reads these annotations: nothing but Tensor and its own OptTensor keeps its generated fast code.
    def message(self, x_j: Tensor, edge_weight: Tensor, edge_attr: OptTensor) -> Tensor:
        return edge_weight.unsqueeze(-1) * (x_j if edge_attr is None else x_j + edge_attr)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_shown(self)}, types={self.types}{_edge_shown(self)})"


class AttentionConv(MessagePassing):
    r"""Attention over the given edges, with the paper's weights as a prior: a learned relation.

    .. math::
        \alpha_{ij} = \mathrm{softmax}_j\big(q_i \cdot (k_j + e_{ij} U) / \sqrt{d} + \log w_{ij}\big),\qquad
        H'_i = \mathrm{ReLU}\big(H_i + \sum_j \alpha_{ij} (v_j + e_{ij} U)\big)

    in each head of width d, over all edges into i, of whatever kind. Query, key and value as in the transformer
    convolution of Shi et al. (2021, PyG's ``TransformerConv``); the learned relation of ORG-TRL (Zhang et al., 2020) is
    the same without edges. The prior is not in these papers: where queries say nothing, the weights ``w`` of the edges
    decide, and what has no weight is never attended to. With ``types``, the kind of an edge is among what is known of
    it. Linear in the edges.

    Edge by edge, weights, attributes and states have gradients, and :mod:`torch_geometric.explain` can explain it; with
    an :class:`AttentionOperator`, only states have, and it takes a third of the time.

    Args:
        in_channels: width ``C`` of the states that come in; -1 to take it from the first batch.
        out_channels: width ``O`` of those that go out, a multiple of ``heads``; None: the same. Otherwise the residual
            is projected.
        heads: number ``H`` of heads.
        edge_dim: width ``F`` of ``edge_attr``; None for a layer without.
        types: number of kinds of edges; 0: kinds are not read.

    Shapes:
        x ``[N C]``, edge_index ``[2 E]``, edge_weight, edge_type ``[E]``, edge_attr ``[E F]`` -> ``[N O]``.

    Raises:
        ValueError: widths that do not go together.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        heads: int,
        edge_dim: int | None = None,
        types: int = 0,
    ) -> None:
        super().__init__(aggr="add", node_dim=0)
        out_channels = output_width(in_channels, out_channels)
        if heads < 1 or out_channels % heads:
            raise ValueError(f"the width of the states must be a multiple of heads, got {out_channels} and {heads}")
        if types < 0:
            raise ValueError(f"types must be a number of kinds of edges, or 0 for none, got {types}")
        self.in_channels, self.out_channels, self.heads = in_channels, out_channels, heads
        self.edge_dim, self.types = edge_dim, types
        self.query, self.key, self.value = (linear(in_channels, out_channels) for _ in range(3))
        self.residual = None if in_channels == out_channels else linear(in_channels, out_channels)
        known = (edge_dim or 0) + types
        self.edge = linear(known, out_channels) if known else None

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        super().reset_parameters()
        reset(self.query, self.key, self.value, self.residual, self.edge)

    def forward(
        self,
        x: Float[Tensor, "N C"],
        edge_index: Int[Tensor, "2 E"] | AttentionOperator,
        edge_weight: Float[Tensor, " E"] | None = None,
        edge_type: Int[Tensor, " E"] | None = None,
        edge_attr: Float[Tensor, "E F"] | None = None,
    ) -> Float[Tensor, "N O"]:
        """Apply the layer; arguments and errors as :meth:`RelationalConv.forward`.

        In place of edges it takes what :func:`graphs.attention_operator` made of them, which comes alone.
        """
        check_width(x, self.query.weight)
        if not isinstance(edge_index, AttentionOperator):
            check_attributes(edge_attr, self.edge_dim, edge_index.size(1))
        residual = x if self.residual is None else self.residual(x)
        shape = (-1, self.heads, self.out_channels // self.heads)
        query, key, value = (part(x).view(shape) for part in (self.query, self.key, self.value))
        given = value.dtype
        # The softmax in half precision would lose small weights.
        dtype = torch.promote_types(given, torch.float32)
        query, key, value = (part.to(dtype) for part in (query, key, value))
        asked = None if self.edge is None else torch.einsum("nhd,hdf->nhf", query, self._by_head(dtype)).to(dtype)
        if isinstance(edge_index, AttentionOperator):
            self._check_operator(edge_index, dtype)
            gathered, known = attend(query, key, value, asked, edge_index)
        else:
            edge_weight, kind = _edges(edge_index, edge_weight, edge_type, self.types, x)
            attributes = self.known(kind, edge_attr, dtype)
            alpha = self._attention(query, key, asked, edge_index, edge_weight.to(dtype), attributes)
            size = (x.size(0), x.size(0))
            summed = self.propagate(edge_index, value=value, alpha=alpha, edge_attr=attributes, size=size)
            gathered, known = summed[..., : shape[2]], summed[..., shape[2] :]
        if self.edge is not None:
            # Summed before it is multiplied: so it costs F numbers an edge in place of O.
            gathered = gathered + torch.einsum("nhf,hdf->nhd", known, self._by_head(dtype))
        return (residual + gathered.flatten(1)).to(given).relu_()

    def known(self, kind: Int[Tensor, " E"], edge_attr: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        """What the layer reads of each edge, its kind included; None where it reads nothing."""
        parts = [] if edge_attr is None else [edge_attr]
        parts += [one_hot(kind, self.types)] if self.types else []
        return torch.cat([part.to(dtype) for part in parts], dim=1) if parts else None

    def _check_operator(self, operator: AttentionOperator, dtype: torch.dtype) -> None:
        if self.explain:
            raise ValueError("an operator has no messages to explain: give edge_index, edge_weight and edge_type")
        if operator.heads != self.heads:
            raise ValueError(f"the operator has {operator.heads} heads, the layer {self.heads}")
        expected = 0 if self.edge is None else self.edge.weight.size(1)
        found = 0 if operator.attributes is None else operator.attributes.size(1)
        if found != expected:
            raise ValueError(f"the operator has {found} attributes an edge, the layer {expected}, kinds included")
        if operator.prior.dtype != dtype:
            raise ValueError(
                f"the operator is {operator.prior.dtype}, the layer needs {dtype}: build it from edge_weight of that "
                "type"
            )

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        asked: Tensor | None,
        edge_index: Tensor,
        edge_weight: Tensor,
        attributes: Tensor | None,
    ) -> Tensor:
        """``[E H]``"""
        source, target = edge_index
        # Selected, not indexed: the gradient of an index is many times slower.
        score = (query.index_select(0, target) * key.index_select(0, source)).sum(dim=2)
        if asked is not None and attributes is not None:
            score = score + (asked.index_select(0, target) * attributes.unsqueeze(1)).sum(dim=2)
        # The least number instead of 0, whose logarithm has no gradient.
        prior = edge_weight.clamp(min=torch.finfo(edge_weight.dtype).tiny).log()
        return softmax(score / math.sqrt(query.size(2)) + prior.unsqueeze(1), target, num_nodes=query.size(0))

    def _by_head(self, dtype: torch.dtype) -> Tensor:
        assert self.edge is not None
        return self.edge.weight.view(self.heads, self.out_channels // self.heads, -1).to(dtype)

    def message(self, value_j: Tensor, alpha: Tensor, edge_attr: OptTensor) -> Tensor:
        if edge_attr is not None:
            value_j = torch.cat([value_j, edge_attr.unsqueeze(1).expand(-1, value_j.size(1), -1)], dim=2)
        return alpha.unsqueeze(2) * value_j

    def __repr__(self) -> str:
        kinds = f", types={self.types}" if self.types else ""
        return f"{type(self).__name__}({_shown(self)}, heads={self.heads}{_edge_shown(self)}{kinds})"


def _edges(
    edge_index: Tensor, edge_weight: Tensor | None, edge_type: Tensor | None, types: int, x: Tensor
) -> tuple[Tensor, Tensor]:
    """Weights and kinds, where they were not given; kinds that are not there are refused."""
    edge_weight = x.new_ones(edge_index.size(1)) if edge_weight is None else edge_weight
    if edge_type is None:
        if types > 1:
            raise ValueError(f"types={types} needs edge_type, the kind of each edge: give it, or build with one kind")
        return edge_weight, torch.zeros_like(edge_index[0])
    kind = edge_type.long()
    if types and kind.numel() and not torch.compiler.is_exporting():
        for number in (int(kind.min()), int(kind.max())):
            if not 0 <= number < types:
                raise ValueError(f"edge_type must lie in 0..{types - 1} (types={types}), got {number}")
    return edge_weight, kind


def _shown(layer: RelationalConv | AttentionConv) -> str:
    return f"{layer.in_channels}" + ("" if layer.residual is None else f", {layer.out_channels}")


def _edge_shown(layer: RelationalConv | AttentionConv) -> str:
    return "" if layer.edge_dim is None else f", edge_dim={layer.edge_dim}"
