"""A toy decoder whose probabilities are written by hand, every caption it can write, and the rules in plain Python."""

import itertools
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from decoders.base import Decoder, State
from decoders.memory import VideoMemory

PAD, BOS, EOS, A, B = range(5)
NEVER = -torch.inf


class MarkovDecoder(Decoder):
    """Row i of a video's frames holds the logits of the word that follows word i."""

    def __init__(self, vocabulary: int, max_length: int | None = None) -> None:
        super().__init__(vocabulary, channels=vocabulary, max_length=max_length)
        with torch.no_grad():
            self.output.weight.copy_(torch.eye(vocabulary))
            self.output.bias.zero_()
        self.rows: list[int] = []

    def features(
        self, words: Int[Tensor, "W L"], memory: VideoMemory, video: Int[Tensor, " W"] | None = None
    ) -> Float[Tensor, "W L C"]:
        rows = torch.arange(len(words)) if video is None else video
        return memory.frames[rows[:, None], words]

    def init_state(self, memory: VideoMemory) -> State:
        return {"memory.table": memory.frames}

    def advance(self, word: Int[Tensor, " N"], state: State) -> tuple[Float[Tensor, "N C"], State]:
        table = state["memory.table"]
        self.rows.append(len(word))
        video = torch.arange(len(table)).repeat_interleave(len(word) // len(table))
        return table[video, word], state

    def step(self, word: Int[Tensor, " N"], state: State) -> tuple[Float[Tensor, "N V"], State]:
        """Logits are taken as they are: 0 times an infinite logit in ``output`` would be NaN."""
        features, state = self.advance(word, state)
        return features.log_softmax(-1), state


def tables(*rows: Tensor) -> VideoMemory:
    frames = torch.stack(rows)
    return VideoMemory(frames, torch.ones(frames.shape[:2], dtype=torch.bool))


def random_tables(videos: int, vocabulary: int, seed: int = 0) -> VideoMemory:
    return tables(*2 * torch.randn(videos, vocabulary, vocabulary, generator=torch.Generator().manual_seed(seed)))


def toy(vocabulary: int = 5, **arguments: int) -> MarkovDecoder:
    return MarkovDecoder(vocabulary, **arguments).eval()


def chances(**rows: dict[int, float]) -> Tensor:
    """Log-probabilities of what follows bos, a, b; all else never."""
    table = torch.full((5, 5), NEVER)
    table[PAD, EOS] = table[EOS, EOS] = 0.0
    for name, following in rows.items():
        for word, chance in following.items():
            table[{"bos": BOS, "a": A, "b": B}[name], word] = torch.tensor(chance).log()
    return table


def everything(table: Tensor, max_length: int, alpha: float, min_length: int = 1) -> list[tuple[float, list[int]]]:
    """Every caption with its score, best first."""
    log_probs, words = table.log_softmax(-1), range(3, table.shape[0])
    captions = []
    for length in range(min_length, max_length + 1):
        for chosen in itertools.product(words, repeat=length):
            caption = [*chosen, EOS][:max_length]
            total = sum(float(log_probs[i, j]) for i, j in zip([BOS, *caption], caption, strict=False))
            captions.append((total / len(caption) ** alpha, caption))
    return sorted(captions, reverse=True)


def may_follow(
    words: Sequence[int],
    vocabulary: int,
    max_length: int,
    min_length: int = 1,
    no_repeat_ngram: int = 0,
    forbidden_endings: Sequence[int] = (),
    suppressed: Sequence[int] = (),
) -> list[int]:
    """The words that the rules allow after these (bos left out); none where there is no way on."""
    allowed = []
    for word in range(vocabulary):
        longer = [*words, word]
        grams = [tuple(longer[i : i + no_repeat_ngram]) for i in range(len(longer) - no_repeat_ngram + 1)]
        if word in (PAD, BOS, *suppressed):
            continue
        if word == EOS and (len(words) < min_length or words[-1] in forbidden_endings):
            continue
        if word in forbidden_endings and len(longer) == max_length:
            continue
        if no_repeat_ngram and len(set(grams)) < len(grams):
            continue
        allowed.append(word)
    return allowed


def every_end(
    table: Tensor, max_length: int, words: tuple[int, ...] = (), **rules: int | Sequence[int]
) -> Iterator[tuple[tuple[int, ...], float]]:
    """Every caption with its log-probability; a dead end is closed with eos at -1e4."""
    log_probs = table.log_softmax(-1)[words[-1] if words else BOS]
    allowed = may_follow(words, len(table), max_length, **rules)
    if not allowed:
        yield (*words, EOS), -1e4
    for word in allowed:
        here = float(log_probs[word])
        if word == EOS or len(words) + 1 == max_length:
            yield (*words, word), here
        else:
            for caption, rest in every_end(table, max_length, (*words, word), **rules):
                yield caption, here + rest


def captions_of(words: Tensor, lengths: Tensor) -> list[tuple[int, ...]]:
    """The captions of one video as tuples, eos included."""
    return [tuple(row[:length]) for row, length in zip(words.tolist(), lengths.tolist(), strict=True)]
