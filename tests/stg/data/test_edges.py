"""``python -m stg.store edges``: the graphs of a store with other edges."""

from pathlib import Path

import pytest
import torch

from graphs import EDGE_TYPES, FreeField, GraphStore, link_tracks, spatial_edges, temporal_edges
from stg.config.store import EdgeConfig, TrackConfig
from stg.data.edges import graph_as_recorded, recorded_edges, recorded_tracks
from stg.data.feature_check import check_features
from stg.runtime.errors import UserError
from tests.graphs.graph_reference import make_video
from tests.graphs.made_graphs import made_graph
from tests.stg.run_commands import store_command as main

MANIFEST = {"detector": "boxes"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "graphs"
    with GraphStore(path, "w", manifest=MANIFEST) as store:
        store.put_many((f"v{i}", made_graph([3, 2, 0, 4], seed=i)) for i in range(70))
    return path


def test_the_edges_are_those_of_the_new_temperatures_and_all_else_stays(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "sharp"
    options = ["--tau_space", "0.5", "--tau_time", "0.1", "--drop_zero_iou", "true"]
    assert main(["edges", str(path), "--out", str(out), *options]) == 0
    with GraphStore(path) as before, GraphStore(out) as after:
        assert list(before) == list(after)
        assert after.features_dtype == before.features_dtype
        for video in before:
            old, new = before.get(video).to_dict(), after.get(video).to_dict()
            for name in old.keys() - {"edge_index", "edge_weight", "edge_type", "video"}:
                assert torch.equal(torch.as_tensor(old[name]), torch.as_tensor(new[name])), name
            wanted = (
                spatial_edges(old["boxes"], old["frame"], tau=0.5, iou_threshold=0.0),
                temporal_edges(old["x"], old["frame"], tau=0.1),
            )
            for name, (index, weight) in zip(("spatial", "temporal"), wanted, strict=True):
                chosen = new["edge_type"] == EDGE_TYPES[name]
                assert torch.equal(new["edge_index"][:, chosen], index), name
                assert torch.equal(new["edge_weight"][chosen], weight), name


def test_the_manifest_tells_and_is_read_back(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "sharp"
    assert main(["edges", str(path), "--out", str(out), "--tau_time", "0.1", "--top_k", "2"]) == 0
    with GraphStore(out) as store:
        assert store.manifest["detector"] == "boxes"
        assert recorded_edges(store.manifest) == EdgeConfig(tau_time=0.1, top_k=2)
    assert recorded_edges(MANIFEST) == EdgeConfig()


def test_it_goes_on_where_it_was_stopped(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, done = tmp_path / "sharp", []

    def stopped(self: GraphStore, graphs: object) -> None:
        if done:
            raise KeyboardInterrupt
        done.append(put(self, graphs))

    put = GraphStore.put_many
    with monkeypatch.context() as patch:
        patch.setattr(GraphStore, "put_many", stopped)
        assert main(["edges", str(path), "--out", str(out), "--tau_time", "0.1"]) != 0
    assert main(["edges", str(path), "--out", str(out), "--tau_time", "0.1"]) == 0
    assert "6 graphs with other edges added, 64 there before" in capsys.readouterr().out


def test_other_edges_in_the_store_are_refused(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "sharp"
    assert main(["edges", str(path), "--out", str(out), "--tau_time", "0.1"]) == 0
    assert main(["edges", str(path), "--out", str(out), "--tau_time", "0.2"]) == 2
    assert "holds other graphs (edges.tau_time: 0.1 there, now 0.2): choose another --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["edges", "STORE"], "merge, edges and tracks need --out STORE, the other actions take none"),
        (["edges", "STORE", "STORE", "--out", "new", "--top_k", "1"], "edges takes one store, got 2"),
        (
            ["edges", "STORE", "--out", "new"],
            "edges draws other edges than the paper's: set one of tau_space, tau_time",
        ),
        (["edges", "STORE", "--out", "STORE", "--top_k", "1"], "is --out and the store to read: choose another --out"),
        (["edges", "STORE", "--out", "new", "--tau_time", "0"], "tau_time must be greater than 0; got 0"),
        (["edges", "STORE", "--out", "new", "--top_k", "0"], "top_k must be at least 1, or null for all; got 0"),
        (
            ["info", "STORE", "--tau_time", "0.1"],
            "drop_zero_iou, pad_objects are for edges; the action is info",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert main([str(path) if argument == "STORE" else argument for argument in arguments]) == 2
    assert told in capsys.readouterr().err


def test_edges_of_another_version_are_refused() -> None:
    with pytest.raises(UserError, match=r"edges that this version cannot draw: .*tau_colour"):
        recorded_edges({"edges": {"tau_colour": 1}})


def test_free_fields_stay_and_those_of_edges_cannot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = made_graph([3, 2])
    data.velocity, data.y = torch.rand(5, 2), torch.tensor([4])
    with GraphStore(tmp_path / "old", "w", free={"velocity": FreeField("node")}) as store:
        store.put("v", data)
    assert main(["edges", str(tmp_path / "old"), "--out", str(tmp_path / "new"), "--tau_time", "0.1"]) == 0
    with GraphStore(tmp_path / "new") as store:
        assert torch.equal(store.get("v").velocity, data.velocity)
        assert store.get("v").y.tolist() == [4]
    data.edge_attr = torch.rand(data.num_edges)
    with GraphStore(tmp_path / "edges", "w", free={"velocity": FreeField("node")}) as store:
        store.put("v", data)
    capsys.readouterr()
    assert main(["edges", str(tmp_path / "edges"), "--out", str(tmp_path / "never"), "--tau_time", "0.1"]) == 2
    told = capsys.readouterr().err
    assert "keeps edge_attr of each edge, which edges that are drawn now do not have: make a store without" in told


def test_tracks_are_added_and_all_else_stays(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "tracked"
    assert main(["tracks", str(path), "--out", str(out), "--patience", "1", "--min_cosine", "-1"]) == 0
    with GraphStore(path) as before, GraphStore(out) as after:
        assert list(before) == list(after)
        assert recorded_tracks(after.manifest) == TrackConfig(patience=1, min_cosine=-1.0)
        assert recorded_tracks(before.manifest) is None
        for video in before:
            old, new = before.get(video).to_dict(), after.get(video).to_dict()
            for name in old.keys() - {"video"}:
                same = (
                    torch.equal(old[name], new[name]) if isinstance(old[name], torch.Tensor) else old[name] == new[name]
                )
                assert same, name
            wanted = link_tracks(
                old["boxes"], old["x"], old["frame"], min_iou=0.0, min_cosine=-1.0, appearance=0.8, patience=1
            )
            assert torch.equal(new["track"], wanted)


def test_tracks_of_one_class_need_classes(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tracks", str(path), "--out", str(tmp_path / "new"), "--same_label", "true"]) == 2
    assert "these graphs have none" in capsys.readouterr().err
    # A clip whose objects are not looked for has none to join.
    manifest = {"tracks": {"same_label": True}}
    assert graph_as_recorded(make_video([0, 0]), manifest)["track"].shape == (0,)
    with pytest.raises(UserError, match="these graphs have none"):
        graph_as_recorded(make_video([1, 0]), manifest)


def test_frames_are_filled_up_and_new_clips_as_those_of_the_store(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "padded"
    assert main(["edges", str(path), "--out", str(out), "--pad_objects", "3"]) == 0
    video = make_video([1, 3, 0], seed=2)
    with GraphStore(path) as before, GraphStore(out) as after:
        old, new = before.get("v1"), after.get("v1")
        assert torch.bincount(new.frame).tolist() == [3, 3, 3, 4]
        real = new.x.abs().sum(1) > 0
        assert torch.equal(new.x[real], old.x)
        assert torch.equal(new.boxes[real], old.boxes)
        assert int((~real).sum()) == 4
        # All pairs of a frame, and of a frame with the next.
        assert new.edge_index.size(1) == 3 * 9 + 16 + 2 * 9 + 12
        graph = graph_as_recorded(video, after.manifest)
        assert graph.x.shape == (9, 6)
        assert recorded_edges(after.manifest) == EdgeConfig(pad_objects=3)
        assert "pad_objects" not in before.manifest.get("edges", {})
    with_tracks = graph_as_recorded(video, {"edges": {"pad_objects": 3}, "tracks": {}})
    assert with_tracks["track"][with_tracks["x"].abs().sum(1) == 0].tolist() == [-1] * 5


def test_what_is_filled_up_stays_so(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "padded"
    assert main(["edges", str(path), "--out", str(out), "--pad_objects", "3"]) == 0
    for words in (["edges", "--tau_time", "0.1"], ["edges", "--pad_objects", "4"], ["tracks"]):
        assert main([words[0], str(out), "--out", str(tmp_path / "new"), *words[1:]]) == 2
        assert "are filled up to 3 objects already" in capsys.readouterr().err
    assert main(["edges", str(path), "--out", str(tmp_path / "new"), "--pad_objects", "0"]) == 2
    assert "pad_objects must be at least 1, or null for none; got 0" in capsys.readouterr().err


def test_a_model_that_was_trained_without_tracks_takes_a_store_with_them(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "tracked"
    assert main(["tracks", str(path), "--out", str(out)]) == 0
    with GraphStore(path) as before, GraphStore(out) as after:
        check_features(before.manifest, after, "model")
        with pytest.raises(UserError, match="do not fit this model"):
            check_features(after.manifest, before, "model")
