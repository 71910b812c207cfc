"""Which files an ONNX network consists of: exports of large networks keep their weights in files next to their own.

Read from the protocol buffer itself, as ``onnxruntime`` does not say it, and the package ``onnx`` is needed for nothing
else. Imports no torch.
"""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from stg.runtime.errors import UserError
from stg.runtime.reading import open_if_regular

_PARTS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
"""Messages of ONNX -> the numbers of the fields that hold messages in which a tensor may lie, and which these are."""

_MOST_FIELDS = 2_000_000


def external_files(path: Path) -> tuple[Path, ...]:
    """The files besides its own that hold weights of a network, by name.

    Raises:
        UserError: one of them is missing, no regular file, or named by a path that leads out of the network's folder.
        ValueError: the file is no ONNX network.
    """
    names = sorted(set(_locations(path)))
    for name in names:
        if os.path.isabs(name) or ".." in PurePosixPath(name).parts or "\\" in name or not name.strip("./"):
            raise UserError(
                f"{path} keeps weights in {name!r}, which is outside of its own folder: save it again with its weights "
                "in one file, or next to it"
            )
        if not (path.parent / name).is_file():
            raise UserError(f"{path} keeps weights in {name!r}, which is not there: put the file next to it")
    return tuple(path.parent / name for name in names)


def _locations(path: Path) -> Iterator[str]:
    file = open_if_regular(path)
    if file is None:
        raise ValueError("not a regular file")
    # An empty file cannot be mapped, which is a ValueError.
    with file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        # The name of the entry stands in every file that has one: nearly all are done here.
        if data.find(b"location") >= 0:
            yield from _entries(data)


def _entries(data: mmap.mmap) -> Iterator[str]:
    """The values of all entries ``location`` of the tensors in a model."""
    waiting, seen = [("model", 0, len(data))], 0
    while waiting:
        kind, start, end = waiting.pop()
        entry: dict[int, bytes] = {}
        for number, first, last in _fields(data, start, end):
            seen += 1
            if seen > _MOST_FIELDS:
                raise ValueError("too many parts")
            if kind == "entry":
                entry[number] = data[first : min(last, first + 4096)]
            elif number in _PARTS[kind]:
                waiting.append((_PARTS[kind][number], first, last))
        if entry.get(1) == b"location":
            yield os.fsdecode(entry.get(2, b""))


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, begin and end of each field with a length in a message; other fields are passed over."""
    while at < end:
        key, at = _varint(data, at, end)
        wire = key & 7
        if wire == 2:
            length, at = _varint(data, at, end)
            if at + length > end:
                raise ValueError("a field is longer than its message")
            yield key >> 3, at, at + length
            at += length
        elif wire == 0:
            _, at = _varint(data, at, end)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        else:
            raise ValueError(f"no field has the type {wire}")


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number without an end")
