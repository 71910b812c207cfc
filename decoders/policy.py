"""The probabilities of captions that a decoder has drawn itself, with a gradient."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from decoders.base import Decoder
from decoders.memory import VideoMemory


def policy_log_probs(
    decoder: Decoder, drawn: Int[Tensor, "W L"], memory: VideoMemory, video: Int[Tensor, " W"]
) -> Float[Tensor, "W L"]:
    r"""Log-probability of each drawn word, as the policy of REINFORCE (Williams, 1992).

    .. math:: \log \pi(w_t \mid w_{<t}, video)

    The policy is the decoder restricted to what `sample_search` may write: no pad, no bos, no barred word, no eos
    before the first word; the others share the whole probability. The end of a sentence is a word like the others.

    Args:
        decoder: in the mode in which it drew (no dropout).
        drawn: words without bos, with eos where the caption reached it, then pad ``[W L]``.
        memory: of ``B`` videos, with the gradient that is wanted.
        video: the row of ``memory`` that each caption describes ``[W]``.

    Returns:
        ``[W L]``; exactly 0, without a gradient, at pads.
    """
    first = torch.full_like(drawn[:, :1], decoder.bos)
    real = drawn != decoder.pad
    logits = decoder.output(decoder.features(torch.cat([first, drawn[:, :-1]], 1), memory, video)[real])
    never = torch.tensor([decoder.pad, decoder.bos, *decoder.suppressed], device=drawn.device)
    logits = logits.index_fill(1, never, -torch.inf)
    begins = torch.zeros_like(real)
    begins[:, 0] = True
    ends = torch.arange(decoder.vocabulary, device=drawn.device) == decoder.eos
    logits = logits.masked_fill(begins[real][:, None] & ends, -torch.inf)
    chosen = logits.log_softmax(-1).gather(1, drawn[real][:, None])[:, 0]
    return torch.zeros(drawn.shape, dtype=chosen.dtype, device=drawn.device).masked_scatter(real, chosen)
