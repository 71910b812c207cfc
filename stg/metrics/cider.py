"""CIDEr-D of captions against the references of their videos, many at once."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from stg.metrics.ngrams import ReferenceNgrams, checked_rows


class CiderD:
    """CIDEr-D (Vedantam et al. 2015, arXiv:1411.5726, section 6) as the COCO evaluation code computes it.

    The numbers are those of pycocoevalcap's ``CiderScorer`` within rounding: n-grams up to four words, counts clipped,
    a Gaussian penalty with sigma 6 on the difference of lengths (which that code counts in bigrams), scores from 0 to
    10. The document frequencies come from these references and from nothing else; with a single video every n-gram
    weighs nothing and every score is 0.

    Args:
        references: video -> its captions -> their words, numbers >= 0; or their n-grams up to order 4.
        sigma: width of the length penalty.

    Raises:
        ValueError: no video, one without a reference, or a word below 0.
    """

    def __init__(self, references: Sequence[Sequence[Sequence[int]]] | ReferenceNgrams, *, sigma: float = 6.0) -> None:
        grams = references if isinstance(references, ReferenceNgrams) else ReferenceNgrams(references)
        videos = len(grams.sizes)
        # In how many videos each n-gram occurs: a pair names a video and an n-gram, and the last is a sentinel.
        frequency = np.bincount(grams.pairs[:-1] % max(grams.total, 1), minlength=grams.total)
        # The last entry is what -1, an n-gram that no reference holds, takes: it counts as if one video had it.
        frequency = np.append(frequency, 1)
        self._idf = np.log(videos) - np.log(frequency)
        # Exactly 0 for what every video has: the logarithms of a number and of an array may differ in the last bit.
        self._idf[frequency == videos] = 0
        del frequency
        self._weight = grams.count * self._idf[grams.ngram]
        norm = np.sqrt(np.bincount(grams.bin, self._weight**2, len(grams.lengths) * grams.order))
        self._inverse = np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0)
        # Lengths are compared in bigrams, as the COCO code counts them, not in words.
        self._bigrams = np.repeat(np.maximum(grams.lengths - 1, 0), grams.order)
        self._grams, self._sigma = grams, sigma

    def __call__(self, captions: Sequence[Sequence[int]], rows: Sequence[int]) -> Float64[ndarray, " captions"]:
        """Score caption i against the references of video ``rows[i]``.

        Raises:
            ValueError: a word below 0, a row without a video, or another number of rows than captions.
        """
        grams = self._grams
        videos = checked_rows(rows, len(captions), len(grams.sizes))
        counts = grams.counts(captions)
        weight = counts.count * self._idf[counts.ngram]
        norm = np.sqrt(np.bincount(counts.bin, weight**2, len(captions) * grams.order))
        entry, pair = grams.find(videos[counts.bin // grams.order], counts.ngram)
        # Each n-gram of a caption meets every reference that holds it: one row for each such meeting.
        many = grams.start[pair + 1] - grams.start[pair]
        posting = np.arange(many.sum()) + np.repeat(grams.start[pair] - (np.cumsum(many) - many), many)
        entry = np.repeat(entry, many)
        bins = counts.bin[entry]
        reference, theirs = grams.bin[posting], self._weight[posting]
        longer = np.maximum(counts.lengths - 1, 0)[bins // grams.order] - self._bigrams[reference]
        # Differences of lengths are few, and an exponential takes long.
        penalty = np.exp(-(np.arange(np.abs(longer).max(initial=0) + 1) ** 2) / (2 * self._sigma**2))[np.abs(longer)]
        # Clipped at the weight in the reference, the D of CIDEr-D: repeating an n-gram does not pay.
        product = np.minimum(weight[entry], theirs) * theirs * self._inverse[reference] * penalty
        total = np.bincount(bins, product, len(captions) * grams.order)
        similarity = np.divide(total, norm, out=np.zeros_like(norm), where=norm > 0).reshape(-1, grams.order)
        # The mean over orders 1 to 4 and over references, times 10 as in the COCO code.
        return 10 * similarity.mean(1) / grams.sizes[videos]
