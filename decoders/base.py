"""The contract that every decoder fulfils and every search relies on."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from decoders.memory import VideoMemory

State = dict[str, Tensor]
"""What a decoder remembers between two words. Keys that begin with ``memory.`` have one row a video (``B``); all other
keys have one row a hypothesis (``B K``, the ``K`` hypotheses of a video next to each other)."""


Pick = Literal["sample", "argmax"]
"""Which of its own words a decoder reads in scheduled sampling: one drawn from its distribution, or the likeliest."""


@dataclass(frozen=True)
class TrainOutput:
    """What a decoder makes of captions that it learns from.

    Args:
        features: what ``output`` turns into logits ``[W L C]``.
        words: what was read ``[W L]``: the given words, or its own in place of some of them.
        losses: what else it learns from, by name, unweighted scalars.
        counts: over how many words, captions, ... each of ``losses`` is a mean, whole scalars.
    """

    features: Float[Tensor, "W L C"]
    words: Int[Tensor, "W L"]
    losses: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, Tensor] = field(default_factory=dict)


class Decoder(nn.Module, ABC):
    """Words of captions from the memory of videos, all at once (training) or one by one (search).

    A subclass writes `features` (all words at once), `init_state` and `advance` (one more word); the vocabulary
    projection ``output`` is shared. It keeps four promises, which one test suite checks for every decoder: advancing
    word by word equals reading all words at once; a later word never changes an earlier prediction; padding changes
    nothing; a batch equals its members.

    Words begin with ``bos``; captions shorter than the batch are filled with ``pad`` at their end, and what is
    predicted at a pad is meaningless.

    Args:
        vocabulary: number of words ``V``, the special ones included.
        channels: width ``C`` of the features that ``output`` reads.
        max_length: most words that can be read, ``bos`` included; None: any number.
        pad, bos, eos: ids of padding, of the first and of the last word.

    Raises:
        ValueError: where the ids are not three different words of the vocabulary.
    """

    def __init__(
        self, vocabulary: int, channels: int, max_length: int | None = None, pad: int = 0, bos: int = 1, eos: int = 2
    ) -> None:
        super().__init__()
        special = (pad, bos, eos)
        if len(set(special)) < 3 or min(special) < 0 or max(special) >= vocabulary:
            raise ValueError(
                f"pad, bos, eos must be three different ids below the vocabulary's size {vocabulary}, got {special}"
            )
        # Searches rely on there being a word to write.
        if vocabulary < 4:
            raise ValueError(f"vocabulary={vocabulary} leaves no word besides pad, bos and eos: at least 4 are needed")
        if max_length is not None and max_length < 1:
            raise ValueError(f"max_length must be at least 1 or None, got {max_length}")
        self.vocabulary, self.channels, self.max_length = vocabulary, channels, max_length
        self.pad, self.bos, self.eos = pad, bos, eos
        self.suppressed: tuple[int, ...] = ()
        """Words besides pad and bos that a search never writes, such as the unknown word."""
        self.output = nn.Linear(channels, vocabulary)

    @property
    def reads(self) -> frozenset[str]:
        """The parts of a `VideoMemory` that predictions depend on, frames apart, by their names there: what a caption
        is written from."""
        return frozenset()

    @property
    def learns_from(self) -> frozenset[str]:
        """What `forward_train` reads besides frames: the parts that the decoder `reads`, and those of its losses."""
        return self.reads

    @abstractmethod
    def features(
        self, words: Int[Tensor, "W L"], memory: VideoMemory, video: Int[Tensor, " W"] | None = None
    ) -> Float[Tensor, "W L C"]:
        """What ``output`` turns into logits; take the real positions of it to spend the vocabulary on real words only.

        Args:
            words: ids ``[W L]``, from ``bos`` on.
            memory: of ``B`` videos.
            video: the row of ``memory`` that each caption describes ``[W]``; default: the w-th (then ``W == B``).
        """

    @abstractmethod
    def init_state(self, memory: VideoMemory) -> State:
        """The state before the first word, with one hypothesis a video."""

    @abstractmethod
    def advance(self, word: Int[Tensor, " N"], state: State) -> tuple[Float[Tensor, "N C"], State]:
        """Read one more word of every hypothesis.

        Args:
            word: the newest word of each hypothesis ``[N]``, ``N = B K``; ``bos`` at first.
            state: from `init_state` or the previous call; not changed.

        Returns:
            The features of the next word, and the new state.
        """

    def donate(self, state: State) -> State:
        """A state that may be advanced once only, and so be written over: faster, for a search, which never goes back.

        What `advance` makes of it may be advanced once only, too. Rows may still be taken from it by `select_state`,
        as long as only one of the results is used further. For subclasses that gain by it; others return it as it is.
        """
        return state

    def forward(
        self, words: Int[Tensor, "W L"], memory: VideoMemory, video: Int[Tensor, " W"] | None = None
    ) -> Float[Tensor, "W L V"]:
        """Logits of the next word after each word: ``logits[:, t]`` predicts what follows ``words[:, t]``."""
        return self.output(self.features(words, memory, video))

    def attention(
        self, words: Int[Tensor, "W L"], memory: VideoMemory, video: Int[Tensor, " W"] | None = None
    ) -> dict[str, Tensor]:
        """What each prediction attends to, by name ``[W L ...]``: ``[:, t]`` belongs to what follows ``words[:, t]``.

        The weights are those of the same pass as `features`, and 0 where nothing is real, also all over a video without
        anything. Empty for a decoder that does not know.

        Args:
            words, memory, video: as in `features`.
        """
        return {}

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
        """`features` with the losses that are the decoder's own, and with scheduled sampling where it can be.

        Args:
            words, memory, video: as in `features`.
            real: True where a prediction counts ``[W L]``; default: everywhere. Features elsewhere are meaningless.
            own_words: probability that a word after ``bos`` is not the given one but the decoder's own prediction
                (Bengio et al., 2015); for recurrent decoders.
            pick: its own word is drawn from its distribution, or the likeliest.

        Raises:
            ValueError: ``own_words`` is asked of a decoder that reads all words at once.
        """
        self.refuse_own_words(own_words)
        return TrainOutput(self.features(words, memory, video), words)

    def refuse_own_words(self, own_words: float) -> None:
        """Refuse scheduled sampling, for a decoder that reads all words at once.

        Raises:
            ValueError: ``own_words`` is not 0.
        """
        if own_words:
            raise ValueError(
                f"{type(self).__name__} reads all words at once and cannot continue from its own: scheduled sampling "
                "needs a recurrent decoder"
            )

    def anneal(self, temperature: float) -> None:
        """Choose from what is attended to, from now on, at ``temperature``, where the decoder chooses; else no change.

        Raises:
            ValueError: it is not above 0.
        """
        if not temperature > 0:
            raise ValueError(f"a temperature must be above 0, got {temperature}")

    def step(self, word: Int[Tensor, " N"], state: State) -> tuple[Float[Tensor, "N V"], State]:
        """Log-probabilities of the word after ``word``, in a tensor that the caller may change, and the new state."""
        features, state = self.advance(word, state)
        return self.output(features).log_softmax(-1), state

    def check(self, words: Int[Tensor, "W L"], memory: VideoMemory, video: Int[Tensor, " X"] | None = None) -> None:
        """Refuse words that the decoder cannot read (for subclasses; ids are checked on the CPU only).

        Raises:
            ValueError: naming the first value out of range, or the numbers that do not agree.
        """
        captions, length = words.shape
        if self.max_length is not None and length > self.max_length:
            raise ValueError(
                f"words have {length} positions, more than max_length={self.max_length}: "
                "cut the captions or build the decoder with a larger max_length"
            )
        if video is None and captions != memory.num_videos:
            raise ValueError(f"{captions} captions for {memory.num_videos} videos: pass video, the memory row of each")
        if video is not None and len(video) != captions:
            raise ValueError(f"video names {len(video)} rows for {captions} captions: one row a caption is needed")
        # Looking at values on an accelerator would stall it at every step.
        if words.device.type == "cpu":
            _check_range("words", words, self.vocabulary, "the vocabulary")
            if video is not None:
                _check_range("video", video, memory.num_videos, "the memory's videos")


def select_state(
    state: State, hypotheses: Int[Tensor, " N"] | None = None, videos: Int[Tensor, " B"] | None = None
) -> State:
    """Reorder, repeat or drop rows of a state.

    Args:
        state: see `State`.
        hypotheses: rows to keep of the tensors with one row a hypothesis; None: all.
        videos: rows to keep of the ``memory.`` tensors; None: all.
    """
    rows = {True: videos, False: hypotheses}
    selected = {}
    for name, value in state.items():
        # What belongs to a video is kept once, however many hypotheses read it.
        index = rows[name.startswith("memory.")]
        selected[name] = value if index is None else value.index_select(0, index)
    return selected


def one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a setting that is none of those known.

    Raises:
        ValueError: naming the argument, what is known, and what came.
    """
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}; got {value!r}")


def _check_range(name: str, ids: Int[Tensor, "..."], limit: int, what: str) -> None:
    outside = ((ids < 0) | (ids >= limit)).nonzero()
    if len(outside):
        place = outside[0].tolist()
        value = int(ids[tuple(place)])
        raise ValueError(f"{name}{place} is {value}, outside {what} (0..{limit - 1})")
