"""The two-layer attention LSTM of Chen et al. (2019)."""

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from decoders.attention import AdditiveAttention, masked_softmax
from decoders.base import State, one_of
from decoders.memory import VideoMemory, mean_of_real
from decoders.recurrent import RecurrentDecoder, Trace

Attended = Literal["none", "temporal", "spatial"]
Summary = Literal["mean", "clip"]


class AttentionLSTMDecoder(RecurrentDecoder):
    r"""One LSTM asks what to attend to, a second one writes (Chen et al., 2019, Eq. 1-5).

    .. math::
        h^1_t &= \mathrm{LSTM}([\bar v; w_{t-1}; h^2_{t-1}], h^1_{t-1}) \\
        \alpha_{t,i} &= \mathrm{softmax}_i(w_c^\top \tanh(W_{vc} v_i + W_{hc} h^1_t)) \\
        c_t &= \sum_i \alpha_{t,i} v_i \\
        h^2_t &= \mathrm{LSTM}([c_t; h^1_t], h^2_{t-1}), \quad p(y_t) = \mathrm{softmax}(W_y h^2_t + b_y)

    The memory ``v_i`` is one flat masked list a video: its frames (the paper's temporal model) or the regions of all
    its frames (spatial). Without memory (vanilla) there is no attention and ``c_t`` is left out. A video of which all
    items are padding has ``c_t = 0``. Both LSTMs start from zero.

    The paper gives no sizes and no dropout: 512 throughout, and 0.5 before the output layer, are chosen here, as in the
    author's later code. That code also ties the word vectors to the output layer; the paper and this class do not.

    The paper's global vector of three modalities is ``memory.clip``, which ``summary="clip"`` asks for and cannot do
    without; by default, ``v-bar`` is the mean of the frames.

    Departure: the paper's temporal memory is one linear layer on image and motion features side by side. In ``stg`` the
    frames arrive through the scene branch instead, by the bias-free matrices of Pan et al. (2020, Eq. 6); followed one
    by the other, these span the same maps as one bias-free layer.

    The weights of the first LSTM are kept by what they multiply, since video and words are known before the recurrence:
    only ``[h2; h1]`` is multiplied word by word. Each LSTM has one bias a gate.

    Args:
        vocabulary: number of words ``V``.
        channels: width ``C`` of the memory, of the global vector and of both LSTMs.
        embedding: width ``E`` of the word vectors.
        attention: width ``A`` of the space in which query and items are compared.
        memory: "none" (vanilla), "temporal" (frames) or "spatial" (regions of all frames).
        summary: the global vector: "mean" (of the real frames; 0 where there are none) or "clip" (``memory.clip``).
        query_bias: a bias on ``W_hc``; the paper prints none.
        dropout: share of ``h2`` dropped before the output layer.
        max_length: most words read, ``bos`` included; None: any number.
        pad, bos, eos: special ids.

    Shapes:
        words ``[W L]``, memory of ``B`` videos, video ``[W]`` -> logits ``[W L V]``. The method `attention` gives one
        map, named "attention" ``[W L M]``: ``M = F`` frames in temporal memory; ``M = F R`` regions in spatial memory,
        frame after frame (``unflatten(2, (F, R))`` gives ``[W L F R]``); no map without memory.

    Raises:
        ValueError: for an unknown ``memory`` or ``summary``.
    """

    def __init__(
        self,
        vocabulary: int,
        channels: int = 512,
        embedding: int = 512,
        attention: int = 512,
        memory: Attended = "temporal",
        summary: Summary = "mean",
        query_bias: bool = False,
        dropout: float = 0.5,
        max_length: int | None = None,
        pad: int = 0,
        bos: int = 1,
        eos: int = 2,
    ) -> None:
        super().__init__(vocabulary, channels, max_length, pad, bos, eos)
        one_of("memory", memory, get_args(Attended))
        one_of("summary", summary, get_args(Summary))
        self.memory, self.summary = memory, summary
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=pad)
        # The first LSTM's weights in three parts, so that each is applied as soon as it can be: to the video once, to
        # all given words at once, to the states word by word.
        self.video_gates = nn.Linear(channels, 4 * channels)
        self.word_gates = nn.Linear(embedding, 4 * channels, bias=False)
        self.attention_gates = nn.Linear(2 * channels, 4 * channels, bias=False)
        self.language_gates = nn.Linear((2 if memory == "none" else 3) * channels, 4 * channels)
        self.look = None if memory == "none" else AdditiveAttention(channels, channels, attention, query_bias)
        self.dropout = nn.Dropout(dropout)
        for gates in (self.video_gates, self.word_gates, self.attention_gates, self.language_gates):
            for parameter in gates.parameters():
                nn.init.uniform_(parameter, -(channels**-0.5), channels**-0.5)  # as torch's own LSTM begins

    @property
    def reads(self) -> frozenset[str]:
        """``regions`` in spatial memory, ``clip`` where it is the summary."""
        read = {"regions": self.memory == "spatial", "clip": self.summary == "clip"}
        return frozenset(name for name, is_read in read.items() if is_read)

    def init_state(self, memory: VideoMemory) -> State:
        """The items with their keys, and the video's share of the gates, worked out once; both LSTMs at zero.

        Raises:
            ValueError: where the memory lacks what is read, or has another width than the decoder.
        """
        video = self._summarise(memory)
        state: State = {"memory.gates": self.video_gates(video)}
        for name in ("attention_hidden", "attention_cell", "language_hidden", "language_cell"):
            state[name] = torch.zeros_like(video)
        if self.look is not None:
            items, mask = self._items(memory)
            items = items.masked_fill(~mask[..., None], 0.0)
            state |= {"memory.items": items, "memory.keys": self.look.keys(items), "memory.mask": mask}
        return state

    def read_words(self, words: Int[Tensor, "W L"]) -> Float[Tensor, "W L G"]:
        """The words' share of the first LSTM's gates, ``G = 4 C``."""
        return self.word_gates(self.embedding(words))

    def read_word(self, word: Int[Tensor, " N"], state: State) -> tuple[Float[Tensor, "N G"], State]:
        """The same of one word a hypothesis; both LSTMs remember it from `recur` on."""
        return self.word_gates(self.embedding(word)), state

    def recur(self, read: Float[Tensor, "N G"], state: State) -> tuple[Float[Tensor, "N C"], State, Trace]:
        """Eq. 1-4 for one word; the features are ``h2`` after dropout."""
        asked, written = state["attention_hidden"], state["language_hidden"]
        # Hypotheses of a video are neighbours: its share [B G] is added to all of them without a copy.
        known = read.unflatten(0, (len(state["memory.gates"]), -1)) + state["memory.gates"][:, None]
        recurrent = torch.cat([written, asked], 1)
        gates = torch.addmm(known.flatten(0, 1), recurrent, self.attention_gates.weight.t())
        asked, asked_cell = _lstm(gates, state["attention_cell"])
        seen, trace = self._look(asked, state)
        # The second LSTM reads what was attended to, the first one's output, and its own.
        gates = self.language_gates(torch.cat([*seen, asked, written], 1))
        written, written_cell = _lstm(gates, state["language_cell"])
        new = state | {
            "attention_hidden": asked,
            "attention_cell": asked_cell,
            "language_hidden": written,
            "language_cell": written_cell,
        }
        return self.dropout(written), new, trace

    def _look(self, asked: Float[Tensor, "N C"], state: State) -> tuple[list[Tensor], Trace]:
        """Eq. 2-3: what was found ``[N C]``, if there is a memory. A video's hypotheses are queries to one memory."""
        if self.look is None:
            return [], {}
        query = asked.unflatten(0, (len(state["memory.gates"]), -1))
        weight = masked_softmax(self.look(query, state["memory.keys"]), state["memory.mask"][:, None])
        return [(weight @ state["memory.items"]).flatten(0, 1)], {"attention": weight.flatten(0, 1)}

    def _summarise(self, memory: VideoMemory) -> Float[Tensor, "B C"]:
        if self.summary == "clip":
            return memory.take("clip", self.channels, "summary='clip'")
        frames = memory.take("frames", self.channels, "summary='mean'")
        return mean_of_real(frames.masked_fill(~memory.frame_mask[..., None], 0.0), memory.frame_mask, 1)

    def _items(self, memory: VideoMemory) -> tuple[Float[Tensor, "B M C"], Bool[Tensor, "B M"]]:
        if self.memory == "temporal":
            return memory.take("frames", self.channels, "memory='temporal'"), memory.frame_mask
        regions = memory.take("regions", self.channels, "memory='spatial'")
        assert memory.region_mask is not None  # comes with the regions
        return regions.flatten(1, 2), memory.region_mask.flatten(1)


def _lstm(gates: Float[Tensor, "N G"], cell: Float[Tensor, "N C"]) -> tuple[Float[Tensor, "N C"], Float[Tensor, "N C"]]:
    """Hidden state and cell of an LSTM; gates in torch's order: input, forget, new, output."""
    enter, keep, new, leave = gates.chunk(4, 1)
    cell = keep.sigmoid() * cell + enter.sigmoid() * new.tanh()
    return leave.sigmoid() * cell.tanh(), cell
