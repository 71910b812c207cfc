"""One record of a store: named arrays as raw little-endian bytes, with a version and a checksum. No pickle.

::

    header   magic "STGR" | CRC-32 of all that follows it | version | number of fields | length of the record
    table    per field: name | kind | number of axes | four lengths | offset of its bytes
    data     the arrays in the order of the table, each starting at a multiple of 16

A reader takes no length on trust: every field must lie exactly where the fields before it end.
"""

import ctypes
import mmap
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from math import prod
from typing import NamedTuple

import numpy as np
from zlib_ng import zlib_ng

MAGIC = b"STGR"
VERSION = 1
MAX_FIELDS = 64
MAX_AXES = 4
MAX_NAME = 24
_ALIGNMENT = 16
_HEADER = struct.Struct("<4sIHHIQ")
_CHECKED_FROM = 8  # the checksum covers everything after itself
_ENTRY = struct.Struct("<24sBBxx4IQ")


class StoreError(ValueError):
    """A store, or a record in it, is not what it should be; the message names the file, the item and the reason."""


class StoreFullError(StoreError):
    """The disk is full. What was committed before is intact."""

    exit_code = 1
    """Of a command that it ends; other errors of a store are wrong input, and end it with 2."""


class Kind(NamedTuple):
    """How the numbers of a field lie on disk, and what they stand for."""

    name: str
    dtype: np.dtype


# Appending is the only change allowed here: the codes are on people's disks.
_KINDS = {
    1: Kind("float16", np.dtype("<f2")),
    2: Kind("float32", np.dtype("<f4")),
    3: Kind("float64", np.dtype("<f8")),
    4: Kind("uint8", np.dtype("|u1")),
    5: Kind("uint16", np.dtype("<u2")),
    6: Kind("int8", np.dtype("|i1")),
    7: Kind("int16", np.dtype("<i2")),
    8: Kind("int32", np.dtype("<i4")),
    9: Kind("int64", np.dtype("<i8")),
    10: Kind("bool", np.dtype("|b1")),
    11: Kind("bfloat16", np.dtype("<u2")),  # the bits: NumPy has no such type
    32: Kind("int", np.dtype("<i8")),
    33: Kind("float", np.dtype("<f8")),
    34: Kind("str", np.dtype("|u1")),
}
_CODES = {kind.name: code for code, kind in _KINDS.items()}
KINDS: dict[str, np.dtype] = {kind.name: kind.dtype for kind in _KINDS.values()}
_SCALARS = ("int", "float")


Record = bytes | bytearray | memoryview


class Field(NamedTuple):
    """One named array: ``kind`` is a key of :data:`KINDS`, ``array`` has that kind's dtype."""

    kind: str
    array: np.ndarray


class Slot(NamedTuple):
    """Where one field lies in a record: checked, so that reading it cannot leave the record."""

    name: str
    kind: str
    dtype: np.dtype
    shape: tuple[int, ...]
    size: int
    offset: int
    end: int


class Layout(NamedTuple):
    """Where the fields of a record lie: by name, and in columns, which many records together are read by."""

    slots: dict[str, Slot]
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    sizes: tuple[int, ...]
    offsets: tuple[int, ...]
    spans: tuple[slice, ...]

    @classmethod
    def of(cls, slots: dict[str, Slot]) -> "Layout":
        """The layout of some slots."""
        places = slots.values()
        return cls(
            slots,
            tuple(slots),
            tuple(slot.kind for slot in places),
            tuple(slot.shape for slot in places),
            tuple(slot.size for slot in places),
            tuple(slot.offset for slot in places),
            tuple(slice(slot.offset, slot.end) for slot in places),
        )


def encode(fields: Mapping[str, Field]) -> bytearray:
    """Write ``fields`` as one record, in their order.

    Raises:
        StoreError: a name, a kind or a shape that the format cannot hold.
    """
    if len(fields) > MAX_FIELDS:
        raise StoreError(f"a record holds at most {MAX_FIELDS} fields, got {len(fields)}")
    entries: list[bytes] = []
    offset = _data_start(len(fields))
    places: list[int] = []
    for name, (kind, array) in fields.items():
        raw = name.encode()
        if not 1 <= len(raw) <= MAX_NAME or "\0" in name:
            raise StoreError(f"a field name has 1 to {MAX_NAME} bytes and no NUL, got {name!r}")
        if kind not in KINDS or array.dtype != KINDS[kind]:
            raise StoreError(f"field {name!r}: cannot store {array.dtype} as {kind!r}; kinds are {', '.join(KINDS)}")
        if array.ndim > MAX_AXES or max(array.shape, default=0) >= 2**32:
            raise StoreError(f"field {name!r}: at most {MAX_AXES} axes below 2**32, got shape {array.shape}")
        # Aligned, so that an array can be read in place, without a copy.
        offset = _aligned(offset)
        # Entries of one size: the table can be read without parsing what came before.
        dims = (*array.shape, *(0,) * (MAX_AXES - array.ndim))
        entries.append(_ENTRY.pack(raw, _CODES[kind], array.ndim, *dims, offset))
        places.append(offset)
        offset += array.nbytes
    # Zeros between the fields, so that equal graphs have equal bytes.
    record = bytearray(offset)
    table = b"".join(entries)
    record[_HEADER.size : _HEADER.size + len(table)] = table
    for place, (_, array) in zip(places, fields.values(), strict=True):
        target = np.frombuffer(record, array.dtype, array.size, place).reshape(array.shape)
        target[...] = array
    # Twice, as the checksum covers the rest of the header, which must be in place first.
    _HEADER.pack_into(record, 0, MAGIC, 0, VERSION, len(fields), 0, offset)
    _HEADER.pack_into(record, 0, MAGIC, checksum(record), VERSION, len(fields), 0, offset)
    return record


