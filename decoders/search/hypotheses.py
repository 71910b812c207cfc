"""What every search returns."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from decoders.memory import VideoMemory


@dataclass(frozen=True)
class Hypotheses:
    """The captions found, best first; those of `sample_search` in the order drawn.

    Args:
        words: ids ``[B n L]`` without bos, with eos where the caption reached it, then pad.
        lengths: words of each caption, eos included ``[B n]``.
        scores: what they are ranked by ``[B n]``: of a search ``log_probs / lengths ** length_penalty``.
        log_probs: sum of the words' log-probabilities as the decoder predicts them ``[B n]``.
    """

    words: Int[Tensor, "B n L"]
    lengths: Int[Tensor, "B n"]
    scores: Float[Tensor, "B n"]
    log_probs: Float[Tensor, "B n"]


def outside_inference(found: Hypotheses) -> Hypotheses:
    """A copy made outside inference mode, whose tensors may enter autograd: found captions may be trained on."""
    return Hypotheses(found.words.clone(), found.lengths.clone(), found.scores.clone(), found.log_probs.clone())


def sum_type(memory: VideoMemory) -> torch.dtype:
    """The type in which log-probabilities are added: that of the memory, and single precision at least."""
    return torch.promote_types(memory.frames.dtype, torch.float32)
