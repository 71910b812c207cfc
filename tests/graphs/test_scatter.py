"""Segment sums: one result whichever library does the work, and a way on when one of them does not load."""

import importlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from graphs import scatter
from graphs.scatter import group_mean_max, segment_mean, segment_sum

VALUES = torch.arange(8, dtype=torch.float64).view(4, 2)
SEGMENT = torch.tensor([0, 0, 2, 2])


@pytest.fixture(autouse=True)
def _fresh_choice() -> Iterator[None]:
    scatter.backend.cache_clear()
    yield
    scatter.backend.cache_clear()


@pytest.mark.parametrize("using", [None, "native", "torch-scatter"])
def test_sum_and_mean_by_hand(using: Any) -> None:
    if using == "torch-scatter":
        pytest.importorskip("torch_scatter")
    total = segment_sum(VALUES, SEGMENT, 4, using=using)
    assert total.tolist() == [[2, 4], [0, 0], [10, 12], [0, 0]]
    mean, count = segment_mean(VALUES, SEGMENT, 4, using=using)
    assert mean.tolist() == [[1, 2], [0, 0], [5, 6], [0, 0]]
    assert count.tolist() == [2, 0, 2, 0]
    values = VALUES.clone().requires_grad_()
    (segment_mean(values, SEGMENT, 4, using=using)[0] ** 2).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[1, 2], [1, 2], [5, 6], [5, 6]]


def test_nothing_to_sum() -> None:
    assert segment_sum(VALUES[:0], SEGMENT[:0], 2).tolist() == [[0, 0], [0, 0]]
    assert segment_sum(VALUES[:0], SEGMENT[:0], 0).shape == (0, 2)


@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError])
def test_a_package_that_does_not_load(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        raise error(f"no {name}")

    monkeypatch.setattr(importlib, "import_module", refuse)
    assert scatter.backend("cuda") == "native"
    assert segment_sum(VALUES, SEGMENT, 3).tolist() == [[2, 4], [0, 0], [10, 12]]
    with pytest.raises(ValueError, match="torch_scatter cannot be imported: reinstall it or use 'native'"):
        segment_sum(VALUES, SEGMENT, 3, using="torch-scatter")


def test_other_errors_of_the_package_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        raise KeyError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(KeyError):
        scatter.backend("cuda")


def test_a_build_without_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def kernel(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("Not compiled with CUDA support")

    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace(segment_csr=kernel))
    assert scatter.backend("cuda") == "native"
    assert scatter.backend("cpu") == "native"


@pytest.mark.gpu
def test_both_agree_on_the_device() -> None:
    values, segment = VALUES.cuda(), SEGMENT.cuda()
    assert torch.equal(segment_sum(values, segment, 4), segment_sum(values, segment, 4, using="native"))


@pytest.mark.parametrize("ordered", [True, False])
def test_mean_and_largest_of_groups_are_those_of_their_rows(ordered: bool) -> None:
    """With empty groups in the middle and at the end; equal largest rows, as after a ReLU, share the gradient."""
    torch.manual_seed(0)
    group = torch.tensor([5, 0, 3, 0, 3, 3, 1, 5, 0])
    group = group.sort().values if ordered else group
    values = torch.randn(9, 4, dtype=torch.float64) - 2
    values[group == 3] = torch.tensor([[-1.0, 0, 0, 2], [-1, 0, -3, 1], [-1, 0, 0, 2]], dtype=torch.float64)
    values.requires_grad_()
    mean, largest, count = group_mean_max(values, group, 7)
    assert count.tolist() == [3, 1, 0, 3, 0, 2, 0]
    for number in range(7):
        rows = values[group == number]
        if len(rows):
            torch.testing.assert_close(mean[number], rows.mean(0), rtol=0, atol=1e-15)
            torch.testing.assert_close(largest[number], rows.amax(0), rtol=0, atol=0)
        else:
            assert mean[number].tolist() == largest[number].tolist() == [0.0] * 4
    (grad,) = torch.autograd.grad(largest[3].sum(), values, retain_graph=True)
    third = 1 / 3
    wanted = torch.tensor([[third, third, 0.5, 0.5], [third, third, 0, 0], [third, third, 0.5, 0.5]]).double()
    torch.testing.assert_close(grad[group == 3], wanted, rtol=0, atol=1e-7)
    assert not grad[group != 3].any()
    (falling,) = torch.autograd.grad(-largest[3].sum(), values)
    torch.testing.assert_close(falling, -grad, rtol=0, atol=0)


def test_groups_of_nothing_are_zeros() -> None:
    mean, largest, count = group_mean_max(VALUES[:0], SEGMENT[:0], 2)
    assert (mean.tolist(), largest.tolist(), count.tolist()) == ([[0, 0]] * 2, [[0, 0]] * 2, [0, 0])
    assert [part.shape[0] for part in group_mean_max(VALUES[:0], SEGMENT[:0], 0)] == [0, 0, 0]
