"""What people wait for: the rivals' results are compared before their times."""

import pytest

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
