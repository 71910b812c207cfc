"""Fields of one's own in a store: kept, checked and batched as PyG does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.transforms import Compose

import graphs
from graphs import FreeField, GraphStore, StoreError
from graphs.storage.graph_records import graph_fields
from graphs.storage.lmdb_file import HEADER_KEY
from graphs.storage.records import Field, decode, encode
from graphs.variants import TIME_FLOWS, VARIANTS
from tests.graphs.made_graphs import as_stored, made_graph, same

FREE = {
    "velocity": FreeField("node", "float16"),
    "exact": FreeField("node"),
    "mask": FreeField("node"),
    "place": FreeField("edge"),
    "tone": FreeField("frame", "float32"),
    "question": FreeField("graph"),
    "code": FreeField("graph"),
}
KNOWN_FLAT = ("motion_ptr", "audio_ptr", "video", "videos")


def given(counts: list[int], seed: int = 0) -> Data:
    """A made graph with a field on each axis, in many types."""
    data = made_graph(counts, seed=seed)
    nodes, edges, random = sum(counts), data.num_edges, torch.Generator().manual_seed(seed)
    data.velocity = torch.rand(nodes, 2, generator=random)
    data.exact = torch.rand(nodes, 2, 2, generator=random, dtype=torch.float64)
    data.mask = torch.rand(nodes, generator=random) > 0.5
    data.place = torch.randint(-9, 9, (edges,), generator=random, dtype=torch.int16)
    data.tone = torch.rand(len(counts), 3, generator=random, dtype=torch.float64)
    data.question = torch.rand(1, 5, generator=random).half()
    data.code = torch.tensor(200 + seed, dtype=torch.uint8)
    data.y = torch.tensor([seed - 3])
    data.edge_attr = data.edge_weight[:, None] * torch.ones(2)
    return data


def kept(data: Data) -> Data:
    data = as_stored(data)
    data.velocity, data.tone = data.velocity.half().float(), data.tone.float()
    return data


GRAPHS = {"one": given([2, 1], 1), "none": given([0, 0], 2), "more": given([1, 0, 2], 3)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with GraphStore(tmp_path / "graphs.store", "w", free=FREE) as store:
        store.put_many(GRAPHS)
    return tmp_path / "graphs.store"


def header_text(path: Path) -> str:
    with GraphStore(path) as store, store._file.read() as transaction:
        return decode(bytes(transaction.get(HEADER_KEY, b"")))["json"].array.tobytes().decode()


def test_graphs_come_back_alone_and_in_batches(path: Path) -> None:
    for mode in ("r", "a"):
        with GraphStore(path, mode) as store:
            assert store.free_fields == {**FREE, "y": FreeField("graph"), "edge_attr": FreeField("edge")}
            for video, data in GRAPHS.items():
                assert same(store.get(video), kept(data)), video
            # Read for the first time, then known.
            for _ in range(2):
                for videos in (["more", "none", "one", "more"], ["none"]):
                    joined = Batch.from_data_list([store.get(video) for video in videos])
                    assert same(store.batch(videos), joined, without=KNOWN_FLAT)
            assert store.batch(["one", "none"]).code.tolist() == [201, 202]
            assert store.verify() == []
            memory = graphs.GraphsInMemory({video: GRAPHS[video] for video in GRAPHS}, free=FREE)
            assert same(memory.batch(["one", "more"]), store.batch(["one", "more"]))
            read = graphs.GraphsInMemory.read(store, ["more", "one"])
            assert same(read.batch(["one", "more"]), store.batch(["one", "more"]))
            assert graphs.encode_graph(GRAPHS["more"], "float16", FREE) == store.record("more")


def test_a_store_without_free_fields_is_as_it_was(tmp_path: Path) -> None:
    with GraphStore(tmp_path / "plain", "w") as store:
        store.put("one", made_graph([2, 1]))
        fields, record = store.fields, store.record("one")
        assert (store.free_fields, store.free_types) == ({}, {})
    said = {"format": "stg video graphs 1", "features_dtype": "float16", "fields": fields, "manifest": None}
    assert header_text(tmp_path / "plain") == json.dumps(said)
    assert list(decode(record)) == [name for name in graphs.storage.graph_records.FIELDS if name in fields]


def test_known_names_need_no_declaration_and_may_have_one(tmp_path: Path) -> None:
    data = made_graph([2, 1])
    data.y = torch.tensor([[0.5, 0.25]], dtype=torch.float64)
    data.edge_attr = torch.arange(data.num_edges)
    with GraphStore(tmp_path / "known", "w") as store:
        store.put("one", data)
        assert same(store.get("one"), as_stored(data))
        lacking = made_graph([1])
        with pytest.raises(StoreError, match="video 'two': the graph lacks y, edge_attr, which every graph"):
            store.put("two", lacking)
    assert json.loads(header_text(tmp_path / "known"))["free_fields"]["y"] == {
        "axis": "graph",
        "keep": "exact",
        "dtype": "float64",
        "row": [2],
    }
    data = made_graph([2, 1])
    data.y = torch.arange(3)
    with GraphStore(tmp_path / "nodes", "w", free={"y": FreeField("node")}) as store:
        store.put_many({"one": data, "two": data})
        assert store.batch(["one", "two"]).y.tolist() == [0, 1, 2, 0, 1, 2]


def _set(name: str, value: Any) -> Callable[[Data], None]:
    def change(data: Data) -> None:
        data[name] = value

    return change


NAN = torch.tensor([[1.0, 2.0], [3.0, float("nan")], [0.0, 0.0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("velocity", None), "the graph lacks velocity, which every graph of this store has"),
        (
            _set("velocity", torch.zeros(2, 2)),
            r"velocity follows the node axis, whose length is 3, but has the shape \[2, 2\]. Give it one row for",
        ),
        (_set("place", torch.zeros(4).short()), r"place follows the edge axis, whose length is 7, but .* \[4\]"),
        (
            _set("tone", torch.zeros(3, 3)),
            r"tone follows the frame axis, whose length is 2, but has the shape \[3, 3\]",
        ),
        (
            _set("question", torch.zeros(5).half()),
            r"question follows the graph axis, whose length is 1, but .* \[5\]. .*unsqueeze\(0\)",
        ),
        (_set("y", torch.zeros(3).long()), r"y follows the graph axis, whose length is 1, but has the shape \[3\]"),
        (_set("velocity", torch.tensor(1.0)), r"velocity follows the node axis, whose length is 3, .* shape \[\]"),
        (_set("velocity", torch.zeros(3, 0)), r"velocity has the shape \[3, 0\]: at most 4 axes, none empty"),
        (_set("velocity", NAN), r"velocity holds nan at \[1, 1\]; every number must be finite: .* a mask"),
        (_set("exact", NAN.double()), r"exact holds nan at \[1, 1\]"),
        (_set("velocity", torch.full((3, 2), 1e6)), "velocity holds 1e\\+06, beyond the largest float16: declare"),
        (_set("velocity", torch.zeros(3, 2).long()), r"velocity holds torch.int64, .* as float16: declare 'exact'"),
        (
            _set("exact", torch.zeros(3, 2, 2)),
            r"exact is by node, float32 \[N 2 2\] \(here by node, float64 \[N 2 2\]\)",
        ),
        (
            _set("velocity", torch.zeros(3, 1)),
            r"velocity is by node, float16 \[N 1\] \(here by node, float16 \[N 2\]\)",
        ),
        (
            _set("mask", torch.zeros(3, dtype=torch.complex64)),
            "mask holds torch.complex64, which a store does not keep",
        ),
        (_set("mask", [True]), "mask must be a tensor, got list"),
        (
            _set("speed", torch.zeros(3)),
            r"cannot store speed, of shape \[3\]: .* 3 nodes, 7 edges, 2 frames, 1 graph\). Declare it, as in "
            r"GraphStore\(path, 'w', free=\{'speed': graphs.FreeField\('node'\)\}\), or remove it",
        ),
        (
            _set("speed", torch.zeros(5)),
            r"cannot store speed, of shape \[5\]: its first axis follows none of 3 nodes, 7 edges, 2 frames, 1 graph",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(path: Path, change: Callable, message: str) -> None:
    data = given([2, 1], 5)
    change(data)
    with GraphStore(path, "a") as store:
        with pytest.raises(StoreError, match=rf"video 'new': .*{message}"):
            store.put_many({"good": GRAPHS["one"], "new": data})
        assert store.keys() == sorted(GRAPHS)


def test_a_declaration_is_checked_and_kept(path: Path, tmp_path: Path) -> None:
    for free, message in (
        ({"x": FreeField("node")}, r"free\['x'\]: every store knows this field"),
        ({"my index": FreeField("node")}, "a Python name"),
        ({"my_index": FreeField("node")}, "PyG shifts the numbers of fields with 'index' or 'batch'"),
        ({"ptr": FreeField("node")}, "a batch has something else of this name"),
        ({"a" * 23: FreeField("node")}, "at most 22 bytes"),
        ({"speed": "node"}, r"free\['speed'\] must be a graphs.FreeField, got str"),
    ):
        with pytest.raises(StoreError, match=message):
            GraphStore(tmp_path / "new", "w", free=free)  # type: ignore[arg-type]
        assert not (tmp_path / "new").exists()
    with pytest.raises(StoreError, match="axis of a free field must be one of node, edge, frame, graph, got 'nodes'"):
        FreeField("nodes")
    with pytest.raises(StoreError, match="keep of a free field must be one of exact, float16, float32, got 'float64'"):
        FreeField("node", "float64")
    for mode in ("r", "a"):
        GraphStore(path, mode, free=FREE).close()
        for other in (
            {**FREE, "velocity": FreeField("node")},
            {"velocity": FREE["velocity"]},
            FREE | {"z": FREE["tone"]},
        ):
            with pytest.raises(StoreError, match=r"has other free fields .*Leave free out, or use another store"):
                GraphStore(path, mode, free=other)
    # Nothing follows from a declaration before the first graph.
    GraphStore(tmp_path / "empty", "w", free=FREE).close()
    with GraphStore(tmp_path / "empty", "a", free={"velocity": FreeField("node")}) as store:
        assert store.free_fields == {"velocity": FreeField("node")}


def test_records_that_cannot_be_are_refused_and_found(path: Path, tmp_path: Path) -> None:
    good = graph_fields(given([2, 1], 5), "float16", FREE)
    flag = Field("bool", np.array([0, 2, 1], np.uint8).view(np.bool_))
    bad = {
        "nodes": ({"N~velocity": Field("float16", np.zeros((2, 2), np.float16))}, "velocity follows the node axis"),
        "frames": ({"T~tone": Field("float32", np.zeros((3, 3), np.float32))}, "tone has 3 rows, but num_frames is 2"),
        "nan": ({"N=exact": Field("float64", np.full((3, 2, 2), np.nan))}, "exact holds nan"),
        "flag": ({"N=mask": flag}, "a truth value that is neither 0 nor 1"),
        "type": ({"N~velocity": Field("int64", np.zeros((3, 2), np.int64))}, "velocity has the type int64, expected"),
        "name": ({"N=ptr": Field("int64", np.zeros(3, np.int64))}, r"not the fields of a graph: unknown \['N=ptr'\]"),
        "axis": ({"Z=w": Field("int64", np.zeros(3, np.int64))}, r"not the fields of a graph: unknown \['Z=w'\]"),
    }
    for name, (change, message) in bad.items():
        record = bytes(encode(good | change))
        with GraphStore(path, "a") as store:
            with pytest.raises(StoreError, match=message):
                store.put_records([(name, record)])
            store._file.commit([(name.encode(), record)])
            with pytest.raises(StoreError, match=rf"video '{name}': .*{message}"):
                store.batch(["one", name])
            with pytest.raises(StoreError, match=message):
                store.get(name)
            assert [video for video, _ in store.verify()] == [name]
            store._file.commit([(name.encode(), bytes(encode(good)))])
    # A whole record with other free fields than the header's.
    with GraphStore(tmp_path / "other", "w") as other:
        other.put("alien", made_graph([2, 1]))
        alien = other.record("alien")
    with GraphStore(path, "a") as store:
        with pytest.raises(StoreError, match="video 'alien': unlike the other graphs of this store: lacks code"):
            store.put_records([("alien", alien)])
        store._file.commit([(b"alien", alien)])
        assert [video for video, _ in store.verify()] == ["alien"]
        with pytest.raises(StoreError, match=r"videos 'one' and 'alien' have other fields: .*'velocity'"):
            store.batch(["one", "alien"])


def test_copies_of_records_take_the_declaration_along(path: Path, tmp_path: Path) -> None:
    with GraphStore(path) as store, GraphStore(tmp_path / "copy", "w") as copy:
        copy.put_records(store.records())
        assert copy.free_fields == store.free_fields
        assert same(copy.batch(["one", "more"]), store.batch(["one", "more"]))
    assert json.loads(header_text(tmp_path / "copy")) == json.loads(header_text(path))
    with (
        GraphStore(path) as store,
        GraphStore(tmp_path / "less", "w", free={"velocity": FREE["velocity"]}) as less,
        pytest.raises(StoreError, match=r"also has .*question"),
    ):
        less.put_records(store.records())


def test_graphs_in_memory_have_rows_of_one_width(path: Path) -> None:
    wide = given([1], 4)
    wide.y = torch.zeros(1, 2, dtype=torch.int64)
    memory = graphs.GraphsInMemory({"one": GRAPHS["one"], "wide": wide}, free=FREE)
    with pytest.raises(StoreError, match=r"y is int64 \[1\] in video 'one', int64 \[1, 2\] in 'wide'"):
        memory.batch(["one", "wide"])


@pytest.mark.parametrize("variant", ["full", "spatial", "temporal", "none"])
@pytest.mark.parametrize("time_flow", TIME_FLOWS)
def test_attributes_go_with_their_edges(path: Path, variant: str, time_flow: str) -> None:
    with GraphStore(path) as store:
        single = store.get("more")
        # The attributes are the weights, so each edge shows whether it has its own.
        for batch in (
            store.batch(["one", "more"], variant, time_flow),
            graphs.GraphsInMemory.read(store, ["one", "more"]).batch(["one", "more"], variant, time_flow),
            graphs.SelectVariant(variant, time_flow)(single),
        ):
            assert torch.equal(batch.edge_attr, batch.edge_weight[:, None] * torch.ones(2))
            assert batch.place.shape == batch.edge_weight.shape
        full, some = store.batch(["more"]), store.batch(["more"], variant, time_flow)
        of_weight = dict(zip(full.edge_weight.tolist(), full.place.tolist(), strict=True))
        assert some.place.tolist() == [of_weight[weight] for weight in some.edge_weight.tolist()]


def test_new_edges_have_no_attributes(path: Path) -> None:
    with GraphStore(path) as store:
        dense = store.batch(["one", "more"], "dense")
        assert not {"edge_attr", "place"} & set(dense.keys())
        assert dense.velocity.shape == (6, 2)
        for transform in (graphs.SelectVariant("dense"), graphs.DenseEdges()):
            changed = transform(store.get("more"))
            assert not {"edge_attr", "place"} & set(changed.keys())
            assert changed.tone.shape == (3, 3)
        for transform in (graphs.SpatialEdges(), graphs.TemporalEdges(), graphs.paper_edges()):
            with pytest.raises(ValueError, match="edges have no edge_attr, place, and the other edges have: remove"):
                transform(store.get("more"))
        bare = Compose([_without_attributes, graphs.paper_edges()])(store.get("more"))
        assert bare.edge_weight.shape == bare.edge_type.shape


def _without_attributes(data: Data) -> Data:
    del data.edge_attr, data.place
    return data


def test_a_variant_of_ones_own_says_which_edges_it_keeps(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def heavy(batch: Any) -> Any:
        chosen = (batch.edge_weight > 0).nonzero().flatten()
        return batch.edge_index[:, chosen], batch.edge_weight[chosen], batch.edge_type[chosen], chosen

    monkeypatch.setitem(VARIANTS, "heavy", heavy)
    monkeypatch.setitem(VARIANTS, "new", lambda batch: heavy(batch)[:3])
    monkeypatch.setitem(VARIANTS, "lost", lambda batch: (*heavy(batch)[:3], heavy(batch)[3] + 1000))
    with GraphStore(path) as store:
        batch = store.batch(["one", "more"], "heavy", "both")
        assert len(batch.edge_weight) > 0
        assert torch.equal(batch.edge_attr, batch.edge_weight[:, None] * torch.ones(2))
        assert len(graphs.select_edges(store.batch(["one"]), "heavy")) == 3
        assert "edge_attr" not in store.batch(["one"], "new")
        with pytest.raises(ValueError, match="variant 'lost': the fourth tensor says where each of its"):
            store.batch(["one"], "lost")
