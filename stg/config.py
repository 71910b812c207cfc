"""What can be set. Frozen dataclasses, one per concern; only the commands see them.

The defaults are those of the built-in world, so that a bare ``python -m stg.fit`` does the main job in minutes. The
papers' values stand in ``stg/presets/``.
"""

import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

C = TypeVar("C")

Variant = Literal["full", "spatial", "temporal", "dense", "none"]
TimeFlow = Literal["literal", "forward", "both"]


def _positive(section: object, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        if value <= 0:
            raise ValueError(f"{name} must be greater than 0; got {value}")


def _not_negative(section: object, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        if value < 0:
            raise ValueError(f"{name} must not be negative; got {value}")


@dataclass(frozen=True)
class DataConfig:
    """Which videos and captions, and where their graphs are stored."""

    dataset: Literal["world", "msvd", "msrvtt", "vatex", "folder"] = "world"
    """world: moving objects, made on the spot. msvd, msrvtt, vatex: `root` holds their annotation files.
    folder: `root` holds one's own captions.csv or captions.jsonl."""
    root: str | None = None
    """Folder of the annotation files (not needed for the world)."""
    store: str | None = None
    """LMDB store of the video graphs. The world makes its own (default: stores/world-...); others: see stg.extract."""
    min_coverage: float = 0.1
    """Least share of a split's videos that must be in the store; below it the run is refused."""
    min_count: int = 2
    """Words rarer than this in the training captions become the unknown word."""
    max_words: int = 30
    """Captions are cut after this many words (checklist P33)."""
    language: Literal["en", "zh"] = "en"
    """zh: VATEX's Chinese captions (or a folder's own), one character a word."""
    strict: bool = False
    """Refuse an annotation with a video twice, a video without captions, or captions without a video."""

    def __post_init__(self) -> None:
        _positive(self, "min_count", "max_words")
        if self.language != "en" and self.dataset not in ("vatex", "folder"):
            raise ValueError(f"language {self.language} is for vatex and folder; {self.dataset} is English")
        if not 0 <= self.min_coverage <= 1:
            raise ValueError(f"min_coverage must lie in 0..1; got {self.min_coverage}")


@dataclass(frozen=True)
class WorldConfig:
    """The built-in world: how many videos, from which seed."""

    seed: int = 0
    """Another seed is another world; the seed of the training run is run.seed."""
    train: int = 600
    val: int = 100
    test: int = 200

    def __post_init__(self) -> None:
        _positive(self, "train", "val", "test")
        _not_negative(self, "seed")


@dataclass(frozen=True)
class GraphConfig:
    """Which edges of the stored graph are used, and how often they are walked."""

    variant: Variant = "full"
    """full: IoU edges inside frames and cosine edges between them; spatial, temporal: one kind; dense: all pairs."""
    time_flow: TimeFlow = "literal"
    """Direction of information along temporal edges: literal (Eq. 4: a node gathers from the next frame), forward,
    both."""
    layers: int = 3
    """Graph convolutions (Eq. 4)."""

    def __post_init__(self) -> None:
        _not_negative(self, "layers")


SceneStream = Literal["frames", "motion", "regions", "grid"]
ObjectStream = Literal["regions", "frames", "grid"]


@dataclass(frozen=True)
class STConfig:
    """Spatio-temporal attention of STaTS: places first, then time."""

    temporal: Literal["mean", "lstm", "mean+lstm", "temp_att", "mean+temp_att", "ranked", "mean+ranked"] = "mean+ranked"
    """How it goes through time (Table 2); the ranked ones add the ranking loss (loss.rank_weight)."""
    spatial: Literal["layout", "per_frame"] = "layout"
    """layout: one attention for all steps of a fixed grid, one a frame for detected regions; per_frame: always."""
    mean_join: Literal["linear", "add"] = "linear"
    """How mean+... joins its two halves."""
    rank_margin: float = 1.0
    """beta of Eq. 7."""
    rank_l2: bool = False
    """Keep the 1/2 |w|^2 of Eq. 4 in the ranking loss, which Eq. 6 drops."""

    def __post_init__(self) -> None:
        _not_negative(self, "rank_margin")


@dataclass(frozen=True)
class TSConfig:
    """Temporo-spatial attention of STaTS: a frame first, then places in it."""

    selection: Literal["soft", "straight_through", "hard", "topk"] = "soft"
    """How it takes a frame (Eq. 9): softmax at low temperature; its argmax with or without the gradient of the softmax;
    the softmax over the top_k frames."""
    at_test: Literal["same", "hard"] = "same"
    """hard: captions are made with the argmax, however the model was trained."""
    top_k: int = 3
    temperature: float = 0.1
    anneal_from: float | None = None
    """Temperature of the first epoch, falling geometrically to `temperature` in the last of optim.epochs (which early
    stopping may not reach, and which another optim.epochs on resume changes midway); null: no annealing."""
    summary: Literal["mean", "max"] = "mean"
    """What stands for a frame in the selection: mean or maximum of its places."""

    def __post_init__(self) -> None:
        _positive(self, "top_k", "temperature")
        if self.anneal_from is not None and self.anneal_from <= 0:
            raise ValueError(f"anneal_from must be greater than 0, or null for no annealing; got {self.anneal_from}")


@dataclass(frozen=True)
class STaTSConfig:
    """The STaTS decoder (Cherian et al., 2020); read where model.decoder is stats."""

    order: Literal["st", "ts", "stats"] = "stats"
    """st: space, then time; ts: a frame, then places in it; stats: both, weighed for every word (Eq. 12)."""
    scene_streams: tuple[SceneStream, ...] = ("frames",)
    """What the scene branch hands over: frames (motion fused in), motion apart, regions (raw objects), grid. Several
    streams have their st and ts each, and one gate over all."""
    object_streams: tuple[ObjectStream, ...] = ("regions",)
    """What the object branch hands over: regions (graph nodes), frames (their means), grid."""
    max_steps: int = 64
    """Most steps of the grid; of longer clips as many, evenly spread over the whole clip. 0: all of them."""
    st: STConfig = field(default_factory=STConfig)
    """Spatio-temporal attention."""
    ts: TSConfig = field(default_factory=TSConfig)
    """Temporo-spatial attention."""
    visual: Literal["input", "output"] = "input"
    """Where the attended video enters: the word LSTM, or (literal h_i = LSTM(h_{i-1}, y_i)) behind it, which lets all
    words be attended at once."""
    categories: int = 0
    """Classes that the videos come with ("C" of Table 4; 20 in MSR-VTT); 0: not used."""
    category_use: Literal["input", "target", "both"] = "input"
    """The class is read by the word LSTM, or predicted as a second task (loss.category_weight), or both."""
    category_dropout: float = 0.1
    """Share of training captions whose class is hidden, so that the model also captions without one."""

    def __post_init__(self) -> None:
        _not_negative(self, "categories", "max_steps")
        if not 0 <= self.category_dropout <= 1:
            raise ValueError(f"category_dropout must lie in 0..1; got {self.category_dropout}")
        for name in ("scene_streams", "object_streams"):
            streams = getattr(self, name)
            if not streams or len(set(streams)) < len(streams):
                raise ValueError(f"{name} must name at least one stream, each once; got {list(streams)}")


@dataclass(frozen=True)
class AttentionLSTMConfig:
    """The two-layer attention LSTM (Chen et al., 2019); read where model.decoder is attention_lstm."""

    memory: Literal["none", "temporal", "spatial"] = "temporal"
    """What the scene branch attends to. none: nothing but the global vector (the paper's vanilla); temporal: frames;
    spatial: the raw objects of all frames."""
    object_memory: Literal["temporal", "spatial"] = "spatial"
    """What the object branch attends to: spatial: the graph's nodes; temporal: their means in each frame."""
    summary: Literal["clip", "mean"] = "clip"
    """The global vector of the scene branch: a linear layer over mean scene, motion and sound features, or the mean of
    the frames. The object branch sees objects alone: it always takes the mean of its frames."""
    query_bias: bool = False
    """A bias on W_hc of Eq. 2, which prints none."""


@dataclass(frozen=True)
class ModelConfig:
    """The branches and their decoders."""

    branches: Literal["full", "scene", "object", "concat", "l2"] = "full"
    """full: scene and object branch with distillation (Pan et al.); scene, object: one alone; concat, l2: Table 3."""
    decoder: Literal["transformer", "stats", "attention_lstm"] = "transformer"
    """transformer (Pan et al.), stats (Cherian et al.), attention_lstm (Chen et al.); of either branch."""
    channels: int = 128
    """Width of features, Transformer and LSTMs (512 in Pan et al. and STaTS). In STaTS words have half of it, the
    attention a quarter."""
    layers: int = 2
    """Layers of the Transformer, and of its encoder."""
    heads: int = 8
    hidden: int = 256
    """Feed-forward width of the Transformer (1024 in the paper)."""
    dropout: float = 0.1
    """0.3 in the Transformer of the paper; 0.5 in the LSTMs."""
    views: Literal["one", "add", "attentive"] = "one"
    """one: frames and motion fused before the decoder (Eq. 6); add, attentive: two views, fused in every layer of the
    Transformer of the scene branch (TVT)."""
    stats: STaTSConfig = field(default_factory=STaTSConfig)
    """The STaTS decoder."""
    attention_lstm: AttentionLSTMConfig = field(default_factory=AttentionLSTMConfig)
    """The two-layer attention LSTM."""
    standardise: bool = True
    """Shift and scale features by their mean and deviation over the training videos (the paper takes them raw)."""
    concat_axis: Literal["channel", "time"] = "channel"
    """Where `concat` joins the branches: channels then a linear layer, or one after the other in time (P26)."""

    def __post_init__(self) -> None:
        _positive(self, "channels", "layers", "heads", "hidden")
        if self.channels % self.heads:
            raise ValueError(f"model.channels must be divisible by model.heads; got {self.channels} and {self.heads}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in 0..1 (1 excluded); got {self.dropout}")
        if self.views != "one" and self.decoder != "transformer":
            raise ValueError(f"model.views {self.views} is for model.decoder transformer; got {self.decoder}")
        st, ts, order = self.stats.st, self.stats.ts, self.stats.order
        if ts.anneal_from is not None and (self.decoder != "stats" or order == "st" or ts.selection == "hard"):
            raise ValueError(
                f"stats.ts.anneal_from={ts.anneal_from} needs decoder 'stats' with order 'ts' or 'stats' and a "
                f"selection with a temperature; got decoder {self.decoder!r}, order {order!r}, selection "
                f"{ts.selection!r}: set it to null"
            )
        in_order = self.decoder == "stats" and order != "ts" and st.temporal.endswith(("lstm", "ranked"))
        if self.branches == "concat" and self.concat_axis == "time" and in_order:
            raise ValueError(
                f"concat_axis='time' puts objects behind frames, and stats.st.temporal={st.temporal!r} reads the order "
                "of time in them: use concat_axis='channel'"
            )


@dataclass(frozen=True)
class LossConfig:
    """Eq. 8: object language + scene_weight * scene language + distill_weight * distillation."""

    scene_weight: float = 1.0
    distill_weight: float = 0.25
    """Weight of the distillation loss (Eq. 7), or of the L2 loss when branches is l2 (4 in the paper)."""
    kl: Literal["student_teacher", "teacher_student", "js"] = "student_teacher"
    """Direction of the divergence; student_teacher is Eq. 7 as printed."""
    temperature: float = 1.0
    detach_teacher: bool = False
    """Stop the gradient of the distillation into the object branch (off in the paper)."""
    reduction: Literal["positions", "batchmean"] = "positions"
    """Mean over real words, or their sum divided by the number of captions."""
    keep_empty: bool = False
    """Let captions of videos without any object count in the object and distillation losses (P15)."""
    rank_weight: float = 0.1
    """Weight of the ranking loss of STaTS (Eq. 6) in each branch that has one; the paper names none."""
    category_weight: float = 0.1
    """Weight of the class prediction, where model.stats.category_use asks for it."""

    def __post_init__(self) -> None:
        _positive(self, "temperature")
        _not_negative(self, "scene_weight", "distill_weight", "rank_weight", "category_weight")


@dataclass(frozen=True)
class OptimConfig:
    """How to train."""

    algorithm: Literal["adam", "rmsprop"] = "adam"
    """adam (Pan et al.), rmsprop (Cherian et al.)."""
    lr: float = 1e-3
    """Fixed step size (1e-4 in Pan et al. and in STaTS; Chen et al. name none)."""
    batch_videos: int = 16
    """Videos a step."""
    captions_per_video: int = 4
    """Captions a step of each of these videos; the video is read and encoded once for all of them."""
    epochs: int = 25
    epoch_captions: int | None = None
    """Captions of each video in one epoch, drawn anew each time; null: all of them."""
    patience: int = 10
    """Stop after this many epochs without a better validation CIDEr."""
    clip_norm: float = 0.0
    """Largest gradient norm; 0 leaves gradients alone, as the paper does."""
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    """Of Adam."""
    scheduled_sampling: float | None = None
    """eta: the given word is read with probability eta / (eta + exp(epoch / eta)), else the decoder's own (24 in
    STaTS); for recurrent decoders. null: always the given word."""
    own_word: Literal["sample", "argmax"] = "sample"
    """How scheduled sampling picks the decoder's own word."""

    def __post_init__(self) -> None:
        if self.scheduled_sampling is not None and self.scheduled_sampling <= 0:
            raise ValueError(f"scheduled_sampling must be greater than 0, or null; got {self.scheduled_sampling}")
        _positive(self, "lr", "batch_videos", "captions_per_video", "epochs", "patience")
        _not_negative(self, "clip_norm", "weight_decay")
        if self.epoch_captions is not None and self.epoch_captions <= 0:
            raise ValueError(f"epoch_captions must be greater than 0, or null for all; got {self.epoch_captions}")


@dataclass(frozen=True)
class RunConfig:
    """Where the run lives, and how it is repeated."""

    out: str | None = None
    """Run folder; default runs/<dataset>-<branches>-<variant>-<decoder>-seed<seed> (the Transformer is not named). An
    unfinished run in it is gone on with."""
    seed: int = 0
    """Weights, order, dropout, and the shuffle of the control."""
    control: Literal["none", "shuffle"] = "none"
    """shuffle: the same model on features shuffled between clips; what it scores, captions score without any video."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps."""
    threads: int | None = None
    """CPU threads; default: all cores."""
    save_minutes: float = 2.0
    """A checkpoint at least this often, besides one an epoch."""
    override: bool = False
    """Go on with a run although harmless options differ from those it was started with."""
    samples: int = 3
    """Validation captions shown after each epoch."""

    def __post_init__(self) -> None:
        _not_negative(self, "seed", "save_minutes", "samples")


@dataclass(frozen=True)
class FitConfig:
    """Train a captioner."""

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
    optim: OptimConfig = field(default_factory=OptimConfig)
    """Optimisation."""
    run: RunConfig = field(default_factory=RunConfig)
    """Run folder, seed, device."""


def to_dict(config: Any) -> dict[str, Any]:
    """A nested dataclass as plain dicts and lists, as YAML and JSON hold them."""
    values: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        values[item.name] = (
            to_dict(value) if is_dataclass(value) else list(value) if isinstance(value, tuple) else value
        )
    return values


def from_dict(config_class: type[C], values: Mapping[str, Any]) -> C:
    """The inverse of `to_dict`; unknown keys are errors that list the known ones."""
    known = {item.name: item for item in fields(config_class)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ValueError(f"unknown key {name!r} of {config_class.__name__}; known: {', '.join(known)}")
    made: dict[str, Any] = {}
    for name, value in values.items():
        kind = known[name].type
        if isinstance(kind, type) and is_dataclass(kind):
            value = from_dict(kind, value)
        elif isinstance(value, list) and get_origin(_plain(kind)) is tuple:
            value = tuple(value)
        made[name] = value
    return config_class(**made)


def _plain(kind: Any) -> Any:
    """``X`` of ``X | None``."""
    if get_origin(kind) in (Union, types.UnionType):
        return next(option for option in get_args(kind) if option is not type(None))
    return kind


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Dotted keys on which two nested dicts differ, with both values."""
    found: dict[str, tuple[Any, Any]] = {}
    for name in sorted(set(old) | set(new)):
        before, after = old.get(name), new.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found |= differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found[prefix + name] = (before, after)
    return found
