"""Paired bootstrap over videos: how sure a difference between two models' scores is (Koehn, 2004).

The same videos are drawn, with replacement, for all models, and the score of each draw is that of the drawn videos. A
corpus score is no mean over videos, so that BLEU is recomputed from the summed counts of each draw.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from stg.metrics.bleu import BleuStatistics, SentenceBleu

ORDER = 4
STATISTICS = 2 * ORDER + 2
"""Numbers from which BLEU-4 is made: clipped and possible n-grams of each order, length, closest reference length."""
BLOCK = 1 << 22
"""Drawn videos at a time: 32 MB of counts."""


@dataclass(frozen=True)
class Difference:
    """By how much a model scores above another.

    Args:
        value: the difference on the videos as they are.
        low, high: the 95 % interval, the percentiles 2.5 and 97.5 of the resampled differences.
        better: share of the resamples in which the score is higher; a tie is not.
    """

    value: float
    low: float
    high: float
    better: float


def bleu_statistics(
    captions: Sequence[Sequence[str]], references: Sequence[Sequence[str]]
) -> Float[np.ndarray, "R B 10"]:
    """The :data:`STATISTICS` of each caption, which add up over videos to those of a corpus.

    As in Papineni et al. (2002), section 2, with the closest reference length, of two equally close ones the shorter,
    as pycocoevalcap does.

    Args:
        captions: of R runs, one a video; words with single spaces.
        references: of the B videos, likewise.

    Raises:
        ValueError: a run has another number of captions than there are videos.
    """
    for texts in captions:
        if len(texts) != len(references):
            raise ValueError(f"got {len(texts)} captions and references of {len(references)} videos: give one for one")
    number: dict[str, int] = {}

    def numbered(sentence: str) -> list[int]:
        return [number.setdefault(word, len(number)) for word in sentence.split()]

    bleu = SentenceBleu([[numbered(sentence) for sentence in sentences] for sentences in references], ORDER)
    found = [bleu.statistics([numbered(text) for text in texts], range(len(references))) for texts in captions]
    rows = [np.column_stack([one.correct, one.guess, one.length, one.reference_length]) for one in found]
    return np.array(rows, np.float64)


def corpus_bleu(sums: Float[np.ndarray, "*any 10"]) -> Float[np.ndarray, "*any"]:
    """BLEU-4 of corpora from their summed :func:`bleu_statistics`, equal to pycocoevalcap's."""
    counts = sums.reshape(-1, STATISTICS).astype(np.int64)
    whole = BleuStatistics(counts[:, :ORDER], counts[:, ORDER : 2 * ORDER], counts[:, -2], counts[:, -1])
    return whole.sentences()[:, -1].reshape(sums.shape[:-1])


def resampled_sums(
    columns: Float[np.ndarray, "B C"], samples: int, seed: int, *, block: int = BLOCK
) -> Float[np.ndarray, "S C"]:
    """Sums of the columns over the videos of each draw; the same seed draws the same videos, whatever the columns.

    Args:
        columns: numbers of each video.
        samples: draws, S, of B videos each, with replacement.
        block: drawn videos that are held at a time; changes no number.
    """
    videos = len(columns)
    random = np.random.default_rng(seed)
    rows = max(1, block // videos)
    sums = []
    for start in range(0, samples, rows):
        index = random.integers(videos, size=(min(rows, samples - start), videos))
        # Each draw gets numbers of its own, so that one bincount counts them all.
        index += videos * np.arange(len(index))[:, None]
        # How often each draw holds each video [rows B]; the sums are then one matrix product.
        drawn = np.bincount(index.ravel(), minlength=index.size).reshape(index.shape)
        sums.append(drawn.astype(np.float64) @ columns)
    return np.concatenate(sums)


def resampled_scores(
    statistics: Float[np.ndarray, "R B 10"], means: Float[np.ndarray, "B M"], samples: int, seed: int
) -> Float[np.ndarray, "S M+1"]:
    """Scores of one model in each draw: BLEU-4, averaged over its R runs, then the means over the drawn videos.

    Args:
        statistics: of the captions of each run.
        means: scores of each video that are averaged over videos; over the runs they already are.
    """
    runs, videos, _ = statistics.shape
    columns = np.concatenate([statistics.transpose(1, 0, 2).reshape(videos, -1), means], axis=1)
    sums = resampled_sums(columns, samples, seed)
    split = runs * STATISTICS
    bleu = corpus_bleu(sums[:, :split].reshape(len(sums), runs, STATISTICS)).mean(1, keepdims=True)
    return np.concatenate([bleu, sums[:, split:] / videos], axis=1)


def difference(value: float, scores: Float[np.ndarray, " S"], baseline: Float[np.ndarray, " S"]) -> Difference:
    """Sum up the scores of two models in the same draws; ``value`` is the difference without drawing."""
    gained = scores - baseline
    low, high = np.percentile(gained, [2.5, 97.5])
    # Equal captions give equal scores but for the order of the sums.
    return Difference(float(value), float(low), float(high), float((gained > 1e-12).mean()))
