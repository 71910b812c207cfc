"""Additive attention and the softmax that knows empty rows (multi-head attention: test_transformer.py)."""

import pytest
import torch

from decoders.attention import AdditiveAttention, masked_softmax


@pytest.mark.parametrize("bias", [True, False])
def test_scores_are_those_of_the_equation(bias):
    attention = AdditiveAttention(query=3, key=4, channels=5, bias=bias)
    queries, source = torch.randn(2, 3, 3), torch.randn(2, 6, 4)
    scores = attention(queries, attention.keys(source))
    assert scores.shape == (2, 3, 6)
    for video in range(2):
        for query in range(3):
            for place in range(6):
                inner = attention.query.weight @ queries[video, query] + attention.key.weight @ source[video, place]
                inner = inner + attention.query.bias if bias else inner
                expected = attention.score.weight[0] @ inner.tanh()
                torch.testing.assert_close(scores[video, query, place], expected, rtol=0, atol=1e-12)


def test_only_the_query_may_have_a_bias():
    names = {name for name, _ in AdditiveAttention(3, 4).named_parameters()}
    assert names == {"query.weight", "query.bias", "key.weight", "score.weight"}
    assert {name for name, _ in AdditiveAttention(3, 4, bias=False).named_parameters()} == names - {"query.bias"}


def test_keys_may_have_any_rows():
    attention, source = AdditiveAttention(3, 4, 5), torch.randn(2, 6, 7, 4)
    torch.testing.assert_close(attention.keys(source)[1, 2], attention.keys(source[1, 2]), rtol=0, atol=1e-12)


def test_softmax_ranges_over_the_real_entries():
    scores, mask = torch.randn(3, 4, 6), torch.rand(3, 1, 6) < 0.5
    mask[0], mask[1], mask[2, 0, 0] = True, False, True
    weights = masked_softmax(scores, mask)
    torch.testing.assert_close(weights[0], scores[0].softmax(1), rtol=0, atol=1e-12)
    assert not weights[1].any()
    real = mask[2, 0]
    torch.testing.assert_close(weights[2][:, real], scores[2][:, real].softmax(1), rtol=0, atol=1e-12)
    assert not weights[2][:, ~real].any()


def test_scores_that_overflow_the_exponential_stay_finite():
    weights = masked_softmax(torch.tensor([[1e7, -1e7, 1e7]]), torch.tensor([[True, True, False]]))
    assert weights.tolist() == [[1.0, 0.0, 0.0]]


@pytest.mark.parametrize("filling", [torch.nan, torch.inf, -torch.inf, 1e300])
def test_what_is_masked_reaches_neither_value_nor_gradient(filling):
    mask = torch.tensor([[True, True, False], [False, False, False]])
    scores = torch.tensor([[1.0, 2.0, filling], [filling, filling, 0.0]], requires_grad=True)
    weights = masked_softmax(scores, mask)
    (weights * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    torch.testing.assert_close(weights[0, :2], torch.tensor([1.0, 2.0]).softmax(0), rtol=0, atol=1e-12)
    assert weights[~mask].tolist() == [0.0] * 4
    assert scores.grad.isfinite().all()
    assert torch.equal(scores.grad != 0, mask)


def test_rows_without_any_entry_at_all():
    assert masked_softmax(torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool)).shape == (2, 0)
