"""Caption files in every form that the commands take: merged and set side by side."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stg.runtime.errors import UserError
from stg.runtime.files import write_atomic
from stg.runtime.reading import (
    counted,
    normal_id,
    open_regular,
    read_json,
    read_json_lines,
    read_text,
    require,
    require_id,
    some,
)
from stg.video.clips import SUFFIXES
from stg.video.decoding import video_id


def read_predictions(path: str | Path) -> dict[str, str]:
    """Read video -> caption, in the file's order. A whole-number id becomes text; other keys of a row are ignored.

    Raises:
        UserError: unreadable, not a list of such rows, or two captions for a video; names the file and the row.
    """
    return _one_each(path, read_json(path))


def _one_each(path: str | Path, rows: Any) -> dict[str, str]:
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
        # One message for each fault, with its row: files of other tools are checked here, and trusted afterwards.
        for key in ("image_id", "caption"):
            if key not in row:
                raise UserError(f"{where} lacks the key {key!r}; it has {', '.join(map(repr, row)) or 'none'}")
        video, caption = row["image_id"], row["caption"]
        # JSON's true is an int in Python, and no id.
        if isinstance(video, bool) or not isinstance(video, str | int):
            raise UserError(f"{where}: image_id must be text or a whole number, got {_kind(video)}: {video!r:.80}")
        if not isinstance(caption, str):
            raise UserError(
                f"{where}: the caption of video {video!r} must be text, got {_kind(caption)}: {caption!r:.80}"
            )
        video = normal_id(str(video))
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


def read_captions(path: str | Path) -> dict[str, list[str]]:
    """Video -> captions, from COCO results, an object {video: caption} or {video: [captions]}, or what stg.caption
    writes as JSON, a list or lines.

    Raises:
        UserError: unreadable, of another form, a video twice, or without captions; names the file.
    """

    found: Any
    if Path(path).suffix == ".jsonl":
        found = _by_video(read_json_lines(path))
    elif not isinstance(found := read_json(path), list):
        pass
    elif any(_of_caption(row) for row in found):
        found = _by_video((f"{path} row {number}", row) for number, row in enumerate(found))
    else:
        found = _one_each(path, found)
    if not isinstance(found, dict):
        raise UserError(f"{path} must hold a list of image_id and caption, or an object {{video: caption}}")
    # One form for all that follows: a list, also of one caption.
    captions = {normal_id(video): [value] if isinstance(value, str) else value for video, value in found.items()}
    if len(captions) < len(found):
        raise UserError(f"{path} holds captions of one video under two spellings of its name: keep one of them")
    for video, texts in captions.items():
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UserError(
                f"{path}: the caption of video {video!r} must be text or a list of text, got {texts!r:.80}; "
                "expected COCO results (a list of image_id and caption) or an object {video: caption}"
            )
    if not any(captions.values()):
        raise UserError(f"{path} holds no captions")
    return captions


def _of_caption(row: object) -> bool:
    """Whether a row is one of stg.caption, and none of COCO results."""
    return isinstance(row, dict) and "video" in row and "caption" in row and "image_id" not in row


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
        with open_regular(path) as file:
            return file.read(4096).decode("utf-8-sig", "replace").lstrip().startswith("[")
    except UserError:
        return False


def short_names(files: Sequence[str]) -> list[str]:
    """What distinguishes the files: their paths without the folders, and the file name, that all share."""
    parts = [Path(path).parts for path in files]
    # Equal paths have no part that distinguishes them: these are numbered.
    if len(set(parts)) < len(parts) or len(parts) == 1:
        return [f"{place}: {Path(path).name}" if len(parts) > 1 else path for place, path in enumerate(files, 1)]
    # Shared folders in front, then shared file names behind, as in runs/A/evaluation/test.json.
    while len({part[0] for part in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [part[1:] for part in parts]
    while len({part[-1] for part in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [part[:-1] for part in parts]
    return [str(Path(*part)) for part in parts]


def clip_id(name: str) -> str:
    """The id of a clip that stg.caption names: of a file, as extract names it, so that captions of both meet."""
    place = Path(name)
    return video_id(place) if place.suffix.lower() in SUFFIXES else name


def _by_video(rows: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Where each caption of ``stg.caption`` stands, and it, by the ids of the clips; those that failed are left out."""
    found: dict[str, Any] = {}
    for where, row in rows:
        if not isinstance(row, dict) or not isinstance(row.get("video"), str) or "caption" not in row:
            raise UserError(f"{where} must be an object with video and caption, got {row!r:.80}")
        # A clip that failed and succeeded later has two lines; the one that failed says nothing of captions.
        if row.get("error") is None:
            video = clip_id(row["video"])
            if video in found:
                raise UserError(f"{where} is a second caption for video {video!r}: keep one a video")
            found[video] = row["caption"]
    return found


