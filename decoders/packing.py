"""Words of several captions side by side, without the padding between them."""

from typing import NamedTuple

from jaxtyping import Bool, Float, Int
from torch import Tensor


class Packing(NamedTuple):
    """Which positions of a padded batch ``[W L]`` are worked on; layers that read one position at a time see no pad.

    Attention, which needs whole captions, unpacks its queries, keys and values and packs what it made of them.

    Attributes:
        rows: [P], the positions, counted through the flattened batch.
        captions, length: ``W`` and ``L``.
    """

    rows: Int[Tensor, " P"]
    captions: int
    length: int

    @classmethod
    def of(cls, real: Bool[Tensor, "W L"]) -> "Packing | None":
        """All positions up to the last real one of each caption; None where that leaves nothing out.

        A position that is not real itself is kept where a later one is, which attends to it.
        """
        wanted = real.flip(1).cummax(1).values.flip(1)
        rows = wanted.flatten().nonzero()[:, 0]
        return None if len(rows) == wanted.numel() else cls(rows, *wanted.shape)

    def pack(self, padded: Float[Tensor, "W L C"]) -> Float[Tensor, "1 P C"]:
        """The positions worked on, as if they were one caption."""
        return padded.flatten(0, 1).index_select(0, self.rows)[None]

    def unpack(self, packed: Float[Tensor, "1 P C"]) -> Float[Tensor, "W L C"]:
        """The padded batch, with zeros where nothing was worked on."""
        rows = packed.new_zeros(self.captions * self.length, packed.shape[2]).index_copy(0, self.rows, packed[0])
        return rows.unflatten(0, (self.captions, self.length))
