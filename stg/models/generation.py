"""Captions for many videos: batches from the store, one search, words back to text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from math import exp
from typing import Any

import torch

from decoders import SEARCHES, Decoder, Rules, VideoMemory
from stg.config.search import SearchConfig
from stg.data.batches import BatchSource
from stg.models.captioner import Captioner
from stg.models.word_prediction import ranked_by_words
from stg.text.vocabulary import Vocabulary
from stg.text.words import BROKEN_ENDINGS


@dataclass(frozen=True)
class Caption:
    """A caption and how sure the model is of it.

    Attributes:
        text: the words.
        log_prob: the sum of the log-probabilities of its words, the end of sentence included.
        length: how many these are.
        score: what its search ranked it by; None where that is not known.
        member: in a fusion, the place of the model that wrote it.
        words: the words apart, where a vocabulary wrote them.
    """

    text: str
    log_prob: float
    length: int
    score: float | None = None
    member: int | None = None
    words: tuple[str, ...] = field(default=(), compare=False)

    @property
    def confidence(self) -> float:
        """Geometric mean of the words' probabilities, in 0..1; not calibrated."""
        return exp(self.per_word)

    @property
    def per_word(self) -> float:
        """Mean of the words' log-probabilities, which captions of unlike lengths can be compared by."""
        return self.log_prob / max(self.length, 1)


@torch.inference_mode()
def generate(
    model: Captioner,
    source: BatchSource,
    videos: Sequence[str],
    vocabulary: Vocabulary,
    *,
    search: SearchConfig,
    batch_videos: int = 64,
    device: torch.device | str = "cpu",
    advance: Callable[[int], None] = lambda done: None,
) -> dict[str, list[Caption]]:
    """Caption each video with the test-time part of a model; the ``search.n_best`` captions of each, best first.

    Args:
        source: what the model reads of the videos.
        search: how; see :func:`decode_memory`.
        advance: called with the number of videos done, after each batch.

    Raises:
        ValueError: the search asks for longer or more captions than the model can write.
    """
    training = model.training
    model.eval()
    captions: dict[str, list[Caption]] = {}
    # One for all batches, so that drawn captions are a function of the seed and the order of the videos.
    generator = torch.Generator(device).manual_seed(search.seed)
    try:
        for start in range(0, len(videos), batch_videos):
            chosen = videos[start : start + batch_videos]
            memory = video_memory(model, source, chosen, device, words=bool(search.word_weight))
            found = decode_memory(model.decoder, memory, vocabulary, search, generator)
            captions.update(zip(chosen, found, strict=True))
            advance(len(chosen))
    finally:
        model.train(training)
    return captions


def video_memory(
    model: Captioner,
    source: BatchSource,
    videos: Sequence[str],
    device: torch.device | str = "cpu",
    *,
    words: bool = False,
) -> VideoMemory:
    """What the decoder of a model reads of some videos at test time.

    A decoder that reads the class of a video gets it where ``source`` knows it, and "unknown" otherwise; others get
    none, though they may have learned to predict it.

    Args:
        words: whether it is to hold the words that the model predicts, if it has learned to, for `search.word_weight`.
    """
    reads_class = "category" in model.decoder.reads
    source = replace(source, category=(source.category or {}) if reads_class else None)
    return model.memory(source.batch(videos).to(device), words=words)


def require_words(search: SearchConfig, predicted: bool) -> None:
    """Refuse to rank captions by words that nobody predicts.

    Raises:
        ValueError: the search asks for it, and words are not ``predicted``.
    """
    if search.word_weight and not predicted:
        raise ValueError(
            "search.word_weight ranks captions by the words that a model predicts from the video, which an ensemble "
            "does not do, and a model only where it was trained with --loss.word_weight and its file holds the layer "
            "(older ones do not): leave search.word_weight out"
        )


def decode_memory(
    decoder: Decoder,
    memory: VideoMemory,
    vocabulary: Vocabulary,
    search: SearchConfig,
    generator: torch.Generator | None = None,
) -> list[list[Caption]]:
    """The captions of each video of a memory, best first; draws are put into the order of their log-probability.

    Args:
        generator: of the draws, on the memory's device; None: torch's own.

    Raises:
        ValueError: as the searches of :mod:`decoders`; captions are to be ranked by words that the memory lacks.
    """
    require_words(search, memory.words is not None)
    longest = search.max_length or vocabulary.max_words + 1
    # By word and not by id: the vocabulary of each run numbers them differently.
    forbidden = [number for number, word in enumerate(vocabulary.words) if word in BROKEN_ENDINGS]
    rules = Rules(search.min_length, search.no_repeat_ngram, forbidden if search.forbidden_endings else ())
    settings: dict[str, Any] = vars(rules) | {
        "rules": rules,
        "max_length": longest,
        "beam": search.beam,
        "groups": search.groups,
        "diversity": search.diversity,
        "length_penalty": search.length_penalty,
        # All that the beam holds, where words choose among them.
        "n_best": search.beam if search.word_weight else search.n_best,
        "samples": search.samples if search.method == "mbr" else search.n_best,
        "temperature": search.temperature,
        "top_k": search.top_k,
        "top_p": search.top_p,
        "generator": generator,
    }
    run = SEARCHES["greedy" if search.greedy else search.method]
    named = signature(run).parameters  # each search takes some of the settings
    taken = {name: value for name, value in settings.items() if name in named}
    try:
        found = run(decoder, memory, **taken)
    except ValueError as error:
        if search.word_weight:
            raise ValueError(f"search.word_weight chooses among as many captions as search.beam: {error}") from error
        raise
    if search.word_weight and memory.words is not None:
        found = ranked_by_words(found, memory.words, search.word_weight, search.n_best)
    columns = (found.words, found.log_probs, found.lengths, found.scores)
    captions = [
        [
            Caption(vocabulary.decode(words), log_prob, length, score, words=vocabulary.decode_words(words))
            for words, log_prob, length, score in zip(*rows, strict=True)
        ]
        for rows in zip(*(column.tolist() for column in columns), strict=True)
    ]
    if search.method == "sample":
        return [sorted(each, key=lambda caption: -caption.log_prob) for each in captions]
    return captions
