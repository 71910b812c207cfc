"""Variants of the graph as edge filters, so that one stored full graph serves every ablation (Pan et al., Table 3)."""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphs.edges import EDGE_TYPES, dense_edges

Variant = Literal["full", "spatial", "temporal", "dense", "none"]
TimeFlow = Literal["literal", "forward", "both"]

VARIANTS: tuple[str, ...] = get_args(Variant)
"""``full``: Eq. 3. ``spatial``, ``temporal``: the other block is zero. ``dense``: all ones. ``none``: no edges."""

TIME_FLOWS: tuple[str, ...] = get_args(TimeFlow)
"""``literal``: frame t gathers from t + 1, as Eq. 2 is written. ``forward``: t + 1 gathers from t. ``both``: both."""

DENSE_TYPE = -1
"""``edge_type`` of the edges of the dense variant."""

SelectedEdges = tuple[Int[Tensor, "2 E"], Float[Tensor, " E"], Int[Tensor, " E"]]


def select_edges(
    variant: str,
    edge_index: Int[Tensor, "2 F"],
    edge_weight: Float[Tensor, " F"],
    edge_type: Int[Tensor, " F"],
    ptr: Int[Tensor, " B1"],
    time_flow: str = "literal",
) -> SelectedEdges:
    """Turn the edges of full graphs into those of a variant.

    ``forward`` transposes the temporal block: the edge is flipped and keeps its weight, so its rows no longer sum to 1
    (the degrees of Eq. 4 take care of that). The other variants have no temporal edges, so ``time_flow`` leaves them
    alone.

    Args:
        variant: one of :data:`VARIANTS`.
        edge_index: ``[2 F]`` edges of the full graphs, of one video or of many.
        edge_weight: ``[F]`` their weights.
        edge_type: ``[F]`` their types, numbers into :data:`graphs.EDGE_TYPES`.
        ptr: ``[B + 1]`` offsets: video b owns the nodes ``ptr[b]`` to ``ptr[b + 1] - 1``.
        time_flow: one of :data:`TIME_FLOWS`.

    Returns:
        The selected ``edge_index``, ``edge_weight``, ``edge_type``.

    Raises:
        ValueError: if a name is unknown.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got '{variant}'")
    if time_flow not in TIME_FLOWS:
        raise ValueError(f"time_flow must be one of {', '.join(TIME_FLOWS)}, got '{time_flow}'")
    if variant == "dense":
        index, weight = dense_edges(ptr, dtype=edge_weight.dtype)
        return index, weight, edge_type.new_full((len(weight),), DENSE_TYPE)
    if variant == "none":
        return edge_index[:, :0], edge_weight[:0], edge_type[:0]
    if variant != "full":
        chosen = edge_type == EDGE_TYPES.index(variant)
        edge_index, edge_weight, edge_type = edge_index[:, chosen], edge_weight[chosen], edge_type[chosen]
    if time_flow == "literal":
        return edge_index, edge_weight, edge_type
    temporal = edge_type == EDGE_TYPES.index("temporal")
    flipped = edge_index.flip(0)
    if time_flow == "forward":
        return torch.where(temporal, flipped, edge_index), edge_weight, edge_type
    return (
        torch.cat([edge_index, flipped[:, temporal]], dim=1),
        torch.cat([edge_weight, edge_weight[temporal]]),
        torch.cat([edge_type, edge_type[temporal]]),
    )
