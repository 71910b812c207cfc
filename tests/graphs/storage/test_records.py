"""One record: what goes in comes out, and whatever else is a StoreError."""

import mmap
import pickle
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs.storage import records
from graphs.storage.records import KINDS, Field, StoreError, _parse_table, decode, encode, layout, read_ahead

EXAMPLE = {
    "x": Field("float16", np.arange(12, dtype="<f2").reshape(3, 4)),
    "count": Field("int", np.array(-7)),
    "ratio": Field("float", np.array(0.1)),
    "name": Field("str", np.frombuffer("überall".encode(), np.uint8)),
    "none": Field("float32", np.zeros((0, 5), "<f4")),
    "flag": Field("bool", np.array([True, False])),
}


def forged(record: bytes) -> bytes:
    """The record with the checksum that its present bytes deserve."""
    return record[:4] + struct.pack("<I", zlib.crc32(record[8:])) + record[8:]


def test_fields_come_back_in_order_with_type_and_shape() -> None:
    fields = decode(bytes(encode(EXAMPLE)))
    assert list(fields) == list(EXAMPLE)
    for name, (kind, array) in EXAMPLE.items():
        assert fields[name].kind == kind
        assert fields[name].array.dtype == array.dtype
        assert fields[name].array.shape == array.shape
        assert np.array_equal(fields[name].array, array)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_kind_and_shape_survives(data: st.DataObject) -> None:
    fields = {}
    for name in data.draw(st.lists(st.text("abcä_", min_size=1, max_size=8), unique=True, max_size=5)):
        kind = data.draw(st.sampled_from([kind for kind in KINDS if kind not in ("int", "float", "str")]))
        shape = tuple(data.draw(st.lists(st.integers(0, 3), max_size=4)))
        raw = data.draw(st.binary(min_size=648, max_size=648))
        array = np.frombuffer(raw, KINDS[kind])[: int(np.prod(shape))].reshape(shape)
        fields[name] = Field(kind, array.view(np.uint8) % 2 == 1 if kind == "bool" else array)
    found = decode(bytes(encode(fields)))
    assert list(found) == list(fields)
    assert all(found[name].array.tobytes() == fields[name].array.tobytes() for name in fields)
    assert all(found[name].array.shape == fields[name].array.shape for name in fields)


def test_a_record_of_version_1_stays_as_it_is() -> None:
    written = encode({"n": Field("uint16", np.array([1, 515], "<u2"))})
    table = b"n" + bytes(23) + bytes([5, 1, 0, 0]) + struct.pack("<4IQ", 2, 0, 0, 0, 80)
    rest = struct.pack("<HHIQ", 1, 1, 0, 84) + table + bytes(4) + b"\x01\x00\x03\x02"
    assert bytes(written) == b"STGR" + struct.pack("<I", zlib.crc32(rest)) + rest


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.binary(max_size=600), st.binary(max_size=300).map(lambda tail: b"STGR" + tail)))
def test_random_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(StoreError):
        decode(raw)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_changed_record_is_refused_or_whole(data: st.DataObject) -> None:
    """Even with a checksum that fits, the table alone never leads out of the record or to another error."""
    record = bytearray(encode(EXAMPLE))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, min(len(record), 24 + 52 * len(EXAMPLE))))
        patch = data.draw(st.binary(min_size=1, max_size=8))
        how = data.draw(st.sampled_from(["replace", "insert", "cut"]))
        record[start : start + (0 if how == "insert" else len(patch))] = b"" if how == "cut" else patch
    changed = bytes(record)
    if data.draw(st.booleans()) and len(changed) >= 24:
        changed = changed[:16] + struct.pack("<Q", len(changed)) + changed[24:]
    try:
        fields = decode(forged(changed) if len(changed) > 8 else changed)
    except StoreError:
        return
    assert sum(field.array.nbytes for field in fields.values()) <= len(changed)


def test_each_flipped_bit_is_found() -> None:
    record = bytes(encode(EXAMPLE))
    for place in range(8, len(record), 3):
        broken = bytearray(record)
        broken[place] ^= 1 << (place % 8)
        with pytest.raises(StoreError):
            decode(bytes(broken))


