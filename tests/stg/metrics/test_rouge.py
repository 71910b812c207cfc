"""ROUGE-L of many captions at once against pycocoevalcap's, to the last bit."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stg.metrics.rouge import RougeL

SENTENCE = st.lists(st.integers(0, 5), min_size=1, max_size=12)
REFERENCES = st.lists(st.lists(SENTENCE, min_size=1, max_size=4), min_size=1, max_size=4)


def usual(references: list[list[list[int]]], captions: list[list[int]], rows: list[int]) -> list[float]:
    """The scores of pycocoevalcap."""
    from pycocoevalcap.rouge.rouge import Rouge

    def text(caption: list[int]) -> str:
        return " ".join(map(str, caption))

    pairs = zip(captions, rows, strict=True)
    return [
        Rouge().calc_score([text(caption)], [text(reference) for reference in references[row]])
        for caption, row in pairs
    ]


@settings(max_examples=100, deadline=None)
@given(REFERENCES, st.data())
def test_equals_pycocoevalcap_exactly(references: list[list[list[int]]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(references) - 1), max_size=4))
    sentence = st.lists(st.integers(0, 8), min_size=1, max_size=12)
    captions = data.draw(st.lists(sentence, min_size=len(rows), max_size=len(rows)))
    found = RougeL(references)(captions, rows)
    assert found.dtype == np.float64
    assert found.tolist() == usual(references, captions, rows)


def test_more_pairs_than_one_chunk_and_sentences_of_unlike_lengths() -> None:
    chance = random.Random(0)

    def made() -> list[int]:
        return [chance.randrange(6) for _ in range(chance.choice([1, 4, 9, 70]))]

    references = [[made() for _ in range(30)] for _ in range(3)]
    captions, rows = [made() for _ in range(90)], [chance.randrange(3) for _ in range(90)]
    assert RougeL(references)(captions, rows).tolist() == usual(references, captions, rows)


def test_a_hand_worked_score() -> None:
    # "1 3 9" shares "1 3" with the first (2 of 3 and 2 of 4 words) and "9" with the second (1 of 3 and 1 of 1).
    precision, recall = 2 / 3, 1.0
    wanted = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
    assert RougeL([[[1, 2, 3, 4], [9]]])([[1, 3, 9]], [0]).tolist() == pytest.approx([wanted])


def test_empty_sentences_never_match() -> None:
    assert RougeL([[[], [1]], [[]]])([[], [], [1], [7], [1]], [0, 1, 0, 0, 1]).tolist() == [0, 0, 1, 0, 0]
    assert RougeL([[[1]]])([], []).tolist() == []


def test_wrong_input_is_named() -> None:
    with pytest.raises(ValueError, match="every video needs a reference: video 1 has none"):
        RougeL([[[1]], []])
    with pytest.raises(ValueError, match="there is no video 1: the references have rows 0 to 0"):
        RougeL([[[1]]])([[1]], [1])
