"""Greedy and beam search over any `Decoder`."""

from collections.abc import Collection
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from decoders.base import Decoder, select_state
from decoders.hypotheses import Hypotheses, outside_inference, sum_type
from decoders.memory import VideoMemory
from decoders.rules import IMPOSSIBLE, Rules


def greedy_search(
    decoder: Decoder,
    memory: VideoMemory,
    max_length: int = 30,
    min_length: int = 1,
    *,
    no_repeat_ngram: int = 0,
    forbidden_endings: Collection[int] = (),
) -> Hypotheses:
    """The likeliest word at every step; of equals, the one with the lower id.

    Captions that have ended leave the batch, so that the rest goes faster.

    Args:
        decoder: in evaluation mode.
        memory: of ``B`` videos.
        max_length: most words, eos included; a caption is cut there.
        min_length: fewest words before eos.
        no_repeat_ngram, forbidden_endings: see `Rules`.

    Returns:
        One caption a video (``n = 1``), scored by its log-probability.

    Raises:
        ValueError: where a length does not fit, the decoder is in training mode, or it predicts NaN.
    """
    rules = Rules(decoder, memory, max_length, min_length, no_repeat_ngram, forbidden_endings)
    return outside_inference(_greedy(decoder, memory, rules))


@torch.inference_mode()
def _greedy(decoder: Decoder, memory: VideoMemory, rules: Rules) -> Hypotheses:
    device = memory.frames.device
    state = decoder.init_state(memory)
    videos = torch.arange(memory.num_videos, device=device)
    word = torch.full_like(videos, decoder.bos)
    words = torch.full((memory.num_videos, rules.max_length + 1), decoder.pad, device=device)
    words[:, 0] = decoder.bos
    log_probs = torch.zeros(memory.num_videos, dtype=sum_type(memory), device=device)
    for position in range(rules.max_length):
        predicted, state = decoder.step(word, state)
        best, choice = _next_words(predicted, 1, rules, words[videos, : position + 1], videos)
        word = choice[:, 0]
        words[videos, position + 1] = word
        log_probs[videos] += best[:, 0].to(log_probs)
        going = (word != decoder.eos).nonzero()[:, 0]
        if len(going) == 0:
            break
        if len(going) < len(videos):
            videos, word = videos[going], word[going]
            state = select_state(state, going, going)
    words = words[:, 1:]
    lengths = (words != decoder.pad).sum(1)
    words = words[:, : int(lengths.max())]
    return Hypotheses(words[:, None], lengths[:, None], log_probs[:, None], log_probs[:, None])


def beam_search(
    decoder: Decoder,
    memory: VideoMemory,
    beam: int = 5,
    max_length: int = 30,
    length_penalty: float = 0.0,
    n_best: int = 1,
    min_length: int = 1,
    *,
    no_repeat_ngram: int = 0,
    forbidden_endings: Collection[int] = (),
) -> Hypotheses:
    r"""Keep the ``beam`` likeliest beginnings at every step; a caption that ends leaves, and its beam shrinks by one.

    .. math:: \mathrm{score}(y) = \log p(y) / |y|^\alpha

    A caption counts as found when its eos is among the best continuations that the remaining beam can hold. Captions
    cut at ``max_length`` compete by the same score. A video is done when its beam is used up, or when no beginning can
    reach the score of its ``n_best`` found captions any more (log-probabilities only fall, so stopping changes no
    result). With ``beam=1`` this is greedy search; with a beam as large as the number of captions it is exhaustive. Of
    equal scores, the beginning that ranked first wins, then the lower word id. Videos that are done leave the batch,
    which becomes as narrow as its widest remaining beam.

    Args:
        decoder: in evaluation mode.
        memory: of ``B`` videos.
        beam: beginnings kept a video.
        max_length: most words, eos included.
        length_penalty: ``alpha >= 0``; 0 ranks by log-probability, 1 by log-probability a word.
        n_best: captions returned a video, at most ``beam``.
        min_length: fewest words before eos.

    Raises:
        ValueError: as `greedy_search`; where ``n_best`` exceeds the beam or the number of captions that exist.
    """
    rules = Rules(decoder, memory, max_length, min_length, no_repeat_ngram, forbidden_endings)
    if not 1 <= n_best <= beam:
        raise ValueError(f"n_best={n_best} must lie between 1 and beam={beam}")
    if not 0 <= length_penalty < float("inf"):
        raise ValueError(f"length_penalty={length_penalty} must be 0 or larger")
    if (exist := _count_captions(decoder.vocabulary - len(decoder.barred), max_length, min_length, n_best)) < n_best:
        raise ValueError(
            f"n_best={n_best}, but only {exist} captions exist with vocabulary={decoder.vocabulary}, "
            f"max_length={max_length}, min_length={min_length}: ask for fewer"
        )
    return outside_inference(_beam(decoder, memory, beam, rules, length_penalty, n_best))


class _Found(NamedTuple):
    """The best captions of every video so far, best first; -inf where there is none yet."""

    words: Int[Tensor, "B n L"]
    lengths: Int[Tensor, "B n"]
    scores: Float[Tensor, "B n"]
    log_probs: Float[Tensor, "B n"]


