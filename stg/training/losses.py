"""One training step: the loss (Eq. 8 of Pan et al., 2020, and its ablations), the optimisers, what epochs change."""

from collections.abc import Mapping

import torch
from torch import Tensor

from decoders import Pick
from stg.data.batches import CaptionBatch
from stg.models.captioner import Captioner
from stg.runtime.device import single
from stg.runtime.distributed import SINGLE, Ranks
from stg.training.distillation import Divergence, Reduction, distilled_losses, feature_loss, language_loss


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
    ranks: Ranks = SINGLE,
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

    Where several ``ranks`` have a part of the batch each, all losses are those of the whole batch divided into
    summands: added up over the processes (as their gradients are) they are what one process would have found.

    Returns:
        ``loss`` and the parts that exist, unweighted: ``scene``, ``object``, ``distill`` or ``l2``, and a decoder's own
        as ``scene_rank``, ``object_rank``, ``scene_category``, ... Scalars.
    """
    encoded = model.encode(batch.graphs)
    targets = batch.targets[batch.real]
    parts: dict[str, Tensor] = {}
    own: dict[str, Tensor] = {}
    counts: dict[str, Tensor | int] = {}
    scene_logits = object_logits = None
    kept = torch.ones_like(targets, dtype=torch.bool)
    words, video, real = batch.words, batch.video, batch.real
    if model.scene_decoder is not None and encoded.scene is not None:
        taught = model.scene_decoder.forward_train(
            words, encoded.scene, video, real=real, own_words=own_words, pick=own_word
        )
        # The branches are compared on one prefix: what the scene decoder put into it, the object decoder reads.
        words, own_words = taught.words, 0.0
        scene_logits = single(model.scene_decoder.output(taught.features[real]))
        counts["scene"] = len(targets)
        own |= {f"scene_{name}": single(loss) for name, loss in taught.losses.items()}
        counts |= {f"scene_{name}": count for name, count in taught.counts.items()}
    if model.object_decoder is not None and encoded.objects is not None:
        counted = real if keep_empty else real & encoded.has_objects[video][:, None]
        taught = model.object_decoder.forward_train(
            words, encoded.objects, video, real=counted, own_words=own_words, pick=own_word
        )
        object_logits = single(model.object_decoder.output(taught.features[real]))
        kept = counted[real]
        counts["object"] = kept.sum()
        own |= {f"object_{name}": single(loss) for name, loss in taught.losses.items()}
        counts |= {f"object_{name}": count for name, count in taught.counts.items()}
    two = scene_logits is not None and object_logits is not None
    if scene_logits is not None and object_logits is not None and model.fusion != "l2":
        parts = distilled_losses(
            scene_logits,
            object_logits,
            targets,
            kept,
            kl=kl,
            temperature=temperature,
            detach_teacher=detach_teacher,
            reduction=reduction,
            captions=len(batch.words),
        )
        counts["distill"] = counts["object"] if reduction == "positions" else len(batch.words)
    else:
        if scene_logits is not None:
            parts["scene"] = language_loss(scene_logits, targets)
        if object_logits is not None:
            parts["object"] = language_loss(object_logits[kept], targets[kept])
    if two and model.fusion == "l2":
        assert encoded.scene is not None
        assert encoded.objects is not None
        mask = encoded.objects.frame_mask & encoded.scene.frame_mask
        parts["l2"], counts["l2"] = feature_loss(encoded.scene.frames, encoded.objects.frames, mask), mask.sum()
    losses = summands({**parts, **own}, counts, ranks, stand_in=batch.stand_in)
    weights = {"rank": rank_weight, "category": category_weight}
    loss = torch.zeros((), device=targets.device)
    for name in own:
        loss = loss + weights[name.partition("_")[2]] * losses[name]
    if two:
        alignment = losses["l2" if model.fusion == "l2" else "distill"]
        loss = losses["object"] + scene_weight * losses["scene"] + distill_weight * alignment + loss
    else:
        loss = sum((losses[name] for name in parts), loss)
    return {"loss": loss, **losses}


def summands(
    means: Mapping[str, Tensor], counts: Mapping[str, Tensor | int], ranks: Ranks, *, stand_in: bool = False
) -> dict[str, Tensor]:
    """Means over what one process counts, as its summands of the means over what all of them count.

    Args:
        means: scalars; unchanged where there is one process.
        counts: over how many things each is a mean here.
        stand_in: whether nothing of this process counts.
    """
    if not ranks.is_distributed:
        return dict(means)
    device = next(iter(means.values())).device
    here = torch.stack([torch.as_tensor(counts[name], device=device) for name in means])
    shares = ranks.shares(torch.zeros_like(here) if stand_in else here)
    return {name: mean * share.to(mean.dtype) for (name, mean), share in zip(means.items(), shares, strict=True)}
