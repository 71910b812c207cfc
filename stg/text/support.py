"""Which words of a caption the captions of people bear out."""

from collections.abc import Sequence

from stg.text.tagging import BE, Tagger

ENDINGS = ("ing", "ed", "es", "s", "e")


def stem(word: str) -> str:
    """What is left of an English word without its ending: plays, played and playing are one; coarse, and quick."""
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            kept = word.removesuffix(ending)
            # running and runs, but not kissing and kiss: a doubled letter is the ending's, or there already.
            return kept[:-1] if len(kept) > 3 and kept[-1] == kept[-2] else kept
    return word


def content_words(words: Sequence[str], tagger: Tagger) -> list[str]:
    """The nouns, verbs and adjectives of a caption, forms of "to be" left out; of other languages all words."""
    (tags,) = tagger([words])
    return [word for word, tag in zip(words, tags, strict=True) if tag != "other" and word not in BE]


def is_borne_out(words: Sequence[str], references: Sequence[Sequence[str]], tagger: Tagger) -> bool:
    """Whether a caption is right as far as its words go: somebody used each of its content words of the same video.

    Args:
        words: of the caption, as tokenised for scores; one without content words says nothing, and is not right.
        references: the words of each caption that people wrote of the video.
    """
    said = {stem(word) for reference in references for word in reference}
    content = content_words(words, tagger)
    return bool(content) and all(stem(word) in said for word in content)
