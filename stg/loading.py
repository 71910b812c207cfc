"""Batches that are read while the step before them runs."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Batch = TypeVar("Batch")
Item = TypeVar("Item")


def read_ahead(load: Callable[[Item], Batch], items: Sequence[Item]) -> Iterator[Batch]:
    """What ``load`` makes of each of ``items``, in order, one ahead of the one in use, in a thread of its own.

    An error of ``load`` is raised where its batch is asked for.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="stg-read-ahead") as pool:
        coming = [pool.submit(load, item) for item in items[:1]]
        for item in items[1:]:
            ready = coming.pop()
            coming.append(pool.submit(load, item))
            yield ready.result()
        for ready in coming:
            yield ready.result()
