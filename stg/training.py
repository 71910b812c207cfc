"""One training step's loss: Eq. 8 of Pan et al. (2020) and its ablations."""

import torch
from torch import Tensor

from stg.data import CaptionBatch
from stg.model import Captioner, word_logits
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
) -> dict[str, Tensor]:
    r"""The total loss and its parts (Pan et al., 2020, Eq. 8).

    .. math:: L = L_{o\,lang} + \lambda_{sl} L_{s\,lang} + \lambda_d L_{distill}

    Note that the distillation, not the object loss, carries ``distill_weight``. A model with one decoder has its
    language loss alone, with weight 1. Captions of videos without any object do not count in the object and
    distillation losses unless ``keep_empty`` (P15).

    Returns:
        ``loss`` and the parts that exist, unweighted: ``scene``, ``object``, ``distill`` or ``l2``. Scalars.
    """
    encoded = model.encode(batch.graphs)
    targets = batch.targets[batch.real]
    parts: dict[str, Tensor] = {}
    scene_logits = object_logits = None
    kept: Tensor | slice = slice(None)
    if model.scene_decoder is not None and encoded.scene is not None:
        scene_logits = word_logits(model.scene_decoder, encoded.scene, batch.words, batch.video, batch.real)
        parts["scene"] = language_loss(scene_logits, targets)
    if model.object_decoder is not None and encoded.objects is not None:
        object_logits = word_logits(model.object_decoder, encoded.objects, batch.words, batch.video, batch.real)
        if not keep_empty:
            kept = encoded.has_objects[batch.video][:, None].expand_as(batch.real)[batch.real]
        parts["object"] = language_loss(object_logits[kept], targets[kept])
    if scene_logits is None or object_logits is None:
        return {"loss": sum(parts.values(), torch.zeros((), device=targets.device)), **parts}
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
    return {"loss": parts["object"] + scene_weight * parts["scene"] + distill_weight * alignment, **parts}
