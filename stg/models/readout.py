"""What a decoder reads of a graph: the mean of each frame, each object, or each track."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from decoders import sinusoids
from graphs import GraphData, group_mean_max
from stg.models.memory import places

ReadoutKind = Literal["frames", "nodes", "tracks"]


class Tokens(NamedTuple):
    """What a decoder attends to of ``B`` videos, as the fields of `decoders.VideoMemory` of these names."""

    frames: Float[Tensor, "B S C"]
    frame_mask: Bool[Tensor, "B S"]
    times: Int[Tensor, "B S"]
    shows: Int[Tensor, "B S"]


class Readout(nn.Module):
    r"""From the states of a graph's objects to the steps that a decoder attends to.

    The mean over each frame's objects, which Pan et al. (2020) read, forgets which object did what. The others keep
    them apart: ``nodes`` passes on every object; ``tracks`` one vector for each object over time, as STIN keeps its
    instances apart (Materzynska et al., 2020):

    .. math:: z_k = \mathrm{LN}\Big(W \big[\,\tfrac{1}{T}\sum_{i \in k} f_i \,;\, \max_{i \in k} f_i\,\big]\Big),
        \qquad f_i = \mathrm{ReLU}(W_f (h_i + p_{t(i)}) + b_f)

    with the sinusoid p of the frame of each object, so that the order of its frames is not lost, and T frames in the
    video, so that an object that is seldom seen weighs less. An object without a track (-1) is a track of its own.

    Args:
        kind: ``nodes`` or ``tracks``.
        channels: width ``C`` of the states.
        relations: convolutions over the tracks, along the edges of the graph (`graphs.TrackRelations`).
    """

    def __init__(self, kind: ReadoutKind, channels: int, relations: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        if kind not in ("nodes", "tracks"):
            raise ValueError(f"kind must be nodes or tracks, got {kind!r}; frames are what the encoder gives")
        self.kind = kind
        self.hidden = nn.Linear(channels, 2 * channels) if kind == "tracks" else None
        self.output = nn.Linear(4 * channels, channels) if kind == "tracks" else None
        self.norm = nn.LayerNorm(channels)
        self.relations = nn.ModuleList(relations)

    def forward(self, nodes: Float[Tensor, "N C"], batch: GraphData) -> Tokens:
        """The steps of each video, in the order of its objects or tracks.

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
        return Tokens(*(torch.cat(parts, 1) for parts in zip(*marked, strict=True)))


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
