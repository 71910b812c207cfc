"""The kinds of features that a model can read, and their widths."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor
from torch_geometric.data import Data


@dataclass(frozen=True)
class FeatureWidths:
    """Feature widths that a model is built for; 0 where a feature is absent."""

    scene: int
    motion: int
    objects: int
    grid: int = 0
    audio: int = 0

    @classmethod
    def of(cls, graph: Data) -> "FeatureWidths":
        """The widths of one video's graph (or of a batch)."""
        return cls(**{kind: graph[name].shape[-1] if name in graph else 0 for name, (kind, *_) in FEATURES.items()})


class Feature(NamedTuple):
    """A kind of features: its name in settings and files, what it is called, what `stg.extract` is told to make it."""

    kind: str
    called: str
    options: str


FEATURES = {
    "scene": Feature("scene", "scene", "a --backbone"),
    "motion": Feature("motion", "motion", "--motion i3d"),
    "x": Feature("objects", "object", "a --detector"),
    "grid": Feature("grid", "grid", "--motion i3d --grid true"),
    "audio": Feature("audio", "sound", "--sound vggish"),
}
"""The kinds of features by their names in a batch."""


def feature(batch: Data, name: str) -> Tensor:
    """A feature of a batch that the model was built to read.

    Raises:
        ValueError: the batch lacks it, with how to extract it.
    """
    if name not in batch:
        _, called, options = FEATURES[name]
        raise ValueError(f"this model was built with {called} features and the batch has none: extract with {options}")
    return batch[name]
