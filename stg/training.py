"""One training step: the loss (Eq. 8 of Pan et al., 2020, and its ablations), the optimisers, what epochs change."""

from collections.abc import Callable, Mapping
from math import exp

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from decoders.base import Pick
from stg.config import OptimConfig
from stg.data import CaptionBatch
from stg.model import Captioner
from stg.objectives import Divergence, Reduction, distillation_loss, feature_loss, language_loss

FUSED = ("cpu", "cuda")
"""Devices on which Adam updates all weights in one call; RMSprop has no such call anywhere."""

OPTIMISERS: Mapping[str, Callable[[list[nn.Parameter], OptimConfig], Optimizer]] = {
    "adam": lambda weights, optim: torch.optim.Adam(
        weights,
        lr=optim.lr,
        betas=optim.betas,
        weight_decay=optim.weight_decay,
        fused=weights[0].device.type in FUSED,
    ),
    "rmsprop": lambda weights, optim: torch.optim.RMSprop(weights, lr=optim.lr, weight_decay=optim.weight_decay),
}
"""Name -> optimiser: Adam as in Pan et al. (2020), RMSprop as in Cherian et al. (2020), which names the step alone."""


def captioning_losses(
    model: Captioner,
    batch: CaptionBatch,
    *,
    scene_weight: float = 1.0,
    distill_weight: float = 4.0,
    kl: Divergence = "student_teacher",
    temperature: float = 1.0,
    detach_teacher: bool = False,
    reduction: Reduction = "positions",
    keep_empty: bool = False,
    rank_weight: float = 0.1,
    category_weight: float = 0.1,
    own_words: float = 0.0,
    own_word: Pick = "sample",
) -> dict[str, Tensor]:
    r"""The total loss and its parts (Pan et al., 2020, Eq. 8).

    .. math:: L = L_{o\,lang} + \lambda_{sl} L_{s\,lang} + \lambda_d L_{distill}

    Note that the distillation, not the object loss, carries ``distill_weight``. A model with one decoder has its
    language loss alone, with weight 1. Captions of videos without any object do not count in the object and
    distillation losses unless ``keep_empty`` (P15).

    Each decoder adds the losses of its own, weighted: the ranking loss of STaTS (Cherian et al., 2020, Eq. 6) and its
    class prediction. ``own_words`` is the probability with which
    decoders read their own word (``own_word``: drawn or likeliest) in place of the given one; where there are two
    branches, both read what the scene decoder read (P24).

    Returns:
        ``loss`` and the parts that exist, unweighted: ``scene``, ``object``, ``distill`` or ``l2``, and a decoder's own
        as ``scene_rank``, ``object_rank``, ``scene_category``, ... Scalars.
    """
    encoded = model.encode(batch.graphs)
    targets = batch.targets[batch.real]
    parts: dict[str, Tensor] = {}
    own: dict[str, Mapping[str, Tensor]] = {}
    scene_logits = object_logits = None
    kept: Tensor | slice = slice(None)
    words, video, real = batch.words, batch.video, batch.real
    if model.scene_decoder is not None and encoded.scene is not None:
        taught = model.scene_decoder.teach(words, encoded.scene, video, real=real, own_words=own_words, pick=own_word)
        # The branches are compared on one prefix: what the scene decoder put into it, the object decoder reads.
        words, own_words = taught.words, 0.0
        scene_logits = model.scene_decoder.output(taught.features[real])
        parts["scene"] = language_loss(scene_logits, targets)
        own["scene"] = taught.losses
    if model.object_decoder is not None and encoded.objects is not None:
        counted = real if keep_empty else real & encoded.has_objects[video][:, None]
        taught = model.object_decoder.teach(
            words, encoded.objects, video, real=counted, own_words=own_words, pick=own_word
        )
        object_logits = model.object_decoder.output(taught.features[real])
        if not keep_empty:
            kept = counted[real]
        parts["object"] = language_loss(object_logits[kept], targets[kept])
        own["object"] = taught.losses
    weights = {"rank": rank_weight, "category": category_weight}
    extra = torch.zeros((), device=targets.device)
    for losses in own.values():
        for name, loss in losses.items():
            extra = extra + weights[name] * loss
    told = {f"{branch}_{name}": loss for branch, losses in own.items() for name, loss in losses.items()}
    if scene_logits is None or object_logits is None:
        return {"loss": sum(parts.values(), extra), **parts, **told}
    if model.fusion == "l2":
        assert encoded.scene is not None
        assert encoded.objects is not None
        mask = encoded.objects.frame_mask & encoded.scene.frame_mask
        parts["l2"] = feature_loss(encoded.scene.frames, encoded.objects.frames, mask)
    else:
        parts["distill"] = distillation_loss(
            scene_logits[kept],
            object_logits[kept],
            kl=kl,
            temperature=temperature,
            detach_teacher=detach_teacher,
            reduction=reduction,
            captions=len(batch.words),
        )
    alignment = parts.get("l2", parts.get("distill"))
    assert alignment is not None
    loss = parts["object"] + scene_weight * parts["scene"] + distill_weight * alignment + extra
    return {"loss": loss, **parts, **told}


def given_words(eta: float, epoch: int) -> float:
    r"""The share of words that are read as given, in scheduled sampling (Cherian et al., 2020, Sec. 4.3).

    .. math:: \epsilon_p = \eta / (\eta + \exp(p / \eta))

    With ``eta`` 24, .960 in epoch 0, .913 in epoch 20 and .749 in epoch 50. All other words are the decoder's own,
    each by a draw of its own (Bengio et al., 2015); the paper does not say whether by word or by sentence.

    Args:
        eta: the larger, the longer words are given.
        epoch: ``p``, from 0.
    """
    decay = eta * exp(-epoch / eta)  # the fraction multiplied by exp(-p / eta), which cannot overflow
    return decay / (decay + 1)


def annealed(first: float, last: float, epoch: int, epochs: int) -> float:
    """The temperature of an epoch: geometric from ``first`` in epoch 0 to ``last`` in the last of ``epochs``.

    Cherian et al. (2020, Eq. 9) keep it low throughout. One epoch alone is the last one.
    """
    return last * (first / last) ** (1 - epoch / (epochs - 1)) if epochs > 1 else last
