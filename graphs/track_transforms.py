"""Tracks, and edges along them, as PyG transforms."""

import torch
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from graphs.build import replace_edges
from graphs.identity_edges import check_window, track_edges
from graphs.tracks import check_linking, link_tracks


class TrackEdges(BaseTransform):
    """Add the edges along tracks, of type "track", in place of those that are there; see :func:`graphs.track_edges`.

    It reads ``frame`` and ``track`` (:class:`LinkTracks`, or given), and ``batch`` where the data has one. Of all edges
    of the graph, ``edge_attr [E 2]`` becomes the sign of the time dt from target to source (1 where the source is
    later, -1 where it is earlier, 0 in one frame) and its size ``|dt| / (1 + |dt|)``: 0, 1/2, 2/3, ... frame by frame.
    ``STGConv(..., edge_dim=2)`` takes it, and a store keeps it; :class:`graphs.RelativeGeometry` has both among others.
    """

    def __init__(self, span: int = 1, direction: str = "both") -> None:
        check_window(span, direction)
        self.span, self.direction = span, direction

    def forward(self, data: Data) -> Data:
        if "track" not in data:
            raise ValueError("TrackEdges reads track, which the data has not: apply LinkTracks() first, or give it")
        batch = data.batch if "batch" in data else None
        edges = track_edges(data.frame, data.track, batch, span=self.span, direction=self.direction)
        replace_edges(data, "track", edges)
        source, target = data.edge_index
        time = (data.frame[source] - data.frame[target]).to(data.edge_weight.dtype)
        data.edge_attr = torch.stack([time.sign(), time.abs() / (1 + time.abs())], dim=1)
        return data

    def __repr__(self) -> str:
        return f"TrackEdges(span={self.span}, direction={self.direction!r})"


class LinkTracks(BaseTransform):
    """Write the track of each object, ``track [N]``, in place of one that is there; see :func:`graphs.link_tracks`.

    It reads ``boxes``, ``x``, ``frame``, with ``same_label`` ``label``, and ``batch`` where the data has one.
    """

    def __init__(
        self,
        min_iou: float = 0.3,
        min_cosine: float = -1.0,
        appearance: float = 0.5,
        patience: int = 0,
        same_label: bool = False,
    ) -> None:
        check_linking(min_iou, min_cosine, appearance, patience)
        self.min_iou, self.min_cosine, self.appearance = min_iou, min_cosine, appearance
        self.patience, self.same_label = patience, same_label

    def forward(self, data: Data) -> Data:
        if self.same_label and "label" not in data:
            raise ValueError("LinkTracks(same_label=True) reads label, which the data has not: set same_label=False")
        data.track = link_tracks(
            data.boxes,
            data.x,
            data.frame,
            data.batch if "batch" in data else None,
            label=data.label if self.same_label else None,
            min_iou=self.min_iou,
            min_cosine=self.min_cosine,
            appearance=self.appearance,
            patience=self.patience,
        )
        return data

    def __repr__(self) -> str:
        return (
            f"LinkTracks(min_iou={self.min_iou}, min_cosine={self.min_cosine}, appearance={self.appearance}, "
            f"patience={self.patience}, same_label={self.same_label})"
        )
