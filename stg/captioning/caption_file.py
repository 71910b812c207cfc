"""Captions of clips as files: tables, JSON, and subtitles; whole at every moment, and never behind by much."""

import csv
import io
import json
import time
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from stg.captioning.pipeline import ClipCaption
from stg.config.captioning import SUBTITLES
from stg.runtime.errors import UserError
from stg.runtime.files import write_atomic
from stg.video.clips import by_id

COLUMNS = (
    "video", "start", "end", "caption", "confidence", "log_prob", "seconds", "truncated", "error", "warning", "chance",
    "level",
)  # fmt: skip
"""Of a table."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is a formula to a spreadsheet."""

SHARE = 0.05
"""Most of the time that goes into writing the file anew."""


class CaptionFile:
    """A file that captions are added to, one after another.

    It is written anew, whole or not at all, as often as costs :data:`SHARE` of the time, and when the block ends,
    whatever ended it: an error or Ctrl-C loses nothing, a killed process what came within the last moments.

    Args:
        path: its suffix, one of :data:`stg.config.captioning.OUT`, says in which form. Subtitles belong to one clip: of
            several, each has a file of its own in a folder, ``captions/NAME.srt`` for ``captions.srt``. The folder of
            the file is made if need be.
        clips: all that may come.
        n_best: candidates of each caption in JSON; 1: none.

    Raises:
        UserError: there is a folder of this name, or two clips would have one file of subtitles.
        StgError: (by all methods) it cannot be written.
    """

    def __init__(self, path: str | Path, clips: Iterable[Path], n_best: int = 1) -> None:
        self.path, self.n_best, self.files = Path(path), n_best, list[Path]()
        self.form = self.path.suffix.lower()
        names = {str(clip): clip for clip in clips}
        self._targets = dict[str, Path]()
        if self.form in SUBTITLES and len(names) > 1:
            folder = self.path.with_suffix("")
            ids = by_id(names.values())
            self._targets = {str(clip): folder / f"{name}{self.path.suffix}" for name, clip in ids.items()}
        for target in (self._targets or {"": self.path}).values():
            if target.is_dir():
                raise UserError(f"{str(target)!r} is a folder: give the name of a file for --out")
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(f"could not make the folder {target.parent}: {error.strerror or error}") from error
        self._target, self._rows, self._behind = self.path, list[ClipCaption](), False
        self._next = 0.0

    def add(self, found: ClipCaption) -> None:
        """Add a caption, or the reason why there is none; what is added of one clip comes in the order of time."""
        target = self._targets.get(found.video, self.path)
        if target != self._target:
            self._write()
            self._target, self._rows = target, []
        if found.error is None or self.form not in SUBTITLES:
            self._rows.append(found)
            self._behind = True
        if time.monotonic() >= self._next:
            self._write()

    def __enter__(self) -> "CaptionFile":
        return self

    def __exit__(self, *details: object) -> None:
        self._write()

    def _write(self) -> None:
        if not self._behind:
            return
        start = time.monotonic()
        write_atomic(self._target, text_of(self._rows, self.form, self.n_best))
        if self._target not in self.files:
            self.files.append(self._target)
        end = time.monotonic()
        self._behind, self._next = False, end + (end - start) * (1 / SHARE - 1)


def text_of(rows: Iterable[ClipCaption], form: str, n_best: int = 1) -> str:
    """Captions in a form of :data:`stg.config.captioning.OUT`.

    CSV begins with the mark by which spreadsheets know UTF-8, and no cell is a formula to them: a name gets ``./``,
    other text an apostrophe in front. SRT and WebVTT hold the captions that have words, each from its start to its end.
    """
    if form == ".csv":
        return "\ufeff" + _csv(rows)
    if form in SUBTITLES:
        return _subtitles([row for row in rows if row.caption], form)
    lines = [json.dumps(caption_record(row, n_best), ensure_ascii=False, allow_nan=False) for row in rows]
    return "".join(f"{line}\n" for line in lines) if form == ".jsonl" else "[\n" + ",\n".join(lines) + "\n]\n"


def caption_record(found: ClipCaption, n_best: int = 1) -> dict[str, Any]:
    """A caption as JSON holds it: its fields, without what it was made of, and its candidates if several are wanted."""
    record = {item.name: getattr(found, item.name) for item in fields(found)}
    del record["seen"]
    for name in ("warning", "chance", "level"):
        if record[name] is None:
            del record[name]
    # Who asks for one caption gets no list of one.
    del record["candidates"]
    if n_best > 1:
        record["candidates"] = [
            {"caption": one.text, "log_prob": one.log_prob, "score": one.score, "confidence": one.confidence}
            for one in found.candidates[:n_best]
        ]
    return record


def _csv(rows: Iterable[ClipCaption]) -> str:
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(COLUMNS)
    for row in rows:
        record = caption_record(row)
        # Still the same file, where an apostrophe would name another.
        video = f"./{row.video}" if row.video.startswith(FORMULA) else row.video
        table.writerow([video, *(_cell(record.get(column)) for column in COLUMNS[1:])])
    return text.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"'{value}" if str(value).startswith(FORMULA) else str(value)


def _subtitles(rows: Iterable[ClipCaption], form: str) -> str:
    cues = list[str]()
    for number, row in enumerate(rows, start=1):
        start = round(1000 * row.start)
        # A cue has to last; a picture without a length is shown for a second.
        end = max(start + 1, round(1000 * row.end) if row.end is not None else start + 1000)
        # A blank line ends a cue.
        text = " ".join(row.caption.split())
        if form == ".vtt":
            text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        cues.append(f"{number}\n{_time(start, form)} --> {_time(end, form)}\n{text}\n")
    return "\n".join(["WEBVTT\n", *cues] if form == ".vtt" else cues)


def _time(milliseconds: int, form: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    point = "." if form == ".vtt" else ","
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{rest:03d}"
