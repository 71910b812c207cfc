"""Whether the words of a caption are borne out by what people wrote."""

import pytest

from stg.text.support import content_words, is_borne_out, stem
from stg.text.tagging import LexiconTagger

TAGGER = LexiconTagger()
REFERENCES = ["a man plays the guitar", "someone is running on a green field"]


@pytest.mark.parametrize(
    ("caption", "right"),
    [
        ("a man is playing guitars", True),
        ("a man runs", True),
        ("the man is on a field", True),
        ("a woman is playing the guitar", False),  # one word that nobody said
        ("a man is playing a piano", False),
        ("on the", False),  # says nothing
        ("", False),
    ],
)
def test_each_content_word_must_be_in_a_reference(caption: str, right: bool) -> None:
    assert is_borne_out(caption.split(), [text.split() for text in REFERENCES], TAGGER) is right


def test_stems_join_the_forms_of_a_word() -> None:
    for words in (
        "play plays played playing",
        "dance dances danced dancing",
        "run runs running",
        "kiss kisses kissing",
    ):
        assert len({stem(word) for word in words.split()}) == 1, words
    assert stem("sing") == "sing"
    assert content_words(["a", "man", "is", "playing"], TAGGER) == ["man", "playing"]
