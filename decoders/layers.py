"""The layers of the Transformer: encoder layer, decoder layer, fusion of two views, positions."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from decoders.attention import MultiHeadAttention
from decoders.packing import Packing
from decoders.word_cache import WordCache

KeysValues = tuple[Tensor, Tensor]
Masks = dict[str, Tensor]


def sinusoids(length: int, channels: int) -> Float[Tensor, "L C"]:
    r"""Sinusoidal positions (Vaswani et al., 2017, section 3.5), in the default floating point type.

    .. math:: P_{t, 2i} = \sin(t / 10000^{2i / C}), \quad P_{t, 2i + 1} = \cos(t / 10000^{2i / C})
    """
    # In float64, as the angles of late positions lose their digits in float32.
    rate = torch.exp(torch.arange(0, channels, 2, dtype=torch.float64) * (-math.log(10000.0) / channels))
    angle = torch.arange(length, dtype=torch.float64)[:, None] * rate
    table = torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)[:, :channels]
    return table.to(torch.get_default_dtype())


class FeedForward(nn.Sequential):
    """``max(0, x W1 + b1) W2 + b2`` at every position (Vaswani et al., 2017, Eq. 2)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))


class EncoderLayer(nn.Module):
    """Self-attention over steps, then a feed-forward layer; each ``norm(x + dropout(f(x)))`` (Vaswani et al., 2017).

    Args:
        channels: width ``C``.
        heads: attention heads.
        hidden: width of the feed-forward layer.
        dropout: share of each sub-layer's output that is dropped.
    """

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(channels, heads)
        self.attention_norm = nn.LayerNorm(channels)
        self.feed_forward = FeedForward(channels, hidden)
        self.feed_forward_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "B S C"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S C"]:
        """Refine the steps; ``mask`` is True where a step may be attended to."""
        attended = self.attention(x, *self.attention.keys_values(x), mask=mask[:, None])
        x = self.attention_norm(x + self.dropout(attended))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


