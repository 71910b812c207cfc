"""Scripts that fail while they fill a store: one error that says what to change, and nothing left on the disk."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch

from graphs import FreeField, GraphStore, StoreError, VideoFeatures, build_graph, flat_graph, read_boxes
from tests.graphs.made_graphs import made_graph

GIVEN = {"box": [1, 2, 30, 40], "track": 1}
BAD = [
    ({"frames": [[GIVEN]], "colour": 1}, 'the key "colour" is not known'),
    ({"frames": [[GIVEN, GIVEN]]}, "tracks holds 1 twice: .*; video 'one' frame 0 row 1"),
    ({"frames": [[GIVEN | {"box": [30, 40, 8, 9]}]]}, r"x2 >= x1 .*; video 'one' frame 0 box 0 .*box_format='xywh'"),
]


@pytest.mark.parametrize("mode", ["a", "w"])
@pytest.mark.parametrize(("video", "message"), BAD)
def test_no_store_is_left_of_boxes_that_cannot_be_read(
    video: dict[str, Any], message: str, mode: str, tmp_path: Path
) -> None:
    file = tmp_path / "boxes.json"
    content = {"format": "video-boxes/1", "videos": {"one": {"width": 64, "height": 48, **video}}}
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message), GraphStore(tmp_path / "s.lmdb", mode) as store:
        store.put_many((name, flat_graph(made)) for name, made in read_boxes(file))
    assert list(tmp_path.iterdir()) == [file]


def test_no_store_is_left_where_a_later_graph_does_not_fit(tmp_path: Path) -> None:
    def graphs() -> Iterator[tuple[str, Any]]:
        for number in range(3):
            graph = made_graph([1, 2], seed=number)
            graph.speed = torch.zeros(3 if number < 2 else 2, 1)
            yield str(number), graph

    path = tmp_path / "s.lmdb"
    with (
        pytest.raises(StoreError, match="video '2': speed follows the node axis, whose length is 3, but has"),
        GraphStore(path, "a", free={"speed": FreeField("node")}) as store,
    ):
        store.put_many(graphs())
    assert list(tmp_path.iterdir()) == []
    # Another one may be made in its place at once.
    with GraphStore(path, "a") as store:
        store.put("a", made_graph([1]))
    assert GraphStore(path).keys() == ["a"]


def test_a_store_that_was_there_or_holds_graphs_stays(tmp_path: Path) -> None:
    path = tmp_path / "s.lmdb"

    def fill(store: GraphStore) -> None:
        store.put("a", made_graph([1]))
        raise RuntimeError

    with pytest.raises(RuntimeError), GraphStore(path, "a") as store:
        fill(store)
    assert GraphStore(path).keys() == ["a"]
    empty = tmp_path / "empty.lmdb"
    with GraphStore(empty, "a"):
        pass
    with pytest.raises(RuntimeError), GraphStore(empty, "a"):
        raise RuntimeError
    assert GraphStore(empty).keys() == []
    with pytest.raises(RuntimeError), GraphStore(path):
        raise RuntimeError
    assert GraphStore(path).keys() == ["a"]


def test_what_is_no_graph_is_answered_by_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The check of annotations would answer first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    features = VideoFeatures.from_detections([[[1, 2, 3, 4]]], size=(48, 64), video="a")
    graph = build_graph(features)
    with GraphStore(tmp_path / "s.lmdb", "a") as store:
        with pytest.raises(StoreError, match=r"put_many takes pairs \(video id, graph\), got Data"):
            store.put_many([graph])  # type: ignore[arg-type]
        with pytest.raises(StoreError, match=r"video 'a': .*, got VideoFeatures: make its graph by graphs.build"):
            store.put("a", features)
        graph.y = 3
        with pytest.raises(StoreError, match=r"video 'a': y must be a tensor, got int: torch.tensor\(\[3\]\)"):
            store.put("a", graph)
