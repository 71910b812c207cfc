"""Random batches of 64 graphs from the disk (in cache) into float32 batch tensors.

The graphs have the papers' size: ten frames of up to five boxes, 2048-d objects and scenes, 1024-d motion. Rivals:

- ``pickle``: one pickled ``Data`` a video, ``Batch.from_data_list``, as most published code does;
- ``.pt``: the same with ``torch.save``;
- ``.npz``: one file of NumPy arrays a video;
- ``HDF5``: one group a video in one file, as h5py writes it by default;
- ``safetensors``: float32 tensors, one file a video, ``Batch.from_data_list``;
- ``ours``: ``GraphStore.batch``; ``ours, first read``: the same when no record was checked before in this process;
- ``floor``: copying the feature blocks alone, from half precision in memory into the float32 batch.

Then, by the clock, all videos once with nothing in the page cache, against reading the file from end to end; ``read and
widened`` also makes float32 of all bytes, as every reader of the features must.
"""

import os
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch_geometric.data import Batch, Data

from benchmarks.timing import bar, growth, measure, quartiles, write
from graphs import GraphStore

FRAMES, BOXES, WIDTH, SCENE, MOTION = 10, 5, 2048, 2048, 1024
FEATURES = ("x", "scene", "motion")
BATCH = 64


def made_graph(random: np.random.Generator) -> Data:
    """One video, with 5% of the frames empty; its features are exact in half precision, so that all rivals agree."""
    counts = np.where(random.random(FRAMES) < 0.05, 0, random.integers(1, BOXES + 1, FRAMES))
    frame = np.repeat(np.arange(FRAMES), counts)
    spatial = np.stack(np.nonzero(frame[:, None] == frame))
    temporal = np.stack(np.nonzero(frame[:, None] + 1 == frame))[::-1]
    edges = np.concatenate([spatial, temporal], axis=1)

    def numbers(*shape: int) -> Tensor:
        return torch.from_numpy(random.standard_normal(shape, dtype=np.float32)).half().float()

    return Data(
        x=numbers(len(frame), WIDTH),
        boxes=numbers(len(frame), 4),
        frame=torch.from_numpy(frame),
        edge_index=torch.from_numpy(edges),
        edge_weight=numbers(edges.shape[1]),
        edge_type=torch.from_numpy(np.repeat([0, 1], [spatial.shape[1], temporal.shape[1]])),
        num_frames=FRAMES,
        scores=numbers(len(frame)),
        scene=numbers(FRAMES, SCENE),
        motion=numbers(FRAMES, MOTION),
        motion_row=torch.arange(FRAMES),
    )


