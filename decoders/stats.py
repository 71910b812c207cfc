"""The spatio-temporal and temporo-spatial captioner of Cherian et al. (2020)."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from decoders.attention import MultiHeadAttention
from decoders.base import State, one_of
from decoders.lstm import LSTM
from decoders.memory import VideoMemory, mean_of_real
from decoders.ranked import ranking_loss
from decoders.recurrent import RecurrentDecoder, Trace
from decoders.stats_attention import (
    TEMPORAL_MODES,
    Parts,
    Selection,
    SpatioTemporal,
    Temporal,
    TemporoSpatial,
    UnitGate,
)
from decoders.streams import STREAMS, holds_something, take_stream

Order = Literal["st", "ts", "stats"]
CategoryUse = Literal["input", "target", "both"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "order": get_args(Order),
    "temporal": get_args(Temporal),
    "spatial": ("layout", "per_frame"),
    "mean_join": ("linear", "add"),
    "selection": get_args(Selection),
    "at_test": ("same", "hard"),
    "summary": ("mean", "max"),
    "visual": ("input", "output"),
    "category_use": get_args(CategoryUse),
}

_MAPS = {"st_frames": (3,), "st_regions": (4,), "st_items": (4,), "ts_frames": (3,), "ts_regions": ()}
"""Kinds of attention maps, and with how many axes they go over steps: ``st_regions`` may be one map for all steps."""


class STaTSDecoder(RecurrentDecoder):
    r"""Spatio-temporal and temporo-spatial attention under a word LSTM (Cherian et al., 2020, sections 3 and 4.1).

    .. math::
        s_i = \mathrm{selfatt}(y_0 .. y_{i-1}), \quad q_i = [s_i; h_{i-1}], \quad
        x_i = \mathrm{gate}(h_{i-1}, \{x_{ST}(q_i), x_{TS}(q_i)\}), \quad h_i = \mathrm{LSTM}(h_{i-1}, [y_{i-1}; x_i])

    `SpatioTemporal` (Eq. 3-8), `TemporoSpatial` (Eq. 9-11) and `UnitGate` (Eq. 12) hold the three parts. Every stream
    of features has units of its own, under one gate. Sizes are the paper's: 512 channels, 256 for words, 128 for
    attention; the memory's own projections are the 512-wide embedding of features. No two attentions share a parameter.

    Not in the paper, and chosen here: the self-attention is causal, over the embedded words read so far, and asked by
    the newest of them (`MultiHeadAttention` with one head); the visual query is ``[s; h]``, projected by the ``W_h``
    of each attention; ``h`` starts at zero; the video enters at the word LSTM's input. With ``visual="output"`` the
    LSTM is the printed ``h_i = LSTM(h_{i-1}, y_i)`` and the features are ``W [h_i; x_i] + b``: then all words of given
    captions attend in one go.

    Steps in which nothing is real are left out (see `streams.Stream`). A video without any has one zero vector.

    Losses in `forward_train`: ``rank`` (`ranking_loss`, mean over streams) where the temporal mode is ranked;
    ``category`` (cross-entropy of a linear classifier on the mean of the first stream) where the class is a target,
    over captions of known class in which some position counts. A class that is only a target changes no prediction: it
    is no part of what the decoder ``reads``, only of what it ``learns_from``.

    Args:
        vocabulary: number of words ``V``.
        channels: width ``C`` of streams, units and word LSTM.
        embedding: width ``E`` of words and classes.
        attention: width ``A`` of the attention spaces.
        streams: parts of the memory that are attended to, each once: "frames", "motion" (one vector a step), "regions",
            "grid" (several).
        order: "st", "ts", or "stats" for both.
        temporal, mean_join: see `SpatioTemporal`.
        spatial: "layout": one spatial attention for all steps of a grid, and one in each step for regions;
            "per_frame": one in each step for both.
        rank_margin: ``beta`` of Eq. 7.
        rank_l2: whether the ranking loss keeps ``|x_ST|^2 / 2`` of Eq. 4.
        selection, at_test, top_k, summary: see `TemporoSpatial`.
        temperature: of the selection of a frame; a buffer, which `anneal` sets.
        visual: "input" or "output", as above.
        categories: number of classes that a memory's ``category`` names; 0: it is not read.
        category_use: "input": the embedded class joins the word LSTM's input; "target": it is predicted; "both".
        category_dropout: share of captions whose class is hidden from the LSTM in training, so that the row for an
            unknown class is learned.
        dropout: share dropped of the features that ``output`` reads.
        max_length: most words read; None: any number.
        pad, bos, eos: special ids.

    Raises:
        ValueError: naming the argument that cannot be, or the part that a memory lacks or has in another width.

    Shapes:
        words ``[W L]``, memory of ``B`` videos, video ``[W]`` -> logits ``[W L V]``.
    """

    temperature: Tensor

    def __init__(
        self,
        vocabulary: int,
        channels: int = 512,
        embedding: int = 256,
        attention: int = 128,
        streams: tuple[str, ...] = ("frames",),
        order: Order = "stats",
        temporal: Temporal = "mean+ranked",
        spatial: Literal["layout", "per_frame"] = "layout",
        mean_join: Literal["linear", "add"] = "linear",
        rank_margin: float = 1.0,
        rank_l2: bool = False,
        selection: Selection = "soft",
        at_test: Literal["same", "hard"] = "same",
        top_k: int = 3,
        temperature: float = 0.1,
        summary: Literal["mean", "max"] = "mean",
        visual: Literal["input", "output"] = "input",
        categories: int = 0,
        category_use: CategoryUse = "input",
        category_dropout: float = 0.1,
        dropout: float = 0.5,
        max_length: int | None = None,
        pad: int = 0,
        bos: int = 1,
        eos: int = 2,
    ) -> None:
        super().__init__(vocabulary, channels, max_length, pad, bos, eos)
        chosen = (order, temporal, spatial, mean_join, selection, at_test, summary, visual, category_use)
        for (name, known), value in zip(_CHOICES.items(), chosen, strict=True):
            one_of(name, value, known)
        # Here, where the argument has its name: deeper down the same mistake would be a shape that does not fit.
        if not streams or len(set(streams)) < len(streams) or not set(streams) <= STREAMS.keys():
            raise ValueError(f"streams must name some of {', '.join(STREAMS)}, each once; got {list(streams)}")
        if temperature <= 0 or top_k < 1 or rank_margin < 0 or categories < 0 or not 0 <= category_dropout <= 1:
            raise ValueError(
                "temperature must be above 0, top_k at least 1, rank_margin and categories at least 0 and "
                f"category_dropout in 0..1; got {temperature}, {top_k}, {rank_margin}, {categories}, {category_dropout}"
            )
        self.streams, self.order, self.visual = streams, order, visual
        self.ranks = order != "ts" and TEMPORAL_MODES[temporal].ranked
        self.rank_margin, self.rank_l2 = rank_margin, rank_l2
        self.categories, self.category_dropout = categories, category_dropout
        # A buffer, so that a checkpoint keeps how far the annealing was.
        self.register_buffer("temperature", torch.tensor(temperature))
        # The query is [s; h], hence its width; each stream has units of its own, under one gate.
        widths = (embedding + channels, channels, attention)
        self.st, self.ts = nn.ModuleDict(), nn.ModuleDict()
        for name in streams:
            if order != "ts":
                shared = name == "grid" and spatial == "layout"
                self.st[name] = SpatioTemporal(*widths, STREAMS[name], temporal, shared, mean_join)
            if order != "st":
                self.ts[name] = TemporoSpatial(*widths, STREAMS[name], selection, at_test, top_k, summary)
        self.units = tuple(f"{name}.{kind}" for name in streams for kind in ("st", "ts") if order in (kind, "stats"))
        """What the gate weighs, in its order: ``STREAM.st``, ``STREAM.ts``."""
        # Weights are drawn in this order, on which those of a seed depend: units, gate, language.
        self.gate = UnitGate(len(self.units), channels, attention)
        self._make_language(embedding, category_use, dropout)

    def _make_language(self, embedding: int, category_use: CategoryUse, dropout: float) -> None:
        """The parts that read words and the class, and the word LSTM over them."""
        self.embedding = nn.Embedding(self.vocabulary, embedding, padding_idx=self.pad)
        self.self_attention = MultiHeadAttention(embedding, heads=1)
        # One row more than classes: the first is that of an unknown class.
        reads_class = self.categories and category_use != "target"
        self.category = nn.Embedding(self.categories + 1, embedding) if reads_class else None
        predicts_class = self.categories and category_use != "input"
        self.classifier = nn.Linear(self.channels, self.categories) if predicts_class else None
        width = embedding + (self.channels if self.visual == "input" else 0) + (embedding if reads_class else 0)
        self.lstm = LSTM(width, self.channels, batch_first=True)
        self.behind = nn.Linear(2 * self.channels, self.channels) if self.visual == "output" else None
        self.dropout = nn.Dropout(dropout)

    @property
    def reads(self) -> frozenset[str]:
        """The streams besides frames, and ``category`` where the class is an input."""
        return frozenset(self.streams) - {"frames"} | ({"category"} if self.category is not None else set())

    @property
    def learns_from(self) -> frozenset[str]:
        """The same, and ``category`` where the class is a target; a memory may lack it all the same."""
        return self.reads | ({"category"} if self.classifier is not None else set())

    def anneal(self, temperature: float) -> None:
        """Select frames at ``temperature`` from now on; see `Decoder.anneal`."""
        super().anneal(temperature)
        self.temperature.fill_(temperature)

    def init_state(self, memory: VideoMemory) -> State:
        """Streams with their keys, the class, a word LSTM at zero and no words."""
        state: State = {}
        for name in self.streams:
            stream = take_stream(memory, name, self.channels)
            parts: Parts = {"values": stream.values, "mask": stream.mask, "real": stream.real, "order": stream.order}
            # What does not depend on the words is computed once a video, not once a word.
            for units in (self.st, self.ts):
                if name in units:
                    unit = units[name]
                    assert isinstance(unit, SpatioTemporal | TemporoSpatial)
                    parts |= unit.prepare(stream)
            state |= _keep(name, parts)
        if self.categories:
            # Row 0 of the table stands for an unknown class, which memories give as -1.
            known = self._classes(memory) + 1
            state["memory.category"] = known
            if self.category is not None:
                state["category"] = self.category(known)
        zeros = memory.frames.new_zeros(memory.num_videos, self.channels)
        none = memory.frames.new_zeros(memory.num_videos, 0, self.embedding.embedding_dim)
        return state | {"hidden": zeros, "cell": zeros, "word_keys": none, "word_values": none}

    def read_words(self, words: Int[Tensor, "W L"]) -> Float[Tensor, "W L E"]:
        """``[y; s]`` of every position."""
        y = self.embedding(words)
        return torch.cat([y, self.self_attention(y, *self.self_attention.keys_values(y), causal=True)], -1)

    def read_word(self, word: Int[Tensor, " N"], state: State) -> tuple[Float[Tensor, "N E"], State]:
        """``[y; s]`` of one more word; earlier words are kept as keys and values."""
        y = self.embedding(word)[:, None]
        keys, values = self.self_attention.keys_values(y)
        # Causal attention over words needs only the keys so far: no earlier word is read again.
        keys, values = torch.cat([state["word_keys"], keys], 1), torch.cat([state["word_values"], values], 1)
        read = torch.cat([y, self.self_attention(y, keys, values)], -1)[:, 0]
        return read, state | {"word_keys": keys, "word_values": values}

    def recur(self, read: Float[Tensor, "N E"], state: State) -> tuple[Float[Tensor, "N C"], State, Trace]:
        """One word more: attend with ``h_{i-1}``, then the word LSTM. The trace is that of `attention`, with
        ``loss.rank.STREAM`` and ``loss.rank_norm.STREAM`` for the ranking loss."""
        y, s = read.chunk(2, -1)
        hidden = state["hidden"]
        # Captions of a video (references, beams) are neighbours: they share its keys without a copy.
        videos = len(_parts(state, self.streams[0])["real"])
        by_video = (videos, len(hidden) // videos)
        x, trace = self._attend(s.unflatten(0, by_video), hidden.unflatten(0, by_video), state)
        x = x.flatten(0, 1)
        # [y; x; class] as far as there are: with ``visual="output"`` x joins behind the LSTM.
        inputs = [y]
        if self.behind is None:
            inputs.append(x)
        if self.category is not None:
            inputs.append(state["category"])
        before = (hidden[None], state["cell"][None])
        _, (after, cell) = self.lstm(torch.cat(inputs, -1)[:, None], before)
        features = after[0] if self.behind is None else self.behind(torch.cat([after[0], x], -1))
        state = state | {"hidden": after[0], "cell": cell[0]}
        return self.dropout(features), state, {name: value.flatten(0, 1) for name, value in trace.items()}

    def unroll(self, words: Int[Tensor, "W L"], state: State) -> tuple[Float[Tensor, "W L C"], Trace]:
        """See `RecurrentDecoder.unroll`; with the video behind the word LSTM, all words at once."""
        if self.behind is None:
            return super().unroll(words, state)
        y, s = self.read_words(words).chunk(2, -1)
        if self.category is not None:
            y = torch.cat([y, state["category"][:, None].expand(-1, y.shape[1], -1)], -1)
        hidden, _ = self.lstm(y, (state["hidden"][None], state["cell"][None]))
        # The query of a word holds h_{i-1}, so the states are shifted by one.
        before = torch.cat([state["hidden"][:, None], hidden[:, :-1]], 1)
        x, trace = self._attend(s, before, state)
        return self.dropout(self.behind(torch.cat([hidden, x], -1))), trace

    def attention(
        self, words: Int[Tensor, "W L"], memory: VideoMemory, video: Int[Tensor, " W"] | None = None
    ) -> Trace:
        """What each prediction attends to: ``[:, t]`` belongs to what follows ``words[:, t]``.

        Steps are those of the memory, also where some were left out. All weights are 0 where nothing is real. Present
        is what the decoder has:

        - ``gate`` ``[W L U]``: of the `units`;
        - ``ts_frames.STREAM`` ``[W L F]``, ``ts_regions.STREAM`` ``[W L n]``: the step of TS, and places in it;
        - ``st_regions.STREAM`` ``[W L F n]``, or ``[W L n]`` where one attention serves all steps: the places of ST, in
          each step summing to 1;
        - ``st_frames.STREAM`` ``[W L F]``, ``st_items.STREAM`` ``[W L F n]``: attention to steps, or to all items.
        """
        state = self._start(words, memory, video)
        _, trace = self.unroll(words, state)
        maps = {"gate": trace["gate"]}
        for stream in self.streams:
            # Steps in which nothing is real were moved behind the others: put each back in its place.
            place = _parts(state, stream)["order"].argsort(1)
            # A video with nothing real was given a zero vector to attend to, which is no part of the memory.
            real = holds_something(memory, stream, self.channels)
            real = real if video is None else real.index_select(0, video)
            for kind, steps in _MAPS.items():
                if (value := trace.get(f"{kind}.{stream}")) is None:
                    continue
                if value.ndim in steps:
                    value = torch.take_along_dim(value, place.view(len(place), 1, -1, *(1,) * (value.ndim - 3)), 2)
                maps[f"{kind}.{stream}"] = value * real.view(-1, *(1,) * (value.ndim - 1))
        return maps

    def losses(self, trace: Trace, state: State, real: Bool[Tensor, "W L"]) -> dict[str, Tensor]:
        """``rank`` and ``category``, where the decoder has them."""
        losses = {}
        if self.ranks:
            # A mean over streams, so that rank_weight means the same for any number of them.
            streams = [self._rank(name, trace, state, real) for name in self.streams]
            losses["rank"] = torch.stack(streams).mean()
        if self.classifier is not None:
            first = _parts(state, self.streams[0])
            mean = mean_of_real(first["values"].flatten(1, 2), first["mask"].flatten(1), 1)
            # Captions of unknown class, or that do not count, have no target.
            counts = self._knows_class(state, real)
            target = torch.where(counts, state["memory.category"] - 1, -100)
            total = F.cross_entropy(self.classifier(mean), target, ignore_index=-100, reduction="sum")
            losses["category"] = total / counts.sum().clamp(min=1)
        return losses

    def loss_counts(self, state: State, real: Bool[Tensor, "W L"]) -> dict[str, Tensor]:
        """``category`` is a mean over captions."""
        return {"category": self._knows_class(state, real).sum()} if self.classifier is not None else {}

    def _knows_class(self, state: State, real: Bool[Tensor, "W L"]) -> Bool[Tensor, " W"]:
        return (state["memory.category"] > 0) & real.any(1)

    def _attend(
        self, s: Float[Tensor, "B K E"], hidden: Float[Tensor, "B K C"], state: State
    ) -> tuple[Float[Tensor, "B K C"], Trace]:
        # One query for all streams and units; each projects it by weights of its own.
        query = torch.cat([s, hidden], -1)
        # In the order of `units`, by which the gate's weights are named.
        units: list[Tensor] = []
        trace: Trace = {}
        for name in self.streams:
            parts = _parts(state, name)
            found: Parts = {}
            if name in self.st:
                x, found = self.st[name](query, parts)
                units.append(x)
            if name in self.ts:
                x, frames = self.ts[name](query, parts, self.temperature)
                units.append(x)
                found = found | frames
            trace |= {f"{key}.{name}": value for key, value in found.items()}
        x, weights = self.gate(units, hidden)
        return x, trace | {"gate": weights}

    def _rank(self, name: str, trace: Trace, state: State, real: Bool[Tensor, "W L"]) -> Float[Tensor, ""]:
        parts = _parts(state, name)

        def of_words(part: str) -> Tensor:
            # With one place a step nothing depends on the word: `prepare` has found it for the whole video.
            found = trace.get(f"{part}.{name}")
            return parts[f"st.{part}"][:, None] if found is None else found

        projections = of_words("loss.rank").expand(*real.shape, -1)
        norm = of_words("loss.rank_norm").expand(real.shape) if self.rank_l2 else None
        mask = parts["real"][:, None].expand_as(projections)
        return ranking_loss(projections, mask, self.rank_margin, real, norm)

    def _start(self, words: Int[Tensor, "W L"], memory: VideoMemory, video: Int[Tensor, " W"] | None) -> State:
        state = super()._start(words, memory, video)
        if self.category is not None and self.training and self.category_dropout:
            known = state["memory.category"]
            # Hidden from the input alone: the target of the class loss stays in the state.
            hidden = torch.rand(len(known), device=known.device) < self.category_dropout
            state["category"] = self.category(known.masked_fill(hidden, 0))
        return state

    def _classes(self, memory: VideoMemory) -> Int[Tensor, " B"]:
        given = memory.category
        if given is None:
            return torch.full((memory.num_videos,), -1, device=memory.frames.device)
        # Looking at values on an accelerator would stall it at every step.
        if given.device.type == "cpu" and len(outside := given[(given < -1) | (given >= self.categories)]):
            raise ValueError(
                f"a video has category {int(outside[0])}, the decoder knows 0..{self.categories - 1} and -1 for unknown"
            )
        return given


# A state is a flat dict of tensors, as the searches need it: what belongs to a stream is filed here, and only here.
def _keep(stream: str, parts: Parts) -> State:
    return {f"memory.{stream}.{part}": value for part, value in parts.items()}


def _parts(state: State, stream: str) -> Parts:
    prefix = f"memory.{stream}."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
