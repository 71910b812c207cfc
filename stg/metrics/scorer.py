"""BLEU, METEOR, ROUGE-L and CIDEr exactly as the COCO evaluation code computes them."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from pycocoevalcap.bleu import bleu_scorer
from pycocoevalcap.cider import cider_scorer
from pycocoevalcap.rouge.rouge import Rouge

from stg.metrics.bleu import SentenceBleu
from stg.metrics.cider import CiderD
from stg.metrics.java import JavaError, tokenize_captions_java
from stg.metrics.meteor import Meteor
from stg.metrics.ngrams import ReferenceNgrams
from stg.metrics.rouge import RougeL
from stg.metrics.spice import Spice
from stg.runtime.errors import UserError
from stg.text.tokenizer import tokenize_captions

METRICS = ("bleu", "meteor", "rouge", "cider", "spice")
BLEU = ("bleu1", "bleu2", "bleu3", "bleu4")
_EXAMPLES = 5


@dataclass(frozen=True)
class Scores:
    """Scores of one set of captions, as fractions (papers print them times 100).

    Args:
        values: corpus scores: bleu1 to bleu4, meteor, rouge, cider (up to 10). What could not be computed is not there.
        per_video: the same for each video alone; the corpus BLEU and METEOR are not their means.
        unavailable: metric -> why it is not in ``values``.
        videos: how many videos were scored.
        empty: videos whose caption holds no word; they count as wrong answers.
        without_prediction: videos with references only, left out (``partial``).
        without_reference: videos with a prediction only, left out (``partial``).
    """

    values: dict[str, float]
    per_video: dict[str, dict[str, float]]
    unavailable: dict[str, str]
    videos: int
    empty: tuple[str, ...] = ()
    without_prediction: tuple[str, ...] = ()
    without_reference: tuple[str, ...] = ()


class Scorer:
    """Scores many sets of captions against the same references, which are tokenised and counted once.

    The numbers are those of pycocoevalcap's own scorers (Chen et al. 2015, arXiv:1504.00325; its CIDEr is CIDEr-D, its
    BLEU takes the closest reference length), computed many at once: BLEU and ROUGE-L are equal to the last bit, CIDEr
    within rounding. Two empty sentences, a perfect match to that code's ROUGE-L, count as wrong here. CIDEr's idf comes
    from the references of the scored videos, so that scores on different sets of videos do not compare. Close it, or
    leave a ``with`` block, to stop METEOR's Java.

    Args:
        references: video -> its captions, as people wrote them.
        tokenizer: ``python``, or ``java`` for the program that ours imitates.
        timeout: seconds for each use of Java.
        reference: leave the arithmetic to pycocoevalcap itself, which is slow; with ``tokenizer="java"`` nothing of
            ours takes part. To check ours against.
        spice: folder with SPICE's files (`stg.metrics.spice.FILES`); without it there is no SPICE.

    Raises:
        UserError: no video, a video without a caption that holds a word, or something else than text.
        JavaError: ``tokenizer="java"`` and Java does not run.
    """

    def __init__(
        self,
        references: Mapping[str, Sequence[str]],
        *,
        tokenizer: Literal["python", "java"] = "python",
        timeout: float = 300.0,
        reference: bool = False,
        spice: str | Path | None = None,
    ) -> None:
        if tokenizer not in ("python", "java"):
            raise UserError(f"no tokenizer {tokenizer!r}: choose python or java")
        if not references:
            raise UserError("there is no video to score: the references are empty")
        for video, texts in references.items():
            if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
                raise UserError(f"the references of video {video!r} must be a list of sentences, got {texts!r:.80}")
        self._java = tokenizer == "java"
        self._metrics = _REFERENCE if reference else _OURS
        self._timeout = timeout
        self._spice = Spice(spice) if spice is not None else None
        self._references = _References(self._tokenized(references))
        self._meteor = Meteor(timeout=timeout)

    def score(
        self, predictions: Mapping[str, str], *, metrics: Sequence[str] = METRICS, partial: bool = False
    ) -> Scores:
        """Score one caption a video.

        Args:
            predictions: video -> caption, for the same videos as the references.
            metrics: which of ``METRICS``.
            partial: score the videos that both sides have, and list the others in the result.

        Returns:
            what could be computed; a metric that cannot be, for want of Java or of a second video, says why.

        Raises:
            UserError: an unknown metric; other videos than the references (without ``partial``), or none in common.
        """
        if unknown := [metric for metric in metrics if metric not in METRICS]:
            raise UserError(f"no metric {', '.join(map(repr, unknown))}: choose among {', '.join(METRICS)}")
        for video, caption in predictions.items():
            if not isinstance(caption, str):
                raise UserError(f"the prediction of video {video!r} must be one sentence, got {caption!r:.80}")
        missing = tuple(video for video in self._references.words if video not in predictions)
        extra = tuple(video for video in predictions if video not in self._references.words)
        if (missing or extra) and not partial:
            raise UserError(f"{_difference(missing, extra)}: score those that have both with partial (--partial)")
        references = self._references.without(missing)
        if not references.words:
            raise UserError(f"no video has both a prediction and a reference: {_difference(missing, extra)}")

        words = self._tokenized({video: [predictions[video]] for video in references.words})
        captions = {video: texts[0] for video, texts in words.items()}
        found = _Found()
        meteor = "meteor" in metrics and self._meteor_started(found)
        for metric, compute in self._metrics.items():
            if metric in metrics:
                compute(captions, references, found)
        if meteor:
            self._add_meteor(captions, references, found)
        if "spice" in metrics and self._spice is not None:
            self._add_spice(self._spice, captions, references, found)
        return Scores(
            values=found.values,
            per_video={video: dict(found.per_video[video]) for video in captions},
            unavailable=found.unavailable,
            videos=len(captions),
            empty=tuple(video for video, caption in captions.items() if not caption),
            without_prediction=missing,
            without_reference=extra,
        )

    def _tokenized(self, captions: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        return tokenize_captions_java(captions, timeout=self._timeout) if self._java else tokenize_captions(captions)

    def _meteor_started(self, found: "_Found") -> bool:
        try:
            self._meteor.start()
        except JavaError as error:
            found.unavailable["meteor"] = str(error)
            return False
        return True

    def _add_meteor(self, captions: Mapping[str, str], references: "_References", found: "_Found") -> None:
        try:
            score, scores = self._meteor.score(list(captions.values()), list(references.words.values()))
        except JavaError as error:
            found.unavailable["meteor"] = str(error)
            return
        found.add("meteor", score, dict(zip(captions, scores, strict=True)))

    def _add_spice(self, spice: Spice, captions: Mapping[str, str], references: "_References", found: "_Found") -> None:
        try:
            scores = spice.score(captions, references.words)
        except JavaError as error:
            found.unavailable["spice"] = str(error)
            return
        found.add("spice", _mean(list(scores.values())), scores)

    def close(self) -> None:
        """Stop METEOR's Java, if it runs."""
        self._meteor.close()

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def score(
    predictions: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    metrics: Sequence[str] = METRICS,
    partial: bool = False,
    tokenizer: Literal["python", "java"] = "python",
    timeout: float = 300.0,
    reference: bool = False,
) -> Scores:
    """Score one set of captions: :class:`Scorer` for a single use."""
    with Scorer(references, tokenizer=tokenizer, timeout=timeout, reference=reference) as scorer:
        return scorer.score(predictions, metrics=metrics, partial=partial)


