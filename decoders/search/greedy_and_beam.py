"""Greedy and beam search over any `Decoder`."""

import torch

from decoders.base import Decoder, select_state
from decoders.memory import VideoMemory
from decoders.search.beam_groups import grouped_beams
from decoders.search.hypotheses import Hypotheses, outside_inference, sum_type
from decoders.search.rules import NO_RULES, Rules, WordFilter
from decoders.search.topk import next_words


def greedy_search(
    decoder: Decoder,
    memory: VideoMemory,
    max_length: int = 30,
    *,
    rules: Rules = NO_RULES,
) -> Hypotheses:
    """The likeliest word at every step; of equals, the one with the lower id.

    Captions that have ended leave the batch, so that the rest goes faster.

    Args:
        decoder: in evaluation mode.
        memory: of ``B`` videos.
        max_length: most words, eos included; a caption is cut there.
        rules: that captions obey.

    Returns:
        One caption a video (``n = 1``), scored by its log-probability.

    Raises:
        ValueError: where a length does not fit, the decoder is in training mode, or it predicts NaN.
    """
    allowed = WordFilter(decoder, memory, max_length, rules)
    return outside_inference(_greedy(decoder, memory, allowed))


@torch.inference_mode()
def _greedy(decoder: Decoder, memory: VideoMemory, allowed: WordFilter) -> Hypotheses:
    device = memory.frames.device
    state = decoder.donate(decoder.init_state(memory))
    videos = torch.arange(memory.num_videos, device=device)
    word = torch.full_like(videos, decoder.bos)
    words = torch.full((memory.num_videos, allowed.max_length + 1), decoder.pad, device=device)
    words[:, 0] = decoder.bos
    log_probs = torch.zeros(memory.num_videos, dtype=sum_type(memory), device=device)
    for position in range(allowed.max_length):
        predicted, state = decoder.step(word, state)
        best, choice = next_words(predicted, 1, allowed, words[videos, : position + 1], videos)
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
    *,
    rules: Rules = NO_RULES,
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
        rules: that captions obey.

    Raises:
        ValueError: as `greedy_search`; where ``n_best`` exceeds the beam or the number of captions that exist.
    """
    allowed = WordFilter(decoder, memory, max_length, rules)
    check_beam(decoder, allowed, beam, n_best, length_penalty)
    return found_all(grouped_beams(decoder, memory, allowed, 1, beam, 0.0, length_penalty, n_best))


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


def found_all(found: Hypotheses) -> Hypotheses:
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
