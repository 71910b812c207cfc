"""Words of captions, counted."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from stg.runtime.errors import UserError
from stg.text.tagging import TAGS, Tag, Tagger
from stg.text.tokenizer import tokenize

BROKEN_ENDINGS = (
    "a", "an", "the", "this", "his", "its", "my", "your", "and", "or", "of", "with", "to", "in", "at", "for", "from",
    "into", "onto", "upon", "near", "between", "against", "is", "are", "am", "was", "as", "very",
)  # fmt: skip
"""Words that want another one behind them. People end 44 of MSVD's 80,827 captions in one; words that do end sentences
("walks by", "turns it on", "with her") are left out."""


def broken_endings(captions: Iterable[str]) -> int:
    """How many captions end in one of :data:`BROKEN_ENDINGS`, as models do that are rewarded without their last word
    (self-critical training, Rennie et al., 2017, counts the end of the sentence for this reason).

    Args:
        captions: as they are written; punctuation and case do not count, and an empty one is not broken.
    """

    endings = (words[-1] for words in map(tokenize, captions) if words)
    return sum(word in BROKEN_ENDINGS for word in endings)


@dataclass(frozen=True)
class Word:
    """A word, how often it occurs, and what it is in most of its sentences."""

    word: str
    count: int
    kind: Tag


@dataclass(frozen=True)
class WordReport:
    """The words of some captions.

    Attributes:
        captions: how many there are.
        words: how many words they have in all; ``distinct`` counts a word once.
        top: the most frequent verbs and nouns, the ``dropped`` words aside.
        share: percentage of each kind among all words, each in the kind it has in its sentence.
        share_of_distinct: percentage of each kind among the distinct words, each in the kind it has most often.
    """

    captions: int
    words: int
    distinct: int
    dropped: tuple[Word, ...]
    top: tuple[Word, ...]
    share: dict[Tag, float]
    share_of_distinct: dict[Tag, float]

    def among_top(self, kind: Tag) -> int:
        """How many of the top words are of that kind."""
        return sum(word.kind == kind for word in self.top)


def count_words(captions: Iterable[str], tagger: Tagger, *, drop: int = 5, top: int = 20) -> WordReport:
    """The report of Fig. 5 (Cherian et al., 2020) for one set of captions.

    A word that is now a noun and now a verb ("play") has one place in the list, with all its occurrences, as what it is
    more often. Equally frequent words stand in alphabetical order.

    Args:
        captions: sentences, each counted as often as it comes.
        tagger: decides the kind of each word in its sentence; each distinct sentence is asked for once.

    Raises:
        UserError: the captions hold no word.
        ValueError: the tagger did not give each word one of the four tags.
    """

    texts = Counter(captions)
    # Each distinct caption is tagged once and counted as often as it occurs.
    split = {text: words for text in texts if (words := tokenize(text))}
    if not split:
        raise UserError(f"{'the captions hold' if texts else 'there are no captions, so'} no word")
    kinds: defaultdict[str, Counter[Tag]] = defaultdict(Counter)
    for (text, words), tags in zip(split.items(), tagger(list(split.values())), strict=True):
        if len(tags) != len(words) or not set(tags) <= set(TAGS):
            raise ValueError(f"the tagger {tagger.name} gave {tags} for {words}: expected one of {TAGS} a word")
        for word, tag in zip(words, tags, strict=True):
            kinds[word][tag] += texts[text]

    ranked = [Word(word, count.total(), max(TAGS, key=count.__getitem__)) for word, count in kinds.items()]
    ranked.sort(key=lambda item: (-item.count, item.word))
    every: Counter[Tag] = sum(kinds.values(), Counter())
    # The commonest words of any kind are dropped before verbs and nouns are chosen, as in the figure.
    listed = [item for item in ranked[drop:] if item.kind in ("verb", "noun")]
    return WordReport(
        captions=texts.total(),
        words=every.total(),
        distinct=len(ranked),
        dropped=tuple(ranked[:drop]),
        top=tuple(listed[:top]),
        share=_percentages(every),
        share_of_distinct=_percentages(Counter(item.kind for item in ranked)),
    )


def _percentages(counts: Counter[Tag]) -> dict[Tag, float]:
    return {tag: 100 * counts[tag] / counts.total() for tag in TAGS}
