"""Predictions as COCO's result files hold them: a list of ``{"image_id": video, "caption": text}``."""

import json
from collections.abc import Mapping
from pathlib import Path

from stg.errors import UserError
from stg.files import read_json, write_atomic


def read_predictions(path: str | Path) -> dict[str, str]:
    """Read video -> caption, in the file's order. A whole-number id becomes text; other keys of a row are ignored.

    Raises:
        UserError: unreadable, not a list of such rows, or two captions for a video; names the file and the row.
    """
    rows = read_json(path)
    if not isinstance(rows, list):
        raise UserError(
            f'{path} must hold a list of {{"image_id": ..., "caption": ...}} at its top level, '
            f"got {_kind(rows)}: write one row a video"
        )
    found: dict[str, str] = {}
    first: dict[str, int] = {}
    for number, row in enumerate(rows):
        where = f"{path} row {number}"
        if not isinstance(row, dict):
            raise UserError(f'{where} must be {{"image_id": ..., "caption": ...}}, got {_kind(row)}: {row!r:.80}')
        for key in ("image_id", "caption"):
            if key not in row:
                raise UserError(f"{where} lacks the key {key!r}; it has {', '.join(map(repr, row)) or 'none'}")
        video, caption = row["image_id"], row["caption"]
        if isinstance(video, bool) or not isinstance(video, str | int):
            raise UserError(f"{where}: image_id must be text or a whole number, got {_kind(video)}: {video!r:.80}")
        if not isinstance(caption, str):
            raise UserError(
                f"{where}: the caption of video {video!r} must be text, got {_kind(caption)}: {caption!r:.80}"
            )
        video = str(video)
        if video in found:
            raise UserError(
                f"{where} is a second caption for video {video!r} (the first is row {first[video]}): keep one a video"
            )
        found[video], first[video] = caption, number
    return found


def write_predictions(path: str | Path, predictions: Mapping[str, str]) -> None:
    """Write video -> caption, one row a line, whole or not at all.

    Raises:
        StgError: the file cannot be written.
    """
    rows = (
        json.dumps({"image_id": video, "caption": caption}, ensure_ascii=False)
        for video, caption in predictions.items()
    )
    write_atomic(path, "[\n" + ",\n".join(rows) + "\n]\n")


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
