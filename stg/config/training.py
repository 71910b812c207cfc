"""What can be set. Frozen dataclasses, one per concern; only the commands see them.

The defaults are those of the built-in world, so that a bare ``python -m stg.fit`` does the main job in minutes. The
papers' values stand in ``stg/presets/``.
"""

import math
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

from stg.config.data import DataConfig, WorldConfig
from stg.config.model import GraphConfig, ModelConfig
from stg.config.plugins import KINDS, check_name, known, loaded_plugins, plugin_hashes
from stg.config.schema import not_negative, positive, seeds


@dataclass(frozen=True)
class LossConfig:
    """Eq. 8: object language + scene_weight * scene language + distill_weight * distillation."""

    scene_weight: float = 1.0
    """Weight of the scene branch's language loss; that of the object branch has weight 1."""
    distill_weight: float = 0.25
    """Weight of the distillation loss (Eq. 7), or of the L2 loss when branches is l2 (4 in the paper)."""
    kl: Literal["student_teacher", "teacher_student", "js"] = "student_teacher"
    """Direction of the divergence; student_teacher is Eq. 7 as printed."""
    temperature: float = 1.0
    """Of the two distributions over words that the distillation compares: above 1, rare words count for more."""
    detach_teacher: bool = False
    """Stop the gradient of the distillation into the object branch (off in the paper)."""
    reduction: Literal["positions", "batchmean"] = "positions"
    """Of the losses: positions, the mean over real words; batchmean, their sum divided by the number of captions."""
    keep_empty: bool = False
    """Let captions of videos without any object count in the object and distillation losses."""
    rank_weight: float = 0.1
    """Weight of the ranking loss of STaTS (Eq. 6) in each branch that has one; the paper names none."""
    category_weight: float = 0.1
    """Weight of the class prediction, where model.stats.category_use asks for it."""
    word_weight: float = 0.0
    """Weight of predicting which words the captions of a video hold, from the memory of each decoder; 0: none. Words
    that more than half of the training videos have in their captions are not asked for."""

    def __post_init__(self) -> None:
        positive(self, "temperature")
        not_negative(self, "scene_weight", "distill_weight", "rank_weight", "category_weight", "word_weight")


@dataclass(frozen=True)
class TeacherConfig:
    """How the model of run.teacher teaches; loss.kl and loss.temperature shape the divergence."""

    what: Literal["logits", "features", "relations"] = "logits"
    """logits: its probabilities of the next word; features: the mean of what its decoder reads, onto which a linear
    layer maps that of the student; relations: the cosines of these means between the videos of a batch."""
    weight: float = 1.0
    """Weight of its loss, which is added to all others."""
    schedule: Literal["constant", "decay", "rise"] = "constant"
    """Of the weight: constant; falling linearly to 0, or rising linearly from 0, over optim.epochs (which early
    stopping may not reach)."""
    where: Literal["all", "better"] = "all"
    """all: every word; better: words of the caption to which the teacher gives a higher probability than the student
    does at the time."""
    baseline: str | None = None
    """Run folder that the teacher must beat on validation, such as that of the student's model trained without it;
    default: that of run.start. null without run.start: the scores are compared at the end."""

    def __post_init__(self) -> None:
        not_negative(self, "weight")
        if self.where == "better" and self.what != "logits":
            raise ValueError(
                f"teacher.where better compares words, which teacher.what {self.what} has none of: use all"
            )


