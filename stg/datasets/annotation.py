"""Captions of annotation files that others wrote: cleaned, counted, and refused where they hold no word."""

import re
from collections import Counter
from typing import Literal

from stg.runtime.reading import CONTROL, INVISIBLE, PLAIN, WINDOWS, some
from stg.text.tokenizer import tokenize

Language = Literal["en", "zh"]


# What pages write for a blank; the tokenizer takes it for one, too.
_BLANK = re.compile("&nbsp;", re.IGNORECASE)
_HAN = re.compile(r"[\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_HAN_PUNCTUATION = re.compile(
    r"[\u00b7\u2014\u2018-\u201f\u2026\u3000-\u3006\u3008-\u3020\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]"
)


def clean_caption(text: str, language: Language = "en") -> str:
    """A caption on one line without control characters; empty where it holds no word (fault B6).

    Control characters and line ends become spaces, bytes of Windows text the characters they were meant to be, marks
    that show nothing (byte-order marks, directions) vanish, white space is joined. Punctuation alone is no caption.

    Args:
        language: ``zh`` sets every Chinese character apart and drops Chinese punctuation, so that tokenizer, vocabulary
            and scores take one character for one word, the usual baseline without a segmenter; scores of captions cut
            into longer words are not comparable.
    """
    text = CONTROL.sub(" ", INVISIBLE.sub("", text).translate(WINDOWS))
    text = _BLANK.sub(" ", text)
    if language == "zh":
        text = _HAN_PUNCTUATION.sub(" ", _HAN.sub(r" \g<0> ", text))
    text = " ".join(text.split())
    if PLAIN.search(text) or (any(map(str.isalnum, text)) and tokenize(text)):
        return text
    return ""


class Captions:
    """The captions of one annotation while it is read: cleaned, empty ones dropped and counted.

    Attributes:
        texts: video -> its captions, in the order they came.
        dropped: video -> how many of its captions held no word.
    """

    def __init__(self, language: Language = "en") -> None:
        self.language: Language = language
        self.texts: dict[str, list[str]] = {}
        self.dropped: Counter[str] = Counter()

    def add(self, video: str, text: str) -> None:
        """Clean and keep one caption."""
        cleaned = clean_caption(text, self.language)
        if cleaned:
            self.texts.setdefault(video, []).append(cleaned)
        else:
            self.dropped[video] += 1

    def notes(self) -> tuple[str, ...]:
        """One line on what was dropped, or none."""
        if not self.dropped:
            return ()
        total = self.dropped.total()
        return (f"{total} caption{'s' * (total > 1)} without any word left out ({some(self.dropped)})",)
