"""Captions drawn from the distribution of any `Decoder`."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from decoders.base import Decoder, select_state
from decoders.memory import VideoMemory
from decoders.search.hypotheses import Hypotheses, outside_inference, sum_type
from decoders.search.rules import IMPOSSIBLE, NO_RULES, Rules, WordFilter
from decoders.search.topk import stable_topk

MOST_NUMBERS = 2**28
"""Numbers in memory at once while captions are drawn."""


def sample_search(
    decoder: Decoder,
    memory: VideoMemory,
    samples: int = 1,
    max_length: int = 30,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    rules: Rules = NO_RULES,
    generator: torch.Generator | None = None,
) -> Hypotheses:
    """Draw captions word by word from what the decoder predicts, among the words that the rules allow.

    The probabilities of those words, raised to ``1 / temperature``, are cut first to the ``top_k`` likeliest and then
    to the nucleus (Holtzman et al., 2020): the fewest likeliest words whose share of what is left reaches ``top_p``.
    Then they are made to sum to 1. Of equal words at the edge, the lower id stays. Videos whose captions have all ended
    leave the batch, which becomes as narrow as the most captions that any video still has open.

    Args:
        decoder: in evaluation mode.
        memory: of ``B`` videos; the part of the state that is the video's is kept once, whatever ``samples``.
        samples: captions drawn a video, each on its own. Very many are drawn in turn, so that memory is that of the
            captions themselves; how many at once decides which numbers each gets of the generator.
        max_length: most words, eos included; a caption is cut there.
        temperature: below 1 likely words become likelier, above 1 less so.
        top_k: words to choose from at most; 0: all.
        top_p: share of the probability to choose from, in (0, 1]; one word at least.
        rules: that captions obey.
        generator: of random numbers, on the memory's device; None: torch's own.

    Returns:
        ``n = samples`` captions a video in the order drawn; ``scores`` and ``log_probs`` are both the decoder's own
        log-probability, whatever the temperature, cut or rules.

    Raises:
        ValueError: where a number does not fit, the decoder is in training mode, or it predicts NaN.
    """
    allowed = WordFilter(decoder, memory, max_length, rules)
    if samples < 1:
        raise ValueError(f"samples={samples} must be at least 1")
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature={temperature} must be above 0 and finite")
    if top_k < 0:
        raise ValueError(f"top_k={top_k} must be 0 (all words) or larger")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p} must be above 0 and at most 1")
    if generator is not None and generator.device.type != memory.frames.device.type:
        raise ValueError(
            f"the generator is on {generator.device.type}, the memory on {memory.frames.device.type}: "
            "make the generator on the memory's device"
        )
    # Drawing a word takes a dozen numbers for each one of the vocabulary, and a state some for each word so far.
    numbers = 12 * decoder.vocabulary + 4 * max_length * decoder.channels
    at_once = max(1, MOST_NUMBERS // (numbers * max(memory.num_videos, 1)))
    parts = [
        _sample(decoder, memory, min(at_once, samples - drawn), allowed, temperature, top_k, top_p, generator)
        for drawn in range(0, samples, at_once)
    ]
    return outside_inference(_joined(parts, decoder.pad))


def _joined(parts: list[Hypotheses], pad: int) -> Hypotheses:
    """The captions of several draws of the same videos, as of one."""
    longest = max(part.words.shape[2] for part in parts)
    words = [torch.nn.functional.pad(part.words, (0, longest - part.words.shape[2]), value=pad) for part in parts]
    others = ([getattr(part, name) for part in parts] for name in ("lengths", "scores", "log_probs"))
    return Hypotheses(torch.cat(words, 1), *(torch.cat(values, 1) for values in others))


@torch.inference_mode()
def _sample(
    decoder: Decoder,
    memory: VideoMemory,
    samples: int,
    allowed: WordFilter,
    temperature: float,
    top_k: int,
    top_p: float,
    generator: torch.Generator | None,
) -> Hypotheses:
    device = memory.frames.device
    videos = torch.arange(memory.num_videos, device=device)
    state = select_state(decoder.donate(decoder.init_state(memory)), videos.repeat_interleave(samples))
    # The numbers of the captions that are still open [A k]: their rows in ``words`` and ``log_probs``.
    captions = torch.arange(memory.num_videos * samples, device=device).unflatten(0, (-1, samples))
    words = torch.full((captions.numel(), allowed.max_length + 1), decoder.pad, device=device)
    words[:, 0] = decoder.bos
    log_probs = torch.zeros(captions.numel(), dtype=sum_type(memory), device=device)
    going = torch.ones_like(captions, dtype=torch.bool)
    for position in range(allowed.max_length):
        rows = captions.flatten()
        written = words[rows, : position + 1]
        # What has ended but keeps its place, since another caption of some video continues, reads eos.
        newest = written[:, -1].masked_fill(~going.flatten(), decoder.eos)
        predicted, state = decoder.step(newest, state)
        allowed.bar(predicted, written)
        if not bool(predicted.amax(1).isfinite().all()):
            predicted = allowed.relax(predicted, written, videos)
        word = draw(predicted.to(log_probs), temperature, top_k, top_p, generator)
        gained = predicted.gather(1, word[:, None])[:, 0].to(log_probs).clamp(min=IMPOSSIBLE)
        words[rows, position + 1] = word.masked_fill(~going.flatten(), decoder.pad)
        log_probs[rows] += gained.masked_fill(~going.flatten(), 0.0)
        going = going & (word.view_as(going) != decoder.eos)
        open_captions = going.sum(1)
        width, before = int(open_captions.max()), captions.shape[1]
        if width == 0:
            break
        kept = open_captions.nonzero()[:, 0]
        if width < before or len(kept) < len(videos):
            # Open captions first, so that the rest can be cut off; stable, so that they stay in the order drawn.
            going, order = going[kept].int().sort(dim=1, descending=True, stable=True)
            going, order = going[:, :width].bool(), order[:, :width]
            captions, videos = captions[kept].gather(1, order), videos[kept]
            state = select_state(state, (kept[:, None] * before + order).flatten(), kept)
    words = words[:, 1:]
    lengths = (words != decoder.pad).sum(1)
    words = words[:, : int(lengths.max())].unflatten(0, (-1, samples))
    lengths, log_probs = lengths.unflatten(0, (-1, samples)), log_probs.unflatten(0, (-1, samples))
    return Hypotheses(words, lengths, log_probs, log_probs)


def draw(
    log_probs: Float[Tensor, "N V"],
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> Int[Tensor, " N"]:
    """One word a row, as `sample_search` draws it; a word at -inf is never drawn.

    Args:
        log_probs: of the words, each up to a constant a row ``[N V]``.
        temperature, top_k, top_p, generator: as there.
    """
    logits = log_probs / temperature
    words: Tensor | None = None
    if 0 < top_k < logits.shape[1]:
        logits, words = stable_topk(logits, top_k)
    elif top_p < 1:
        logits, words = logits.sort(dim=1, descending=True, stable=True)
    share = logits.softmax(1)
    if top_p < 1:
        share = share.masked_fill(share.cumsum(1) - share >= top_p, 0.0)
    # The word at which the running sum passes a random number: a fifth of the time of `torch.multinomial` on a CPU.
    # Words without a share never pass what stood before them, even where a sum in parallel wavers.
    reached = share.cumsum(1, dtype=torch.float64).masked_fill(share == 0, 0.0).cummax(1).values
    number = torch.rand(len(share), 1, dtype=torch.float64, device=share.device, generator=generator)
    drawn = torch.searchsorted(reached, number * reached[:, -1:], right=True)
    return (drawn if words is None else words.gather(1, drawn))[:, 0]
