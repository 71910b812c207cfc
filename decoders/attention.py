"""Attention of words to frames and of words to earlier words."""

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


class MultiHeadAttention(nn.Module):
    r"""Scaled dot-product attention in several heads (Vaswani et al., 2017, section 3.2).

    .. math:: \mathrm{head}_h = \mathrm{softmax}(Q_h K_h^\top / \sqrt{C / H}) V_h, \quad Y = [\mathrm{head}_1; ...] W^O

    Keys and values are projected apart from the queries (`keys_values`), so that a video is projected once however many
    words look at it, and earlier words are projected once however many follow.

    Departure: the projections carry biases, as in every common implementation; the paper writes none. Attention weights
    are not dropped out (section 5.4 names only the sub-layer outputs and the embeddings).

    Args:
        channels: width ``C`` of queries, keys, values and output.
        heads: number of heads ``H``; divides ``C``.

    Raises:
        ValueError: where ``heads`` does not divide ``channels``.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"channels={channels} must be a multiple of heads={heads}")
        self.heads = heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)

    def keys_values(self, source: Float[Tensor, "B S C"]) -> tuple[Float[Tensor, "B S C"], Float[Tensor, "B S C"]]:
        """Keys and values of a source, heads side by side in the channels."""
        return self.key(source), self.value(source)

    def forward(
        self,
        x: Float[Tensor, "B Q C"],
        keys: Float[Tensor, "B S C"],
        values: Float[Tensor, "B S C"],
        mask: Bool[Tensor, "B #Q S"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "B Q C"]:
        """Let every query look at the keys of its row.

        Args:
            x: what asks ``[B Q C]``.
            keys, values: from `keys_values`, ``[B S C]``.
            mask: True where the query may see the key ``[B Q S]``, or ``[B 1 S]`` for all queries alike; at least one
                key a query. None: all.
            causal: query q sees keys 0..q only (then ``Q == S``, and ``mask`` is None).
        """
        attended = F.scaled_dot_product_attention(
            self._split(self.query(x)),
            self._split(keys),
            self._split(values),
            attn_mask=None if mask is None else mask[:, None],
            is_causal=causal,
        )
        return self.output(attended.transpose(1, 2).flatten(2))

    def _split(self, x: Float[Tensor, "B S C"]) -> Float[Tensor, "B H S c"]:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)
