"""Attention of words to frames and of words to earlier words."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn


class MultiHeadAttention(nn.Module):
    r"""Scaled dot-product attention in several heads (Vaswani et al., 2017, section 3.2).

    .. math:: \mathrm{head}_h = \mathrm{softmax}(Q_h K_h^\top / \sqrt{C / H}) V_h, \quad Y = [\mathrm{head}_1; ...] W^O

    Keys and values are projected apart from the queries (`keys_values`), so that a video is projected once however many
    words attend to it, and earlier words are projected once however many follow.

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
        """Let every query attend to the keys of its row.

        Args:
            x: what asks ``[B Q C]``.
            keys, values: from `keys_values`, ``[B S C]``.
            mask: True where the query may see the key ``[B Q S]``, or ``[B 1 S]`` for all queries alike; at least one
                key a query. None: all.
            causal: query q sees keys 0..q only (then ``Q == S``, and ``mask`` is None).
        """
        return self.output(self.attend(self.query(x), keys, values, mask, causal))

    def attend(
        self,
        queries: Float[Tensor, "B Q C"],
        keys: Float[Tensor, "B S C"],
        values: Float[Tensor, "B S C"],
        mask: Bool[Tensor, "B #Q S"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "B Q C"]:
        """What lies between the projections: from projected queries to the heads' answers, side by side."""
        attended = F.scaled_dot_product_attention(
            self._split(queries),
            self._split(keys),
            self._split(values),
            attn_mask=None if mask is None else mask[:, None],
            is_causal=causal,
        )
        return attended.transpose(1, 2).flatten(2)

    def weights(
        self, x: Float[Tensor, "B Q C"], keys: Float[Tensor, "B S C"], mask: Bool[Tensor, "B #Q S"] | None = None
    ) -> Float[Tensor, "B H Q S"]:
        """The softmax that `forward` weighs values with, for those who want to see it; arguments as there."""
        scores = self._split(self.query(x)) @ self._split(keys).transpose(2, 3) * (x.shape[2] // self.heads) ** -0.5
        return (scores if mask is None else scores.masked_fill(~mask[:, None], -torch.inf)).softmax(-1)

    def ready(
        self, keys: Float[Tensor, "B S C"], values: Float[Tensor, "B S C"]
    ) -> tuple[Float[Tensor, "B H c S"], Float[Tensor, "B H S c"]]:
        """Keys and values laid out for `look`: head by head, and the keys as columns."""
        return self._split(keys).transpose(2, 3).contiguous(), self._split(values).contiguous()

    def look(
        self,
        x: Float[Tensor, "B Q C"],
        keys: Float[Tensor, "B H c S"],
        values: Float[Tensor, "B H S c"],
        bias: Float[Tensor, "B #Q S"] | None = None,
    ) -> Float[Tensor, "B Q C"]:
        """`forward` for a few queries of many videos, as a search asks them.

        Two plain products, the first with keys as columns: for one to five queries on a CPU, they take a third to two
        thirds of the time of `torch.nn.functional.scaled_dot_product_attention`.

        Args:
            x: what asks ``[B Q C]``.
            keys, values: from `ready`.
            bias: what is added to the scores of all heads, ``[B Q S]`` or ``[B 1 S]``: -inf where the query may not see
                the key, else 0. None: all may be seen.
        """
        # Scaling the few queries is cheaper than scaling their scores.
        scores = self._split(self.query(x) * keys.shape[2] ** -0.5) @ keys
        if bias is not None:
            scores = scores + bias[:, None]
        return self.output((scores.softmax(-1) @ values).transpose(1, 2).flatten(2))

    def _split(self, x: Float[Tensor, "B S C"]) -> Float[Tensor, "B H S c"]:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class AdditiveAttention(nn.Module):
    r"""Additive attention scores (Cherian et al., 2020, Eq. 2; Chen et al., 2019, Eq. 2).

    .. math:: a_s = w^\top \tanh(W_h h + W_x x_s + b)

    Keys are projected apart from the queries, so that a video is projected once however many words attend to it.

    Args:
        query: width ``H`` of what asks.
        key: width ``D`` of what is attended to.
        channels: width ``A`` of the space in which they are compared.
        bias: whether there is a ``b`` (Chen et al. print none).
    """

    def __init__(self, query: int, key: int, channels: int = 128, bias: bool = True) -> None:
        super().__init__()
        self.query = nn.Linear(query, channels, bias=bias)
        self.key = nn.Linear(key, channels, bias=False)
        self.score = nn.Linear(channels, 1, bias=False)

    def keys(self, source: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows A"]:
        """``W_x x`` of what may be attended to."""
        return self.key(source)

    def forward(self, query: Float[Tensor, "B K H"], keys: Float[Tensor, "B S A"]) -> Float[Tensor, "B K S"]:
        """The score of every key of its video for each of ``K`` queries, not normalised."""
        return self.score(torch.tanh(self.query(query)[:, :, None] + keys[:, None])).squeeze(-1)


def masked_softmax(scores: Float[Tensor, "*rows S"], mask: Bool[Tensor, "*#rows S"]) -> Float[Tensor, "*rows S"]:
    """Softmax over the entries where ``mask`` is True; 0 elsewhere, and everywhere in a row without any.

    What stands where the mask is False, were it NaN, reaches neither value nor gradient.
    """
    # The lowest finite number, not -inf: a row without any real entry would otherwise be NaN.
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(-1).masked_fill(~mask, 0.0)
