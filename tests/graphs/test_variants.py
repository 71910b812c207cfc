"""Variants: each is the reference matrix with the right blocks, and own ones are functions of the batch."""

from pathlib import Path

import pytest
import torch
from torch_geometric.data import Batch

from graphs.build import build_graph
from graphs.edges import EDGE_TYPES, spatial_edges
from graphs.flat import FlatBatch
from graphs.storage.in_memory import GraphsInMemory
from graphs.storage.records import StoreError
from graphs.storage.store import GraphStore
from graphs.track_transforms import TrackEdges
from graphs.transforms import SelectVariant
from graphs.variants import DENSE_TYPE, TIME_FLOWS, VARIANTS, SelectedEdges, TrackVariant, select_edges
from tests.graphs.graph_reference import dense, make_video, matrix, tracks_matrix


@pytest.mark.parametrize("time_flow", TIME_FLOWS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_each_variant_equals_its_matrix(variant: str, time_flow: str) -> None:
    video = make_video([2, 3, 0, 1, 2])
    data = build_graph(video)
    index, weight, kind = select_edges(data, variant, time_flow)
    assert torch.allclose(dense(index, weight, video.num_objects), matrix(video, variant, time_flow), atol=1e-12)
    assert index.size(1) == len(weight) == len(kind)


def test_types_follow_their_edges() -> None:
    video = make_video([2, 3, 1])
    data = build_graph(video)
    for flow, step in (("literal", {-1}), ("forward", {1}), ("both", {-1, 1})):
        (source, target), _, kind = select_edges(data, "full", flow)
        moved = video.frame[target] - video.frame[source]
        assert set(moved[kind == 0].tolist()) == {0}
        assert set(moved[kind == 1].tolist()) == step
    assert set(select_edges(data, "dense")[2].tolist()) == {DENSE_TYPE}


def test_dense_keeps_videos_apart_and_needs_no_edges() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    nothing = FlatBatch(edge_index=none.expand(2, 0), edge_weight=torch.zeros(0), edge_type=none)
    nothing.ptr = torch.tensor([0, 2, 3])
    index, weight, _ = select_edges(nothing, "dense")
    assert dense(index, weight, 3).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_unknown_names() -> None:
    data = build_graph(make_video([2]))
    names = r"full, spatial, temporal, dense, none, tracks, spatial\+tracks, full\+tracks"
    with pytest.raises(ValueError, match=f"variant must be one of {names}, got 'spacial'"):
        select_edges(data, "spacial")
    with pytest.raises(ValueError, match="time_flow must be one of literal, forward, both, got 'backward'"):
        select_edges(data, "full", "backward")


def test_edges_along_tracks_by_windows_and_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    video = make_video([2, 3, 0, 1, 4])
    data = build_graph(video)
    for keep, span, direction in ((("temporal",), 3, "forward"), ((), 4, "backward"), (None, 2, "both")):
        monkeypatch.setitem(VARIANTS, "mine", TrackVariant(keep, span, direction))
        index, weight, kind = select_edges(data, "mine")
        stored = "full" if keep is None else keep[0] if keep else "none"
        expected = matrix(video, stored) + tracks_matrix(video, span, direction)
        assert torch.allclose(dense(index, weight, video.num_objects), expected, atol=1e-7)
        assert set(kind.tolist()) == {"full": {0, 1, 255}, "temporal": {1, 255}, "none": {255}}[stored]


def test_edges_along_tracks_take_the_place_of_stored_ones() -> None:
    data = TrackEdges(span=3)(build_graph(make_video([2, 3, 2])))
    for variant, stored in (("tracks", 0), ("spatial+tracks", 4 + 9 + 4), ("full+tracks", 4 + 9 + 4 + 6 + 6)):
        chosen = SelectVariant(variant)(data.clone())
        assert chosen.edge_index.size(1) == stored + 2 * (2 + 2)
        assert "edge_attr" not in chosen  # the new edges have none


def test_what_tracks_need(tmp_path: Path) -> None:
    data = build_graph(make_video([2, 1]))
    with GraphStore(tmp_path / "store", "a") as store:
        store.put("made-0", data)
        del data.track
        data.video = "other"
        store.put("other", data)
        assert store.batch(["made-0"], "tracks").edge_index.size(1) == 2
        for names in (["other"], ["made-0", "other"]):
            with pytest.raises(ValueError, match=r"need track, .* `python -m stg.store tracks STORE --out OTHER`"):
                store.batch(names, "full+tracks")
    with pytest.raises(ValueError, match=r"need track, .* the transform graphs.LinkTracks\(\) into graphs"):
        select_edges(data, "tracks")
    with pytest.raises(ValueError, match="keep names types of edges, of spatial, temporal, track; got 'spacial'"):
        TrackVariant(("spacial",))
    with pytest.raises(ValueError, match="direction must be one of both, forward, backward, got 'literal'"):
        TrackVariant(direction="literal")


def close_edges(batch: FlatBatch) -> SelectedEdges:
    """Objects of a frame whose boxes overlap: from the boxes, whatever edges are stored."""
    index, weight = spatial_edges(batch.boxes, batch.frame, batch.batch, iou_threshold=0.3)
    return index, weight, torch.full_like(index[0], EDGE_TYPES["close"])


@pytest.fixture
def close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EDGE_TYPES, "close", 2)
    monkeypatch.setitem(VARIANTS, "close", close_edges)


