"""The store of video graphs: what goes in comes out, alone and in batches; what does not fit is refused in words."""

import ast
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data

import graphs.storage.known_records
import graphs.storage.store
from graphs.storage.graph_records import REQUIRED, graph_fields
from graphs.storage.header import header_item
from graphs.storage.records import Field, StoreError, decode, encode
from graphs.storage.store import GraphStore
from graphs.variants import TIME_FLOWS, VARIANTS, select_edges
from tests.graphs.graph_reference import made_tracks
from tests.graphs.made_graphs import as_stored, made_graph, same

Change = Callable[[Data], Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "graphs.store"


def filled(path: Path, **more: Any) -> GraphStore:
    """A store of five videos: full, empty, without objects in places, of one frame, and with large frame numbers."""
    store = GraphStore(path, "a", **more)
    store.put("full", made_graph([5, 5, 5, 5], seed=1))
    store.put_many({"empty": made_graph([0, 0, 0], seed=2, sounds=0), "holes": made_graph([0, 3, 0, 0, 2, 1], seed=3)})
    store.put_many(iter([("one", made_graph([1], seed=4)), ("long", made_graph([2, 2], seed=5, first_number=70_000))]))
    return store


def test_a_graph_comes_back(path: Path) -> None:
    with filled(path) as store:
        assert same(store.get("full"), as_stored(made_graph([5, 5, 5, 5], seed=1)))
        assert same(store.get("empty"), as_stored(made_graph([0, 0, 0], seed=2, sounds=0)))
        assert store.get("long").frame_number.tolist() == [70_000, 70_001]
        assert store.get("one").video == "one"
        assert store.keys() == list(store) == ["empty", "full", "holes", "long", "one"]
        assert len(store) == 5
        assert "one" in store
        assert "two" not in store
        assert 1 not in store


def test_float32_comes_back_bit_by_bit(path: Path) -> None:
    with filled(path, features_dtype="float32") as store:
        assert same(store.get("holes"), made_graph([0, 3, 0, 0, 2, 1], seed=3))
    with GraphStore(path, "a") as store:
        assert store.features_dtype == "float32"
    with pytest.raises(StoreError, match="keeps its features as float32, asked for float16"):
        GraphStore(path, "a", features_dtype="float16")


def test_only_the_required_fields_are_required(path: Path) -> None:
    data = made_graph([2, 1])
    for name in [name for name in data.keys() if name not in REQUIRED]:  # noqa: SIM118
        del data[name]
    with GraphStore(path, "w") as store:
        store.put("plain", data)
        assert same(store.get("plain"), as_stored_plain(data))
        batch = store.batch(["plain", "plain"])
        assert "motion_ptr" not in batch
        assert "audio_ptr" not in batch
        assert store.fields == {n: 6 if n == "x" else 0 for n in REQUIRED}


def as_stored_plain(data: Data) -> Data:
    kept = data.clone()
    kept.x = as_stored_feature(kept.x)
    return kept


def test_a_batch_equals_the_batch_of_its_graphs(path: Path) -> None:
    with filled(path) as store:
        for videos in (["holes", "empty", "full", "holes"], ["one"], ["empty"], ["long", "one", "full"]):
            batch = store.batch(videos)
            expected = Batch.from_data_list([store.get(video) for video in videos])
            assert batch.videos == expected.video == videos
            assert batch.motion_ptr.tolist() == [5 * i for i in range(len(videos) + 1)]
            assert batch.audio_ptr.diff().tolist() == [0 if video == "empty" else 2 for video in videos]
            assert batch.audio_mask.dtype == torch.bool
            assert same(batch, expected, without=("video", "videos", "motion_ptr", "audio_ptr"))


@pytest.mark.parametrize(("name", "rows"), [("motion", [0, 3, 5]), ("grid", [0, 3, 5])])
def test_motion_or_grid_alone_tells_where_its_rows_begin(path: Path, name: str, rows: list[int]) -> None:
    graphs = {"a": made_graph([1], clips=3), "b": made_graph([1], clips=2)}
    for data in graphs.values():
        del data["motion" if name == "grid" else "grid"]
    with GraphStore(path, "w") as store:
        store.put_many(graphs)
        batch = store.batch(["a", "b"])
        assert batch.motion_ptr.tolist() == rows
        assert store.fields[name] == 3
        assert torch.equal(batch[name][3:], as_stored_feature(graphs["b"][name]))


def as_stored_feature(value: torch.Tensor) -> torch.Tensor:
    return value.half().float()


@pytest.mark.parametrize("time_flow", TIME_FLOWS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_has_the_edges_of_its_variant(path: Path, variant: str, time_flow: str) -> None:
    with GraphStore(path, "a") as store:
        for name, counts in (("full", [5, 5, 5, 5]), ("holes", [0, 3, 0, 0, 2, 1])):
            graph = made_graph(counts)
            graph.track = made_tracks(counts)
            store.put(name, graph)
        batch = store.batch(["full", "holes"], variant, time_flow)
        whole = Batch.from_data_list([store.get("full"), store.get("holes")])
    edges = select_edges(whole, variant, time_flow)
    for found, expected in zip((batch.edge_index, batch.edge_weight, batch.edge_type), edges, strict=True):
        assert torch.equal(found, expected)


def test_a_batch_outlives_its_store(path: Path) -> None:
    with filled(path) as store:
        batch, expected = store.batch(["full"]), store.get("full")
    path.unlink()
    assert torch.equal(batch.x, expected.x)
    batch.x += 1


def test_a_video_takes_at_most_200_kib_at_the_papers_size(path: Path) -> None:
    """T = 10, up to 5 boxes, 5% of the frames empty; 2048-d objects and scenes, ten 1024-d motion rows."""
    random = np.random.default_rng(0)
    with GraphStore(path, "w") as store:
        for seed in range(20):
            counts = np.where(random.random(10) < 0.05, 0, random.integers(1, 6, 10))
            data = made_graph(counts.tolist(), seed, width=2048, scene=2048, motion=1024, clips=10)
            store.put(f"v{seed}", data)
        sizes = store.sizes()
    assert len(sizes) == 20
    assert np.mean(sizes) <= 200 * 1024
    assert path.stat().st_size <= 20 * 200 * 1024


@pytest.mark.parametrize("video", ["-4ws", "a/b", "../x", " ", "né\n🎬", "x" * 511, "é" * 255, "\0"])
def test_any_text_of_1_to_511_bytes_is_an_id(path: Path, video: str) -> None:
    with GraphStore(path, "w") as store:
        store.put(video, made_graph([1]))
        store.put("Other", made_graph([2]))
        store.put("other", made_graph([3]))
        assert video in store
        assert store.get(video).video == video
        assert sorted(store.keys()) == sorted({video, "Other", "other"})
        assert [len(store.get(name).x) for name in ("Other", "other")] == [2, 3]


@pytest.mark.parametrize("video", ["", "x" * 512, "é" * 256])
def test_other_lengths_are_refused(path: Path, video: str) -> None:
    with GraphStore(path, "w") as store:
        assert video not in store
        with pytest.raises(StoreError, match="1 to 511 bytes of UTF-8, got"):
            store.put(video, made_graph([1]))
        with pytest.raises(StoreError, match="1 to 511 bytes of UTF-8, got"):
            store.get(video)


def test_half_a_surrogate_is_no_id(path: Path) -> None:
    with GraphStore(path, "w") as store, pytest.raises(StoreError, match="must be valid Unicode"):
        store.put("\ud800", made_graph([1]))
    with GraphStore(path) as store:
        assert "\ud800" not in store


def _set(name: str, value: Any) -> Change:
    return lambda data: data.update({name: value})


def _poke(name: str, value: float) -> Change:
    return lambda data: data[name].view(-1).__setitem__(-1, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_poke("x", float("nan")), r"x holds nan at \[3, 5\]; every number must be finite"),
        (_poke("scene", float("inf")), r"scene holds inf at \[2, 3\]"),
        (
            _poke("x", -70_000.0),
            r"x holds 70000, beyond .* \(65504\): scale the features, or .* features_dtype='float32'",
        ),
        (_poke("edge_weight", float("nan")), "edge_weight holds nan at"),
        (_poke("boxes", float("inf")), r"boxes holds inf at \[3, 3\]"),
        (_set("boxes", torch.zeros(4, 3)), r"boxes must have the shape \[N 4\], got \[4, 3\]"),
        (_set("boxes", torch.zeros(3, 4)), r"boxes must have the shape \[N 4\], got \[3, 4\]: N is 4 in x"),
        (_set("x", torch.zeros(4)), r"x must have the shape \[N D\], got \[4\]"),
        (_set("scores", torch.zeros(4, dtype=torch.long)), "scores must hold floating-point numbers, got torch.int64"),
        (_set("frame", torch.zeros(4)), "frame must hold integers, got torch.float32"),
        (_poke("frame", 3), r"frame holds 3, not below num_frames \(3\)"),
        (_poke("frame", -1), "frame holds -1; every number must be 0 or more"),
        (_poke("frame", 0), "frame must not decrease"),
        (_poke("edge_index", 4), r"edge_index holds 4, not below the number of nodes \(4\)"),
        (_poke("edge_type", -1), "edge_type holds -1; every number must be 0 or more"),
        (_poke("edge_type", 256), "edge_type holds 256, beyond 255"),
        (_poke("motion_row", 5), r"motion_row holds 5, not below the rows of motion \(5\)"),
        (lambda data: data.update({"motion": None, "grid": None}), "motion_row points into motion or grid, and both"),
        (_set("motion", torch.zeros(4, 3)), r"grid must have the shape \[L P G\], got \[5, 2, 3\]: L is 4 in motion"),
        (_poke("grid", float("nan")), r"grid holds nan at \[4, 1, 2\]"),
        (_set("audio", None), "audio and audio_mask belong together: one of them is missing"),
        (_set("audio_mask", None), "audio and audio_mask belong together: one of them is missing"),
        (_set("audio_mask", torch.ones(3).bool()), r"audio_mask must have the shape \[A\], got \[3\]: A is 2 in audio"),
        (_set("audio_mask", torch.ones(2).long()), "audio_mask must hold truth values, got torch.int64"),
        (_set("total_frames", torch.tensor([2])), r"frame_number holds 2, not below total_frames \(2\)"),
        (_set("total_frames", torch.tensor([0])), "total_frames must be at least 1, got 0"),
        (_set("fps", torch.tensor([-1.0])), "fps must not be below 0, got -1.0"),
        (_set("scene", torch.zeros(2, 4)), "scene has 2 rows, but num_frames is 3|T is"),
        (_set("num_frames", 0), "num_frames must be at least 1, got 0"),
        (
            _set("edge_attr", torch.zeros(1)),
            r"edge_attr follows the edge axis, whose length is 9, but has the shape \[1\]",
        ),
        (_set("y", "a label"), "y must be a tensor, got str"),
        (_set("name", "a label"), "cannot store name: it is a str, and a store keeps tensors; remove it"),
        (_set("frame", [0, 1, 2, 2]), "frame must be a tensor, got list"),
        (_set("edge_weight", None), "the graph lacks edge_weight"),
        (_set("video", "other"), "the graph says that it belongs to 'other'"),
        (_set("x", torch.zeros(4, 7)), r"unlike the other graphs of this store: x of width 7 \(here 6\)"),
        (_set("scores", None), "unlike the other graphs of this store: lacks scores"),
    ],
)
def test_what_does_not_fit_is_refused_at_write(path: Path, change: Change, message: str) -> None:
    data = made_graph([1, 1, 2])
    change(data)
    with GraphStore(path, "w") as store:
        store.put("first", made_graph([1, 2]))
        with pytest.raises(StoreError, match=rf"video 'v7'.*({message})"):
            store.put_many([("good", made_graph([1])), ("v7", data)])
        assert store.keys() == ["first"]


