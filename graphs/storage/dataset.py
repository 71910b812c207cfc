"""The graphs of a store as PyG datasets: for PyG's loaders, transforms and Lightning modules."""

import hashlib
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import Data, Dataset, InMemoryDataset

from graphs.storage.free_fields import FreeField
from graphs.storage.graph_records import SHOWN
from graphs.storage.records import StoreError
from graphs.storage.store import GraphStore

CHUNK = 64
"""Graphs that one transaction takes."""


class VideoGraphDataset(Dataset):
    """The graphs of a :class:`graphs.GraphStore` as a PyG dataset, each read from the file when it is asked for.

    >>> dataset = graphs.VideoGraphDataset("store.lmdb")
    >>> loader = torch_geometric.loader.DataLoader(dataset, batch_size=8, num_workers=2)
    >>> for batch in loader:
    ...     states = encoder(batch)

    A store out of a list of graphs, whose ids are the keys in the order of which the dataset stands:

    >>> with graphs.GraphStore("store.lmdb", "w") as store: store.put_many((f"{i:06}", g) for i, g in enumerate(made))

    Indexing is PyG's: numbers, also negative; slices, lists, tensors and masks give a dataset of those graphs.
    Datasets pickle, and every worker of a loader opens the file itself. In a batch, fields that no model reads
    (``label``, ``frame_time``, ``track``, ``label_score``) are there where all of its graphs have them.

    Args:
        root: the store's file.
        transform: applied to each graph whenever it is read, such as ``graphs.SelectVariant("spatial")``.
        pre_transform: applied to every graph of the store once; the results are kept in a store of their own, which
            rounds features as the store does and keeps no dense edges.
        pre_filter: which graphs are kept at all, decided before ``pre_transform``; also once.
        videos: ids of the graphs that the dataset has, such as those of a split, in this order; None: all, in the order
            of the store's keys. What ``pre_filter`` leaves out is left out here, too.
        processed: how the names of the files begin that keep the results of ``pre_transform`` and ``pre_filter``; by
            default the store's name with ``.processed``. A store that has changed, or other functions (distinguished by
            their ``repr``, as in PyG, plain ones by their code too), get a file of their own; files that are not needed
            any more may be deleted.
        free: the free fields of the graphs that ``pre_transform`` returns; None: those of the store.
        force_reload: apply ``pre_transform`` and ``pre_filter`` again, as after a change in their code.
        log: whether the applying is announced.

    Raises:
        StoreError: no such store; a video twice, or not in the store; or ``pre_transform`` returns a graph that a store
            cannot keep.
    """

    def __init__(
        self,
        root: str | Path,
        transform: Callable[[Data], Data] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
        *,
        videos: Sequence[str] | None = None,
        processed: str | Path | None = None,
        free: Mapping[str, FreeField] | None = None,
        force_reload: bool = False,
        log: bool = True,
    ) -> None:
        if free is not None and pre_transform is None:
            raise StoreError("free says what pre_transform adds to the graphs, and there is none: leave free out")
        source = GraphStore(root)
        super().__init__(str(root), transform, pre_transform, pre_filter, log=log, force_reload=force_reload)
        there = source.keys()
        self._videos = there if videos is None else _wanted(videos, there, source.path)
        self._store = source
        if pre_transform is not None or pre_filter is not None:
            self._store = self._processed_store(source, Path(processed or f"{root}.processed"), free)
            source.close()
            kept = set(self._store.keys())
            self._videos = [video for video in self._videos if video in kept]

    @property
    def videos(self) -> list[str]:
        """The ids of the graphs, in the order of the dataset."""
        return [self._videos[place] for place in self.indices()]

    @property
    def num_classes(self) -> int:
        """How many classes ``y`` has, as PyG counts them; 0 without ``y``. Reads all graphs, one at a time."""
        labels = [torch.as_tensor(data.y) for data in self if data.get("y") is not None]
        if not labels:
            return 0
        return int(self._infer_num_classes(torch.cat([y if y.dim() else y.reshape(1) for y in labels])))

    def len(self) -> int:
        """Number of graphs, those that indexing left out included."""
        return len(self._videos)

    def get(self, idx: int) -> Data:
        """The graph at a place of the whole dataset, before ``transform``.

        Raises:
            StoreError: a damaged record.
        """
        return self._store.get(self._videos[idx])

    def __getitems__(self, places: Sequence[int]) -> list[Data]:
        """The graphs of one batch: what a loader asks for."""
        indices = self.indices()
        graphs = [self.get(indices[place]) for place in places]
        # Transforms first: what they are given must not depend on the other graphs of the batch.
        return alike(graphs if self.transform is None else [self.transform(data) for data in graphs])

    def close(self) -> None:
        """Close the file; harmless when it is closed."""
        self._store.close()

    def _processed_store(self, source: GraphStore, prefix: Path, free: Mapping[str, FreeField] | None) -> GraphStore:
        fields = source.free_fields if free is None else dict(free)
        applied = {"pre_transform": _described(self.pre_transform), "pre_filter": _described(self.pre_filter)}
        # All that the results depend on is in their name: others are left alone, and none is ever out of date.
        said = repr((_fingerprint(source), applied, sorted(fields.items(), key=itemgetter(0))))
        name = f"{prefix.name}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
        prefix.parent.mkdir(parents=True, exist_ok=True)
        made = {
            int(found[1]): file
            for file in prefix.parent.iterdir()
            if (found := re.fullmatch(rf"{re.escape(name)}-(\d+)", file.name))
        }
        if made and not self.force_reload:
            return GraphStore(made[max(made)])
        if self.log:
            print(f"Processing {source.path}...", file=sys.stderr)
        # A new number, as the older results may be open; whole or not there, as a second process may do the same.
        path = prefix.with_name(f"{name}-{max(made, default=0) + 1}")
        unfinished = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            manifest = {**source.manifest, "processed": applied}
            with GraphStore(unfinished, "w", source.features_dtype, manifest=manifest, free=fields) as target:
                self._process_into(source, target)
            unfinished.replace(path)
            _remove(*made.values())
        finally:
            _remove(unfinished)
        return GraphStore(path)

    def _process_into(self, source: GraphStore, target: GraphStore) -> None:
        videos = source.keys()
        for start in range(0, len(videos), CHUNK):
            read = ((video, source.get(video)) for video in videos[start : start + CHUNK])
            kept = {video: data for video, data in read if self.pre_filter is None or self.pre_filter(data)}
            if self.pre_transform is not None:
                kept = {video: self.pre_transform(data) for video, data in kept.items()}
            target.put_many(kept)


