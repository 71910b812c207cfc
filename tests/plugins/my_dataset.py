"""A data set of one's own, made on the spot: walls of one colour."""

from pathlib import Path

import numpy as np

from graphs import GraphStore
from stg.datasets import DATASETS, CaptionDataset, OpenDataset, World
from stg.features import Extractor, ingest
from stg.video.decoding import SampledFrames

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
SPLITS = {"train": 6, "val": 3, "test": 3}


def colour_of(video):
    return list(COLOURS)[int(video[-1]) % 3]


def clips(videos):
    for video in videos:
        frames = np.full((10, 64, 64, 3), COLOURS[colour_of(video)], np.uint8)
        yield video, iter([SampledFrames(video, frames, np.arange(10), total_frames=10, fps=10.0)])


def open_walls(data, world, opening):
    splits = {split: [f"{split}{number}" for number in range(count)] for split, count in SPLITS.items()}
    videos = [video for split in splits.values() for video in split]
    captions = {video: [f"a {colour_of(video)} wall", f"the wall is {colour_of(video)}"] for video in videos}
    store = Path(data.store or "walls")
    if not store.exists():
        with GraphStore(store, "a") as new:
            ingest(new, videos, clips, Extractor(None, World().backbone()))
    return OpenDataset(CaptionDataset("walls", captions, splits), GraphStore(store))


DATASETS["walls"] = open_walls
