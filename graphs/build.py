"""From the features of one video to its graph."""

import torch
from torch_geometric.data import Data

from graphs.features import VideoFeatures
from graphs.transforms import paper_edges


def build_graph(
    features: VideoFeatures,
    *,
    tau_space: float = 1.0,
    tau_time: float = 1.0,
    top_k: int | None = None,
    iou_threshold: float | None = None,
) -> Data:
    """Build the full spatio-temporal graph of a video (Pan et al., 2020, Eq. 1-3).

    Temporal edges run in the literal direction: source in frame t + 1, target in frame t (see :mod:`graphs.edges`).
    :func:`graphs.select_edges` makes the other variants of it.

    Args:
        features: the video.
        tau_space: softmax temperature of the spatial rows; 1 in the paper.
        tau_time: softmax temperature of the temporal rows; 1 in the paper.
        top_k: keep at most so many spatial and so many temporal edges a row; all in the paper.
        iou_threshold: keep spatial pairs with IoU above this; all in the paper.

    Returns:
        Data with ``x [N D]``, ``boxes [N 4]``, ``frame [N]``, ``edge_index [2 E]`` ordered by target,
        ``edge_weight [E]``, ``edge_type [E]`` (numbers into :data:`graphs.EDGE_TYPES`), ``num_frames``, ``video``, and
        those of ``scores``, ``label``, ``scene``, ``motion``, ``motion_row``, ``frame_number``, ``grid``, ``audio``,
        ``audio_mask``, ``total_frames [1]``, ``fps [1]`` and ``size [1 2]`` that the features hold. Read
        the picture size as ``data["size"]``: ``data.size`` is a method of PyG's. ``label`` only goes along.
    """
    data = Data(
        x=features.objects,
        boxes=features.boxes,
        frame=features.frame,
        num_frames=features.num_frames,
        video=features.video,
    )
    for name in ("scores", "label", "scene", "motion", "motion_row", "frame_number", "grid", "audio", "audio_mask"):
        value = getattr(features, name)
        if value is not None:
            data[name] = value
    if features.total_frames is not None:
        data["total_frames"] = torch.tensor([features.total_frames])
    if features.fps is not None:
        data["fps"] = torch.tensor([features.fps], dtype=torch.float32)
    if features.size is not None:
        data["size"] = torch.tensor([features.size])
    return paper_edges(tau_space, tau_time, top_k, iou_threshold)(data)
