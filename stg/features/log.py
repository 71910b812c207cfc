"""The lists alongside a store: which clips were left out and why, and facts of those that were stored."""

from collections.abc import Container, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stg.runtime.files import append_jsonl, last_rows, write_atomic


class ExtractionLog:
    """Appends to ``STORE.skipped.jsonl`` and ``STORE.clips.jsonl``.

    Args:
        store: path of the store.
        clips: False keeps no facts of what is stored.

    Attributes:
        skips: the list of clips that were left out; there is none where all are stored.
        clips: the list of clips that were stored; of two rows for one id the last holds.
    """

    def __init__(self, store: str | Path, *, clips: bool = True) -> None:
        self.skips = Path(f"{store}.skipped.jsonl")
        self.clips = Path(f"{store}.clips.jsonl") if clips else None

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

    def clip(self, row: Mapping[str, Any]) -> None:
        """State the facts of a clip, before it is stored: no stored clip lacks a row."""
        if self.clips is not None:
            append_jsonl(self.clips, dict(row))
