"""Segment sums: one result whichever library does the work, and a way on when one of them does not load."""

import importlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from graphs import scatter
from graphs.scatter import segment_mean, segment_sum

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
