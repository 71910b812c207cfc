"""Whether words hang on what they looked at: the deletion test of attention."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from decoders import Decoder, VideoMemory
from stg.pages.attended import Attended, attentions
from stg.pages.views import Deletion

Mask = Literal["frame_mask", "region_mask", "grid_mask"]
HIDES: dict[Mask, str] = {"frame_mask": "frames", "region_mask": "regions", "grid_mask": "steps"}
"""What is hidden by the mask of a memory that hides it."""


@dataclass
class _Sums:
    hides: str
    words: int = 0
    hidden: int = 0
    attended: float = 0.0
    random: list[float] = field(default_factory=list)


class DeletionTest:
    """Hide what a word attended to most, or as many items drawn at random, and see how far its probability falls.

    For each word of each video, the ``k`` items with the largest weights are marked as not real in the memory, and the
    word's log-probability is taken given the words before it, which stay as they are. Weights that say nothing lose by
    this no more than random ones. (Deletion as for saliency maps, Petsiuk et al., 2018; for attention, see Serrano and
    Smith, 2019.)

    Hidden items are gone for an encoder in the decoder and for means over frames too, but not for what was made before
    the memory: a vector of the whole video, or neighbours in a graph. Both views of a frame are hidden together. What a
    look has no choice of (places of a grid) is not tested.

    Args:
        count: how many items are hidden; None: a fifth of the real ones, at least 1.
        seeds: of the random choices, one mean each.

    Raises:
        ValueError: nothing would be hidden, or there is no seed.
    """

    def __init__(self, *, count: int | None = None, seeds: Sequence[int] = (0, 1, 2)) -> None:
        if count is not None and count < 1:
            raise ValueError(f"count must be at least 1 or None, got {count}")
        if not seeds:
            raise ValueError("the deletion test needs at least one seed for its random choices, got none")
        self.count = count
        self._draws = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._sums: dict[str, _Sums] = {}

    def add(
        self, decoder: Decoder, words: Sequence[int], memory: VideoMemory, ways: Iterable[Attended] | None = None
    ) -> None:
        """Test one video, unless it has no more real items than are hidden.

        Args:
            decoder, words, memory: see `stg.pages.attended.attentions`.
            ways: where the words looked; default: where the decoder says.
        """
        if not words:
            return
        for way in attentions(decoder, words, memory).ways if ways is None else ways:
            target = _target(way, memory)
            if target is not None:
                self._add(decoder, words, memory, way.name, *target)

    def results(self) -> tuple[Deletion, ...]:
        """What was found, one for each look that was tested on any word; ``count`` is the mean over words, rounded."""
        return tuple(
            Deletion(
                look=name,
                hides=sums.hides,
                words=sums.words,
                count=round(sums.hidden / sums.words),
                attended=sums.attended / sums.words,
                random=tuple(total / sums.words for total in sums.random),
            )
            for name, sums in self._sums.items()
        )

    def _add(
        self,
        decoder: Decoder,
        words: Sequence[int],
        memory: VideoMemory,
        name: str,
        mask: Mask,
        weights: Float[Tensor, "L M"],
        real: Bool[Tensor, " M"],
    ) -> None:
        items, length = int(real.sum()), len(words)
        count = self.count or max(1, items // 5)
        if items <= count:
            return
        at = real.nonzero()[:, 0]
        most = weights[:, real].topk(count).indices
        random = [torch.rand(length, items, generator=draw).topk(count).indices.to(at.device) for draw in self._draws]
        hidden = at[torch.cat([most, *random])]
        falls = _falls(decoder, words, memory, mask, hidden).unflatten(0, (-1, length)).sum(1).tolist()
        sums = self._sums.setdefault(name, _Sums(HIDES[mask], random=[0.0] * len(random)))
        sums.words += length
        sums.hidden += length * count
        sums.attended += falls[0]
        sums.random = [total + fall for total, fall in zip(sums.random, falls[1:], strict=True)]


def _target(way: Attended, memory: VideoMemory) -> tuple[Mask, Tensor, Tensor] | None:
    """The mask that hides items of a look, their weights ``[L M]``, and which are real ``[M]``; None: nothing can be
    hidden as the look tells it."""
    if way.part == "regions" and way.items is not None:
        assert memory.region_mask is not None
        real = memory.region_mask[0] & memory.frame_mask[0, :, None]
        return "region_mask", way.items.flatten(1), real.flatten()
    if way.steps is None:
        return None
    if way.part == "grid":
        assert memory.grid_mask is not None
        return "grid_mask", way.steps, memory.grid_mask[0]
    real = memory.frame_mask[0]
    if way.part == "regions":
        assert memory.region_mask is not None
        real = real & memory.region_mask[0].any(1)
    return "frame_mask", way.steps, real


@torch.no_grad()
def _falls(
    decoder: Decoder, words: Sequence[int], memory: VideoMemory, mask: Mask, hidden: Tensor
) -> Float[Tensor, " X"]:
    """How far the log-probability of word ``x % L`` falls with items ``hidden[x]`` hidden ``[X k]``, in one pass."""
    rows, length = len(hidden), len(words)
    whole: Tensor = getattr(memory, mask)
    # The last row is the video as it is.
    masks = whole.flatten(1).repeat(rows + 1, 1)
    masks[:-1].scatter_(1, hidden, False)
    videos = replace(
        memory.select(torch.zeros(rows + 1, dtype=torch.int64, device=whole.device)),
        **{mask: masks.unflatten(1, whole.shape[1:])},
    )
    read = torch.tensor([decoder.bos, *words[:-1]], device=whole.device).expand(rows + 1, -1)
    features = decoder.features(read, videos)
    word = torch.arange(rows, device=whole.device) % length
    # Each hidden row is read at its own word alone: the vocabulary is large.
    said = torch.cat([features[-1], features[torch.arange(rows, device=whole.device), word]])
    target = torch.tensor(words, device=whole.device)
    log_probs = decoder.output(said).log_softmax(-1)
    found = log_probs.gather(1, torch.cat([target, target[word]])[:, None])[:, 0].double()
    return found[:length][word] - found[length:]
