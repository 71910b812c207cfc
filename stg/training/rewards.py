"""Scores of sampled captions, fast enough to train on: CIDEr-D, BLEU-4 and METEOR in any weighted sum."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
from jaxtyping import Float64

from stg.metrics.bleu import SentenceBleu
from stg.metrics.cider import CiderD
from stg.metrics.java import JavaError
from stg.metrics.meteor import Meteor
from stg.text.tokenizer import tokenize_captions
from stg.text.vocabulary import Vocabulary

Scored = Float64[np.ndarray, " N"]


class Pending:
    """Rewards that are being worked out.

    Args:
        ready: what is known already ``[N]``, weighted.
        meteor: METEOR of the same captions, still to come, or None.
        weight: of METEOR.
    """

    def __init__(self, ready: Scored, meteor: "Future[Scored] | None", weight: float) -> None:
        self._ready, self._meteor, self._weight = ready, meteor, weight

    def result(self) -> Scored:
        """The rewards ``[N]``; waits for METEOR.

        Raises:
            JavaError: METEOR failed twice.
        """
        return self._ready if self._meteor is None else self._ready + self._weight * self._meteor.result()


class Rewards:
    """A weighted sum of sentence scores against the training captions (Cherian et al., 2020; Chen et al., 2019).

    Captions and references are compared as word numbers with the end of sentence as their last word, so that a caption
    that breaks off ("a man is playing with a") is told from one that ends. METEOR, which knows no such word, reads
    text; it runs in its Java process beside the caller's work, and no (video, caption) pair is sent to it twice: all
    its scores are kept, about 200 bytes each.

    Args:
        captions: video -> its training captions, as people wrote them; no others, also for CIDEr's document
            frequencies. A video without a caption that holds a word is left out.
        vocabulary: turns captions into numbers, as the model learns them (rare words are one unknown word, long
            captions are cut), and numbers into text. METEOR compares with the whole captions.
        cider, bleu4, meteor: weights. CIDEr-D runs from 0 to 10, the others from 0 to 1.
        timeout: seconds that one batch may take METEOR.

    Raises:
        JavaError: METEOR is asked for and there is no Java.
    """

    def __init__(
        self,
        captions: Mapping[str, Sequence[str]],
        vocabulary: Vocabulary,
        *,
        cider: float = 1.0,
        bleu4: float = 1.0,
        meteor: float = 0.0,
        timeout: float = 300.0,
    ) -> None:
        encoded = {
            video: [words[1:] for text in texts if (words := vocabulary.encode(text))]
            for video, texts in captions.items()
        }
        encoded = {video: several for video, several in encoded.items() if several}
        self._row = {video: row for row, video in enumerate(encoded)}
        references = list(encoded.values())
        self._scorers = [
            (weight, scorer)
            for weight, scorer in ((cider, CiderD(references)), (bleu4, SentenceBleu(references)))
            if weight
        ]
        self._weight, self._vocabulary = meteor, vocabulary
        self._texts = tokenize_captions({video: captions[video] for video in encoded}) if meteor else {}
        self._known: dict[tuple[str, str], float] = {}
        self._meteor = Meteor(timeout=timeout) if meteor else None
        self._beside = ThreadPoolExecutor(1) if meteor else None
        if self._meteor is not None:
            self._meteor.start()

    def start(self, videos: Sequence[str], captions: Sequence[Sequence[int]]) -> Pending:
        """Begin to score captions ``[N]``, each for its video; ask the result when it is needed.

        Args:
            videos: of the references.
            captions: word numbers without bos and pad, with eos where the caption ended.
        """
        rows = [self._row[video] for video in videos]
        meteor = None
        if self._beside is not None:
            texts = [self._vocabulary.decode(caption) for caption in captions]
            meteor = self._beside.submit(self._ask_meteor, list(zip(videos, texts, strict=True)))
        ready = np.zeros(len(captions))
        for weight, scorer in self._scorers:
            ready += weight * scorer(captions, rows)
        return Pending(ready, meteor, self._weight)

    def _ask_meteor(self, pairs: list[tuple[str, str]]) -> Scored:
        assert self._meteor is not None
        unknown = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
        if unknown:
            captions, references = [text for _, text in unknown], [self._texts[video] for video, _ in unknown]
            try:
                _, scores = self._meteor.score(captions, references)
            except JavaError:
                # It keeps nothing between two calls: one that died is started anew, once.
                _, scores = self._meteor.score(captions, references)
            self._known.update(zip(unknown, scores, strict=True))
        return np.array([self._known[pair] for pair in pairs])

    def close(self) -> None:
        """Stop METEOR's Java, if it runs."""
        if self._beside is not None:
            self._beside.shutdown(cancel_futures=True)
        if self._meteor is not None:
            self._meteor.close()

    def __enter__(self) -> "Rewards":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
