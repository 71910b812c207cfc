"""Settings of searches: what is refused, what they are called, which endings are broken (S22, S25)."""

from typing import Any

import pytest

from stg.config.search import SearchConfig, as_usual, with_shorthands
from stg.text.words import BROKEN_ENDINGS, broken_endings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"beam": 0}, "beam must be at least 1; got 0"),
        ({"min_length": 0}, "min_length must be at least 1; got 0"),
        ({"max_length": 0}, "max_length must be at least 1; got 0"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram must be 0 or more; got -1"),
        ({"length_penalty": float("nan")}, "length_penalty must be 0 or more; got nan"),
        ({"method": "sample", "temperature": 0.0}, "temperature must be above 0; got 0.0"),
        ({"method": "sample", "top_p": 1.5}, "top_p must lie above 0 and be at most 1; got 1.5"),
        ({"method": "sample", "length_penalty": 1.0}, "length_penalty is for the search method beam or diverse, and"),
        ({"temperature": 0.5}, "temperature is for the search method sample or mbr, and the method is beam"),
        ({"groups": 1}, "groups is for the search method diverse, and the method is beam"),
        ({"method": "greedy", "n_best": 2}, "n_best is for the search method beam or diverse or sample or mbr, and"),
        ({"method": "diverse", "beam": 6}, "groups=5 must divide beam=6"),
        ({"n_best": 6}, "n_best=6 must be at most beam=5"),
        ({"method": "mbr", "samples": 4, "n_best": 5}, "n_best=5 must be at most samples=4"),
        ({"word_weight": -0.1}, "word_weight must be 0 or more; got -0.1"),
        ({"method": "greedy", "word_weight": 0.1}, "word_weight is for the search method beam or diverse, and"),
        ({"samples": 9}, "samples is for the search method mbr, and the method is beam"),
        ({"min_length": 9, "max_length": 8}, "min_length=9 is more than max_length=8"),
    ],
)
def test_settings_that_cannot_be_or_would_do_nothing_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SearchConfig(**settings)


def test_a_method_that_is_none_is_refused_where_nobody_checks_types() -> None:
    search = SearchConfig()
    object.__setattr__(search, "method", "best")
    with pytest.raises(ValueError, match="method must be one of greedy, beam, diverse, sample, mbr; got 'best'"):
        search.__post_init__()


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "beam 5"),
        ({"n_best": 3}, "beam 5"),
        ({"beam": 1}, "greedy"),
        ({"method": "greedy", "no_repeat_ngram": 2}, "greedy +norepeat2"),
        ({"method": "diverse", "beam": 6, "groups": 3, "no_repeat_ngram": 3}, "diverse 6x3 +norepeat3"),
        ({"method": "sample", "n_best": 4, "temperature": 0.7, "top_k": 9}, "sample 4 +temperature0.7 +top-k9"),
        ({"method": "mbr", "samples": 9, "n_best": 3, "temperature": 0.7}, "mbr 9 +temperature0.7"),
        ({"length_penalty": 1.0, "word_weight": 0.05}, "beam 5 +penalty1 +words0.05"),
        ({"length_penalty": 1.0, "max_length": 9, "forbidden_endings": True}, "beam 5 +penalty1 +max9 +endings"),
    ],
)
def test_a_name_tells_all_that_changes_the_caption(settings: dict[str, Any], name: str) -> None:
    assert SearchConfig(**settings).name == name


def test_a_shorthand_is_the_setting_and_says_nothing_where_it_is_the_default() -> None:
    ruled = SearchConfig(no_repeat_ngram=3)
    assert with_shorthands(ruled, beam=3) == SearchConfig(beam=3, no_repeat_ngram=3)
    assert with_shorthands(SearchConfig(beam=4), beam=5) == SearchConfig(beam=4)
    assert with_shorthands(SearchConfig(beam=4), beam=4, n_best=2) == SearchConfig(beam=4, n_best=2)
    with pytest.raises(ValueError, match=r"--beam 3 and --search\.beam 4 are one setting: give it once"):
        with_shorthands(SearchConfig(beam=4), beam=3)
    with pytest.raises(ValueError, match="beam is for the search method beam or diverse, and the method is sample"):
        with_shorthands(SearchConfig("sample"), beam=3)


def test_captions_that_end_in_a_word_that_wants_another_are_counted() -> None:
    captions = ["a man walks with", "A man plays The.", "a man is cooking", "", "turns it on", "sits in the", "a"]
    assert broken_endings(captions) == 4
    assert broken_endings([]) == 0


def test_the_broken_endings_are_words_as_the_vocabulary_has_them() -> None:
    from stg.text.tokenizer import tokenize

    assert len(set(BROKEN_ENDINGS)) == len(BROKEN_ENDINGS)
    assert [tokenize(word) for word in BROKEN_ENDINGS] == [[word] for word in BROKEN_ENDINGS]


@pytest.mark.shared_data
def test_people_hardly_ever_end_in_a_broken_ending(shared_data: Any) -> None:
    from stg.datasets.msvd import read_msvd

    captions = [text for texts in read_msvd(shared_data / "msvd").captions.values() for text in texts]
    assert len(captions) == 80827
    assert broken_endings(captions) == 44


def test_other_settings_never_share_a_name() -> None:
    assert SearchConfig("sample", seed=1234567).name != SearchConfig("sample", seed=1234568).name
    assert SearchConfig("sample", temperature=0.1234567).name != SearchConfig("sample", temperature=0.1234568).name
    assert SearchConfig("sample", temperature=0.5).name == "sample +temperature0.5"


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (SearchConfig(), SearchConfig(beam=4, length_penalty=1.0)),
        (SearchConfig(n_best=3), SearchConfig(beam=4, length_penalty=1.0, n_best=3)),
        (SearchConfig(length_penalty=0.5), SearchConfig(beam=4, length_penalty=0.5)),
        (SearchConfig(beam=1), SearchConfig(beam=1)),
        (SearchConfig("sample"), SearchConfig("sample")),
    ],
)
def test_what_is_not_asked_for_is_as_the_model_is_usually_searched(asked: SearchConfig, found: SearchConfig) -> None:
    usual = SearchConfig(beam=4, length_penalty=1.0)
    assert as_usual(asked, usual) == found
    assert as_usual(asked, None) == asked
