"""Decoders that read one word after another: the loop over words, and scheduled sampling."""

from abc import abstractmethod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from decoders.base import Decoder, Pick, State, TrainOutput, select_state
from decoders.memory import VideoMemory

Trace = dict[str, Tensor]
"""What a word attends to, by name; first axis: hypotheses ``N``. Stacked over words: ``[W L ...]``. Keys that begin
with ``loss.`` are for `RecurrentDecoder.losses`, and `RecurrentDecoder.attention` leaves them out."""


class RecurrentDecoder(Decoder):
    """A decoder whose state after a word depends on its state before it.

    A subclass writes three parts: what hangs on the words alone (`read_words` for all positions at once, `read_word`
    for one more word, with equal results), and what must go word by word (`recur`). In teacher forcing the first is
    done for all words at once.
    """

    @abstractmethod
    def read_words(self, words: Int[Tensor, "W L"]) -> Float[Tensor, "W L E"]:
        """What `recur` needs to know of the words up to and including each position."""

    @abstractmethod
    def read_word(self, word: Int[Tensor, " N"], state: State) -> tuple[Float[Tensor, "N E"], State]:
        """The same for one more word of each hypothesis; the new state remembers the word."""

    @abstractmethod
    def recur(self, read: Float[Tensor, "N E"], state: State) -> tuple[Float[Tensor, "N C"], State, Trace]:
        """One step of the recurrence: the features of the next word, the new state, and what the step attends to.

        ``state`` is not changed; its ``memory.`` tensors have ``B`` rows, ``N = B K``.
        """

    def losses(self, trace: Trace, state: State, real: Bool[Tensor, "W L"]) -> dict[str, Tensor]:
        """Losses besides that of the words, from the stacked trace of a batch; none unless a subclass has some."""
        return {}

    def loss_counts(self, state: State, real: Bool[Tensor, "W L"]) -> dict[str, Tensor]:
        """Over how many each of `losses` is a mean, whole scalars; those not named are over the ``real`` words."""
        return {}

    def advance(self, word: Int[Tensor, " N"], state: State) -> tuple[Float[Tensor, "N C"], State]:
        """Read one more word of every hypothesis; see `Decoder.advance`."""
        read, state = self.read_word(word, state)
        features, state, _ = self.recur(read, state)
        return features, state

    def features(
        self, words: Int[Tensor, "W L"], memory: VideoMemory, video: Int[Tensor, " W"] | None = None
    ) -> Float[Tensor, "W L C"]:
        """See `Decoder.features`."""
        features, _ = self.unroll(words, self._start(words, memory, video))
        return features

    def attention(
        self, words: Int[Tensor, "W L"], memory: VideoMemory, video: Int[Tensor, " W"] | None = None
    ) -> Trace:
        """What each prediction attends to ``[W L ...]``, by name: ``[:, t]`` for what follows ``words[:, t]``."""
        _, trace = self.unroll(words, self._start(words, memory, video))
        return attention_only(trace)

    def forward_train(
        self,
        words: Int[Tensor, "W L"],
        memory: VideoMemory,
        video: Int[Tensor, " W"] | None = None,
        *,
        real: Bool[Tensor, "W L"] | None = None,
        own_words: float = 0.0,
        pick: Pick = "sample",
    ) -> TrainOutput:
        """See `Decoder.forward_train`. Each word is replaced or not by a draw of its own; ``words`` is not changed."""
        if not 0 <= own_words <= 1:
            raise ValueError(f"own_words is a probability and must lie in 0..1; got {own_words}")
        state = self._start(words, memory, video)
        if own_words:
            words, features, trace = self._unroll_sampling(words, state, own_words, pick)
        else:
            features, trace = self.unroll(words, state)
        real = torch.ones_like(words, dtype=torch.bool) if real is None else real
        losses = self.losses(trace, state, real)
        counts = dict.fromkeys(losses, real.sum()) | self.loss_counts(state, real)
        return TrainOutput(features, words, losses, counts)

    def unroll(self, words: Int[Tensor, "W L"], state: State) -> tuple[Float[Tensor, "W L C"], Trace]:
        """The recurrence over given words, from a state with one row a caption."""
        features, traces = [], []
        for read in self.read_words(words).unbind(1):
            feature, state, trace = self.recur(read, state)
            features.append(feature)
            traces.append(trace)
        return torch.stack(features, 1), _stack(traces)

    def _unroll_sampling(
        self, words: Int[Tensor, "W L"], state: State, own_words: float, pick: Pick
    ) -> tuple[Int[Tensor, "W L"], Float[Tensor, "W L C"], Trace]:
        # Which words are replaced is drawn for all at once, so that only their predictions need be worked out.
        taken = torch.rand(words.shape, device=words.device) < own_words
        # The first word is bos, which nobody predicts.
        taken[:, 0] = False
        # The captions to replace at each position, found together: the loop then waits for the device no more.
        rows = taken.t().nonzero()[:, 1].split(taken.sum(0).tolist())
        read: list[Tensor] = []
        features: list[Tensor] = []
        traces: list[Trace] = []
        for word, own in zip(words.unbind(1), rows, strict=True):
            if len(own):
                word = word.index_copy(0, own, self._own(features[-1][own], pick).to(word))
            summary, state = self.read_word(word, state)
            feature, state, trace = self.recur(summary, state)
            read.append(word)
            features.append(feature)
            traces.append(trace)
        return torch.stack(read, 1), torch.stack(features, 1), _stack(traces)

    @torch.no_grad()
    def _own(self, features: Float[Tensor, "R C"], pick: Pick) -> Int[Tensor, " R"]:
        suppressed = torch.tensor([self.pad, self.bos, *self.suppressed], device=features.device)
        scores = self.output(features).index_fill(1, suppressed, 0.0)
        # There is no drawing from what is not finite. Such a row reads any word: its features and its loss show it.
        scores = torch.where(scores.isfinite().all(1, keepdim=True), scores, 0.0)
        scores = scores.index_fill(1, suppressed, -torch.inf)  # never written, so never read
        return scores.argmax(-1) if pick == "argmax" else torch.multinomial(scores.softmax(-1), 1)[:, 0]

    def _start(self, words: Int[Tensor, "W L"], memory: VideoMemory, video: Int[Tensor, " W"] | None) -> State:
        self.check(words, memory, video)
        return select_state(self.init_state(memory), video, video)


def attention_only(trace: Trace) -> Trace:
    """A trace without what is there for losses."""
    return {name: value for name, value in trace.items() if not name.startswith("loss.")}


def _stack(traces: list[Trace]) -> Trace:
    return {name: torch.stack([trace[name] for trace in traces], 1) for name in traces[0]}
