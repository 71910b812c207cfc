"""Compare or merge caption files."""

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stg.config.results import PredictionsConfig
from stg.evaluation.predictions import (
    VideoCaptions,
    merge_files,
    read_captions,
    read_predicted,
    short_names,
    side_by_side,
)
from stg.evaluation.results import captions_of
from stg.runs.folder import load_config
from stg.runtime.errors import UserError
from stg.runtime.files import printable
from stg.runtime.output import json_line
from stg.runtime.progress import ConsoleReporter

ROWS = 20
"""Videos in a table unless --show says otherwise."""

NARROW = 18
"""Columns of captions with less room are put below each other instead."""


def main(config: PredictionsConfig) -> int:
    """The command."""
    ACTIONS[config.action](config, Console(highlight=False, markup=False))
    return 0


def merge(config: PredictionsConfig, console: Console) -> None:
    """Join the captions of several files into one file.

    Raises:
        UserError: a file cannot be read or written, or videos without a caption.
    """
    assert config.out is not None
    for line in merge_files(config.files, config.out, videos=config.videos, form=config.form, force=config.force):
        ConsoleReporter(console).say(line)


def print_side_by_side(config: PredictionsConfig, console: Console) -> None:
    """Print the captions of several files side by side.

    Raises:
        UserError: a file or the run's data set cannot be read, or the references are of other videos.
    """
    rows = side_by_side([read_predicted(path) for path in config.files], _references(config))
    referred = config.references or config.run
    # References of another data set have other ids: without this line they would be missing without a word.
    if referred and not any(row.reference for row in rows):
        raise UserError(
            f"{referred} has no reference for any of the {len(rows)} videos, such as {rows[0].video!r}: check that "
            "both are of one data set"
        )
    # Counted over all rows before it is cut: the last line says how much is not shown.
    listed = [row for row in rows if row.different or not config.different]
    # JSON is for programs, which want all; 0 stands for all, too.
    count = (0 if config.json else ROWS) if config.show is None else config.show
    shown = listed[: count or None]
    names = short_names(config.files)
    if config.json:
        for row in shown:
            captions = dict(zip(names, row.captions, strict=True))
            # By short names, which are distinct even where files of several runs are called alike.
            record = {"video": row.video, "captions": captions, "reference": row.reference}
            print(json_line(record))
        return
    if shown:
        console.print(caption_table(shown, names, width=console.width, references=bool(referred)))
    say = ConsoleReporter(console).say
    different = sum(row.different for row in rows)
    kind = "differing " if config.different else ""
    say(f"{len(shown)} of {len(listed)} {kind}videos shown; the files differ in {different} of {len(rows)}")
    for place, path in enumerate(config.files):
        lacking = sum(row.captions[place] is None for row in rows)
        if lacking:
            say(f"note: {path} has no caption for {lacking} of the videos")


def _references(config: PredictionsConfig) -> Mapping[str, Sequence[str]]:
    if config.references is not None:
        return read_captions(config.references)
    if config.run is None:
        return {}
    settings = load_config(config.run)
    # Of all its data sets: a file of captions does not say which it is of.
    return captions_of(settings.data, settings.world, config.run, instead="give --references FILE instead")


ACTIONS: Mapping[str, Callable[[PredictionsConfig, Console], None]] = {
    "merge": merge,
    "compare": print_side_by_side,
}
"""What the command does, by the first word after its name."""

# --- tables


def caption_table(rows: Sequence[VideoCaptions], names: Sequence[str], *, width: int, references: bool) -> Table:
    """One column a file; where these would be too narrow for captions, one line a file."""
    longest = max(len(printable(row.video)) for row in rows)
    columns = len(names) + references
    if columns * (NARROW + 3) + longest + 4 <= width:
        return _wide_table(rows, names, references, min_width=min(longest, width // 4))
    return _narrow_table(rows, names, references)


def _wide_table(rows: Sequence[VideoCaptions], names: Sequence[str], references: bool, *, min_width: int) -> Table:
    table = Table(show_lines=True)
    table.add_column("video", overflow="fold", min_width=min_width)
    for title in [*(Text(printable(name)) for name in names), *[Text("a reference")] * references]:
        table.add_column(title, overflow="fold", ratio=1)
    for row in rows:
        last = [_cell(row.reference, "italic")] * references
        table.add_row(_cell(row.video), *(_cell(text) for text in row.captions), *last)
    return table


def _narrow_table(rows: Sequence[VideoCaptions], names: Sequence[str], references: bool) -> Table:
    table = Table()
    table.add_column("video and file", overflow="fold")
    table.add_column("caption", overflow="fold")
    for row in rows:
        table.add_row(_cell(row.video, "bold"), "")
        lines = list(zip(names, row.captions, strict=True)) + [("a reference", row.reference)] * references
        for place, (name, text) in enumerate(lines, 1):
            style = "italic" if place > len(names) else ""
            table.add_row(Text(f"  {printable(name)}"), _cell(text, style), end_section=place == len(lines))
    return table


def _cell(text: str | None, style: str = "") -> Text:
    return Text("-", style="dim") if text is None else Text(printable(text), style=style)
