"""Attention over edges as products of sparse matrices: nothing is as wide as a state and as long as the edges."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from graphs.conv import csr_tensor, multiply


class AttentionOperator(NamedTuple):
    """The edges of a batch, each once a head, in the order in which targets gather them: made once for all layers.

    A row is a node and a head, ``node * H + head``; ``E * H`` entries lie by row. ``back`` holds the same entries by
    the row of their source: what the backward pass multiplies with.
    """

    ends: Int[Tensor, " N*H+1"]
    row: Int[Tensor, " E*H"]
    source: Int[Tensor, " E*H"]
    edge: Int[Tensor, " E*H"]
    prior: Float[Tensor, " E*H"]
    back: tuple[Int[Tensor, " N*H+1"], Int[Tensor, " E*H"], Int[Tensor, " E*H"]]
    attributes: Float[Tensor, "E F"] | None
    heads: int


def attention_operator(
    edge_index: Int[Tensor, "2 E"],
    edge_weight: Float[Tensor, " E"],
    num_nodes: int,
    heads: int,
    attributes: Float[Tensor, "E F"] | None = None,
) -> AttentionOperator:
    """Lay edges out for :class:`graphs.AttentionConv`.

    Args:
        edge_index: ``[2 E]`` edges in any order.
        edge_weight: ``[E]`` their weights, the prior of the attention, in the precision of the layer (at least
            float32).
        num_nodes: number ``N`` of nodes.
        heads: number ``H`` of heads.
        attributes: ``[E F]`` what is known of each edge, its kind included (:meth:`graphs.AttentionConv.known`).

    Raises:
        ValueError: if weights or attributes require a gradient, which the operator could not give.
    """
    if edge_weight.requires_grad or (attributes is not None and attributes.requires_grad):
        raise ValueError(
            "an operator gives no gradient to weights and attributes of edges: call the layer with edge_index instead"
        )
    order = (edge_index[1] * num_nodes + edge_index[0]).argsort(stable=True)
    source, target = edge_index[:, order]
    first, ends, row, edge = _by_head(target, num_nodes, heads)
    by_source = source.argsort(stable=True)
    _, back_ends, back_row, back_edge = _by_head(source[by_source], num_nodes, heads)
    back_edge = by_source[back_edge]
    back_target = target[back_edge] * heads + back_row % heads
    place = ends[back_target] + back_edge - first[target[back_edge]]
    # The least number instead of 0, whose logarithm has no gradient.
    prior = edge_weight.clamp(min=torch.finfo(edge_weight.dtype).tiny).log()[order][edge]
    known = None if attributes is None else attributes[order].to(prior.dtype)
    back = (back_ends, back_target, place)
    return AttentionOperator(ends, row, source[edge] * heads + row % heads, edge, prior, back, known, heads)


def attend(
    query: Float[Tensor, "N H D"],
    key: Float[Tensor, "N H D"],
    value: Float[Tensor, "N H D"],
    asked: Float[Tensor, "N H F"] | None,
    operator: AttentionOperator,
) -> tuple[Float[Tensor, "N H D"], Float[Tensor, "N H F"] | None]:
    r"""What each node gathers by each head, of values and of attributes.

    .. math::
        \alpha_{ij} = \mathrm{softmax}_j\big((q_i \cdot k_j + a_i \cdot e_{ij}) / \sqrt{d} + \log w_{ij}\big), \qquad
        \textstyle\sum_j \alpha_{ij} v_j, \; \sum_j \alpha_{ij} e_{ij}

    Gradients go to query, key, value and asked, once.
    """
    parts = [part.flatten(0, 1) for part in (query, key, value)]
    summed, known = _Attend.apply(*parts, None if asked is None else asked.flatten(0, 1), operator)
    return summed.view(value.shape), None if asked is None else known.view(asked.shape)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, query: Tensor, key: Tensor, value: Tensor, asked: Tensor | None, operator: AttentionOperator
    ) -> tuple[Tensor, Tensor | None]:
        ends, row, source, edge, prior, back, known, _ = operator
        scale = 1 / math.sqrt(query.size(1))
        score = _products(ends, source, prior, query, key, scale)
        if known is not None and asked is not None:
            score = _products(ends, edge, score, asked, known, scale)
        highest = torch.segment_reduce(score, "max", offsets=ends, axis=0, unsafe=True)
        power = score.sub_(highest.index_select(0, row)).exp_()
        total = torch.segment_reduce(power, "sum", offsets=ends, axis=0, unsafe=True)
        alpha = power.div_(total.index_select(0, row))
        ctx.save_for_backward(query, key, value, alpha, known, *operator[:4], *back)  # type: ignore[arg-type]
        gathered = None if known is None else _gather(ends, edge, alpha, known)
        return _gather(ends, source, alpha, value), gathered

    @staticmethod
    @once_differentiable
    def backward(
        ctx: FunctionCtx, summed_grad: Tensor, known_grad: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None, None]:
        query, key, value, alpha, known, *layout = ctx.saved_tensors  # type: ignore[attr-defined]
        ends, row, source, edge, back_ends, target, place = layout
        summed_grad, zero = summed_grad.contiguous(), torch.zeros_like(alpha)
        grad = _products(ends, source, zero, summed_grad, value, 1.0)
        if known is not None and known_grad is not None:
            grad = _products(ends, edge, grad, known_grad.contiguous(), known, 1.0)
        mean = torch.segment_reduce(alpha * grad, "sum", offsets=ends, axis=0, unsafe=True)
        score = grad.sub_(mean.index_select(0, row)).mul_(alpha).div_(math.sqrt(query.size(1)))
        return (
            _gather(ends, source, score, key),
            _gather(back_ends, target, score.index_select(0, place), query),
            _gather(back_ends, target, alpha.index_select(0, place), summed_grad),
            None if known is None else _gather(ends, edge, score, known),
            None,
        )


def _products(ends: Tensor, column: Tensor, add: Tensor, one: Tensor, other: Tensor, scale: float) -> Tensor:
    """``add + scale * one[row] . other[column]`` of each entry."""
    matrix = csr_tensor(ends, column, add, (one.size(0), other.size(0)))
    return torch.sparse.sampled_addmm(matrix, one, other.t(), beta=1, alpha=scale).values()


def _gather(ends: Tensor, column: Tensor, weight: Tensor, states: Tensor) -> Tensor:
    """The weighted sum of the states of each row's entries."""
    with torch.autocast(states.device.type, enabled=False):
        return multiply(csr_tensor(ends, column, weight, (len(ends) - 1, states.size(0))), states, None)


def _by_head(node: Tensor, num_nodes: int, heads: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of edges that are ordered by node: where those of each node begin, where the entries of each row do, and the row
    and the edge of each entry."""
    count = torch.bincount(node, minlength=num_nodes)
    first = torch.cat([count.new_zeros(1), count.cumsum(0)])
    entries = count.repeat_interleave(heads)
    ends = torch.cat([entries.new_zeros(1), entries.cumsum(0)])
    row = torch.arange(num_nodes * heads, device=node.device).repeat_interleave(entries)
    edge = first[row // heads] + torch.arange(len(row), device=node.device) - ends[row]
    return first, ends, row, edge
