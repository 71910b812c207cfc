"""Compare or merge caption files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from stg.config.results import PredictionsConfig
from stg.datasets.open import READERS, captions_read
from stg.evaluation.predictions import (
    merge_files,
    read_captions,
    read_predicted,
    short_names,
)
from stg.runs.folder import load_config
from stg.runtime.errors import UserError
from stg.runtime.files import printable

ROWS = 20
"""Videos in a table where nothing else is asked for."""

NARROW = 18
"""Columns of captions with less room are put below each other instead."""


def main(config: PredictionsConfig) -> int:
    """The command."""

    console = Console(highlight=False, markup=False)
    if config.out is not None:
        for line in merge_files(config.files, config.out, videos=config.videos, form=config.form, force=config.force):
            console.print(printable(line), soft_wrap=True)
    else:
        compare(config, console)
    return 0


# --- compare


@dataclass(frozen=True)
class Said:
    """What the files say of one video (None: nothing), and one reference."""

    video: str
    captions: tuple[str | None, ...]
    reference: str | None = None

    @property
    def different(self) -> bool:
        """Whether not all the files say the same."""
        return len(set(self.captions)) > 1


def side_by_side(
    predictions: Sequence[Mapping[str, str]], references: Mapping[str, Sequence[str]] | None = None
) -> list[Said]:
    """The captions of each video, in the order in which the videos come up; of several references the first."""
    videos = dict.fromkeys(video for found in predictions for video in found)
    known = references or {}
    return [
        Said(video, tuple(found.get(video) for found in predictions), next(iter(known.get(video, ())), None))
        for video in videos
    ]


def compare(config: PredictionsConfig, console: Console) -> None:
    """Print the captions of several files side by side.

    Raises:
        UserError: a file or the run's data set cannot be read, or the references are of other videos.
    """
    rows = side_by_side([read_predicted(path) for path in config.files], _references(config))
    referred = config.references or config.run
    if referred and not any(row.reference for row in rows):
        raise UserError(
            f"{referred} has no reference for any of the {len(rows)} videos, such as {rows[0].video!r}: check that "
            "both are of one data set"
        )
    listed = [row for row in rows if row.different or not config.different]
    count = (0 if config.json else ROWS) if config.show is None else config.show
    shown = listed[: count or None]
    names = short_names(config.files)
    if config.json:
        for row in shown:
            said = dict(zip(names, row.captions, strict=True))
            record = {"video": row.video, "captions": said, "reference": row.reference}
            print(json.dumps(record, ensure_ascii=False))
        return
    if shown:
        console.print(caption_table(shown, names, width=console.width, references=bool(referred)))
    different = sum(row.different for row in rows)
    told = f"{len(shown)} of {len(listed)} {'differing ' if config.different else ''}videos shown; "
    console.print(f"{told}the files differ in {different} of {len(rows)}", soft_wrap=True)
    for place, path in enumerate(config.files):
        lacking = sum(row.captions[place] is None for row in rows)
        if lacking:
            console.print(printable(f"note: {path} has no caption for {lacking} of the videos"), soft_wrap=True)


def caption_table(rows: Sequence[Said], names: Sequence[str], *, width: int, references: bool) -> Table:
    """One column a file; where these would be too narrow for captions, one line a file."""

    def cell(text: str | None, style: str = "") -> Text:
        return Text("-", style="dim") if text is None else Text(printable(text), style=style)

    def heading(name: str) -> Text:
        return Text(printable(name))

    longest = max(len(printable(row.video)) for row in rows)
    columns = len(names) + references
    table = Table(show_lines=True)
    if columns * (NARROW + 3) + longest + 4 <= width:
        table.add_column("video", overflow="fold", min_width=min(longest, width // 4))
        for title in [heading(name) for name in names] + [Text("a reference")] * references:
            table.add_column(title, overflow="fold", ratio=1)
        for row in rows:
            last = [cell(row.reference, "italic")] * references
            table.add_row(cell(row.video), *(cell(text) for text in row.captions), *last)
        return table
    table.add_column("video and file", overflow="fold")
    table.add_column("caption", overflow="fold")
    table.show_lines = False
    for row in rows:
        table.add_row(cell(row.video, "bold"), "")
        lines = list(zip(names, row.captions, strict=True)) + [("a reference", row.reference)] * references
        for place, (name, text) in enumerate(lines, 1):
            label = Text.assemble("  ", heading(name))
            table.add_row(label, cell(text, "italic" if place > len(names) else ""), end_section=place == len(lines))
    return table


def _references(config: PredictionsConfig) -> Mapping[str, Sequence[str]]:
    if config.references is not None:
        return read_captions(config.references)
    if config.run is None:
        return {}

    settings = load_config(config.run)
    if settings.data.root is None and settings.data.dataset in READERS:
        raise UserError(f"the run {config.run} names no annotation files: give --references FILE instead")
    return captions_read(settings.data, settings.world)
