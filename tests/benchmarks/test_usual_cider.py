"""The usual CIDEr-D, written from its definition, against ours and against numbers worked by hand."""

from math import exp, log

import numpy as np
import pytest

from benchmarks.scores import Work, bars, largest_difference
from benchmarks.usual_cider import UsualCiderD, ngrams
from stg.metrics.cider import CiderD


def numbered(sentences: list[str], numbers: dict[str, int]) -> list[list[int]]:
    return [[numbers.setdefault(word, len(numbers)) for word in sentence.split()] for sentence in sentences]


def test_ngrams_of_a_short_sentence() -> None:
    assert ngrams("a b a") == {("a",): 2, ("b",): 1, ("a", "b"): 1, ("b", "a"): 1, ("a", "b", "a"): 1}


def test_worked_by_hand() -> None:
    # "a" is in both videos and weighs nothing; every other n-gram weighs log 2.
    usual = UsualCiderD([["a cat"], ["a dog"]])
    assert usual(["a cat"], [["a cat"]])[0] == pytest.approx(10 * 2 / 4)
    # "cat": one unigram of one, no bigram shared, lengths differ by one bigram.
    assert usual(["cat"], [["a cat"]])[0] == pytest.approx(10 * exp(-1 / 72) / 4)
    # The caption says "cat" twice: clipped to once, and its own norm is twice as long.
    clipped = (log(2) * log(2)) / (2 * log(2) * log(2))
    assert usual(["cat cat"], [["a cat"]])[0] == pytest.approx(10 * clipped / 4)
    assert usual(["bird"], [["a cat"]])[0] == 0.0


def test_equals_ours_on_awkward_captions() -> None:
    references = [["a cat sits", "a cat sits on a mat today"], ["dog", "the dog runs the dog runs"], ["a a a a a"]]
    captions = ["a cat sits", "cat cat cat cat", "the dog", "", "unheard of words", "a", "a a a a a a a a a"]
    numbers: dict[str, int] = {}
    cooked = [numbered(texts, numbers) for texts in references]
    rows = [row for row in range(3) for _ in captions]
    ours = CiderD(cooked)(numbered(captions * 3, numbers), rows)
    usual = UsualCiderD(references)(captions * 3, [references[row] for row in rows])
    np.testing.assert_allclose(usual, ours, rtol=0, atol=1e-9)
    assert usual.max() > 5


def test_rivals_agree_and_a_wrong_one_is_told() -> None:
    rivals = Work(30, 200, 6, 2).rivals()["CIDEr-D reward"]
    assert set(rivals) == {"ours", "usual code", "pycocoevalcap"}
    assert largest_difference(rivals) < 1e-9
    ours = np.array(rivals["ours"]())
    with pytest.raises(AssertionError, match="the scores of wrong differ from ours by"):
        largest_difference({"ours": rivals["ours"], "wrong": lambda: ours + 1e-8})


def test_bars_of_scores() -> None:
    def times(usual: float, coco: float) -> dict[str, dict[str, float]]:
        return {"usual code": {"times_ours": usual}, "pycocoevalcap": {"times_ours": coco}}

    results = {"CIDEr-D reward": times(170.0, 210.0), "BLEU-4 reward": times(1.0, 60.0), "evaluation": times(1.0, 9.0)}
    found = [(line["reached"], line["bar"]) for line in bars(results, {"CIDEr-D reward": 2e-15})]
    assert found == [(170.0, 150.0), (210.0, 150.0), (2e-15, 1e-9), (60.0, 50.0), (9.0, 8.0)]
