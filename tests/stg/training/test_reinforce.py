"""The gradient of the reward loss against enumeration, and its parts (S22, V7)."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from decoders import AttentionLSTMDecoder, TransformerDecoder, policy_log_probs
from stg.data.batches import CaptionBatch
from stg.models.branches import SceneBranch
from stg.models.captioner import Branch, Captioner
from stg.training.reinforce import leave_one_out, mix_losses, reinforce_loss, reward_losses
from stg.training.rewards import Pending, Rewards, ready

PAD, BOS, EOS, UNK = range(4)
WORDS = 7
"""Three words besides the special ones."""


class MadeRewards(Rewards):
    """A reward that is a function of the words, and remembers what it was asked."""

    def __init__(self, constant: float | None = None) -> None:
        self.asked: list[tuple[list[str], list[list[int]]]] = []
        self.constant = constant

    def start(self, videos: Sequence[str], captions: Sequence[Sequence[int]]) -> Pending:
        self.asked.append((list(videos), [list(caption) for caption in captions]))
        return ready(np.array([self.of(caption) for caption in captions]))

    def of(self, caption: Sequence[int]) -> float:
        if self.constant is not None:
            return self.constant
        return float(np.sin(sum((place + 1.3) * word for place, word in enumerate(caption))))


def captioner(kind: str = "transformer", dropout: float = 0.0) -> Captioner:
    torch.manual_seed(3)
    shared = {"channels": 8, "max_length": 5, "dropout": dropout}
    decoder = (
        TransformerDecoder(WORDS, heads=2, hidden=8, **shared)
        if kind == "transformer"
        else AttentionLSTMDecoder(WORDS, embedding=8, attention=8, **shared)
    )
    decoder.suppressed = (UNK,)
    with torch.no_grad():
        decoder.output.weight.mul_(3)
    return Captioner(scene=Branch(SceneBranch(5, 4, 8), decoder)).double()


@pytest.fixture
def batch(caption_batch: CaptionBatch) -> CaptionBatch:
    from dataclasses import replace

    from stg.data.batches import Item

    graphs = caption_batch.graphs.clone()
    graphs.scene, graphs.motion = graphs.scene.double(), graphs.motion.double()
    items = (Item("v1", (0, 1)), Item("v2", (0,)), Item("v3", (0, 1)))
    return replace(caption_batch, graphs=graphs, items=items)


def flat_gradient(model: Captioner, loss: Tensor) -> Tensor:
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return torch.cat(
        [
            (torch.zeros_like(weight) if gradient is None else gradient).flatten()
            for weight, gradient in zip(model.parameters(), gradients, strict=True)
        ]
    )


def all_captions(longest: int) -> Tensor:
    words = range(UNK + 1, WORDS)
    ended = [[*chosen, EOS] for size in range(1, longest) for chosen in itertools.product(words, repeat=size)]
    cut = [list(chosen) for chosen in itertools.product(words, repeat=longest)]
    return torch.tensor([chosen + [PAD] * (longest - len(chosen)) for chosen in ended + cut])


@pytest.mark.parametrize("kind", ["transformer", "attention_lstm"])
def test_the_mean_gradient_of_many_draws_is_that_of_the_expected_reward(kind: str, batch: CaptionBatch) -> None:
    model, rewards, longest = captioner(kind).eval(), MadeRewards(), 2
    captions = all_captions(longest)
    values = torch.tensor([rewards.of([word for word in row if word != PAD]) for row in captions.tolist()]).double()
    memory = model.memory(batch.graphs)
    expected = torch.zeros(()).double()
    for video in range(3):
        log_probs = policy_log_probs(model.decoder, captions, memory, torch.full((len(captions),), video))
        expected = expected + (log_probs.sum(1).exp() * values).sum() / 3
    words = batch.real.sum() / len(batch.real)
    exact = flat_gradient(model, -expected / words)
    for baseline, samples in (("greedy", 300), ("leave_one_out", 300)):
        torch.manual_seed(1)
        draws = torch.stack(
            [
                flat_gradient(
                    model,
                    reward_losses(model, batch, rewards, baseline=baseline, samples=samples, max_length=longest)[
                        "reward_loss"
                    ],
                )
                for _ in range(12)
            ]
        )
        error = draws.mean(0) - exact
        spread = draws.std(0) / len(draws) ** 0.5
        # An unbiased estimate lies within its own error, and is nearer to the truth than nothing is.
        assert error.norm() < 3 * spread.norm()
        assert error.norm() < 0.3 * exact.norm()


def test_leave_one_out_equals_enumeration_of_all_pairs() -> None:
    torch.manual_seed(0)
    logits, values = torch.randn(3).double().requires_grad_(), torch.randn(3).double()
    chance = logits.softmax(0)
    (exact,) = torch.autograd.grad((chance * values).sum(), logits)
    total = torch.zeros(3).double()
    for first, second in itertools.product(range(3), repeat=2):
        gained = values[[first, second]][None]
        log_probs = logits.log_softmax(0)[[first, second]][:, None]
        loss = reinforce_loss(log_probs, (gained - leave_one_out(gained)).flatten())
        (gradient,) = torch.autograd.grad(loss, logits)
        total += chance[first].detach() * chance[second].detach() * gradient
    torch.testing.assert_close(-total, exact)


def test_leave_one_out_is_the_mean_of_the_others() -> None:
    found = leave_one_out(torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]]))
    torch.testing.assert_close(found, torch.tensor([[4.0, 3.5, 1.5], [1.5, 1.5, 0.0]]))
    with pytest.raises(ValueError, match="draw 2 or more, got 1"):
        leave_one_out(torch.ones(3, 1))


def test_no_advantage_no_gradient(batch: CaptionBatch) -> None:
    model = captioner()
    for baseline, samples in (("greedy", 1), ("leave_one_out", 3)):
        losses = reward_losses(
            model, batch, MadeRewards(constant=0.5), baseline=baseline, samples=samples, max_length=4
        )
        assert not flat_gradient(model, losses["reward_loss"]).any()
        assert losses["reward"] == losses["baseline"] == 0.5


def test_what_is_scored_ends_with_the_end_or_is_cut(batch: CaptionBatch) -> None:
    model, rewards = captioner(), MadeRewards()
    model.decoder.output.bias.data[EOS] -= 3  # or hardly a caption would be cut
    torch.manual_seed(0)
    reward_losses(model, batch, rewards, samples=50, max_length=4)
    (videos, drawn), (greedy_videos, greedy) = rewards.asked
    assert videos == ["v1"] * 50 + ["v2"] * 50 + ["v3"] * 50
    assert greedy_videos == ["v1", "v2", "v3"]
    assert len(greedy) == 3
    for caption in [*drawn, *greedy]:
        assert all(word > UNK for word in caption[:-1])
        assert caption[-1] == EOS if len(caption) < 4 else caption[-1] >= EOS
    assert {len(caption) for caption in drawn} == {2, 3, 4}
    assert any(caption[-1] != EOS for caption in drawn)


def test_drawing_is_without_dropout_and_the_mode_is_kept(batch: CaptionBatch) -> None:
    model = captioner(dropout=0.5).train()
    losses = []
    for _ in range(2):
        torch.manual_seed(5)
        losses.append(reward_losses(model, batch, MadeRewards(), samples=30, max_length=4)["reward_loss"])
        assert model.training
    assert losses[0] == losses[1] != 0.0
    model.eval()
    torch.manual_seed(5)
    assert reward_losses(model, batch, MadeRewards(), samples=30, max_length=4)["reward_loss"] == losses[0]
    assert not model.training


def test_learning_with_dropout_draws_without_it(batch: CaptionBatch) -> None:
    model, rewards = captioner(dropout=0.5).train(), MadeRewards()
    losses = []
    for _ in range(2):
        torch.manual_seed(5)
        with_it = reward_losses(model, batch, rewards, samples=30, max_length=4, dropout=True)
        torch.manual_seed(5)
        without = reward_losses(model, batch, rewards, samples=30, max_length=4)
        assert with_it["reward"] == without["reward"]
        assert with_it["reward_loss"] != without["reward_loss"]
        losses.append(with_it["reward_loss"])
    assert losses[0] == losses[1]  # the same dropout, from the same seed
    assert rewards.asked[0] == rewards.asked[2]


def test_the_share_of_the_reward_and_all_parts_are_kept() -> None:
    given = {"loss": torch.tensor(2.0), "scene": torch.tensor(1.5)}
    drawn = {"reward_loss": torch.tensor(-1.0), "reward": torch.tensor(0.3), "baseline": torch.tensor(0.1)}
    found = mix_losses(given, drawn, 0.25)
    assert found["loss"] == 0.75 * 2 - 0.25
    assert set(found) == {"loss", "scene", "reward_loss", "reward", "baseline"}
    assert mix_losses(given, drawn, 0.0)["loss"] == 2.0
