"""PyG's database interface on LMDB."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Database
from torch_geometric.data.database import TensorInfo

from graphs.storage.lmdb_file import HEADER_KEY, MAP_GROWTH, LMDBFile
from graphs.storage.records import KINDS, Field, StoreError, decode, encode

Indices = Sequence[int] | Tensor | slice | range
_PLAIN: dict[Any, tuple[str, Callable[[np.ndarray], Any]]] = {
    int: ("int", int),
    float: ("float", float),
    str: ("str", lambda array: array.tobytes().decode()),
}
_TENSORS = {getattr(torch, kind): kind for kind in KINDS if kind not in ("int", "float", "str")}


class LMDBDatabase(Database):
    """An index -> value database (:class:`torch_geometric.data.Database`) in one LMDB file, without pickle.

    Values follow the schema as in PyG's other databases: one value, a tuple or a dict of ``int``, ``float``, ``str``
    and tensors (``dict(dtype=torch.float, size=(-1, 16))``), stored as raw bytes with a checksum. Where PyG falls back
    to pickle (a schema of ``object``), this one refuses. Copies in forked or spawned workers open the file themselves,
    for reading. An inserted index replaces the older value; ``multi_insert`` is one transaction a chunk.

    Args:
        path: the file; created unless ``mode`` is ``r``.
        schema: what a value is.
        mode: ``a`` reads and writes, ``r`` only reads.
        map_growth: bytes by which the memory map grows when full.

    Raises:
        StoreError: a schema that would need pickle, or a file that cannot be opened.
    """

    def __init__(self, path: str | Path, schema: Any, mode: str = "a", map_growth: int = MAP_GROWTH) -> None:
        if mode not in ("a", "r"):
            raise StoreError(f"mode must be a or r, got {mode!r}")
        super().__init__(schema)
        for name, kind in self.schema.items():
            _check_schema(name, kind)
        self.path, self._mode, self._map_growth = Path(path), mode, map_growth
        self._file: LMDBFile | None = None
        self.connect()

    def connect(self) -> None:
        """Open the file again after :meth:`close`."""
        if self._file is not None:
            return
        file = LMDBFile(self.path, self._mode == "a", self._map_growth)
        with file.read() as transaction:
            graphs = transaction.get(HEADER_KEY) is not None
        if graphs:
            file.close()
            raise StoreError(f"{self.path} is a store of video graphs: open it with GraphStore")
        self._file = file

    def close(self) -> None:
        """Close the file; harmless when it is closed."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def insert(self, index: int, data: Any) -> None:
        """Store one value under ``index``, which may be any 64-bit integer; on disk when this returns."""
        self._multi_insert([index], [data])

    def multi_insert(
        self, indices: Indices, data_list: Sequence[Any], batch_size: int | None = None, log: bool = False
    ) -> None:
        """Store values under ``indices``, ``batch_size`` in a transaction (all in one by default).

        Raises:
            StoreError: as many values as indices are needed; PyG would drop the rest without a word.
        """
        count = len(self.slice_to_range(indices)) if isinstance(indices, slice) else len(indices)
        if count != len(data_list):
            raise StoreError(f"{count} indices, but {len(data_list)} values")
        if count:
            super().multi_insert(indices, data_list, batch_size, log)

    def get(self, index: int) -> Any:
        """The value at ``index``; tensors own their memory.

        Raises:
            IndexError: nothing is stored there.
            StoreError: the record is damaged, or does not fit the schema.
        """
        return self._multi_get([index])[0]

    def multi_get(self, indices: Indices, batch_size: int | None = None) -> list[Any]:
        """The values at ``indices``, from one snapshot a chunk."""
        count = len(self.slice_to_range(indices)) if isinstance(indices, slice) else len(indices)
        return super().multi_get(indices, batch_size) if count else []

    def slice_to_range(self, indices: slice) -> range:
        """The indices of a slice: negative numbers count from the end; beyond the end one may insert, so it is kept."""
        stop = indices.stop if isinstance(indices.stop, int) else 0
        return range(*indices.indices(max(len(self), stop)))

    def __len__(self) -> int:
        with self._open().read() as transaction:
            return int(transaction.stat()["entries"])

    def __enter__(self) -> "LMDBDatabase":
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def _multi_insert(self, indices: Sequence[int] | Tensor | range, data_list: Sequence[Any]) -> None:
        items = {}
        for index, data in zip(_integers(indices), data_list, strict=True):
            try:
                items[_key(index)] = encode(self._fields(data))
            except StoreError as error:
                raise StoreError(f"{self.path}, index {index}: {error}") from error
        self._open().commit(list(items.items()))

    def _multi_get(self, indices: Sequence[int] | Tensor) -> list[Any]:
        values = []
        with self._open().read() as transaction:
            for index in _integers(indices):
                record = transaction.get(_key(index))
                if record is None:
                    raise IndexError(f"{self.path} holds nothing at index {index}")
                try:
                    values.append(self._value(decode(record)))
                except StoreError as error:
                    raise StoreError(f"{self.path}, index {index}: {error}") from error
        return values

    def _open(self) -> LMDBFile:
        if self._file is None:
            raise StoreError(f"{self.path} is closed: call connect() first")
        return self._file

    def _fields(self, data: Any) -> dict[str, Field]:
        given = self._to_dict(data)
        if set(given) != set(self.schema):
            raise StoreError(f"the value has the fields {list(given)}, the schema {list(self.schema)}")
        return {str(name): _to_field(name, given[name], kind) for name, kind in self.schema.items()}

    def _value(self, fields: dict[str, Field]) -> Any:
        if list(fields) != [str(name) for name in self.schema]:
            raise StoreError(f"the record has the fields {list(fields)}, the schema {list(self.schema)}")
        value = {name: _from_field(name, fields[str(name)], kind) for name, kind in self.schema.items()}
        # PyG numbers the parts of a schema without names: a single value, or a tuple.
        if 0 not in self.schema:
            return value
        return value[0] if len(value) == 1 else tuple(value.values())


