"""The losses of Pan et al. (2020): language, distillation, and their sum (Eq. 7 and 8)."""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from decoders import VideoMemory
from stg.models.memory import mean_of_steps

Divergence = Literal["student_teacher", "teacher_student", "js"]

Reduction = Literal["positions", "batchmean"]

Where = Literal["all", "better"]


def language_loss(logits: Float[Tensor, "P V"], targets: Int[Tensor, " P"]) -> Float[Tensor, ""]:
    """Cross-entropy per real word, no label smoothing (Pan et al., 2020, Eq. 8).

    Args:
        logits: scores of the ``P`` real (unpadded) target positions.
        targets: the words that stand there; ``<eos>`` counts as a word.

    Shapes:
        -> a scalar; 0 where there is no position at all.
    """
    return F.cross_entropy(logits, targets, reduction="sum") / max(len(targets), 1)


def distillation_loss(
    student: Float[Tensor, "P V"],
    teacher: Float[Tensor, "P V"],
    *,
    kl: Divergence = "student_teacher",
    temperature: float = 1.0,
    detach_teacher: bool = False,
    reduction: Reduction = "positions",
    captions: int | None = None,
) -> Float[Tensor, ""]:
    r"""Alignment of the two branches' word distributions (Pan et al., 2020, Eq. 7).

    .. math:: L = -\sum_x P_s(x) \log \frac{P_o(x)}{P_s(x)} = KL(P_s \,\|\, P_o)

    The student stands in front, as printed, though the text cites the opposite direction; ``teacher_student`` and
    ``js`` (Jensen-Shannon, half the sum of both divergences to the mean) are options. The paper calls its P both
    "probability distribution" and "pre-Softmax logits": both sides are softmaxed here, at ``temperature`` (with the
    usual factor T^2).

    Args:
        student: logits of the scene branch at the ``P`` real positions.
        teacher: logits of the object branch at the same positions and prefixes.
        detach_teacher: stop the gradient into the teacher; the paper trains both together (Eq. 8).
        reduction: ``positions``: sum over words of the vocabulary, mean over positions; ``batchmean``: sum over
            positions divided by ``captions``.
        captions: the number of captions behind the ``P`` positions; only ``batchmean`` needs it.
    """
    if detach_teacher:
        teacher = teacher.detach()
    log_student = F.log_softmax(student / temperature, dim=-1)
    log_teacher = F.log_softmax(teacher / temperature, dim=-1)
    if kl == "student_teacher":
        total = F.kl_div(log_teacher, log_student, reduction="sum", log_target=True)
    elif kl == "teacher_student":
        total = F.kl_div(log_student, log_teacher, reduction="sum", log_target=True)
    else:
        # Floored before the logarithm: a word that both rule out would give 0 times infinity.
        log_mean = ((log_student.exp() + log_teacher.exp()) / 2).clamp_min(1e-38).log()
        total = F.kl_div(log_mean, log_student, reduction="sum", log_target=True) / 2
        total = total + F.kl_div(log_mean, log_teacher, reduction="sum", log_target=True) / 2
    if reduction == "positions":
        count = len(student)
    elif captions is None:
        raise ValueError("reduction='batchmean' divides by the number of captions: pass captions")
    else:
        count = captions
    # Softening by T divides the gradient by T squared (Hinton et al., 2015):
    # undone here, so that weights keep their meaning.
    return total * temperature**2 / max(count, 1)


