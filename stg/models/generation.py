"""Captions for many videos: batches from the store, one search, words back to text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

import torch

from decoders import Decoder, Hypotheses, VideoMemory, beam_search, diverse_beam_search, greedy_search, sample_search
from graphs import GraphSource
from stg.config.search import SearchConfig
from stg.data.batches import classes
from stg.models.captioner import Captioner
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
    """

    text: str
    log_prob: float
    length: int
    score: float | None = None

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
    store: GraphSource,
    videos: Sequence[str],
    vocabulary: Vocabulary,
    *,
    search: SearchConfig,
    variant: str = "full",
    time_flow: str = "literal",
    batch_videos: int = 64,
    source: Mapping[str, str] | None = None,
    category: Mapping[str, int] | None = None,
    device: torch.device | str = "cpu",
    advance: Callable[[int], None] = lambda done: None,
) -> dict[str, list[Caption]]:
    """Caption each video with the test-time part of a model; the ``search.n_best`` captions of each, best first.

    Args:
        search: how; see :func:`decode_memory`.
        variant, time_flow: edges, for models that read objects at test time.
        source: whose features each video gets (the shuffled control); None: its own.
        category: class of each video, for models that read it, which comes from ``source`` as the features do; where a
            video or the whole is absent, its class is unknown.
        advance: called with the number of videos done, after each batch.

    Raises:
        ValueError: the search asks for longer or more captions than the model can write.
    """
    training = model.training
    model.eval()
    captions: dict[str, list[Caption]] = {}
    generator = torch.Generator(device).manual_seed(search.seed)
    try:
        for start in range(0, len(videos), batch_videos):
            chosen = videos[start : start + batch_videos]
            sources = [source[video] for video in chosen] if source else list(chosen)
            memory = video_memory(
                model, store, sources, variant=variant, time_flow=time_flow, category=category, device=device
            )
            found = decode_memory(model.decoder, memory, vocabulary, search, generator)
            captions.update(zip(chosen, found, strict=True))
            advance(len(chosen))
    finally:
        model.train(training)
    return captions


def caption_videos(
    model: Captioner,
    store: GraphSource,
    videos: Sequence[str],
    vocabulary: Vocabulary,
    *,
    beam: int = 1,
    variant: str = "full",
    time_flow: str = "literal",
    batch_videos: int = 64,
    source: Mapping[str, str] | None = None,
    category: Mapping[str, int] | None = None,
    device: torch.device | str = "cpu",
    advance: Callable[[int], None] = lambda done: None,
) -> dict[str, Caption]:
    """The best caption of each video: the first of :func:`generate`.

    Args:
        beam: 1 is greedy search.
    """
    found = generate(
        model,
        store,
        videos,
        vocabulary,
        search=SearchConfig(beam=beam),
        variant=variant,
        time_flow=time_flow,
        batch_videos=batch_videos,
        source=source,
        category=category,
        device=device,
        advance=advance,
    )
    return {video: captions[0] for video, captions in found.items()}


def video_memory(
    model: Captioner,
    store: GraphSource,
    videos: Sequence[str],
    *,
    variant: str = "full",
    time_flow: str = "literal",
    category: Mapping[str, int] | None = None,
    device: torch.device | str = "cpu",
) -> VideoMemory:
    """What the decoder of a model reads of some videos; arguments as in :func:`generate`."""
    batch = store.batch(videos, variant=variant, time_flow=time_flow)
    if "category" in model.decoder.reads:
        batch.category = classes(videos, category or {})
    return model.memory(batch.to(device))


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
        ValueError: as the searches of :mod:`decoders`.
    """
    longest = search.max_length or vocabulary.max_words + 1
    forbidden = [number for number, word in enumerate(vocabulary.words) if word in BROKEN_ENDINGS]
    rules: dict[str, Any] = {
        "min_length": search.min_length,
        "no_repeat_ngram": search.no_repeat_ngram,
        "forbidden_endings": forbidden if search.forbidden_endings else (),
    }
    ranked: dict[str, Any] = {"beam": search.beam, "length_penalty": search.length_penalty, "n_best": search.n_best}
    drawn: dict[str, Any] = {
        "samples": search.n_best,
        "temperature": search.temperature,
        "top_k": search.top_k,
        "top_p": search.top_p,
    }
    apart: dict[str, Any] = {"groups": search.groups, "diversity": search.diversity}
    found: Hypotheses
    if search.greedy:
        found = greedy_search(decoder, memory, longest, **rules)
    elif search.method == "beam":
        found = beam_search(decoder, memory, max_length=longest, **ranked, **rules)
    elif search.method == "diverse":
        found = diverse_beam_search(decoder, memory, max_length=longest, **apart, **ranked, **rules)
    else:
        found = sample_search(decoder, memory, max_length=longest, generator=generator, **drawn, **rules)
    columns = (found.words, found.log_probs, found.lengths, found.scores)
    captions = [
        [Caption(vocabulary.decode(words), *rest) for words, *rest in zip(*rows, strict=True)]
        for rows in zip(*(column.tolist() for column in columns), strict=True)
    ]
    if search.method == "sample":
        return [sorted(each, key=lambda caption: -caption.log_prob) for each in captions]
    return captions