@pytest.mark.parametrize(
    ("name", "number", "message"),
    [
        ("x", np.nan, "x holds nan at"),
        ("x", np.inf, "x holds inf at"),
        ("scene", -np.inf, "scene holds -inf at"),
        ("edge_weight", np.nan, "edge_weight holds nan at"),
        ("num_frames", 0, "num_frames must be at least 1, got 0"),
        ("num_frames", 3, "scene has 4 rows, but num_frames is 3"),
        ("frame", 9, "frame holds 9, not below"),
        ("frame", 0, "frame must not decrease"),
        ("edge_index", 20, r"edge_index holds 20, not below the number of nodes \(20\)"),
        ("motion_row", 5, r"motion_row holds 5, not below the rows of motion \(5\)"),
        ("total_frames", 0, "total_frames must be at least 1, got 0"),
        ("fps", -1, "fps must not be below 0, got -1"),
        ("audio_mask", 2, r"audio_mask holds 2, not below the number of truth values \(2\)"),
    ],
)
def test_what_does_not_fit_is_refused_at_load(path: Path, name: str, number: float, message: str) -> None:
    """A record with a good checksum, but made by other hands."""
    with filled(path) as store:
        with store._file.read() as transaction:
            fields = {n: Field(f.kind, f.array.copy()) for n, f in decode(bytes(transaction.get(b"full"))).items()}
        fields[name].array.flat[-1] = number
        store._file.commit([(b"full", encode(fields))])
        # Among graphs whose own numbers would hide a limit that is taken from another video.
        for read in (lambda: store.get("full"), lambda: store.batch(["holes", "full", "long"])):
            with pytest.raises(StoreError, match=f"video 'full': {message}"):
                read()
        assert [video for video, _ in store.verify()] == ["full"]


