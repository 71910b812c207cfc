"""N-gram numbers and counts against plain dictionaries."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stg.metrics.ngrams import ReferenceNgrams, flatten

WORDS = st.sampled_from([0, 1, 2, 3, 2**40, 2**62])
CAPTION = st.lists(WORDS, max_size=9)


def grams(caption: list[int]) -> Counter[tuple[int, ...]]:
    """N-grams of one to four words."""
    return Counter(tuple(caption[i : i + n]) for n in range(1, 5) for i in range(len(caption) - n + 1))


@given(st.lists(st.lists(CAPTION, min_size=1, max_size=3), min_size=1, max_size=4), st.lists(CAPTION, max_size=4))
def test_counts_equal_a_dictionary_for_any_numbers(
    references: list[list[list[int]]], captions: list[list[int]]
) -> None:
    found = ReferenceNgrams(references)
    everything = {gram for texts in references for text in texts for gram in grams(text)}
    assert found.total == len(everything)
    counts = found.counts(captions)
    assert (np.diff(counts.bin) >= 0).all()
    for row, caption in enumerate(captions):
        for n in range(1, 5):
            mine = counts.bin == row * 4 + n - 1
            wanted = {gram: count for gram, count in grams(caption).items() if len(gram) == n}
            assert sorted(counts.count[mine]) == sorted(wanted.values())
            held = [count for gram, count in wanted.items() if gram in everything]
            assert sorted(counts.count[mine & (counts.ngram >= 0)]) == sorted(held)


@given(st.lists(st.lists(CAPTION, min_size=1, max_size=3), min_size=1, max_size=4))
def test_postings_hold_every_reference_of_a_video_with_the_n_gram(references: list[list[list[int]]]) -> None:
    found = ReferenceNgrams(references)
    texts = [text for several in references for text in several]
    held = sum(
        (Counter({(found.video[row], gram): 1 for gram in grams(text)}) for row, text in enumerate(texts)), Counter()
    )
    assert sorted(np.diff(found.start)) == sorted(held.values())
    assert found.count.sum() == sum(grams(text).total() for text in texts)
    for video, several in enumerate(references):
        counts = found.counts(several)
        entry, pair = found.find(np.full(len(counts.bin), video), counts.ngram)
        assert entry.tolist() == list(range(len(counts.bin)))
        assert (found.ngram[found.start[pair]] == counts.ngram).all()


def test_flatten_takes_captions_without_a_word() -> None:
    words, lengths = flatten([[], [4, 5], [], [6]])
    assert words.tolist() == [4, 5, 6]
    assert lengths.tolist() == [0, 2, 0, 1]


def test_wrong_references_are_named() -> None:
    with pytest.raises(ValueError, match="every video needs a reference: there is no video"):
        ReferenceNgrams([])
    with pytest.raises(ValueError, match="every video needs a reference: video 1 has none"):
        ReferenceNgrams([[[1]], []])
    with pytest.raises(ValueError, match="words are numbers from 0 on, got -1: leave padding out"):
        ReferenceNgrams([[[1, -1]]])
    with pytest.raises(ValueError, match="the longest n-gram has at least one word, got order=0"):
        ReferenceNgrams([[[1]]], order=0)
