"""The data set, and the built-in world."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from stg.config.plugins import check_name, known, near
from stg.config.schema import positive, seeds

MOST_WORDS = 10_000
"""Longest caption, in words: decoders keep a table of so many places."""

LARGEST_WORLD = 1_000_000
"""Most videos of the built-in world."""

ALL = "all"
"""What `DataConfig.only` calls all data sets together."""


@dataclass(frozen=True)
class DataConfig:
    """Which videos and captions, and where their graphs are stored."""

    dataset: str = "world"
    """world: moving objects, made on the spot. msvd, msrvtt, vatex: `root` holds their annotation files.
    folder: `root` holds one's own captions.csv or captions.jsonl."""
    root: str | None = None
    """Folder of the annotation files (not needed for the world)."""
    more: str | None = field(default=None, metadata={"unless_empty": True})
    """Further data sets to learn from, NAME:ROOT each, with commas: msvd:/data/msvd. Their train and val videos join
    those of `dataset`, and their graphs lie in the same store (`stg.store merge`); see stg.evaluate --dataset."""
    upsample: int | None = field(default=None, metadata={"unless_empty": True})
    """How many times as many captions of a video of `more` are learned from in an epoch as of one of `dataset`, for a
    small data set beside a large one; null: as many."""
    store: str | None = None
    """LMDB store of the video graphs. The world makes its own (default: stores/world-...); others: see stg.extract."""
    loading: Literal["ahead", "memory"] = "ahead"
    """ahead: the next batch is read while a step runs. memory: graphs are read once and kept, for a store on a slow or
    distant disk; refused where they do not fit."""
    min_coverage: float = 0.1
    """Least share of a split's videos, from 0 to 1, that must be in the store; below it the run is refused. Once set,
    no warning asks whether names differ where most videos are missing."""
    min_count: int = 2
    """Words rarer than this in the training captions become the unknown word."""
    max_words: int = 30
    """Captions are cut after this many words."""
    language: Literal["en", "zh"] = "en"
    """zh: VATEX's Chinese captions (or a folder's own), one character a word."""
    strict: bool = False
    """Refuse an annotation with a video twice, a video without captions, or captions without a video."""

    def __post_init__(self) -> None:
        check_name("dataset", "data.dataset", self.dataset)
        positive(self, "min_count", "max_words")
        if self.max_words > MOST_WORDS:
            raise ValueError(f"max_words must be at most {MOST_WORDS}; got {self.max_words}")
        if self.language != "en" and self.dataset in ("world", "msvd", "msrvtt"):
            raise ValueError(f"language {self.language} is for vatex and folder; {self.dataset} is English")
        if not 0 <= self.min_coverage <= 1:
            raise ValueError(f"min_coverage must lie in 0..1; got {self.min_coverage}")
        self._check_more()

    @property
    def name(self) -> str:
        """What options and folders call the data set, if it is one of several."""
        return set_name(self.dataset, self.root)

    @property
    def sets(self) -> dict[str, "DataConfig"]:
        """The settings of each data set alone, by its name: of `dataset`, then of `more`."""
        alone = replace(self, more=None, upsample=None)
        others = [replace(alone, dataset=dataset, root=root) for dataset, root in split_more(self.more)]
        return {each.name: each for each in (alone, *others)}

    @property
    def names(self) -> str:
        """The names of all data sets, for that of a folder."""
        return "-".join(self.sets)

    def only(self, name: str | None, root: str | None = None) -> "DataConfig":
        """The settings of one data set by its name; None: of `dataset`, `ALL`: of all together.

        Args:
            root: where annotation files lie now: a folder, of that data set (of all together, of `dataset`); or
                NAME:FOLDER, several with commas, each of the data set of that name. None: where they were.

        Raises:
            ValueError: there is none of this name, or of one in ``root``; or the built-in world is given a ``root``.
        """
        sets = self.sets
        first, *others = sets
        key = first if name in (None, ALL) else str(name)
        if key not in sets:
            listed = ", ".join([*sets, ALL][: len(sets) + (len(sets) > 1)])
            raise ValueError(f"dataset must be one that the run has learned from ({listed}); got {name!r}")
        if root and sets[key].dataset == "world":
            raise ValueError(
                f"the built-in world has no annotation files, whose folder root is: leave it out; got {root!r}"
            )
        moved = _places(root, sets, key)
        places = {each: moved.get(each, settings.root) for each, settings in sets.items()}
        if name != ALL:
            return replace(sets[key], root=places[key])
        more = [f"{sets[each].dataset}:{places[each]}" for each in others]
        return replace(self, root=places[first], more=",".join(more) or None)

    def _check_more(self) -> None:
        if self.upsample is not None and (self.upsample < 1 or not self.more):
            wanted = "greater than 0, or null" if self.more else "null without data.more, of whose videos it is"
            raise ValueError(f"upsample must be {wanted}; got {self.upsample}")
        names = [self.name]
        for dataset, root in split_more(self.more):
            if not dataset or not root:
                raise ValueError(
                    f"more must be NAME:ROOT, several with commas, such as msvd:/data/msvd; got {self.more!r}"
                )
            check_name("dataset", "a name in data.more", dataset)
            if "world" in (dataset, self.dataset):
                raise ValueError("more joins data sets with annotation files, and the world has none: leave it out")
            names.append(set_name(dataset, root))
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"more must name other data sets than dataset, each once; {twice} is there twice")
        # Making them checks them, such as their language.
        _ = self.sets if self.more else None


