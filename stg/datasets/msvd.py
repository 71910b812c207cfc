"""MSVD (Chen and Dolan, 2011) as its annotation files lie on most disks."""

import re
import warnings
from pathlib import Path

from stg.datasets.base import CaptionDataset
from stg.errors import UserError

SPLITS = {"train": range(1, 1201), "val": range(1201, 1301), "test": range(1301, 1971)}
"""Numbers N of the videos ``vidN`` in each split, in the customary order of ``youtube_mapping.txt``."""


def read_msvd(root: str | Path) -> CaptionDataset:
    """Read the English captions and the customary 1200/100/670 split.

    ``root`` holds ``youtube_mapping.txt`` (lines ``clip vidN``) and, there or in ``captions/``, the files
    ``sents_{train,val,test}_lc_nopunc.txt`` (lines ``vidN<TAB>sentence``). The ids are the names of the clips without
    their suffix, as in a store made from the clips. Whether the clips exist is not looked at: restrict the data set to
    what a store holds. Videos without captions (three validation clips in some copies) stay in their split and are told
    by :meth:`CaptionDataset.problems`; empty captions are left out with a warning.

    Raises:
        UserError: a file is missing; a line is not of its form; a clip or number stands twice in the mapping; captions
            of one split describe a video of another.
    """
    root = Path(root)
    clip = _read_mapping(root / "youtube_mapping.txt")
    folder = root / "captions" if (root / "captions").is_dir() else root
    captions: dict[str, list[str]] = {}
    for split, numbers in SPLITS.items():
        path, empty = folder / f"sents_{split}_lc_nopunc.txt", 0
        for place, line in _lines(path):
            video, tab, sentence = line.partition("\t")
            number = _number(video)
            if not tab or number is None:
                raise UserError(f"{path} line {place}: expected 'vidN<TAB>sentence'; got {line[:60]!r}")
            if number not in numbers:
                raise UserError(
                    f"{path} line {place}: {video} is not a {split} video of MSVD (vid{numbers[0]} to vid{numbers[-1]})"
                )
            if sentence.strip():
                captions.setdefault(clip.get(number, video), []).append(sentence.strip())
            else:
                empty += 1
        if empty:
            warnings.warn(f"{path}: {empty} empty captions were left out", stacklevel=2)
    splits = {split: [clip[number] for number in numbers if number in clip] for split, numbers in SPLITS.items()}
    return CaptionDataset("MSVD", captions, splits)


def _read_mapping(path: Path) -> dict[int, str]:
    """Number N of ``vidN`` -> name of its clip."""
    clip: dict[int, str] = {}
    seen: set[str] = set()
    for place, line in _lines(path):
        parts = line.split()
        number = _number(parts[-1])
        if len(parts) != 2 or number is None:
            raise UserError(f"{path} line {place}: expected 'clip vidN'; got {line[:60]!r}")
        if number in clip or parts[0] in seen:
            raise UserError(f"{path} line {place}: {parts[0]} or {parts[1]} stands twice in the mapping")
        clip[number] = parts[0]
        seen.add(parts[0])
    return clip


def _number(video: str) -> int | None:
    match = re.fullmatch(r"vid([1-9][0-9]{0,8})", video, re.ASCII)
    return int(match[1]) if match else None


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"could not read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start})") from error
    # Only line feeds end a line: a caption may hold other separators, and must not be split by them.
    lines = enumerate(text.split("\n"), start=1)
    return [(place, line.rstrip("\r")) for place, line in lines if line.strip()]
