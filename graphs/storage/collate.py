"""Records of video graphs, straight into the tensors of one batch."""

import math
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from operator import getitem
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphs.flat import FlatBatch
from graphs.storage.free_fields import of_edges, public_name
from graphs.storage.graph_records import FEATURES, FIELDS, SHOWN, check_finite, check_numbers, memory_type, rows
from graphs.storage.records import Layout, Record, StoreError, checksum, view


class Located(NamedTuple):
    """A record, where its fields lie in it (:func:`graphs.storage.records.layout`), and what is to be checked.

    Args:
        stated: the checksum that it states: this and its numbers are checked. None: they were before.
    """

    record: Record
    layout: Layout
    stated: int | None = None


def collate(videos: Sequence[str], located: Sequence[Located]) -> tuple[FlatBatch, list[str]]:
    """One flat batch out of records, each feature block copied once, from the record into the batch; and the
    names of its free fields by edge, which go with the edges where these are selected.

    Holds what ``Batch.from_data_list`` makes of the graphs, ``motion_ptr [B + 1]``, the offsets of each video's rows of
    motion and grid, and ``audio_ptr [B + 1]``, those of its audio, where there are any. A field for people to read
    (:data:`graphs.storage.graph_records.SHOWN`) is in the batch where all of its videos have it. The records need to
    stay valid during the call only.

    Args:
        videos: the ids, which become ``videos`` of the batch.
        located: of each its record, whose shapes are the caller's to check.

    Raises:
        StoreError: records whose fields or widths differ, naming the videos; of those that are to be checked, one that
            is damaged or a number that no graph may hold, without the name of its video.
    """
    records = [one.record for one in located]
    layouts = _same_fields(videos, [one.layout for one in located])
    new = any(one.stated is not None for one in located)
    names = layouts[0].names
    # By field instead of by video.
    _, _, *parts = zip(*layouts, strict=True)
    kinds, shapes, sizes, offsets, spans = (list(zip(*part, strict=True)) for part in parts)
    at = {name: place for place, name in enumerate(names)}
    columns = {name: (kinds[place], shapes[place], sizes[place], offsets[place]) for name, place in at.items()}
    _hush()
    fields = FlatBatch(videos=list(videos))
    blocks = _feature_blocks(fields, videos, columns)
    if new:
        _copy_features(blocks, located)
    raw: dict[str, np.ndarray] = {}
    for place, name in enumerate(names):
        if name not in FIELDS:
            _check_free(name, videos, kinds[place], shapes[place])
        if name not in FEATURES:
            raw[name] = _join(name, records, layouts, kinds[place], shapes[place], spans[place])
    # Over all records at once: NumPy's cost a call, times the fields of every video, would be most of the work.
    nodes = np.array(sizes[at["frame"]])
    if new:
        check_numbers(raw, {name: np.array([rows(name, shape) for shape in shapes[at[name]]]) for name in names})
    ptr = _offsets(nodes)
    for name, joined in raw.items():
        values = joined.astype(memory_type(name, joined.dtype))
        # Edges count nodes from 0 in each video, in the batch from the first of all.
        if name == "edge_index":
            values += np.repeat(ptr[:-1], sizes[at["edge_weight"]])
        fields[name if name in FIELDS else public_name(name)] = torch.from_numpy(values)
    fields["batch"] = torch.from_numpy(np.repeat(np.arange(len(nodes)), nodes))
    fields["ptr"] = torch.from_numpy(ptr)
    for pointer, offset in _pointers({name: shapes[place] for name, place in at.items()}).items():
        fields[pointer] = offset
    if not new:
        # The large copies come last: they drive everything else out of the processor's caches.
        _copy_features(blocks, located)
    return fields, of_edges(names)


def _pointers(shapes: Mapping[str, Sequence[tuple[int, ...]]]) -> dict[str, Tensor]:
    """Where the rows of each video begin and end, of what has other rows than nodes and frames."""
    found = {}
    # Rows of motion and grid share their clips, so one pointer serves both.
    for pointer, among in (("motion_ptr", ("motion", "grid")), ("audio_ptr", ("audio",))):
        present = [shapes[name] for name in among if name in shapes]
        if present:
            found[pointer] = torch.from_numpy(_offsets([shape[0] for shape in present[0]]))
    return found


class _Block(NamedTuple):
    """The numbers of one feature in one record, and where they go."""

    name: str
    target: Tensor
    kind: str
    size: int
    offset: int

    def copy(self, record: Record) -> None:
        dtype = torch.float16 if self.kind == "float16" else torch.float32
        self.target.copy_(torch.frombuffer(record, dtype=dtype, count=self.size, offset=self.offset))


