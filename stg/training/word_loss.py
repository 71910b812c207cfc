"""The loss of predicting, from a memory, which words the captions of a video hold."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from stg.models.captioner import Captioner
from stg.runtime.errors import UserError
from stg.text.vocabulary import SPECIAL

COMMON = 0.5
"""A word that the captions of a larger share of the training videos hold says little of one: it is not asked for."""


def predict_words(model: Captioner, captions: Mapping[str, Sequence[Sequence[int]]], vocabulary: int) -> None:
    """Let a model predict the words of captions from its memories (`stg.models.word_prediction.WordPredictor`).

    Args:
        model: gets the layers.
        captions: of the training videos, as numbers.
        vocabulary: number of words ``V``.

    Raises:
        UserError: no word is left that distinguishes videos.
    """
    by_caption, by_video, number = torch.zeros(vocabulary), torch.zeros(vocabulary), 0
    for texts in captions.values():
        held = torch.zeros(len(texts), vocabulary)
        for row, words in enumerate(texts):
            held[row, list(words)] = 1.0
        by_caption, by_video, number = by_caption + held.sum(0), by_video + held.sum(0).gt(0), number + len(texts)
    counted = (by_video > 0) & (by_video / len(captions) <= COMMON)
    counted[: len(SPECIAL)] = False
    if not counted.any():
        raise UserError(
            f"loss.word_weight asks for words that distinguish videos, and the captions of more than {COMMON:.0%} of "
            "the training videos hold each word there is: take more videos, or set it to 0"
        )
    # As if half a caption more held each word and half did not: no log-odds are infinite.
    model.predict_words((by_caption + 0.5) / (number + 1), counted)


def word_loss(
    logits: Float[Tensor, "B V"],
    words: Int[Tensor, "W L"],
    video: Int[Tensor, " W"],
    counted: Bool[Tensor, " V"],
    videos: Bool[Tensor, " B"],
    held: Float[Tensor, ""],
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    r"""Binary cross-entropy of which words each caption holds, over the number of words that captions usually hold.

    .. math:: L = -\sum_{cw} \big(y_{cw} \log \sigma(l_{vw}) + (1 - y_{cw}) \log \sigma(-l_{vw})\big) / n

    over the captions c of the videos v = v(c) that count and the words w that are asked for; y says whether c holds w,
    and n is the number of captions times ``held``: above 0 in any part of a batch, and adding up over the parts. All
    captions of a video meet the same logits, whose best values are the shares of its captions.

    Args:
        logits: of the words of each video.
        words: of the captions; more than once is once, and what is not counted, padding included, is nothing.
        video: of each caption.
        counted: words that are asked for.
        videos: that count.
        held: number of the words asked for that a caption of the training holds on average.

    Returns:
        The loss, and the number of captions that it is a mean over.
    """
    holds = torch.zeros(len(words), len(counted), device=logits.device).scatter_(1, words, 1.0)
    holds *= counted & videos[video, None]
    present = torch.zeros_like(logits).index_add_(0, video, holds.to(logits.dtype))
    captions = torch.bincount(video[videos[video]], minlength=len(logits))
    absent = captions.to(logits.dtype) @ (functional.softplus(logits) * counted)
    number = captions.sum()
    return (absent.sum() - (present * logits).sum()) / (number.clamp(min=1) * held), number
