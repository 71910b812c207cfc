"""Spatio-temporal object graphs of videos, on PyTorch Geometric: features in, node and frame states out.

>>> data = graphs.build_graph(graphs.VideoFeatures(boxes, objects, frame, num_frames=10))
>>> encoder = graphs.STGEncoder(in_channels=2048)
>>> states = encoder(data.x, data.frame, data.edge_index, data.edge_weight, None, data.num_frames)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphs.build import build_graph
from graphs.conv import SparseOperator, STGConv, sparse_operator, symmetric_norm
from graphs.edges import EDGE_TYPES, dense_edges, spatial_edges, temporal_edges
from graphs.encoder import STGEncoder, VideoStates
from graphs.features import VideoFeatures
from graphs.transforms import DenseEdges, SelectVariant, SpatialEdges, TemporalEdges
from graphs.variants import TIME_FLOWS, VARIANTS, select_edges

if TYPE_CHECKING:
    from graphs.storage.database import LMDBDatabase
    from graphs.storage.store import GraphStore

__all__ = [
    "EDGE_TYPES",
    "TIME_FLOWS",
    "VARIANTS",
    "DenseEdges",
    "GraphStore",
    "LMDBDatabase",
    "STGConv",
    "STGEncoder",
    "SelectVariant",
    "SparseOperator",
    "SpatialEdges",
    "TemporalEdges",
    "VideoFeatures",
    "VideoStates",
    "build_graph",
    "dense_edges",
    "select_edges",
    "sparse_operator",
    "spatial_edges",
    "symmetric_norm",
    "temporal_edges",
]


def __getattr__(name: str) -> Any:
    # The store brings LMDB along: only those who use it pay for it.
    if name in ("GraphStore", "LMDBDatabase"):
        return getattr(import_module("graphs.storage.store"), name)
    raise AttributeError(f"module 'graphs' has no attribute '{name}'")
