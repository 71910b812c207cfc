"""The first caption of each video, for tests that ask for no more."""

from collections.abc import Sequence

from graphs import GraphSource
from stg.config.search import SearchConfig
from stg.data.batches import BatchSource
from stg.models.captioner import Captioner
from stg.models.generation import Caption, generate
from stg.text.vocabulary import Vocabulary


def best_captions(
    model: Captioner,
    source: BatchSource | GraphSource,
    videos: Sequence[str],
    vocabulary: Vocabulary,
    beam: int = 1,
) -> dict[str, Caption]:
    """Caption each video with the test-time part of a model; ``beam`` 1 is greedy search."""
    read = source if isinstance(source, BatchSource) else BatchSource(source)
    found = generate(model, read, videos, vocabulary, search=SearchConfig(beam=beam))
    return {video: captions[0] for video, captions in found.items()}
