"""CIDEr-D of many captions at once against pycocoevalcap's, one caption after the other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stg.metrics.cider import CiderD

CAPTION = st.lists(st.integers(0, 5), max_size=9)
REFERENCES = st.lists(st.lists(CAPTION, min_size=1, max_size=4), min_size=1, max_size=5)


def usual(references: list[list[list[int]]], captions: list[list[int]], rows: list[int]) -> list[float]:
    """The scores of pycocoevalcap, with the document frequencies of all references."""
    from pycocoevalcap.cider.cider_scorer import CiderScorer

    def text(caption: list[int]) -> str:
        return " ".join(map(str, caption))

    every = CiderScorer()
    for several in references:
        every += (None, [text(caption) for caption in several])
    every.compute_doc_freq()
    scores = []
    for caption, row in zip(captions, rows, strict=True):
        # All videos take part, because their number is in the idf; only the score of one is kept.
        every.ctest = [{}] * row + [dict_counts(text(caption))] + [{}] * (len(references) - row - 1)
        scores.append(float(every.compute_cider()[row]))
    return scores


def dict_counts(text: str) -> dict[tuple[str, ...], int]:
    from pycocoevalcap.cider.cider_scorer import cook_test

    return dict(cook_test(text))


@settings(max_examples=60, deadline=None)
@given(REFERENCES, st.data())
def test_equals_pycocoevalcap(references: list[list[list[int]]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(references) - 1), max_size=4))
    captions = data.draw(st.lists(st.lists(st.integers(0, 8), max_size=9), min_size=len(rows), max_size=len(rows)))
    found = CiderD(references)(captions, rows)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    assert found.tolist() == pytest.approx(usual(references, captions, rows), abs=1e-9)


def test_a_perfect_caption_scores_ten_and_others_less() -> None:
    references = [[[1, 2, 3, 4, 9]], [[5, 6, 7, 8, 9]], [[10, 11, 12, 13, 9]]]
    found = CiderD(references)([[1, 2, 3, 4, 9], [1, 2, 3, 4, 9], [], [99, 98], [1]], [0, 1, 0, 0, 0])
    assert found[0] == pytest.approx(10)
    assert found[1:4].tolist() == [0, 0, 0]  # the word 9 is in every video and weighs nothing
    # One word of four that weigh, and no longer n-gram; lengths in bigrams: 0 and 4.
    assert found[4] == pytest.approx(10 * np.exp(-16 / 72) / np.sqrt(4) / 4)


def test_a_clipped_count_and_words_that_no_reference_holds() -> None:
    references = [[[1, 2]], [[3]], [[4]]]
    once, twice, strange = CiderD(references)([[1, 2], [1, 1], [1, 77, 78]], [0, 0, 0])
    assert twice < once
    assert [twice, strange] == pytest.approx(usual(references, [[1, 1], [1, 77, 78]], [0, 0]), abs=1e-12)


def test_the_document_frequency_is_of_the_references_alone() -> None:
    scorer = CiderD([[[1, 2]], [[3]], [[4]]])
    alone = scorer([[1, 3]], [0])
    assert scorer([[1, 3]] * 50 + [[]], [0] * 50 + [2]).tolist() == [alone[0]] * 50 + [0]


def test_one_video_has_no_idf_and_scores_nothing() -> None:
    assert CiderD([[[1, 2]]])([[1, 2], [5]], [0, 0]).tolist() == [0, 0]


def test_no_caption_is_no_score() -> None:
    assert CiderD([[[1]], [[]]])([], []).tolist() == []
    assert CiderD([[[]]])([[], [1]], [0, 0]).tolist() == [0, 0]


@pytest.mark.parametrize("row", [-1, 2])
def test_wrong_rows_are_named(row: int) -> None:
    with pytest.raises(ValueError, match=f"there is no video {row}: the references have rows 0 to 1"):
        CiderD([[[1]], [[2]]])([[1]], [row])
    with pytest.raises(ValueError, match="every caption needs the row of its video: 1 captions, 2 rows"):
        CiderD([[[1]], [[2]]])([[1]], [0, 1])
