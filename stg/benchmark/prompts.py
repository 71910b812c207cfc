"""The graph of each clip of a bench as text, for a language model that sees no pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from graphs import GraphStore, VideoFeatures, flat_graph, to_text
from stg.benchmark.making import made_again
from stg.benchmark.questions import Bench, write_lines
from stg.benchmark.twins import FPS, SIDE, Scene, look
from stg.runtime.errors import UserError
from stg.runtime.reading import counted, some
from stg.video.sampling import sample_numbers


def write_prompts(
    bench: Bench,
    path: str | Path,
    *,
    store: str | Path | None = None,
    frames: int = 10,
    format: Literal["text", "jsonl"] = "text",
) -> int:
    """Write ``{"video": ..., "graph": text}`` for each clip, a line each: see :func:`graphs.to_text`.

    Args:
        bench: whose clips.
        path: of the file.
        store: graphs of the clips, as ``stg.extract`` makes them of its folder ``clips``; by default the true boxes of
            the objects, with colour and shape as their classes: what a perfect detector and tracker would find.
        frames: times that are described.
        format: of the text.

    Returns:
        The number of clips.

    Raises:
        UserError: the store lacks clips, or the bench was exported by another version.
    """
    texts = _stored(bench, Path(store), frames, format) if store else _true(bench, frames, format)
    rows = [{"video": video, "graph": text} for video, text in texts]
    write_lines(path, rows)
    return len(rows)


def _stored(bench: Bench, path: Path, frames: int, format: str) -> Iterator[tuple[str, str]]:
    with GraphStore(path) as store:
        if missing := [video for video in bench.videos if video not in store]:
            raise UserError(
                f"{path} lacks {counted(len(missing), 'clip')} of {bench.folder}: {some(missing)}; make it with "
                f"python -m stg.extract {bench.folder / 'clips'} --out {path}"
            )
        for video in bench.videos:
            yield video, to_text(store.get(video), frames=frames, format=format)


def _true(bench: Bench, frames: int, format: str) -> Iterator[tuple[str, str]]:
    made = made_again(bench)
    for video in bench.videos:
        scene = made.clips[video].scene
        names = {place: " ".join(look(thing)) for place, thing in enumerate(scene.things, 1)}
        yield video, to_text(flat_graph(_seen(scene, video, frames)), frames=frames, format=format, names=names)


def _seen(scene: Scene, video: str, frames: int) -> VideoFeatures:
    number = sample_numbers(scene.frames, frames, "centres")
    boxes = scene.boxes(number)
    times, things = boxes.shape[:2]
    track = torch.arange(things).repeat(times)
    return VideoFeatures(
        boxes=torch.from_numpy(boxes.reshape(-1, 4)).float(),
        objects=torch.zeros(times * things, 1),
        frame=torch.arange(times).repeat_interleave(things),
        num_frames=times,
        track=track,
        label=track + 1,
        frame_number=torch.from_numpy(np.asarray(number)),
        total_frames=scene.frames,
        fps=float(FPS),
        size=(SIDE, SIDE),
        video=video,
    )