@dataclass(frozen=True)
class OptimConfig:
    """How to train."""

    algorithm: str = "adam"
    """adam (Pan et al.), rmsprop (Cherian et al.)."""
    lr: float = 1e-3
    """Step size (1e-4 in Pan et al. and in STaTS; Chen et al. name none)."""
    batch_videos: int = 16
    """Videos a step."""
    captions_per_video: int = 4
    """Captions a step of each of these videos; the video is read and encoded once for all of them."""
    length_buckets: int = 1
    """From 2 on: captions of like length share a batch, which then is padded less. Items are sorted by length inside
    windows of so many batches, and the batches shuffled; it changes which captions meet in a step. 1: off."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: products of matrices in half the bytes; weights, losses and rewards stay float32. For GPUs and CPUs
    that have it in hardware; refused elsewhere."""
    epochs: int = 25
    """Most passes over the training videos; patience may end training sooner."""
    epoch_captions: int | None = None
    """Captions of each video in one epoch, drawn again each time; null: all of them."""
    patience: int = 10
    """Stop after this many epochs without a better validation CIDEr."""
    clip_norm: float = 0.0
    """Largest gradient norm; 0 leaves gradients alone, as the paper does."""
    weight_decay: float = 0.0
    """Factor of an L2 penalty on all weights, which is added to their gradient; 0: none."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Adam: decay of its means of the gradient and of the squared gradient."""
    scheduled_sampling: float | None = None
    """eta: the given word is read with probability eta / (eta + exp(epoch / eta)), else the decoder's own (24 in
    STaTS); for recurrent decoders. null: always the given word."""
    own_word: Literal["sample", "argmax"] = "sample"
    """How scheduled sampling picks the decoder's own word."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Of the step size: constant (the papers), or falling to a fiftieth of lr along a cosine over optim.epochs (which
    early stopping may not reach)."""
    warmup: float = 0.0
    """Epochs over which the step size rises from 0 to lr; 0: none."""
    ema: float | None = field(default=None, metadata={"unless_empty": True})
    """Decay of an exponential moving average of the weights, such as 0.999: validation, the exported model and captions
    use the average. null: the weights themselves."""

    def __post_init__(self) -> None:
        check_name("optimiser", "optim.algorithm", self.algorithm)
        if self.scheduled_sampling is not None and self.scheduled_sampling <= 0:
            raise ValueError(f"scheduled_sampling must be greater than 0, or null; got {self.scheduled_sampling}")
        positive(self, "lr", "batch_videos", "captions_per_video", "length_buckets", "epochs", "patience")
        not_negative(self, "clip_norm", "weight_decay", "warmup")
        if self.epoch_captions is not None and self.epoch_captions <= 0:
            raise ValueError(f"epoch_captions must be greater than 0, or null for all; got {self.epoch_captions}")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema must lie between 0 and 1, or be null for no average; got {self.ema}")


