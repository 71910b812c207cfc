"""What can be set of the video-text embedding, and of its training."""

from dataclasses import dataclass, field
from typing import Literal

from stg.config import DataConfig, WorldConfig
from stg.model_config import GraphConfig, not_negative, positive


@dataclass(frozen=True)
class EmbeddingConfig:
    """The two encoders."""

    video: Literal["mean", "graph", "mean+graph"] = "mean"
    """mean: a linear layer over the means of scene, motion and sound features; graph: the object graph, mean over its
    frames; mean+graph: their sum."""
    channels: int = 256
    """Width of the common space (1024 in VSE++)."""
    words: int = 128
    """Width of a word (300 in VSE++)."""
    hidden: int = 256
    """Width of the GRU, in each direction."""
    bidirectional: bool = True
    """Read captions from both ends."""
    dropout: float = 0.2
    """Of words, of the states of captions, and of the mean of the graph, before their last layers."""

    def __post_init__(self) -> None:
        positive(self, "channels", "words", "hidden")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in 0..1 (1 excluded); got {self.dropout}")


@dataclass(frozen=True)
class MatchingConfig:
    """How to train."""

    margin: float = 0.2
    """How much closer a caption is to be to its own video than to any other (0.2 in VSE++)."""
    hard_after: int = 1
    """Epochs in which all negatives count, before the hardest alone does; 0: the hardest from the start."""
    lr: float = 1e-3
    batch_videos: int = 64
    """Videos a step; the negatives come from among them and their captions."""
    captions_per_video: int = 2
    """Captions a step of each of these videos."""
    epochs: int = 30
    epoch_captions: int | None = 10
    """Captions of each video in one epoch, drawn anew each time; null: all of them."""
    patience: int = 10
    """Stop after this many epochs without a better sum of recalls on validation."""
    clip_norm: float = 2.0
    """Largest gradient norm (2 in VSE++); 0 leaves gradients alone."""
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        positive(self, "margin", "lr", "batch_videos", "captions_per_video", "epochs", "patience")
        not_negative(self, "hard_after", "clip_norm", "weight_decay")
        if self.epoch_captions is not None and self.epoch_captions <= 0:
            raise ValueError(f"epoch_captions must be greater than 0, or null for all; got {self.epoch_captions}")


@dataclass(frozen=True)
class EmbedConfig:
    """Train a video-text embedding, or evaluate one."""

    data: DataConfig = field(default_factory=DataConfig)
    """Videos and captions."""
    world: WorldConfig = field(default_factory=WorldConfig)
    """The built-in world."""
    graph: GraphConfig = field(default_factory=GraphConfig)
    """Object graph, where the videos' encoder reads it."""
    model: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    """Encoders."""
    optim: MatchingConfig = field(default_factory=MatchingConfig)
    """Loss and optimisation."""
    out: str | None = None
    """Folder of the embedding; default runs/<dataset>-embed-<video>-seed<seed>. Unfinished training is gone on with."""
    seed: int = 0
    """Weights, order, dropout, and the shuffle of the control."""
    control: Literal["none", "shuffle"] = "none"
    """shuffle: the same model on features shuffled between clips, which is to find nothing."""
    evaluate: str | None = None
    """Do not train: print the recalls of the embedding in `out` on this split (val, test, ...), on its own data."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    threads: int | None = None
    """CPU threads; default: all cores."""

    def __post_init__(self) -> None:
        not_negative(self, "seed")
        if self.threads is not None:
            positive(self, "threads")
