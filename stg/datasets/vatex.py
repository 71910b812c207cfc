"""VATEX (Wang et al., 2019) as its official annotation files lie on most disks."""

from pathlib import Path

from stg.datasets.annotation import Captions, Language
from stg.datasets.base import CaptionDataset
from stg.runtime.errors import UserError
from stg.runtime.reading import kind, read_json, require, require_id

FILES = {
    "train": "vatex_training_v1.0.json",
    "val": "vatex_validation_v1.0.json",
    "test": "vatex_public_test_english_v1.1.json",
    "private": "vatex_private_test_without_annotations.json",
}
OFFICIAL = {"train": 25_991, "val": 3_000, "test": 6_000}
"""Videos in the official splits. Clips vanish from the web every year: papers train on fewer (25,442/2,933/5,781)."""
KEYS: dict[Language, str] = {"en": "enCap", "zh": "chCap"}


def read_vatex(root: str | Path, language: Language = "en") -> CaptionDataset:
    """Read the captions of one language and the official splits ``train``, ``val``, ``test`` and ``private``.

    ``root`` holds the files of :data:`FILES`, each a list of ``{"videoID": ..., "enCap": [10 captions], "chCap": [10
    captions]}``; the test files may be absent. Rows of the private test are objects without captions, or bare ids. Ids
    are those of the annotation (``<youtube id>_<start>_<end>``): name the clips so. Test splits without any caption of
    the language (Chinese references were never published) are ``unlabelled``. Clips that are gone are normal: restrict
    the data set to what a store holds.

    Args:
        language: ``en``, or ``zh`` with every Chinese character as a word of its own
            (:func:`~stg.datasets.annotation.clean_caption`).

    Raises:
        UserError: the training or validation file is missing or without captions of the language; a file is malformed
            or cut; an id cannot be one; a video is in two splits.
    """
    root, key = Path(root), KEYS[language]
    splits: dict[str, list[str]] = {}
    captions = Captions(language)
    unlabelled = []
    for split, name in FILES.items():
        path, needed = root / name, split in ("train", "val")
        # Test files come apart from the others, and not everybody has them.
        if not needed and not path.exists():
            continue
        rows = read_json(path)
        if not isinstance(rows, list):
            raise UserError(f"{path} must hold a list of videos at its top level, got {kind(rows)}")
        # Of the whole file: single videos without captions do not make a split unlabelled.
        labelled = any(isinstance(row, dict) and key in row for row in rows)
        if needed and not labelled:
            raise UserError(f"{path} holds no video with the key {key!r}: there are no captions to learn from")
        videos = []
        for number, row in enumerate(rows):
            where = f"{path} row {number}"
            # The list of the private test is of bare ids.
            if isinstance(row, str) and not labelled:
                videos.append(require_id(row, where))
                continue
            video = require_id(require(row, "videoID", str, where), where)
            videos.append(video)
            for place, text in enumerate(require(row, key, list, f"{where} (video {video!r})") if key in row else ()):
                if not isinstance(text, str):
                    raise UserError(f"{where}: caption {place} of video {video!r} must be text, got {kind(text)}")
                captions.add(video, text)
        splits[split] = videos
        if not labelled:
            unlabelled.append(split)
    notes = list(captions.notes())
    notes += [f"the split {split!r} comes without captions ({key})" for split in unlabelled]
    if "test" not in splits:
        notes.append(f"{FILES['test']} is not in {root}: there is no test split")
    if any(len(splits.get(split, ())) != count for split, count in OFFICIAL.items()):
        listed = ", ".join(f"{split} {len(splits.get(split, ()))} (official {n})" for split, n in OFFICIAL.items())
        notes.append(f"the numbers of videos are not those of the official annotation: {listed}")
    name = "VATEX" if language == "en" else "VATEX (Chinese)"
    return CaptionDataset(name, captions.texts, splits, unlabelled=tuple(unlabelled), notes=tuple(notes))
