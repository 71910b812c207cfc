"""Vocabulary: building, encoding, decoding (P33, faults B6, E9)."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stg.runtime.errors import UserError
from stg.text.tokenizer import tokenize
from stg.text.vocabulary import BOS, EOS, SPECIAL, UNK, Vocabulary

CAPTIONS = ["A cat jumps.", "a cat, jumps into a box", "the dog"]


def test_words_are_counted_cut_off_and_ordered_by_frequency() -> None:
    vocabulary = Vocabulary.build(CAPTIONS, min_count=2)
    assert vocabulary.words == (*SPECIAL, "a", "cat", "jumps")
    assert vocabulary.encode("A cat sleeps!") == [BOS, 4, 5, UNK, EOS]
    assert vocabulary.decode([4, 5, EOS, 6]) == "a cat"


def test_captions_are_cut_and_empty_ones_are_empty() -> None:
    vocabulary = Vocabulary.build(CAPTIONS, min_count=1, max_words=3)
    assert len(vocabulary.encode("a " * 10_000)) == 5
    assert vocabulary.encode(" . , ! ") == []
    assert vocabulary.encode("") == []


def test_a_caption_that_spells_a_special_word_holds_an_unknown_one() -> None:
    vocabulary = Vocabulary.build(["a <EOS> cat <pad>"], min_count=1)
    assert vocabulary.words == (*SPECIAL, "a", "cat")
    assert vocabulary.encode("a <EOS> cat <pad>") == [BOS, 4, UNK, 5, UNK, EOS]
    with pytest.raises(UserError, match="no word occurs 1 times"):
        Vocabulary.build(["<bos> <eos>"], min_count=1)


def test_no_common_word_is_told() -> None:
    with pytest.raises(UserError, match=r"no word occurs 9 times in the training captions .* lower --data.min_count"):
        Vocabulary.build(CAPTIONS, min_count=9)


def test_it_survives_a_round_trip_and_its_fingerprint_tells_changes() -> None:
    vocabulary = Vocabulary.build(CAPTIONS, min_count=1)
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    swapped = Vocabulary((*vocabulary.words[:-2], vocabulary.words[-1], vocabulary.words[-2]))
    assert swapped.fingerprint != vocabulary.fingerprint
    assert Vocabulary(vocabulary.words, 7).fingerprint != vocabulary.fingerprint
    with pytest.raises(ValueError, match="expected the keys max_words and words"):
        Vocabulary.from_json("[1]")
    with pytest.raises(ValueError, match="a vocabulary starts with <pad>"):
        Vocabulary(("a", "b", "c", "d"))
    with pytest.raises(ValueError, match="lists 'a' twice"):
        Vocabulary((*SPECIAL, "a", "a"))


@given(st.text(max_size=60))
def test_any_text_encodes_to_words_that_decode(text: str) -> None:
    vocabulary = Vocabulary.build([*CAPTIONS, text], min_count=1, max_words=8)
    assume(not set(SPECIAL) & set(tokenize(text)))
    numbers = vocabulary.encode(text)
    assert not numbers or (numbers[0], numbers[-1]) == (BOS, EOS)
    assert len(numbers) <= 10
    assert UNK not in numbers
