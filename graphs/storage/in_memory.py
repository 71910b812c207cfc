"""Graphs in memory as a source of batches: just made, or read from a store once, they are what it would return."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from graphs.flat import FlatBatch, GraphData
from graphs.storage.collate import Located, collate
from graphs.storage.free_fields import FreeField
from graphs.storage.graph_records import encode_graph
from graphs.storage.records import StoreError, layout
from graphs.storage.store import GraphStore
from graphs.variants import set_edges

if TYPE_CHECKING:
    import torch_geometric.data


class GraphsInMemory:
    """Video graphs by id, held as the records that a :class:`graphs.GraphStore` would hold.

    Batches are therefore the store's to the last bit, its rounding of features included.

    Args:
        graphs: video id -> graph.
        features_dtype: ``float16`` or ``float32``, as the store keeps features.
        free: the graphs' free fields, as the store takes them.

    Raises:
        StoreError: a graph that a store would refuse; the video is named.
    """

    def __init__(
        self,
        graphs: Mapping[str, GraphData],
        features_dtype: str = "float16",
        free: Mapping[str, FreeField] | None = None,
    ) -> None:
        self._records: dict[str, Located] = {}
        for video, data in graphs.items():
            try:
                record = encode_graph(data, features_dtype, free)
            except StoreError as error:
                raise StoreError(f"video {video!r}: {error}") from error
            self._records[video] = Located(record, layout(record)[1])

    @classmethod
    def read(cls, store: GraphStore, videos: Iterable[str]) -> "GraphsInMemory":
        """The records of some videos of a store, byte by byte, each checked.

        Raises:
            StoreError: a video is not in the store, or its record is damaged.
        """
        kept = cls({})
        for video in videos:
            record = store.record(video)
            kept._records[video] = Located(record, layout(record)[1])
        return kept

    def batch(
        self, videos: Sequence[str], variant: str = "full", time_flow: str = "literal"
    ) -> "torch_geometric.data.Data":
        """One flat batch with the edges of a variant, as :meth:`graphs.GraphStore.batch`.

        Raises:
            StoreError: no video given, or an unknown one.
        """
        return self.flat_batch(videos, variant, time_flow).to_data()

    def flat_batch(self, videos: Sequence[str], variant: str = "full", time_flow: str = "literal") -> FlatBatch:
        """The same batch without PyG."""
        unknown = [video for video in videos if video not in self._records]
        if unknown or not videos:
            raise StoreError(f"no graph of {unknown[0]!r} is here" if unknown else "a batch needs at least one video")
        data, edge_fields = collate(videos, [self._records[video] for video in videos])
        set_edges(data, variant, time_flow, edge_fields)
        return data