@pytest.mark.parametrize("width", [5, 7])
def test_records_of_two_widths_never_mix(path: Path, width: int) -> None:
    other = path.with_name("other")
    with filled(path) as store, GraphStore(other, "w") as second:
        second.put("full", made_graph([1], width=width))
        with second._file.read() as transaction:
            store._file.commit([(b"full", bytes(transaction.get(b"full")))])
        with pytest.raises(StoreError, match=f"x has width 6 in video 'one', {width} in 'full'"):
            store.batch(["one", "full"])
        assert store.verify()[0][0] == "full"


def test_grids_of_two_sizes_never_mix(path: Path) -> None:
    data = made_graph([1])
    data.grid = torch.zeros(5, 4, 3)
    with filled(path) as store:
        store.put("finer", data)
        with pytest.raises(StoreError, match="grid has width 2 x 3 in video 'one', 4 x 3 in 'finer'"):
            store.batch(["one", "finer"])


def test_records_of_other_fields_never_mix(path: Path) -> None:
    data = made_graph([1])
    del data["scores"]
    other = path.with_name("other")
    with filled(path) as store, GraphStore(other, "w") as second:
        second.put("full", data)
        with second._file.read() as transaction:
            store._file.commit([(b"full", bytes(transaction.get(b"full")))])
        for videos in (["one", "full"], ["full", "one"]):
            with pytest.raises(StoreError, match=f"videos '{videos[0]}' and '{videos[1]}' have other fields"):
                store.batch(videos)