@pytest.mark.usefixtures("close")
def test_a_variant_of_ones_own_sees_boxes_and_needs_no_new_store(tmp_path: Path) -> None:
    made = {f"made-{seed}": build_graph(make_video(counts, seed=seed)) for seed, counts in enumerate([[3, 2], [0, 4]])}
    with GraphStore(tmp_path / "store", "a") as store:
        store.put_many(made)
        batch = store.batch(list(made), "close", "forward")
        memory = GraphsInMemory(made).batch(list(made), "close")
    index, weight = spatial_edges(batch.boxes, batch.frame, batch.batch, iou_threshold=0.3)
    assert torch.equal(batch.edge_index, index)
    assert torch.equal(batch.edge_weight, weight)
    assert batch.edge_type.tolist() == [2] * len(weight)
    assert torch.equal(memory.edge_index, index)


def test_what_a_variant_of_ones_own_gives_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Batch.from_data_list([build_graph(make_video([2])), build_graph(make_video([1]))])
    given: list[SelectedEdges] = []
    monkeypatch.setitem(VARIANTS, "mine", lambda batch: given[-1])
    index, one, zero = torch.tensor([[0], [1]]), torch.ones(1), torch.zeros(1, dtype=torch.int64)
    given.append((index, one, zero))
    assert torch.equal(select_edges(whole, "mine")[0], index)
    for wrong, words in (
        ((index.float(), one, zero), "must be edge_index .2 E. int64"),
        ((index, torch.ones(2), zero), r"got \[2, 1\] torch.int64, \[2\], \[1\]"),
        ((index + 1, one, zero), "'mine' joins objects of different videos"),
        ((index + 2, one, zero), "'mine' joins objects of different videos, or objects that are not there"),
        ((index, one, zero + 7), "edge_type 7, which has no name: register one first, .* = 7"),
    ):
        given.append(wrong)
        with pytest.raises(ValueError, match=words):
            select_edges(whole, "mine")


def test_a_store_keeps_the_names_of_other_edge_types(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = build_graph(make_video([3, 2]))
    plain = tmp_path / "plain"
    with GraphStore(plain, "a") as store:
        store.put("made-0", graph)
    graph.edge_type[0] = 2
    for refuse in (
        lambda: GraphStore(tmp_path / "s", "a").put("made-0", graph),
        lambda: GraphsInMemory({"made-0": graph}),
    ):
        with pytest.raises(StoreError, match="'made-0': edge_type holds 2, which has no name: register one first"):
            refuse()
    with monkeypatch.context() as registered:
        registered.setitem(EDGE_TYPES, "close", 2)
        with GraphStore(tmp_path / "s", "a") as store, GraphStore(tmp_path / "t", "a") as copy:
            store.put("made-0", graph)
            copy.put_records(store.records())
            assert store.batch(["made-0"]).edge_type[0] == 2
        with GraphStore(tmp_path / "t") as copy:
            assert copy.get("made-0").edge_type[0] == 2
    for name in ("s", "t"):
        with pytest.raises(StoreError, match=r"edges of the type 'close', .*EDGE_TYPES\['close'\] = 2"):
            GraphStore(tmp_path / name)
    monkeypatch.setitem(EDGE_TYPES, "far", 2)
    with pytest.raises(StoreError, match="edges of the type 'close'"):
        GraphStore(tmp_path / "s")
    GraphStore(plain).close()
