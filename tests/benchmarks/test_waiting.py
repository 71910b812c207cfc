"""What people wait for: the rivals' results are compared before their times."""

from pathlib import Path

import pytest

from benchmarks.epoch import Epochs, check, mean
from benchmarks.waiting import agree, evaluation_rivals


def test_captions_scores_and_what_differs() -> None:
    agree("clips", {"ours": lambda: ["a cat"], "other": lambda: ["a cat"]})
    agree("scores", {"ours": lambda: [0.5, 1.0], "other": lambda: [0.5, 1.0 + 1e-12]}, 1e-9)
    with pytest.raises(AssertionError, match="clips: other and ours differ"):
        agree("clips", {"ours": lambda: ["a cat"], "other": lambda: ["a dog"]})
    with pytest.raises(AssertionError, match="scores: other and ours differ"):
        agree("scores", {"ours": lambda: [0.5, 1.0], "other": lambda: [0.5, 1.1]}, 1e-9)


def test_an_evaluation_gives_the_scores_of_the_rival() -> None:
    agree("evaluation", evaluation_rivals(3, 40), 1e-9)


def test_an_epoch_learns_as_much_as_that_of_the_rival(tmp_path: Path) -> None:
    epochs = Epochs(tmp_path, 12, channels=16, width=8)
    check(epochs)
    before = mean(epochs.usual(epochs.model(), None))
    rivals = epochs.rivals()
    learned = {name: [mean(run()) for _ in range(4)][-1] for name, run in rivals.items()}
    assert all(loss < before - 0.05 for loss in learned.values()), (before, learned)


def test_another_loss_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = Epochs(tmp_path, 3, channels=16, width=8)
    monkeypatch.setattr(epochs, "usual", lambda model, optimiser: [(1.0, 5)])
    with pytest.raises(AssertionError, match="epoch: the loss of a word is"):
        check(epochs)