class _References:
    """Tokenised references and the counts that do not depend on predictions."""

    def __init__(self, words: dict[str, list[str]]) -> None:
        for video, texts in words.items():
            if not any(texts):
                raise UserError(f"video {video!r} has no reference with a word in it: add one, or leave the video out")
        self.words = words

    def without(self, missing: Sequence[str]) -> "_References":
        if not missing:
            return self
        left_out = set(missing)
        return _References({video: texts for video, texts in self.words.items() if video not in left_out})

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


@dataclass
class _Found:
    values: dict[str, float] = field(default_factory=dict)
    per_video: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    unavailable: dict[str, str] = field(default_factory=dict)

    def add(self, metric: str, value: float, scores: Mapping[str, float]) -> None:
        self.values[metric] = float(value)
        for video, number in scores.items():
            self.per_video[video][metric] = float(number)


class _Lexicon:
    """A number for every word, the next free one for a new word; ``separator`` as `str.split` takes it."""

    def __init__(self, separator: str | None) -> None:
        self._separator = separator
        self._numbers: defaultdict[str, int] = defaultdict()
        self._numbers.default_factory = self._numbers.__len__

    def numbers(self, texts: Iterable[str]) -> list[list[int]]:
        number = self._numbers.__getitem__
        return [list(map(number, text.split(self._separator))) if text else [] for text in texts]


