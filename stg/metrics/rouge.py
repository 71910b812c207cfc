"""ROUGE-L of captions against the references of their videos, many at once."""

from collections.abc import Sequence
from itertools import chain, pairwise

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from stg.metrics.ngrams import checked_rows, flatten, reference_sizes

_BETA = 1.2
_CHUNK = 2048  # pairs; their words stay in the cache


class RougeL:
    """ROUGE-L (Lin 2004) as the COCO evaluation code computes it, equal to pycocoevalcap's ``Rouge`` to the last bit.

    Precision and recall of the longest common subsequence, each the best over the references, with beta 1.2. A caption
    without a word scores 0, also where a reference has none either, which that code takes for a perfect match.

    Args:
        references: video -> its captions -> their words, numbers >= 0.

    Raises:
        ValueError: no video, one without a reference, or a word below 0.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[int]]]) -> None:
        reference_sizes(references)
        # The best reference counts, so that equal ones need one look.
        distinct = [dict.fromkeys(map(tuple, captions)) for captions in references]
        self._sizes = np.fromiter(map(len, distinct), np.int64, len(distinct))
        self._first = np.cumsum(self._sizes) - self._sizes
        words, self._lengths = flatten(list(chain.from_iterable(distinct)))
        self._numbers, words = np.unique(words, return_inverse=True)
        self._words = words.astype(np.int32)

    def __call__(self, captions: Sequence[Sequence[int]], rows: Sequence[int]) -> Float64[ndarray, " captions"]:
        """Score caption i against the references of video ``rows[i]``.

        Raises:
            ValueError: a word below 0, a row without a video, or another number of rows than captions.
        """
        videos = checked_rows(rows, len(captions), len(self._sizes))
        if not len(captions):
            return np.zeros(0)
        words, lengths = flatten(captions)
        number = np.minimum(np.searchsorted(self._numbers, words), max(len(self._numbers) - 1, 0))
        known = self._numbers[number] == words if len(self._numbers) else np.zeros(len(words), bool)
        # Words of no reference become -1, which equals no word of one.
        words = np.where(known, number, -1).astype(np.int32)

        many = self._sizes[videos]
        start = np.cumsum(many) - many
        caption = np.repeat(np.arange(len(captions)), many)
        reference = np.arange(many.sum()) + np.repeat(self._first[videos] - start, many)
        common = np.empty(len(caption), np.int64)
        begins, reference_begins = np.cumsum(lengths) - lengths, np.cumsum(self._lengths) - self._lengths
        # Pairs of about the same lengths together need little padding.
        order = np.lexsort((lengths[caption], self._lengths[reference]))
        for chunk in np.split(order, range(_CHUNK, len(order), _CHUNK)):
            ours, theirs = caption[chunk], reference[chunk]
            common[chunk] = _longest_common(
                _padded(words, begins[ours], lengths[ours], -1),
                _padded(self._words, reference_begins[theirs], self._lengths[theirs], -2),
            )
        # The best of each over the references, which need not be those of one: so does the COCO code.
        precision = np.maximum.reduceat(common / np.maximum(lengths[caption], 1), start)
        recall = np.maximum.reduceat(common / np.maximum(self._lengths[reference], 1), start)
        found = precision > 0
        harmonic = ((1 + _BETA**2) * precision * recall)[found] / (recall + _BETA**2 * precision)[found]
        score = np.zeros(len(captions))
        score[found] = harmonic
        return score


def _padded(
    words: ndarray, begins: Int64[ndarray, " pairs"], lengths: Int64[ndarray, " pairs"], padding: int
) -> ndarray:
    """Captions in columns ``[longest pairs]``, int32."""
    place = np.arange(lengths.max(initial=0))[:, None]
    real = place < lengths
    padded = np.full(real.shape, padding, np.int32)
    padded[real] = words[(begins + place)[real]]
    return padded


def _longest_common(captions: ndarray, references: ndarray) -> Int64[ndarray, " pairs"]:
    """Words of the longest common subsequence of every pair of columns; paddings never match.

    The usual table, row by row: row i holds the answers for the first i words of the caption and every beginning of the
    reference.
    """
    # Small integers, as captions are short: the table stays in the cache.
    row = np.zeros((len(references) + 1, references.shape[1]), np.int16)
    for words in captions:
        best = np.maximum(row[1:], row[:-1] + (references == words))
        for left, here in pairwise(best):
            np.maximum(left, here, out=here)
        row[1:] = best
    return row[-1].astype(np.int64)