class Shelf:
    """The same videos in every format, in one folder."""

    def __init__(self, folder: Path, videos: int) -> None:
        random = np.random.default_rng(0)
        self.folder = folder
        self.videos = [f"v{number:05d}" for number in range(videos)]
        self.blocks: dict[str, dict[str, Tensor]] = {}
        self.store_path = folder / "graphs.storage.store"
        self.groups = h5py.File(folder / "graphs.h5", "w")
        with GraphStore(self.store_path, "w") as store:
            for start in range(0, videos, 100):
                chunk = {video: made_graph(random) for video in self.videos[start : start + 100]}
                store.put_many(chunk)
                for video, data in chunk.items():
                    self._put(video, data)
        self.store = GraphStore(self.store_path)

    def _put(self, video: str, data: Data) -> None:
        (self.folder / f"{video}.pickle").write_bytes(pickle.dumps(data, protocol=pickle.HIGHEST_PROTOCOL))
        torch.save(data, self.folder / f"{video}.pt")
        tensors = {name: torch.as_tensor(value) for name, value in data.to_dict().items()}
        save_file({name: value.contiguous() for name, value in tensors.items()}, self.folder / f"{video}.safetensors")
        arrays = {name: value.numpy() for name, value in tensors.items()}
        np.savez(self.folder / f"{video}.npz", **arrays)
        group = self.groups.create_group(video)
        for name, array in arrays.items():
            group[name] = array
        self.blocks[video] = {name: data[name].half() for name in FEATURES}

    def batches(self, count: int) -> list[list[str]]:
        """Random batches, the same for every rival."""
        random = np.random.default_rng(1)
        size = min(BATCH, len(self.videos))
        return [list(random.choice(self.videos, size, replace=False)) for _ in range(count)]

    def read_pickle(self, video: str) -> Data:
        return pickle.loads((self.folder / f"{video}.pickle").read_bytes())

    def read_pt(self, video: str) -> Data:
        return torch.load(self.folder / f"{video}.pt", weights_only=False)

    def read_safetensors(self, video: str) -> Data:
        with safe_open(self.folder / f"{video}.safetensors", framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
        return Data(**tensors | {"num_frames": int(tensors["num_frames"])})

    def read_npz(self, video: str) -> Data:
        with np.load(self.folder / f"{video}.npz") as file:
            tensors = {name: torch.from_numpy(file[name]) for name in file.files}
        return Data(**tensors | {"num_frames": int(tensors["num_frames"])})

    def read_hdf5(self, video: str) -> Data:
        tensors = {name: torch.from_numpy(np.asarray(values[()])) for name, values in self.groups[video].items()}
        return Data(**tensors | {"num_frames": int(tensors["num_frames"])})

    def read_unchecked(self, videos: Sequence[str]) -> Data:
        self.store._known.forget()
        return self.store.batch(videos)

    def floor(self, videos: Sequence[str]) -> dict[str, Tensor]:
        filled = {}
        for name in FEATURES:
            blocks = [self.blocks[video][name] for video in videos]
            rows = [len(block) for block in blocks]
            filled[name] = torch.empty(sum(rows), blocks[0].shape[1])
            for target, block in zip(filled[name].split(rows), blocks, strict=True):
                target.copy_(block)
        return filled


def contestants(shelf: Shelf) -> dict[str, Callable[[Sequence[str]], Any]]:
    """Each rival as a function from video ids to a batch."""

    def collated(read: Callable[[str], Data]) -> Callable[[Sequence[str]], Any]:
        return lambda videos: Batch.from_data_list([read(video) for video in videos])

    return {
        "pickle": collated(shelf.read_pickle),
        ".pt": collated(shelf.read_pt),
        ".npz": collated(shelf.read_npz),
        "HDF5": collated(shelf.read_hdf5),
        "safetensors": collated(shelf.read_safetensors),
        "ours": shelf.store.batch,
        "ours, first read": shelf.read_unchecked,
        "floor": shelf.floor,
    }


def check_agreement(rivals: Mapping[str, Callable[[Sequence[str]], Any]], videos: Sequence[str]) -> None:
    """All rivals must hand out the same numbers."""
    ours = rivals["ours"](videos)
    for rival, run in rivals.items():
        batch = run(videos)
        for name in FEATURES if rival == "floor" else ours.keys():
            if name in ("videos", "motion_ptr"):
                continue
            if not torch.equal(batch[name], ours[name]):
                raise AssertionError(f"{rival} and ours differ in {name}")


def cold(shelf: Shelf, repetitions: int) -> dict[str, dict[str, float]]:
    """Seconds by the clock for every video once, and for the plain bytes of the file, nothing in the page cache."""
    shelf.store.close()
    piece, wide = bytearray(2**22), torch.empty(2**21)

    def ours() -> None:
        with GraphStore(shelf.store_path) as store:
            for first in range(0, len(shelf.videos), BATCH):
                store.batch(shelf.videos[first : first + BATCH])

    def sequential() -> None:
        with open(shelf.store_path, "rb", buffering=0) as file:
            while file.read(len(piece)):
                pass

    def widened() -> None:
        with open(shelf.store_path, "rb", buffering=0) as file:
            while size := file.readinto(piece) // 2:
                wide[:size].copy_(torch.frombuffer(piece, dtype=torch.float16, count=size))

    ways = {"ours, cold": ours, "sequential read": sequential, "read and widened": widened}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repetitions):
        for name, run in ways.items():
            _forget(shelf.store_path)
            start = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - start)
    return {name: quartiles(seconds) for name, seconds in taken.items()}


