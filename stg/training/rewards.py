"""Scores of sampled captions, fast enough to train on: CIDEr-D, BLEU-4 and METEOR in any weighted sum."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64

from stg.metrics.bleu import SentenceBleu
from stg.metrics.cider import CiderD
from stg.metrics.java import JavaError
from stg.metrics.meteor import Meteor
from stg.metrics.ngrams import ReferenceNgrams
from stg.runtime.errors import StgError
from stg.text.tokenizer import tokenize_captions
from stg.text.vocabulary import Vocabulary

Scored = Float64[np.ndarray, " N"]


@runtime_checkable
class Pending(Protocol):
    """Rewards that may still be worked out, such as a `concurrent.futures.Future`."""

    def result(self) -> Scored:
        """The rewards ``[N]``; waits for them."""
        ...


def ready(values: Scored) -> "Future[Scored]":
    """Rewards that are there already."""
    future: Future[Scored] = Future()
    future.set_result(values)
    return future


@dataclass(frozen=True)
class References:
    """What sampled captions are rewarded against: the captions of the training videos, and no others.

    Attributes:
        texts: video -> its captions, as people wrote them.
        words: the same as the model learns them, by numbers, with the end of the sentence as the last one.
        vocabulary: turns texts into numbers and numbers into text.
        timeout: seconds that one batch may take another program.
    """

    texts: Mapping[str, Sequence[str]]
    words: Mapping[str, Sequence[Sequence[int]]]
    vocabulary: Vocabulary
    timeout: float = 300.0

    @cached_property
    def grams(self) -> ReferenceNgrams:
        """The n-grams of ``words``, counted once for all scores that compare them: they are most of the memory."""
        return ReferenceNgrams(list(self.words.values()))


@runtime_checkable
class Reward(Protocol):
    """One score that captions are rewarded by."""

    def start(self, videos: Sequence[str], captions: Sequence[Sequence[int]]) -> Pending:
        """Begin to score captions ``[N]`` (word numbers, with eos where a caption ended), each for its video."""
        ...

    def close(self) -> None:
        """End whatever was started for it."""
        ...


class WordScore:
    """A reward from a score that compares word numbers, at once.

    Args:
        scorer: made with the n-grams of the references of all videos; called with captions and the rows of their
            videos.
    """

    def __init__(
        self,
        references: References,
        scorer: Callable[[ReferenceNgrams], Callable[[Sequence[Sequence[int]], Sequence[int]], Scored]],
    ) -> None:
        self._row = {video: row for row, video in enumerate(references.words)}
        self._scorer = scorer(references.grams)

    def start(self, videos: Sequence[str], captions: Sequence[Sequence[int]]) -> Pending:
        return ready(self._scorer(captions, [self._row[video] for video in videos]))

    def close(self) -> None:
        pass


class MeteorScore:
    """METEOR as a reward. It reads text, in its Java process, while the caller works.

    No (video, caption) pair is sent to it twice: all its scores are kept, about 200 bytes each.

    Raises:
        JavaError: there is no Java.
    """

    def __init__(self, references: References) -> None:
        self._vocabulary = references.vocabulary
        self._texts = tokenize_captions({video: references.texts[video] for video in references.words})
        self._known: dict[tuple[str, str], float] = {}
        self._meteor, self._thread = Meteor(timeout=references.timeout), ThreadPoolExecutor(1)
        self._meteor.start()

    def start(self, videos: Sequence[str], captions: Sequence[Sequence[int]]) -> "Future[Scored]":
        texts = [self._vocabulary.decode(caption) for caption in captions]
        return self._thread.submit(self._ask, list(zip(videos, texts, strict=True)))

    def _ask(self, pairs: list[tuple[str, str]]) -> Scored:
        # Samples repeat as the model grows sure of itself: a known score saves a call of Java.
        unknown = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
        if unknown:
            captions, references = [text for _, text in unknown], [self._texts[video] for video, _ in unknown]
            try:
                _, scores = self._meteor.score(captions, references)
            except JavaError:
                # It keeps nothing between two calls: one that died is started again, once.
                _, scores = self._meteor.score(captions, references)
            self._known.update(zip(unknown, scores, strict=True))
        return np.array([self._known[pair] for pair in pairs])

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)
        self._meteor.close()


REWARDS: dict[str, Callable[[References], Reward]] = {
    "cider": lambda references: WordScore(references, CiderD),
    "bleu4": lambda references: WordScore(references, SentenceBleu),
    "meteor": MeteorScore,
}
"""Name -> what makes a reward. CIDEr-D runs from 0 to 10, the others from 0 to 1."""


class Rewards:
    """A weighted sum of sentence scores against the training captions (Cherian et al., 2020; Chen et al., 2019).

    Captions and references are compared as word numbers with the end of sentence as their last word, so that a caption
    that breaks off ("a man is playing with a") is distinguished from one that ends. METEOR knows no such word.

    Args:
        captions: video -> its training captions, as people wrote them; no others, also for CIDEr's document
            frequencies. A video without a caption that holds a word is left out.
        vocabulary: turns captions into numbers, as the model learns them (rare words are one unknown word, long
            captions are cut), and numbers into text. METEOR compares with the whole captions.
        timeout: seconds that one batch may take METEOR.
        weights: of the scores in `REWARDS`; without any, CIDEr-D and BLEU-4 count once each.

    Raises:
        JavaError: METEOR is asked for and there is no Java.
    """

    def __init__(
        self,
        captions: Mapping[str, Sequence[str]],
        vocabulary: Vocabulary,
        *,
        timeout: float = 300.0,
        **weights: float,
    ) -> None:
        # Without the mark at the start, which no drawn caption holds, and with the one at the end.
        encoded = {
            video: [words[1:] for text in texts if (words := vocabulary.encode(text))]
            for video, texts in captions.items()
        }
        references = References(
            captions, {v: several for v, several in encoded.items() if several}, vocabulary, timeout
        )
        # Equal weights are the default for those not named; a reward at 0 is never made, so METEOR at 0 starts no Java.
        weights = {"cider": 1.0, "bleu4": 1.0, **weights}
        self._parts = [(name, weight, REWARDS[name](references)) for name, weight in weights.items() if weight]

    def start(self, videos: Sequence[str], captions: Sequence[Sequence[int]]) -> Pending:
        """Begin to score captions ``[N]``, each for its video; ask for the result when it is needed.

        Args:
            videos: of the references.
            captions: word numbers without bos and pad, with eos where the caption ended.
        """
        # The last first: METEOR works while the others are scored.
        parts = [(name, weight, reward.start(videos, captions)) for name, weight, reward in reversed(self._parts)]
        return _Sum(len(captions), parts[::-1])

    def close(self) -> None:
        """Stop METEOR's Java, if it runs."""
        for _, _, reward in self._parts:
            reward.close()

    def __enter__(self) -> "Rewards":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Sum:
    """A weighted sum of rewards that are being worked out."""

    def __init__(self, count: int, parts: Sequence[tuple[str, float, Pending]]) -> None:
        self._count, self._parts = count, parts

    def result(self) -> Scored:
        total = np.zeros(self._count)
        for name, weight, pending in self._parts:
            values = np.asarray(pending.result())
            # A single number would count for all captions, and the blame for NaN would fall on the step size.
            if values.shape != total.shape or not np.isfinite(values).all():
                raise StgError(
                    f"the reward {name!r} must give one finite number for each of {len(total)} captions; got an array "
                    f"of shape {values.shape}{'' if values.shape != total.shape else ' with NaN or infinite values'}"
                )
            total = total + weight * values
        return total
