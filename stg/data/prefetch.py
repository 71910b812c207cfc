"""Where batches come from while a step runs: read ahead in a thread, or held in memory."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from graphs import GraphsInMemory, GraphStore
from stg.runtime.device import free_memory
from stg.runtime.errors import UserError
from stg.runtime.reading import counted
from stg.runtime.reporter import SILENT, Reporter

Batch = TypeVar("Batch")

Item = TypeVar("Item")


def prefetch(load: Callable[[Item], Batch], items: Sequence[Item]) -> Iterator[Batch]:
    """What ``load`` makes of each of ``items``, in order, one ahead of the one in use, in a thread of its own.

    An error of ``load`` is raised where its batch is asked for. Closing the iterator waits for the batch being read,
    and no other is begun.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="stg-read-ahead") as pool:
        coming = [pool.submit(load, item) for item in items[:1]]
        for item in items[1:]:
            ready = coming.pop()
            coming.append(pool.submit(load, item))
            yield ready.result()
        for ready in coming:
            yield ready.result()


def load_into_memory(store: GraphStore, videos: Sequence[str], *, reporter: Reporter = SILENT) -> GraphsInMemory:
    """The graphs of some videos, read once and kept as they lie in the store: batches are the same to the last bit.

    Args:
        reporter: receives a line on how much is kept.

    Raises:
        UserError: they need more memory than is free, with those of the other processes that ``torchrun`` started here.
        StoreError: one is not there, or damaged.
    """
    wanted = list(dict.fromkeys(videos))
    # Asked before reading: a process that the system kills for its memory explains nothing.
    sizes = dict(zip(store.keys(), store.sizes(), strict=True))
    needed, free = sum(sizes.get(video, 0) for video in wanted), free_memory()
    # Under torchrun each process of this machine keeps its own.
    count = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if free is not None and count * needed > free:
        each = f" in each of {count} processes" if count > 1 else ""
        raise UserError(
            f"data.loading memory would keep {needed / 2**30:.1f} GiB of graphs{each} and {free / 2**30:.1f} GiB of "
            "memory are free: set data.loading to ahead"
        )
    reporter.say(f"keeping the graphs of {counted(len(wanted), 'video')} in memory ({needed / 2**20:.0f} MiB)")
    return GraphsInMemory.read(store, wanted)