def with_labels(counts: list[int], seed: int) -> Data:
    data = made_graph(counts, seed=seed)
    data.label = torch.arange(sum(counts)) * 7
    return data


def test_graphs_with_and_without_labels_share_a_store_and_a_batch(path: Path) -> None:
    with filled(path) as store:
        fields = store.fields
        store.put_many({"cats": with_labels([2, 1], 6), "dogs": with_labels([0, 3], 7), "none": with_labels([0], 8)})
        assert store.fields == fields
        assert same(store.get("cats"), as_stored(with_labels([2, 1], 6)))
        assert store.get("none").label.tolist() == []
        assert "label" not in store.get("one")
        # Read here for the first time, then known.
        for _ in range(2):
            assert store.batch(["dogs", "none", "cats"]).label.tolist() == [0, 7, 14, 0, 7, 14]
            for mixed in (["one", "cats", "full"], ["cats", "one"]):
                batch = store.batch(mixed)
                graphs = [store.get(video) for video in mixed]
                for data in graphs:
                    data.pop("label", None)
                assert same(batch, Batch.from_data_list(graphs), without=("motion_ptr", "audio_ptr", "video", "videos"))
        assert store.verify() == []
    other = path.with_name("other")
    with GraphStore(path) as store, GraphStore(other, "w") as copy:
        copy.put_records(store.records())
        assert copy.get("dogs").label.tolist() == [0, 7, 14]


