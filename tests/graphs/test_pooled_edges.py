"""Pooling edges in chunks: the same as plain operations, forth and back, and little memory."""

import pytest
import torch
from torch import Tensor

from benchmarks.encoders import kept_bytes
from graphs import pooled_edges as module
from graphs.pooled_edges import pooled_edges

GROUP = torch.tensor([4, 0, 2, 2, 0, 3, 2, 1, 4, 2, 0])


def made(edges: int = 11) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Known numbers, moments of edges, weights and vectors of moments; the first edges of groups 0 and 2 twice."""
    draw = torch.Generator().manual_seed(3)
    known = torch.randn(edges, 3, generator=draw, dtype=torch.float64)
    moment = torch.randint(4, (edges,), generator=draw)
    for one, other in ((1, 4), (2, 6)):
        known[other], moment[other] = known[one], moment[one]
    weight, moments = (torch.randn(rows, size, generator=draw).double() for rows, size in ((6, 3), (4, 6)))
    return known.requires_grad_(), moment, weight.requires_grad_(), moments.requires_grad_()


@pytest.mark.parametrize("chunk", [1, 6 * 6, 1 << 18])
def test_it_is_the_sum_and_the_largest_of_each_group(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module._CHUNK, "cpu", chunk)
    known, moment, weight, moments = made()
    total, largest, of = pooled_edges(known, moment, GROUP, weight, moments)
    assert of.tolist() == [1, 3, 4, 0, 2]
    felt = (known @ weight.T + moments[moment]).relu()
    parts = [felt[number == GROUP] for number in of.tolist()]
    wanted = torch.stack([part.sum(0) for part in parts]), torch.stack([part.amax(0) for part in parts])
    seeds = [torch.randn_like(part) for part in wanted]
    grads = []
    for found in ((total, largest), wanted):
        loss = sum((part * seed).sum() for part, seed in zip(found, seeds, strict=True))
        grads.append(torch.autograd.grad(loss, (known, weight, moments)))
    for have, want in zip(((total, largest), grads[0]), (wanted, grads[1]), strict=True):
        for a, b in zip(have, want, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_without_edges_there_are_no_groups() -> None:
    known, _, weight, moments = made()
    none = torch.zeros(0, dtype=torch.int64)
    total, largest, of = pooled_edges(known[:0], none, none, weight, moments)
    assert (total.shape, largest.shape, len(of)) == ((0, 6), (0, 6), 0)
    grads = torch.autograd.grad(total.sum() + largest.sum(), (weight, moments))
    assert not any(grad.any() for grad in grads)


def test_what_is_kept_of_an_edge_does_not_grow_with_the_layer() -> None:
    def kept(edges: int, width: int) -> int:
        known, moment = torch.randn(edges, 3), torch.zeros(edges, dtype=torch.int64)
        weight, moments = torch.randn(width, 3, requires_grad=True), torch.randn(4, width, requires_grad=True)
        return kept_bytes(lambda: pooled_edges(known, moment, moment, weight, moments))

    # Three numbers of float32 and one of int64 an edge.
    assert [kept(800, width) - kept(400, width) for width in (8, 64)] == [400 * (3 * 4 + 8)] * 2
