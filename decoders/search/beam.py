"""Beam search over any `Decoder`: groups of beams that grow next to each other."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from decoders.base import Decoder, select_state
from decoders.memory import VideoMemory
from decoders.search.hypotheses import Hypotheses, outside_inference, sum_type
from decoders.search.rules import NO_RULES, Rules, WordFilter
from decoders.search.topk import next_words, stable_topk


class _Found(NamedTuple):
    """The best captions of every video so far, best first; -inf where there is none yet."""

    words: Int[Tensor, "B n L"]
    lengths: Int[Tensor, "B n"]
    scores: Float[Tensor, "B n"]
    log_probs: Float[Tensor, "B n"]


@torch.inference_mode()
def grouped_beams(
    decoder: Decoder,
    memory: VideoMemory,
    allowed: WordFilter,
    groups: int,
    beam: int,
    diversity: float,
    length_penalty: float,
    n_best: int,
) -> Hypotheses:
    """Beam search in ``groups`` of ``beam`` hypotheses, one after the other at every step (see `diverse_beam_search`).

    All groups take one step of the decoder together, and give what they find to one list a video.
    """
    max_length, device = allowed.max_length, memory.frames.device
    videos = torch.arange(memory.num_videos, device=device)
    # Donated, as only the newest of all states is ever read again: caches may grow in place.
    opening = decoder.donate(decoder.init_state(memory))
    state = select_state(opening, None if groups == 1 else videos.repeat_interleave(groups))
    words = torch.full((memory.num_videos, 1, max_length + 1), decoder.pad, device=device)
    words[:, :, 0] = decoder.bos
    log_probs = torch.zeros(memory.num_videos, 1, dtype=sum_type(memory), device=device)
    found = _nothing(words[:, :, 1:], log_probs, n_best, decoder.pad)
    all_groups = [_Group(words, log_probs, torch.full_like(videos, beam)) for _ in range(groups)]
    for position in range(max_length):
        widths = [group.words.shape[1] for group in all_groups]
        newest = torch.cat([group.words[:, :, position] for group in all_groups], 1)
        predicted, state = decoder.step(newest.flatten(), state)
        # All groups share one step of the decoder; then they choose in turn, each seeing what those before it chose.
        of_groups = predicted.unflatten(0, (len(videos), -1)).split(widths, 1)
        chosen = log_probs.new_zeros(len(videos), decoder.vocabulary) if groups > 1 else None
        last = position + 1 == max_length
        parents, orders = [], []
        for place, (group, of_group) in enumerate(zip(all_groups, of_groups, strict=True)):
            penalty = diversity * chosen if chosen is not None and place else None
            parent, word = _extend(group, of_group.flatten(0, 1), position, beam, allowed, videos, penalty)
            alive = group.log_probs.isfinite()
            if chosen is not None:
                chosen.scatter_add_(1, word, alive.to(chosen))
            # A caption that ends leaves its group, whose place stays empty; the best of them are kept for each video.
            ended = ((word == decoder.eos) | last) & alive
            ended_log_probs = group.log_probs.masked_fill(~ended, -torch.inf)
            found = _merge(found, videos, group.words[:, :, 1:], ended_log_probs, position + 1, length_penalty)
            group.left = group.left - ended.sum(1)
            group.log_probs, order = stable_topk(group.log_probs.masked_fill(ended, -torch.inf), beam)
            parents.append(parent)
            orders.append(order)
        if last:
            break
        kept = _can_improve(all_groups, found.scores[videos, -1], max_length**length_penalty).nonzero()[:, 0]
        if len(kept) == 0:
            break
        rows = _prune(all_groups, kept, parents, orders, widths)
        state = select_state(state, rows, None if len(kept) == len(videos) else kept)
        videos = videos[kept]
        all_groups = [group for group in all_groups if group.words.shape[1]]
    return Hypotheses(found.words[:, :, : int(found.lengths.max())], found.lengths, found.scores, found.log_probs)


@dataclass
class _Group:
    """The hypotheses of one group, from bos on and best first; -inf where a video has fewer than the widest."""

    words: Int[Tensor, "A K T"]
    log_probs: Float[Tensor, "A K"]
    left: Int[Tensor, " A"]
    """How many captions of each video are still to be found."""

    def keep(self, kept: Int[Tensor, " a"], order: Int[Tensor, "A K"]) -> Int[Tensor, "a k"]:
        """Only these videos stay, and of the hypotheses, in this order, as many as any of them has alive."""
        width = int(self.log_probs[kept].isfinite().sum(1).max())
        order = order[kept, :width]
        self.log_probs, self.left = self.log_probs[kept, :width], self.left[kept]
        self.words = self.words[kept[:, None], order]
        return order


def _nothing(words: Int[Tensor, "B 1 L"], log_probs: Float[Tensor, "B 1"], n_best: int, pad: int) -> _Found:
    videos = len(words)
    return _Found(
        words=words.new_full((videos, n_best, words.shape[2]), pad),
        lengths=words.new_zeros(videos, n_best),
        scores=log_probs.new_full((videos, n_best), -torch.inf),
        log_probs=log_probs.new_full((videos, n_best), -torch.inf),
    )


def _can_improve(all_groups: list[_Group], worst: Float[Tensor, " A"], longest_penalty: float) -> Bool[Tensor, " A"]:
    """Whether a hypothesis of each video may end among its best captions, of which ``worst`` is the last score."""
    # Log-probabilities only fall: once the best hypothesis of a video, over the longest length, is worse than its n-th
    # caption, the video is done.
    return torch.cat([group.log_probs for group in all_groups], 1).amax(1) / longest_penalty > worst


def _prune(
    all_groups: list[_Group], kept: Int[Tensor, " a"], parents: list[Tensor], orders: list[Tensor], widths: list[int]
) -> Int[Tensor, " N"]:
    """Keep the videos that stay, in every group; the row of the state that each of their hypotheses grew from."""
    rows, start = [], 0
    for group, parent, order, width in zip(all_groups, parents, orders, widths, strict=True):
        order = group.keep(kept, order)
        rows.append(kept[:, None] * sum(widths) + start + parent[kept].gather(1, order))
        start += width
    return torch.cat(rows, 1).flatten()


def _extend(
    group: _Group,
    predicted: Float[Tensor, "N V"],
    position: int,
    beam: int,
    allowed: WordFilter,
    videos: Int[Tensor, " A"],
    penalty: Float[Tensor, "A V"] | None,
) -> tuple[Int[Tensor, "A k"], Int[Tensor, "A k"]]:
    """Write the best continuations into the group; which hypothesis each grew from, and its new word."""
    width = group.words.shape[1]
    written = group.words[:, :, : position + 1].flatten(0, 1)
    # No hypothesis has more than ``beam`` of the best continuations, so the rest of the vocabulary need not be ranked.
    value, choice = next_words(predicted, beam, allowed, written, videos, penalty)
    value, choice = value.unflatten(0, (-1, width)), choice.unflatten(0, (-1, width))
    total = (group.log_probs[:, :, None] + value.to(group.log_probs)).flatten(1)
    choice = choice.flatten(1)
    # The penalty decides which are taken; what they count for later is without it.
    if penalty is None:
        log_probs, rank = stable_topk(total, beam)
    else:
        rank = stable_topk(total - penalty.gather(1, choice), beam)[1]
        log_probs = total.gather(1, rank)
    # A beam that has lost captions to eos is narrower than the batch: what it cannot hold is dead.
    place = torch.arange(log_probs.shape[1], device=log_probs.device)
    group.log_probs = log_probs.masked_fill(place >= group.left[:, None], -torch.inf)
    parent, word = rank // value.shape[2], choice.gather(1, rank)
    group.words = group.words.gather(1, parent[:, :, None].expand(-1, -1, group.words.shape[2]))
    group.words[:, :, position + 1] = word
    return parent, word


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
    scores, order = stable_topk(torch.cat([found.scores[videos], log_probs / length**length_penalty], 1), n_best)
    rows = torch.arange(len(videos), device=videos.device)[:, None]
    return _Found(
        words=found.words.index_copy(0, videos, torch.cat([found.words[videos], words], 1)[rows, order]),
        lengths=found.lengths.index_copy(0, videos, torch.cat([found.lengths[videos], lengths], 1)[rows, order]),
        scores=found.scores.index_copy(0, videos, scores),
        log_probs=found.log_probs.index_copy(
            0, videos, torch.cat([found.log_probs[videos], log_probs], 1)[rows, order]
        ),
    )


def beam_search(
    decoder: Decoder,
    memory: VideoMemory,
    beam: int = 5,
    max_length: int = 30,
    length_penalty: float = 0.0,
    n_best: int = 1,
    *,
    rules: Rules = NO_RULES,
) -> Hypotheses:
    r"""Keep the ``beam`` likeliest hypotheses at every step; a caption that ends leaves, and its beam shrinks by one.

    .. math:: \mathrm{score}(y) = \log p(y) / |y|^\alpha

    A caption counts as found when its eos is among the best continuations that the remaining beam can hold. Captions
    cut at ``max_length`` compete by the same score. A video is done when its beam is used up, or when no hypothesis can
    reach the score of its ``n_best`` found captions any more (log-probabilities only fall, so stopping changes no
    result). With ``beam=1`` this is greedy search; with a beam as large as the number of captions it is exhaustive. Of
    equal scores, the hypothesis that ranked first wins, then the lower word id. Videos that are done leave the batch,
    which becomes as narrow as its widest remaining beam.

    Args:
        decoder: in evaluation mode.
        memory: of ``B`` videos.
        beam: hypotheses kept a video.
        max_length: most words, eos included.
        length_penalty: ``alpha >= 0``; 0 ranks by log-probability, 1 by log-probability a word.
        n_best: captions returned a video, at most ``beam``.
        rules: that captions obey.

    Raises:
        ValueError: as `greedy_search`; where ``n_best`` exceeds the beam or the number of captions that exist.
    """
    allowed = WordFilter(decoder, memory, max_length, rules)
    check_beam(decoder, allowed, beam, n_best, length_penalty)
    return check_found(grouped_beams(decoder, memory, allowed, 1, beam, 0.0, length_penalty, n_best))


def check_beam(decoder: Decoder, allowed: WordFilter, beam: int, n_best: int, length_penalty: float) -> None:
    """Refuse what no beam search can do.

    Raises:
        ValueError: naming the number that does not fit.
    """
    if not 1 <= n_best <= beam:
        raise ValueError(f"n_best={n_best} must lie between 1 and beam={beam}")
    if not 0 <= length_penalty < float("inf"):
        raise ValueError(f"length_penalty={length_penalty} must be 0 or larger")
    words = decoder.vocabulary - len(decoder.suppressed)
    if (exist := _count_captions(words, allowed.max_length, allowed.min_length, n_best)) < n_best:
        raise ValueError(
            f"n_best={n_best}, but only {exist} captions exist with vocabulary={decoder.vocabulary}, "
            f"max_length={allowed.max_length}, min_length={allowed.min_length}: ask for fewer"
        )


def check_found(found: Hypotheses) -> Hypotheses:
    """What a beam search returns: nothing of inference mode, and as many captions as were asked for.

    Raises:
        ValueError: the rules leave a video fewer captions.
    """
    if not bool(found.scores.isfinite().all()):
        counts = found.scores.isfinite().sum(1)
        video = int(counts.argmin())
        raise ValueError(
            f"n_best={found.scores.shape[1]}, but the rules leave the beam of video {video} only {int(counts[video])} "
            "captions: ask for fewer"
        )
    return outside_inference(found)


def _count_captions(vocabulary: int, max_length: int, min_length: int, at_least: int) -> int:
    """How many captions exist, counted no further than ``at_least``; pad and bos are never written.

    A caption ends with eos after ``min_length`` to ``max_length - 1`` words, or is cut at ``max_length`` words.
    """
    words, total = vocabulary - 3, 0
    if words == 0:
        return 1  # eos alone, see `WordFilter`
    for length in range(min_length, max_length):
        total += words**length
        if total >= at_least:
            return at_least
    return min(total + words**max_length, at_least)
