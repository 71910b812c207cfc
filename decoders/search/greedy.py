"""Greedy search over any `Decoder`."""

import torch

from decoders.base import Decoder, select_state
from decoders.memory import VideoMemory
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
    # Only the newest state is ever read again: caches may grow in place.
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
        # Finished videos leave the batch, so that later words cost less and less.
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