def with_tracks(counts: list[int], seed: int, first: int = 0) -> Data:
    data = made_graph(counts, seed=seed)
    data.track = torch.arange(sum(counts)) + first
    data.label_score = torch.arange(sum(counts)) / 3
    return data


def test_tracks_and_scores_of_labels_are_kept(path: Path) -> None:
    with filled(path) as store:
        fields = store.fields
        # Numbers of every width a record has, unknown tracks, and a video without objects.
        given = {"near": with_tracks([2, 1], 6, -1), "far": with_tracks([0, 3], 7, 2**40), "none": with_tracks([0], 8)}
        given["same"] = given["near"].clone()
        given["same"].track = torch.tensor([-1, -1, -1])
        store.put_many(given)
        assert store.fields == fields
        for video, data in given.items():
            assert same(store.get(video), as_stored(data)), video
        for _ in range(2):
            batch = store.batch(list(given))
            assert batch.track.tolist() == [-1, 0, 1, 2**40, 2**40 + 1, 2**40 + 2, -1, -1, -1]
            assert torch.equal(batch.label_score, torch.cat([data.label_score for data in given.values()]))
            assert not {"track", "label_score"} & set(store.batch(["near", "one"]).keys())
        assert store.verify() == []


def test_what_is_no_track_is_refused(path: Path) -> None:
    twice = "frame 0 holds track 4 twice, again in row 1: an object is in a frame once"
    with filled(path) as store:
        data = with_tracks([2, 1], 6)
        for track, words in (([4, 4, 4], twice), ([0, -2, 1], "track holds -2; every number must be -1 or more")):
            data.track = torch.tensor(track)
            with pytest.raises(StoreError, match=f"video 'cats': {words}"):
                store.put("cats", data)
        good = graph_fields(with_tracks([2, 1], 6), "float16")
        for track, words in (([4, 4, 4], twice), ([0, -2, 1], "track must not be below -1, got -2")):
            record = bytes(encode(good | {"track": Field("int16", np.array(track, np.int16))}))
            with pytest.raises(StoreError, match=words):
                store.put_records([("cats", record)])
        assert "cats" not in store


def test_what_is_no_label_is_refused(path: Path) -> None:
    with filled(path) as store:
        data = with_labels([2, 1], 6)
        data.label = torch.tensor([1, -1, 0])
        with pytest.raises(StoreError, match="video 'cats': label holds -1; every number must be 0 or more"):
            store.put("cats", data)
        data.label = torch.zeros(2, dtype=torch.long)
        with pytest.raises(StoreError, match=r"video 'cats': label must have the shape \[N\], got \[2\]: N is 3"):
            store.put("cats", data)
        wrong = graph_fields(with_labels([2, 1], 6), "float16")
        wrong["label"] = Field("int32", np.array([1, -1, 0], np.int32))
        with pytest.raises(StoreError, match="label must not be below 0, got -1"):
            store.put_records([("cats", bytes(encode(wrong)))])


def test_a_missing_video_is_named(path: Path) -> None:
    with filled(path) as store:
        with pytest.raises(StoreError, match="video 'two': not among its 5 graphs"):
            store.get("two")
        with pytest.raises(StoreError, match="video 'two': not among"):
            store.batch(["one", "two"])
        with pytest.raises(StoreError, match="at least one video"):
            store.batch([])
        with pytest.raises(ValueError, match="variant must be one of"):
            store.batch(["one"], variant="dens")


def test_a_video_is_replaced_not_doubled(path: Path) -> None:
    with filled(path) as store:
        store.get("one")
        store.put("one", made_graph([4], seed=9))
        assert len(store) == 5
        assert same(store.get("one"), as_stored(made_graph([4], seed=9)))
        with pytest.raises(StoreError, match="video 'a' is given twice"):
            store.put_many([("a", made_graph([1])), ("a", made_graph([1]))])