def _check_schema(name: Any, kind: Any) -> None:
    if isinstance(kind, TensorInfo):
        if kind.is_index or kind.is_edge_index:
            raise StoreError(f"schema field {name!r}: Index and EdgeIndex are not kept; store them as plain tensors")
        if kind.dtype not in _TENSORS:
            raise StoreError(f"schema field {name!r}: {kind.dtype} cannot be stored; possible: {list(_TENSORS)}")
    elif kind not in _PLAIN:
        raise StoreError(
            f"schema field {name!r} is {kind!r}: storing it would need pickle, which runs code when read. State int, "
            "float, str, or dict(dtype=..., size=...) for a tensor"
        )


def _to_field(name: Any, value: Any, kind: Any) -> Field:
    if isinstance(kind, TensorInfo):
        if not isinstance(value, Tensor) or value.dtype != kind.dtype or not _fits(value.shape, kind.size):
            found = f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise StoreError(f"field {name!r} must be a tensor {kind.dtype} {list(kind.size)}, got {found}")
        value = value.detach().cpu().contiguous()
        # NumPy has no such type: its bits are stored.
        if value.dtype == torch.bfloat16:
            value = value.view(torch.uint16)
        return Field(_TENSORS[kind.dtype], value.numpy())
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise StoreError(f"field {name!r} must be {kind.__name__}, got {type(value).__name__}")
    if kind is str:
        return Field("str", np.frombuffer(value.encode(errors="surrogatepass"), np.uint8))
    if kind is int and not -(2**63) <= value < 2**63:
        raise StoreError(f"field {name!r} must fit 64 bits, got {value}")
    return Field(_PLAIN[kind][0], np.array(value, KINDS[_PLAIN[kind][0]]))


def _from_field(name: Any, field: Field, kind: Any) -> Any:
    wanted = _TENSORS[kind.dtype] if isinstance(kind, TensorInfo) else _PLAIN[kind][0]
    if field.kind != wanted or (isinstance(kind, TensorInfo) and not _fits(field.array.shape, kind.size)):
        raise StoreError(f"field {name!r} is {field.kind} {list(field.array.shape)}, the schema says {kind}")
    if isinstance(kind, TensorInfo):
        tensor = torch.from_numpy(field.array.copy())
        return tensor.view(torch.bfloat16) if kind.dtype == torch.bfloat16 else tensor
    try:
        return _PLAIN[kind][1](field.array)
    except UnicodeDecodeError as error:
        raise StoreError(f"field {name!r} is not UTF-8 text") from error


def _fits(shape: Sequence[int], size: Sequence[int]) -> bool:
    return len(shape) == len(size) and all(want in (-1, have) for have, want in zip(shape, size, strict=True))


def _integers(indices: Sequence[int] | Tensor | range) -> list[int]:
    return [int(index) for index in indices.tolist()] if isinstance(indices, Tensor) else [int(i) for i in indices]


def _key(index: int) -> bytes:
    if not -(2**63) <= index < 2**63:
        raise StoreError(f"an index must fit 64 bits, got {index}")
    return (index + 2**63).to_bytes(8, "big")  # keys in the order of the numbers
