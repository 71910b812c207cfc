"""From the features of one video to its graph."""

from typing import TYPE_CHECKING

import torch

from graphs.edges import EDGE_TYPES, Edges, spatial_edges, temporal_edges
from graphs.features import VideoFeatures
from graphs.flat import FlatBatch, GraphData

if TYPE_CHECKING:
    import torch_geometric.data

ALONGSIDE = (
    "scores", "label", "scene", "motion", "motion_row", "frame_number", "grid", "audio",
    "audio_mask", "frame_time", "track", "label_score",
)  # fmt: skip
"""Features that a graph carries as they are, where they are given."""

_OF_GRAPHS = (
    "x", "boxes", "frame", "edge_index", "edge_weight", "edge_type", "num_frames", "total_frames", "fps", "size", "y",
    "batch", "ptr", "motion_ptr", "audio_ptr", *ALONGSIDE,
)  # fmt: skip
"""What a graph or a batch has by a known name, none of it by edge but the edges themselves."""


def build_graph(
    features: VideoFeatures,
    *,
    tau_space: float = 1.0,
    tau_time: float = 1.0,
    top_k: int | None = None,
    iou_threshold: float | None = None,
) -> "torch_geometric.data.Data":
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
        ``audio_mask``, ``frame_time``, ``track``, ``label_score``, ``total_frames [1]``, ``fps [1]`` and ``size [1 2]``
        that the features hold. Read the picture size as ``data["size"]``: ``data.size`` is a method of PyG's.
        ``label``, ``label_score`` and ``track`` only go along.
    """
    graph = flat_graph(features, tau_space=tau_space, tau_time=tau_time, top_k=top_k, iou_threshold=iou_threshold)
    return graph.to_data()


def flat_graph(
    features: VideoFeatures,
    *,
    tau_space: float = 1.0,
    tau_time: float = 1.0,
    top_k: int | None = None,
    iou_threshold: float | None = None,
) -> FlatBatch:
    """The same graph without PyG: see :func:`build_graph`."""
    graph = FlatBatch(x=features.objects, boxes=features.boxes, frame=features.frame)
    graph["num_frames"], graph["video"] = features.num_frames, features.video
    for name in ALONGSIDE:
        if (value := getattr(features, name)) is not None:
            graph[name] = value
    # One row a video, so that batches can put them end to end.
    if features.total_frames is not None:
        graph["total_frames"] = torch.tensor([features.total_frames])
    if features.fps is not None:
        graph["fps"] = torch.tensor([features.fps], dtype=torch.float32)
    if features.size is not None:
        graph["size"] = torch.tensor([features.size])
    draw_paper_edges(graph, tau_space=tau_space, tau_time=tau_time, top_k=top_k, iou_threshold=iou_threshold)
    return graph


def draw_paper_edges(
    graph: GraphData,
    *,
    tau_space: float = 1.0,
    tau_time: float = 1.0,
    top_k: int | None = None,
    iou_threshold: float | None = None,
) -> None:
    """Write the paper's edges into the graph of one video, over those of their types; arguments as `build_graph`."""
    spatial = spatial_edges(graph.boxes, graph.frame, tau=tau_space, top_k=top_k, iou_threshold=iou_threshold)
    replace_edges(graph, "spatial", spatial)
    replace_edges(graph, "temporal", temporal_edges(graph.x, graph.frame, tau=tau_time, top_k=top_k))


def edge_fields(data: GraphData) -> list[str]:
    """The tensors of a graph with edges that have a row for each edge, but for those of its own edges.

    Known by "edge" in their name, or by their length where neither objects nor frames are as many as edges.
    """
    count = data.edge_index.size(1)
    frames = int(torch.as_tensor(data.to_dict().get("num_frames", 0)).sum())
    distinct = count > 1 and count not in (data.frame.size(0), frames)
    return [
        name
        for name, value in data.to_dict().items()
        if isinstance(value, torch.Tensor) and value.dim() and value.size(0) == count
        and name not in _OF_GRAPHS and ("edge" in name or distinct)
    ]  # fmt: skip


def replace_edges(data: GraphData, name: str, edges: Edges) -> None:
    """Write the edges of one type over those of the same type, ordered by target.

    Raises:
        ValueError: edges without a type, or with attributes, which the new ones have not.
    """
    if "edge_index" in data and (attributes := edge_fields(data)):
        names = ", ".join(attributes)
        raise ValueError(
            f"the new {name} edges have no {names}, and the other edges have: remove {names} first "
            f"(del data.{attributes[0]}), and make it of all edges afterwards"
        )
    edge_index, edge_weight = edges
    kind = EDGE_TYPES[name]
    edge_type = torch.full_like(edge_index[0], kind)
    if "edge_type" in data:
        others = data.edge_type != kind
        edge_index = torch.cat([data.edge_index[:, others], edge_index], dim=1)
        edge_weight = torch.cat([data.edge_weight[others], edge_weight])
        edge_type = torch.cat([data.edge_type[others], edge_type])
    elif "edge_index" in data:
        raise ValueError("data has edges without edge_type, so their kinds are not known: remove edge_index first")
    # Two stable sorts: by type, then by target, so that the order in which types were added does not show.
    order = edge_type.argsort(stable=True)
    order = order[edge_index[1, order].argsort(stable=True)]
    data.edge_index, data.edge_weight, data.edge_type = edge_index[:, order], edge_weight[order], edge_type[order]
