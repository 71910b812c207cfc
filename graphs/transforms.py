"""The edges of :mod:`graphs.edges` and :mod:`graphs.variants` as PyG transforms, for ``Compose``, datasets, loaders.

They read ``frame`` and ``boxes`` or ``x``, honour ``batch`` where the data has one, and write ``edge_index``,
``edge_weight`` and ``edge_type``. Apply them to single graphs, before PyG batches them.
"""

import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform, Compose

from graphs.edges import EDGE_TYPES, Edges, dense_edges, spatial_edges, temporal_edges
from graphs.variants import DENSE_TYPE, TIME_FLOWS, VARIANTS, select_edges


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
        return _replace(data, EDGE_TYPES.index("spatial"), edges)

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
        return _replace(data, EDGE_TYPES.index("temporal"), edges)

    def __repr__(self) -> str:
        return f"TemporalEdges(tau={self.tau}, top_k={self.top_k})"


def paper_edges(
    tau_space: float = 1.0, tau_time: float = 1.0, top_k: int | None = None, iou_threshold: float | None = None
) -> Compose:
    """Both kinds of edges, in place of those that are there; arguments as :func:`graphs.build_graph`."""
    return Compose([SpatialEdges(tau_space, top_k, iou_threshold), TemporalEdges(tau_time, top_k)])


class DenseEdges(BaseTransform):
    """Connect every two objects of a video, in place of all other edges; see :func:`graphs.dense_edges`."""

    def forward(self, data: Data) -> Data:
        dtype = torch.promote_types(data.x.dtype, torch.float32)
        data.edge_index, data.edge_weight = dense_edges(_offsets(data), dtype=dtype)
        data.edge_type = torch.full_like(data.edge_index[0], DENSE_TYPE)
        return data

    def __repr__(self) -> str:
        return "DenseEdges()"


class SelectVariant(BaseTransform):
    """Turn a full graph into a variant of it; see :func:`graphs.select_edges`."""

    def __init__(self, variant: str, time_flow: str = "literal") -> None:
        if variant not in VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got '{variant}'")
        if time_flow not in TIME_FLOWS:
            raise ValueError(f"time_flow must be one of {', '.join(TIME_FLOWS)}, got '{time_flow}'")
        self.variant, self.time_flow = variant, time_flow

    def forward(self, data: Data) -> Data:
        data.edge_index, data.edge_weight, data.edge_type = select_edges(
            self.variant, data.edge_index, data.edge_weight, data.edge_type, _offsets(data), self.time_flow
        )
        return data

    def __repr__(self) -> str:
        return f"SelectVariant('{self.variant}', time_flow='{self.time_flow}')"


def _batch(data: Data) -> Tensor | None:
    return data.batch if "batch" in data else None


def _offsets(data: Data) -> Tensor:
    batch = _batch(data)
    if batch is None:
        return torch.tensor([0, data.frame.size(0)], device=data.frame.device)
    ends = torch.bincount(batch).cumsum(0)
    return torch.cat([ends.new_zeros(1), ends])


def _replace(data: Data, kind: int, edges: Edges) -> Data:
    """Write the edges of one kind over those of the same kind, ordered by target."""
    edge_index, edge_weight = edges
    edge_type = torch.full_like(edge_index[0], kind)
    if "edge_type" in data:
        others = data.edge_type != kind
        edge_index = torch.cat([data.edge_index[:, others], edge_index], dim=1)
        edge_weight = torch.cat([data.edge_weight[others], edge_weight])
        edge_type = torch.cat([data.edge_type[others], edge_type])
    elif "edge_index" in data:
        raise ValueError("data has edges without edge_type, so they cannot be told apart: remove edge_index first")
    # Two stable sorts: by kind, then by target, so that the order of the transforms does not show.
    order = edge_type.argsort(stable=True)
    order = order[edge_index[1, order].argsort(stable=True)]
    data.edge_index, data.edge_weight, data.edge_type = edge_index[:, order], edge_weight[order], edge_type[order]
    return data
