"""Edges of one's own: between objects of a frame that are close, weighed by how alike they look."""

import torch

import graphs


def close_edges(batch):
    pairs, _ = graphs.spatial_edges(batch.boxes, batch.frame, batch.batch)  # all pairs of each frame
    centre = (batch.boxes[:, :2] + batch.boxes[:, 2:]) / 2
    source, target = pairs[:, (centre[pairs[0]] - centre[pairs[1]]).norm(dim=1) < 50]
    weight = torch.cosine_similarity(batch.x[source], batch.x[target]).clamp(min=0)
    return torch.stack([source, target]), weight, torch.full_like(source, graphs.EDGE_TYPES["close"])


graphs.EDGE_TYPES["close"] = 2
graphs.VARIANTS["close"] = close_edges
