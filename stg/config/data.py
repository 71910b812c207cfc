"""The data set, and the built-in world."""

from dataclasses import dataclass
from typing import Literal

from stg.config.plugins import check_name
from stg.config.schema import positive, seeds

MOST_WORDS = 10_000
"""Longest caption, in words: decoders keep a table of so many places."""

LARGEST_WORLD = 1_000_000
"""Most videos of the built-in world."""


@dataclass(frozen=True)
class DataConfig:
    """Which videos and captions, and where their graphs are stored."""

    dataset: str = "world"
    """world: moving objects, made on the spot. msvd, msrvtt, vatex: `root` holds their annotation files.
    folder: `root` holds one's own captions.csv or captions.jsonl."""
    root: str | None = None
    """Folder of the annotation files (not needed for the world)."""
    store: str | None = None
    """LMDB store of the video graphs. The world makes its own (default: stores/world-...); others: see stg.extract."""
    loading: Literal["ahead", "memory"] = "ahead"
    """ahead: the next batch is read while a step runs. memory: graphs are read once and kept, for a store on a slow or
    distant disk; refused where they do not fit."""
    min_coverage: float = 0.1
    """Least share of a split's videos, from 0 to 1, that must be in the store; below it the run is refused."""
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
