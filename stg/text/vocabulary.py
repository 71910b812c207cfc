"""Words and their numbers."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stg.config.data import MOST_WORDS
from stg.runtime.errors import UserError
from stg.text.tokenizer import tokenize

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")


@dataclass(frozen=True)
class Vocabulary:
    """A fixed list of words; a word's number is its place in the list.

    Captions are split by the tokenizer of the scores (PTB-like, lower case, punctuation dropped), so that the words
    that are learned are the words that are counted.

    Args:
        words: special words first (``<pad> <bos> <eos> <unk>``), then the others, most frequent first.
        max_words: captions are cut after this many words.
    """

    words: tuple[str, ...]
    max_words: int = 30

    def __post_init__(self) -> None:
        if self.words[: len(SPECIAL)] != SPECIAL:
            raise ValueError(
                f"a vocabulary starts with {' '.join(SPECIAL)}; got {' '.join(self.words[: len(SPECIAL)])}"
            )
        if len(set(self.words)) != len(self.words):
            double = next(word for word, count in Counter(self.words).items() if count > 1)
            raise ValueError(f"the vocabulary lists {double!r} twice")

    @classmethod
    def build(cls, captions: Iterable[str], *, min_count: int = 2, max_words: int = 30) -> "Vocabulary":
        """Count the words of the training captions and keep those seen at least ``min_count`` times."""
        counts = Counter(word for caption in captions for word in tokenize(caption)[:max_words])
        kept = sorted(
            (word for word, count in counts.items() if count >= min_count and word not in SPECIAL),
            # By word among equally frequent ones, so that the same captions always give the same numbers.
            key=lambda word: (-counts[word], word),
        )
        if not kept:
            raise UserError(
                f"no word occurs {min_count} times in the training captions ({len(counts)} distinct words): "
                "lower --data.min_count or check the captions"
            )
        return cls((*SPECIAL, *kept), max_words)

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def _number(self) -> dict[str, int]:
        # A caption that spells a special word, such as "<eos>", means no end: it is an unknown word like any other.
        return {word: number for number, word in enumerate(self.words) if number >= len(SPECIAL)}

    @cached_property
    def fingerprint(self) -> str:
        """A hash that is equal for equal vocabularies alone (faults E9)."""
        return hashlib.sha256("\n".join((str(self.max_words), *self.words)).encode()).hexdigest()[:16]

    def encode(self, caption: str) -> list[int]:
        """Word numbers with ``<bos>`` in front and ``<eos>`` behind; empty where the caption holds no word."""
        words = tokenize(caption)[: self.max_words]
        return [BOS, *(self._number.get(word, UNK) for word in words), EOS] if words else []

    def decode(self, numbers: Sequence[int]) -> str:
        """The words up to ``<eos>`` with single spaces, special words left out."""
        return " ".join(self.decode_words(numbers))

    def decode_words(self, numbers: Sequence[int]) -> tuple[str, ...]:
        """The words of `decode`, apart: one may hold a no-break space (``"2 1/2"``), at which Python splits a text."""
        words = []
        for number in numbers:
            if number == EOS:
                break
            if number not in (PAD, BOS):
                words.append(self.words[number])
        return tuple(words)

    def to_json(self) -> str:
        return json.dumps({"max_words": self.max_words, "words": self.words}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Vocabulary":
        """Raises ValueError where the text is not a vocabulary."""
        record: Any = json.loads(text)
        if not isinstance(record, dict) or set(record) != {"max_words", "words"}:
            raise ValueError("not a vocabulary: expected the keys max_words and words")
        words, most = record["words"], record["max_words"]
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("the words of a vocabulary must be a list of texts")
        if type(most) is not int or not 1 <= most <= MOST_WORDS:
            raise ValueError(f"max_words of a vocabulary must lie in 1..{MOST_WORDS}; got {most!r:.40}")
        return cls(tuple(words), most)
