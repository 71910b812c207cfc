"""The edges of :mod:`graphs.edges` and :mod:`graphs.variants` as PyG transforms, for ``Compose``, datasets, loaders.

They read ``frame`` and ``boxes`` or ``x``, honour ``batch`` where the data has one, and write ``edge_index``,
``edge_weight`` and ``edge_type``. Apply them to single graphs, before PyG batches them.

PyG's own transforms take these graphs as they take any; nodes, ``frame``, ``boxes`` and ``num_frames`` stay together.
Those of edges carry one attribute, or add up all of them, which does not suit ``edge_type``:

- ``AddSelfLoops``, ``AddRemainingSelfLoops``, ``RemoveSelfLoops`` need ``attr="edge_weight"`` and leave ``edge_type``
  as it was, which then does not fit: apply them after :class:`SelectVariant`. Spatial edges hold self-loops already.
- ``ToUndirected`` adds up the weights of an edge and its reverse, and their types: right in the literal direction of
  time, where only edges of type 0 (spatial) have a reverse; not after ``SelectVariant(..., time_flow="both")``.
- ``ToSparseTensor(attr="edge_weight")`` takes ``edge_index`` away; layers and encoder read its ``adj_t`` as well.
- ``LargestConnectedComponents`` drops objects and no frames: those that are empty then are masked.
- ``VirtualNode`` and ``Pad`` add nodes that lie in no frame: for PyG's layers, not for the encoder, which refuses them.
"""

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform, Compose

from graphs.build import edge_fields, replace_edges
from graphs.edges import EDGE_TYPES, dense_edges, spatial_edges, temporal_edges
from graphs.variants import DENSE_TYPE, check_variant, set_edges


class SpatialEdges(BaseTransform):
    """Add the edges inside each frame, in place of those that are there; see :func:`graphs.spatial_edges`."""

    def __init__(self, tau: float = 1.0, top_k: int | None = None, iou_threshold: float | None = None) -> None:
        self.tau, self.top_k, self.iou_threshold = tau, top_k, iou_threshold

    def forward(self, data: Data) -> Data:
        edges = spatial_edges(
            data.boxes,
            data.frame,
            _batch(data),
            tau=self.tau,
            top_k=self.top_k,
            iou_threshold=self.iou_threshold,
        )
        replace_edges(data, "spatial", edges)
        return data

    def __repr__(self) -> str:
        return f"SpatialEdges(tau={self.tau}, top_k={self.top_k}, iou_threshold={self.iou_threshold})"


class TemporalEdges(BaseTransform):
    """Add the edges from each frame to the next, in place of those that are there; see :func:`graphs.temporal_edges`.

    They point as :mod:`graphs.edges` has it, from frame t + 1 to frame t; :class:`SelectVariant` turns them.
    """

    def __init__(self, tau: float = 1.0, top_k: int | None = None) -> None:
        self.tau, self.top_k = tau, top_k

    def forward(self, data: Data) -> Data:
        edges = temporal_edges(data.x, data.frame, _batch(data), tau=self.tau, top_k=self.top_k)
        replace_edges(data, "temporal", edges)
        return data

    def __repr__(self) -> str:
        return f"TemporalEdges(tau={self.tau}, top_k={self.top_k})"


def paper_edges(
    tau_space: float = 1.0, tau_time: float = 1.0, top_k: int | None = None, iou_threshold: float | None = None
) -> Compose:
    """Both kinds of edges, in place of those that are there; arguments as :func:`graphs.build_graph`."""
    return Compose([SpatialEdges(tau_space, top_k, iou_threshold), TemporalEdges(tau_time, top_k)])


class DenseEdges(BaseTransform):
    """Connect every two objects of a video, in place of all other edges; see :func:`graphs.dense_edges`.

    ``edge_attr`` and other tensors by edge are removed, as the new edges have none.
    """

    def forward(self, data: Data) -> Data:
        batch = _batch(data)
        count = torch.tensor([data.frame.size(0)], device=data.frame.device) if batch is None else torch.bincount(batch)
        ptr = torch.cat([count.new_zeros(1), count.cumsum(0)])
        without = edge_fields(data) if "edge_index" in data else []
        data.edge_index, data.edge_weight = dense_edges(ptr, dtype=torch.promote_types(data.x.dtype, torch.float32))
        for name in without:
            delattr(data, name)
        data.edge_type = torch.full_like(data.edge_index[0], DENSE_TYPE)
        return data

    def __repr__(self) -> str:
        return "DenseEdges()"


class SelectVariant(BaseTransform):
    """Turn a full graph into a variant of it; see :func:`graphs.select_edges`.

    ``edge_attr`` and other tensors by edge go with the edges, see :func:`graphs.set_edges`; known by "edge" in their
    name, or by their length where neither objects nor frames are as many as edges.
    """

    def __init__(self, variant: str, time_flow: str = "literal") -> None:
        check_variant(variant, time_flow)
        self.variant, self.time_flow = variant, time_flow

    def forward(self, data: Data) -> Data:
        _check_types(data)
        set_edges(data, self.variant, self.time_flow, edge_fields(data))
        return data

    def __repr__(self) -> str:
        return f"SelectVariant('{self.variant}', time_flow='{self.time_flow}')"


def _check_types(data: Data) -> None:
    """Refuse edges that a transform has changed or reordered without their types."""
    (source, target), kind = data.edge_index, data.edge_type
    fit = kind.size(0) == source.size(0)
    if not fit or bool((data.frame[source] != data.frame[target])[kind == EDGE_TYPES["spatial"]].any()):
        raise ValueError(
            f"edge_type ({kind.size(0)} rows) does not fit edge_index ({source.size(0)} edges): a transform changed "
            "the edges without their types; apply it after SelectVariant"
        )


def _batch(data: Data) -> Tensor | None:
    return data.batch if "batch" in data else None