def test_a_record_that_changed_is_checked_again(path: Path) -> None:
    with filled(path) as store:
        store.batch(["one", "full"])
        with store._file.read() as transaction:
            broken = bytearray(transaction.get(b"full"))
        broken[-1] ^= 1
        store._file.commit([(b"one", broken)])
        with pytest.raises(StoreError, match="video 'one': damaged"):
            store.batch(["one"])


def test_layouts_of_many_videos_are_not_all_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs.storage.known_records, "KEPT", 2)
    videos = ["full", "empty", "one", "long", "holes"]
    with filled(path) as store:
        first = [store.batch(videos) for _ in range(2)]
        alone = [store.get(video) for video in videos for _ in range(2)]
        assert sum(known.layout is not None for known in store._known._known.values()) == 2
        store.put("one", made_graph([4], seed=9))
        again = store.batch(videos)
        assert sum(known.layout is not None for known in store._known._known.values()) == 2
    assert same(first[0], first[1])
    assert all(same(left, right) for left, right in zip(alone[::2], alone[1::2], strict=True))
    assert same(alone[0], as_stored(made_graph([5, 5, 5, 5], seed=1)))
    assert len(again.boxes) == len(first[0].boxes) + 3


def test_every_new_record_of_a_batch_is_checked(path: Path) -> None:
    """C6, where several are checked at once and others are known already: the damaged ones are named, none is used."""
    with filled(path) as store:
        store.batch(["one", "holes"])
        with store._file.read() as transaction:
            broken = {key: bytearray(transaction.get(key)) for key in (b"full", b"long")}
        for key, record in broken.items():
            record[-1] ^= 1
            store._file.commit([(key, record)])
        for videos in (["one", "empty", "long"], ["long"], ["empty", "one", "long", "holes"], ["long", "full"]):
            with pytest.raises(StoreError, match=r"graphs.store, video 'long': damaged"):
                store.batch(videos)
        with pytest.raises(StoreError, match=r"graphs.store, video 'full': damaged"):
            store.batch(["holes", "full", "full", "long"])
        assert store.batch(["empty", "one", "holes"]).videos == ["empty", "one", "holes"]


def test_what_was_not_read_before_is_fetched_ahead_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[bytes]] = []
    monkeypatch.setattr(
        graphs.storage.known_records, "read_ahead", lambda records: asked.append(list(map(bytes, records)))
    )
    with filled(path) as store:
        for videos in (["one", "holes"], ["one", "long", "long"], ["long", "holes"]):
            store.batch(videos)
        assert asked == [[store.record("one"), store.record("holes")], [store.record("long")], []]


def test_large_numbers_are_not_taken_for_infinite_ones(path: Path) -> None:
    data = made_graph([2, 1])
    data.x = torch.full_like(data.x, 3e38)
    with GraphStore(path, "w", features_dtype="float32") as store:
        store.put("v", data)
        assert torch.equal(store.batch(["v"]).x, data.x)


def test_the_order_of_the_fields_does_not_matter(path: Path) -> None:
    """A record made by other hands, its fields the other way round."""
    with filled(path) as store:
        expected = store.batch(["one", "full", "one"])
        with store._file.read() as transaction:
            fields = decode(bytes(transaction.get(b"full")))
        store._file.commit([(b"full", encode(dict(reversed(fields.items()))))])
        assert same(store.batch(["one", "full", "one"]), expected, without=())


def test_the_manifest_is_written_once(path: Path) -> None:
    made = {"detector": {"name": "d1", "sha256": "aa"}, "frames": (1, 2), "fps": 25.0}
    with GraphStore(path, "a", manifest=made) as store:
        store.put("v", made_graph([1]))
        store.require_manifest(made)
    with GraphStore(path, "a") as store:
        assert store.manifest == {"detector": {"name": "d1", "sha256": "aa"}, "frames": [1, 2], "fps": 25.0}
        other = {"detector": {"name": "d1", "sha256": "bb"}, "frames": [1, 2], "layer": 3}
        with pytest.raises(StoreError, match=r"detector.sha256: 'aa', 'bb'; fps: 25.0, None; layer: None, 3"):
            store.require_manifest(other)
        assert store.manifest["fps"] == 25.0
    with pytest.raises(StoreError, match=r"detector.sha256: 'aa', 'bb'"):
        GraphStore(path, "a", manifest=other)


