"""What people wait for: the rivals' results are compared before their times."""

from pathlib import Path

import pytest
from torch_geometric.data import Batch

from benchmarks import epoch
from benchmarks.epoch import SMALL, Epochs, check, usual_loss
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


def test_an_epoch_learns_every_caption_by_either_way(tmp_path: Path) -> None:
    epochs = Epochs(tmp_path, 12, SMALL)
    check(epochs)
    batch = Batch.from_data_list([epochs.pairs[place] for place in range(len(epochs.pairs))])
    for learn, learned in ((epochs.ours, 12), (epochs.usual, 24)):
        model = epochs.model()
        before = usual_loss(model, batch).item()
        assert [learn(model) for _ in range(4)] == [learned] * 4
        assert usual_loss(model, batch).item() < before - 0.05


def test_another_loss_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch, "usual_loss", lambda model, data: usual_loss(model, data) * 1.01)
    with pytest.raises(AssertionError, match="epoch: loss or gradient differ by"):
        check(Epochs(tmp_path, 3, SMALL))
