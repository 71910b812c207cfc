"""Ranked attention and its loss against loops written from Eq. 4-8 of Cherian et al. (2020)."""

import math

import pytest
import torch
from torch import nn

from decoders.ranked import RankedAttention, ranking_loss


def full(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, dtype=torch.bool)


def test_attention_is_the_lstm_at_the_true_length_of_each_video():
    ranked, lengths = RankedAttention(6), torch.tensor([4, 1, 3])
    steps = torch.randn(3, 5, 6).masked_fill(~(torch.arange(5) < lengths[:, None])[..., None], 0.0)
    cell = nn.LSTMCell(6, 6)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in ranked.lstm.state_dict().items()})
    direction, projections = ranked(steps, lengths)
    for row, length in enumerate(lengths.tolist()):
        state = (torch.zeros(1, 6), torch.zeros(1, 6))
        for step in range(length):
            state = cell(steps[row, step][None], state)
        torch.testing.assert_close(direction[row], state[0][0])
        for step in range(5):
            torch.testing.assert_close(projections[row, step], torch.dot(state[0][0], steps[row, step]))


def test_loss_equals_both_index_forms_of_the_paper():
    direction, steps, margin = torch.randn(4), torch.randn(6, 4), 0.7
    p = [float(torch.dot(direction, step)) for step in steps]
    eq5 = [math.log(1 + math.exp(p[t] + margin - p[t + 1])) for t in range(0, 5)]  # t = 1 .. T-1
    eq7 = [math.log(1 + math.exp(p[t - 1] + margin - p[t])) for t in range(1, 6)]  # t = 2 .. T
    assert eq5 == eq7
    loss = ranking_loss(steps @ direction, full(6), margin)
    assert float(loss) == pytest.approx(sum(eq5) / 5, abs=1e-12)


def test_growing_projections_cost_nothing_and_falling_ones_much():
    growing = 10.0 * torch.arange(6.0)
    assert float(ranking_loss(growing, full(6))) < 1e-3
    assert float(ranking_loss(growing.flip(0), full(6))) == pytest.approx(11.0, abs=1e-3)


def test_loss_falls_as_the_lstm_learns_the_order():
    ranked, steps, lengths = RankedAttention(8), torch.randn(4, 6, 8), torch.full((4,), 6)
    optimiser = torch.optim.Adam(ranked.parameters(), 0.05)
    losses = []
    for _ in range(30):
        loss = ranking_loss(ranked(steps, lengths)[1], full(4, 6))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("filling", [0.0, 1e6, torch.nan])
def test_only_pairs_of_real_frames_and_real_words_count(filling):
    p = torch.randn(3, 4, 5)
    mask = torch.arange(5) < torch.tensor([5, 3, 1])[:, None]
    mask = mask[:, None].expand(3, 4, 5)
    real = torch.arange(4) < torch.tensor([2, 4, 3])[:, None]
    given = p.masked_fill(~mask, filling).requires_grad_()
    loss = ranking_loss(given, mask, 1.0, real)
    rows = []
    for video, words in ((0, 2), (1, 4), (2, 3)):
        for word in range(words):
            pairs = range(1, (5, 3, 1)[video])
            costs = [math.log(1 + math.exp(p[video, word, t - 1] + 1 - p[video, word, t])) for t in pairs]
            rows.append(sum(costs) / max(len(costs), 1))
    assert loss.item() == pytest.approx(float(sum(rows)) / 9, abs=1e-12)
    loss.backward()
    assert given.grad.isfinite().all()
    assert not given.grad[~(mask & real[..., None])].any()


def test_one_frame_costs_exactly_nothing():
    for loss in (
        ranking_loss(torch.randn(2, 1), full(2, 1)),
        ranking_loss(torch.randn(2, 3), torch.tensor([[True, False, False]] * 2), squared_norm=torch.ones(2)),
        ranking_loss(torch.randn(2, 3), full(2, 3), real=torch.zeros(2, dtype=torch.bool)),
    ):
        assert float(loss) == 0.0


def test_the_norm_of_eq_4_may_stay():
    p, norm = torch.randn(2, 3), torch.tensor([2.0, 5.0])
    without, kept = ranking_loss(p, full(2, 3)), ranking_loss(p, full(2, 3), squared_norm=norm)
    assert float(kept - without) == pytest.approx((1.0 + 2.5) / 2)


def test_a_negative_margin_is_refused():
    with pytest.raises(ValueError, match=r"must not be negative, got -0\.5"):
        ranking_loss(torch.zeros(2), full(2), -0.5)
