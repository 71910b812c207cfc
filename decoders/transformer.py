"""The Transformer captioner of Pan et al. (2020), after TVT and Vaswani et al. (2017)."""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from decoders.base import Decoder, Pick, State, TrainOutput
from decoders.layers import DecoderLayer, Encoder, KeysValues, Masks, initialise, sinusoids
from decoders.memory import VideoMemory, keep_one_key
from decoders.packing import Packing
from decoders.word_cache import WordCache

FUSIONS = ("add", "attentive")
_HIDDEN = {"objects": "memory.hidden.objects"}
"""By view: what of a state hides its padding; motion has that of the frames."""


class TransformerDecoder(Decoder):
    """Encoder over frames and decoder over words (Pan et al., 2020, sections 3.4 and 4.3; Vaswani et al., 2017).

    The encoder is part of the class: a memory's frames come in as projected features, unencoded. Sizes are the paper's:
    2 + 2 layers, 8 heads, 512 channels, 1024 in the feed-forward layers ("hidden dimension"), dropout 0.3. Post-norm
    layers, sinusoidal positions on frames and on words, word vectors times ``sqrt(C)``, and an output layer of its own
    (not tied to the word vectors).

    Literal is what Pan et al. state: the sizes, and that the encoder takes one sequence of features. They adopt TVT
    (Chen et al., ACML 2018), whose text was not available; its abstract speaks of two views and of two kinds of
    fusion block in the decoder layers. A reading, with ``fusion``: frames and motion have an encoder each, every
    decoder layer attends to both with the same word states, and the two results are added (`AddFusion`) or weighted by
    a learned gate (`AttentiveFusion`) before the residual. Without ``fusion`` it is the plain Transformer on frames.

    With ``gated`` every layer also attends to the memory's ``objects``, of an encoder of their own, through a gate that
    begins at 0 (`DecoderLayer`): the decoder begins as the one without.

    Departures: none from section 5.4 of Vaswani et al. on where dropout acts, other than that frame features (for which
    there is no embedding) are not scaled before the positions are added. Weights start as `initialise` says.

    Args:
        vocabulary: number of words ``V``.
        channels: width ``C`` of frames, motion and word states.
        num_layers: decoder layers.
        num_encoder_layers: encoder layers of each view; 0: the views are attended to as they come (plus positions).
        heads: attention heads.
        hidden: width of the feed-forward layers.
        dropout: share dropped of each sub-layer's output and of the embedded words and frames.
        max_length: most words read, ``bos`` included. Frames are not limited.
        pad, bos, eos: special ids.
        fusion: None (one view), "add" or "attentive" (two views; the memory must carry ``motion``).
        gated: whether it attends to ``objects`` too, which the memory must then carry.

    Shapes:
        words ``[W L]``, memory of ``B`` videos, video ``[W]`` -> logits ``[W L V]``.

    Note:
        `step` goes through `torch.export` and `torch.compile` (with ``fullgraph=True``), for any number of videos,
        steps and words read. `torch.export` itself takes sizes of 1 and 0 for other programs: an exported step is for
        two videos or more, and at least one word read.
    """

    positions: Tensor

    def __init__(
        self,
        vocabulary: int,
        channels: int = 512,
        num_layers: int = 2,
        num_encoder_layers: int = 2,
        heads: int = 8,
        hidden: int = 1024,
        dropout: float = 0.3,
        max_length: int = 64,
        pad: int = 0,
        bos: int = 1,
        eos: int = 2,
        fusion: Literal["add", "attentive"] | None = None,
        gated: bool = False,
    ) -> None:
        super().__init__(vocabulary, channels, max_length, pad, bos, eos)
        if num_layers < 1 or num_encoder_layers < 0:
            raise ValueError(
                f"at least one decoder layer is needed, got {num_layers} (and {num_encoder_layers} encoder)"
            )
        if fusion not in (None, *FUSIONS):
            raise ValueError(f"fusion must be None or one of {', '.join(FUSIONS)}; got {fusion!r}")
        views = ["frames"] + ["motion"] * (fusion is not None) + ["objects"] * gated
        self.views = tuple(views)
        self.fusion = fusion
        self.embedding = nn.Embedding(vocabulary, channels, padding_idx=pad)
        self.dropout = nn.Dropout(dropout)
        self.encoders = nn.ModuleDict(
            {view: Encoder(num_encoder_layers, channels, heads, hidden, dropout) for view in self.views}
        )
        self.layers = nn.ModuleList(
            DecoderLayer(channels, heads, hidden, dropout, self.views, fusion or "add", gated)
            for _ in range(num_layers)
        )
        # Not kept in checkpoints: they follow from the sizes.
        self.register_buffer("positions", sinusoids(max_length, channels), persistent=False)
        initialise(self)

    @property
    def reads(self) -> frozenset[str]:
        """``motion``, where there are two views; ``objects``, where they are read through a gate."""
        return frozenset(self.views) - {"frames"}

    def features(
        self, words: Int[Tensor, "W L"], memory: VideoMemory, video: Int[Tensor, " W"] | None = None
    ) -> Float[Tensor, "W L C"]:
        """Word states after the last layer; see `Decoder.features`.

        Pads need no mask of their own: they stand at the end, where the causal mask hides them from every real word.
        """
        return self._features(words, memory, video, None)

    def forward_train(
        self,
        words: Int[Tensor, "W L"],
        memory: VideoMemory,
        video: Int[Tensor, " W"] | None = None,
        *,
        real: Bool[Tensor, "W L"] | None = None,
        own_words: float = 0.0,
        pick: Pick = "sample",
    ) -> TrainOutput:
        """See `Decoder.forward_train`. With ``real``, pads cost only a place in the attention; features are 0 there.

        Dropout draws its numbers for the words that are left, so other ones than `features` would.
        """
        self.refuse_own_words(own_words)
        return TrainOutput(self._features(words, memory, video, None if real is None else Packing.of(real)), words)

    def attention(
        self, words: Int[Tensor, "W L"], memory: VideoMemory, video: Int[Tensor, " W"] | None = None
    ) -> dict[str, Tensor]:
        """What each prediction attends to: ``[:, t]`` belongs to what follows ``words[:, t]``.

        For each view, ``frames`` and where they are read ``motion`` and ``objects``:

        - ``VIEW`` ``[W L F]``: the mean of the following, so that a prediction's row sums to 1;
        - ``layers.VIEW`` ``[W L N H F]``: the weights of every head of every decoder layer.

        What is attended to is what the encoder made of a frame, others mixed in. All weights of a video without real
        frames are 0, and so are those of one without objects.
        """
        self.check(words, memory, video)
        views, masks = self._read(memory)
        real = {view: self._mask(memory, view) for view in self.views}
        if video is not None:
            masks, real = ({view: mask.index_select(0, video) for view, mask in of.items()} for of in (masks, real))
        x = self._embed(words, None)
        found: dict[str, list[Tensor]] = {view: [] for view in self.views}
        # By the layers' own code for weights: the fast kernel gives none.
        for number, layer in enumerate(self._layers()):
            x, weights = layer.attend(x, {view: _rows(views[view, number], video) for view in self.views}, masks)
            for view in self.views:
                found[view].append(weights[view].transpose(1, 2).masked_fill(~real[view][:, None, None], 0.0))
        each = {f"layers.{view}": torch.stack(weights, 2) for view, weights in found.items()}
        return {view: each[f"layers.{view}"].mean((2, 3)) for view in self.views} | each

    def _features(
        self,
        words: Int[Tensor, "W L"],
        memory: VideoMemory,
        video: Int[Tensor, " W"] | None,
        packing: Packing | None,
    ) -> Float[Tensor, "W L C"]:
        self.check(words, memory, video)
        views, masks = self._read(memory)
        if video is not None:
            masks = {view: mask.index_select(0, video) for view, mask in masks.items()}
        x = self._embed(words, packing)
        for number, layer in enumerate(self._layers()):
            # The keys of a video are projected once, and its rows repeated for each of its captions.
            x = layer(x, {view: _rows(views[view, number], video) for view in self.views}, masks, packing)
        return x if packing is None else packing.unpack(x)

    def init_state(self, memory: VideoMemory) -> State:
        """Keys and values of every view in every layer, projected here once; no words yet.

        Reordering hypotheses should not copy what they have read. So the keys and values of words are kept by video, in
        slots that are only ever added to, and a hypothesis is the list of its words' slots ``[N t]``.
        """
        views, masks = self._read(memory)
        # No hypothesis has read a word yet, but the layout of the cache is set here.
        none = memory.frames.new_empty(memory.num_videos, 0, self.channels)
        state: State = {
            _HIDDEN.get(view, "memory.hidden"): none.new_zeros(mask.shape).masked_fill_(~mask, -torch.inf)
            for view, mask in masks.items()
        }
        for number, layer in enumerate(self._layers()):
            state |= _named("word", number, layer.attention.ready(none, none))
            for view in self.views:
                state |= _named(view, number, layer.ready(view, views[view, number]))
        state["slots"] = torch.empty(memory.num_videos, 0, dtype=torch.int64, device=memory.frames.device)
        return state

    def donate(self, state: State) -> State:
        """Keys and values of words get room to grow in place; ``memory.taken`` ``[B S]`` says how much is taken."""
        mask = state["memory.hidden"]
        used = state["memory.word_key.0"].shape[3]
        return dict(state, **{"memory.taken": mask.new_empty(len(mask), used, dtype=torch.bool)})

    def advance(self, word: Int[Tensor, " N"], state: State) -> tuple[Float[Tensor, "N C"], State]:
        """Read one word a hypothesis; its position is the number of slots so far."""
        position = state["slots"].shape[1]
        if position >= self.positions.shape[0]:
            raise ValueError(
                f"word number {position + 1} is beyond max_length={self.max_length}: "
                "search shorter captions or build the decoder with a larger max_length"
            )
        hidden = {view: state[_HIDDEN.get(view, "memory.hidden")] for view in self.views}
        taken = state.get("memory.taken")
        videos = hidden["frames"].shape[0]
        used = state["memory.word_key.0"].shape[3] if taken is None else taken.shape[1]
        width = word.shape[0] // videos
        # All hypotheses of a video write side by side, each into a slot of its own.
        newest = torch.arange(used, used + width, device=word.device).repeat(videos)
        new = dict(state, slots=torch.cat([state["slots"], newest[:, None]], 1))
        if taken is not None:
            new["memory.taken"] = taken.new_empty(videos, used + width)
        # All hypotheses of a video share its slots: each must be kept from the words of the others.
        strange = _strange(new["slots"].unflatten(0, (videos, width)), used + width, hidden["frames"])
        x = self._place(self.embedding(word), self.positions[position]).view(videos, width, self.channels)
        for number, layer in enumerate(self._layers()):
            views = {view: _pair(state, view, number) for view in self.views}
            past = WordCache(*_pair(state, "word", number), used, taken is not None)
            x, words = layer.advance(x, views, hidden, past, strange)
            new |= _named("word", number, (words.keys, words.values))
        return x.flatten(0, 1), new

    def encode(self, memory: VideoMemory) -> tuple[dict[str, Float[Tensor, "B F C"]], Masks]:
        """The encoded views, and where each may be attended to (one zero step where nothing is real).

        Raises:
            ValueError: where a view is missing or of another width than the decoder's.
        """
        encoded, masks = {}, {}
        for view in self.views:
            apart = view == "objects"
            source = memory.take(view, self.channels, "gated=True" if apart else f"fusion={self.fusion!r}")
            # Softmax over no key would be NaN for a video without real frames.
            x, masks[view] = keep_one_key(source, self._mask(memory, view))
            x = self.dropout(x + self._step_positions(x, memory.object_times if apart else memory.times))
            encoded[view] = self.encoders[view](x, masks[view])
        return encoded, masks

    def _mask(self, memory: VideoMemory, view: str) -> Bool[Tensor, "B S"]:
        if view != "objects":
            return memory.frame_mask
        assert memory.object_mask is not None
        return memory.object_mask

    def _read(self, memory: VideoMemory) -> tuple[dict[tuple[str, int], KeysValues], Masks]:
        encoded, masks = self.encode(memory)
        views = {
            (view, number): layer.view_keys_values(view, source)
            for number, layer in enumerate(self._layers())
            for view, source in encoded.items()
        }
        return views, masks

    def _embed(self, words: Int[Tensor, "W L"], packing: Packing | None) -> Float[Tensor, "X Y C"]:
        if packing is None:
            return self._place(self.embedding(words), self.positions[: words.shape[1]])
        # Rows count through the padded captions, so the rest is the place in its caption.
        position = packing.rows % packing.length
        return self._place(self.embedding(words.flatten()[packing.rows]), self.positions[position])[None]

    def _place(
        self, vectors: Float[Tensor, "*rows C"], positions: Float[Tensor, "*#rows C"]
    ) -> Float[Tensor, "*rows C"]:
        return self.dropout(vectors * math.sqrt(self.channels) + positions)

    def _step_positions(self, x: Float[Tensor, "B F C"], times: Int[Tensor, "B F"] | None) -> Float[Tensor, "*B F C"]:
        if times is None:
            return self._table(x.shape[1], x)[: x.shape[1]]
        # What is at no one time gets no position, not that of a place in the list.
        table = self._table(int(times.max()) + 1, x)
        return table[times.clamp_min(0)].masked_fill((times < 0)[..., None], 0.0)

    def _table(self, rows: int, x: Tensor) -> Float[Tensor, "rows C"]:
        # More frames than the table has rows: computed afresh, so that a forward pass never changes the module.
        return self.positions if rows <= self.positions.shape[0] else sinusoids(rows, self.channels).to(x)

    def _layers(self) -> Iterator[DecoderLayer]:
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            yield layer


def _rows(pair: KeysValues, rows: Int[Tensor, " W"] | None) -> KeysValues:
    return pair if rows is None else (pair[0].index_select(0, rows), pair[1].index_select(0, rows))


def _strange(slots: Int[Tensor, "B K t"], used: int, like: Tensor) -> Float[Tensor, "B K S"] | None:
    """-inf at slots that are not a hypothesis's own, else 0; None where all are its own, as in greedy search."""
    if slots.shape[2] == used:
        return None
    return like.new_full((*slots.shape[:2], used), -torch.inf).scatter_(2, slots, 0.0)


def _named(name: str, number: int, pair: KeysValues) -> State:
    return {f"memory.{name}_key.{number}": pair[0], f"memory.{name}_value.{number}": pair[1]}


def _pair(state: State, name: str, number: int) -> KeysValues:
    return state[f"memory.{name}_key.{number}"], state[f"memory.{name}_value.{number}"]
