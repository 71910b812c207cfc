"""Late fusion of captioning models: their candidates reranked by a video-text embedding, or their words averaged.

Chen et al. (VATEX challenge, 2019) let an embedding choose among the captions of a temporal and a spatial model; here
any number of models of any kind, with any vocabularies, may stand for the two. An ensemble asks all models for each
word instead, for which they must share a vocabulary.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Protocol, runtime_checkable

import torch

from decoders import EnsembleDecoder, EnsembleMemory
from graphs import GraphSource, GraphStore
from stg.config.search import SearchConfig
from stg.data.batches import BatchSource
from stg.datasets.base import CaptionDataset
from stg.models.generation import Caption, decode_memory, generate, video_memory
from stg.runs.bundle import CaptionerBundle
from stg.runtime.errors import UserError

BATCH = 64


@dataclass(frozen=True)
class Member:
    """One model of a fusion.

    Attributes:
        name: what reports call it.
        trained: the model.
        dataset: the captions, as far as the store has the videos.
        store: the videos' features.
        source: what the model reads of the videos.
    """

    name: str
    trained: CaptionerBundle
    dataset: CaptionDataset
    store: GraphStore
    source: BatchSource


@runtime_checkable
class Embedding(Protocol):
    """Says how well a text fits a video: :class:`stg.retrieval.embedding.EmbeddingBundle`."""

    def similarity(
        self, store: GraphSource, candidates: Mapping[str, Sequence[str]], device: torch.device | str
    ) -> dict[str, list[float]]:
        """The cosine of each candidate text with its video, in order."""
        ...


# --- reranking


def pool(found: Sequence[Mapping[str, Sequence[Caption]]]) -> dict[str, list[Caption]]:
    """The texts that the models offer for each video, each text once, in the order of the alphabet.

    Of a text that several models or beams offer, the caption with the best mean log-probability a word is kept. A
    caption without words is none, and a video with nothing else is left out.

    Args:
        found: of each model, video -> captions; not every model need know every video.
    """
    pooled: dict[str, dict[str, Caption]] = defaultdict(dict)
    for place, captions in enumerate(found):
        for video, offered in captions.items():
            for caption in offered:
                known = pooled[video].get(caption.text)
                if caption.text and (known is None or caption.per_word > known.per_word):
                    pooled[video][caption.text] = replace(caption, member=place)
    return {video: [texts[text] for text in sorted(texts)] for video, texts in pooled.items() if texts}


def similarities(
    embedding: Embedding, store: GraphStore, pooled: Mapping[str, Sequence[Caption]], device: torch.device | str
) -> dict[str, list[float]]:
    """The cosine of each candidate with its video, for the videos whose features the store has."""
    texts = {video: [one.text for one in offered] for video, offered in pooled.items() if video in store}
    return embedding.similarity(store, texts, device) if texts else {}


def rerank(
    pooled: Mapping[str, Sequence[Caption]], cosines: Mapping[str, Sequence[float]], mix: float = 0.0
) -> dict[str, Caption]:
    """The candidate of each video with the largest cosine + ``mix`` * mean log-probability of a word.

    Of equals the one with the larger log-probability is taken, then the first in the alphabet, whatever their order.
    A video without cosines (no features) gets its likeliest candidate.

    Raises:
        ValueError: a cosine is not finite, or there are more or fewer than candidates.
    """
    best = {}
    for video, offered in pooled.items():
        # Of equal cosines, the likeliest: what is wanted of a video that has none.
        cosine = cosines.get(video, [0.0] * len(offered))
        if len(cosine) != len(offered) or not all(map(isfinite, cosine)):
            raise ValueError(f"the embedding's cosines of video {video!r} do not fit its candidates: {list(cosine)!r}")
        # The text decides last, so that equal candidates do not depend on the order of the models.
        ranked = [
            (-(fit + mix * one.per_word), -one.per_word, one.text, one)
            for fit, one in zip(cosine, offered, strict=True)
        ]
        best[video] = min(ranked, key=lambda row: row[:3])[-1]
    return best


# --- captions of the models


def member_candidates(
    member: Member,
    videos: Sequence[str],
    search: SearchConfig,
    *,
    device: torch.device | str = "cpu",
    advance: Callable[[int], None] = lambda done: None,
) -> dict[str, list[Caption]]:
    """The captions of one model for some videos, best first."""
    trained = member.trained
    return generate(
        trained.captioner.to(device),
        member.source,
        videos,
        trained.vocabulary,
        search=search,
        device=device,
        advance=advance,
    )


def check_vocabularies(members: Sequence[Member]) -> None:
    """Refuse models whose words are numbered otherwise, which cannot be averaged.

    Raises:
        UserError: names the first two that differ.
    """
    first = members[0]
    for other in members[1:]:
        if other.trained.vocabulary.fingerprint != first.trained.vocabulary.fingerprint:
            sizes = [len(member.trained.vocabulary) for member in (first, other)]
            raise UserError(
                f"{first.name} and {other.name} were trained with unlike vocabularies ({sizes[0]} and {sizes[1]} "
                "words), so that their words cannot be averaged: use --method rerank, or train them on the same "
                "captions with the same --data.min_count and --data.max_words"
            )


@torch.inference_mode()
def ensemble_captions(
    members: Sequence[Member],
    videos: Mapping[str, Sequence[int]],
    search: SearchConfig,
    *,
    device: torch.device | str = "cpu",
    advance: Callable[[int], None] = lambda done: None,
) -> dict[str, Caption]:
    """Caption videos word by word with the averaged probabilities of the models that have their features.

    Args:
        videos: video -> the places of the models that are asked about it.

    Raises:
        UserError: the models' vocabularies differ.
    """
    check_vocabularies(members)
    vocabulary = members[0].trained.vocabulary
    # A model may lack features of a video: videos are grouped by which models can read them, an ensemble a group.
    groups: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for video, places in videos.items():
        groups[tuple(places)].append(video)
    # One for all groups: with a generator each, every group would draw the same numbers.
    generator = torch.Generator(device).manual_seed(search.seed)
    found: dict[str, Caption] = {}
    for places, grouped in groups.items():
        asked = [members[place] for place in places]
        decoder = EnsembleDecoder([member.trained.captioner.to(device).eval().decoder for member in asked]).eval()
        for start in range(0, len(grouped), BATCH):
            chosen = grouped[start : start + BATCH]
            memory = EnsembleMemory(
                [video_memory(member.trained.captioner, member.source, chosen, device) for member in asked]
            )
            captions = decode_memory(decoder, memory, vocabulary, search, generator)
            found |= {video: best[0] for video, best in zip(chosen, captions, strict=True)}
            advance(len(chosen))
    # In the order asked for, which the groups have mixed.
    return {video: found[video] for video in videos}