def _places(root: str | None, sets: Mapping[str, DataConfig], bare: str) -> dict[str, str]:
    """Name of a data set -> where its annotation files lie now (`DataConfig.only`); a folder alone is of ``bare``."""
    if not root:
        return {}
    given = [one.strip().partition(":") for one in root.split(",")]
    # A path may hold colons and commas: it is one, unless a data set is named, or nearly.
    named = any(colon and (name in sets or name in known("dataset")) for name, colon, _ in given)
    meant = next((hint for name, colon, _ in given if colon and name not in sets and (hint := near(name, sets))), "")
    if not named and (not meant or Path(root).exists()):
        return {bare: root}
    if any(name not in sets or not folder for name, _, folder in given):
        raise ValueError(
            f"root must be a folder, or NAME:FOLDER, several with commas, of {', '.join(sets)}; got {root!r}{meant}"
        )
    return {name: folder for name, _, folder in given}


def set_name(dataset: str, root: str | None) -> str:
    """`DataConfig.name`: two folders of clips are two data sets."""
    return f"folder-{Path(root).name}" if dataset == "folder" and root else dataset


def split_more(more: str | None) -> list[tuple[str, str]]:
    """Name and root of each data set in `DataConfig.more`."""
    given = [one.strip().partition(":") for one in more.split(",")] if more else []
    return [(dataset, root) for dataset, _, root in given]


def same_sets(old: str | None, new: str | None) -> bool:
    """Whether two values of `DataConfig.more` name the same data sets, wherever their annotation files are."""
    return [set_name(*pair) for pair in split_more(old)] == [set_name(*pair) for pair in split_more(new)]


@dataclass(frozen=True)
class WorldConfig:
    """The built-in world: how many videos, from which seed."""

    seed: int = 0
    """Another seed is another world; training has seeds of its own."""
    train: int = 600
    """Videos to learn from."""
    val: int = 100
    """Videos by which the best epoch is chosen."""
    test: int = 200
    """Videos to test on, once all is chosen."""

    def __post_init__(self) -> None:
        positive(self, "train", "val", "test")
        if self.train + self.val + self.test > LARGEST_WORLD:
            raise ValueError(
                f"train, val and test must be at most {LARGEST_WORLD:,} videos in all; got "
                f"{self.train + self.val + self.test:,}"
            )
        seeds(self, "seed")
