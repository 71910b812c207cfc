"""Captions for many videos: batches from the store, one search, words back to text."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Protocol, runtime_checkable

import torch
from torch_geometric.data import Data

from decoders import beam_search, greedy_search
from stg.data import classes
from stg.model import Captioner
from stg.text import Vocabulary


@runtime_checkable
class Graphs(Protocol):
    """Where graphs come from: a :class:`graphs.GraphStore`, or :class:`graphs.in_memory.GraphsInMemory`."""

    def batch(self, videos: Sequence[str], variant: str = "full", time_flow: str = "literal") -> Data:
        """The graphs of some videos as one flat batch."""
        ...


@dataclass(frozen=True)
class Caption:
    """A caption and how sure the model is of it.

    Attributes:
        text: the words.
        log_prob: the sum of the log-probabilities of its words, the end of sentence included.
        length: how many these are.
    """

    text: str
    log_prob: float
    length: int

    @property
    def confidence(self) -> float:
        """Geometric mean of the words' probabilities, in 0..1; not calibrated."""
        return exp(self.log_prob / max(self.length, 1))


@torch.inference_mode()
def caption_videos(
    model: Captioner,
    store: Graphs,
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
    """Caption each video with the test-time part of a model.

    Args:
        beam: 1 is greedy search.
        variant, time_flow: edges, for models that read objects at test time.
        source: whose features each video gets (the shuffled control); None: its own.
        category: class of each video, for models that read it, which comes from ``source`` as the features do; where a
            video or the whole is absent, its class is unknown.
        advance: called with the number of videos done, after each batch.
    """
    training = model.training
    model.eval()
    captions: dict[str, Caption] = {}
    try:
        for start in range(0, len(videos), batch_videos):
            chosen = videos[start : start + batch_videos]
            sources = [source[video] for video in chosen] if source else list(chosen)
            batch = store.batch(sources, variant=variant, time_flow=time_flow)
            if "category" in model.decoder.reads:
                batch.category = classes(sources, category or {})
            memory = model.memory(batch.to(device))
            if beam == 1:
                found = greedy_search(model.decoder, memory, max_length=vocabulary.max_words + 1)
            else:
                found = beam_search(model.decoder, memory, beam=beam, max_length=vocabulary.max_words + 1)
            columns = (found.words[:, 0].tolist(), found.log_probs[:, 0].tolist(), found.lengths[:, 0].tolist())
            for video, words, log_prob, length in zip(chosen, *columns, strict=True):
                captions[video] = Caption(vocabulary.decode(words), log_prob, length)
            advance(len(chosen))
    finally:
        model.train(training)
    return captions