def _forget(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sized(videos: int) -> dict[str, Any]:
    """Ours alone, out of a store of so many videos."""
    with tempfile.TemporaryDirectory() as folder, GraphStore(Path(folder) / "graphs.storage.store", "w") as store:
        random = np.random.default_rng(0)
        names = [f"v{number:05d}" for number in range(videos)]
        for start in range(0, videos, 100):
            store.put_many({name: made_graph(random) for name in names[start : start + 100]})
        for first in range(0, videos, BATCH):
            store.batch(names[first : first + BATCH])
        order = cycle([list(random.choice(names, BATCH, replace=False)) for _ in range(30)])
        return measure({"ours": lambda: store.batch(next(order))}, repetitions=15)["ours"]


def main(quick: bool = False) -> None:
    """Check that the rivals agree; unless ``quick``, time them and write ``results/store.json``."""
    videos, repetitions = (20, 0) if quick else (1200, 15)
    with tempfile.TemporaryDirectory() as folder:
        shelf = Shelf(Path(folder), videos)
        rivals = contestants(shelf)
        batches = shelf.batches(2 * repetitions)
        check_agreement(rivals, shelf.batches(1)[0])
        if quick:
            shelf.store.close()
            shelf.groups.close()
            Console().print("store: all rivals agree")
            return
        sizes = shelf.store.sizes()
        for first in range(0, videos, BATCH):
            shelf.store.batch(shelf.videos[first : first + BATCH])

        def turn(run: Callable[[Sequence[str]], Any], order: Iterator[list[str]]) -> Callable[[], object]:
            return lambda: run(next(order))

        # First reads forget what was checked: measured apart, lest `ours` pay for it.
        first_read = rivals.pop("ours, first read")
        times = measure({name: turn(run, cycle(batches)) for name, run in rivals.items()}, repetitions=repetitions)
        times |= measure({"ours, first read": turn(first_read, cycle(batches))}, repetitions=repetitions)
        wall = cold(shelf, 5)
        shelf.groups.close()
    grown = {number: sized(number) for number in (200, 800, 3200)}
    floor, ours = times["floor"]["median"], times["ours"]["median"]
    table = Table("", "CPU ms a batch", "quartiles", "x floor", "x ours", title=f"{BATCH} of {videos} videos, hot")
    for name, found in sorted(times.items(), key=lambda item: -item[1]["median"]):
        table.add_row(
            name,
            f"{found['median']:.2f}",
            f"{found['low']:.2f} - {found['high']:.2f}",
            f"{found['median'] / floor:.2f}",
            f"{found['median'] / ours:.2f}",
        )
    console = Console()
    console.print(table)
    console.print(f"{np.mean(sizes) / 1024:.0f} KiB a video")
    results: dict[str, Any] = {
        "videos": videos,
        "batch": BATCH,
        "bytes_per_video": float(np.mean(sizes)),
        "cpu_ms": times,
        "ours_x_floor": round(ours / floor, 3),
        "pickle_x_ours": round(times["pickle"]["median"] / ours, 3),
    }
    share = wall["sequential read"]["median"] / wall["ours, cold"]["median"]
    widened = wall["read and widened"]["median"] / wall["ours, cold"]["median"]
    console.print(
        f"cold, every video once: {share:.0%} of the bandwidth of a sequential read, {widened:.0%} of one with float32"
    )
    exponent = growth(list(grown), [taken["median"] for taken in grown.values()])
    console.print(f"a batch's time grows with the videos in the store to the power of {exponent}")
    bars = [
        bar("a batch from the store, times copying its bytes", ours / floor, 1.4, "lower"),
        bar("a batch from the store, against pickled Data", times["pickle"]["median"] / ours, 15),
        bar("a video in the store, KiB", float(np.mean(sizes)) / 1024, 200, "lower"),
        bar("reading the store cold, share of sequential bandwidth", share, 0.8),
    ]
    results |= {"wall_s": wall, "cold_share_of_sequential": round(share, 3), "growth_with_videos": exponent}
    write("store", {"bars": bars, **results, "cpu_ms_by_videos": grown})
