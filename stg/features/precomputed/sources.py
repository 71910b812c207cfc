"""Which contents of feature files each video of a store was made from, in a list alongside the store."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stg.runtime.files import append_jsonl
from stg.runtime.reading import normal_id, read_bytes
from stg.runtime.stamps import Read


@dataclass(frozen=True)
class Origin:
    """What a video was made from.

    Args:
        streams: name -> the stamp of its file, and the :func:`content_hash` of its array. A stream that does not have
            the video is absent.
        clip: frames of the clip and frames a second, where they are known.
    """

    streams: Mapping[str, Read]
    clip: tuple[int, float | None] | None = None


def content_hash(array: np.ndarray) -> str:
    """SHA-256 of the type, the shape and the numbers, whatever file they lie in and however that is packed."""
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class SourceList:
    """``STORE.sources.jsonl``: one row a video; of two for one id the last holds.

    A row is written before the video is stored, so that no video that was imported lacks one. Lines that are no rows,
    such as one that was cut off, do not count.

    Args:
        path: read if it is there.

    Raises:
        UserError: it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._origins: dict[str, Origin] = {}
        raw = read_bytes(self.path) if self.path.exists() else b""
        for line in raw.split(b"\n"):
            try:
                row = json.loads(line)
                streams = {name: Read.from_row(of) for name, of in row["streams"].items()}
                clip = row["clip"]
                self._origins[normal_id(row["id"])] = Origin(streams, None if clip is None else (clip[0], clip[1]))
            # A line that a kill cut off: its video counts as one without a note.
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
                continue

    def get(self, video: str) -> Origin | None:
        """What the video was made from, None where that is not known."""
        return self._origins.get(video)

    def add(self, video: str, origin: Origin) -> None:
        """Append a row."""
        streams = {name: read.row() for name, read in origin.streams.items()}
        append_jsonl(self.path, {"id": video, "streams": streams, "clip": origin.clip})
        self._origins[video] = origin