def test_versions_are_kept_with_the_first_graph_that_they_made(path: Path) -> None:
    """Outside of the manifest: that of a store is equal whatever made it, and it goes on under any versions."""
    old, new = {"av": "17.1.0"}, {"av": "18.0.0"}
    with GraphStore(path, "a", manifest={"layer": 3}) as store:
        store.put("u", made_graph([1]))
        assert store.versions == ()
        assert "made_with" not in store._header()
        store.state_versions(old)
        assert store.versions == ()
        store.put("v", made_graph([1]))
        store.put("w", made_graph([1]))
        assert store.versions == (old,)
    with GraphStore(path, "a", manifest={"layer": 3}) as store:
        store.state_versions(new)
        store.put_records([("x", store.record("v"))])
        assert store.versions == (old, new)
        assert store.manifest == {"layer": 3}
        store._file.commit([header_item(store._header() | {"made_with": [3]})])
        with pytest.raises(StoreError, match=r"its header is damaged: made_with is \[3\]"):
            _ = store.versions


def test_a_store_without_graphs_takes_another_manifest(path: Path) -> None:
    with GraphStore(path, "a", manifest={"layer": 3}):
        pass
    with GraphStore(path, "a", manifest={"layer": 4}) as store:
        assert store.manifest == {"layer": 4}
    with GraphStore(path) as reading, pytest.raises(StoreError, match="layer: 4, 5"):
        reading.require_manifest({"layer": 5})


def test_a_manifest_comes_before_the_graphs_and_is_json(path: Path) -> None:
    with GraphStore(path, "w") as store:
        assert store.manifest == {}
        for wrong in ({"a": float("nan")}, {"a": torch.zeros(1)}):
            with pytest.raises(StoreError, match="a manifest must be JSON"):
                store.require_manifest(wrong)
        store.put("v", made_graph([1]))
        with pytest.raises(StoreError, match="already holds 1 graphs made without a manifest"):
            store.require_manifest({"a": 1})


def test_modes(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store at"):
        GraphStore(path)
    with pytest.raises(StoreError, match="mode must be one of r, a, w, got 'x'"):
        GraphStore(path, "x")
    with pytest.raises(StoreError, match="features_dtype must be one of"):
        GraphStore(path, "w", features_dtype="float64")
    with pytest.raises(StoreError, match=r"cannot write .*: there is no folder"):
        GraphStore(path / "deep" / "store", "w")
    filled(path, manifest={"a": 1}).close()
    with GraphStore(path) as store, pytest.raises(StoreError, match="open for reading here: open it with mode 'a'"):
        store.put("v", made_graph([1]))
    with GraphStore(path, "w", features_dtype="float32") as store:
        assert (len(store), store.manifest, store.fields, store.features_dtype) == (0, {}, {}, "float32")
        store.put("v", made_graph([2], width=9))
    with pytest.raises(StoreError, match=r"the store .* is closed"):
        store.get("v")
    store.close()


def test_a_copy_takes_path_and_options_only(path: Path) -> None:
    with filled(path) as store:
        copy = pickle.loads(pickle.dumps(store))
        assert len(pickle.dumps(store)) < 400 + len(str(path))
        assert same(copy.get("full"), store.get("full"))
        with pytest.raises(StoreError, match="a forked or unpickled copy of a writer only reads"):
            copy.put("v", made_graph([1]))


def test_the_store_itself_uses_no_pickle() -> None:
    folder = Path(graphs.storage.store.__file__).parent
    for file in folder.glob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
        names |= {
            alias.name
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert not names & {"pickle", "marshal", "shelve"}
        assert "torch.load" not in file.read_text()
        assert "torch.save" not in file.read_text()
