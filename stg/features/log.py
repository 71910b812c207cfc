"""The lists alongside a store: which clips were left out and why, and facts of those that were stored."""

import json
from collections.abc import Container, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stg.runtime.errors import UserError
from stg.runtime.files import append_jsonl, last_rows, noted, sha256_file, write_atomic
from stg.runtime.reading import counted, normal_id, read_bytes
from stg.runtime.stamps import Read, stamp_of
from stg.video.packets import VideoError


class ExtractionLog:
    """Appends to ``STORE.skipped.jsonl`` and ``STORE.clips.jsonl``.

    Args:
        store: path of the store.
        clips: False keeps no facts of what is stored.

    Attributes:
        skips: the list of clips that were left out; there is none where all are stored.
        clips: the list of clips that were stored; of two rows for one id the last holds.
        remake: ids whose graphs are in the store and are to be made again, as their clips have been replaced.
    """

    def __init__(self, store: str | Path, *, clips: bool = True) -> None:
        self.skips = Path(f"{store}.skipped.jsonl")
        self.clips = Path(f"{store}.clips.jsonl") if clips else None
        self.remake = set[str]()

    def skip(self, video: str, stage: str, error: Exception, kind: str | None = None) -> None:
        """Say that a clip is left out.

        Args:
            video: its id.
            stage: what was done with it: ``read``, ``extract``, ``store``, ``worker``, ``import``.
            error: why.
            kind: class of the error, where it was raised in another process.
        """
        row = {"id": video, "stage": stage, "error": kind or type(error).__name__, "message": str(error)}
        append_jsonl(self.skips, row | {"time": datetime.now(UTC).isoformat(timespec="seconds")})

    def settle(self, stored: Container[object]) -> None:
        """List each clip that is left out once, with its last reason; those that are stored now leave the list.

        Args:
            stored: ids; a list without any other is removed.
        """
        if not self.skips.exists():
            return
        before = self.skips.read_bytes()
        rows = last_rows(before.split(b"\n"))
        left = b"".join(line + b"\n" for video, line in rows.items() if video not in stored)
        if not left:
            self.skips.unlink()
        elif left != before:
            write_atomic(self.skips, left)

    def clip(self, row: Mapping[str, Any]) -> AbstractContextManager[None]:
        """State the facts of a clip, which is stored within the block (:func:`stg.runtime.files.noted`)."""
        return noted(lambda: self.note(row), replaces=row["id"] in self.remake)

    def holds(self, store: Container[str], video: str) -> bool:
        """Whether a clip needs no work: its graph is in the store, and is not to be made again."""
        return video in store and video not in self.remake

    def rows(self) -> dict[str, dict[str, Any]]:
        """What is stated of each clip, by id (:func:`stg.runtime.reading.normal_id`)."""
        if self.clips is None or not self.clips.exists():
            return {}
        found = last_rows(read_bytes(self.clips).split(b"\n"))
        return {normal_id(video): json.loads(line) for video, line in found.items()}

    def note(self, row: Mapping[str, Any]) -> None:
        """Append a row on a clip that is stored."""
        if self.clips is not None:
            append_jsonl(self.clips, dict(row))


@dataclass
class ClipChanges:
    """Which clips are still the files that their graphs were made from.

    Attributes:
        replaced: id -> what shows that it is another file now.
        unknown: ids of which that is not known: an earlier version extracted them.
        touched: id -> its row, where the same bytes have another stamp.
    """

    replaced: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    touched: dict[str, dict[str, Any]] = field(default_factory=dict)

    def words(self) -> str:
        """How many are replaced, and of the first few what shows it."""
        shown = "; ".join(f"{video!r}: {why}" for video, why in list(self.replaced.items())[:3])
        clips = counted(len(self.replaced), "clip", "is", "are")
        return f"{clips} not what was read for the store ({shown}{'; ...' if len(self.replaced) > 3 else ''})"


def require_same_clip(rows: Mapping[str, dict[str, Any]], video: str, path: Path) -> None:
    """Refuse a clip that is another file than the one that a graph was made from, where that is known.

    Raises:
        VideoError: saying what shows it.
    """
    if why := compare(rows, {video: path}).replaced.get(video):
        raise VideoError(f"{why}: it is not the clip that was read for the store (extract --refresh reads it again)")


def compare(rows: Mapping[str, dict[str, Any]], clips: Mapping[str, Path]) -> ClipChanges:
    """Compare clips, id -> path, with what :meth:`ExtractionLog.rows` says; only files of another stamp are read."""
    found = ClipChanges()
    for video, path in clips.items():
        row = rows.get(normal_id(video), {})
        try:
            before = Read.from_row(row)
        except (ValueError, TypeError, LookupError):
            found.unknown.append(video)
            continue
        try:
            now = stamp_of(path)
            if now[0] != before.stamp[0]:
                found.replaced[video] = f"{path} has {now[0]} bytes and had {before.stamp[0]}"
            elif now != before.stamp:
                if sha256_file(path) != before.sha256:
                    found.replaced[video] = f"{path} has the same size and another content"
                else:
                    found.touched[video] = row | Read(now, before.sha256).row()
        except OSError as error:
            found.replaced[video] = f"{path} cannot be read: {error.strerror or error}"
        except UserError as error:
            found.replaced[video] = str(error)
    return found
