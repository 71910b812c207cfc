"""Variants of the graph as edge filters, so that one stored full graph serves every ablation (Pan et al., Table 3).

Another variant is a function in :data:`VARIANTS`; it sees boxes, frames and features, so it needs no new store:

>>> def close_edges(batch):
...     index, weight = graphs.spatial_edges(batch.boxes, batch.frame, batch.batch, iou_threshold=0.3)
...     return index, weight, torch.full_like(index[0], graphs.EDGE_TYPES["close"])
>>> graphs.EDGE_TYPES["close"] = 2
>>> graphs.VARIANTS["close"] = close_edges
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphs.edges import EDGE_TYPES, dense_edges
from graphs.flat import FlatBatch, GraphData
from graphs.identity_edges import check_window, track_edges

TimeFlow = Literal["literal", "forward", "both"]

TIME_FLOWS: tuple[str, ...] = get_args(TimeFlow)
"""``literal``: frame t gathers from t + 1, as Eq. 2 is written. ``forward``: t + 1 gathers from t. ``both``: both."""

DENSE_TYPE = -1
"""``edge_type`` of the edges of the dense variant, which no store holds."""

SelectedEdges = tuple[Int[Tensor, "2 E"], Float[Tensor, " E"], Int[Tensor, " E"]]

PlacedEdges = tuple[Int[Tensor, "2 E"], Float[Tensor, " E"], Int[Tensor, " E"], Int[Tensor, " E"]]


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


@dataclass(frozen=True)
class TrackVariant:
    """Edges along tracks (:func:`graphs.track_edges`), of the type "track", with stored edges or without.

    They are drawn from the field ``track`` of the batch, in the place of stored ones of that type. Another window or
    direction is another variant:

    >>> graphs.VARIANTS["spatial+past"] = graphs.TrackVariant(("spatial",), span=3, direction="forward")

    Args:
        keep: the types of stored edges that stay; None: all.
        span: the window: the largest distance in frames.
        direction: both, or forward or backward in time, whatever the time flow of the temporal edges is.

    Raises:
        ValueError: a window that cannot be; when called, a batch without ``track``.
    """

    keep: tuple[str, ...] | None = ()
    span: int = 1
    direction: str = "both"

    def __post_init__(self) -> None:
        check_window(self.span, self.direction)
        if self.keep is not None and (unknown := [name for name in self.keep if name not in EDGE_TYPES]):
            raise ValueError(f"keep names types of edges, of {', '.join(EDGE_TYPES)}; got {unknown[0]!r}")

    def __call__(self, batch: FlatBatch) -> SelectedEdges:
        if "track" not in batch:
            raise ValueError(
                "edges along tracks need track, the identity of each object over time, which the graphs (or one of "
                "them) have not: `python -m stg.store tracks STORE --out OTHER` writes it into a store, the transform "
                "graphs.LinkTracks() into graphs"
            )
        index, weight = track_edges(batch.frame, batch.track, batch.batch, span=self.span, direction=self.direction)
        number = EDGE_TYPES["track"]
        stays = batch.edge_type != number
        if self.keep is not None:
            stays &= torch.isin(batch.edge_type, batch.edge_type.new_tensor([EDGE_TYPES[name] for name in self.keep]))
        return (
            torch.cat([batch.edge_index[:, stays], index], dim=1),
            torch.cat([batch.edge_weight[stays], weight.to(batch.edge_weight)]),
            torch.cat([batch.edge_type[stays], batch.edge_type.new_full((len(weight),), number)]),
        )


VARIANTS: dict[str, Callable[[FlatBatch], SelectedEdges | PlacedEdges]] = {
    "full": _full,
    "spatial": _of_type("spatial"),
    "temporal": _of_type("temporal"),
    "dense": _dense,
    "none": _none,
    "tracks": TrackVariant(),
    "spatial+tracks": TrackVariant(("spatial",)),
    "full+tracks": TrackVariant(None),
}
"""Name -> function of a flat batch to ``edge_index [2 E]``, ``edge_weight [E]``, ``edge_type [E]``.

``full``: Eq. 3. ``spatial``, ``temporal``: the other block is zero. ``dense``: all ones. ``none``: no edges. Not in the
paper: ``tracks``, ``spatial+tracks``, ``full+tracks``, edges along tracks, alone or with the stored ones. The batch has
the fields of the graphs, its stored edges among them, and ``batch [N]`` and ``ptr [B + 1]``.

