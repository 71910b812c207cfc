"""BLEU, METEOR, ROUGE-L and CIDEr exactly as the COCO evaluation code computes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from stg.config.plugins import near
from stg.metrics.java import JavaError, tokenize_captions_java
from stg.metrics.measures import METRICS, MetricSettings, References, Unavailable
from stg.runtime.errors import UserError
from stg.runtime.reading import counted
from stg.text.tokenizer import tokenize_captions

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
        tokenizer: ``python``, or ``java`` for the program that it imitates.
        timeout: seconds for each use of Java.
        reference: leave the arithmetic to pycocoevalcap itself, which is slow; with ``tokenizer="java"`` no code
            of this project takes part. To check its scores against.
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
        self._timeout = timeout
        # What is not set up, as SPICE without its files, is None and left out.
        made = {name: make(MetricSettings(reference, timeout, spice)) for name, make in METRICS.items()}
        self._metrics = {name: metric for name, metric in made.items() if metric is not None}
        self._references = References(self._tokenized(references))

    def score(
        self, predictions: Mapping[str, str], *, metrics: Sequence[str] | None = None, partial: bool = False
    ) -> Scores:
        """Score one caption a video.

        Args:
            predictions: video -> caption, for the same videos as the references.
            metrics: which of ``METRICS``; None: all.
            partial: score the videos that both sides have, and list the others in the result.

        Returns:
            what could be computed; a metric that cannot be, for want of Java or of a second video, says why.

        Raises:
            UserError: an unknown metric; other videos than the references (without ``partial``), or none in common.
        """
        if metrics is None:
            metrics = tuple(METRICS)
        if unknown := [metric for metric in metrics if metric not in METRICS]:
            raise UserError(
                f"no metric {', '.join(map(repr, unknown))}: choose among {', '.join(METRICS)}"
                f"{near(unknown[0], METRICS)} (plugins add others)"
            )
        for video, caption in predictions.items():
            if not isinstance(caption, str):
                raise UserError(f"the prediction of video {video!r} must be one sentence, got {caption!r:.80}")
        # A score over fewer videos is another score: it must be asked for, and is reported with the lists.
        missing = tuple(video for video in self._references.words if video not in predictions)
        extra = tuple(video for video in predictions if video not in self._references.words)
        if (missing or extra) and not partial:
            raise UserError(f"{_difference(missing, extra)}: score those that have both with partial (--partial)")
        references = self._references.without(missing)
        if not references.words:
            raise UserError(f"no video has both a prediction and a reference: {_difference(missing, extra)}")

        words = self._tokenized({video: [predictions[video]] for video in references.words})
        captions = {video: texts[0] for video, texts in words.items()}
        values, per_video, unavailable = self._computed(captions, references, metrics)
        return Scores(
            values=values,
            per_video=per_video,
            unavailable=unavailable,
            videos=len(captions),
            empty=tuple(video for video, caption in captions.items() if not caption),
            without_prediction=missing,
            without_reference=extra,
        )

    def _computed(
        self, captions: Mapping[str, str], references: References, metrics: Sequence[str]
    ) -> tuple[dict[str, float], dict[str, dict[str, float]], dict[str, str]]:
        """Values, values of each video, and why others are missing."""
        values: dict[str, float] = {}
        per_video: dict[str, dict[str, float]] = {video: {} for video in captions}
        unavailable: dict[str, str] = {}
        chosen = {name: metric for name, metric in self._metrics.items() if name in metrics}
        # Java loads its tables while the others compute.
        for name, metric in chosen.items():
            try:
                metric.start()
            except JavaError as error:
                unavailable[name] = str(error)
        for name, metric in chosen.items():
            if name in unavailable:
                continue
            try:
                result = metric.score(captions, references)
            except (JavaError, Unavailable) as error:
                unavailable[name] = str(error)
                continue
            for score_name, (value, scores) in result.items():
                values[score_name] = float(value)
                for video, number in scores.items():
                    per_video[video][score_name] = float(number)
        return values, per_video, unavailable

    def _tokenized(self, captions: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        return tokenize_captions_java(captions, timeout=self._timeout) if self._java else tokenize_captions(captions)

    def close(self) -> None:
        """Stop METEOR's Java, if it runs."""
        for metric in self._metrics.values():
            metric.close()

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
    metrics: Sequence[str] | None = None,
    partial: bool = False,
    tokenizer: Literal["python", "java"] = "python",
    timeout: float = 300.0,
    reference: bool = False,
) -> Scores:
    """Score one set of captions: :class:`Scorer` for a single use."""
    with Scorer(references, tokenizer=tokenizer, timeout=timeout, reference=reference) as scorer:
        return scorer.score(predictions, metrics=metrics, partial=partial)


def _difference(missing: Sequence[str], extra: Sequence[str]) -> str:
    parts = []
    for videos, lack in ((missing, "no prediction"), (extra, "no reference")):
        if videos:
            names = ", ".join(map(repr, videos[:_EXAMPLES])) + (", ..." if len(videos) > _EXAMPLES else "")
            parts.append(f"{counted(len(videos), 'video', 'has', 'have')} {lack} ({names})")
    return " and ".join(parts)
