"""Compare the words of caption files by part of speech, as Fig. 5 of STaTS does (Cherian et al., 2020).

Prints, for each file: the share of verbs, nouns and adjectives, and the most frequent verbs and nouns that are left
when the most frequent words of all kinds ("a", "is", "man") are dropped. Published, for MSR-VTT: ST has 13 verbs among
its 20 words and nearly 27 % verbs, 8 points over TS; TS has 12 nouns among its 20 and 59 % nouns, 10 points over ST.

A caption file is what stg.evaluate writes to RUN/evaluation (COCO results: a list of image_id and caption), an object
{video: caption} or {video: [captions]}, or, named *.jsonl, what stg.caption --json prints. Words are split as the
scores split them.

The paper gives the "total percentage of verbs, nouns, and adjectives in the generated captions". That is read as the
share of all words, each counted every time it occurs; auxiliaries are verbs, proper names nouns, pronouns neither. The
share of the distinct words is printed below it: of the six words of "a man is playing a guitar" two are nouns, so that
the published 59 % are probably of that second kind.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stg.caption_files import read_captions, short_names
from stg.cli import command
from stg.errors import UserError
from stg.files import printable
from stg.parts_of_speech import SETUP, TAGS, LexiconTagger, Tag, Tagger, pick_tagger

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

FILES_HELP = "caption files; differences are to the first. Put -- before names that start with -"
BORDER = 8  # columns that the frame and the numbers of a table take
COLOURS = {"verb": "cyan", "noun": "yellow"}


@dataclass(frozen=True)
class WordsConfig:
    """Which captions to compare, and how."""

    files: tuple[str, ...] = field(metadata={"positional": True, "help": FILES_HELP})
    drop: int = 5
    """The most frequent words of a file, of any kind, that are left out of its list."""
    top: int = 20
    """Length of the list of verbs and nouns."""
    tagger: Literal["auto", "spacy", "lexicon"] = "auto"
    """spacy decides best; lexicon needs nothing installed; auto is spacy where it is installed, and says which it was.
    For spacy: pip install 'stg-video[words]', then python -m spacy download en_core_web_sm."""
    model: str | None = None
    """Another spaCy pipeline, by name or as a folder; nothing is downloaded."""
    json: bool = field(default=False, metadata={"flag": True, "help": "print one JSON object instead of tables"})

    def __post_init__(self) -> None:
        if self.drop < 0 or self.top < 1:
            raise ValueError(f"drop must not be negative and top at least 1; got {self.drop} and {self.top}")


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
    from stg.metrics.tokenizer import tokenize

    texts = Counter(captions)
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


def main(config: WordsConfig) -> int:
    """The command."""
    from rich.console import Console

    captions = [read_captions(path) for path in config.files]
    tagger = pick_tagger(config.tagger, config.model)
    reports = {}
    for name, path, found in zip(short_names(config.files), config.files, captions, strict=True):
        try:
            texts = (text for several in found.values() for text in several)
            reports[name] = count_words(texts, tagger, drop=config.drop, top=config.top)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    notes = _notes(config, captions, tagger)
    if config.json:
        print(json.dumps(_record(config, reports, tagger, notes), ensure_ascii=False, allow_nan=False))
    else:
        show(reports, console=Console(highlight=False), title=f"words by {tagger.name}", notes=notes)
    return 0


def _notes(config: WordsConfig, captions: Sequence[Mapping[str, list[str]]], tagger: Tagger) -> list[str]:
    """What a reader of the figures should know."""
    notes = []
    if isinstance(tagger, LexiconTagger) and config.tagger == "auto":
        notes.append(f"spaCy with an English pipeline is not installed, so a small lexicon tagged the words: {SETUP}")
    places = defaultdict(list)
    for path in config.files:
        places[Path(path).resolve()].append(path)
    notes += [f"{same[0]} is given {len(same)} times" for same in places.values() if len(same) > 1]
    shared = set(captions[0]).intersection(*captions[1:])
    if any(len(found) != len(shared) for found in captions):
        numbers = ", ".join(str(len(found)) for found in captions)
        notes.append(f"the files caption different videos: {numbers} of them, {len(shared)} in all the files")
    return notes


def _record(config: WordsConfig, reports: Mapping[str, WordReport], tagger: Tagger, notes: list[str]) -> dict[str, Any]:
    first = next(iter(reports.values()))
    files = []
    for path, report in zip(config.files, reports.values(), strict=True):
        counts = {f"top_{kind}s": report.among_top(kind) for kind in ("verb", "noun")}
        over = {tag: report.share[tag] - first.share[tag] for tag in TAGS}
        distinct = {tag: report.share_of_distinct[tag] - first.share_of_distinct[tag] for tag in TAGS}
        points = {"points_over_first": over, "distinct_points_over_first": distinct}
        files.append({"file": path, **asdict(report), **counts, **points})
    return {"tagger": tagger.name, "drop": config.drop, "top": config.top, "notes": notes, "files": files}


def show(reports: Mapping[str, WordReport], *, console: "Console", title: str, notes: Sequence[str] = ()) -> None:
    """Print the reports side by side, as many as the console is wide enough for, then the next."""
    from rich.text import Text

    names = list(reports)
    console.print(Text(title), soft_wrap=True)
    room = console.width - BORDER
    longest = max((len(item.word) for report in reports.values() for item in report.top), default=0)
    cell = 14 + min(longest, 16)
    together = max(1, room // 18)
    for start in range(0, len(names), together):
        console.print(_shares(reports, names[start : start + together]))
    together = max(1, room // (cell + 4))
    bar = "#" if console.options.ascii_only else "\u2588"
    wide = min(30, room // min(together, len(names)) - cell)
    for start in range(0, len(names), together):
        console.print(_top(reports, names[start : start + together], min(longest, 16), bar * max(1, wide)))
    for name, report in reports.items():
        dropped = ", ".join(f"{printable(item.word)} {item.count}" for item in report.dropped)
        console.print(Text(f"left out of {printable(name)}: {dropped or 'nothing'}"), soft_wrap=True)
    for note in notes:
        console.print(Text(f"note: {printable(note)}"), soft_wrap=True)


def _shares(reports: Mapping[str, WordReport], shown: Sequence[str]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("")
    for name in shown:
        table.add_column(Text(printable(name)), justify="right", overflow="fold")
    first = next(iter(reports.values()))

    def row(label: str, values: Sequence[str], end: bool = False) -> None:
        table.add_row(label, *values, end_section=end)

    def shares(tag: Tag, attribute: Literal["share", "share_of_distinct"]) -> list[str]:
        base = getattr(first, attribute)[tag]
        values = {name: getattr(reports[name], attribute)[tag] for name in shown}
        return [
            f"{value:.1f} %" if reports[name] is first else f"{value:.1f} % ({value - base:+.1f})"
            for name, value in values.items()
        ]

    row("captions", [str(reports[name].captions) for name in shown])
    row("words", [str(reports[name].words) for name in shown])
    for tag in TAGS:
        row(f"  {tag}s" if tag != "other" else "  other", shares(tag, "share"), tag == "other")
    row("distinct words", [str(reports[name].distinct) for name in shown])
    for tag in TAGS:
        row(f"  {tag}s" if tag != "other" else "  other", shares(tag, "share_of_distinct"), tag == "other")
    for kind in ("verb", "noun"):
        row(f"{kind}s in the list", [f"{reports[name].among_top(kind)} of {len(reports[name].top)}" for name in shown])
    return table


def _top(reports: Mapping[str, WordReport], shown: Sequence[str], width: int, bar: str) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table("", title="most frequent verbs and nouns", title_justify="left")
    for name in shown:
        table.add_column(Text(printable(name)), overflow="fold")
    for place in range(max(len(reports[name].top) for name in shown)):
        row = [_cell(reports[name].top, place, width, bar) for name in shown]
        table.add_row(str(place + 1), *row)
    return table


def _cell(top: Sequence[Word], place: int, width: int, bar: str) -> "Text":
    from rich.text import Text

    if place >= len(top):
        return Text("")
    item = top[place]
    long = bar[: max(1, round(len(bar) * item.count / top[0].count))]
    line = f"{item.kind} {item.count:4d} {printable(item.word):<{width}} {long}"
    return Text(line, style=COLOURS[item.kind])


if __name__ == "__main__":
    command(WordsConfig, main, __doc__ or "")
