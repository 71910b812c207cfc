"""Count the words of caption files by part of speech."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stg.config.results import WordsConfig
from stg.evaluation.predictions import read_captions, short_names
from stg.runtime.errors import UserError
from stg.runtime.files import printable
from stg.runtime.output import json_line
from stg.text.tagging import SETUP, TAGS, LexiconTagger, Tag, Tagger, pick_tagger
from stg.text.words import Word, WordReport, count_words

BORDER = 8  # columns that the frame and the numbers of a table take

COLOURS = {"verb": "cyan", "noun": "yellow"}


def main(config: WordsConfig) -> int:
    """The command."""

    captions = [read_captions(path) for path in config.files]
    tagger = pick_tagger(config.tagger, config.model)
    reports = {}
    for name, path, found in zip(short_names(config.files), config.files, captions, strict=True):
        try:
            # All candidates of a video count, not its best alone: the file is what is asked about.
            texts = (text for several in found.values() for text in several)
            reports[name] = count_words(texts, tagger, drop=config.drop, top=config.top)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    notes = _notes(config, captions, tagger)
    if config.json:
        print(json_line(_record(config, reports, tagger, notes)))
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
        # Two names may lead to one file: it would be compared with itself.
        places[Path(path).resolve()].append(path)
    notes += [f"{same[0]} is given {len(same)} times" for same in places.values() if len(same) > 1]
    shared = set(captions[0]).intersection(*captions[1:])
    # Shares of words compare captions only of the same videos.
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


def show(reports: Mapping[str, WordReport], *, console: Console, title: str, notes: Sequence[str] = ()) -> None:
    """Print the reports side by side, as many as the console is wide enough for, then the next."""

    names = list(reports)
    console.print(Text(title), soft_wrap=True)
    room = console.width - BORDER
    longest = max((len(item.word) for report in reports.values() for item in report.top), default=0)
    # Besides the word: its number, its count and the frame. A single long word must not make all lists narrow.
    cell = 14 + min(longest, 16)
    # As many as fit; at least one, however narrow the terminal.
    together = max(1, room // 18)
    for start in range(0, len(names), together):
        console.print(_shares(reports, names[start : start + together]))
    together = max(1, room // (cell + 4))
    # A terminal without Unicode would show question marks.
    bar = "#" if console.options.ascii_only else "\u2588"
    wide = min(30, room // min(together, len(names)) - cell)
    for start in range(0, len(names), together):
        console.print(_top(reports, names[start : start + together], min(longest, 16), bar * max(1, wide)))
    for name, report in reports.items():
        dropped = ", ".join(f"{printable(item.word)} {item.count}" for item in report.dropped)
        console.print(Text(f"left out of {printable(name)}: {dropped or 'nothing'}"), soft_wrap=True)
    for note in notes:
        console.print(Text(f"note: {printable(note)}"), soft_wrap=True)


def _shares(reports: Mapping[str, WordReport], shown: Sequence[str]) -> Table:

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

    # Shares of all words first, then of distinct ones, as in the paper's figure: a rule below each block.
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


def _top(reports: Mapping[str, WordReport], shown: Sequence[str], width: int, bar: str) -> Table:

    table = Table("", title="most frequent verbs and nouns", title_justify="left")
    for name in shown:
        table.add_column(Text(printable(name)), overflow="fold")
    for place in range(max(len(reports[name].top) for name in shown)):
        row = [_cell(reports[name].top, place, width, bar) for name in shown]
        table.add_row(str(place + 1), *row)
    return table


def _cell(top: Sequence[Word], place: int, width: int, bar: str) -> Text:

    if place >= len(top):
        return Text("")
    item = top[place]
    long = bar[: max(1, round(len(bar) * item.count / top[0].count))]
    line = f"{item.kind} {item.count:4d} {printable(item.word):<{width}} {long}"
    return Text(line, style=COLOURS[item.kind])
