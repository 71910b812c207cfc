"""The losses of Pan et al. (2020): language, distillation, and their sum (Eq. 7 and 8)."""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

Divergence = Literal["student_teacher", "teacher_student", "js"]
Reduction = Literal["positions", "batchmean"]


def language_loss(logits: Float[Tensor, "P V"], targets: Int[Tensor, " P"]) -> Float[Tensor, ""]:
    """Cross-entropy per real word, no label smoothing (P25).

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
        detach_teacher: stop the gradient into the teacher; the paper trains both together (P23).
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
        log_mean = ((log_student.exp() + log_teacher.exp()) / 2).clamp_min(1e-38).log()
        total = F.kl_div(log_mean, log_student, reduction="sum", log_target=True) / 2
        total = total + F.kl_div(log_mean, log_teacher, reduction="sum", log_target=True) / 2
    if reduction == "positions":
        count = len(student)
    elif captions is None:
        raise ValueError("reduction='batchmean' divides by the number of captions: pass captions")
    else:
        count = captions
    return total * temperature**2 / max(count, 1)


def feature_loss(
    scene: Float[Tensor, "B T C"], objects: Float[Tensor, "B T C"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, ""]:
    """Squared distance between the branches' features, for the ablation "Two Branch + L2" (P27).

    Mean over the elements of the frames where ``mask`` is True (frames with objects); 0 where there is none.
    """
    squared = (scene - objects).square().mean(-1)
    return (squared * mask).sum() / mask.sum().clamp_min(1)
