"""The losses of both branches at once equal those of `stg.training.distillation`, in values and gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor

import stg.training.distillation
from stg.training.distillation import branch_losses, distillation_loss, distilled_losses, language_loss

POSITIONS, WORDS = 7, 11
COUNTED = {
    "all": torch.ones(POSITIONS, dtype=torch.bool),
    "some": torch.arange(POSITIONS) % 3 > 0,
    "none": torch.zeros(POSITIONS, dtype=torch.bool),
}


def logits() -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    student, teacher = (4 * torch.randn(2, POSITIONS, WORDS, generator=random, dtype=torch.float64)).unbind(0)
    return student, teacher, torch.randint(WORDS, (POSITIONS,), generator=random)


@pytest.mark.parametrize("counted", COUNTED.values(), ids=COUNTED)
@pytest.mark.parametrize("reduction", ["positions", "batchmean"])
@pytest.mark.parametrize("detach_teacher", [False, True])
def test_equals_the_losses_one_by_one(counted: Tensor, reduction: Any, detach_teacher: bool) -> None:
    student, teacher, targets = logits()
    inputs = [student.requires_grad_(), teacher.requires_grad_()]
    settings: dict[str, Any] = {"detach_teacher": detach_teacher, "reduction": reduction, "captions": 3}
    found = distilled_losses(student, teacher, targets, counted, **settings)
    expected = {
        "scene": language_loss(student, targets),
        "object": language_loss(teacher[counted], targets[counted]),
        "distill": distillation_loss(student[counted], teacher[counted], **settings),
    }
    assert list(found) == list(expected)
    for name, loss in expected.items():
        torch.testing.assert_close(found[name], loss, rtol=0, atol=1e-10)
    # Weights of their own, so that no part of a gradient may stand for another.
    weighted = [3 * losses["scene"] + 0.5 * losses["object"] + 7 * losses["distill"] for losses in (found, expected)]
    for ours, theirs in zip(*(torch.autograd.grad(loss, inputs) for loss in weighted), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_gradients_are_those_of_differences() -> None:
    student, teacher, targets = logits()
    inputs = (student.requires_grad_(), teacher.requires_grad_())
    assert torch.autograd.gradcheck(lambda s, t: branch_losses(s, t, targets, COUNTED["some"]), inputs)


def test_going_back_twice_gives_the_same() -> None:
    student, teacher, targets = logits()
    loss = sum(branch_losses(student.requires_grad_(), teacher, targets, COUNTED["some"]))
    assert isinstance(loss, Tensor)
    first, second = (torch.autograd.grad(loss, student, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_logits_are_left_as_they_are() -> None:
    student, teacher, targets = logits()
    before = student.clone(), teacher.clone()
    branch_losses(student.requires_grad_(), teacher.requires_grad_(), targets, COUNTED["all"])[2].backward()
    assert torch.equal(student, before[0])
    assert torch.equal(teacher, before[1])


@pytest.mark.parametrize("settings", [{"kl": "js"}, {"kl": "teacher_student"}, {"temperature": 2.0}])
def test_other_divergences_go_the_long_way(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(stg.training.distillation, "branch_losses")
    student, teacher, targets = logits()
    counted = COUNTED["some"]
    found = distilled_losses(student, teacher, targets, counted, captions=3, **settings)
    expected = distillation_loss(student[counted], teacher[counted], **settings)
    torch.testing.assert_close(found["distill"], expected, rtol=0, atol=1e-12)


def test_no_position_at_all_is_no_loss() -> None:
    empty = torch.zeros(0, WORDS, requires_grad=True)
    found = distilled_losses(empty, empty * 2, torch.zeros(0).long(), torch.zeros(0, dtype=torch.bool), captions=1)
    assert [loss.item() for loss in found.values()] == [0.0, 0.0, 0.0]
    sum(found.values(), torch.zeros(())).backward()
