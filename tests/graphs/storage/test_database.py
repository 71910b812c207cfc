"""PyG's database interface: the same calls as its SQLite database, the same answers, and no pickle."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Database, SQLiteDatabase

from graphs.storage.database import LMDBDatabase
from graphs.storage.records import StoreError
from tests.graphs.made_graphs import in_child

SCHEMA = {"x": {"dtype": torch.float, "size": (-1, 3)}, "y": int, "z": str, "w": float, "m": {"dtype": torch.bool}}
Make = Callable[[Path, Any], Database]


def value(number: int) -> dict[str, Any]:
    mask = torch.arange(number) % 2 == 0
    return {"x": torch.full((number, 3), float(number)), "y": number, "z": f"é{number}", "w": number / 3, "m": mask}


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return type(first) is type(second) and bool(first == second)


@pytest.fixture(params=["lmdb", "sqlite"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "lmdb":
        return lambda folder, schema: LMDBDatabase(folder / "db", schema)
    pytest.importorskip("sqlite3")
    return lambda folder, schema: SQLiteDatabase(str(folder / "sqlite"), "table1", schema)


@pytest.mark.filterwarnings("ignore:.*given buffer is not writable:UserWarning")
def test_both_databases_answer_alike(make: Make, tmp_path: Path) -> None:
    database = make(tmp_path, SCHEMA)
    assert len(database) == 0
    database.insert(0, value(4))
    database[1] = value(0)
    database.multi_insert([5, 2], [value(5), value(2)], batch_size=1)
    database[3:5] = [value(3), value(1)]
    assert len(database) == 6
    assert same(database[0], value(4))
    assert same(database.get(1), value(0))
    assert same(database[torch.tensor([5, 2])], [value(5), value(2)])
    assert same(database.multi_get([4, 3, 5], batch_size=2), [value(1), value(3), value(5)])
    assert same(database[1:6:2], [value(0), value(3), value(5)])
    assert same(database[range(2)], [value(4), value(0)])
    database.close()


@pytest.mark.parametrize(
    ("schema", "item"),
    [
        (int, -5),
        (float, 0.25),
        (str, ""),
        ((int, {"dtype": torch.long, "size": (2, -1)}), (7, torch.arange(6).view(2, 3))),
        ({"dtype": torch.bfloat16, "size": (-1,)}, torch.tensor([1.5, -2.0], dtype=torch.bfloat16)),
        ({"dtype": torch.half, "size": ()}, torch.tensor(1.5, dtype=torch.half)),
        ({"dtype": torch.uint8, "size": (0, 4)}, torch.zeros(0, 4, dtype=torch.uint8)),
    ],
)
def test_schemas(tmp_path: Path, schema: Any, item: Any) -> None:
    with LMDBDatabase(tmp_path / "db", schema) as database:
        database[2**40] = item
        database[-3] = item
        assert same(database.get(-3), item)
    with LMDBDatabase(tmp_path / "db", schema, mode="r") as database:
        assert same(database.multi_get([2**40, -3]), [item, item])


@pytest.mark.parametrize("schema", [object, {"x": object}, (int, list), {"x": torch.Tensor}])
def test_a_schema_that_needs_pickle_is_refused(tmp_path: Path, schema: Any) -> None:
    with pytest.raises(StoreError, match=r"storing it would need pickle, which runs code when read. State int"):
        LMDBDatabase(tmp_path / "db", schema)
    assert not (tmp_path / "db").exists()


def test_index_tensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Index and EdgeIndex are not kept; store them as plain tensors"):
        LMDBDatabase(tmp_path / "db", {"e": {"dtype": torch.long, "is_edge_index": True}})
    with pytest.raises(StoreError, match=r"torch.complex64 cannot be stored"):
        LMDBDatabase(tmp_path / "db", {"dtype": torch.complex64, "size": (1,)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(2, 4)}, r"field 'x' must be a tensor torch.float32 \[-1, 3\], got torch.float32 \[2, 4\]"),
        ({"x": torch.zeros(2, 3, dtype=torch.double)}, "got torch.float64"),
        ({"x": [1.0]}, "got list"),
        ({"y": "1"}, "field 'y' must be int, got str"),
        ({"y": True}, "field 'y' must be int, got bool"),
        ({"y": 2**63}, "field 'y' must fit 64 bits"),
        ({"more": 1}, "the value has the fields"),
    ],
)
def test_a_value_outside_the_schema_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with LMDBDatabase(tmp_path / "db", SCHEMA) as database:
        database[0] = value(1)
        with pytest.raises(StoreError, match=rf"index 2: .*{message}"):
            database.multi_insert([1, 2], [value(1), value(2) | change])
        assert len(database) == 1


def test_counts_must_agree_and_absence_is_an_index_error(tmp_path: Path) -> None:
    with LMDBDatabase(tmp_path / "db", int) as database:
        with pytest.raises(StoreError, match="2 indices, but 3 values"):
            database.multi_insert([0, 1], [1, 2, 3])
        database[0:3] = [5, 6, 7]
        database[1] = 8
        assert list(database) == database[:] == [5, 8, 7]
        assert database[-2:] == [8, 7]
        assert database.multi_get([]) == []
        with pytest.raises(IndexError, match="holds nothing at index 3"):
            database.get(3)
        with pytest.raises(StoreError, match="an index must fit 64 bits"):
            database.get(2**63)


def test_another_schema_is_refused_at_read(tmp_path: Path) -> None:
    with LMDBDatabase(tmp_path / "db", {"a": int}) as database:
        database[0] = {"a": 1}
    for schema, message in [({"a": float}, "field 'a' is int"), ({"b": int}, r"fields \['a'\], the schema \['b'\]")]:
        with LMDBDatabase(tmp_path / "db", schema, mode="r") as database, pytest.raises(StoreError, match=message):
            database.get(0)


def test_closed_copied_forked(tmp_path: Path) -> None:
    database = LMDBDatabase(tmp_path / "db", SCHEMA)
    database[0] = value(3)
    copy = pickle.loads(pickle.dumps(database))
    assert same(copy[0], value(3))
    with pytest.raises(StoreError, match="a forked or unpickled copy of a writer only reads"):
        copy[1] = value(1)
    assert in_child(lambda: str(same(database[0], value(3)))) == "True"
    database.close()
    with pytest.raises(StoreError, match=r"is closed: call connect\(\) first"):
        len(database)
    database.connect()
    assert len(database) == 1
    database.close()


def test_a_damaged_value_is_named(tmp_path: Path) -> None:
    with LMDBDatabase(tmp_path / "db", {"dtype": torch.long, "size": (-1,)}) as database:
        for index in range(3):
            database[index] = torch.full((2000,), 77 + index)
    raw = (tmp_path / "db").read_bytes()
    (tmp_path / "db").write_bytes(raw.replace((78).to_bytes(8, "little") * 9, (79).to_bytes(8, "little") * 9, 1))
    with LMDBDatabase(tmp_path / "db", {"dtype": torch.long, "size": (-1,)}, mode="r") as database:
        assert database[2][0] == 79
        with pytest.raises(StoreError, match="index 1: damaged"):
            database.get(1)


def test_every_64_bit_integer_is_an_index_of_its_own(tmp_path: Path) -> None:
    indices = [-(2**63), -(2**40), -1, 0, 1, 2**32, 2**40, 2**63 - 1]
    with LMDBDatabase(tmp_path / "db", int) as database:
        database.multi_insert(indices, indices)
        assert database.multi_get(indices) == indices
