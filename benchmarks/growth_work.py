"""The work whose growth is measured (`benchmarks.growth`): each prepares what it needs, then does so many items."""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from graphs import FlatBatch, GraphStore, VideoFeatures, flat_graph
from stg.config.model import GraphConfig, ModelConfig
from stg.config.search import SearchConfig
from stg.data.batches import BatchSource, TrainingSet
from stg.data.prefetch import prefetch
from stg.datasets.world.dataset import World
from stg.explain import Attribution, Explanation
from stg.features.extractor import Extractor
from stg.features.ingestion import ingest, source_of
from stg.metrics.scorer import Scorer
from stg.models.build import build_captioner
from stg.models.captioner import Captioner
from stg.models.feature_kinds import FeatureWidths
from stg.models.generation import generate
from stg.pages import write_video_pages
from stg.pages.videos.views import Edge, ModelCaption, Node, Picture, VideoView
from stg.text.vocabulary import Vocabulary
from stg.training.losses import captioning_losses
from stg.training.step import train_step
from stg.video.readers import Readers

FRAMES, BOXES, BATCH = 10, 5, 64
NARROW, PAPER = 64, 2048
CAPTIONS, WORDS, MADE = 4, 500, 4
SMALL = ModelConfig(channels=64, hidden=64)
GREEDY = SearchConfig(beam=1, max_length=12)

Work = Callable[[], int]
"""Does the work and returns how many items it did."""


def names(count: int) -> list[str]:
    """Ids of made videos."""
    return [f"v{number:06d}" for number in range(count)]


def made_graph(random: np.random.Generator, width: int) -> FlatBatch:
    """A video of ten frames and one to five boxes in each, with random features of one width, and the paper's edges."""
    frame = np.repeat(np.arange(FRAMES), random.integers(1, BOXES + 1, FRAMES))
    corner = random.uniform(0, 100, (len(frame), 2)).astype(np.float32)

    def numbers(*shape: int) -> torch.Tensor:
        return torch.from_numpy(random.standard_normal(shape, dtype=np.float32))

    return flat_graph(
        VideoFeatures(
            boxes=torch.from_numpy(np.concatenate([corner, corner + 50], 1)),
            objects=numbers(len(frame), width),
            frame=torch.from_numpy(frame),
            num_frames=FRAMES,
            scene=numbers(FRAMES, width),
            motion=numbers(FRAMES, width),
            motion_row=torch.arange(FRAMES),
        )
    )


def write_graphs(path: Path, videos: Sequence[str], width: int) -> None:
    """A store of graphs of so many videos; 64 of them are made, and stand under many names."""
    random = np.random.default_rng(0)
    made = [made_graph(random, width) for _ in range(min(BATCH, len(videos)))]
    with GraphStore(path, "w") as store:
        for first in range(0, len(videos), BATCH):
            some = videos[first : first + BATCH]
            store.put_many(zip(some, made[: len(some)], strict=True))


def made_captions(videos: Sequence[str]) -> tuple[Vocabulary, dict[str, list[str]]]:
    """A vocabulary, and captions of five to ten words of it for each video."""
    random = np.random.default_rng(1)
    words = ["".join("bcdfgklmnp"[int(digit)] for digit in f"{number:03d}") for number in range(WORDS)]
    lengths = random.integers(5, 11, (len(videos), CAPTIONS))
    texts = {
        video: [" ".join(words[number] for number in random.integers(0, WORDS, length)) for length in several]
        for video, several in zip(videos, lengths.tolist(), strict=True)
    }
    return Vocabulary.build(words, min_count=1), texts


def made_model(vocabulary: Vocabulary, width: int = NARROW) -> Captioner:
    """A small captioner with two branches, untrained."""
    torch.manual_seed(0)
    widths = FeatureWidths(scene=width, motion=width, objects=width)
    return build_captioner(
        SMALL, GraphConfig(), widths=widths, vocabulary=len(vocabulary), max_words=vocabulary.max_words
    )


def extraction(folder: Path, clips: int) -> Work:
    """Clips through the extractor of the built-in world, decoded in this process, into a store."""
    world = World(train=clips, val=0, test=0, frames=20)
    extractor = Extractor(world.detector(), world.backbone())
    paths = {video: folder / f"{video}.mp4" for video in world.dataset().splits["train"]}
    files = list(paths.values())
    # The made detector knows the boxes of a clip by its name, so that any pictures do: those of few clips are made.
    for video, path in list(paths.items())[:MADE]:
        world.write_mp4(video, path)
    for place, path in enumerate(files[MADE:]):
        os.link(files[place % MADE], path)

    def run() -> int:
        with (
            Readers(extractor.request(), 0) as readers,
            GraphStore(folder / "clips.store", "w", manifest=extractor.manifest()) as store,
        ):
            return len(ingest(store, list(paths), source_of(readers, paths), extractor, group=4).done)

    return run


