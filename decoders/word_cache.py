"""Keys and values of the words that the hypotheses of a search have read."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class WordCache(NamedTuple):
    """Words in the order in which they were read, the newest last; laid out as `MultiHeadAttention.ready` does.

    Attributes:
        keys: ``[B H c M]``.
        values: ``[B H M c]``.
        read: how many of the ``M`` places are taken.
        spare: whether there may be free places, for the next words to be written into without copying the others. Then
            a cache can be continued once only: a second continuation would write over the first.
    """

    keys: Float[Tensor, "B H c M"]
    values: Float[Tensor, "B H M c"]
    read: int
    spare: bool

    def with_newest(self, keys: Float[Tensor, "B H c K"], values: Float[Tensor, "B H K c"]) -> "WordCache":
        """The cache with ``K`` words more."""
        width = keys.shape[3]
        # Another word may follow the same cache later, so it is not written into.
        if not self.spare:
            keys, values = torch.cat([self.keys, keys], 3), torch.cat([self.values, values], 2)
            return WordCache(keys, values, self.read + width, False)
        places = self.keys.shape[3]
        if self.read + width > places:
            # Twice the places, so that a word is copied once on average, however long the caption.
            places = self.read + max(self.read, 8 * width)
        grown_keys = _places(self.keys, 3, self.read, places)
        grown_values = _places(self.values, 2, self.read, places)
        grown_keys.narrow(3, self.read, width).copy_(keys)
        grown_values.narrow(2, self.read, width).copy_(values)
        return WordCache(grown_keys, grown_values, self.read + width, True)

    def taken(self) -> tuple[Float[Tensor, "B H c S"], Float[Tensor, "B H S c"]]:
        """Keys and values of what was read."""
        return self.keys.narrow(3, 0, self.read), self.values.narrow(2, 0, self.read)


def _places(kept: Tensor, axis: int, read: int, places: int) -> Tensor:
    if kept.shape[axis] == places:
        return kept
    shape = list(kept.shape)
    shape[axis] = places
    longer = kept.new_empty(shape)
    longer.narrow(axis, 0, read).copy_(kept.narrow(axis, 0, read))
    return longer
