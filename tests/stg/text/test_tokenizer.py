"""The tokenizer equals recorded outputs of the Java one, and white space never matters."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stg.text.tokenizer import PUNCTUATION, REACH, tokenize, tokenize_captions

CASES = json.loads(Path(__file__).with_name("tokenizer_cases.json").read_text(encoding="utf-8"))
WHITE = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000"


def test_recorded_outputs_of_the_java_tokenizer() -> None:
    assert len(CASES) > 1000
    wrong = [(text, words, " ".join(tokenize(text))) for text, words in CASES if " ".join(tokenize(text)) != words]
    assert wrong == []


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A man doesn't play.", "a man does n't play"),
        ("we cannot, they're gonna", "we can not they 're gon na"),
        ("Mr. Smith of the U.S. team", "mr. smith of the u.s. team"),
        ('a "red" t-shirt (wet)', "a red t-shirt -lrb- wet -rrb-"),
        ("$5 or 3.5% of 1,000", "$ 5 or 3.5 % of 1,000"),
        ("salt &amp; pepper", "salt & pepper"),
        ("it\u2019s \u2013 \u201cfun\u201d\u2026", "it 's fun"),
        ("fun 😀 indeed", "fun indeed"),
        ("", ""),
        ("  ", ""),
        ("?!", "?!"),
        (". , ; ! ?", ""),
    ],
)
def test_what_the_docs_promise(caption: str, words: str) -> None:
    assert tokenize(caption) == words.split()


def test_plain_captions_take_the_short_way_to_the_same_words() -> None:
    for caption in ("a man is playing", " two  spaces ", "gimme that", "i", "a cannot b"):
        assert tokenize(caption) == tokenize(caption + " ."), caption


@given(
    st.lists(st.sampled_from([text for text, _ in CASES if text] + ["a man", "dog"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(WHITE), min_size=3, max_size=3),
)
def test_any_white_space_is_a_space(pieces: list[str], white: list[str]) -> None:
    spaced = " ".join(pieces)
    swapped = "".join(white[place % 3] if sign == " " else sign for place, sign in enumerate(spaced))
    assert tokenize(swapped) == tokenize(spaced)


@given(st.dictionaries(st.text(max_size=3), st.lists(st.text(max_size=30), max_size=4), max_size=4))
def test_one_entry_a_caption_whatever_it_holds(captions: dict[str, list[str]]) -> None:
    words = tokenize_captions(captions)
    assert {video: len(texts) for video, texts in words.items()} == {video: len(t) for video, t in captions.items()}
    for texts in words.values():
        for text in texts:
            assert "\n" not in text
            assert PUNCTUATION.isdisjoint(text.split(" "))
            assert text == text.strip(" ")
            assert "  " not in text


@pytest.mark.parametrize("piece", ["a", "a@", "a.", "-a", "5 ", "<a ", "'", "((", "a/b-", "1,", "http://a.b/", "&#1"])
def test_a_hostile_caption_takes_no_hostile_time(piece: str) -> None:
    start = time.process_time()
    tokenize(piece * (4000 // len(piece)))
    assert time.process_time() - start < 5


@pytest.mark.parametrize("piece", ["<!--", "x.y/", "a&"])
def test_time_grows_with_the_length_and_no_faster(piece: str) -> None:
    def seconds(length: int) -> float:
        start = time.process_time()
        tokenize(piece * (length // len(piece)))
        return time.process_time() - start

    seconds(500)
    assert seconds(16_000) < 20 * seconds(2_000)  # quadratic time makes it 40 to 60 times


def test_a_token_without_end_is_cut() -> None:
    assert [len(word) for word in tokenize("a" * 2500 + "'s")] == [REACH, REACH, 500, 2]
    assert tokenize("x" * 985 + "@example.org") == ["x" * 985 + "@example.org"]
    assert tokenize("a" * 2500) == ["a" * 2500]  # of letters alone no rule is asked


@pytest.mark.shared_data
def test_real_captions_keep_their_words(shared_data: Path) -> None:
    # Lower-case text without marks must come back as it is, but for the six words that are cut in two.
    cut = {"cannot", "gonna", "gotta", "wanna", "lemme", "gimme"}
    plain = 0
    for split in ("train", "val", "test"):
        for line in (shared_data / "msvd" / "captions" / f"sents_{split}_lc_nopunc.txt").read_text().splitlines():
            caption = line.split("\t")[1]
            if caption.isascii() and caption.replace(" ", "").isalpha() and cut.isdisjoint(caption.split()):
                plain += 1
                assert tokenize(caption) == caption.split()
    assert plain > 70_000
