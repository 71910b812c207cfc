"""Join caption files to one submission (merge), or print what several models say of the same videos (compare).

A challenge wants a caption for every video of its list, but some clips are gone: the captions of a second model, on the
features that the organisers provide, fill the gaps (Chen et al., 2019, section 3, on VATEX). `merge MINE.json
FALLBACK.json --videos LIST.json --form vatex --out submission.json` takes each caption from the first file that has one
for the video; an empty caption is none. With --videos exactly these are written, in that order, and gaps are refused;
without it, all videos of the files.

`compare ST.json TS.json --run RUN --different true` prints captions side by side, as in Fig. 1 of that paper and in
Fig. 4, Fig. 10 and Table 5 of STaTS (Cherian et al., 2020), with a reference from the annotation that RUN was trained
with, or from a file (--references).

A caption file is what stg.evaluate writes to RUN/evaluation (COCO results: a list of image_id and caption), an object
{video: caption}, or, named *.jsonl, what stg.caption --json prints.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stg.caption_files import holds_list, read_captions, read_predicted, short_names
from stg.cli import command
from stg.errors import UserError
from stg.files import printable, write_atomic

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

ACTIONS = {
    "merge": ("out", "videos", "form", "force"),
    "compare": ("references", "run", "show", "different", "json"),
}
"""What can be done -> the options that belong to it."""
ROWS = 20
"""Videos in a table where nothing else is asked for."""
NARROW = 18
"""Columns of captions with less room are put below each other instead."""


@dataclass(frozen=True)
class PredictionsConfig:
    """What to do with which caption files."""

    action: str = field(metadata={"positional": True, "help": "merge or compare"})
    files: tuple[str, ...] = field(
        metadata={"positional": True, "help": "caption files, first come first. Put -- before names that start with -"}
    )
    out: str | None = None
    """merge: the file to write."""
    videos: str | None = None
    """merge: a file with the ids that must all be there: one a line, a JSON list, or an annotation file of VATEX."""
    form: Literal["coco", "vatex"] = "coco"
    """merge: coco is a list of image_id and caption; vatex an object {video: caption}, as its challenge server takes
    it."""
    force: bool = field(default=False, metadata={"flag": True, "help": "merge: replace the file --out"})
    references: str | None = None
    """compare: a caption file whose first caption of each video is shown beside the predictions."""
    run: str | None = None
    """compare: a run folder; the references are those of its data set."""
    show: int | None = None
    """compare: how many videos to print, 0 for all. By default 20 in a table, all with --json."""
    different: bool = False
    """compare: only videos of which not all the files say the same."""
    json: bool = field(default=False, metadata={"flag": True, "help": "compare: print one JSON object a line"})

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"the action must be one of {', '.join(ACTIONS)}, got '{self.action}'")
        for action, options in ACTIONS.items():
            given = [name for name in options if getattr(self, name) != type(self).__dataclass_fields__[name].default]
            if action != self.action and given:
                raise ValueError(f"--{given[0]} is an option of {action}, not of {self.action}")
        if len(self.files) < 2:
            raise ValueError(f"{self.action} needs at least two caption files, got {len(self.files)}")
        if self.action == "merge" and self.out is None:
            raise ValueError("merge needs --out FILE")
        if self.references is not None and self.run is not None:
            raise ValueError("references come from --references or from --run, not from both: give one")
        if self.show is not None and self.show < 0:
            raise ValueError(f"show must not be negative; got {self.show}")


def main(config: PredictionsConfig) -> int:
    """The command."""
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if config.out is not None:
        for line in merge_files(config.files, config.out, videos=config.videos, form=config.form, force=config.force):
            console.print(printable(line), soft_wrap=True)
    else:
        compare(config, console)
    return 0


# --- merge


def merge_files(
    files: Sequence[str], out: str, *, videos: str | None = None, form: str = "coco", force: bool = False
) -> list[str]:
    """Write one caption file from several; returns lines for the user: how many captions came from which file.

    Args:
        files: caption files; of two that know a video, the earlier one is believed.
        out: the file to write, whole or not at all.
        videos: a file that lists the ids to write (:func:`read_ids`); all that the files have, where it is None.
        form: ``coco`` or ``vatex``.
        force: replace a file that is there.

    Raises:
        UserError: ``out`` is there or is one of the files; a file cannot be read; a video has no caption anywhere.
        StgError: ``out`` cannot be written.
    """
    target = Path(out)
    if target.resolve() in {Path(path).resolve() for path in (*files, *([videos] if videos else []))}:
        raise UserError(f"{out!r} is --out and one of the files to read: choose another --out")
    if target.exists() and not force:
        raise UserError(f"{out} is there already: choose another --out, or add --force to replace it")
    predictions = [read_predicted(path) for path in files]
    wanted = read_ids(videos) if videos else list(dict.fromkeys(video for found in predictions for video in found))
    merged, source = merge(predictions, wanted)
    write_captions(target, merged, form)
    lines = [f"{source.count(place)} captions from {path}" for place, path in enumerate(files)]
    unlisted = set().union(*predictions) - set(wanted)
    if unlisted:
        lines.append(f"{len(unlisted)} videos that {videos} does not list were left out")
    return [*lines, f"{out}: {len(merged)} captions written"]


def write_captions(path: str | Path, captions: Mapping[str, str], form: str) -> None:
    """Write one caption a video in COCO's or VATEX's form, whole or not at all."""
    from stg.metrics.coco_json import write_predictions

    if form == "coco":
        write_predictions(path, captions)
    else:
        write_atomic(path, json.dumps(captions, ensure_ascii=False, indent=0) + "\n")


def merge(predictions: Sequence[Mapping[str, str]], wanted: Iterable[str]) -> tuple[dict[str, str], list[int]]:
    """The caption of each wanted video, from the first predictions that have one with a word, and which these were.

    Raises:
        UserError: videos without a caption; says how many and names the first three.
    """
    from stg.datasets.annotation import some

    merged: dict[str, str] = {}
    source: list[int] = []
    gaps = []
    for video in dict.fromkeys(wanted):
        place = next((place for place, found in enumerate(predictions) if found.get(video, "").strip()), None)
        if place is None:
            gaps.append(video)
        else:
            merged[video] = predictions[place][video]
            source.append(place)
    if gaps:
        raise UserError(
            f"{len(gaps)} of {len(gaps) + len(merged)} videos have no caption in any of the files ({some(gaps)}), so "
            "nothing was written: add a file that has them, such as captions of a model on features that are there"
        )
    return merged, source


def read_ids(path: str | Path) -> list[str]:
    """The ids that a file lists: one a line, a JSON list of ids, or of objects with ``videoID`` (VATEX).

    Raises:
        UserError: unreadable, no ids, one that cannot be an id, or one twice; names the file.
    """
    from stg.datasets.annotation import read_json, read_text, require, require_id

    ids: list[str] = []
    if holds_list(path):
        for number, row in enumerate(read_json(path)):
            where = f"{path} row {number}"
            ids.append(require_id(require(row, "videoID", str, where) if isinstance(row, dict) else row, where))
    else:
        text = read_text(path)
        if text.lstrip().startswith("{"):
            raise UserError(f"{path} holds a JSON object: expected a list of ids, or one id a line")
        lines = enumerate(text.split("\n"), 1)
        ids = [require_id(line.strip(), f"{path} line {number}") for number, line in lines if line.strip()]
    if not ids:
        raise UserError(f"{path} lists no videos")
    seen: set[str] = set()
    for video in ids:
        if video in seen:
            raise UserError(f"{path} lists video {video!r} twice: list each once")
        seen.add(video)
    return ids


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


def compare(config: PredictionsConfig, console: "Console") -> None:
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


def caption_table(rows: Sequence[Said], names: Sequence[str], *, width: int, references: bool) -> "Table":
    """One column a file; where these would be too narrow for captions, one line a file."""
    from rich.table import Table
    from rich.text import Text

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
    from stg.runs import load_config

    settings = load_config(config.run)
    data, world = settings.data, settings.world
    if data.dataset == "world":
        from stg.datasets.world import World

        return World(seed=world.seed, train=world.train, val=world.val, test=world.test).dataset().captions
    if data.root is None:
        raise UserError(f"the run {config.run} names no annotation files: give --references FILE instead")
    from stg.prepare import READERS

    return READERS[data.dataset](data.root, data.language).captions


if __name__ == "__main__":
    command(PredictionsConfig, main, __doc__ or "")
