"""The caption that other likely captions agree with most: minimum Bayes risk."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from decoders.base import Decoder
from decoders.memory import VideoMemory
from decoders.search.hypotheses import Hypotheses, outside_inference
from decoders.search.rules import NO_RULES, Rules
from decoders.search.sampling import sample_search
from decoders.search.topk import stable_topk

ORDER = 4
"""Longest n-grams that are compared, as in BLEU and CIDEr."""


def mbr_search(
    decoder: Decoder,
    memory: VideoMemory,
    samples: int = 40,
    max_length: int = 30,
    *,
    n_best: int = 1,
    temperature: float = 1.0,
    top_p: float = 1.0,
    rules: Rules = NO_RULES,
    generator: torch.Generator | None = None,
) -> Hypotheses:
    """Draw captions and take the one that is most like all that were drawn (Kumar and Byrne, NAACL 2004).

    The likeliest caption of a captioner is often the vaguest. What most of its captions have in common is a safer
    answer: their number stands for how probable each part of it is, so that two ways to say one thing add up.

    Args:
        samples: captions drawn a video, as `sample_search` draws them with the other settings.
        n_best: captions to return, none twice while there are others; at most ``samples``.

    Returns:
        The ``n_best`` captions, best first; ``scores`` are their `agreement`, ``log_probs`` the decoder's own.

    Raises:
        ValueError: as `sample_search`, or ``n_best`` does not fit.
    """
    if not 1 <= n_best <= samples:
        raise ValueError(f"n_best={n_best} must lie in 1..samples={samples}")
    drawn = sample_search(
        decoder,
        memory,
        samples,
        max_length,
        temperature=temperature,
        top_p=top_p,
        rules=rules,
        generator=generator,
    )
    words = drawn.words.masked_fill(drawn.words == decoder.eos, decoder.pad)
    agreed = agreement(words, decoder.pad).to(drawn.scores.dtype)
    # What was drawn before follows all that is new; an agreement is at most 1.
    _, chosen = stable_topk(agreed - 2.0 * _drawn_before(words), n_best)
    return outside_inference(
        Hypotheses(
            drawn.words.gather(1, chosen[..., None].expand(-1, -1, drawn.words.shape[2])),
            *(values.gather(1, chosen) for values in (drawn.lengths, agreed, drawn.log_probs)),
        )
    )


def agreement(words: Int[Tensor, "B n L"], pad: int) -> Float[Tensor, "B n"]:
    r"""How much of a caption's n-grams the captions of its video share with it, in 0..1.

    .. math:: a_i = \frac{1}{4n} \sum_{j=1}^n \sum_{k=1}^4 \frac{\sum_g \min(c_{ig}, c_{jg})}{\sqrt{m_i m_j}}

    over the n-grams g of k words; c counts them in a caption, m is the number of all. A caption of fewer than k words
    shares none of length k.

    Args:
        words: ids, then ``pad``.
    """
    videos, captions, length = words.shape
    video = torch.arange(videos, device=words.device)[:, None, None].expand_as(words)
    real = words != pad
    # Numbers of the n-grams that begin at each place. Equal ones have one, those of later videos are larger.
    gram = video
    total = words.new_zeros((videos, captions, captions), dtype=torch.float32)
    for order in range(min(ORDER, length)):
        places = length - order
        gram = _numbered(gram[..., :places], words[..., order:])
        held = real[..., order:]
        # The second "a" of a caption meets the second "a" of another: a shared count is the smaller of two.
        nth = (gram[..., None] == gram[..., None, :]).tril().sum(-1)
        each = _numbered(gram, nth)
        first = each.amin((1, 2), keepdim=True)
        column = each - first
        counts = total.new_zeros(videos, captions, int(column.max()) + 1)
        counts.scatter_add_(2, column, held.to(counts.dtype))
        size = counts.sum(2)
        norm = (size[:, :, None] * size[:, None, :]).sqrt()
        total += counts @ counts.mT / norm.clamp(min=1)
    return total.mean(2) / ORDER


def _numbered(major: Int[Tensor, "*any"], minor: Int[Tensor, "*any"]) -> Int[Tensor, "*any"]:
    """A number for each pair, equal for equal pairs, in their order."""
    return torch.unique(major * (minor.max() + 1) + minor, return_inverse=True)[1]


def _drawn_before(words: Int[Tensor, "B n L"]) -> Float[Tensor, "B n"]:
    """1 where an earlier caption of the video has the same words, else 0."""
    number = torch.unique(words.flatten(0, 1), dim=0, return_inverse=True)[1].view(words.shape[:2])
    same = number[:, :, None] == number[:, None, :]
    return same.tril(-1).any(2).float()
