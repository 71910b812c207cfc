"""Several decoders that write one caption together, word by word."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from decoders.base import Decoder, State
from decoders.memory import VideoMemory


class EnsembleMemory(VideoMemory):
    """The same videos as each member of an ensemble reads them; it has the frames of the first, and nothing else.

    Args:
        memories: one a member, of the same videos in the same order.

    Raises:
        ValueError: there is none, or they differ in their number of videos.
    """

    def __init__(self, memories: Sequence[VideoMemory]) -> None:
        if not memories:
            raise ValueError("an ensemble reads at least one memory, got none")
        if len(counts := sorted({memory.num_videos for memory in memories})) > 1:
            raise ValueError(f"the members' memories hold {counts} videos: give all of them the same videos")
        super().__init__(memories[0].frames, memories[0].frame_mask)
        self.memories = tuple(memories)

    def _map(self, function: Callable[[Tensor], Tensor]) -> "EnsembleMemory":
        return EnsembleMemory([memory._map(function) for memory in self.memories])


class EnsembleDecoder(Decoder):
    r"""Decoders of any kind whose probabilities are averaged at every word.

    .. math:: p(y_t \mid y_{<t}) = \sum_m w_m\, p_m(y_t \mid y_{<t}), \quad \sum_m w_m = 1

    It is a decoder like any other, for every search; captions of an ensemble of one are those of its member. `features`
    are the averaged log-probabilities, so that ``output`` has nothing left to do. A word that one member bars is barred
    in all, and captions are no longer than the shortest that a member can read.

    Args:
        decoders: the members, of one vocabulary; it is for the caller to see that ids mean the same words in each.
        weights: how much each counts, in any scale; None: all the same.

    Raises:
        ValueError: there is no member, their vocabulary, pad, bos or eos differ, or the weights do not fit.
    """

    def __init__(self, decoders: Sequence[Decoder], weights: Sequence[float] | None = None) -> None:
        if not decoders:
            raise ValueError("an ensemble needs at least one decoder, got none")
        first = decoders[0]
        for name in ("vocabulary", "pad", "bos", "eos"):
            values = [getattr(decoder, name) for decoder in decoders]
            if len(set(values)) > 1:
                raise ValueError(f"the members of an ensemble must share {name}, got {values}")
        if weights is None:
            weights = [1.0] * len(decoders)
        if len(weights) != len(decoders) or not all(0 < weight < math.inf for weight in weights):
            raise ValueError(
                f"weights must be {len(decoders)} finite numbers above 0, one a member; got {list(weights)}"
            )
        lengths = [decoder.max_length for decoder in decoders if decoder.max_length is not None]
        super().__init__(first.vocabulary, 1, min(lengths, default=None), first.pad, first.bos, first.eos)
        self.channels = first.vocabulary
        self.add_module("output", nn.Identity())
        self.members = nn.ModuleList(decoders)
        self.suppressed = tuple(sorted({word for decoder in decoders for word in decoder.suppressed}))
        self.log_weights = [math.log(weight / math.fsum(weights)) for weight in weights]
        # A search refuses a decoder in training mode: one such member must show.
        self.training = any(decoder.training for decoder in decoders)

    @property
    def reads(self) -> frozenset[str]:
        """What any member reads."""
        return frozenset().union(*(decoder.reads for decoder in self._decoders()))

    @property
    def learns_from(self) -> frozenset[str]:
        """What any member learns from."""
        return frozenset().union(*(decoder.learns_from for decoder in self._decoders()))

    def features(
        self, words: Int[Tensor, "W L"], memory: VideoMemory, video: Int[Tensor, " W"] | None = None
    ) -> Float[Tensor, "W L V"]:
        """The averaged log-probabilities of the word after each.

        Raises:
            ValueError: the memory is that of another number of members.
        """
        pairs = zip(self._decoders(), self._memories(memory), strict=True)
        return self._average([decoder(words, own, video).log_softmax(-1) for decoder, own in pairs])

    def init_state(self, memory: VideoMemory) -> State:
        """The states of all members side by side.

        Args:
            memory: an `EnsembleMemory`, or one that all members read.

        Raises:
            ValueError: as `features`.
        """
        pairs = zip(self._decoders(), self._memories(memory), strict=True)
        return _join([decoder.init_state(own) for decoder, own in pairs])

    def advance(self, word: Int[Tensor, " N"], state: State) -> tuple[Float[Tensor, "N V"], State]:
        """Every member reads the word; the averaged log-probabilities of the next."""
        decoders = self._decoders()
        steps = [decoder.step(word, own) for decoder, own in zip(decoders, _split(state, len(decoders)), strict=True)]
        return self._average([log_probs for log_probs, _ in steps]), _join([own for _, own in steps])

    def step(self, word: Int[Tensor, " N"], state: State) -> tuple[Float[Tensor, "N V"], State]:
        """`advance`, whose features are log-probabilities already."""
        return self.advance(word, state)

    def donate(self, state: State) -> State:
        """See `Decoder.donate`; so of every member."""
        decoders = self._decoders()
        return _join([decoder.donate(own) for decoder, own in zip(decoders, _split(state, len(decoders)), strict=True)])

    def anneal(self, temperature: float) -> None:
        """Anneal every member that chooses what it attends to."""
        for decoder in self._decoders():
            decoder.anneal(temperature)

    def _decoders(self) -> list[Decoder]:
        return [decoder for decoder in self.members if isinstance(decoder, Decoder)]

    def _memories(self, memory: VideoMemory) -> Sequence[VideoMemory]:
        if not isinstance(memory, EnsembleMemory):
            return [memory] * len(self.members)
        if len(memory.memories) != len(self.members):
            raise ValueError(f"{len(memory.memories)} memories for {len(self.members)} members: one a member is needed")
        return memory.memories

    def _average(self, log_probs: list[Float[Tensor, "*rows V"]]) -> Float[Tensor, "*rows V"]:
        # In logarithms, as the probabilities of unlikely words underflow.
        weighted = [values + weight for values, weight in zip(log_probs, self.log_weights, strict=True)]
        return torch.stack(weighted).logsumexp(0)


def _join(states: list[State]) -> State:
    """Member i's ``memory.x`` becomes ``memory.i.x``, its ``x`` becomes ``i.x``: what is a video's stays a video's."""
    joined = {}
    for member, state in enumerate(states):
        for name, value in state.items():
            of_video = "memory." if name.startswith("memory.") else ""
            joined[f"{of_video}{member}.{name.removeprefix(of_video)}"] = value
    return joined


def _split(state: State, members: int) -> list[State]:
    states: list[State] = [{} for _ in range(members)]
    for name, value in state.items():
        of_video = "memory." if name.startswith("memory.") else ""
        member, _, own = name.removeprefix(of_video).partition(".")
        states[int(member)][of_video + own] = value
    return states
