"""BLEU of many captions at once against pycocoevalcap's, to the last bit."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stg.metrics.bleu import SentenceBleu

CAPTION = st.lists(st.integers(0, 5), max_size=12)
REFERENCES = st.lists(st.lists(CAPTION, min_size=1, max_size=4), min_size=1, max_size=5)


def usual(
    references: list[list[list[int]]], captions: list[list[int]], rows: list[int]
) -> tuple[list[float], list[list[float]]]:
    """Corpus and single scores of pycocoevalcap, by order."""
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    def text(caption: list[int]) -> str:
        return " ".join(map(str, caption))

    scorer = BleuScorer(n=4)
    for caption, row in zip(captions, rows, strict=True):
        scorer += (text(caption), [text(reference) for reference in references[row]])
    corpus, single = scorer.compute_score(option="closest")
    return corpus, single


@settings(max_examples=100, deadline=None)
@given(REFERENCES, st.data())
def test_equals_pycocoevalcap_exactly(references: list[list[list[int]]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(references) - 1), min_size=1, max_size=4))
    captions = data.draw(st.lists(st.lists(st.integers(0, 8), max_size=12), min_size=len(rows), max_size=len(rows)))
    scorer = SentenceBleu(references)
    corpus, single = usual(references, captions, rows)
    statistics = scorer.statistics(captions, rows)
    assert statistics.sentences().T.tolist() == single
    assert statistics.corpus().tolist() == corpus
    found = scorer(captions, rows)
    assert found.dtype == np.float64
    assert found.tolist() == single[3]
    assert SentenceBleu(references, order=2)(captions, rows).tolist() == single[1]


def test_a_hand_worked_score() -> None:
    # "1 1 2" against "1 2 3 4 5": two of three words (1 counts once), one of two bigrams; the caption is too short.
    statistics = SentenceBleu([[[1, 2, 3, 4, 5], [9] * 9]]).statistics([[1, 1, 2]], [0])
    assert statistics.correct.tolist() == [[2, 1, 0, 0]]
    assert statistics.guess.tolist() == [[3, 2, 1, 0]]
    assert statistics.reference_length.tolist() == [5]
    first, second, third, fourth = statistics.sentences()[0]
    assert first == pytest.approx(2 / 3 * math.exp(1 - 5 / 3))
    assert second == pytest.approx(math.sqrt(1 / 3) * math.exp(1 - 5 / 3))
    assert 0 < fourth < third < 1e-4


def test_the_brevity_penalty_of_every_length_is_exact() -> None:
    references = [[[1] * length] for length in range(1, 50)]
    captions, rows = zip(*[([1] * short, row) for row in range(49) for short in range(row + 1)], strict=True)
    found = SentenceBleu(references)(list(captions), list(rows))
    assert found.tolist() == usual(references, list(captions), list(rows))[1][3]


def test_of_two_references_as_near_the_shorter_one_counts() -> None:
    scorer = SentenceBleu([[[1] * 6, [1] * 2], [[1]]])
    assert scorer.statistics([[1] * 4, [1] * 5, []], [0, 0, 1]).reference_length.tolist() == [2, 6, 1]


def test_no_caption_is_no_score_and_empty_ones_are_finite() -> None:
    assert SentenceBleu([[[1]]])([], []).tolist() == []
    assert SentenceBleu([[[]]])([[], [1]], [0, 0]).tolist() == usual([[[]]], [[], [1]], [0, 0])[1][3]


def test_wrong_rows_are_named() -> None:
    with pytest.raises(ValueError, match="there is no video 2: the references have rows 0 to 1"):
        SentenceBleu([[[1]], [[2]]])([[1]], [2])
