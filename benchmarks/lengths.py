"""Captions of real lengths: a decoder that ends each caption when told to, and the search that drops no row."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from decoders import Decoder, State, VideoMemory


class Ending(Decoder):
    """Another decoder, whose captions end after a given number of words, as random weights would not.

    Args:
        inner: whose words they are.
        lengths: words of each video's caption, eos included ``[B]``.
    """

    def __init__(self, inner: Decoder, lengths: Int[Tensor, " B"]) -> None:
        super().__init__(inner.vocabulary, 1, inner.max_length, inner.pad, inner.bos, inner.eos)
        self.inner, self.lengths = inner, lengths

    def features(self, words: Tensor, memory: VideoMemory, video: Tensor | None = None) -> Tensor:
        """Captions are searched here, never learned."""
        raise NotImplementedError

    def init_state(self, memory: VideoMemory) -> State:
        """The inner state, and how many words are still to come."""
        return self.inner.init_state(memory) | {"memory.left": self.lengths}

    def donate(self, state: State) -> State:
        """See `Decoder.donate`."""
        return self.inner.donate(state)

    def advance(self, word: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Decoder.advance`."""
        features, new = self.inner.advance(word, state)
        return features, new | {"memory.left": state["memory.left"] - 1}

    def step(self, word: Int[Tensor, " N"], state: State) -> tuple[Float[Tensor, "N V"], State]:
        """The inner prediction, with eos sure where the caption is to end, and impossible before."""
        log_probs, new = self.inner.step(word, state)
        left = state["memory.left"] - 1
        ends = left.repeat_interleave(len(word) // len(left)) == 0
        log_probs[:, self.eos] = torch.where(ends, 1e3, -torch.inf)
        return log_probs, new | {"memory.left": left}


def drawn_lengths(videos: int, steps: int) -> Int[Tensor, " B"]:
    """Lengths as in MSR-VTT, about nine words and eos: normal, mean 10.3, deviation 3.5, from 4 to ``steps``."""
    return (10.3 + 3.5 * torch.randn(videos)).round().clamp(4, steps).long()


@torch.inference_mode()
def greedy_to_the_end(decoder: Decoder, memory: VideoMemory, steps: int) -> Tensor:
    """Greedy search in which all rows take all steps; what follows eos is cut away afterwards ``[B L]``."""
    state = decoder.donate(decoder.init_state(memory))
    words = [torch.full((memory.num_videos,), decoder.bos)]
    for _ in range(steps):
        log_probs, state = decoder.step(words[-1], state)
        words.append(log_probs.index_fill_(1, torch.tensor([decoder.pad, decoder.bos]), -torch.inf).argmax(1))
    found = torch.stack(words[1:], 1)
    ended = (found == decoder.eos).cumsum(1) - (found == decoder.eos).int() > 0
    found = found.masked_fill(ended, decoder.pad)
    return found[:, : int((found != decoder.pad).sum(1).max())]


def greedy_one_by_one(decoder: Decoder, memory: VideoMemory, steps: int) -> Tensor:
    """`greedy_to_the_end` for one video after the other ``[B L]``; for captions of one length."""
    rows = (memory.select(torch.tensor([video])) for video in range(memory.num_videos))
    return torch.cat([greedy_to_the_end(decoder, row, steps) for row in rows])
