"""The losses against slow float64 loops written from Eq. 7 and 8."""

import math

import pytest
import torch
from torch import Tensor

from stg.training.distillation import distillation_loss, feature_loss, language_loss

torch.set_default_dtype(torch.float32)


def logits(rows: int = 5, words: int = 7, seed: int = 0) -> Tensor:
    return 3 * torch.randn(rows, words, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def softmax(row: Tensor) -> list[float]:
    exps = [math.exp(value) for value in row.tolist()]
    return [value / sum(exps) for value in exps]


def eq7(student: Tensor, teacher: Tensor) -> float:
    """Eq. 7 read aloud: minus the sum over words of P_s(x) log(P_o(x) / P_s(x)), mean over positions."""
    total = 0.0
    for student_row, teacher_row in zip(student, teacher, strict=True):
        for p_s, p_o in zip(softmax(student_row), softmax(teacher_row), strict=True):
            total -= p_s * math.log(p_o / p_s)
    return total / len(student)


def test_distillation_is_equation_7() -> None:
    student, teacher = logits(seed=1), logits(seed=2)
    assert distillation_loss(student, teacher).item() == pytest.approx(eq7(student, teacher), abs=1e-12)
    assert eq7(student, teacher) > 0.1


def test_directions() -> None:
    student, teacher = logits(seed=1), logits(seed=2)
    other = distillation_loss(student, teacher, kl="teacher_student").item()
    assert other == pytest.approx(eq7(teacher, student), abs=1e-12)
    assert other != pytest.approx(distillation_loss(student, teacher).item(), rel=1e-3)
    js = distillation_loss(student, teacher, kl="js").item()
    assert js == pytest.approx(distillation_loss(teacher, student, kl="js").item(), abs=1e-12)
    assert 0 < js <= math.log(2)
    expected = 0.0
    for row_s, row_o in zip(student, teacher, strict=True):
        for p, q in zip(softmax(row_s), softmax(row_o), strict=True):
            expected += (p * math.log(2 * p / (p + q)) + q * math.log(2 * q / (p + q))) / 2
    assert js == pytest.approx(expected / len(student), abs=1e-12)


@pytest.mark.parametrize("kl", ["student_teacher", "teacher_student", "js"])
def test_logits_may_shift_and_equal_ones_cost_nothing(kl: str) -> None:
    student, teacher = logits(seed=1), logits(seed=2)
    moved = distillation_loss(student + 5, teacher - 2, kl=kl)
    torch.testing.assert_close(moved, distillation_loss(student, teacher, kl=kl), rtol=0, atol=1e-12)
    assert distillation_loss(student, student.clone(), kl=kl).item() == pytest.approx(0, abs=1e-14)


def test_temperature_softens_and_is_scaled_back() -> None:
    student, teacher = logits(seed=1), logits(seed=2)
    warm = distillation_loss(student, teacher, temperature=3.0).item()
    assert warm == pytest.approx(9 * eq7(student / 3, teacher / 3), abs=1e-12)


def test_gradient_reaches_the_teacher_unless_detached() -> None:
    student, teacher = logits(seed=1).requires_grad_(), logits(seed=2).requires_grad_()
    distillation_loss(student, teacher).backward()
    assert student.grad is not None
    assert teacher.grad is not None
    assert teacher.grad.norm() > 1e-3
    teacher.grad = None
    distillation_loss(student, teacher, detach_teacher=True).backward()
    assert teacher.grad is None


def test_reductions() -> None:
    student, teacher = logits(rows=6, seed=1), logits(rows=6, seed=2)
    total = 6 * eq7(student, teacher)
    summed = distillation_loss(student, teacher, reduction="batchmean", captions=2)
    assert summed.item() == pytest.approx(total / 2, abs=1e-12)
    with pytest.raises(ValueError, match="divides by the number of captions: pass captions"):
        distillation_loss(student, teacher, reduction="batchmean")


def test_language_loss_is_mean_minus_log_probability() -> None:
    scores, targets = logits(), torch.tensor([0, 3, 6, 2, 2])
    expected = -sum(math.log(softmax(row)[word]) for row, word in zip(scores, targets.tolist(), strict=True)) / 5
    assert language_loss(scores, targets).item() == pytest.approx(expected, abs=1e-12)


def test_no_position_costs_nothing_and_keeps_the_graph() -> None:
    empty = torch.zeros(0, 7, requires_grad=True)
    loss = language_loss(empty, torch.zeros(0, dtype=torch.long)) + distillation_loss(empty, empty * 2)
    assert loss.item() == 0
    loss.backward()


def test_feature_loss_counts_frames_with_objects_only() -> None:
    scene, objects = torch.zeros(2, 3, 4), torch.zeros(2, 3, 4)
    objects[0, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    objects[1, 2] = 100.0
    mask = torch.tensor([[True, True, False], [False, False, False]])
    assert feature_loss(scene, objects, mask).item() == pytest.approx((1 + 4 + 9 + 16) / 4 / 2)
    assert feature_loss(scene, objects, torch.zeros_like(mask)).item() == 0