def test_a_damaged_number_is_called_damaged() -> None:
    record = encode(EXAMPLE)
    record[-1] ^= 1
    with pytest.raises(StoreError, match=r"damaged: the checksum is [0-9a-f]{8}, written was [0-9a-f]{8}"):
        decode(record)


@pytest.mark.parametrize(
    ("dims", "axes"),
    [((2**32 - 1, 2**32 - 1, 0, 0), 2), ((2**31, 0, 0, 0), 1), ((0, 2**32 - 1, 2**32 - 1, 2**32 - 1), 4)],
)
def test_a_giant_shape_is_refused_without_memory(dims: tuple[int, ...], axes: int) -> None:
    record = bytearray(encode({"x": Field("float32", np.zeros(4, "<f4"))}))
    record[24 + 25] = axes
    record[24 + 28 : 24 + 44] = struct.pack("<4I", *dims)
    _parse_table.cache_clear()
    tracemalloc.start()
    with pytest.raises(StoreError, match=r"does not fit a record|beyond any memory"):
        decode(forged(bytes(record)))
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


def test_a_pickle_is_not_a_record() -> None:
    with pytest.raises(StoreError, match="not a record of such a store: it begins with"):
        decode(pickle.dumps({"x": list(range(100))}))


def test_another_version_is_refused_by_number() -> None:
    record = encode(EXAMPLE)
    record[8] = 9
    with pytest.raises(StoreError, match="record format 9, this version reads format 1"):
        layout(bytes(record))


def test_a_cut_record_says_so() -> None:
    with pytest.raises(StoreError, match="its header says"):
        decode(encode(EXAMPLE)[:-1])
    with pytest.raises(StoreError, match="not a record: 3 bytes"):
        decode(b"STG")


def test_nothing_may_follow_the_last_field() -> None:
    record = bytes(encode(EXAMPLE)) + bytes(16)
    with pytest.raises(StoreError, match="the fields end at byte"):
        decode(forged(record[:16] + struct.pack("<Q", len(record)) + record[24:]))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"": Field("int", np.array(1))}, "a field name has 1 to 24 bytes"),
        ({"x" * 25: Field("int", np.array(1))}, "a field name has 1 to 24 bytes"),
        ({"x": Field("float32", np.zeros(2))}, "cannot store float64 as 'float32'"),
        ({"x": Field("object", np.zeros(2))}, "cannot store float64 as 'object'"),
        ({"x": Field("float64", np.zeros((1,) * 5))}, "at most 4 axes"),
        ({f"x{i}": Field("int", np.array(1)) for i in range(65)}, "at most 64 fields"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(fields: dict[str, Field], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        encode(fields)


def test_a_truth_value_is_0_or_1() -> None:
    record = bytearray(encode({"flag": Field("bool", np.array([True]))}))
    record[-1] = 2
    with pytest.raises(StoreError, match="neither 0 nor 1"):
        decode(forged(bytes(record)))


def test_records_are_fetched_ahead_in_whole_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def advise(start: int, length: int, advice: int) -> int:
        assert advice == mmap.MADV_WILLNEED
        asked.append((start, length))
        return 0

    several = [bytes(encode(EXAMPLE)), bytes(3 * mmap.PAGESIZE)]
    monkeypatch.setattr(records, "_madvise", lambda: advise)
    read_ahead(several)
    for record, (start, length) in zip(several, asked, strict=True):
        place = np.frombuffer(record, np.uint8).__array_interface__["data"][0]
        assert start % mmap.PAGESIZE == 0
        assert start <= place
        assert start + length == place + len(record)


def test_a_system_without_the_call_is_asked_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str | None) -> None:
        raise OSError("no C library")

    # Without its cache, which would keep the answer for other tests.
    monkeypatch.setattr(records, "_madvise", records._madvise.__wrapped__)
    monkeypatch.setattr(records.ctypes, "CDLL", missing)
    assert records._madvise() is None
    read_ahead([b"a record"])
