"""One's own videos: a folder of clips with ``captions.csv`` or ``captions.jsonl`` next to them."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from stg.datasets.annotation import Captions, Language
from stg.datasets.base import CaptionDataset
from stg.runtime.errors import UserError
from stg.runtime.reading import kind, normal_id, read_csv, read_json_lines, require_id, shown
from stg.video.clips import SUFFIXES

SPLITS = {"train": "train", "val": "val", "validation": "val", "validate": "val", "test": "test"}
TEST, VAL = 0.1, 0.1
"""Shares of the split by hash."""
Row = tuple[str, str, list[str], str | None]  # place, video, captions, split


def read_folder(root: str | Path, language: Language = "en") -> CaptionDataset:
    """Read the captions, and the split or a reproducible one.

    ``root`` holds one of

    - ``captions.csv``: the columns ``video``, ``caption`` and, if wanted, ``split``; one caption a row;
    - ``captions.jsonl``: a line ``{"video": ..., "caption": ...}`` or ``{"video": ..., "captions": [...]}``, with
      ``"split"`` if wanted.

    ``video`` is the name of the clip's file, with its suffix (one of :data:`SUFFIXES`) or without, blanks around it or
    not; the id is the name without them, as in a store made from the folder. ``split`` is train, val or test, for
    every row or for none. Without it each video is put by a hash of its id (:func:`hash_split`), whatever the order of
    the rows.

    Raises:
        UserError: no such file, or both; a row is malformed; an id cannot be one; two clips have one id; a video is in
            two splits; fewer than 3 videos to split.
    """
    root = Path(root)
    path = _file(root)
    captions = Captions(language)
    split_of: dict[str, str | None] = {}
    file_of: dict[str, str] = {}
    for where, name, texts, split in _csv_rows(path) if path.suffix == ".csv" else _json_rows(path):
        video = clip_id(name, where)
        name = normal_id(name) if isinstance(name, str) else name
        # a.mp4 and a.avi would be one video in the store, with the captions of both.
        if name != video and file_of.setdefault(video, name) != name:
            raise UserError(f"{where}: the clips {shown(file_of[video])} and {shown(name)} have one id: rename one")
        if split_of.setdefault(video, split) != split:
            raise UserError(
                f"{where}: video {shown(video)} has the split {split or 'none'} here and {split_of[video] or 'none'} "
                "before: scores on it would be worthless"
            )
        for text in texts:
            captions.add(video, text)
    # All rows or none: a video left out by mistake would otherwise vanish from training.
    given = {split is not None for split in split_of.values()}
    if len(given) > 1:
        bare = next(video for video, split in split_of.items() if split is None)
        raise UserError(f"{path}: video {shown(bare)} has no split, others have: give every row a split, or none")
    notes = list(captions.notes())
    # Splits that the user gives are taken as they are; an empty one is left out, where a test split may be.
    if True in given:
        splits = {name: [v for v, split in split_of.items() if split == name] for name in ("train", "val", "test")}
        splits = {name: videos for name, videos in splits.items() if videos}
    else:
        if len(split_of) < 3:
            raise UserError(f"{path} has {len(split_of)} video(s): at least 3 are needed for train, val and test")
        splits = hash_split(split_of)
        listed = ", ".join(f"{name} {len(videos)}" for name, videos in splits.items())
        notes.append(f"{path.name} names no splits: videos were put into them by a hash of their ids ({listed})")
    return CaptionDataset(root.name or "folder", captions.texts, splits, notes=tuple(notes))


def clip_id(name: object, where: str) -> str:
    """The id of a clip, given the name of its file or the id itself.

    Raises:
        UserError: the id cannot be one (:func:`~stg.runtime.reading.require_id`).
    """
    if isinstance(name, str):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in SUFFIXES:
            return require_id(stem, where)
    return require_id(name, where)


def hash_split(videos: Iterable[str]) -> dict[str, list[str]]:
    """About 80 % ``train``, 10 % ``val``, 10 % ``test``, by a hash of each id alone; each in the order given.

    The place of a video does not depend on the others, so that a growing folder never moves one from training to test,
    except that the nearest videos fill a split that would be empty (three videos at least).
    """
    videos = list(videos)
    if len(videos) < 3:
        raise ValueError(f"at least 3 videos are needed for train, val and test; got {len(videos)}")
    # Of the id alone: a video stays in its split when others are added, on every machine.
    share = {video: int.from_bytes(hashlib.sha256(video.encode()).digest()[:8]) / 2**64 for video in videos}
    ranked = sorted(videos, key=lambda video: (share[video], video))
    # At least one video a part, also in a folder so small that its hashes miss one.
    test = min(max(1, sum(value >= 1 - TEST for value in share.values())), len(videos) - 2)
    val = max(1, sum(1 - TEST - VAL <= value < 1 - TEST for value in share.values()))
    val = min(val, len(videos) - test - 1)
    bounds = {"train": (0, len(videos) - test - val), "val": (-test - val, -test), "test": (-test, None)}
    # By rank and not by the bounds themselves, so that parts that had to grow take the nearest videos.
    chosen = {name: set(ranked[first:last]) for name, (first, last) in bounds.items()}
    return {name: [video for video in videos if video in part] for name, part in chosen.items()}


def _file(root: Path) -> Path:
    found = [root / name for name in ("captions.csv", "captions.jsonl") if (root / name).exists()]
    if not found:
        raise UserError(f"{root} holds neither captions.csv nor captions.jsonl: write one beside the clips")
    if len(found) > 1:
        raise UserError(f"{root} holds captions.csv and captions.jsonl: keep one of them")
    return found[0]


def _csv_rows(path: Path) -> Iterator[Row]:
    for where, row in read_csv(path, ("video", "caption"), ("split",)):
        yield where, row["video"].strip(), [row["caption"]], _split(row["split"], where) if "split" in row else None


def _json_rows(path: Path) -> Iterator[tuple[str, Any, list[str], str | None]]:
    for where, row in read_json_lines(path):
        if not isinstance(row, dict):
            raise UserError(f'{where} must be {{"video": ..., "caption": ...}}, got {kind(row)}')
        if unknown := [key for key in row if key not in ("video", "caption", "captions", "split")]:
            raise UserError(f"{where} has the unknown key {shown(unknown[0])}; known: video, caption, captions, split")
        # Exactly one of the two: with both it would be a guess which was meant.
        if "video" not in row or ("caption" in row) == ("captions" in row):
            raise UserError(f"{where} must have the key 'video' and one of 'caption' and 'captions'")
        texts = [row["caption"]] if "caption" in row else row["captions"]
        if not isinstance(texts, list):
            raise UserError(f"{where}: 'captions' must be a list, got {kind(texts)}")
        for text in texts:
            if not isinstance(text, str):
                raise UserError(f"{where}: a caption must be text, got {kind(text)}")
        yield where, row["video"], texts, _split(row["split"], where) if "split" in row else None


def _split(name: object, where: str) -> str:
    if not isinstance(name, str) or name.strip().lower() not in SPLITS:
        raise UserError(
            f"{where}: 'split' must be train, val or test, got {shown(name) if isinstance(name, str) else kind(name)}"
        )
    return SPLITS[name.strip().lower()]