def _feature_blocks(
    fields: FlatBatch, videos: Sequence[str], columns: Mapping[str, tuple[Any, ...]]
) -> list[list[_Block]]:
    """The features in ``fields``, not filled yet, and the blocks of each record that fill them.

    Args:
        columns: of each field its kind, shape, size and offset by record.
    """
    blocks: list[list[_Block]] = [[] for _ in videos]
    for name in FEATURES:
        if name in columns:
            kinds, shapes, sizes, offsets = columns[name]
            fields[name] = out = torch.empty(_joint_shape(name, videos, shapes))
            parts = out.view(-1).split(list(sizes))
            for row, block in enumerate(zip(parts, kinds, sizes, offsets, strict=True)):
                if block[2]:
                    blocks[row].append(_Block(name, *block))
    return blocks


def _copy_features(blocks: Sequence[Sequence[_Block]], located: Sequence[Located]) -> None:
    """Check each record that is to be and copy its features before the next one is read: its bytes are then
    in the processor's cache."""
    for (record, _, stated), several in zip(located, blocks, strict=True):
        if stated is not None and checksum(record) != stated:
            raise StoreError("a record is damaged")
        for block in several:
            block.copy(record)
            # A sum takes in every number that is not finite; it may also run over, so it does not accuse.
            if stated is not None and not math.isfinite(block.target.sum()):
                check_finite(block.name, block.target.numpy())


def _same_fields(videos: Sequence[str], layouts: list[Layout]) -> list[Layout]:
    first = layouts[0]
    if all(layout.names == first.names for layout in layouts):
        return layouts
    # Fields for people to read may differ, as stores of clips and of imported features do: those that all have stay.
    for video, layout in zip(videos, layouts, strict=True):
        if not set(layout.names) ^ set(first.names) <= set(SHOWN):
            ours, theirs = (list(map(public_name, names)) for names in (first.names, layout.names))
            raise StoreError(f"videos {videos[0]!r} and {video!r} have other fields: {ours} and {theirs}")
    common = [name for name in first.names if all(name in layout.slots for layout in layouts)]
    return [Layout.of({name: layout.slots[name] for name in common}) for layout in layouts]


def _check_free(name: str, videos: Sequence[str], kinds: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> None:
    """Rows of one type and width: a store sees to it, graphs in memory and records written by hand may not."""
    for video, kind, shape in zip(videos, kinds, shapes, strict=True):
        if (kind, shape[1:]) != (kinds[0], shapes[0][1:]):
            raise StoreError(
                f"{public_name(name)} is {kinds[0]} {list(shapes[0])} in video {videos[0]!r}, {kind} {list(shape)} in "
                f"{video!r}: its type and all axes but the first must be the same"
            )


def _joint_shape(name: str, videos: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    row = shapes[0][1:]
    for video, shape in zip(videos, shapes, strict=True):
        if shape[1:] != row:
            widths = [" x ".join(map(str, lengths)) for lengths in (row, shape[1:])]
            raise StoreError(f"{name} has width {widths[0]} in video {videos[0]!r}, {widths[1]} in {video!r}")
    return (sum([shape[0] for shape in shapes]), *row)


def _join(
    name: str,
    records: Sequence[Record],
    layouts: Sequence[Layout],
    kinds: Sequence[str],
    shapes: Sequence[tuple[int, ...]],
    spans: Sequence[slice],
) -> np.ndarray:
    """Small fields end to end: as bytes where all have one type, which is several times faster than as arrays."""
    slot = layouts[0].slots[name]
    if len(set(kinds)) > 1:
        arrays = [view(record, layout.slots[name]) for record, layout in zip(records, layouts, strict=True)]
        return np.concatenate([np.atleast_1d(array) for array in arrays], axis=1 if name == "edge_index" else 0)
    parts: list[Any] = list(map(getitem, records, spans))
    if name != "edge_index":
        return np.frombuffer(b"".join(parts), slot.dtype).reshape(-1, *slot.shape[1:])
    # A record holds its sources, then its targets; the batch the sources of all records, then all targets.
    halves = [len(part) // 2 for part in parts]
    heads = [part[:half] for part, half in zip(parts, halves, strict=True)]
    tails = [part[half:] for part, half in zip(parts, halves, strict=True)]
    return np.frombuffer(b"".join(heads + tails), slot.dtype).reshape(2, -1)


def _offsets(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


@cache
def _hush() -> None:
    # torch warns, once a process, of memory that it may not write. It only reads here: let that one go unheard.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.frombuffer(b"\0", dtype=torch.uint8)
