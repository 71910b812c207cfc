"""Shuffled batches of 64 graphs through PyG's ``DataLoader``, out of a file that holds 5,000.

The graphs are those of `benchmarks.store`, written once for each rival:

- ``OnDiskDataset``: PyG's own, on SQLite, with pickled graphs, as it comes;
- ``OnDiskDataset, schema``: the same with a schema, which spares the pickle;
- ``ours``: ``VideoGraphDataset`` in the same loader;
- ``ours, store's batches``: ``GraphStore.batch``, without PyG's loader.

CPU time without workers; then by the clock with two workers, which are started anew for each pass.
"""

import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch_geometric.data import Data, OnDiskDataset
from torch_geometric.loader import DataLoader

from benchmarks.store import made_graph
from benchmarks.timing import bar, measure, write
from graphs import GraphStore, VideoGraphDataset

BATCH, BATCHES, CHUNK = 64, 8, 100
SCHEMA: dict[str, Any] = {
    "x": {"dtype": torch.float, "size": (-1, 2048)},
    "boxes": {"dtype": torch.float, "size": (-1, 4)},
    "frame": {"dtype": torch.long, "size": (-1,)},
    "edge_index": {"dtype": torch.long, "size": (2, -1)},
    "edge_weight": {"dtype": torch.float, "size": (-1,)},
    "edge_type": {"dtype": torch.long, "size": (-1,)},
    "num_frames": int,
    "scores": {"dtype": torch.float, "size": (-1,)},
    "scene": {"dtype": torch.float, "size": (-1, 2048)},
    "motion": {"dtype": torch.float, "size": (-1, 1024)},
    "motion_row": {"dtype": torch.long, "size": (-1,)},
    "y": {"dtype": torch.long, "size": (-1,)},
}


class WithSchema(OnDiskDataset):
    """PyG's dataset, with a declaration of what a graph holds."""

    def __init__(self, root: str) -> None:
        super().__init__(root, schema=SCHEMA, log=False)

    def serialize(self, data: Data) -> dict[str, Any]:
        return {name: data[name] for name in SCHEMA}

    def deserialize(self, data: dict[str, Any]) -> Data:
        return Data.from_dict(data)


Batches = Callable[[int], Iterable[Data]]
"""Number of workers -> the batches of one pass."""


def written(folder: Path, count: int) -> tuple[Path, OnDiskDataset, OnDiskDataset]:
    """The same graphs in a store, and in PyG's datasets with and without a schema."""
    random = np.random.default_rng(0)
    pickled, plain = OnDiskDataset(str(folder / "pickled"), log=False), WithSchema(str(folder / "plain"))
    path = folder / "store.lmdb"
    with GraphStore(path, "w") as store:
        for start in range(0, count, CHUNK):
            chunk = [made_graph(random) for _ in range(start, min(start + CHUNK, count))]
            for place, data in enumerate(chunk, start):
                data.y = torch.tensor([place % 7])
            store.put_many((f"{place:06}", data) for place, data in enumerate(chunk, start))
            pickled.extend(chunk)
            plain.extend(chunk)
    return path, pickled, plain


def rivals(path: Path, pickled: OnDiskDataset, plain: OnDiskDataset, order: Sequence[list[int]]) -> dict[str, Batches]:
    """What gives the batches of one pass, by name."""
    store, dataset = GraphStore(path), VideoGraphDataset(path)

    def loaded(graphs: Any) -> Batches:
        def batches(workers: int) -> Iterable[Data]:
            # A connection to SQLite must not be inherited by a worker: PyG opens it again where there is none.
            if workers and isinstance(graphs, OnDiskDataset):
                graphs.close()
                graphs._db = None
            return DataLoader(graphs, batch_sampler=list(order), num_workers=workers)

        return batches

    return {
        "OnDiskDataset": loaded(pickled),
        "OnDiskDataset, schema": loaded(plain),
        "ours": loaded(dataset),
        "ours, store's batches": lambda _: (store.batch([dataset.videos[place] for place in one]) for one in order),
    }


def check_agreement(runs: Mapping[str, Batches], workers: int) -> None:
    """All rivals must give the same numbers in the same batches."""
    passes = {name: list(run(workers)) for name, run in runs.items()}
    for name, batches in passes.items():
        for batch, ours in zip(batches, passes["ours"], strict=True):
            for field in (*SCHEMA, "batch", "ptr"):
                if not torch.equal(batch[field], ours[field]):
                    raise AssertionError(f"{name} and ours differ in {field}")


def main(quick: bool = False) -> None:
    """Check that the rivals agree; unless ``quick``, time them and write ``results/dataset.json``."""
    count, size = (24, 6) if quick else (5000, BATCH)
    random = np.random.default_rng(1)
    order = [random.choice(count, size, replace=False).tolist() for _ in range(2 if quick else BATCHES)]
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        made = written(Path(folder), count)
        runs = rivals(*made, order)
        for workers in (0, 2):
            check_agreement(runs, workers)
        if quick:
            console.print("dataset: all rivals agree")
            return

        def whole(run: Batches, workers: int) -> Callable[[], object]:
            return lambda: sum(batch.x.size(0) for batch in run(workers))

        cpu = measure({name: whole(run, 0) for name, run in runs.items()}, repetitions=9)
        through_loader = {name: run for name, run in runs.items() if name != "ours, store's batches"}
        wall = measure(
            {name: whole(run, 2) for name, run in through_loader.items()}, repetitions=9, clock=time.perf_counter
        )
        mebibytes = {
            "ours": made[0].stat().st_size / 2**20,
            **{name: file_of(one) / 2**20 for name, one in zip(runs, made[1:], strict=False)},
        }
    report(console, cpu, wall, count, mebibytes)


def file_of(dataset: OnDiskDataset) -> int:
    """Bytes of PyG's database."""
    return Path(dataset.processed_paths[0]).stat().st_size


def report(
    console: Console,
    cpu: Mapping[str, Mapping[str, float]],
    wall: Mapping[str, Mapping[str, float]],
    count: int,
    mebibytes: Mapping[str, float],
) -> None:
    """Print the times and write them."""
    passed = BATCH * BATCHES
    table = Table("", "CPU ms a pass", "ms, two workers", "graphs/s of CPU", title=f"{passed} of {count} graphs")
    for name, found in sorted(cpu.items(), key=lambda item: -item[1]["median"]):
        clock = f"{wall[name]['median']:.0f}" if name in wall else "-"
        table.add_row(name, f"{found['median']:.0f}", clock, f"{1e3 * passed / found['median']:.0f}")
    console.print(table)
    rival = min(cpu[name]["median"] for name in cpu if name.startswith("OnDisk"))
    slower = min(wall[name]["median"] for name in wall if name.startswith("OnDisk"))
    best = cpu["ours, store's batches"]["median"]
    bars = [
        bar("a DataLoader over a store, against PyG's OnDiskDataset", rival / cpu["ours"]["median"], 1.0),
        bar("the same by the clock, two workers", slower / wall["ours"]["median"], 1.0),
        bar("the store's own batches, against PyG's OnDiskDataset", rival / best, 3.0),
    ]
    sizes = {name: round(size, 1) for name, size in mebibytes.items()}
    write("dataset", {"bars": bars, "graphs": count, "batch": BATCH, "batches": BATCHES, "mebibytes": sizes,
                      "cpu_ms": cpu, "wall_ms": {"two workers": wall}})  # fmt: skip


if __name__ == "__main__":
    main()