# --- merge


def merge_files(
    files: Sequence[str], out: str, *, videos: str | None = None, form: str = "coco", force: bool = False
) -> list[str]:
    """Write one caption file from several; returns lines for the user: how many captions came from which file.

    Args:
        files: caption files; of two that have a video, the earlier one counts.
        out: the file to write, whole or not at all.
        videos: a file that lists the ids to write (:func:`read_ids`); None: all that the files have.
        form: ``coco`` or ``vatex``.
        force: replace a file that is there.

    Raises:
        UserError: ``out`` is there or is one of the files; a file cannot be read; a video has no caption anywhere.
        StgError: ``out`` cannot be written.
    """
    # Refused before anything is read: writing over an input would lose it.
    target = Path(out)
    if target.resolve() in {Path(path).resolve() for path in (*files, *([videos] if videos else []))}:
        raise UserError(f"{out!r} is --out and one of the files to read: choose another --out")
    if target.exists() and not force:
        raise UserError(f"{out} is there already: choose another --out, or add --force to replace it")
    predictions = [read_predicted(path) for path in files]
    wanted = read_ids(videos) if videos else list(dict.fromkeys(video for found in predictions for video in found))
    merged, source = merge(predictions, wanted)
    write_captions(target, merged, form)
    lines = [f"{counted(source.count(place), 'caption')} from {path}" for place, path in enumerate(files)]
    # Said aloud: a list of another split would drop captions in silence.
    unlisted = set().union(*predictions) - set(wanted)
    if unlisted:
        lines.append(f"{counted(len(unlisted), 'video')} left out, not listed in {videos}")
    return [*lines, f"{out}: {counted(len(merged), 'caption')} written"]


def write_captions(path: str | Path, captions: Mapping[str, str], form: str) -> None:
    """Write one caption a video in COCO's or VATEX's form, whole or not at all."""

    if form == "coco":
        write_predictions(path, captions)
    else:
        write_atomic(path, json.dumps(captions, ensure_ascii=False, indent=0) + "\n")


def merge(predictions: Sequence[Mapping[str, str]], wanted: Iterable[str]) -> tuple[dict[str, str], list[int]]:
    """The caption of each wanted video, from the first predictions that have one with a word, and which these were.

    Raises:
        UserError: videos without a caption; says how many and names the first three.
    """

    merged: dict[str, str] = {}
    source: list[int] = []
    gaps = []
    for video in dict.fromkeys(wanted):
        # An empty caption counts as none, so that a fallback can fill it.
        place = next((place for place, found in enumerate(predictions) if found.get(video, "").strip()), None)
        if place is None:
            gaps.append(video)
        else:
            merged[video] = predictions[place][video]
            source.append(place)
    # A submission with gaps is refused or scored as wrong by the servers: nothing is written.
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

    ids: list[str] = []
    if holds_list(path):
        for number, row in enumerate(read_json(path)):
            where = f"{path} row {number}"
            # Rows may be ids or objects: both forms are passed around for the same test split.
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
    # A submission with a video twice is refused by the servers.
    for video in ids:
        if video in seen:
            raise UserError(f"{path} lists video {video!r} twice: list each once")
        seen.add(video)
    return ids


# --- side by side


@dataclass(frozen=True)
class VideoCaptions:
    """The captions of one video in several files (None: it has none there), and one reference."""

    video: str
    captions: tuple[str | None, ...]
    reference: str | None = None

    @property
    def different(self) -> bool:
        """Whether not all the files have the same caption."""
        return len(set(self.captions)) > 1


def side_by_side(
    predictions: Sequence[Mapping[str, str]], references: Mapping[str, Sequence[str]] | None = None
) -> list[VideoCaptions]:
    """The captions of each video, in the order in which the videos come up; of several references the first."""
    videos = dict.fromkeys(video for found in predictions for video in found)
    known = references or {}
    return [
        VideoCaptions(video, tuple(found.get(video) for found in predictions), next(iter(known.get(video, ())), None))
        for video in videos
    ]