@torch.inference_mode()
def _beam(
    decoder: Decoder,
    memory: VideoMemory,
    beam: int,
    rules: Rules,
    length_penalty: float,
    n_best: int,
) -> Hypotheses:
    max_length = rules.max_length
    device = memory.frames.device
    state = decoder.init_state(memory)
    videos = torch.arange(memory.num_videos, device=device)
    left = torch.full_like(videos, beam)
    words = torch.full((memory.num_videos, 1, max_length + 1), decoder.pad, device=device)
    words[:, :, 0] = decoder.bos
    log_probs = torch.zeros(memory.num_videos, 1, dtype=sum_type(memory), device=device)
    found = _Found(
        words=words.new_full((memory.num_videos, n_best, max_length), decoder.pad),
        lengths=words.new_zeros(memory.num_videos, n_best),
        scores=log_probs.new_full((memory.num_videos, n_best), -torch.inf),
        log_probs=log_probs.new_full((memory.num_videos, n_best), -torch.inf),
    )
    for position in range(max_length):
        width = words.shape[1]
        predicted, state = decoder.step(words[:, :, position].flatten(), state)
        value, choice = _next_words(predicted, beam, rules, words[:, :, : position + 1].flatten(0, 1), videos)
        continued = (log_probs[:, :, None] + value.to(log_probs).unflatten(0, (-1, width))).flatten(1)
        log_probs, rank = _top(continued, beam)
        # A beam that has lost captions to eos is narrower than the batch: what it cannot hold is dead.
        log_probs = log_probs.masked_fill(torch.arange(log_probs.shape[1], device=device) >= left[:, None], -torch.inf)
        parent = rank // value.shape[1]
        word = choice.reshape(len(videos), -1).gather(1, rank)
        words = words.gather(1, parent[:, :, None].expand(-1, -1, words.shape[2]))
        words[:, :, position + 1] = word

        last = position + 1 == max_length
        ended = ((word == decoder.eos) | last) & log_probs.isfinite()
        found = _merge(
            found, videos, words[:, :, 1:], log_probs.masked_fill(~ended, -torch.inf), position + 1, length_penalty
        )
        if last:
            break
        left = left - ended.sum(1)
        log_probs, order = _top(log_probs.masked_fill(ended, -torch.inf), beam)
        bound = log_probs[:, 0] / max_length**length_penalty
        kept = (bound > found.scores[videos, -1]).nonzero()[:, 0]
        if len(kept) == 0:
            break
        width_now = int(log_probs[kept].isfinite().sum(1).max())
        log_probs, order, left = log_probs[kept, :width_now], order[kept, :width_now], left[kept]
        words = words[kept[:, None], order]
        rows = kept[:, None] * width + parent[kept].gather(1, order)
        state = select_state(state, rows.flatten(), None if len(kept) == len(videos) else kept)
        videos = videos[kept]
    return Hypotheses(found.words[:, :, : int(found.lengths.max())], found.lengths, found.scores, found.log_probs)


def _merge(
    found: _Found,
    videos: Int[Tensor, " A"],
    words: Int[Tensor, "A K L"],
    log_probs: Float[Tensor, "A K"],
    length: int,
    length_penalty: float,
) -> _Found:
    """Take in captions of some of the videos, where better than what was found; -inf marks what is none."""
    lengths = torch.full_like(words[:, :, 0], length)
    n_best = found.scores.shape[1]
    # What was found earlier stands first, so that it wins a tie: stopping early then changes nothing.
    scores, order = _top(torch.cat([found.scores[videos], log_probs / length**length_penalty], 1), n_best)
    rows = torch.arange(len(videos), device=videos.device)[:, None]
    return _Found(
        words=found.words.index_copy(0, videos, torch.cat([found.words[videos], words], 1)[rows, order]),
        lengths=found.lengths.index_copy(0, videos, torch.cat([found.lengths[videos], lengths], 1)[rows, order]),
        scores=found.scores.index_copy(0, videos, scores),
        log_probs=found.log_probs.index_copy(
            0, videos, torch.cat([found.log_probs[videos], log_probs], 1)[rows, order]
        ),
    )


def _top(values: Float[Tensor, "R M"], count: int) -> tuple[Float[Tensor, "R k"], Int[Tensor, "R k"]]:
    """The ``k = min(count, M)`` largest of each row in falling order; of equals, the lower index first.

    `torch.topk` leaves open which of equal values it takes, so rows with a tie across the edge are sorted in full.
    """
    if count == 1:
        return values.max(1, keepdim=True)  # takes the first of equals
    count = min(count, values.shape[1])
    more = min(count + 1, values.shape[1])
    top, index = values.topk(more, 1)
    index, order = index[:, :count].sort(1)
    best, order = top.gather(1, order).sort(dim=1, descending=True, stable=True)
    index = index.gather(1, order)
    if more > count:
        tied = (top[:, count - 1] == top[:, count]).nonzero()[:, 0]
        if len(tied):
            ordered, place = values[tied].sort(dim=1, descending=True, stable=True)
            best, index = best.index_copy(0, tied, ordered[:, :count]), index.index_copy(0, tied, place[:, :count])
    return best, index


def _next_words(
    log_probs: Float[Tensor, "N V"], count: int, rules: Rules, written: Int[Tensor, "N T"], videos: Int[Tensor, " A"]
) -> tuple[Float[Tensor, "N k"], Int[Tensor, "N k"]]:
    """The likeliest words that may come next.

    Where fewer words than ``count`` are possible, impossible ones follow at `IMPOSSIBLE`, the barred ones at -inf.
    """
    rules.bar(log_probs, written)  # the tensor is ours, by the contract of `Decoder.step`
    value, choice = _top(log_probs, count)
    if not bool(value.isfinite().all()):
        return _top(rules.relax(log_probs, written, videos), count)
    return value.clamp(min=IMPOSSIBLE), choice


def _count_captions(vocabulary: int, max_length: int, min_length: int, at_least: int) -> int:
    """How many captions exist, counted no further than ``at_least``; pad and bos are never written.

    A caption ends with eos after ``min_length`` to ``max_length - 1`` words, or is cut at ``max_length`` words.
    """
    words, total = vocabulary - 3, 0
    for length in range(min_length, max_length):
        total += words**length
        if total >= at_least:
            return at_least
    return min(total + words**max_length, at_least)
