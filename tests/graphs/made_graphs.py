"""Made video graphs, and a child process to break things in."""

import os
import signal
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Data

from graphs.storage.store import GraphStore

WIDE = {"width": 2048, "scene": 512}


def made_graph(
    counts: Sequence[int],
    seed: int = 0,
    width: int = 6,
    scene: int = 4,
    motion: int = 3,
    first_number: int = 0,
    clips: int = 5,
    sounds: int = 2,
) -> Data:
    """A full graph with ``counts[t]`` objects in frame t, all optional fields, and random numbers."""
    random = np.random.default_rng(seed)
    frame = np.repeat(np.arange(len(counts)), counts)
    same = np.stack(np.nonzero(frame[:, None] == frame))
    later = np.stack(np.nonzero(frame[:, None] + 1 == frame))
    edges = np.concatenate([same, later], axis=1)[::-1].copy()

    def numbers(*shape: int) -> torch.Tensor:
        return torch.from_numpy(random.standard_normal(shape, dtype=np.float32))

    data = Data(
        x=numbers(len(frame), width),
        boxes=numbers(len(frame), 4),
        frame=torch.from_numpy(frame),
        edge_index=torch.from_numpy(edges),
        edge_weight=numbers(edges.shape[1]),
        edge_type=torch.from_numpy(np.repeat([0, 1], [same.shape[1], later.shape[1]])),
        num_frames=len(counts),
        scores=numbers(len(frame)),
        scene=numbers(len(counts), scene),
        motion=numbers(clips, motion),
        motion_row=torch.arange(len(counts)) % clips,
        frame_number=first_number + torch.arange(len(counts)),
        grid=numbers(clips, 2, 3),
        audio=numbers(sounds, 4),
        audio_mask=torch.arange(sounds) % 3 != 1,
        total_frames=torch.tensor([first_number + 2 * len(counts)]),
        fps=torch.tensor([12.5 + seed]),
    )
    data["size"] = torch.tensor([[240, 320]])
    return data


def as_stored(data: Data) -> Data:
    """What a float16 store gives back: its features rounded to half precision."""
    kept = data.clone()
    for name in ("x", "scene", "motion", "grid", "audio"):
        kept[name] = kept[name].half().float()
    return kept


def same(first: Data, second: Data, without: Sequence[str] = ("video",)) -> bool:
    """Whether two graphs have the same fields with the same numbers and types."""
    names = set(first.keys()) - set(without)
    if names != set(second.keys()) - set(without):
        return False
    for name in names:
        a, b = first[name], second[name]
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            if a.dtype != b.dtype or not torch.equal(a, b):
                return False
        elif a != b:
            return False
    return True


def in_child(work: Callable[[], str]) -> str:
    """Run ``work`` in a forked process: its answer, or its error, or ``signal N`` if the process was killed."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(readable)
        try:
            answer = work()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
            if not isinstance(error, ValueError):
                traceback.print_exc()
        os.write(writable, answer.encode(errors="replace")[:60000])
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        answer = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return answer


def filled(path: Path, videos: int = 12) -> Path:
    with GraphStore(path, "a", manifest={"made": True}) as store:
        store.put_many((f"v{i}", made_graph([2, 1], seed=i, **WIDE)) for i in range(videos))
    return path


def read_all(path: Path) -> str:
    """``whole`` if every video reads as it was written, else the words of the first error."""
    with GraphStore(path) as store:
        for i in range(12):
            if not same(store.get(f"v{i}"), as_stored(made_graph([2, 1], seed=i, **WIDE))):
                return f"v{i} has wrong numbers"
        store.batch([f"v{i}" for i in range(12)])
    return "whole"
