"""What share of the events of the built-in world survives when a graph is written as text (:func:`graphs.to_text`).

Rules (`benchmarks.graph_text_reader`) name the event of each test video from its text alone. They know how the
world's events go and learn nothing; their limits were set on the world of another seed. Rows differ in what the text
is made of:

- ``true boxes``: what the rules lose by themselves; all others have the world's detector, which misses and jitters;
- fewer digits, times, or tracks; tracks linked in the text by the defaults of `graphs.LinkTracks`, or not at all;
- ``times shuffled``: the control, which keeps places and takes their order away.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest

from benchmarks import RESULTS
from benchmarks.graph_text_reader import name_event
from graphs import FlatBatch, VideoFeatures, flat_graph, to_text
from stg.config.store import TrackConfig
from stg.data.edges import add_tracks
from stg.datasets.world import World
from stg.datasets.world.scores import scores_of
from stg.features.extractor import Extractor

VIDEOS = 200
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "as it is: 2 digits, 10 times, 8 tracks": {},
    "3 digits": {"precision": 3},
    "1 digit": {"precision": 1},
    "5 times": {"frames": 5},
    "3 times": {"frames": 3},
    "4 tracks": {"tracks": 4},
    "2 tracks": {"tracks": 2},
}
"""Row -> options of `to_text`."""


def main(quick: bool = False) -> None:
    """Measure, or with ``quick`` see on a few videos that every row runs; writes no times."""
    results = measure(16 if quick else VIDEOS)
    if quick:
        return
    print(table(results))
    path = RESULTS / "world" / "graph_text.json"
    path.write_text(json.dumps(results, indent=2) + "\n")


def measure(videos: int) -> dict[str, Any]:
    """The share of events that each row of text holds, over all test videos and by what tells them apart."""
    world = World(test=videos)
    names = [f"test-{number:05d}" for number in range(videos)]
    extract = Extractor(world.detector(), world.backbone())
    seen = {name: flat_graph(extract(world.sample(name))) for name in names}
    untracked = {name: graph.clone() for name, graph in seen.items()}
    for graph in seen.values():
        add_tracks(graph, TrackConfig())
    truth = {name: world.event(name).verb for name in names}
    rows: dict[str, Callable[[str], str]] = {"true boxes": lambda name: to_text(true_graph(world, name))}
    for row, options in OPTIONS.items():
        rows[row] = lambda name, options=options: to_text(seen[name], **options)
    rows["linked in the text, defaults"] = lambda name: to_text(untracked[name])
    rows["no tracks"] = lambda name: to_text(untracked[name], link=False, tracks=50)
    rows["times shuffled"] = lambda name: to_text(shuffled(seen[name], int(name[-5:])))
    return {
        "benchmark": "graph_text",
        "world": world.manifest(),
        "videos": videos,
        "rows": {row: scored({name: write(name) for name in names}, truth) for row, write in rows.items()},
    }


def scored(texts: Mapping[str, str], truth: Mapping[str, str]) -> dict[str, Any]:
    """How many events the rules name, with a 95 % interval (Wilson), and how long a text is."""
    right = {name: name_event(text) == truth[name] for name, text in texts.items()}
    interval = binomtest(sum(right.values()), len(right)).proportion_ci(method="wilson")
    by_event = {event: [right[name] for name in right if truth[name] == event] for event in sorted(set(truth.values()))}
    return {
        **{group: round(share, 4) for group, share in scores_of(right, truth).items()},
        "95 %": [round(interval.low, 4), round(interval.high, 4)],
        "by_event": {event: f"{sum(found)}/{len(found)}" for event, found in by_event.items()},
        "characters": round(float(np.mean([len(text) for text in texts.values()]))),
        "lines": round(float(np.mean([text.count("\n") for text in texts.values()])), 1),
    }


def true_graph(world: World, video: str) -> FlatBatch:
    """The boxes of a video as they are, in the frames that are sampled."""
    sample = world.sample(video)
    boxes, _ = world.truth(video, sample.frame_number)
    frames, things = boxes.shape[:2]
    return flat_graph(
        VideoFeatures(
            boxes=torch.from_numpy(boxes.reshape(-1, 4)),
            objects=torch.zeros(frames * things, 1),
            frame=torch.arange(frames).repeat_interleave(things),
            num_frames=frames,
            track=torch.arange(things).repeat(frames),
            frame_number=torch.from_numpy(sample.frame_number),
            total_frames=world.frames,
            fps=float(world.fps),
            size=(world.size, world.size),
        )
    )


def shuffled(graph: FlatBatch, seed: int) -> FlatBatch:
    """The same objects, its frames in another order."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(graph.num_frames))
    moved, rows = graph.clone(), order[graph.frame].argsort(stable=True)
    moved.frame = order[graph.frame][rows]
    for name in {"boxes", "track", "scores", "x"} & set(graph.keys()):
        moved[name] = graph[name][rows]
    return moved


def table(results: Mapping[str, Any]) -> str:
    """The rows in Markdown."""
    groups = ("event", "space", "time", "both")
    lines = ["| text | events | 95 % | space | time | both | characters |", "|---|---|---|---|---|---|---|"]
    for row, found in results["rows"].items():
        event, *parts = (f"{found[group]:.3f}" if group in found else "-" for group in groups)
        low, high = found["95 %"]
        lines.append(f"| {row} | {event} | {low:.3f} to {high:.3f} | {' | '.join(parts)} | {found['characters']:,} |")
    return "\n".join(lines)
