"""CIDEr-D from its definition in plain Python, as training code usually has it: a rival, and a second opinion."""

from collections import Counter
from collections.abc import Sequence
from math import exp, log, sqrt

import numpy as np

ORDER, SIGMA = 4, 6.0
Gram = tuple[str, ...]


class UsualCiderD:
    """CIDEr-D of a batch of captions (Vedantam et al., 2015, Sec. 6), one pair of sentences after the other.

    As usual, the document frequencies are counted once, before the training, and the references of each caption are
    taken apart anew at each call. Departure from the paper, as in the COCO code: lengths are counted in bigrams.

    Args:
        references: video -> its captions, words with single spaces.
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        self._videos = len(references)
        self._frequency: Counter[Gram] = Counter()
        for texts in references:
            self._frequency.update({gram for text in texts for gram in ngrams(text)})

    def __call__(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
        """Scores ``[N]`` of captions, each against its own list of references."""
        scores = []
        for caption, texts in zip(captions, references, strict=True):
            candidate = _Vector(caption, self._frequency, self._videos)
            total = 0.0
            for text in texts:
                total += candidate.similarity(_Vector(text, self._frequency, self._videos))
            scores.append(10 * total / len(texts))
        return np.array(scores)


class _Vector:
    """The TF-IDF weights of a sentence, one dictionary for each length of n-gram."""

    def __init__(self, text: str, frequency: Counter[Gram], videos: int) -> None:
        self.weights: list[dict[Gram, float]] = [{} for _ in range(ORDER)]
        self.bigrams = 0
        for gram, count in ngrams(text).items():
            self.weights[len(gram) - 1][gram] = count * (log(videos) - log(max(1, frequency[gram])))
            self.bigrams += count if len(gram) == 2 else 0
        self.norms = [sqrt(sum(weight**2 for weight in weights.values())) for weights in self.weights]

    def similarity(self, reference: "_Vector") -> float:
        """The mean over orders of the clipped cosine, times the penalty on the difference of lengths."""
        penalty = exp(-((self.bigrams - reference.bigrams) ** 2) / (2 * SIGMA**2))
        total = 0.0
        for mine, theirs, norm, their_norm in zip(
            self.weights, reference.weights, self.norms, reference.norms, strict=True
        ):
            if norm == 0 or their_norm == 0:
                continue
            product = 0.0
            for gram, weight in mine.items():
                other = theirs.get(gram, 0.0)
                product += min(weight, other) * other
            total += product / (norm * their_norm)
        return penalty * total / ORDER


def ngrams(text: str) -> Counter[Gram]:
    """How often each run of one to four words occurs."""
    words = text.split()
    return Counter(
        tuple(words[start : start + size]) for size in range(1, ORDER + 1) for start in range(len(words) - size + 1)
    )
