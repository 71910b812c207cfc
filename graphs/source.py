"""What gives batches of video graphs: a store, or graphs in memory."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from graphs.flat import FlatBatch


@runtime_checkable
class GraphSource(Protocol):
    """Where batches of graphs come from: a :class:`graphs.GraphStore`, or :class:`graphs.GraphsInMemory`."""

    def flat_batch(self, videos: Sequence[str], variant: str = "full", time_flow: str = "literal") -> FlatBatch:
        """The graphs of some videos as one flat batch."""
        ...