class InMemoryVideoGraphDataset(InMemoryDataset):
    """The graphs in memory, read once, as PyG's :class:`torch_geometric.data.InMemoryDataset` holds them.

    Fields that no model reads (``label``, ``frame_time``, ``track``, ``label_score``) are there where all graphs of the
    dataset have them, as they lie end to end.

    >>> dataset = graphs.InMemoryVideoGraphDataset("store.lmdb", videos=split)

    Args:
        root: the store's file.
        transform, pre_transform, pre_filter: as :class:`VideoGraphDataset`.
        options: its others, by name.

    Raises:
        StoreError: as :class:`VideoGraphDataset`; also where no graph is left.
    """

    def __init__(
        self,
        root: str | Path,
        transform: Callable[[Data], Data] | None = None,
        pre_transform: Callable[[Data], Data] | None = None,
        pre_filter: Callable[[Data], bool] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(str(root), transform, pre_transform, pre_filter)
        read = VideoGraphDataset(root, None, pre_transform, pre_filter, **options)
        self._videos = read.videos
        if not self._videos:
            raise StoreError(f"{root}: no graph is left to hold in memory")
        self.data, self.slices = self.collate(alike([read.get(place) for place in range(len(read))]))
        read.close()

    @property
    def videos(self) -> list[str]:
        """The ids of the graphs, in the order of the dataset."""
        return [self._videos[place] for place in self.indices()]


def alike(graphs: Sequence[Data]) -> list[Data]:
    """The graphs without those fields for people to read that not all of them have, which PyG could not batch."""
    for name in SHOWN:
        if not all(name in data for data in graphs):
            for data in graphs:
                data.pop(name, None)
    return list(graphs)


def _remove(*stores: Path) -> None:
    for store in stores:
        for end in ("", "-lock", "-writer"):
            store.with_name(store.name + end).unlink(missing_ok=True)


def _wanted(videos: Sequence[str], there: Sequence[str], path: Path) -> list[str]:
    if isinstance(videos, str):
        raise StoreError(f"videos must be a list of ids, got the text {videos!r}")
    videos, known, seen = list(videos), set(there), set()
    for video in videos:
        if video not in known:
            raise StoreError(f"{path}, video {video!r}: not among its {len(there)} graphs; leave it out of videos")
        if video in seen:
            raise StoreError(f"video {video!r} is twice in videos")
        seen.add(video)
    return videos


def _fingerprint(store: GraphStore) -> str:
    """What changes with every change of the store's records, from their ids and checksums."""
    digest = hashlib.sha256()
    for video, stamp in store.stamps():
        digest.update(video.encode() + b"\0" + stamp)
    return digest.hexdigest()


def _described(function: Callable[..., Any] | None) -> str:
    """The words by which PyG knows a transform, without addresses in memory; of plain functions with their code."""
    words, code = _without_addresses(repr(function)), getattr(function, "__code__", None)
    if code is None:
        return words
    said = _without_addresses(repr((code.co_code, code.co_consts, code.co_names)))
    return f"{words} {hashlib.sha256(said.encode()).hexdigest()[:12]}"


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)