def _bleu(captions: Mapping[str, str], references: _References, found: _Found) -> None:
    statistics = references.bleu.statistics(references.lexicon.numbers(captions.values()), range(len(captions)))
    values, scores = statistics.corpus().tolist(), statistics.sentences().T.tolist()
    for name, value, numbers in zip(BLEU, values, scores, strict=True):
        found.add(name, value, dict(zip(captions, numbers, strict=True)))


def _rouge(captions: Mapping[str, str], references: _References, found: _Found) -> None:
    rouge = references.rouge
    scores = rouge(references.rouge_lexicon.numbers(captions.values()), range(len(captions))).tolist()
    found.add("rouge", _mean(scores), dict(zip(captions, scores, strict=True)))


def _cider(captions: Mapping[str, str], references: _References, found: _Found) -> None:
    if _lacks_videos(captions, found):
        return
    cider = references.cider
    scores = cider(references.lexicon.numbers(captions.values()), range(len(captions))).tolist()
    found.add("cider", _mean(scores), dict(zip(captions, scores, strict=True)))


def _lacks_videos(captions: Mapping[str, str], found: _Found) -> bool:
    if len(captions) < 2:
        found.unavailable["cider"] = (
            "undefined for a single video: its idf weighs words by how many videos' references use them; "
            "score two or more"
        )
    return len(captions) < 2


def _reference_bleu(captions: Mapping[str, str], references: _References, found: _Found) -> None:

    scorer = bleu_scorer.BleuScorer(n=4)
    scorer.crefs = references.bleu_counts
    pairs = zip(captions.values(), scorer.crefs, strict=True)
    scorer.ctest = [bleu_scorer.cook_test(text, counts) for text, counts in pairs]
    values, scores = scorer.compute_score(option="closest", verbose=0)
    for name, value, numbers in zip(BLEU, values, scores, strict=True):
        found.add(name, value, dict(zip(captions, numbers, strict=True)))


def _reference_rouge(captions: Mapping[str, str], references: _References, found: _Found) -> None:

    rouge = Rouge()
    scores = {}
    for (video, caption), texts in zip(captions.items(), references.words.values(), strict=True):
        # The best reference counts, so that equal ones need one look. Two empty sentences would be a perfect match.
        scores[video] = rouge.calc_score([caption], list(dict.fromkeys(texts))) if caption else 0.0
    found.add("rouge", _mean(list(scores.values())), scores)


def _reference_cider(captions: Mapping[str, str], references: _References, found: _Found) -> None:

    if _lacks_videos(captions, found):
        return
    scorer = cider_scorer.CiderScorer(n=4, sigma=6.0)
    scorer.crefs = references.cider_counts
    scorer.ctest = [cider_scorer.cook_test(text) for text in captions.values()]
    scorer.document_frequency.update(references.document_frequency)
    scores = scorer.compute_cider()
    found.add("cider", _mean(scores), dict(zip(captions, scores, strict=True)))


_OURS = {"bleu": _bleu, "rouge": _rouge, "cider": _cider}
_REFERENCE = {"bleu": _reference_bleu, "rouge": _reference_rouge, "cider": _reference_cider}


def _mean(scores: Sequence[float]) -> float:

    return float(np.mean(np.array(scores)))


def _difference(missing: Sequence[str], extra: Sequence[str]) -> str:
    parts = []
    for videos, lack in ((missing, "no prediction"), (extra, "no reference")):
        if videos:
            names = ", ".join(map(repr, videos[:_EXAMPLES])) + (", ..." if len(videos) > _EXAMPLES else "")
            parts.append(f"{len(videos)} video{'s have' if len(videos) > 1 else ' has'} {lack} ({names})")
    return " and ".join(parts)