def stamp(record: Record) -> bytes:
    """The header of a record, as it is: its version, length and checksum, by which a record that was read is known."""
    return bytes(record[: _HEADER.size])


def layout(record: Record) -> tuple[int, Layout]:
    """The checksum that the record states, and where its fields lie, checked against its length. Reads no data.

    Records with equal tables share one answer: take it as read-only.

    Raises:
        StoreError: not a record of this format, cut short, or its table contradicts itself.
    """
    if len(record) < _HEADER.size:
        raise StoreError(f"not a record: {len(record)} bytes, a header alone has {_HEADER.size}")
    magic, stated, version, count, reserved, length = _HEADER.unpack_from(record)
    if magic != MAGIC:
        raise StoreError(f"not a record of such a store: it begins with {bytes(magic)!r}, expected {MAGIC!r}")
    if version != VERSION:
        raise StoreError(f"record format {version}, this version reads format {VERSION}: update, or make it again")
    if length != len(record):
        raise StoreError(f"the record has {len(record)} bytes, its header says {length}: it was cut or overwritten")
    end = _data_start(count)
    if count > MAX_FIELDS or reserved or end > length:
        raise StoreError(f"the record's header is malformed: {count} fields in {length} bytes")
    return stated, _parse_table(bytes(record[_HEADER.size : end]), length)


def decode(record: Record) -> dict[str, Field]:
    """Read a record back: checksum, table, and arrays that are read-only views of ``record``.

    Raises:
        StoreError: anything but a whole, undamaged record; never another exception, whatever the bytes.
    """
    stated, (slots, *_) = layout(record)
    actual = checksum(record)
    if stated != actual:
        raise StoreError(f"damaged: the checksum is {actual:08x}, written was {stated:08x}; make this record again")
    fields = {slot.name: Field(slot.kind, view(record, slot)) for slot in slots.values()}
    for name, (kind, array) in fields.items():
        # NumPy assumes 0 or 1, and gives wrong results for any other byte without an error.
        if kind == "bool" and (array.view(np.uint8) > 1).any():
            raise StoreError(f"field {name!r}: a truth value that is neither 0 nor 1")
    return fields


def read_ahead(records: Sequence[Record]) -> None:
    """Ask the system to fetch the bytes of records that lie in a map of a file, without waiting for any of them.

    Where it cannot be asked, they are fetched as they are read.
    """
    advise = _madvise()
    if advise is None:
        return
    for record in records:
        place = int(np.frombuffer(record, np.uint8).__array_interface__["data"][0])
        start = place - place % mmap.PAGESIZE
        advise(start, place + len(record) - start, mmap.MADV_WILLNEED)


@cache
def _madvise() -> Callable[[int, int, int], int] | None:
    """The system call; the standard library has it for maps of its own alone."""
    try:
        found = ctypes.CDLL(None).madvise
    except (OSError, TypeError, AttributeError):
        return None
    found.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return found if hasattr(mmap, "MADV_WILLNEED") else None


def checksum(record: Record) -> int:
    """CRC-32 of all that follows it in a record, to be compared with what the record states (:func:`layout`)."""
    # The CRC-32 of zlib, at eight times its speed: with zlib it would take longer than the rest of a first reading.
    return zlib_ng.crc32(memoryview(record)[_CHECKED_FROM:])


def view(record: Record, slot: Slot) -> np.ndarray:
    """The array of one slot, without copying; it lives as long as the record does."""
    return np.frombuffer(record, slot.dtype, slot.size, slot.offset).reshape(slot.shape)


@lru_cache(maxsize=4096)
def _parse_table(table: bytes, length: int) -> Layout:
    slots: dict[str, Slot] = {}
    end = _data_start(len(table) // _ENTRY.size)
    for raw, code, axes, *numbers in _ENTRY.iter_unpack(table):
        dims, offset = numbers[:MAX_AXES], numbers[MAX_AXES]
        name = _name(raw)
        if name in slots:
            raise StoreError(f"field {name!r} is there twice")
        if code not in _KINDS or axes > MAX_AXES or any(dims[axes:]):
            raise StoreError(f"field {name!r}: kind {code} with {axes} axes is not in this format")
        kind = _KINDS[code]
        shape = tuple(dims[:axes])
        if (kind.name in _SCALARS and axes) or (kind.name == "str" and axes != 1):
            raise StoreError(f"field {name!r}: a value of kind {kind.name} cannot have the shape {shape}")
        count = prod(shape)
        # Axes of length 0 left out: an empty array of such a shape fits any record, and NumPy refuses it.
        if prod(length for length in shape if length) * kind.dtype.itemsize >= 2**63:
            raise StoreError(f"field {name!r}: the shape {shape} is beyond any memory")
        # Exactly where `encode` puts it: fields that overlap or leave gaps were not written by this program.
        if offset != _aligned(end) or offset + count * kind.dtype.itemsize > length:
            raise StoreError(f"field {name!r}: shape {shape} at byte {offset} does not fit a record of {length} bytes")
        end = offset + count * kind.dtype.itemsize
        slots[name] = Slot(name, kind.name, kind.dtype, shape, count, offset, end)
    if end != length:
        raise StoreError(f"the fields end at byte {end}, the record at byte {length}")
    return Layout.of(slots)


def _name(raw: bytes) -> str:
    text = raw.rstrip(b"\0")
    try:
        name = text.decode()
    except UnicodeDecodeError as error:
        raise StoreError(f"a field's name is not UTF-8: {raw!r}") from error
    if not name or "\0" in name:
        raise StoreError(f"a field's name is empty or broken: {raw!r}")
    return name


def _data_start(count: int) -> int:
    return _HEADER.size + count * _ENTRY.size


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
