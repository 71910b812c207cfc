"""Which words the captions of a video hold: a loss of training, and a second opinion on captions that were found."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from decoders import Hypotheses, VideoMemory
from stg.models.memory import mean_of_steps
from stg.text.vocabulary import SPECIAL


class WordPredictor(nn.Module):
    r"""Logits of the words that captions of a video hold, from the memory that its decoder reads.

    .. math:: l = W \big[\,\tfrac{1}{S}\sum_s m_s \,;\, \max_s m_s\,\big] + b

    A word-by-word loss asks for the one verb of a caption once in ten words; this one asks the memory for it directly.
    Such bags of words are a target of Ma et al. (ACL 2018); HMN asks its learned queries for nouns (Ye et al., CVPR
    2022). It starts with the shares of captions that hold each word, whatever the video: W = 0, b their log-odds.

    Args:
        channels: width ``C`` of the steps.
        prior: share of captions that hold each word ``[V]``, in (0, 1).
        counted: the words that are asked for ``[V]``.
        memories: number of memories that are read together.
    """

    counted: Tensor
    held: Tensor

    def __init__(
        self, channels: int, prior: Float[Tensor, " V"], counted: Bool[Tensor, " V"], memories: int = 1
    ) -> None:
        super().__init__()
        # Nothing is drawn, so that the weights of all other parts are those of the seed.
        self.weight = nn.Parameter(prior.new_zeros(len(prior), 2 * channels * memories))
        self.bias = nn.Parameter(prior.logit())
        # Of the captions, which are there whenever a training begins or resumes.
        self.register_buffer("counted", counted, persistent=False)
        # How many of the words that are asked for a caption holds on average.
        self.register_buffer("held", prior[counted].sum(), persistent=False)

    def forward(self, *memories: VideoMemory) -> Float[Tensor, "B V"]:
        """Logits of the videos of the memories; a video without any real step has those of a zero vector."""
        pooled = [part for memory in memories for part in _pooled(memory.frames, memory.frame_mask)]
        return nn.functional.linear(torch.cat(pooled, -1), self.weight, self.bias)


def _pooled(steps: Float[Tensor, "B S C"], mask: Bool[Tensor, "B S"]) -> tuple[Tensor, Tensor]:
    largest = steps.masked_fill(~mask[..., None], -torch.inf).amax(1)
    # The largest of nothing is -inf.
    return mean_of_steps(steps, mask), largest.masked_fill(~mask.any(1, keepdim=True), 0.0)


def ranked_by_words(found: Hypotheses, words: Float[Tensor, "B V"], weight: float, n_best: int) -> Hypotheses:
    r"""The captions of a search, ranked by the words that are predicted from the whole video, too.

    .. math:: \mathrm{score}'(y) = \mathrm{score}(y) + \lambda \sum_{w \in y} \log p(w \mid \mathrm{video})

    over the different words of a caption; those that `word_loss` does not ask for count with their share of the
    training captions. Of equal scores, the caption that ranked first wins. ``scores`` are replaced by these.

    Args:
        found: at least ``n_best`` captions a video.
        words: log-probability that a caption of the video holds each word (`VideoMemory.words`).
        weight: ``lambda``.
        n_best: captions kept a video.
    """
    rows = torch.arange(len(found.words), device=found.words.device)[:, None]
    holds = torch.zeros(*found.words.shape[:2], words.shape[1], dtype=words.dtype, device=words.device)
    holds.scatter_(2, found.words, 1.0)
    holds[..., : len(SPECIAL)] = 0.0
    scores = found.scores + weight * (holds * words[:, None]).sum(-1).to(found.scores)
    order = scores.argsort(stable=True, dim=1, descending=True)[:, :n_best]
    chosen = (part[rows, order] for part in (found.words, found.lengths, scores, found.log_probs))
    return Hypotheses(*chosen)
