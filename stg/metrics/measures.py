"""The metrics by name: how each scores tokenised captions against tokenised references."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocoevalcap.bleu import bleu_scorer
from pycocoevalcap.cider import cider_scorer
from pycocoevalcap.rouge.rouge import Rouge

from stg.metrics.bleu import SentenceBleu
from stg.metrics.cider import CiderD
from stg.metrics.columns import BLEU
from stg.metrics.meteor import Meteor
from stg.metrics.ngrams import ReferenceNgrams
from stg.metrics.rouge import RougeL
from stg.metrics.spice import Spice
from stg.runtime.errors import StgError, UserError

Result = Mapping[str, tuple[float, Mapping[str, float]]]
"""Name of a score -> its value for the corpus, and for each video alone."""


class Unavailable(StgError):
    """A metric cannot score these captions, and says why; the others are not concerned."""


class MetricSettings(NamedTuple):
    """The settings of a scorer; see :class:`stg.metrics.scorer.Scorer`."""

    reference: bool = False
    timeout: float = 300.0
    spice: str | Path | None = None


class References:
    """Tokenised references (``words``: video -> sentences), and the counts that do not depend on predictions."""

    def __init__(self, words: dict[str, list[str]]) -> None:
        for video, texts in words.items():
            if not any(texts):
                raise UserError(f"video {video!r} has no reference with a word in it: add one, or leave the video out")
        self.words = words

    def without(self, missing: Sequence[str]) -> "References":
        if not missing:
            return self
        left_out = set(missing)
        return References({video: texts for video, texts in self.words.items() if video not in left_out})

    @cached_property
    def lexicon(self) -> "_Lexicon":
        return _Lexicon(None)

    @cached_property
    def rouge_lexicon(self) -> "_Lexicon":
        # Unlike the others, that code's ROUGE-L does not part words at a no-break space ("2 1/2").
        return _Lexicon(" ")

    @cached_property
    def ngrams(self) -> ReferenceNgrams:
        return ReferenceNgrams([self.lexicon.numbers(texts) for texts in self.words.values()])

    @cached_property
    def bleu(self) -> SentenceBleu:
        return SentenceBleu(self.ngrams)

    @cached_property
    def cider(self) -> CiderD:
        return CiderD(self.ngrams)

    @cached_property
    def rouge(self) -> RougeL:
        return RougeL([self.rouge_lexicon.numbers(dict.fromkeys(texts)) for texts in self.words.values()])

    @cached_property
    def bleu_counts(self) -> list[Any]:
        return [bleu_scorer.cook_refs(texts) for texts in self.words.values()]

    @cached_property
    def cider_counts(self) -> list[Any]:
        return [cider_scorer.cook_refs(texts) for texts in self.words.values()]

    @cached_property
    def document_frequency(self) -> dict[tuple[str, ...], float]:
        scorer = cider_scorer.CiderScorer()
        scorer.crefs = self.cider_counts
        scorer.compute_doc_freq()
        return dict(scorer.document_frequency)


class Metric(NamedTuple):
    """A metric of a scorer.

    Attributes:
        score: from one tokenised caption a video, and the references of the same videos. Raises `Unavailable`, or
            `stg.metrics.java.JavaError`, where there can be no score.
        start: called before all metrics compute, for what takes long to start and needs no waiting.
        close: stops what runs.
    """

    score: Callable[[Mapping[str, str], References], Result]
    start: Callable[[], None] = lambda: None
    close: Callable[[], None] = lambda: None


class _Lexicon:
    """A number for every word, the next free one for a new word; ``separator`` as `str.split` takes it."""

    def __init__(self, separator: str | None) -> None:
        self._separator = separator
        self._numbers: defaultdict[str, int] = defaultdict()
        self._numbers.default_factory = self._numbers.__len__

    def numbers(self, texts: Iterable[str]) -> list[list[int]]:
        number = self._numbers.__getitem__
        return [list(map(number, text.split(self._separator))) if text else [] for text in texts]


def _bleu(captions: Mapping[str, str], references: References) -> Result:
    statistics = references.bleu.statistics(references.lexicon.numbers(captions.values()), range(len(captions)))
    values, scores = statistics.corpus().tolist(), statistics.sentences().T.tolist()
    return {
        name: (value, dict(zip(captions, numbers, strict=True)))
        for name, value, numbers in zip(BLEU, values, scores, strict=True)
    }


def _rouge(captions: Mapping[str, str], references: References) -> Result:
    rouge = references.rouge
    scores = rouge(references.rouge_lexicon.numbers(captions.values()), range(len(captions))).tolist()
    return {"rouge": (_mean(scores), dict(zip(captions, scores, strict=True)))}


def _cider(captions: Mapping[str, str], references: References) -> Result:
    _require_videos(captions)
    cider = references.cider
    scores = cider(references.lexicon.numbers(captions.values()), range(len(captions))).tolist()
    return {"cider": (_mean(scores), dict(zip(captions, scores, strict=True)))}


def _require_videos(captions: Mapping[str, str]) -> None:
    if len(captions) < 2:
        raise Unavailable(
            "undefined for a single video: its idf weighs words by how many videos' references use them; "
            "score two or more"
        )


def _reference_bleu(captions: Mapping[str, str], references: References) -> Result:
    scorer = bleu_scorer.BleuScorer(n=4)
    # Set directly: its own methods would count the references again for every set of captions.
    scorer.crefs = references.bleu_counts
    pairs = zip(captions.values(), scorer.crefs, strict=True)
    scorer.ctest = [bleu_scorer.cook_test(text, counts) for text, counts in pairs]
    values, scores = scorer.compute_score(option="closest", verbose=0)
    return {
        name: (value, dict(zip(captions, numbers, strict=True)))
        for name, value, numbers in zip(BLEU, values, scores, strict=True)
    }


def _reference_rouge(captions: Mapping[str, str], references: References) -> Result:
    rouge = Rouge()
    scores = {}
    for (video, caption), texts in zip(captions.items(), references.words.values(), strict=True):
        # The best reference counts, so that equal ones need one look. Two empty sentences would be a perfect match.
        scores[video] = rouge.calc_score([caption], list(dict.fromkeys(texts))) if caption else 0.0
    return {"rouge": (_mean(list(scores.values())), scores)}


def _reference_cider(captions: Mapping[str, str], references: References) -> Result:
    _require_videos(captions)
    scorer = cider_scorer.CiderScorer(n=4, sigma=6.0)
    scorer.crefs = references.cider_counts
    scorer.ctest = [cider_scorer.cook_test(text) for text in captions.values()]
    scorer.document_frequency.update(references.document_frequency)
    scores = scorer.compute_cider()
    return {"cider": (_mean(scores), dict(zip(captions, scores, strict=True)))}


def _meteor(settings: MetricSettings) -> Metric:
    meteor = Meteor(timeout=settings.timeout)

    def score(captions: Mapping[str, str], references: References) -> Result:
        value, scores = meteor.score(list(captions.values()), list(references.words.values()))
        return {"meteor": (value, dict(zip(captions, scores, strict=True)))}

    return Metric(score, meteor.start, meteor.close)


def _spice(settings: MetricSettings) -> Metric | None:
    if settings.spice is None:
        return None
    spice = Spice(settings.spice)

    def score(captions: Mapping[str, str], references: References) -> Result:
        scores = spice.score(captions, references.words)
        return {"spice": (_mean(list(scores.values())), scores)}

    return Metric(score)


def _mean(scores: Sequence[float]) -> float:
    return float(np.mean(np.array(scores)))


METRICS: dict[str, Callable[[MetricSettings], Metric | None]] = {
    "bleu": lambda settings: Metric(_reference_bleu if settings.reference else _bleu),
    "rouge": lambda settings: Metric(_reference_rouge if settings.reference else _rouge),
    "cider": lambda settings: Metric(_reference_cider if settings.reference else _cider),
    "meteor": _meteor,
    "spice": _spice,
}
"""Name -> what makes the metric of a scorer; None where it is not set up and left out. Scores come in this order."""
