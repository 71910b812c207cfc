"""Caption files in every form that the commands take: who said what of which video."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stg.errors import UserError


def read_captions(path: str | Path) -> dict[str, list[str]]:
    """Video -> captions, from COCO results, an object {video: caption} or {video: [captions]}, or lines of stg.caption.

    Raises:
        UserError: unreadable, of another form, a video twice, or without captions; names the file.
    """
    from stg.datasets.annotation import read_json
    from stg.metrics.coco_json import read_predictions

    found: Any
    if Path(path).suffix == ".jsonl":
        found = _read_lines(path)
    else:
        found = read_predictions(path) if holds_list(path) else read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path} must hold a list of image_id and caption, or an object {{video: caption}}")
    captions = {video: [value] if isinstance(value, str) else value for video, value in found.items()}
    for video, texts in captions.items():
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UserError(
                f"{path}: the caption of video {video!r} must be text or a list of text, got {found[video]!r:.80}; "
                "expected COCO results (a list of image_id and caption) or an object {video: caption}"
            )
    if not any(captions.values()):
        raise UserError(f"{path} holds no captions")
    return captions


def read_predicted(path: str | Path) -> dict[str, str]:
    """Video -> its one caption, from any form of :func:`read_captions`; videos with an empty list are left out.

    Raises:
        UserError: as :func:`read_captions`, or a video has several captions; names the file.
    """
    captions = read_captions(path)
    for video, texts in captions.items():
        if len(texts) > 1:
            raise UserError(f"{path}: video {video!r} has {len(texts)} captions: expected one a video, of one model")
    return {video: texts[0] for video, texts in captions.items() if texts}


def holds_list(path: str | Path) -> bool:
    """Whether a file starts as a JSON list; one that cannot be read does not (its reader says why)."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return file.read(4096).lstrip().startswith("[")
    except OSError:
        return False


def short_names(files: Sequence[str]) -> list[str]:
    """What tells the files apart: their paths without the folders, and the file name, that all share."""
    parts = [Path(path).parts for path in files]
    if len(set(parts)) < len(parts) or len(parts) == 1:
        return [f"{place}: {Path(path).name}" if len(parts) > 1 else path for place, path in enumerate(files, 1)]
    while len({part[0] for part in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [part[1:] for part in parts]
    while len({part[-1] for part in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [part[:-1] for part in parts]
    return [str(Path(*part)) for part in parts]


def _read_lines(path: str | Path) -> dict[str, Any]:
    """The lines of ``stg.caption --json``; clips that could not be captioned are left out."""
    from stg.datasets.annotation import read_json_lines

    found: dict[str, Any] = {}
    for where, row in read_json_lines(path):
        if not isinstance(row, dict) or not isinstance(row.get("video"), str) or "caption" not in row:
            raise UserError(f"{where} must be an object with video and caption, got {row!r:.80}")
        if row.get("error") is None:
            if row["video"] in found:
                raise UserError(f"{where} is a second caption for video {row['video']!r}: keep one a video")
            found[row["video"]] = row["caption"]
    return found
