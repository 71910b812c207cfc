"""What can be set of a model: the graph, the branches and their decoders. See `stg.config.training`."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from stg.config.plugins import check_name, entry, near
from stg.config.schema import not_negative, positive

TimeFlow = Literal["literal", "forward", "both"]


@dataclass(frozen=True)
class GraphConfig:
    """Which edges of the stored graph are used, and how often they are walked."""

    variant: str = "full"
    """full: IoU edges inside frames and cosine edges between them; spatial, temporal: one kind; dense: all pairs;
    none: no edges; tracks: between the boxes of one object in neighbouring frames, where the store has tracks;
    spatial+tracks, full+tracks: those and the stored ones."""
    time_flow: TimeFlow = "literal"
    """Direction of information along temporal edges: literal (Eq. 4: a node gathers from the next frame), forward,
    both."""
    layers: int = 3
    """Number of graph convolutions (Eq. 4), one behind the other; 0: none."""
    conv: Literal["stg", "typed", "attention"] = "stg"
    """stg: the convolution of the paper; typed: with weights of its own for each kind of edge; attention: edges are
    weighed by what their ends are, the paper's weights being a prior. The last two read box, classes, score, motion,
    appearance and geometry."""
    box: Literal["none", "linear", "sinusoidal"] = "none"
    """Objects know their boxes and frame times besides their appearance, as numbers or as waves of them."""
    classes: int = 0
    """Number of classes that objects know, where the store has the labels of a detector (91 for COCO, whose labels
    are 1 to 90); 0: none."""
    score: bool = False
    """Objects know how sure the detector was of them."""
    motion: bool = False
    """Objects know how they move along their tracks."""
    appearance: bool = True
    """Objects know their features; false leaves what else they know."""
    geometry: bool = False
    """Edges know how their two boxes lie to each other, in space and time."""
    learned_temperature: bool = False
    """Learn the temperature of the softmax behind the weights of spatial and of temporal edges (1 in the paper)."""
    track_layers: int = 0
    """Convolutions over tracks, along all edges between their objects, for model.readout tracks: what two objects do
    to each other over time."""
    track_geometry: Literal["relative", "contact"] = "relative"
    """What these convolutions read of two boxes. relative: where one lies, seen from the other, in widths of it;
    contact: how near their borders are, and how fast that changes."""

    def __post_init__(self) -> None:
        check_name("variant", "graph.variant", self.variant)
        not_negative(self, "layers", "classes", "track_layers")
        if self.learned_temperature and self.time_flow != "literal":
            raise ValueError(
                "graph.learned_temperature needs graph.time_flow literal, as edges that are turned no longer sum to 1; "
                f"got {self.time_flow}"
            )
        paper = GraphConfig.__dataclass_fields__
        read = ("box", "classes", "score", "motion", "appearance", "geometry")
        changed = [name for name in read if getattr(self, name) != paper[name].default]
        if self.conv == "stg" and changed:
            raise ValueError(f"{changed[0]} is for graph.conv typed or attention; stg is the paper's")


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
    """Margin of the ranking loss (beta of Eq. 7)."""
    rank_l2: bool = False
    """Keep the ``|w|^2 / 2`` of Eq. 4 in the ranking loss, which Eq. 6 drops."""

    def __post_init__(self) -> None:
        not_negative(self, "rank_margin")


@dataclass(frozen=True)
class TSConfig:
    """Temporo-spatial attention of STaTS: a frame first, then places in it."""

    selection: Literal["soft", "straight_through", "hard", "topk"] = "soft"
    """How it takes a frame (Eq. 9): softmax at low temperature; its argmax with or without the gradient of the softmax;
    the softmax over the top_k frames."""
    at_test: Literal["same", "hard"] = "same"
    """hard: captions are made with the argmax, however the model was trained."""
    top_k: int = 3
    """topk: so many frames share the softmax."""
    temperature: float = 0.1
    """Of the softmax that takes a frame: the lower, the nearer to one frame alone."""
    anneal_from: float | None = None
    """Temperature of the first epoch, falling geometrically to `temperature` in the last of optim.epochs (which early
    stopping may not reach, and which another optim.epochs on resume changes midway); null: no annealing."""
    summary: Literal["mean", "max"] = "mean"
    """What represents a frame in the selection: mean or maximum of its places."""

    def __post_init__(self) -> None:
        positive(self, "top_k", "temperature")
        if self.anneal_from is not None and self.anneal_from <= 0:
            raise ValueError(f"anneal_from must be greater than 0, or null for no annealing; got {self.anneal_from}")


@dataclass(frozen=True)
class STaTSConfig:
    """The STaTS decoder (Cherian et al., 2020); read where model.decoder is stats."""

    order: Literal["st", "ts", "stats"] = "stats"
    """st: space, then time; ts: a frame, then places in it; stats: both, weighed for every word (Eq. 12)."""
    scene_streams: tuple[SceneStream, ...] = ("frames",)
    """What the scene branch passes on: frames (motion fused in), motion apart, regions (raw objects), grid. Several
    streams have their st and ts each, and one gate over all."""
    object_streams: tuple[ObjectStream, ...] = ("regions",)
    """What the object branch passes on: regions (graph nodes), frames (their means), grid."""
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
        not_negative(self, "categories", "max_steps")
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

    branches: Literal["full", "scene", "object", "concat", "l2", "joint"] = "full"
    """full: scene and object branch with distillation (Pan et al.); scene, object: one alone; concat, l2: Table 3;
    joint: one decoder attends to the frames of the scene and to the readout of the graph, at test time too."""
    decoder: str = "transformer"
    """transformer (Pan et al.), stats (Cherian et al.), attention_lstm (Chen et al.); of either branch."""
    channels: int = 128
    """Width of features, Transformer and LSTMs (512 in Pan et al. and STaTS). In STaTS words have half of it, the
    attention a quarter."""
    layers: int = 2
    """Layers of the Transformer, and of its encoder."""
    heads: int = 8
    """Attention heads of the Transformer; must divide channels."""
    hidden: int = 256
    """Feed-forward width of the Transformer (1024 in the paper)."""
    dropout: float = 0.1
    """Share of the values that training leaves out at random, in 0..1 (0.3 in Pan et al.; 0.5 in the LSTMs)."""
    views: Literal["one", "add", "attentive"] = "one"
    """one: frames and motion fused before the decoder (Eq. 6); add, attentive: two views, fused in every layer of the
    Transformer of the scene branch (TVT)."""
    stats: STaTSConfig = field(default_factory=STaTSConfig)
    """The STaTS decoder."""
    attention_lstm: AttentionLSTMConfig = field(default_factory=AttentionLSTMConfig)
    """The two-layer attention LSTM."""
    options: dict[str, Any] = field(default_factory=dict, metadata={"unless_empty": True})
    """Settings of a decoder that a plugin adds, by name: {"word_dropout": 0.1}."""
    standardise: bool = True
    """Shift and scale features by their mean and deviation over the training videos (the paper takes them raw)."""
    concat_axis: Literal["channel", "time"] = "channel"
    """Where `concat` joins the branches: channels then a linear layer, or one after the other in time."""
    join: Literal["sequence", "gate"] = "sequence"
    """How the decoder of `joint` attends to scene and graph: as one sequence, or to each by itself, the graph through a
    gate in each layer that begins at 0 (transformer): the model begins as that of the scene, and as its weights where
    run.start names a run of the scene branch."""
    readout: Literal["frames", "nodes", "tracks", "queries"] = "frames"
    """What a decoder attends to of the graph: the mean of each frame's objects (Pan et al.), each object, each track
    over all its frames (the store needs tracks: stg.store tracks), or what learned queries gather from all objects (as
    in HMN; loss.word_weight makes them learn words)."""
    queries: int = 16
    """Number of learned queries, for model.readout queries."""

    def __post_init__(self) -> None:
        check_name("decoder", "model.decoder", self.decoder)
        self._check_options()
        positive(self, "channels", "layers", "heads", "hidden", "queries")
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
        # An LSTM or a ranking over steps reads their order as time.
        in_order = self.decoder == "stats" and order != "ts" and st.temporal.endswith(("lstm", "ranked"))
        joined_in_time = self.branches == "concat" and self.concat_axis == "time"
        if in_order and (joined_in_time or self.branches == "joint"):
            setting, other = ("branches='joint'", "another stats.st.temporal, such as temp_att")
            if joined_in_time:
                setting, other = ("concat_axis='time'", "concat_axis='channel'")
            raise ValueError(
                f"{setting} puts objects behind frames, and stats.st.temporal={st.temporal!r} reads the order of time "
                f"in them: use {other}"
            )
        self._check_join()
        self._check_readout(in_order)

    def _check_join(self) -> None:
        if self.join == "sequence":
            return
        if self.branches != "joint":
            raise ValueError(f"join={self.join!r} is for branches joint, which reads both; got {self.branches}")
        if self.decoder in ("stats", "attention_lstm"):
            raise ValueError(
                f"join={self.join!r} needs a decoder that attends to scene and graph apart: {self.decoder} attends to "
                "one sequence of frames; use decoder transformer, or join sequence"
            )

    def _check_readout(self, in_order: bool) -> None:
        if self.readout == "frames":
            return
        if self.branches in ("scene", "concat", "l2"):
            raise ValueError(
                f"readout={self.readout!r} is for branches full, object or joint; {self.branches} reads "
                f"{'no graph' if self.branches == 'scene' else 'frames alone'}: leave it at frames"
            )
        # Regions are the objects of each frame, and the steps of a readout are no frames.
        streams = self.stats.object_streams
        of_steps = "frames" in streams and "regions" not in streams
        if self.branches != "joint" and self.decoder == "stats" and not of_steps:
            raise ValueError(
                f"readout={self.readout!r} is read as frames, and the STaTS decoder of the graph reads "
                f"{', '.join(streams)}: set stats.object_streams to frames"
            )
        spatial = self.attention_lstm.object_memory == "spatial"
        if self.branches != "joint" and self.decoder == "attention_lstm" and spatial:
            raise ValueError(
                f"readout={self.readout!r} is read as frames, and the LSTM of the graph attends to the objects of each "
                "frame: set attention_lstm.object_memory to temporal"
            )
        if in_order and self.branches != "joint":
            raise ValueError(
                f"readout={self.readout!r} is in no order of time, which stats.st.temporal={self.stats.st.temporal!r} "
                "reads: use another, such as temp_att"
            )

    def _check_options(self) -> None:
        if not self.options:
            return
        known = tuple(getattr(entry("decoder", self.decoder), "options", ()))
        if not known:
            raise ValueError(
                f"model.options is for a decoder of a plugin that names its settings in DecoderSpec.options; "
                f"model.decoder {self.decoder} names none: leave it out, or choose another decoder"
            )
        for name in self.options:
            if name not in known:
                raise ValueError(
                    f"model.options has {name!r}, which the decoder {self.decoder} does not take{near(name, known)}; "
                    f"it takes {', '.join(known)}"
                )
        try:
            kept = json.loads(json.dumps(self.options, allow_nan=False))
        except (TypeError, ValueError):
            kept = None
        # What is read back from the run must be what was asked for.
        if kept != self.options:
            raise ValueError(
                "model.options must hold finite numbers, texts, true, false, null, and lists and objects of these; got "
                f"{self.options!r:.80}"
            )
