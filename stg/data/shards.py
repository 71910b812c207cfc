"""Work divided over the processes that torchrun starts: a share of the clips and a store of its own for each rank.

Resuming with another number of processes must not do work twice, nor leave any out. Hence: every rank divides the
*whole* list, which is the same for all of them, and only then leaves out of its share what :func:`done_elsewhere`
finds, in the merged store or in the shards of any number of ranks, some of which are being written meanwhile. Dividing
what is left instead would go wrong, since the ranks list the stores at different moments.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from graphs import GraphStore, LMDBFile
from stg.runtime.errors import UserError

Item = TypeVar("Item")


def rank_and_world(environ: Mapping[str, str]) -> tuple[int, int]:
    """Which process this is of how many: ``RANK`` and ``WORLD_SIZE`` as torchrun sets them; ``(0, 1)`` without them.

    Raises:
        UserError: one of them is missing or no such number.
    """
    given = {name: environ[name] for name in ("RANK", "WORLD_SIZE") if name in environ}
    if not given:
        return 0, 1
    given_as = " and ".join(f"{name}={value!r}" for name, value in given.items())
    if len(given) == 2 and all(re.fullmatch("[0-9]{1,9}", value) for value in given.values()):
        rank, world = int(given["RANK"]), int(given["WORLD_SIZE"])
        if rank < world:
            return rank, world
    raise UserError(
        f"the environment says {given_as}, but RANK must lie in 0..WORLD_SIZE-1: start with torchrun, or unset both"
    )


def shard(items: Sequence[Item], rank: int, world: int) -> list[Item]:
    """The share of one rank: every ``world``-th item, so that neighbours, often alike in length, are spread.

    Args:
        items: all of them, in the same order in every process.
    """
    return list(items[rank::world])


def shard_path(out: str | Path, rank: int, world: int) -> Path:
    """The store of one rank: ``OUT.rank0of2``; ``OUT`` itself where there is one process only."""
    return Path(out) if world == 1 else Path(f"{out}.rank{rank}of{world}")


def shard_paths(out: str | Path) -> list[Path]:
    """The shards that are there, of any number of ranks, in order of that number and the rank."""
    out = Path(out)
    form = re.compile(re.escape(out.name) + r"\.rank([0-9]+)of([0-9]+)", re.DOTALL)
    if not out.parent.is_dir():
        return []
    found = [(form.fullmatch(path.name), path) for path in out.parent.iterdir()]
    return [path for _, _, path in sorted((int(m[2]), int(m[1]), path) for m, path in found if m)]


def done_elsewhere(out: str | Path, manifest: Mapping[str, Any] | None = None) -> set[str]:
    """Ids of all videos that the store ``OUT`` or any of its shards hold; the files are only read.

    Args:
        manifest: how this run makes features; a file that was made otherwise is refused instead of counted.

    Raises:
        StoreError: a file is damaged or no store, or was made under another manifest: the differing fields are named.
    """
    return {video for path in (Path(out), *shard_paths(out)) for video in _keys(path, manifest)}


def _keys(path: Path, manifest: Mapping[str, Any] | None) -> list[str]:

    # Another rank may be making its store at this moment: then the file is empty, or has no header yet.
    if not path.exists() or not path.stat().st_size:
        return []
    with closing(LMDBFile(path)) as file:
        with file.read() as transaction:
            if not transaction.stat()["entries"]:
                return []
        with GraphStore(path) as store:  # which shares the open file, so that it is checked once
            keys = store.keys()
            if keys and manifest is not None:
                store.require_manifest(manifest)  # compares; a store that is open for reading takes no other
            return keys