class Encoder(nn.ModuleList):
    """Encoder layers one after the other; none at all pass the steps through.

    Args:
        num_layers: how many.
        channels, heads, hidden, dropout: as in `EncoderLayer`.
    """

    def __init__(self, num_layers: int, channels: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__(EncoderLayer(channels, heads, hidden, dropout) for _ in range(num_layers))

    def forward(self, x: Float[Tensor, "B S C"], mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S C"]:
        """Refine the steps; ``mask`` is True where a step may be attended to."""
        for layer in self:
            x = layer(x, mask)
        return x


class AddFusion(nn.Module):
    """The sum of what the views say."""

    def forward(self, x: Float[Tensor, "W L C"], views: list[Tensor]) -> Float[Tensor, "W L C"]:
        """``sum_v views[v]``; ``x`` has no part in it."""
        return torch.stack(views).sum(0)


class AttentiveFusion(nn.Module):
    r"""A sum of what the views say, weighted for every word by what the word asks for.

    .. math:: a_v = \mathrm{softmax}_v\, w^\top \tanh(U x + V y_v), \quad y = \sum_v a_v y_v

    A reading of "attentive fusion": the paper of TVT (Chen et al., ACML 2018) was not available.

    Args:
        channels: width ``C`` of word states and views, and of the space they are compared in.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.word = nn.Linear(channels, channels)
        self.view = nn.Linear(channels, channels, bias=False)
        self.score = nn.Linear(channels, 1, bias=False)

    def forward(self, x: Float[Tensor, "W L C"], views: list[Tensor]) -> Float[Tensor, "W L C"]:
        """Fuse the views ``[W L C]`` each, for the word states ``x``."""
        # Scored before the sum, so that a word can lean on one view alone.
        said = torch.stack(views)
        weight = self.score(torch.tanh(self.word(x) + self.view(said))).softmax(0)
        return (weight * said).sum(0)


Fusion = Literal["add", "attentive"]


class DecoderLayer(nn.Module):
    """Attention to earlier words, attention to each view of the video, a feed-forward layer; post-norm throughout.

    Args:
        channels, heads, hidden, dropout: as in `EncoderLayer`.
        views: names of the views attended to.
        fusion: how several views become one.
        gated: whether the last view is apart from these, and added to them times ``tanh(g)`` with a learned vector g
            ``[C]``, which begins at 0: the layer then begins as one without that view (Flamingo; Alayrac et al., 2022,
            Sec. 2.2, with a vector in place of their number, and inside the sub-layer).
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        hidden: int,
        dropout: float,
        views: tuple[str, ...],
        fusion: Fusion = "add",
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(channels, heads)
        self.attention_norm = nn.LayerNorm(channels)
        # Projections of its own for each view: they come from different networks.
        self.view_attention = nn.ModuleDict({view: MultiHeadAttention(channels, heads) for view in views})
        self.fusion = AttentiveFusion(channels) if fusion == "attentive" else AddFusion()
        self.gate = nn.Parameter(torch.zeros(channels)) if gated else None
        self.view_norm = nn.LayerNorm(channels)
        self.feed_forward = FeedForward(channels, hidden)
        self.feed_forward_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def view_keys_values(self, view: str, source: Float[Tensor, "B F C"]) -> KeysValues:
        """Keys and values ``[B F C]`` of one encoded view."""
        return self._attention_to(view).keys_values(source)

    def ready(self, view: str, keys_values: KeysValues) -> KeysValues:
        """The same, laid out for `advance`."""
        return self._attention_to(view).ready(*keys_values)

    def forward(
        self,
        x: Float[Tensor, "X Y C"],
        views: dict[str, KeysValues],
        masks: Masks,
        packing: Packing | None = None,
    ) -> Float[Tensor, "X Y C"]:
        """Refine the states of whole captions.

        Args:
            x: ``[W L C]``, or ``[1 P C]`` with ``packing``.
            views: of each view, keys and values ``[W F C]``.
            masks: of each view, the steps that may be attended to ``[W F]``.
            packing: where the ``P`` words stand in the captions; None: the captions are given whole.
        """
        return self._read_views(self._read_words(x, packing), views, masks, packing)

    def attend(
        self, x: Float[Tensor, "W L C"], views: dict[str, KeysValues], masks: Masks
    ) -> tuple[Float[Tensor, "W L C"], dict[str, Float[Tensor, "W H L F"]]]:
        """`forward`, and the weights with which each head attends to the steps of each view."""
        x = self._read_words(x, None)
        weights = {
            view: self._attention_to(view).weights(x, views[view][0], masks[view][:, None])
            for view in self.view_attention
        }
        return self._read_views(x, views, masks, None), weights

    def advance(
        self,
        x: Float[Tensor, "B K C"],
        views: dict[str, KeysValues],
        hidden: Masks,
        past: WordCache,
        strange: Float[Tensor, "B K S"] | None,
    ) -> tuple[Float[Tensor, "B K C"], WordCache]:
        """Refine the state of the newest word of ``K`` hypotheses a video.

        The hypotheses are query positions: neither the video nor the words that they have in common are repeated.

        Args:
            x: newest words ``[B K C]``.
            views: of each view, keys and values as `MultiHeadAttention.ready` lays them out.
            hidden: of each view, -inf at steps that may not be looked at, else 0 ``[B F]``.
            past: all words that the video's hypotheses ever read.
            strange: -inf at words that are not a hypothesis's own, else 0, the newest included ``[B K S]``; None: all
                belong to all.

        Returns:
            The states, and the words with the newest at their end.
        """
        # The newest word attends to itself as well, so its keys join first.
        words = past.with_newest(*self.attention.ready(*self.attention.keys_values(x)))
        x = self.attention_norm(x + self.dropout(self.attention.look(x, *words.taken(), strange)))
        said = [self._attention_to(view).look(x, *views[view], hidden[view][:, None]) for view in self.view_attention]
        return self._after_views(x, said), words

    def _read_words(self, x: Float[Tensor, "X Y C"], packing: Packing | None) -> Float[Tensor, "X Y C"]:
        attended = _look(self.attention, x, self.attention.keys_values(x), packing, causal=True)
        return self.attention_norm(x + self.dropout(attended))

    def _read_views(
        self,
        x: Float[Tensor, "X Y C"],
        views: dict[str, KeysValues],
        masks: Masks,
        packing: Packing | None,
    ) -> Float[Tensor, "X Y C"]:
        said = [
            _look(self._attention_to(view), x, views[view], packing, mask=masks[view][:, None])
            for view in self.view_attention
        ]
        return self._after_views(x, said)

    def _after_views(self, x: Float[Tensor, "B Q C"], said: list[Tensor]) -> Float[Tensor, "B Q C"]:
        fused, gated = (said, None) if self.gate is None else (said[:-1], said[-1])
        # One view needs no fusion, whose parameters would then change a plain Transformer.
        attended = self.fusion(x, fused) if len(fused) > 1 else fused[0]
        if self.gate is not None and gated is not None:
            attended = attended + self.gate.tanh() * gated
        x = self.view_norm(x + self.dropout(attended))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))

    def _attention_to(self, view: str) -> MultiHeadAttention:
        attention = self.view_attention[view]
        assert isinstance(attention, MultiHeadAttention)
        return attention


def _look(
    attention: MultiHeadAttention,
    x: Tensor,
    keys_values: KeysValues,
    packing: Packing | None,
    mask: Tensor | None = None,
    causal: bool = False,
) -> Tensor:
    """Attention of words, packed or not; when packed, so are the keys and values that come from words (``causal``)."""
    if packing is None:
        return attention(x, *keys_values, mask=mask, causal=causal)
    # Attention needs whole captions; everything around it is spared the pads.
    keys, values = (packing.unpack(each) for each in keys_values) if causal else keys_values
    return attention.output(
        packing.pack(attention.attend(packing.unpack(attention.query(x)), keys, values, mask, causal))
    )


def initialise(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases in linear layers; word vectors from N(0, 1 / C), the padding's zero.

    Times ``sqrt(C)`` the word vectors then have unit variance, the scale of the sinusoids added to them; small output
    weights make the first predictions near uniform. With two or three post-norm layers this trains without warm-up.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Embedding):
            nn.init.normal_(part.weight, std=part.embedding_dim**-0.5)
            if part.padding_idx is not None:
                with torch.no_grad():
                    part.weight[part.padding_idx].zero_()
