"""One training step's loss: Eq. 8 of Pan et al. (2020) and its ablations."""

import torch
from torch import Tensor

from decoders.base import Pick
from stg.data import CaptionBatch
from stg.model import Captioner
from stg.objectives import Divergence, Reduction, distillation_loss, feature_loss, language_loss


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
    class prediction. ``own_words`` is the probability with which decoders read their own word (``own_word``: drawn or
    likeliest) in place of the given one; where there are two branches, both read what the scene decoder read (P24).

    Returns:
        ``loss`` and the parts that exist, unweighted: ``scene``, ``object``, ``distill`` or ``l2``, and a decoder's own
        as ``scene_rank``, ``object_rank``, ``scene_category``, ... Scalars.
    """
    encoded = model.encode(batch.graphs)
    targets = batch.targets[batch.real]
    parts: dict[str, Tensor] = {}
    own: dict[str, Tensor] = {}
    scene_logits = object_logits = None
    kept: Tensor | slice = slice(None)
    words, video, real = batch.words, batch.video, batch.real
    if model.scene_decoder is not None and encoded.scene is not None:
        taught = model.scene_decoder.teach(words, encoded.scene, video, real=real, own_words=own_words, pick=own_word)
        # The branches are compared on one prefix: what the scene decoder put into it, the object decoder reads.
        words, own_words = taught.words, 0.0
        scene_logits = model.scene_decoder.output(taught.features[real])
        parts["scene"] = language_loss(scene_logits, targets)
        own |= {f"scene_{name}": loss for name, loss in taught.losses.items()}
    if model.object_decoder is not None and encoded.objects is not None:
        taught = model.object_decoder.teach(
            words, encoded.objects, video, real=real, own_words=own_words, pick=own_word
        )
        object_logits = model.object_decoder.output(taught.features[real])
        if not keep_empty:
            kept = encoded.has_objects[batch.video][:, None].expand_as(real)[real]
        parts["object"] = language_loss(object_logits[kept], targets[kept])
        own |= {f"object_{name}": loss for name, loss in taught.losses.items()}
    weights = {"rank": rank_weight, "category": category_weight}
    extra = sum(
        (weights[name.split("_", 1)[1]] * loss for name, loss in own.items()), torch.zeros((), device=targets.device)
    )
    if scene_logits is None or object_logits is None:
        return {"loss": sum(parts.values(), extra), **parts, **own}
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
    return {"loss": loss, **parts, **own}
