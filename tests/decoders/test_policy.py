"""Probabilities of drawn captions, against all captions of a toy written out (S22)."""

import itertools

import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor

from decoders.base import Decoder, State
from decoders.memory import VideoMemory
from decoders.policy import policy_log_probs

PAD, BOS, EOS, A, B = range(5)
LONGEST = 3


class Toy(Decoder):
    """Row i of a video's frames holds the logits of the word that follows word i."""

    def __init__(self) -> None:
        super().__init__(5, channels=5)
        self.output.weight.data.copy_(torch.eye(5))
        self.output.bias.data.zero_()

    def features(
        self, words: Int[Tensor, "W L"], memory: VideoMemory, video: Int[Tensor, " W"] | None = None
    ) -> Float[Tensor, "W L C"]:
        rows = torch.arange(len(words)) if video is None else video
        return memory.frames[rows[:, None], words]

    def init_state(self, memory: VideoMemory) -> State:
        raise NotImplementedError

    def advance(self, word: Int[Tensor, " N"], state: State) -> tuple[Float[Tensor, "N C"], State]:
        raise NotImplementedError


def tables(videos: int) -> VideoMemory:
    frames = torch.randn(videos, 5, 5).requires_grad_()
    return VideoMemory(frames, torch.ones(videos, 5, dtype=torch.bool))


def all_captions() -> Tensor:
    """Every caption of the words A and B, ended by eos or cut at `LONGEST` words, padded."""
    ended = [[*words, EOS] for size in range(1, LONGEST) for words in itertools.product((A, B), repeat=size)]
    cut = [list(words) for words in itertools.product((A, B), repeat=LONGEST)]
    return torch.tensor([words + [PAD] * (LONGEST - len(words)) for words in ended + cut])


def reward(captions: Tensor) -> Tensor:
    """Any numbers that depend on the words, their order and the end."""
    return torch.sin(1.7 * (captions * torch.tensor([1.0, 2.0, 5.0])).sum(1))


def test_the_captions_of_the_toy_share_the_whole_probability() -> None:
    captions, memory = all_captions(), tables(2)
    for video in range(2):
        log_probs = policy_log_probs(Toy(), captions, memory, torch.full((len(captions),), video))
        torch.testing.assert_close(log_probs.sum(1).exp().sum(), torch.tensor(1.0))


def test_each_word_has_its_share_of_the_words_that_may_be_written() -> None:
    memory = tables(1)
    table = memory.frames[0].detach()
    found = policy_log_probs(Toy(), torch.tensor([[A, B, EOS], [B, EOS, PAD]]), memory, torch.tensor([0, 0]))
    first, later = [A, B], [EOS, A, B]
    expected = torch.tensor(
        [
            [table[BOS, first].log_softmax(0)[0], table[A, later].log_softmax(0)[2], table[B, later].log_softmax(0)[0]],
            [table[BOS, first].log_softmax(0)[1], table[B, later].log_softmax(0)[0], 0.0],
        ]
    )
    torch.testing.assert_close(found, expected)


def test_a_barred_word_has_no_share() -> None:
    decoder, memory = Toy(), tables(1)
    decoder.suppressed = (B,)
    captions = torch.tensor([[A, A, EOS], [A, EOS, PAD], [A, A, A]])
    total = policy_log_probs(decoder, captions, memory, torch.zeros(3, dtype=torch.int64)).sum(1).exp().sum()
    torch.testing.assert_close(total, torch.tensor(1.0))


def test_pads_have_no_gradient_and_the_end_has_one() -> None:
    memory = tables(1)
    drawn = torch.tensor([[A, EOS, PAD]])
    log_probs = policy_log_probs(Toy(), drawn, memory, torch.tensor([0]))
    assert log_probs[0, 2] == 0.0
    (gradient,) = torch.autograd.grad(log_probs.sum(), memory.frames)
    assert gradient[0, A].abs().sum() > 0.1  # eos after A
    assert gradient[0, EOS].abs().sum() == gradient[0, B].abs().sum() == 0.0


@pytest.mark.parametrize("base", [0.0, 0.4])
def test_reinforce_equals_the_gradient_of_the_expected_reward(base: float) -> None:
    captions, memory = all_captions(), tables(1)
    videos = torch.zeros(len(captions), dtype=torch.int64)
    chance = policy_log_probs(Toy(), captions, memory, videos).sum(1).exp()
    (exact,) = torch.autograd.grad((chance * reward(captions)).sum(), memory.frames)
    log_probs = policy_log_probs(Toy(), captions, memory, videos).sum(1)
    estimates = ((reward(captions) - base) * log_probs * chance.detach()).sum()
    (expected,) = torch.autograd.grad(estimates, memory.frames)
    torch.testing.assert_close(expected, exact)