@dataclass(frozen=True)
class RewardConfig:
    """Training on scores of sampled captions (REINFORCE), mixed with cross-entropy."""

    weight: float = 0.0
    """g of (1 - g) * cross-entropy + g * reward loss: 0 for none, 0.5 in STaTS, 0.9 in VATEX."""
    from_epoch: int = 10
    """First epoch, from 0, that learns from rewards; patience counts from there. 0 with run.start."""
    cider: float = 1.0
    """Weight of CIDEr-D (0 to 10) in the reward; its document frequencies come from the training captions alone."""
    bleu4: float = 1.0
    """Weight of the sentence's smoothed BLEU-4 (0 to 1)."""
    meteor: float = 0.0
    """Weight of METEOR (0 to 1), which needs Java."""
    weights: dict[str, float] = field(default_factory=dict, metadata={"unless_empty": True})
    """Weights of rewards that plugins add, by name: {"mine": 0.5}. They are added to those above."""
    baseline: Literal["greedy", "leave_one_out"] = "greedy"
    """What a sample is compared with: the video's greedy caption (self-critical), or the mean of its other samples."""
    samples: int = 1
    """Captions drawn of each video of a step; leave_one_out needs two or more."""
    dropout: bool = False
    """Learn from drawn captions with the model's dropout. They are drawn without it, so that the gradient is no longer
    exactly that of the expected reward; but few videos are memorised without it."""
    lr: float | None = None
    """Step size while rewards are learned from; null: optim.lr."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"reward.weight must lie in 0..1; got {self.weight}")
        not_negative(self, "from_epoch", "cider", "bleu4", "meteor")
        positive(self, "samples")
        self._check_weights()
        if self.weight and not self.cider + self.bleu4 + self.meteor + sum(self.weights.values()):
            raise ValueError(
                "reward.weight is set and nothing is rewarded: set reward.cider, reward.bleu4, reward.meteor or "
                "reward.weights"
            )
        if self.baseline == "leave_one_out" and self.samples < 2:
            raise ValueError(f"baseline leave_one_out compares samples: samples must be 2 or more; got {self.samples}")
        if self.lr is not None and self.lr <= 0:
            raise ValueError(f"lr must be greater than 0, or null for that of optim; got {self.lr}")

    def _check_weights(self) -> None:
        for name, weight in self.weights.items():
            built_in = KINDS["reward"].built_in
            if name in built_in:
                raise ValueError(f"reward.weights is for rewards of plugins: the weight of {name} is reward.{name}")
            options = {one: f"reward.{one}" if one in built_in else repr(one) for one in known("reward")}
            if name not in options:
                added = ", ".join(one for one in options if one not in built_in) or "there is none"
                # Built-in rewards have options of their own, and are refused here.
                meant = "".join(f"; did you mean {options[one]}?" for one in get_close_matches(name, list(options), 1))
                raise ValueError(
                    f"a name in reward.weights must be one that a plugin adds ({added}); got {name!r}{meant} (--plugin "
                    "adds others)"
                )
            if not 0 <= weight < math.inf:
                raise ValueError(f"reward.weights must not be negative, nor infinite; got {weight} for {name}")
        # The two names are near enough to be taken for each other.
        if self.weights and not self.weight:
            raise ValueError(
                "reward.weights is set and reward.weight is 0, so that nothing is learned from rewards: set the share "
                "of rewards in the loss, reward.weight, to a number above 0, such as 0.5"
            )


@dataclass(frozen=True)
class RunConfig:
    """Where the run lives, and how it is repeated."""

    out: str | None = None
    """Run folder; default runs/<dataset>-<branches>-<variant>-<decoder>-seed<seed> (the Transformer is not named, a
    teacher adds -taught). An unfinished run in it is resumed."""
    start: str | None = None
    """Run folder of a trained model with the same settings of graph and model, whose weights this run begins with; with
    model.join gate also one of the scene branch."""
    teacher: str | None = None
    """Run folder of a trained model, of any kind but with the same words and features, from which this run also learns
    (`teacher`). It stays as it is, reads its own edges, and is not needed afterwards."""
    seed: int = 0
    """Seed of weights, order, dropout, and of the shuffle of the control."""
    control: Literal["none", "shuffle", "edges"] = "none"
    """shuffle: the same model on features shuffled between clips; what it scores, captions score without any video.
    edges: the same model on edges whose sources are exchanged at random inside each video."""
    device: str = "auto"
    """auto: a GPU (CUDA) where there is one, else the CPU; or cpu, cuda, cuda:1, mps."""
    threads: int | None = None
    """CPU threads of each process; default: all cores, or what torchrun sets (one)."""
    save_minutes: float = 2.0
    """Most minutes between two checkpoints; one is written after each epoch, too."""
    override: bool = False
    """Resume a run although harmless options differ from those it was started with."""
    samples: int = 3
    """Validation captions shown after each epoch."""
    trackers: str | None = field(default=None, metadata={"unless_empty": True})
    """Where losses and scores go in addition to metrics.jsonl, with commas: tensorboard, wandb (extras of these names),
    and what a plugin adds. One that fails is dropped with a warning, and training continues."""

    def __post_init__(self) -> None:
        seeds(self, "seed")
        not_negative(self, "save_minutes", "samples")
        for name in self.chosen_trackers():
            check_name("tracker", "run.trackers", name)

    def chosen_trackers(self) -> list[str]:
        """The names of the trackers, each once."""
        return [] if self.trackers is None else list(dict.fromkeys(name.strip() for name in self.trackers.split(",")))


@dataclass(frozen=True)
class TrainingSections:
    """What a training is made of, wherever it is kept: the sections that ``fit`` and ``ablate`` share."""

    data: DataConfig = field(default_factory=DataConfig)
    """Videos and captions."""
    world: WorldConfig = field(default_factory=WorldConfig)
    """The built-in world."""
    graph: GraphConfig = field(default_factory=GraphConfig)
    """Object graph."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Branches and decoders."""
    loss: LossConfig = field(default_factory=LossConfig)
    """Loss."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """Learning from the model of run.teacher."""
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimisation."""
    reward: RewardConfig = field(default_factory=RewardConfig)
    """Training on rewards."""


@dataclass(frozen=True)
class FitConfig(TrainingSections):
    """Train a captioner."""

    run: RunConfig = field(default_factory=RunConfig)
    """Run folder, seed, device."""
    plugin: tuple[str, ...] = field(default_factory=loaded_plugins, metadata={"kept": True})
    plugin_sha256: tuple[str, ...] = field(default_factory=plugin_hashes, metadata={"kept": True})

    def __post_init__(self) -> None:
        if self.reward.weight and self.reward.from_epoch >= self.optim.epochs:
            raise ValueError(
                f"reward.from_epoch {self.reward.from_epoch} is never reached in {self.optim.epochs} epochs "
                "(optim.epochs): begin earlier, train longer, or set reward.weight to 0"
            )
        if self.teacher.what == "relations" and self.optim.batch_videos < 2:
            raise ValueError(
                "teacher.what relations compares the videos of a step: set optim.batch_videos to 2 or more"
            )
        if self.run.teacher is None and self.teacher != TeacherConfig():
            raise ValueError("options below teacher. are for learning from another run: name it by run.teacher")
