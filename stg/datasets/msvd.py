"""MSVD (Chen and Dolan, 2011) as its annotation files lie on most disks."""

import re
from pathlib import Path

from stg.datasets.annotation import Captions
from stg.datasets.base import CaptionDataset
from stg.runtime.errors import UserError
from stg.runtime.reading import read_text, require_id
from stg.text.tokenizer import tokenize

SPLITS = {"train": range(1, 1201), "val": range(1201, 1301), "test": range(1301, 1971)}
"""Numbers N of the videos ``vidN`` in each split, in the customary order of ``youtube_mapping.txt``."""
DISTINCT_WORDS = 13_010
"""Words of all captions before rare ones are cut off; depends on the tokenizer: this one finds 12,592."""


def read_msvd(root: str | Path) -> CaptionDataset:
    """Read the English captions and the customary 1200/100/670 split.

    ``root`` holds ``youtube_mapping.txt`` (lines ``clip vidN``) and, there or in ``captions/``, the files
    ``sents_{train,val,test}_lc_nopunc.txt`` (lines ``vidN<TAB>sentence``). The ids are the names of the clips without
    their suffix, as in a store made from the clips. Whether the clips exist is not checked: restrict the data set to
    what a store holds. Videos without captions (three validation clips in some copies) stay in their split, as
    :meth:`CaptionDataset.problems` reports; what was left out, and a whole annotation with another number of distinct
    words than :data:`DISTINCT_WORDS`, are notes.

    Raises:
        UserError: a file is missing; a line is not of its form; a clip or number stands twice in the mapping; captions
            of one split describe a video of another.
    """
    root = Path(root)
    clip = _read_mapping(root / "youtube_mapping.txt")
    # Both layouts are passed around.
    folder = root / "captions" if (root / "captions").is_dir() else root
    captions = Captions()
    for split, numbers in SPLITS.items():
        path = folder / f"sents_{split}_lc_nopunc.txt"
        for place, line in _lines(path):
            video, tab, sentence = line.partition("\t")
            number = _number(video)
            if not tab or number is None:
                raise UserError(f"{path} line {place}: expected 'vidN<TAB>sentence'; got {line[:60]!r}")
            if number not in numbers:
                raise UserError(
                    f"{path} line {place}: {video} is not a {split} video of MSVD (vid{numbers[0]} to vid{numbers[-1]})"
                )
            # Under the name of the clip, which is what stores know; a sentence
            # of a video without one shows as a problem.
            captions.add(clip.get(number, video), sentence)
    splits = {split: [clip[number] for number in numbers if number in clip] for split, numbers in SPLITS.items()}
    notes = captions.notes()
    if len(clip) >= sum(map(len, SPLITS.values())):  # a part of the data set has fewer words
        words = len({word for texts in captions.texts.values() for text in texts for word in tokenize(text)})
        if abs(words - DISTINCT_WORDS) > 0.05 * DISTINCT_WORDS:
            notes += (f"the captions hold {words} distinct words; papers count {DISTINCT_WORDS}",)
    return CaptionDataset("MSVD", captions.texts, splits, notes=notes)


def _read_mapping(path: Path) -> dict[int, str]:
    """Number N of ``vidN`` -> name of its clip."""
    clip: dict[int, str] = {}
    seen: set[str] = set()
    for place, line in _lines(path):
        parts = line.split()
        number = _number(parts[-1])
        if len(parts) != 2 or number is None:
            raise UserError(f"{path} line {place}: expected 'clip vidN'; got {line[:60]!r}")
        # Two numbers of one clip would put it into two splits.
        if number in clip or parts[0] in seen:
            raise UserError(f"{path} line {place}: {parts[0]} or {parts[1]} stands twice in the mapping")
        clip[number] = require_id(parts[0], f"{path} line {place}")
        seen.add(parts[0])
    return clip


def _number(video: str) -> int | None:
    match = re.fullmatch(r"vid([1-9][0-9]{0,8})", video, re.ASCII)
    return int(match[1]) if match else None


def _lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, with their numbers."""
    # Only line feeds end a line: a caption may hold other separators, and must not be split by them.
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [(place, line.rstrip("\r")) for place, line in lines if line.strip()]
