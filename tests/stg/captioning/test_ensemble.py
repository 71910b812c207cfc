"""Late fusion: which of several models' captions is taken, and whose words may be averaged."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from graphs import GraphStore
from stg.captioning.ensemble import Embedding, Member, check_vocabularies, pool, rerank, similarities
from stg.models.generation import Caption
from stg.runtime.errors import UserError
from stg.text.vocabulary import Vocabulary


class Oracle:
    """Knows what is to be seen in each video."""

    def __init__(self, truth: Mapping[str, str]) -> None:
        self.truth = truth

    def similarity(
        self, store: Any, candidates: Mapping[str, Sequence[str]], device: torch.device | str
    ) -> dict[str, list[float]]:
        return {
            video: [1.0 if text == self.truth[video] else -0.5 for text in texts] for video, texts in candidates.items()
        }


def said(**captions: dict[str, float]) -> dict[str, list[Caption]]:
    """Video -> captions of four words with their log-probability."""
    return {video: [Caption(text, log_prob, 4) for text, log_prob in each.items()] for video, each in captions.items()}


TEMPORAL = said(
    a={"a man cooks": -2.0, "a man sings": -4.0}, b={"a dog runs": -1.0}, c={"a car": -3.0, "a red car": -2.0}
)
SPATIAL = said(a={"a man sings": -1.0, "a man sleeps": -0.4}, b={"a cat runs": -8.0})
TRUTH = {"a": "a man sings", "b": "a cat runs", "c": "a car"}


def test_an_oracle_picks_the_caption_that_matches() -> None:
    pooled = pool([TEMPORAL, SPATIAL])
    oracle = Oracle(TRUTH)
    assert isinstance(oracle, Embedding)
    cosines = similarities(oracle, Store("abc"), pooled, "cpu")
    best = rerank(pooled, cosines)
    assert {video: one.text for video, one in best.items()} == TRUTH
    # The text that both offer is believed as its better model does, and is that model's.
    assert best["a"] == Caption("a man sings", -1.0, 4, member=1)
    assert best["c"].member == 0


class Store(GraphStore):
    """A store of which only the keys are asked for."""

    def __init__(self, videos: str) -> None:
        self.held = videos

    def __contains__(self, video: object) -> bool:
        return video in tuple(self.held)

    def close(self) -> None:
        pass


def test_the_order_of_candidates_and_beams_does_not_matter() -> None:
    shuffled = random.Random(0)
    expected = rerank(pool([TEMPORAL, SPATIAL]), {"a": [0.1, 0.1, 0.1]})
    assert expected["a"].text == "a man sleeps"
    for _ in range(5):
        orders = [
            {video: shuffled.sample(each, len(each)) for video, each in captions.items()}
            for captions in (TEMPORAL, SPATIAL)
        ]
        assert pool(orders) == pool([TEMPORAL, SPATIAL])
        swapped = rerank(pool(orders[::-1]), {"a": [0.1, 0.1, 0.1]})
        assert {video: one.text for video, one in swapped.items()} == {v: one.text for v, one in expected.items()}
    for offered in ([0, 1, 2], [2, 0, 1]):
        three = [Caption(text, -1.0, 1, member=0) for text in ("x", "y", "z")]
        assert rerank({"v": [three[at] for at in offered]}, {"v": [0.5] * 3})["v"].text == "x"


def test_of_equal_cosines_the_likelier_caption_is_taken_and_the_mix_weighs_it() -> None:
    offered = {"v": [Caption("near", -3.0, 1, member=0), Caption("likely", -1.0, 1, member=1)]}
    assert rerank(offered, {"v": [0.5, 0.5]})["v"].text == "likely"
    assert rerank(offered, {"v": [0.9, 0.5]})["v"].text == "near"
    assert rerank(offered, {"v": [0.9, 0.5]}, mix=0.19)["v"].text == "near"  # 0.9 - 0.57 > 0.5 - 0.19
    assert rerank(offered, {"v": [0.9, 0.5]}, mix=0.21)["v"].text == "likely"


def test_a_video_without_features_gets_its_likeliest_caption() -> None:
    pooled = pool([TEMPORAL, SPATIAL])
    cosines = similarities(Oracle(TRUTH), Store("a"), pooled, "cpu")
    assert set(cosines) == {"a"}
    best = rerank(pooled, cosines)
    assert [best[video].text for video in "abc"] == ["a man sings", "a dog runs", "a red car"]
    assert similarities(Oracle(TRUTH), Store(""), pooled, "cpu") == {}


def test_captions_without_words_are_none() -> None:
    pooled = pool([said(a={"": -0.1, "a man": -5.0}, b={"": -0.1}), {}])
    assert pooled == {"a": [Caption("a man", -5.0, 4, member=0)]}
    assert pool([]) == {}


@pytest.mark.parametrize("cosines", [[0.5], [0.5, float("nan"), 0.5]])
def test_cosines_that_do_not_fit_are_refused(cosines: list[float]) -> None:
    with pytest.raises(ValueError, match="the embedding's cosines of video 'a' do not fit its candidates"):
        rerank(pool([TEMPORAL, SPATIAL]), {"a": cosines})


class Speaker:
    """As much of a trained model as its words."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary


def member(name: str, words: str) -> Any:
    made = object.__new__(Member)
    object.__setattr__(made, "name", name)
    object.__setattr__(made, "trained", Speaker(Vocabulary.build([words], min_count=1)))
    return made


def test_unlike_vocabularies_are_not_averaged() -> None:
    check_vocabularies([member("one", "a b c"), member("two", "c b a")])
    words = r"one and three were trained with unlike vocabularies \(7 and 6 words\).*use --method rerank, or train"
    with pytest.raises(UserError, match=words):
        check_vocabularies([member("one", "a b c"), member("two", "c b a"), member("three", "a b")])
