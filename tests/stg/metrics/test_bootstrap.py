"""The paired bootstrap over videos (V8): BLEU's counts, the draws, the intervals."""

import numpy as np
import pytest

from stg.metrics.bootstrap import bleu_statistics, corpus_bleu, difference, resampled_scores, resampled_sums
from stg.metrics.scorer import score

WORDS = ["a", "man", "dog", "runs", "is", "the"]


def sentences(seed: int, count: int, longest: int = 9) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(1, longest + 1))) for _ in range(count)]


def corpus(videos: int) -> tuple[list[list[str]], list[list[str]]]:
    """Captions of two runs, and three references of each video."""
    references = [sentences(100 + video, 3) for video in range(videos)]
    return [sentences(1, videos), sentences(2, videos)], references


def test_the_statistics_of_a_caption_by_hand() -> None:
    found = bleu_statistics([["the the dog runs"]], [["the dog runs fast", "the dog runs", "a dog a dog a"]])
    # "the" counts once; "the dog", "dog runs"; "the dog runs"; no four words; of the lengths 3, 4 and 5 the 4 is right.
    assert found.tolist() == [[[3, 2, 1, 0, 4, 3, 2, 1, 4, 4]]]


def test_of_two_equally_close_lengths_the_shorter_counts() -> None:
    assert bleu_statistics([["a b c"]], [["a b c d", "a b"]])[0, 0, -1] == 2


def test_an_empty_caption_has_no_ngrams_and_scores_nothing() -> None:
    found = bleu_statistics([[""]], [["a b"]])
    assert found[0, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 0, 2]
    assert corpus_bleu(found.sum(1))[0] == 0


def test_summed_statistics_give_the_corpus_bleu_of_pycocoevalcap() -> None:
    captions, references = corpus(40)
    found = corpus_bleu(bleu_statistics(captions, references).sum(1))
    for texts, value in zip(captions, found, strict=True):
        named = {str(video): text for video, text in enumerate(texts)}
        known = {str(video): texts for video, texts in enumerate(references)}
        assert value == pytest.approx(score(named, known, metrics=["bleu"]).values["bleu4"], abs=1e-12)


def test_other_numbers_of_captions_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^got 1 captions and references of 2 videos: give one for one$"):
        bleu_statistics([["a"]], [["a"], ["b"]])


def test_draws_equal_a_slow_loop() -> None:
    captions, references = corpus(7)
    statistics = bleu_statistics(captions, references)
    means = np.random.default_rng(5).random((7, 2))
    found = resampled_scores(statistics, means, 12, seed=3)
    random = np.random.default_rng(3)
    for row in found:
        drawn = random.integers(7, size=7)
        corpora = [[texts[video] for video in drawn] for texts in captions]
        again = [
            score(
                {str(place): text for place, text in enumerate(texts)},
                {str(place): references[video] for place, video in enumerate(drawn)},
                metrics=["bleu"],
            ).values["bleu4"]
            for texts in corpora
        ]
        expected = [sum(again) / 2, *(sum(means[video, column] for video in drawn) / 7 for column in range(2))]
        assert row == pytest.approx(expected, abs=1e-12)


def test_blocks_change_no_number_and_the_seed_does() -> None:
    columns = np.random.default_rng(0).random((5, 3))
    whole = resampled_sums(columns, 50, 1)
    assert np.array_equal(resampled_sums(columns, 50, 1, block=17), whole)
    assert not np.array_equal(resampled_sums(columns, 50, 2), whole)


def test_the_interval_and_the_share_by_hand() -> None:
    gained = np.arange(-20.0, 81.0)  # 101 numbers: percentile p is the number p - 20
    found = difference(7.0, gained + 3, np.full(101, 3.0))
    assert (found.value, found.low, found.high) == (7.0, -17.5, 77.5)
    assert found.better == 80 / 101


def test_a_model_is_never_better_than_itself() -> None:
    captions, references = corpus(6)
    scores = resampled_scores(bleu_statistics(captions, references), np.ones((6, 1)), 20, seed=0)
    turned = resampled_scores(bleu_statistics(captions[::-1], references), np.ones((6, 1)), 20, seed=0)
    found = difference(0.0, turned[:, 0], scores[:, 0])
    assert found.better == 0
    assert abs(found.low) < 1e-12


def test_the_interval_covers_the_true_difference_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        gains = random.normal(0.3, 1.0, 60)
        scores = resampled_sums(gains[:, None], 200, seed)[:, 0] / 60
        found = difference(float(gains.mean()), scores, np.zeros(200))
        covered += found.low <= 0.3 <= found.high
    assert 0.89 < covered / 200 <= 0.99
