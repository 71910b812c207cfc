"""What a decoder reads of a graph: the mean of each frame, each object, each track, or what learned queries gather."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from decoders import MultiHeadAttention, keep_one_key, sinusoids
from graphs import GraphData, group_mean_max
from stg.models.memory import places

ReadoutKind = Literal["frames", "nodes", "tracks", "queries"]


class Tokens(NamedTuple):
    """What a decoder attends to of ``B`` videos, as the fields of `decoders.VideoMemory` of these names."""

    frames: Float[Tensor, "B S C"]
    frame_mask: Bool[Tensor, "B S"]
    times: Int[Tensor, "B S"]
    shows: Int[Tensor, "B S"]
    shares: Float[Tensor, "B S M"] | None = None


class Readout(nn.Module):
    r"""From the states of a graph's objects to the steps that a decoder attends to.

    The mean over each frame's objects, which Pan et al. (2020) read, forgets which object did what. The others keep
    them apart: ``nodes`` passes on every object; ``tracks`` one vector for each object over time, as STIN keeps its
    instances apart (Materzynska et al., 2020):

    .. math:: z_k = \mathrm{LN}\Big(W \big[\,\tfrac{1}{T}\sum_{i \in k} f_i \,;\, \max_{i \in k} f_i\,\big]\Big),
        \qquad f_i = \mathrm{ReLU}(W_f (h_i + p_{t(i)}) + b_f)

    with the sinusoid p of the frame of each object, so that the order of its frames is not lost, and T frames in the
    video, so that an object that is seldom seen weighs less. An object without a track (-1) is a track of its own.
    ``queries`` needs no tracks: each of its learned vectors gathers from all objects of the video (`GatherByQueries`).

    Args:
        kind: ``nodes``, ``tracks`` or ``queries``.
        channels: width ``C`` of the states.
        relations: convolutions over the tracks, along the edges of the graph (`graphs.TrackRelations`).
        queries: number ``Q`` of learned vectors.
        heads: of the attention of the queries.
    """

    def __init__(
        self,
        kind: ReadoutKind,
        channels: int,
        relations: Sequence[nn.Module] = (),
        *,
        queries: int = 16,
        heads: int = 8,
    ) -> None:
        super().__init__()
        if kind not in ("nodes", "tracks", "queries"):
            raise ValueError(f"kind must be nodes, tracks or queries, got {kind!r}; frames are what the encoder gives")
        self.kind = kind
        self.hidden = nn.Linear(channels, 2 * channels) if kind == "tracks" else None
        self.output = nn.Linear(4 * channels, channels) if kind == "tracks" else None
        self.norm = nn.LayerNorm(channels)
        self.relations = nn.ModuleList(relations)
        self.gather = GatherByQueries(queries, channels, heads) if kind == "queries" else None

    def forward(self, nodes: Float[Tensor, "N C"], batch: GraphData) -> Tokens:
        """The steps of each video, in the order of its objects, tracks or queries.

        Args:
            nodes: states of the objects, from the encoder of the graph.
            batch: the flat batch that they are of.

        Raises:
            ValueError: tracks are to be read and the batch has none.
        """
        frame, video, videos = batch.frame, batch.batch, len(batch.num_frames)
        number, _ = places(video, videos)
        if self.kind == "nodes":
            return _padded(self.norm(nodes), video, videos, frame, number)
        if self.gather is not None:
            positions = sinusoids(int(batch.num_frames.max()), nodes.shape[1]).to(nodes)
            return self.gather(_padded(self.norm(nodes) + positions[frame], video, videos, frame, number))
        assert self.hidden is not None
        assert self.output is not None
        if "track" not in batch:
            raise ValueError(
                "model.readout tracks needs the track of each object, and the store has none: add them with "
                "`python -m stg.store tracks STORE --out OTHER`, which extracts nothing again"
            )
        # An object whose track is not known gets a number that no track has.
        track = torch.where(batch.track >= 0, -2 - batch.track, number)
        keys, member = torch.unique(torch.stack([video, track]), dim=1, return_inverse=True)
        of, count = keys[0], keys.shape[1]
        longest = int(batch.num_frames.max())
        positions = sinusoids(longest, nodes.shape[1]).to(nodes)
        hidden = self.hidden(nodes + positions[frame]).relu()
        mean, largest, seen = group_mean_max(hidden, member, count)
        share = seen.to(hidden.dtype) / batch.num_frames[of]
        vectors = self.norm(self.output(torch.cat([mean * share[:, None], largest], 1)))
        for layer in self.relations:
            vectors = layer(vectors, member, positions, batch)
        # A track is at no one time: its frames are in its vector.
        return _padded(vectors, of, videos, torch.full_like(of, -1), keys[1])


class GatherByQueries(nn.Module):
    r"""Learned vectors that gather from the objects of a video, each what it has learned to ask for.

    As the learned queries of HMN's entities (Ye et al., CVPR 2022, Sec. 3.2), which descend from DETR's, in one layer:

    .. math:: y_k = \mathrm{LN}\Big(q_k + \sum_i a_{ki} V s_i\Big), \quad z_k = \mathrm{LN}(y_k + \mathrm{FF}(y_k))

    with ``a`` a softmax over all objects i of the video, in several heads (Vaswani et al., 2017). Departures: HMN's
    queries attend to each other too, which here the encoder of a decoder does; its noun loss takes the embeddings of
    nouns (``loss.word_weight`` asks for words of all kinds).

    Args:
        queries: number ``Q`` of vectors.
        channels: width ``C``.
        heads: of the attention; must divide channels.
    """

    def __init__(self, queries: int, channels: int, heads: int) -> None:
        super().__init__()
        # Of unit variance, as the normalised objects: unlike each other from the start, so that each finds its own.
        self.vectors = nn.Parameter(torch.randn(queries, channels))
        self.attention = MultiHeadAttention(channels, heads)
        self.attention_norm, self.norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.feed_forward = nn.Sequential(
            nn.Linear(channels, 2 * channels), nn.ReLU(), nn.Linear(2 * channels, channels)
        )

    def forward(self, objects: Tokens) -> Tokens:
        """``Q`` steps a video, masked where it has no object, and the share of each object in each."""
        steps, mask = keep_one_key(objects.frames, objects.frame_mask)
        vectors = self.vectors.expand(len(steps), -1, -1)
        keys, values = self.attention.keys_values(steps)
        gathered = self.attention(vectors, keys, values, mask=mask[:, None])
        states = self.attention_norm(vectors + gathered)
        states = self.norm(states + self.feed_forward(states))
        with torch.no_grad():
            shares = self.attention.weights(vectors, keys, mask[:, None]).mean(1)
        real = objects.frame_mask.any(1, keepdim=True).expand(states.shape[:2])
        none = torch.full(states.shape[:2], -1, device=states.device)
        return Tokens(states, real, none, none, shares)


class JoinTokens(nn.Module):
    """The steps of two memories one after the other, with a learned vector for each kind.

    Args:
        channels: width ``C`` of the steps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kind = nn.Embedding(2, channels)

    def forward(self, scene: Tokens, objects: Tokens) -> Tokens:
        """``S`` steps of the scene, then those of the objects."""
        marked = [
            tokens._replace(frames=tokens.frames + kind)
            for tokens, kind in zip((scene, objects), self.kind.weight, strict=True)
        ]
        shares = objects.shares
        if shares is not None:
            # Of the scene no step is made of objects.
            shares = nn.functional.pad(shares, (0, 0, scene.frames.shape[1], 0))
        steps = zip(*(tokens[:4] for tokens in marked), strict=True)
        frames, mask, times, shows = (torch.cat(parts, 1) for parts in steps)
        return Tokens(frames, mask, times, shows, shares)


def frame_tokens(frames: Float[Tensor, "B T C"], mask: Bool[Tensor, "B T"]) -> Tokens:
    """Steps that are frames."""
    times = torch.arange(frames.shape[1], device=mask.device).expand(mask.shape)
    return Tokens(frames, mask, times, torch.full_like(times, -1))


def _padded(
    vectors: Float[Tensor, "M C"],
    video: Int[Tensor, " M"],
    videos: int,
    times: Int[Tensor, " M"],
    shows: Int[Tensor, " M"],
) -> Tokens:
    """Rows that are ordered by video as padded steps; at least one step, so that a memory is never empty."""
    place, count = places(video, videos)
    longest = max(int(count.max()) if len(count) else 0, 1)
    steps = vectors.new_zeros(videos, longest, vectors.shape[1]).index_put((video, place), vectors)
    numbers = [value.new_full((videos, longest), -1).index_put((video, place), value) for value in (times, shows)]
    return Tokens(steps, torch.arange(longest, device=video.device) < count[:, None], numbers[0], numbers[1])
