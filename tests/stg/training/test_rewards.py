"""Rewards as weighted sums, METEOR beside other work and no pair twice (S22, S23, V7)."""

import threading
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from stg.metrics.bleu import SentenceBleu
from stg.metrics.cider import CiderD
from stg.metrics.java import JavaError
from stg.metrics.ngrams import ReferenceNgrams
from stg.text.vocabulary import EOS, SPECIAL, UNK, Vocabulary
from stg.training import rewards as module
from stg.training.rewards import Rewards

VOCABULARY = Vocabulary((*SPECIAL, "a", "man", "runs", "dog", "with"))
REFERENCES = {
    "one": ["A man runs.", "a man with a dog runs"],
    "two": ["a dog runs"],
    "nothing": ["..."],
    "three": ["man man sleeps"],
}
CAPTIONS = [[4, 5, 6, EOS], [4, 7, 6, EOS], [4, 5, 8, 4]]


class FakeMeteor:
    """Scores by length, and keeps every question."""

    instances: ClassVar[list["FakeMeteor"]] = []

    def __init__(self, *, timeout: float) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.started = self.closed = False
        self.failures = 0
        FakeMeteor.instances.append(self)

    def start(self) -> None:
        self.started = True

    def score(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
        if self.failures:
            self.failures -= 1
            raise JavaError("METEOR's Java program ended")
        self.asked += [(caption, tuple(texts)) for caption, texts in zip(captions, references, strict=True)]
        return 0.0, [len(caption) / 100 for caption in captions]

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def meteor(monkeypatch: pytest.MonkeyPatch) -> list[FakeMeteor]:
    FakeMeteor.instances = []
    monkeypatch.setattr(module, "Meteor", FakeMeteor)
    return FakeMeteor.instances


def test_references_are_counted_once_for_all_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[ReferenceNgrams]()
    monkeypatch.setattr(module, "ReferenceNgrams", lambda words: made.append(ReferenceNgrams(words)) or made[-1])
    with Rewards(REFERENCES, VOCABULARY) as rewards:
        found = rewards.start(["one"], CAPTIONS[:1]).result()
    assert len(made) == 1
    words = [[VOCABULARY.encode(text)[1:] for text in REFERENCES[video]] for video in ("one", "two", "three")]
    alone = [make(words)(CAPTIONS[:1], [0]) for make in (CiderD, SentenceBleu)]
    assert found.tolist() == sum(alone).tolist()


def test_a_reward_is_the_weighted_sum_of_its_scores(meteor: list[FakeMeteor]) -> None:
    # As the model learns them: the last word of the last one is unknown.
    references = [[[4, 5, 6, EOS], [4, 5, 8, 4, 7, 6, EOS]], [[4, 7, 6, EOS]], [[5, 5, UNK, EOS]]]
    cider, bleu = CiderD(references)(CAPTIONS, [0, 1, 0]), SentenceBleu(references)(CAPTIONS, [0, 1, 0])
    with Rewards(REFERENCES, VOCABULARY, cider=0.5, bleu4=2.0, meteor=3.0) as rewards:
        found = rewards.start(["one", "two", "one"], CAPTIONS).result()
    lengths = np.array([len("a man runs"), len("a dog runs"), len("a man with a")])
    np.testing.assert_allclose(found, 0.5 * cider + 2 * bleu + 3 * lengths / 100, rtol=0, atol=1e-12)
    assert cider.max() > 1 > bleu.max() > 0


def test_the_end_of_the_sentence_counts() -> None:
    with Rewards(REFERENCES, VOCABULARY, cider=1.0, bleu4=1.0) as rewards:
        ended, broken = rewards.start(["two", "two"], [[4, 7, 6, EOS], [4, 7, 6]]).result()
    assert ended > broken + 0.5


def test_meteor_is_asked_no_pair_twice(meteor: list[FakeMeteor]) -> None:
    with Rewards(REFERENCES, VOCABULARY, cider=0.0, bleu4=0.0, meteor=1.0) as rewards:
        first = rewards.start(["one", "two", "one", "one"], [CAPTIONS[0], CAPTIONS[0], CAPTIONS[0], CAPTIONS[2]])
        second = rewards.start(["one", "two"], [CAPTIONS[0], CAPTIONS[1]])
        np.testing.assert_allclose(first.result(), [0.1, 0.1, 0.1, 0.12])
        np.testing.assert_allclose(second.result(), [0.1, 0.1])
    (used,) = meteor
    texts = ("a man runs", "a man with a dog runs")
    assert used.asked == [
        ("a man runs", texts),
        ("a man runs", ("a dog runs",)),
        ("a man with a", texts),
        ("a dog runs", ("a dog runs",)),
    ]
    assert used.started
    assert used.closed


def test_meteor_reads_the_captions_as_they_were_written(meteor: list[FakeMeteor]) -> None:
    with Rewards(REFERENCES, VOCABULARY, meteor=1.0) as rewards:
        rewards.start(["three"], [CAPTIONS[0]]).result()
    assert meteor[0].asked == [("a man runs", ("man man sleeps",))]


def test_meteor_works_beside_the_caller(meteor: list[FakeMeteor], monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, ask = threading.Event(), FakeMeteor.score

    def wait(self: FakeMeteor, *questions: Any) -> tuple[float, list[float]]:
        assert go_on.wait(20)
        return ask(self, *questions)

    monkeypatch.setattr(FakeMeteor, "score", wait)
    with Rewards(REFERENCES, VOCABULARY, cider=0.0, bleu4=0.0, meteor=1.0) as rewards:
        pending = rewards.start(["one"], [CAPTIONS[0]])
        go_on.set()  # never reached, if starting waited for the answer
        np.testing.assert_allclose(pending.result(), [0.1])


def test_meteor_that_died_is_asked_once_more(meteor: list[FakeMeteor]) -> None:
    with Rewards(REFERENCES, VOCABULARY, cider=0.0, bleu4=0.0, meteor=1.0) as rewards:
        meteor[0].failures = 1
        np.testing.assert_allclose(rewards.start(["two"], [CAPTIONS[1]]).result(), [0.1])
        meteor[0].failures = 2
        with pytest.raises(JavaError, match="ended"):
            rewards.start(["three"], [CAPTIONS[1]]).result()


def test_no_java_is_started_where_meteor_is_not_asked_for(meteor: list[FakeMeteor]) -> None:
    with Rewards(REFERENCES, VOCABULARY) as rewards:
        rewards.start(["one"], [CAPTIONS[0]]).result()
    assert not meteor
