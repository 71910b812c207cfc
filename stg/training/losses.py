"""The loss of a batch of captions: Eq. 8 of Pan et al. (2020), its ablations, and what each decoder adds."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from decoders import Decoder, Pick, VideoMemory
from stg.config.training import LossConfig
from stg.data.batches import CaptionBatch
from stg.models.captioner import Captioner, Encoded
from stg.models.word_prediction import WordPredictor
from stg.runtime.device import single
from stg.runtime.distributed import SINGLE, Ranks
from stg.training.distillation import distilled_losses, feature_loss, language_loss
from stg.training.teacher import Teacher
from stg.training.word_loss import word_loss


def captioning_losses(
    model: Captioner,
    batch: CaptionBatch,
    settings: LossConfig | None = None,
    *,
    sampling_rate: float = 0.0,
    sampling_pick: Pick = "sample",
    teacher: Teacher | None = None,
    ranks: Ranks = SINGLE,
) -> dict[str, Tensor]:
    r"""The total loss and its parts (Pan et al., 2020, Eq. 8).

    .. math:: L = L_{o\,lang} + \lambda_{sl} L_{s\,lang} + \lambda_d L_{distill}

    Note that the distillation, not the object loss, carries ``distill_weight``. A model with one decoder has its
    language loss alone, with weight 1. Captions of videos without any object do not count in the object and
    distillation losses unless ``keep_empty``.

    Each decoder adds the losses of its own, weighted: the ranking loss of STaTS (Cherian et al., 2020, Eq. 6) and its
    class prediction. A model that predicts words adds `word_loss` of each memory.

    Where several ``ranks`` have a part of the batch each, all losses are those of the whole batch divided into
    summands: added up over the processes (as their gradients are) they are what one process would have found.

    Args:
        settings: weights and the form of the distillation; None: those of the paper.
        sampling_rate: the probability with which decoders read a word of their own in place of the given one (scheduled
            sampling); where there are two branches, both read what the scene decoder read.
        sampling_pick: how that word is picked: drawn, or the likeliest.
        teacher: another model, from which the decoder that captions learns, too.
        ranks: the processes.

    Returns:
        ``loss`` and the parts that exist, unweighted: ``scene``, ``object``, ``distill`` or ``l2``, ``teacher``, and a
        decoder's own as ``scene_rank``, ``object_rank``, ``scene_words``, ... Scalars.
    """
    settings = settings or LossConfig(distill_weight=4.0)
    # Videos are encoded once, however many captions each has in the batch.
    encoded, words, rate = model.encode(batch.graphs), batch.words, sampling_rate
    scene = objects = None
    if model.scene_decoder is not None and encoded.scene is not None:
        scene = _read(model.scene_decoder, encoded.scene, batch, words, batch.real, rate, sampling_pick)
        # The branches are compared on one prefix: what the scene decoder put into it, the object decoder reads.
        words, rate = scene.words, 0.0
    if model.object_decoder is not None and encoded.objects is not None:
        # A video without objects gives this branch nothing to read: it would only teach the scene branch noise.
        filled = batch.real if settings.keep_empty else batch.real & encoded.has_objects[batch.video][:, None]
        objects = _read(model.object_decoder, encoded.objects, batch, words, filled, rate, sampling_pick)
    # Each loss travels with what it is a mean over, which differs between processes.
    parts, counts = _language_losses(scene, objects, batch, settings, distilled=model.fusion != "l2")
    if scene is not None and objects is not None and model.fusion == "l2":
        parts["l2"], counts["l2"] = _l2_loss(encoded)
    added, weights = _added_losses(scene, objects, _word_losses(model, encoded, batch, settings), counts, settings)
    if teacher is not None:
        added["teacher"], counts["teacher"] = _teacher_loss(teacher, scene or objects, encoded, batch)
        weights["teacher"] = teacher.weight
    # Before the weighting, so that the parts that are logged and the total are of the same whole batch.
    losses = local_share({**parts, **added}, counts, ranks, stand_in=batch.stand_in)
    total = _total(losses, parts, weights, settings, both=scene is not None and objects is not None)
    return {"loss": total, **losses}


@dataclass(frozen=True)
class _Reading:
    """What a decoder made of the captions of a batch.

    Attributes:
        words: ``[W L]`` what it read: the given words, or some of its own.
        logits: ``[P V]`` at the real positions.
        counted: ``[P]`` which of these its losses count.
        added: kind -> a loss of its own, and over how many things that is a mean.
    """

    words: Int[Tensor, "W L"]
    logits: Float[Tensor, "P V"]
    counted: Bool[Tensor, " P"]
    added: Mapping[str, tuple[Tensor, Tensor | int]]


def _read(
    decoder: Decoder,
    memory: VideoMemory,
    batch: CaptionBatch,
    words: Int[Tensor, "W L"],
    counted: Bool[Tensor, "W L"],
    sampling_rate: float,
    sampling_pick: Pick,
) -> _Reading:
    read = decoder.forward_train(words, memory, batch.video, real=counted, own_words=sampling_rate, pick=sampling_pick)
    # Summed in single precision: under mixed precision a sum over a vocabulary would lose its small terms.
    added = {kind: (single(loss), read.counts[kind]) for kind, loss in read.losses.items()}
    return _Reading(read.words, single(decoder.output(read.features[batch.real])), counted[batch.real], added)


def _l2_loss(encoded: Encoded) -> tuple[Tensor, Tensor]:
    assert encoded.scene is not None
    assert encoded.objects is not None
    # Padding and frames without objects have no feature that the other branch should approach.
    mask = encoded.objects.frame_mask & encoded.scene.frame_mask
    return feature_loss(encoded.scene.frames, encoded.objects.frames, mask), mask.sum()


def _teacher_loss(
    teacher: Teacher, student: _Reading | None, encoded: Encoded, batch: CaptionBatch
) -> tuple[Tensor, Tensor | int]:
    """What the decoder that captions learns from a teacher, and over how many things that is a mean."""
    memory = encoded.scene or encoded.objects
    assert student is not None
    assert memory is not None
    return teacher.loss(batch, student.words, student.logits, memory)


def _total(
    losses: Mapping[str, Tensor],
    parts: Mapping[str, Tensor],
    weights: Mapping[str, float],
    settings: LossConfig,
    *,
    both: bool,
) -> Tensor:
    """The weighted sum of all losses; ``both``: there are two branches, whose ``parts`` Eq. 8 weighs."""
    extra = sum((weight * losses[name] for name, weight in weights.items()), losses[next(iter(parts))].new_zeros(()))
    if not both:
        return sum((losses[name] for name in parts), extra)
    # Eq. 8: the scene loss has the weight lambda_sl, the object loss 1.
    language = losses["object"] + settings.scene_weight * losses["scene"]
    return language + settings.distill_weight * losses["l2" if "l2" in parts else "distill"] + extra


def _added_losses(
    scene: _Reading | None,
    objects: _Reading | None,
    word_losses: Mapping[str, tuple[Tensor, Tensor]],
    counts: dict[str, Tensor | int],
    settings: LossConfig,
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """What decoders and memories add, under the names of their branches, and its weights; ``counts`` gets sizes."""
    weight_of = {"rank": settings.rank_weight, "category": settings.category_weight, "words": settings.word_weight}
    added: dict[str, Tensor] = {}
    weights: dict[str, float] = {}
    for branch, reading in {"scene": scene, "object": objects}.items():
        found = dict(reading.added) if reading is not None else {}
        if branch in word_losses:
            found["words"] = word_losses[branch]
        for kind, (loss, count) in found.items():
            name = f"{branch}_{kind}"
            added[name], counts[name], weights[name] = loss, count, weight_of[kind]
    return added, weights


def _word_losses(
    model: Captioner, encoded: Encoded, batch: CaptionBatch, settings: LossConfig
) -> dict[str, tuple[Tensor, Tensor]]:
    """By branch: the loss of the words that its memory predicts, and the number of captions that it is a mean over."""
    found = {}
    for branch, logits in model.word_logits(encoded).items():
        assert model.words is not None
        predictor = model.words[branch]
        assert isinstance(predictor, WordPredictor)
        every = torch.ones_like(encoded.has_objects)
        videos = encoded.has_objects if branch == "object" and not settings.keep_empty else every
        found[branch] = word_loss(single(logits), batch.targets, batch.video, predictor.counted, videos, predictor.held)
    return found


def _language_losses(
    scene: _Reading | None, objects: _Reading | None, batch: CaptionBatch, settings: LossConfig, *, distilled: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor | int]]:
    """Each branch's cross-entropy and their divergence where they are ``distilled``; and what each is a mean over."""
    targets, captions = batch.targets[batch.real], len(batch.words)
    counts: dict[str, Tensor | int] = {"scene": len(targets)}
    if objects is not None:
        counts["object"] = objects.counted.sum()
    # Together, as the divergence needs the softmax that the cross-entropy has computed.
    if scene is not None and objects is not None and distilled:
        parts = distilled_losses(
            scene.logits,
            objects.logits,
            targets,
            objects.counted,
            kl=settings.kl,
            temperature=settings.temperature,
            detach_teacher=settings.detach_teacher,
            reduction=settings.reduction,
            captions=captions,
        )
        # batchmean divides by captions, so its shares over the processes are those of captions.
        counts["distill"] = counts["object"] if settings.reduction == "positions" else captions
        return parts, counts
    parts = {}
    if scene is not None:
        parts["scene"] = language_loss(scene.logits, targets)
    if objects is not None:
        parts["object"] = language_loss(objects.logits[objects.counted], targets[objects.counted])
    return parts, counts


def local_share(
    means: Mapping[str, Tensor], counts: Mapping[str, Tensor | int], ranks: Ranks, *, stand_in: bool = False
) -> dict[str, Tensor]:
    """Means over what one process counts, as its summands of the means over what all of them count.

    Args:
        means: scalars; unchanged if there is one process.
        counts: over how many things each is a mean here.
        stand_in: whether nothing of this process counts.
    """
    if not ranks.is_distributed:
        return dict(means)
    device = next(iter(means.values())).device
    here = torch.stack([torch.as_tensor(counts[name], device=device) for name in means])
    # A stand-in batch keeps a process in step with the others: it must weigh nothing.
    shares = ranks.shares(torch.zeros_like(here) if stand_in else here)
    return {name: mean * share.to(mean.dtype) for (name, mean), share in zip(means.items(), shares, strict=True)}
