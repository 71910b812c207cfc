"""MSR-VTT (Xu et al., 2016) as its official annotation files lie on most disks."""

from pathlib import Path
from typing import Any

from stg.datasets.annotation import Captions
from stg.datasets.base import CaptionDataset
from stg.runtime.errors import UserError
from stg.runtime.reading import kind, read_json, require, require_id, shown

PAIR = ("train_val_videodatainfo.json", "test_videodatainfo.json")
WHOLE = ("MSRVTT_data.json", "videodatainfo_2017.json")
"""Names under which one file with every split is passed around."""
SPLITS = {"train": "train", "validate": "val", "test": "test"}
OFFICIAL = {"train": 6513, "val": 497, "test": 2990}
"""Videos in the split of the challenge of 2016; some papers print the total as the size of the training set."""
CATEGORIES = 20


def read_msrvtt(root: str | Path) -> CaptionDataset:
    """Read the English captions, the official split and the categories.

    ``root`` holds ``train_val_videodatainfo.json`` and ``test_videodatainfo.json``, or one file with every split
    (:data:`WHOLE`), or is that one file. Each has ``videos`` (``video_id``, ``split``: train, validate, test,
    ``category``: 0 to 19) and ``sentences`` (``video_id``, ``caption``); other keys are ignored. Ids are those of
    the annotation, ``videoN``: name the clips ``videoN.mp4``. Without the test file there is no test split, and a note
    says so. Numbers of videos other than :data:`OFFICIAL` are a note where all three splits are there.

    Raises:
        UserError: a file is missing, malformed or cut; an id, split or category cannot be one; a video in two splits.
    """
    root = Path(root)
    splits: dict[str, list[str]] = {}
    captions = Captions()
    category: dict[str, int] = {}
    for path in _files(root):
        content = read_json(path)
        if not isinstance(content, dict):
            raise UserError(f"{path} must hold an object with the keys 'videos' and 'sentences', got {kind(content)}")
        for number, row in enumerate(require(content, "videos", list, str(path))):
            where = f"{path} videos[{number}]"
            video = require_id(require(row, "video_id", str, where), where)
            splits.setdefault(_split(row, where), []).append(video)
            if "category" in row:
                category[video] = _category(row, where)
        # Sentences stand apart from their videos in these files, in no order.
        for number, row in enumerate(require(content, "sentences", list, str(path))):
            where = f"{path} sentences[{number}]"
            video = require_id(require(row, "video_id", str, where), where)
            captions.add(video, require(row, "caption", str, where))
    notes = list(captions.notes())
    found = {split: len(videos) for split, videos in splits.items()}
    if "test" not in splits:
        notes.append(f"{PAIR[1]} is not in {root}: there is no test split")
    elif found != OFFICIAL:
        listed = ", ".join(f"{split} {found.get(split, 0)} (official {count})" for split, count in OFFICIAL.items())
        notes.append(f"the numbers of videos are not those of the official split: {listed}")
    # In the usual order, whatever the order of the files.
    ordered = {split: splits[split] for split in OFFICIAL if split in splits}
    return CaptionDataset("MSR-VTT", captions.texts, ordered, category=category, notes=tuple(notes))


def _files(root: Path) -> list[Path]:
    if root.suffix == ".json":
        return [root]
    if (root / PAIR[0]).exists():
        return [root / name for name in PAIR if (root / name).exists()]
    for name in WHOLE:
        if (root / name).exists():
            return [root / name]
    raise UserError(f"{root} holds neither {' and '.join(PAIR)} nor {' nor '.join(WHOLE)}: give MSR-VTT's own files")


def _split(row: Any, where: str) -> str:
    name = require(row, "split", str, where)
    if name not in SPLITS:
        raise UserError(f"{where}: 'split' must be one of {', '.join(SPLITS)}, got {shown(name)}")
    return SPLITS[name]


def _category(row: Any, where: str) -> int:
    number: int = require(row, "category", int, where)
    if not 0 <= number < CATEGORIES:
        raise UserError(f"{where}: 'category' must lie in 0..{CATEGORIES - 1}, got {number}")
    return number