A function that only keeps stored edges may return a fourth tensor, ``[E]`` int64: where each of them stands among the
stored ones. ``edge_attr`` and other fields by edge then go along; without it, as in ``dense`` and where edges along
tracks are drawn, the batch has none.
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
    (the degrees of Eq. 4 take care of that). Edges of other types are left alone. :func:`graphs.set_edges` takes along
    what else is known of each edge.

    Args:
        data: the full graphs, one or a flat batch; unchanged.
        variant: one of :data:`VARIANTS`.
        time_flow: one of :data:`TIME_FLOWS`, for the edges of type "temporal".

    Returns:
        The selected ``edge_index [2 E]``, ``edge_weight [E]``, ``edge_type [E]`` (:data:`graphs.EDGE_TYPES`).

    Raises:
        ValueError: if a name is unknown, a variant gives what are no edges between the objects of each video, or reads
            tracks that are not there.
    """
    check_variant(variant, time_flow)
    edge_index, edge_weight, edge_type, *_ = _turned(_selected(_with_offsets(data), variant), time_flow)
    return edge_index, edge_weight, edge_type


def set_edges(data: GraphData, variant: str, time_flow: str = "literal", fields: Sequence[str] = ()) -> None:
    """Write the edges of a variant into full graphs, and with them what is known of each edge.

    Args:
        data: the full graphs, one or a flat batch; changed.
        variant, time_flow: as :func:`select_edges`.
        fields: tensors of ``data`` with one row an edge, as ``edge_attr``. An edge that stays keeps its row, whichever
            way it is turned. The edges of ``dense``, and of a variant that makes its own, have none: these fields are
            removed.

    Raises:
        ValueError: as :func:`select_edges`.
    """
    check_variant(variant, time_flow)
    batch = _with_offsets(data)
    edges = _selected(batch, variant)
    if fields and len(edges) == 3 and (place := _places(batch, variant)) is not None:
        edges = (*edges, place)
    data.edge_index, data.edge_weight, data.edge_type, *places = _turned(edges, time_flow)
    for name in fields:
        if places:
            data[name] = data[name][places[0]]
        else:
            delattr(data, name)


def _selected(batch: FlatBatch, variant: str) -> tuple[Tensor, ...]:
    edges = VARIANTS[variant](batch)
    # Only a function that is not from here can give anything else than edges.
    if not _built_in(variant):
        _check_edges(variant, batch, edges)
    return edges


def _built_in(variant: str) -> bool:
    return VARIANTS[variant].__module__ == __name__


def _places(batch: FlatBatch, variant: str) -> Tensor | None:
    """Where the edges of a variant from here stand among the stored ones; None where they are others."""
    if not _built_in(variant) or VARIANTS[variant] is _dense or isinstance(VARIANTS[variant], TrackVariant):
        return None
    # They only pick from the weights: numbers in the place of these show which.
    numbers = torch.arange(len(batch.edge_weight), dtype=torch.float64, device=batch.edge_weight.device)
    return VARIANTS[variant](FlatBatch(**{**batch.to_dict(), "edge_weight": numbers}))[1].long()


def _turned(edges: tuple[Tensor, ...], time_flow: str) -> tuple[Tensor, ...]:
    """The edges, and what goes with each of them, with the temporal ones in the direction of a time flow."""
    edge_index, edge_weight, edge_type, *places = edges
    if time_flow == "literal":
        return edges
    temporal = edge_type == EDGE_TYPES["temporal"]
    flipped = edge_index.flip(0)
    if time_flow == "forward":
        return (torch.where(temporal, flipped, edge_index), edge_weight, edge_type, *places)
    both = [torch.cat([values, values[temporal]]) for values in (edge_weight, edge_type, *places)]
    return (torch.cat([edge_index, flipped[:, temporal]], dim=1), *both)


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


def _check_edges(variant: str, batch: FlatBatch, edges: tuple[Tensor, ...]) -> None:
    index, weight, kind, *places = edges
    count = len(weight)
    if index.shape != (2, count) or kind.shape != (count,) or index.dtype != torch.int64 or kind.dtype != torch.int64:
        raise ValueError(
            f"the edges of variant '{variant}' must be edge_index [2 E] int64, edge_weight [E], edge_type [E] int64; "
            f"got {list(index.shape)} {index.dtype}, {list(weight.shape)}, {list(kind.shape)} {kind.dtype}"
        )
    stored = len(batch.edge_weight)
    for place in places:
        if place.shape != (count,) or place.dtype != torch.int64 or bool(((place < 0) | (place >= stored)).any()):
            raise ValueError(
                f"variant '{variant}': the fourth tensor says where each of its {count} edges stands among the "
                f"{stored} stored ones, [E] int64; got {list(place.shape)} {place.dtype}"
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