def storage(folder: Path, videos: int) -> Work:
    """Graphs of the papers' size into a store, then all out of it in batches of 64 in random order."""
    listed = names(videos)

    def run() -> int:
        write_graphs(folder / "graphs.store", listed, PAPER)
        order = [listed[place] for place in np.random.default_rng(1).permutation(videos)]
        with GraphStore(folder / "graphs.store") as store:
            batches = (store.flat_batch(order[first : first + BATCH]) for first in range(0, videos, BATCH))
            return sum(len(batch["num_frames"]) for batch in batches)

    return run


def training(folder: Path, videos: int) -> Work:
    """An epoch: the order of all captions, batches of 16 videos with 4 captions from the store, and a step on each."""
    listed = names(videos)
    write_graphs(folder / "graphs.store", listed, NARROW)
    vocabulary, texts = made_captions(listed)
    encoded = {video: [vocabulary.encode(text) for text in several] for video, several in texts.items()}
    model = made_model(vocabulary)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def run() -> int:
        with GraphStore(folder / "graphs.store") as store:
            return epoch(store, encoded, model, optimiser)

    return run


def epoch(
    store: GraphStore,
    captions: Mapping[str, Sequence[Sequence[int]]],
    model: Captioner,
    optimiser: torch.optim.Optimizer,
    steps: int | None = None,
) -> int:
    """The steps of an epoch, or the first so many; returns how many videos were learned from.

    Raises:
        AssertionError: a step was not applied.
    """
    data, learned = TrainingSet(BatchSource(store), captions), 0
    for batch in prefetch(data.load, data.epoch(0)[:steps]):
        if not train_step(model, batch, optimiser, captioning_losses).finite:
            raise AssertionError("a training step was not applied")
        learned += len({item.video for item in batch.items})
    return learned


def evaluation(folder: Path, videos: int) -> Work:
    """Greedy captions of all videos from the store, and BLEU, ROUGE-L and CIDEr of them."""
    listed = names(videos)
    write_graphs(folder / "graphs.store", listed, NARROW)
    vocabulary, texts = made_captions(listed)
    model = made_model(vocabulary)

    def run() -> int:
        with GraphStore(folder / "graphs.store") as store:
            found = generate(model, BatchSource(store), listed, vocabulary, search=GREEDY)
        captions = {video: several[0].text for video, several in found.items()}
        return Scorer(texts).score(captions, metrics=("bleu", "rouge", "cider")).videos

    return run


def pages(folder: Path, videos: int) -> Work:
    """A report of videos with ten frames, five boxes in each, and the attributions of nine words."""
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (15, 20, 3), np.uint8)).resize((320, 240)).save(
        picture, "JPEG"
    )

    def run() -> int:
        report = (made_view(video, picture.getvalue()) for video in names(videos))
        written = write_video_pages(folder / "report.html", report, title="Growth")
        return sum(file.read_text("utf-8").count('<article class="video') for file in written)

    return run


def made_view(video: str, jpeg: bytes) -> VideoView:
    """What a page shows of a made video."""
    words = ("a", "small", "red", "ball", "rolls", "past", "the", "tall", "box")
    nodes = tuple(
        Node(frame, (20.0 * place, 30.0, 20.0 * place + 60, 120.0), 0.8, "ball", place)
        for frame in range(FRAMES)
        for place in range(BOXES)
    )
    edges = tuple(
        Edge(source, target, "spatial", 1 / BOXES)
        for source, one in enumerate(nodes)
        for target, other in enumerate(nodes)
        if one.frame == other.frame
    )
    share = np.random.default_rng(0).dirichlet(np.ones(len(nodes)), len(words))
    seen = Attribution("regions", "Boxes", "Made at random.", nodes=share)
    caption = ModelCaption("made", Explanation(words, (0.5,) * len(words), (seen,)))
    pictures = tuple(Picture(number, jpeg) for number in range(FRAMES))
    return VideoView(video, (240, 320), pictures, nodes, edges, (caption,), ("a ball rolls past a box",))


PARTS: dict[str, tuple[Callable[[Path, int], Work], int]] = {
    "extraction": (extraction, 32),
    "store": (storage, 256),
    "training": (training, 64),
    "evaluation": (evaluation, 256),
    "pages": (pages, 75),
}
"""Name -> what prepares the work, and how many items it has at 1x; of videos on pages enough to fill several."""
