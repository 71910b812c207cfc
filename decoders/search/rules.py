"""Which words may come next: the rules that every search obeys."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from decoders.base import Decoder
from decoders.memory import VideoMemory

IMPOSSIBLE = -1e4
"""Least log-probability of a word: a caption that is ruled out altogether keeps a finite, hopeless score."""


@dataclass(frozen=True)
class Rules:
    """What the captions of any search must obey; :class:`WordFilter` says how.

    Args:
        min_length: fewest words before eos.
        no_repeat_ngram: length of the sequences of words that may not repeat; 0: any may.
        forbidden_endings: words that may not end a caption.
    """

    min_length: int = 1
    no_repeat_ngram: int = 0
    forbidden_endings: Collection[int] = ()


NO_RULES = Rules()


class WordFilter:
    """What a search may write by its `Rules`, for all its hypotheses at once.

    Never written are pad, bos and ``decoder.suppressed``; eos waits for ``min_length`` words. No caption ends in a
    forbidden ending: eos does not follow it, nor does it stand in the last place, where the caption is cut. No
    sequence of ``no_repeat_ngram`` words comes twice in a caption (Paulus et al., 2018, for three).

    Where the rules leave no word at all the caption ends at once, with eos at `IMPOSSIBLE` log-probability, so that any
    caption that obeys them is better; this one exception may be too short or end in a forbidden word.

    Args:
        decoder: in evaluation mode.
        memory: what it describes.
        max_length: most words, eos included; a caption is cut there.
        rules: that captions obey.

    Raises:
        ValueError: the decoder is in training mode, or a number or word is out of range.
    """

    def __init__(self, decoder: Decoder, memory: VideoMemory, max_length: int, rules: Rules) -> None:
        _check(decoder, max_length, rules.min_length)
        if rules.no_repeat_ngram < 0:
            raise ValueError(f"no_repeat_ngram={rules.no_repeat_ngram} must be 0 (off) or a number of words")
        self.max_length, self.min_length, self.no_repeat_ngram = max_length, rules.min_length, rules.no_repeat_ngram
        self.pad, self.eos = decoder.pad, decoder.eos
        self.never = [decoder.pad, decoder.bos, *decoder.suppressed]
        self.forbidden: Tensor | None = None
        if rules.forbidden_endings:
            words = sorted(rules.forbidden_endings)
            special = {decoder.pad, decoder.bos, decoder.eos}
            wrong = [word for word in words if not 0 <= word < decoder.vocabulary or word in special]
            if wrong:
                raise ValueError(
                    f"forbidden_endings holds {wrong[0]}, which is no word of the vocabulary "
                    f"(0..{decoder.vocabulary - 1} without pad, bos, eos)"
                )
            # As a mask on the device, since it is looked up for every hypothesis at every word.
            forbidden = torch.zeros(decoder.vocabulary, dtype=torch.bool)
            forbidden[words] = True
            self.forbidden = forbidden.to(memory.frames.device)

    def bar(self, log_probs: Float[Tensor, "N V"], written: Int[Tensor, "N T"]) -> None:
        """Put every word that may not come next to -inf, in place.

        Args:
            log_probs: of the next word of each hypothesis ``[N V]``.
            written: its words so far, from bos on ``[N T]``.
        """
        position = written.shape[1] - 1
        for word in self.never + [self.eos] * (position < self.min_length):
            log_probs[:, word] = -torch.inf
        if self.forbidden is not None:
            log_probs[:, self.eos].masked_fill_(self.forbidden[written[:, -1]], -torch.inf)
            # Where a caption is cut, its last word is its ending.
            if position + 1 == self.max_length:
                log_probs.masked_fill_(self.forbidden, -torch.inf)
        if 0 < self.no_repeat_ngram <= position:
            # All n-grams written so far [N g n], and the n - 1 words that the next word would complete to one.
            grams = written[:, 1:].unfold(1, self.no_repeat_ngram, 1)
            begun = written[:, written.shape[1] - self.no_repeat_ngram + 1 :]
            repeats = (grams[:, :, :-1] == begun[:, None]).all(2)
            # A pad is barred anyhow: it stands where there is nothing to bar.
            log_probs.scatter_(1, grams[:, :, -1].masked_fill(~repeats, self.pad), -torch.inf)

    def relax(
        self, log_probs: Float[Tensor, "N V"], written: Int[Tensor, "N T"], videos: Int[Tensor, " A"]
    ) -> Float[Tensor, "N V"]:
        """Where too few words are possible: those the rules allow are so, at `IMPOSSIBLE` at least, or else eos is.

        Args:
            log_probs: after `bar` ``[N V]``.
            written: as there ``[N T]``.
            videos: the number of each video whose hypotheses, next to each other, these are ``[A]``.

        Raises:
            ValueError: the decoder predicts NaN.
        """
        # Asked for here only: NaN is never finite, so the slow path is taken, and the fast one need not ask.
        bad = log_probs.isnan().any(1).nonzero()[:, 0]
        if len(bad):
            video = int(videos.repeat_interleave(len(log_probs) // len(videos))[bad[0]])
            raise ValueError(
                f"the decoder predicts NaN for word {written.shape[1]} of video {video}: "
                "its weights or the video's memory hold NaN"
            )
        # The clamp lifts barred words, too, so they are barred again.
        log_probs = log_probs.clamp(min=IMPOSSIBLE)
        self.bar(log_probs, written)
        # The rules leave no word at all: then the caption ends.
        nothing = log_probs.amax(1) == -torch.inf
        log_probs[:, self.eos].masked_fill_(nothing, IMPOSSIBLE)
        return log_probs


def _check(decoder: Decoder, max_length: int, min_length: int) -> None:
    if decoder.training:
        raise ValueError(
            "the decoder is in training mode, where dropout makes captions random: call decoder.eval() first"
        )
    if not 0 < min_length <= max_length:
        raise ValueError(f"min_length={min_length} must lie between 1 and max_length={max_length}")
    if decoder.max_length is not None and max_length > decoder.max_length:
        raise ValueError(
            f"max_length={max_length} words, but the decoder reads at most {decoder.max_length}: ask for fewer"
        )
