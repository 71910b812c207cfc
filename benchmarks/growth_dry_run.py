"""A store of many made graphs through its life: written, opened, listed, learned from, captioned, checked whole."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.growth_work import BATCH, GREEDY, WORDS, epoch, made_captions, made_graph, made_model, names
from benchmarks.memory import Memory, seconds
from graphs import GraphStore
from stg.data.batches import BatchSource, TrainingSet
from stg.data.merge import info
from stg.datasets.base import CaptionDataset
from stg.models.generation import generate
from stg.runtime.files import fingerprint
from stg.runtime.progress import ConsoleReporter
from stg.text.vocabulary import Vocabulary
from stg.training.rewards import Rewards

MADE, COPIED = 2000, 1024
"""Graphs that are made, the others being copies of them, and copies that one transaction takes."""
STEPS, CAPTIONED = 100, 1024


class Stages:
    """Tells of each stage the seconds by the clock, those of the CPU, and the memory that it took."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        with Memory() as memory:
            wall, cpu = time.perf_counter(), seconds()
            yield
            wall, cpu = time.perf_counter() - wall, seconds() - cpu
        self.console.print(f"{what:44} {wall:8.2f} s  {cpu:8.2f} s CPU  {memory.own:7.0f} MiB")


def dry_run(graphs: int, width: int, folder: Path | None) -> None:
    """Make a store, use it and remove it; prints seconds and memory of each stage.

    Raises:
        AssertionError: something is missing, or broken.
    """
    console = Console(soft_wrap=True)
    stage = Stages(console)
    torch.set_num_threads(1)
    videos = names(graphs)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        path = Path(place) / "graphs.store"
        with stage(f"make and write {graphs} graphs"):
            write(path, videos, width)
        with stage("open"):
            store = GraphStore(path)
        with store:
            read(store, videos, stage, console)
            learn(store, videos, width, stage)


def write(path: Path, videos: Sequence[str], width: int) -> None:
    """The store: some graphs are put, and copied as records, as a merge does, under all other names."""
    random = np.random.default_rng(0)
    made = videos[:MADE]
    with GraphStore(path, "w") as store:
        for first in range(0, len(made), BATCH):
            store.put_many({video: made_graph(random, width) for video in made[first : first + BATCH]})
        records = [store.record(video) for video in made]
        for first in range(len(made), len(videos), COPIED):
            numbers = range(first, min(first + COPIED, len(videos)))
            store.put_records((videos[number], records[number % len(records)]) for number in numbers)


def read(store: GraphStore, videos: Sequence[str], stage: Stages, console: Console) -> None:
    """All that commands ask of a store as a whole.

    Raises:
        AssertionError: something is missing, or broken.
    """
    with stage("list the keys"):
        found = store.keys()
    if found != list(videos):
        raise AssertionError(f"{len(found)} of {len(videos)} graphs are in the store")
    with stage("ask for each video whether it is there"):
        if not all(video in store for video in videos):
            raise AssertionError("a graph that was listed is not there")
    with stage("stg store info"):
        info(store, ConsoleReporter(console))
    with stage("stg store verify"):
        if broken := store.verify():
            raise AssertionError(f"{len(broken)} records are broken, such as {broken[0]}")
    order = [videos[number] for number in np.random.default_rng(1).permutation(len(videos))]
    for what in ("first", "second"):
        with stage(f"all graphs in batches of {BATCH}, {what} time"):
            for at in range(0, len(order), BATCH):
                store.flat_batch(order[at : at + BATCH])


def learn(store: GraphStore, videos: Sequence[str], width: int, stage: Stages) -> None:
    """What a training run does before its first step, some steps, rewards, and some captions."""
    with stage(f"make {4 * len(videos)} captions of {WORDS} words"):
        _, captions = made_captions(videos)
    with stage("the data set, restricted to the store"):
        dataset = CaptionDataset("made", captions, {"train": videos}).restrict(set(store.keys()))
    with stage("the vocabulary, and all captions as numbers"):
        vocabulary = Vocabulary.build((text for texts in captions.values() for text in texts), min_count=1)
        encoded = {video: [vocabulary.encode(text) for text in texts] for video, texts in captions.items()}
    with stage("the hash of all captions"):
        fingerprint(list(dataset.references("train").items()))
    model = made_model(vocabulary, width)
    with stage("the order of an epoch"):
        batches = len(TrainingSet(BatchSource(store), encoded).epoch(0))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    with stage(f"{STEPS} of {batches} steps, the order included"):
        epoch(store, encoded, model, optimiser, STEPS)
    with stage("the references of rewards"):
        rewards = Rewards(captions, vocabulary)
    with rewards, stage("rewards of 64 captions, 100 times"):
        for _ in range(100):
            rewards.start(videos[:BATCH], [encoded[video][0][1:] for video in videos[:BATCH]]).result()
    with stage(f"{CAPTIONED} greedy captions"):
        found = generate(model, BatchSource(store), videos[-CAPTIONED:], vocabulary, search=GREEDY)
    if len(found) != min(CAPTIONED, len(videos)):
        raise AssertionError(f"{len(found)} of {CAPTIONED} videos have captions")
