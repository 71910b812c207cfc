"""A sparse matrix of long rows, laid out as dense windows over neighbouring nodes."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Windows are tried from this many entries a row on: two frames of 20 objects.
_ENTRIES = 40
# Most numbers in the windows for each entry: a product takes five times as long for an entry as for such a number.
_WASTE = 3


class Windows(NamedTuple):
    """A square matrix whose rows, a few at a time, have all their entries in a stretch of neighbouring columns.

    ``blocks[k, r, w]`` is the entry in row ``k * R + r`` and column ``k * R - before + w``. The windows of consecutive
    blocks overlap, so that a product with node states is one batched matrix product on overlapping views of them:
    where each row has dozens of entries, several times faster than CSR, and no sorting is needed to make it.
    """

    blocks: Float[Tensor, "K R W"]
    before: int
    num_nodes: int

    @property
    def dtype(self) -> torch.dtype:
        return self.blocks.dtype

    def multiply(self, x: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        """The product of the matrix with node states of its own type."""
        (count, rows, width), channels = self.blocks.shape, x.size(1)
        padded = x.new_zeros(max((count - 1) * rows + width, self.before + self.num_nodes), channels)
        padded[self.before : self.before + self.num_nodes] = x
        views = padded.as_strided((count, width, channels), (rows * channels, channels, 1))
        return torch.bmm(self.blocks, views).view(-1, channels)[: self.num_nodes]

    def to_dense(self) -> Float[Tensor, "N N"]:
        """The whole matrix."""
        return self.multiply(torch.eye(self.num_nodes, dtype=self.dtype, device=self.blocks.device))


def windows(
    row: Int[Tensor, " E"], column: Int[Tensor, " E"], value: Float[Tensor, " E"], num_nodes: int
) -> Windows | None:
    """Lay the entries of a square matrix out as windows, or None where CSR serves better.

    Entries given twice add up. Rows are grouped by as many as make the windows smallest: by the objects of a frame
    where all frames hold the same number.
    """
    # With few entries a row the padding of a window costs more than it spares.
    if num_nodes == 0 or len(row) < _ENTRIES * num_nodes:
        return None
    node = torch.arange(num_nodes, device=row.device)
    # The stretch of columns that each row needs, its own number included, as an empty row has none.
    first = node.scatter_reduce(0, row, column, "amin")
    last = node.scatter_reduce(0, row, column, "amax")
    longest = int(torch.bincount(row).max())
    # A row ranges over the objects of one, two or three frames: by each, it gives the size of a frame.
    choices = [_fit(first, last, rows) for rows in {32, 64, *(-(-longest // parts) for parts in (1, 2, 3))}]
    size, rows, before, width = min(choices)
    if size > _WASTE * len(row):
        return None
    # Added, not written: an edge given twice counts twice, as in CSR.
    place = row * width + (column - row // rows * rows + before)
    blocks = value.new_zeros(size).index_add_(0, place, value)
    return Windows(blocks.view(-1, rows, width), before, num_nodes)


def _fit(first: Tensor, last: Tensor, rows: int) -> tuple[int, int, int, int]:
    """How many numbers windows of so many rows take; the rows; how far they begin before them; their width."""
    start = torch.arange(len(first), device=first.device) // rows * rows
    before = max(0, int((start - first).max()))
    width = before + int((last - start).max()) + 1
    return -(-len(first) // rows) * rows * width, rows, before, width
