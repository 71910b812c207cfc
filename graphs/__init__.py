"""Spatio-temporal object graphs of videos, on PyTorch Geometric: features in, node and frame states out.

>>> data = graphs.build_graph(graphs.VideoFeatures(boxes, objects, frame, num_frames=10))
>>> encoder = graphs.STGEncoder(in_channels=2048)
>>> states = encoder(data)

Names are imported when they are first asked for: PyTorch Geometric, which takes several times as long to import as
PyTorch, comes with the first name that needs it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphs.attention_edges import AttentionOperator, attention_operator
    from graphs.build import build_graph, draw_paper_edges, flat_graph
    from graphs.conv import SparseOperator, STGConv, sparse_operator, symmetric_norm
    from graphs.detections import box_features
    from graphs.edge_geometry import (
        CONTACT_GEOMETRY,
        RELATIVE_GEOMETRY,
        RelativeGeometry,
        contact_geometry,
        relative_geometry,
    )
    from graphs.edges import EDGE_TYPES, dense_edges, spatial_edges, temporal_edges
    from graphs.encoder import STGEncoder, VideoStates
    from graphs.features import VideoFeatures
    from graphs.flat import FlatBatch, GraphData
    from graphs.identity_edges import track_edges
    from graphs.message_conv import MessageConv
    from graphs.node_inputs import NodeInputs, box_geometry, box_motion
    from graphs.padding import pad_frames
    from graphs.readers.boxes import BOXES_FORMAT, read_boxes
    from graphs.readers.cad120 import CAD120_ACTIONS, CAD120_CLASSES, Cad120Clip, Cad120Labels, read_cad120
    from graphs.readers.coco_vid import read_coco_vid
    from graphs.readers.mot import read_mot
    from graphs.relational import AttentionConv, RelationalConv, RelationalOperator, relational_operator
    from graphs.relational_encoder import RelationalEncoder
    from graphs.scatter import group_mean_max, segment_mean, segment_sum
    from graphs.sharpen import LearnedTemperature, SharpenEdges, sharpen_edges
    from graphs.source import GraphSource
    from graphs.storage.database import LMDBDatabase
    from graphs.storage.dataset import InMemoryVideoGraphDataset, VideoGraphDataset
    from graphs.storage.free_fields import FreeField
    from graphs.storage.graph_records import encode_graph as encode_graph
    from graphs.storage.in_memory import GraphsInMemory
    from graphs.storage.lmdb_file import LMDBFile as LMDBFile
    from graphs.storage.locks import FileLock as FileLock
    from graphs.storage.locks import LockHeldError as LockHeldError
    from graphs.storage.locks import lock_holder as lock_holder
    from graphs.storage.locks import open_plain as open_plain
    from graphs.storage.records import StoreError, StoreFullError
    from graphs.storage.store import GraphStore
    from graphs.text import to_text
    from graphs.track_relations import TrackRelations
    from graphs.track_transforms import LinkTracks, TrackEdges
    from graphs.tracks import link_tracks
    from graphs.transforms import DenseEdges, SelectVariant, SpatialEdges, TemporalEdges, paper_edges
    from graphs.variants import DENSE_TYPE, TIME_FLOWS, VARIANTS, TrackVariant, check_variant, select_edges, set_edges

# Without the plumbing of stores (locks, files, records), which the rooms above import by name all the same.
__all__ = [
    "BOXES_FORMAT",
    "CAD120_ACTIONS",
    "CAD120_CLASSES",
    "CONTACT_GEOMETRY",
    "DENSE_TYPE",
    "EDGE_TYPES",
    "RELATIVE_GEOMETRY",
    "TIME_FLOWS",
    "VARIANTS",
    "AttentionConv",
    "AttentionOperator",
    "Cad120Clip",
    "Cad120Labels",
    "DenseEdges",
    "FlatBatch",
    "FreeField",
    "GraphData",
    "GraphSource",
    "GraphStore",
    "GraphsInMemory",
    "InMemoryVideoGraphDataset",
    "LMDBDatabase",
    "LearnedTemperature",
    "LinkTracks",
    "MessageConv",
    "NodeInputs",
    "RelationalConv",
    "RelationalEncoder",
    "RelationalOperator",
    "RelativeGeometry",
    "STGConv",
    "STGEncoder",
    "SelectVariant",
    "SharpenEdges",
    "SparseOperator",
    "SpatialEdges",
    "StoreError",
    "StoreFullError",
    "TemporalEdges",
    "TrackEdges",
    "TrackRelations",
    "TrackVariant",
    "VideoFeatures",
    "VideoGraphDataset",
    "VideoStates",
    "attention_operator",
    "box_features",
    "box_geometry",
    "box_motion",
    "build_graph",
    "check_variant",
    "contact_geometry",
    "dense_edges",
    "draw_paper_edges",
    "flat_graph",
    "group_mean_max",
    "link_tracks",
    "pad_frames",
    "paper_edges",
    "read_boxes",
    "read_cad120",
    "read_coco_vid",
    "read_mot",
    "relational_operator",
    "relative_geometry",
    "segment_mean",
    "segment_sum",
    "select_edges",
    "set_edges",
    "sharpen_edges",
    "sparse_operator",
    "spatial_edges",
    "symmetric_norm",
    "temporal_edges",
    "to_text",
    "track_edges",
]

_HOMES = {
    "graphs.attention_edges": ("AttentionOperator", "attention_operator"),
    "graphs.build": ("build_graph", "draw_paper_edges", "flat_graph"),
    "graphs.flat": ("FlatBatch", "GraphData"),
    "graphs.conv": (
        "SparseOperator",
        "STGConv",
        "sparse_operator",
        "symmetric_norm",
    ),
    "graphs.detections": ("box_features",),
    "graphs.edge_geometry": (
        "CONTACT_GEOMETRY",
        "RELATIVE_GEOMETRY",
        "RelativeGeometry",
        "contact_geometry",
        "relative_geometry",
    ),
    "graphs.edges": (
        "EDGE_TYPES",
        "dense_edges",
        "spatial_edges",
        "temporal_edges",
    ),
    "graphs.encoder": (
        "STGEncoder",
        "VideoStates",
    ),
    "graphs.features": ("VideoFeatures",),
    "graphs.identity_edges": ("track_edges",),
    "graphs.message_conv": ("MessageConv",),
    "graphs.node_inputs": ("NodeInputs", "box_geometry", "box_motion"),
    "graphs.readers.boxes": ("BOXES_FORMAT", "read_boxes"),
    "graphs.readers.cad120": ("CAD120_ACTIONS", "CAD120_CLASSES", "Cad120Clip", "Cad120Labels", "read_cad120"),
    "graphs.readers.coco_vid": ("read_coco_vid",),
    "graphs.readers.mot": ("read_mot",),
    "graphs.relational": ("AttentionConv", "RelationalConv", "RelationalOperator", "relational_operator"),
    "graphs.relational_encoder": ("RelationalEncoder",),
    "graphs.scatter": (
        "group_mean_max",
        "segment_mean",
        "segment_sum",
    ),
    "graphs.sharpen": ("LearnedTemperature", "SharpenEdges", "sharpen_edges"),
    "graphs.source": ("GraphSource",),
    "graphs.storage.database": ("LMDBDatabase",),
    "graphs.storage.dataset": ("InMemoryVideoGraphDataset", "VideoGraphDataset"),
    "graphs.storage.free_fields": ("FreeField",),
    "graphs.storage.graph_records": ("encode_graph",),
    "graphs.storage.in_memory": ("GraphsInMemory",),
    "graphs.storage.lmdb_file": ("LMDBFile",),
    "graphs.storage.locks": ("FileLock", "LockHeldError", "lock_holder", "open_plain"),
    "graphs.storage.records": (
        "StoreError",
        "StoreFullError",
    ),
    "graphs.storage.store": ("GraphStore",),
    "graphs.text": ("to_text",),
    "graphs.track_transforms": ("LinkTracks", "TrackEdges"),
    "graphs.track_relations": ("TrackRelations",),
    "graphs.padding": ("pad_frames",),
    "graphs.tracks": ("link_tracks",),
    "graphs.transforms": (
        "DenseEdges",
        "SelectVariant",
        "SpatialEdges",
        "TemporalEdges",
        "paper_edges",
    ),
    "graphs.variants": (
        "DENSE_TYPE",
        "TIME_FLOWS",
        "VARIANTS",
        "TrackVariant",
        "check_variant",
        "select_edges",
        "set_edges",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'graphs' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