def feature_loss(
    scene: Float[Tensor, "B T C"], objects: Float[Tensor, "B T C"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Squared distance between the branches' features, for the ablation "Two Branch + L2" (Pan et al., 2020).

    Mean over the elements of the frames where ``mask`` is True (frames with objects); 0 without any.
    """
    squared = (scene - objects).square().mean(-1)
    return (squared * mask).sum() / mask.sum().clamp_min(1)


def taught_loss(
    student: Float[Tensor, "P V"],
    teacher: Float[Tensor, "P V"],
    targets: Int[Tensor, " P"],
    *,
    where: Where = "all",
    kl: Divergence = "student_teacher",
    temperature: float = 1.0,
    count: int | None = None,
) -> Float[Tensor, ""]:
    """What a frozen teacher's words teach (Hinton et al., 2015): `distillation_loss`, summed over words by ``count``.

    Args:
        student, teacher: logits at the ``P`` positions that count; no gradient flows into the teacher.
        targets: the words that stand there.
        where: ``better``: at positions where the teacher gives the target a higher probability than the student does at
            this step; the others add nothing.
        count: what the sum is divided by; None: ``P``, also where only some positions add to it, so that the loss fades
            as the student catches up.
    """
    teacher = teacher.detach()
    if where == "better":
        words = targets[:, None]
        ahead = (teacher.log_softmax(-1).gather(1, words) > student.detach().log_softmax(-1).gather(1, words))[:, 0]
        student_rows, teacher_rows = student[ahead], teacher[ahead]
    else:
        student_rows, teacher_rows = student, teacher
    divided = len(targets) if count is None else count
    return distillation_loss(
        student_rows, teacher_rows, kl=kl, temperature=temperature, reduction="batchmean", captions=divided
    )


def mean_memory(memory: VideoMemory) -> Float[Tensor, "B C"]:
    """The mean of the steps that a decoder attends to (frames, objects, tracks); zeros for a video without any."""
    return mean_of_steps(memory.frames, memory.frame_mask)


def relation_loss(
    student: Float[Tensor, "B C"], teacher: Float[Tensor, "B D"], counted: Bool[Tensor, " B"]
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    r"""How differently student and teacher relate the videos of a batch to each other.

    .. math:: L = \frac{1}{n} \sum_{i \ne j} \mathrm{huber}(\cos(s_i, s_j) - \cos(t_i, t_j))

    Relational knowledge distillation (Park et al., 2019) with its loss (Huber's, delta 1) on the similarity matrices of
    Tung and Mori (2019), for which the widths need not be equal. Departures: Park et al. compare distances and angles
    of triplets; Tung and Mori normalise by rows and not by vectors.

    Args:
        counted: the videos that are compared; pairs of a video with itself are not.

    Returns:
        The mean over the ordered pairs, 0 where there are none, and how many there are.
    """
    pairs = counted[:, None] & counted & ~torch.eye(len(counted), dtype=torch.bool, device=counted.device)
    mine, theirs = F.normalize(student, dim=-1), F.normalize(teacher.detach(), dim=-1)
    total = F.huber_loss((mine @ mine.T)[pairs], (theirs @ theirs.T)[pairs], reduction="sum")
    return total / pairs.sum().clamp_min(1), pairs.sum()


def distilled_losses(
    student: Float[Tensor, "P V"],
    teacher: Float[Tensor, "P V"],
    targets: Int[Tensor, " P"],
    counted: Bool[Tensor, " P"],
    *,
    kl: Divergence = "student_teacher",
    temperature: float = 1.0,
    detach_teacher: bool = False,
    reduction: Reduction = "positions",
    captions: int,
) -> dict[str, Tensor]:
    """``scene``, ``object`` and ``distill``: the parts of Eq. 8, by `branch_losses` where it knows the divergence.

    Args:
        student, teacher, targets, counted: as in `branch_losses`.
        kl, temperature, detach_teacher, reduction, captions: as in `stg.training.distillation.distillation_loss`.
    """
    # The usual case in one pass, which takes each branch's softmax once for all three losses.
    if kl == "student_teacher" and temperature == 1:
        student_loss, teacher_loss, divergence = branch_losses(student, teacher, targets, counted, detach_teacher)
        positions = counted.sum().clamp(min=1)
        shared = positions if reduction == "positions" else max(captions, 1)
        scene = student_loss / max(len(targets), 1)
        return {"scene": scene, "object": teacher_loss / positions, "distill": divergence / shared}
    distilled = distillation_loss(
        student[counted],
        teacher[counted],
        kl=kl,
        temperature=temperature,
        detach_teacher=detach_teacher,
        reduction=reduction,
        captions=captions,
    )
    language = {"scene": language_loss(student, targets), "object": language_loss(teacher[counted], targets[counted])}
    return {**language, "distill": distilled}


def branch_losses(
    student: Float[Tensor, "P V"],
    teacher: Float[Tensor, "P V"],
    targets: Int[Tensor, " P"],
    counted: Bool[Tensor, " P"],
    detach_teacher: bool = False,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, ""]]:
    r"""Both cross-entropies and the divergence of Pan et al. (2020, Eq. 7), each summed over positions.

    Equals `language_loss` and `distillation_loss` (student in front, temperature 1) in values and gradients, but takes
    each softmax once for all three and keeps three matrices of the vocabulary's size in the place of ten, which at
    10,000 words costs more than the layers' own work on them:

    .. math::
        \partial / \partial s = g_s (P_s - 1_w) + g_k P_s (\log P_s / P_o - KL), \quad
        \partial / \partial o = g_o (P_o - 1_w) + g_k (P_o - P_s)

    Args:
        student: logits of the scene branch at the ``P`` real positions.
        teacher: those of the object branch.
        targets: the words that stand there.
        counted: where the object branch and the distillation count.
        detach_teacher: stop the gradient of the divergence into the teacher.

    Returns:
        The cross-entropy of the student, that of the teacher where counted, and the divergence where counted; no second
        derivatives.
    """
    found: tuple[Tensor, Tensor, Tensor] = _BranchLosses.apply(student, teacher, targets, counted, detach_teacher)
    return found


class _BranchLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, teacher: Tensor, targets: Tensor, counted: Tensor, detach_teacher: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        log_student, log_teacher = student.log_softmax(-1), teacher.log_softmax(-1)
        words, weight = targets[:, None], counted.to(student.dtype)
        student_loss = -log_student.gather(1, words).sum()
        teacher_loss = -(log_teacher.gather(1, words)[:, 0] * weight).sum()
        ratio = log_student - log_teacher
        # In place: [P V] is the largest tensor of a step, and from here on the logarithms are not needed.
        student, teacher = log_student.exp_(), log_teacher.exp_()
        # Under autocast this one would be taken in half precision.
        with torch.autocast(student.device.type, enabled=False):
            divergence = torch.linalg.vecdot(student, ratio) * weight
        ctx.save_for_backward(student, teacher, ratio, divergence, words, weight)
        ctx.detach_teacher = detach_teacher
        return student_loss, teacher_loss, divergence.sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, student_grad: Tensor, teacher_grad: Tensor, divergence: Tensor) -> tuple[Tensor | None, ...]:
        student, teacher, ratio, divergences, words, weight = ctx.saved_tensors
        weight = weight[:, None]
        weighted = divergence * weight
        # With p and q the softmaxes of student and teacher: d KL / d student = p (ratio - KL), d KL / d teacher = q -
        # p; a cross-entropy adds its softmax, less one at the target.
        to_student = (ratio * weighted).add_(student_grad - divergence * divergences[:, None]).mul_(student)
        to_student.scatter_add_(1, words, -student_grad.expand_as(words))
        to_teacher = teacher * (teacher_grad * weight if ctx.detach_teacher else teacher_grad * weight + weighted)
        if not ctx.detach_teacher:
            to_teacher.addcmul_(student, weighted, value=-1)
        to_teacher.scatter_add_(1, words, -teacher_grad * weight)
        return to_student, to_teacher, None, None, None
