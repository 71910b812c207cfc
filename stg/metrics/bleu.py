"""BLEU of captions against the references of their videos, many at once, each alone or as one corpus."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from stg.metrics.ngrams import ReferenceNgrams, checked_rows

_SMALL, _TINY = 1e-9, 1e-15


@dataclass(frozen=True)
class BleuStatistics:
    """What BLEU needs to know of every caption; those of a corpus are their sums.

    Args:
        correct: n-grams that the references hold too, each as often as the reference that holds most of it.
        guess: n-grams of the caption.
        length: words of the caption.
        reference_length: words of the reference nearest in length, the shorter one of two.
    """

    correct: Int64[ndarray, "captions order"]
    guess: Int64[ndarray, "captions order"]
    length: Int64[ndarray, " captions"]
    reference_length: Int64[ndarray, " captions"]

    def sentences(self) -> Float64[ndarray, "captions order"]:
        """BLEU-1, BLEU-2, ... of every caption alone, smoothed as the COCO code does."""
        precision = np.cumprod((self.correct + _TINY) / (self.guess + _SMALL), axis=1)
        ratio = (self.length + _TINY) / (self.reference_length + _SMALL)
        short = ratio < 1
        penalty = np.ones(len(ratio))
        # Python's own power and exp: those of numpy may differ from them in the last bit, and scores shall be equal.
        penalty[short] = list(map(math.exp, (1 - 1 / ratio[short]).tolist()))
        roots = [list(map(pow, column, repeat(1 / (n + 1)))) for n, column in enumerate(precision.T.tolist())]
        return np.array(roots, np.float64).reshape(precision.shape[::-1]).T * penalty[:, None]

    def corpus(self) -> Float64[ndarray, " order"]:
        """BLEU-1, BLEU-2, ... of all captions as one corpus."""
        sums = (self.correct, self.guess, self.length, self.reference_length)
        return BleuStatistics(*(part.sum(0, keepdims=True) for part in sums)).sentences()[0]


class SentenceBleu:
    """BLEU (Papineni et al. 2002) of single captions, equal to pycocoevalcap's ``BleuScorer`` to the last bit.

    A count of 0 is replaced by 1e-15, so that a caption without a common n-gram scores almost, not exactly, 0; the
    brevity penalty takes the closest reference length.

    Args:
        references: video -> its captions -> their words, numbers >= 0; or their n-grams, whose order then counts.
        order: longest n-gram.

    Raises:
        ValueError: no video, one without a reference, or a word below 0.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[int]]] | ReferenceNgrams, order: int = 4) -> None:
        grams = references if isinstance(references, ReferenceNgrams) else ReferenceNgrams(references, order)
        self._grams = grams
        self._most = np.maximum.reduceat(grams.count, grams.start[:-1]) if len(grams.count) else grams.count
        column = np.arange(len(grams.lengths)) - grams.first[grams.video]
        self._lengths = np.full((len(grams.sizes), grams.sizes.max()), np.iinfo(np.int32).max, np.int64)
        self._lengths[grams.video, column] = grams.lengths

    def __call__(self, captions: Sequence[Sequence[int]], rows: Sequence[int]) -> Float64[ndarray, " captions"]:
        """Score caption i against the references of video ``rows[i]``: BLEU of the highest order.

        Raises:
            ValueError: a word below 0, a row without a video, or another number of rows than captions.
        """
        return np.ascontiguousarray(self.statistics(captions, rows).sentences()[:, -1])

    def statistics(self, captions: Sequence[Sequence[int]], rows: Sequence[int]) -> BleuStatistics:
        """The counts behind the score of caption i against the references of video ``rows[i]``."""
        grams, order = self._grams, self._grams.order
        videos = checked_rows(rows, len(captions), len(grams.sizes))
        counts = grams.counts(captions)
        entry, pair = grams.find(videos[counts.bin // order], counts.ngram)
        # Clipped at the most that one reference holds: repeating a right word does not pay (section 2.1).
        shared = np.minimum(counts.count[entry], self._most[pair])
        correct = np.bincount(counts.bin[entry], shared, len(captions) * order).astype(np.int64).reshape(-1, order)
        guess = np.maximum(counts.lengths[:, None] - np.arange(order), 0)
        lengths = self._lengths[videos]
        # One number for (distance, length) finds the closest one, and the shorter of two at the same distance.
        nearest = (np.abs(lengths - counts.lengths[:, None]) << 32) + lengths
        return BleuStatistics(correct, guess, counts.lengths, nearest.min(1, initial=2**62) & (2**32 - 1))
