"""The kinds of features that a model can read, and their widths."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphs import GraphData, segment_mean
from stg.config.extraction import OPTIONS_OF


@dataclass(frozen=True)
class FeatureWidths:
    """Feature widths that a model is built for; 0 where a feature is absent."""

    scene: int
    motion: int
    objects: int
    grid: int = 0
    audio: int = 0

    @classmethod
    def of(cls, graph: GraphData) -> "FeatureWidths":
        """The widths of one video's graph (or of a batch)."""
        return cls(**{kind: graph[name].shape[-1] if name in graph else 0 for name, (kind, *_) in FEATURES.items()})


class Feature(NamedTuple):
    """A kind of features: its name in settings and files, and what it is called."""

    kind: str
    called: str

    @property
    def options(self) -> str:
        """The options of ``stg.extract`` that make it."""
        return OPTIONS_OF[self.kind]


FEATURES = {
    "scene": Feature("scene", "scene"),
    "motion": Feature("motion", "motion"),
    "x": Feature("objects", "object"),
    "grid": Feature("grid", "grid"),
    "audio": Feature("audio", "sound"),
}
"""The kinds of features by their names in a batch."""


def feature(batch: GraphData, name: str) -> Tensor:
    """A feature of a batch that the model was built to read.

    Raises:
        ValueError: the batch lacks it, with how to extract it.
    """
    if name not in batch:
        kind = FEATURES[name]
        raise ValueError(
            f"this model was built with {kind.called} features and the batch has none: extract with {kind.options}"
        )
    return batch[name]


def clip_feature(reads: Iterable[str]) -> str | None:
    """The name in a batch of the features by which a clip is compared to others, of the kinds that a model reads.

    Frames before objects, which a video may have none of, and before motion; None: it reads none of these.
    """
    kinds = {"scene": "scene", "objects": "x", "motion": "motion"}
    return next((name for kind, name in kinds.items() if kind in set(reads)), None)


def clip_means(batch: GraphData, name: str) -> Float[Tensor, "B D"]:
    """Features of a batch averaged over each video; 0 for a video without any.

    Args:
        name: of :func:`clip_feature`.
    """
    rows = feature(batch, name).float()
    counts = {"scene": batch.num_frames, "x": batch.ptr.diff()}.get(name)
    if counts is None:
        counts = batch.motion_ptr.diff()
    return mean_of_videos(rows, counts)[0]


def mean_of_videos(
    rows: Float[Tensor, "M D"], counts: Int[Tensor, " B"]
) -> tuple[Float[Tensor, "B D"], Int[Tensor, " B"]]:
    """The mean of each video's rows, which stand one video after the other, and how many rows it has."""
    video = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    return segment_mean(rows, video, len(counts))
