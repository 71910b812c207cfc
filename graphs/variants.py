"""Variants of the graph as edge filters, so that one stored full graph serves every ablation (Pan et al., Table 3).

Another variant is a function in :data:`VARIANTS`; it sees boxes, frames and features, so it needs no new store:

>>> def close_edges(batch):
...     index, weight = graphs.spatial_edges(batch.boxes, batch.frame, batch.batch, iou_threshold=0.3)
...     return index, weight, torch.full_like(index[0], graphs.EDGE_TYPES["close"])
>>> graphs.EDGE_TYPES["close"] = 2
>>> graphs.VARIANTS["close"] = close_edges
"""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphs.edges import EDGE_TYPES, dense_edges
from graphs.flat import FlatBatch, GraphData

TimeFlow = Literal["literal", "forward", "both"]

TIME_FLOWS: tuple[str, ...] = get_args(TimeFlow)
"""``literal``: frame t gathers from t + 1, as Eq. 2 is written. ``forward``: t + 1 gathers from t. ``both``: both."""

DENSE_TYPE = -1
"""``edge_type`` of the edges of the dense variant, which no store holds."""

SelectedEdges = tuple[Int[Tensor, "2 E"], Float[Tensor, " E"], Int[Tensor, " E"]]


def _full(batch: FlatBatch) -> SelectedEdges:
    return batch.edge_index, batch.edge_weight, batch.edge_type


def _of_type(name: str) -> Callable[[FlatBatch], SelectedEdges]:
    def select(batch: FlatBatch) -> SelectedEdges:
        chosen = batch.edge_type == EDGE_TYPES[name]
        return batch.edge_index[:, chosen], batch.edge_weight[chosen], batch.edge_type[chosen]

    return select


def _dense(batch: FlatBatch) -> SelectedEdges:
    index, weight = dense_edges(batch.ptr, dtype=batch.edge_weight.dtype)
    return index, weight, batch.edge_type.new_full((len(weight),), DENSE_TYPE)


def _none(batch: FlatBatch) -> SelectedEdges:
    return batch.edge_index[:, :0], batch.edge_weight[:0], batch.edge_type[:0]


VARIANTS: dict[str, Callable[[FlatBatch], SelectedEdges]] = {
    "full": _full,
    "spatial": _of_type("spatial"),
    "temporal": _of_type("temporal"),
    "dense": _dense,
    "none": _none,
}
"""Name -> function of a flat batch to ``edge_index [2 E]``, ``edge_weight [E]``, ``edge_type [E]``.

``full``: Eq. 3. ``spatial``, ``temporal``: the other block is zero. ``dense``: all ones. ``none``: no edges. The batch
has the fields of the graphs, its stored edges among them, and ``batch [N]`` and ``ptr [B + 1]``.
"""


def check_variant(variant: str, time_flow: str = "literal") -> None:
    """Refuse a name that is not known.

    Raises:
        ValueError: naming those that are.
    """
    if variant not in VARIANTS:
        near = "".join(f"; did you mean {name!r}?" for name in get_close_matches(variant, VARIANTS, 1))
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got '{variant}'{near}")
    if time_flow not in TIME_FLOWS:
        raise ValueError(f"time_flow must be one of {', '.join(TIME_FLOWS)}, got '{time_flow}'")


def select_edges(data: GraphData, variant: str, time_flow: str = "literal") -> SelectedEdges:
    """Turn the edges of full graphs into those of a variant.

    ``forward`` transposes the temporal block: the edge is flipped and keeps its weight, so its rows no longer sum to 1
    (the degrees of Eq. 4 take care of that). Edges of other types are left alone.

    Args:
        data: the full graphs, one or a flat batch; unchanged.
        variant: one of :data:`VARIANTS`.
        time_flow: one of :data:`TIME_FLOWS`, for the edges of type "temporal".

    Returns:
        The selected ``edge_index [2 E]``, ``edge_weight [E]``, ``edge_type [E]`` (:data:`graphs.EDGE_TYPES`).

    Raises:
        ValueError: if a name is unknown, or a variant gives what are no edges between the objects of each video.
    """
    check_variant(variant, time_flow)
    batch = _with_offsets(data)
    selected = VARIANTS[variant](batch)
    # Only a function that is not from here can give anything else than edges.
    if VARIANTS[variant].__module__ != __name__:
        _check_edges(variant, batch, selected)
    edge_index, edge_weight, edge_type = selected
    if time_flow == "literal":
        return edge_index, edge_weight, edge_type
    temporal = edge_type == EDGE_TYPES["temporal"]
    flipped = edge_index.flip(0)
    if time_flow == "forward":
        return torch.where(temporal, flipped, edge_index), edge_weight, edge_type
    return (
        torch.cat([edge_index, flipped[:, temporal]], dim=1),
        torch.cat([edge_weight, edge_weight[temporal]]),
        torch.cat([edge_type, edge_type[temporal]]),
    )


def _with_offsets(data: GraphData) -> FlatBatch:
    """The same tensors with ``batch`` and ``ptr``, which a single graph has not, and PyG need not have made."""
    batch = FlatBatch(**data.to_dict())
    if "ptr" not in batch and "batch" in batch:
        ends = torch.bincount(batch["batch"]).cumsum(0)
        batch["ptr"] = torch.cat([ends.new_zeros(1), ends])
    elif "ptr" not in batch:
        batch["ptr"] = torch.tensor([0, len(batch.frame)], device=batch.frame.device)
    if "batch" not in batch:
        count = batch.ptr.diff()
        batch["batch"] = torch.arange(len(count), device=count.device).repeat_interleave(count)
    return batch


def _check_edges(variant: str, batch: FlatBatch, edges: tuple[Tensor, Tensor, Tensor]) -> None:
    index, weight, kind = edges
    count = len(weight)
    if index.shape != (2, count) or kind.shape != (count,) or index.dtype != torch.int64 or kind.dtype != torch.int64:
        raise ValueError(
            f"the edges of variant '{variant}' must be edge_index [2 E] int64, edge_weight [E], edge_type [E] int64; "
            f"got {list(index.shape)} {index.dtype}, {list(weight.shape)}, {list(kind.shape)} {kind.dtype}"
        )
    # No edges are legal, and have no smallest number to compare.
    if not count:
        return
    video = batch["batch"]
    if int(index.min()) < 0 or int(index.max()) >= len(video) or bool((video[index[0]] != video[index[1]]).any()):
        raise ValueError(f"variant '{variant}' joins objects of different videos, or objects that are not there")
    unnamed = set(kind.unique().tolist()) - {*EDGE_TYPES.values(), DENSE_TYPE}
    if unnamed:
        raise ValueError(
            f"variant '{variant}' gives edge_type {min(unnamed)}, which has no name: register one first, as in "
            f"graphs.EDGE_TYPES['{variant}'] = {min(unnamed)}"
        )
