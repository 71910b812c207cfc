"""What can be set of the video-text embedding, and of its training."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from stg.config.data import DataConfig, WorldConfig
from stg.config.model import GraphConfig
from stg.config.plugins import loaded_plugins, plugin_hashes
from stg.config.schema import not_negative, positive, seeds
from stg.config.search import SearchConfig


@dataclass(frozen=True)
class EmbeddingConfig:
    """The two encoders."""

    video: Literal["mean", "graph", "mean+graph"] = "mean"
    """mean: a linear layer over the means of scene, motion and sound features; graph: the object graph, mean over its
    frames; mean+graph: their sum."""
    channels: int = 256
    """Width of the common space (1024 in VSE++)."""
    words: int = 128
    """Width of the vector of a word (300 in VSE++)."""
    hidden: int = 256
    """Width of the GRU that reads captions, in each direction."""
    bidirectional: bool = True
    """Read captions from both ends."""
    dropout: float = 0.2
    """Share of the values of words, of the states of captions and of the mean of the graph that training leaves out at
    random, in 0..1 (1 excluded)."""

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
    """Step size of Adam."""
    batch_videos: int = 64
    """Videos a step; the negatives come from among them and their captions."""
    captions_per_video: int = 2
    """Captions a step of each of these videos."""
    epochs: int = 30
    """Most passes over the training videos; patience may end training sooner."""
    epoch_captions: int | None = 10
    """Captions of each video in one epoch, drawn again each time; null: all of them."""
    patience: int = 10
    """Stop after this many epochs without a better sum of recalls on validation."""
    clip_norm: float = 2.0
    """Largest gradient norm (2 in VSE++); 0 leaves gradients alone."""
    weight_decay: float = 0.0
    """Factor of an L2 penalty on all weights, which is added to their gradient; 0: none."""

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
    """Folder of the embedding; default runs/<dataset>-embed-<video>-seed<seed>. Unfinished training is resumed."""
    seed: int = 0
    """Seed of weights, order, dropout, and of the shuffle of the control."""
    control: Literal["none", "shuffle"] = "none"
    """shuffle: the same model on features shuffled between clips, which is to find nothing."""
    evaluate: str | None = None
    """Do not train: print the recalls of the embedding in `out` on this split (val, test, ...), on its own data."""
    device: str = "auto"
    """auto: a GPU (CUDA) where there is one, else the CPU; or cpu, cuda, cuda:1, mps."""
    threads: int | None = None
    """CPU threads; default: all cores."""
    plugin: tuple[str, ...] = field(default_factory=loaded_plugins, metadata={"kept": True})
    plugin_sha256: tuple[str, ...] = field(default_factory=plugin_hashes, metadata={"kept": True})

    def __post_init__(self) -> None:
        seeds(self, "seed")
        if self.threads is not None:
            positive(self, "threads")


@dataclass(frozen=True)
class FuseConfig:
    """What to fuse, and how."""

    runs: tuple[str, ...] = field(metadata={"positional": True, "help": "Run folders, as printed by stg.fit."})
    out: str
    """The caption file to write; the scores go next to it (NAME-scores.json)."""
    embedding: str | None = None
    """rerank: folder of stg.embed."""
    split: str = "val"
    """val, test or train, or another that the data set has. Choose on val; use test once."""
    dataset: str | None = None
    """Of runs that have learned from several data sets (data.more) one by its name, such as msvd; or all, together. By
    default the first, data.dataset."""
    store: str | None = None
    """Graph store to read in place of those that the runs were trained with."""
    root: str | None = None
    """Folder of the annotation files, if they have moved since the training; of one of several data sets (data.more)
    NAME:FOLDER, with commas, such as msvd:/data/msvd."""
    method: Literal["rerank", "ensemble"] = "rerank"
    """rerank: the embedding chooses among the runs' captions; ensemble: the runs choose each word together."""
    mix: float = 0.0
    """rerank: weight of the mean log-probability of a caption's words, next to the cosine; 0: the cosine alone."""
    candidates: int = 5
    """rerank: captions that each run offers for a video."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """How each run searches for its captions, or the ensemble for its one."""
    fallback: str | None = None
    """A caption file for videos that no run has."""
    form: Literal["coco", "vatex"] = "coco"
    """coco: a list of image_id and caption; vatex: an object {video: caption}, as its challenge server takes it."""
    embedding_store: str | None = None
    """rerank: the graph store with the features that the embedding reads; by default the first run's that fits."""
    meteor: bool = True
    """Score by METEOR, too, next to BLEU, ROUGE-L and CIDEr; it needs Java and about 20 seconds to start. Other metrics
    are those of stg.evaluate."""
    device: str = "auto"
    """auto: a GPU (CUDA) where there is one, else the CPU; or cpu, cuda, cuda:1, mps."""
    force: bool = field(default=False, metadata={"flag": True, "help": "Replace the file --out."})

    def __post_init__(self) -> None:
        places = [Path(run).resolve() for run in self.runs]
        # By place, as two names may lead to one run, which would count twice.
        if twice := [run for run, place in zip(self.runs, places, strict=True) if places.count(place) > 1]:
            raise ValueError(f"the run {twice[0]} is given twice: give each once")
        if self.method == "ensemble":
            if len(self.runs) < 2:
                raise ValueError("an ensemble needs at least two runs, got 1")
            for name, default in (("embedding", None), ("embedding_store", None), ("mix", 0.0), ("candidates", 5)):
                if getattr(self, name) != default:
                    raise ValueError(f"--{name} is for --method rerank, not for an ensemble")
        elif self.embedding is None:
            raise ValueError("reranking needs --embedding FOLDER, as printed by stg.embed (or use --method ensemble)")
        if self.candidates < 1:
            raise ValueError(f"candidates must be at least 1; got {self.candidates}")
        if not 0 <= self.mix < float("inf"):
            raise ValueError(f"mix must be 0 or more; got {self.mix}")
        if self.method == "rerank" and self.candidates > 1:
            if self.search.greedy:
                raise ValueError("greedy search finds one caption a run: set --candidates 1, or search otherwise")
            if self.search.method == "diverse" and self.candidates > self.search.beam:
                raise ValueError(f"--candidates {self.candidates} do not fit --search.beam {self.search.beam}")
        if self.search.n_best != 1:
            raise ValueError(f"--search.n_best {self.search.n_best} is set by --candidates here")
        # For its errors: a search that cannot be is refused before any run is opened.
        self.searched()

    def searched(self) -> SearchConfig:
        """How captions are searched for: as many as are candidates, in a beam that holds them."""
        if self.method == "ensemble" or self.search.greedy:
            return self.search
        if self.search.method == "mbr":
            return replace(self.search, samples=max(self.search.samples, self.candidates), n_best=self.candidates)
        wide = self.search.beam if self.search.method != "beam" else max(self.search.beam, self.candidates)
        return replace(self.search, beam=wide, n_best=self.candidates)
