"""The graphs of a store as PyG datasets."""

import pickle
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import Compose

import graphs
from graphs import GraphStore, InMemoryVideoGraphDataset, StoreError, VideoGraphDataset
from tests.graphs.made_graphs import made_graph, same

COUNT = 11


def labelled(number: int) -> Data:
    data = made_graph([number % 3, 1, 2], seed=number)
    data.y = torch.tensor([number % 4])
    data.edge_attr = data.edge_weight[:, None]
    if number % 2:
        data.track = torch.arange(data.num_nodes)
    return data


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store.lmdb"
    with GraphStore(path, "w") as store:
        store.put_many((f"{i:06}", labelled(i)) for i in range(COUNT))
    return path


KINDS = [VideoGraphDataset, InMemoryVideoGraphDataset]


def plain(path: Path, number: int) -> Data:
    with GraphStore(path) as store:
        return store.get(f"{number:06}")


def joined(path: Path, numbers: list[int]) -> Batch:
    found = [plain(path, number) for number in numbers]
    if not all(number % 2 for number in numbers):
        for data in found:
            data.pop("track", None)
    return Batch.from_data_list(found)


@pytest.mark.parametrize("kind", KINDS)
def test_indexing_is_pygs(path: Path, kind: Any) -> None:
    dataset = kind(path)
    assert len(dataset) == dataset.len() == COUNT
    assert dataset.indices() == range(COUNT)
    for place, number in ((0, 0), (10, 10), (-1, 10), (-11, 0), (np.int64(4), 4), (torch.tensor(4), 4)):
        assert same(dataset[place], plain(path, number), without=("track", "video"))
        assert dataset[place].video == f"{number:06}"
    mask = torch.arange(COUNT) % 3 == 1
    for chosen, numbers in (
        (slice(2, 8, 3), [2, 5]),
        (slice(0.5, None), [6, 7, 8, 9, 10]),
        ([3, -1], [3, 10]),
        (torch.tensor([7, 1]), [7, 1]),
        (mask, [1, 4, 7, 10]),
        (mask.numpy(), [1, 4, 7, 10]),
    ):
        part = dataset[chosen]
        assert part.videos == [f"{number:06}" for number in numbers]
        assert [data.y.item() for data in part] == [number % 4 for number in numbers]
        assert part[-1:][0].video == part.videos[-1]
    with pytest.raises(IndexError):
        dataset[COUNT]
    assert dataset.num_features == dataset.num_node_features == 6
    assert dataset.num_edge_features == 1
    assert dataset.num_classes == 4
    assert sorted(dataset.shuffle().videos) == dataset.videos


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_pygs_batches(path: Path, workers: int) -> None:
    dataset = VideoGraphDataset(path, videos=[f"{number:06}" for number in (9, 1, 3, 5, 7, 2, 4)])
    batches = list(DataLoader(dataset[1:], batch_size=3, num_workers=workers))
    for batch, numbers in zip(batches, ([1, 3, 5], [7, 2, 4]), strict=True):
        assert same(batch, joined(path, numbers), without=())
    # Three have a track, and one of the other three has none.
    assert ["track" in batch for batch in batches] == [True, False]


def test_a_transform_is_given_the_same_whatever_else_is_in_the_batch(path: Path) -> None:
    given: list[bool] = []

    def look(data: Data) -> Data:
        given.append("track" in data)
        return data

    (batch,) = DataLoader(VideoGraphDataset(path, look, videos=["000001", "000002"]), batch_size=2)
    assert given == [True, False]
    assert "track" not in batch


def test_it_equals_the_stores_own_batch(path: Path) -> None:
    with GraphStore(path) as store:
        own = store.batch(["000002", "000005"], "spatial", "both")
    transform = Compose([graphs.SelectVariant("spatial", "both")])
    (batch,) = DataLoader(VideoGraphDataset(path, transform, videos=["000002", "000005"]), batch_size=2)
    assert same(batch, own, without=("video", "videos", "motion_ptr", "audio_ptr"))
    (batch,) = DataLoader(InMemoryVideoGraphDataset(path, transform)[[2, 5]], batch_size=2)
    assert same(batch, own, without=("video", "videos", "motion_ptr", "audio_ptr"))


def test_copies_open_the_file_themselves(path: Path) -> None:
    dataset = pickle.loads(pickle.dumps(VideoGraphDataset(path)[3:5]))
    assert dataset.videos == ["000003", "000004"]
    assert same(dataset[0], plain(path, 3), without=())
    dataset.close()
    dataset.close()
    with pytest.raises(StoreError, match="is closed"):
        dataset[0]


def test_in_lightning(path: Path) -> None:
    pytest.importorskip("lightning")
    from torch_geometric.data.lightning import LightningDataset

    dataset = VideoGraphDataset(path)
    module = LightningDataset(dataset[:6], dataset[6:], batch_size=5, num_workers=0, pin_memory=False)
    (batch,) = module.val_dataloader()
    assert same(batch, joined(path, [6, 7, 8, 9, 10]), without=())
    assert sorted(video for batch in module.train_dataloader() for video in batch.video) == dataset.videos[:6]


class Counted:
    """A transform and a filter that know how often they were called."""

    def __init__(self, name: str) -> None:
        self.name, self.calls = name, 0

    def __repr__(self) -> str:
        return self.name

    def __call__(self, data: Data) -> Data:
        self.calls += 1
        data.boxes = data.boxes + 1
        data.speed = torch.ones(data.num_nodes, 2)
        return data


def large(data: Data) -> bool:
    return bool(data.num_nodes > 3)


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_before_is_done_once_and_kept(path: Path, kind: Any, capsys: pytest.CaptureFixture[str]) -> None:
    free = {"speed": graphs.FreeField("node")}
    kept = [number for number in range(COUNT) if number % 3]
    first = Counted("shift")
    dataset = kind(path, None, first, large, free=free)
    assert first.calls == len(kept)
    assert capsys.readouterr().err == f"Processing {path}...\n"
    assert dataset.videos == [f"{number:06}" for number in kept]
    assert torch.equal(dataset[0].boxes, plain(path, 1).boxes + 1)
    assert torch.equal(dataset[0].speed, torch.ones(4, 2))
    again = Counted("shift")
    # Another split of the same results, whose filtered graphs are left out.
    part = kind(path, pre_transform=again, pre_filter=large, free=free, videos=["000004", "000003", "000001"])
    assert (again.calls, part.videos) == (0, ["000004", "000001"])
    assert capsys.readouterr().err == ""
    # Others have results of their own.
    assert len(kind(path, pre_transform=again, free=free, log=False)) == COUNT
    assert again.calls == COUNT
    # As after a change in the code of the function, while the older results are in use.
    again = Counted("shift")
    newer = kind(path, None, again, large, free=free, force_reload=True, log=False)
    assert (again.calls, newer.videos) == (len(kept), dataset.videos)
    assert same(newer[0], dataset[0], without=())
    # A store that has changed since is processed again.
    with GraphStore(path, "a") as store:
        store.put("000000", labelled(4))
    assert len(kind(path, None, again, large, free=free, log=False)) == len(kept) + 1
    assert again.calls == 2 * len(kept) + 1
    left = {name.name for name in path.parent.iterdir() if not name.name.endswith(("-lock", "-writer"))}
    assert len(left) == 4
    assert {name.rsplit("-", 2)[0] for name in left - {path.name}} == {"store.lmdb.processed"}


def test_a_changed_function_is_another(path: Path) -> None:
    kept = [
        VideoGraphDataset(path, pre_filter=keep, log=False, processed=path.parent / "new" / "kept").videos
        for keep in (lambda data: data.num_nodes > 3, lambda data: data.num_nodes > 4, lambda data: data.num_nodes > 3)
    ]
    assert len(kept[0]) > len(kept[1]) > 0
    assert kept[2] == kept[0]
    assert len([*(path.parent / "new").glob("kept-*-1")]) == 2


def test_what_fails_leaves_the_results_of_before(path: Path) -> None:
    class Failing(Counted):
        def __call__(self, data: Data) -> Data:
            raise RuntimeError("a fault of its own")

        def __repr__(self) -> str:
            return Counted.__repr__(self)

    free = {"speed": graphs.FreeField("node")}
    VideoGraphDataset(path, pre_transform=Counted("shift"), free=free, log=False).close()
    before = set(path.parent.iterdir())
    with pytest.raises(RuntimeError, match="a fault of its own"):
        VideoGraphDataset(path, pre_transform=Failing("shift"), free=free, force_reload=True, log=False)
    assert set(path.parent.iterdir()) == before


def test_what_fails_leaves_nothing(path: Path) -> None:
    VideoGraphDataset(path).close()
    before = set(path.parent.iterdir())
    with pytest.raises(StoreError, match="cannot store speed, of shape"):
        VideoGraphDataset(path, pre_transform=Counted("shift"))
    assert set(path.parent.iterdir()) == before


def test_what_cannot_be_is_named(path: Path) -> None:
    for videos, message in (
        (["000001", "000077"], "store.lmdb, video '000077': not among its 11 graphs; leave it out of videos"),
        (["000001", "000001"], "video '000001' is twice in videos"),
        ("000001", "videos must be a list of ids, got the text '000001'"),
    ):
        with pytest.raises(StoreError, match=message):
            VideoGraphDataset(path, videos=videos)
    with pytest.raises(StoreError, match="free says what pre_transform adds to the graphs, and there is none"):
        VideoGraphDataset(path, pre_filter=large, free={"speed": graphs.FreeField("node")})
    with pytest.raises(StoreError, match=r"video '000000': edge_type holds -1; .* keeps no dense edges: make them"):
        VideoGraphDataset(path, pre_transform=graphs.DenseEdges())
    with pytest.raises(StoreError, match="no graph is left"):
        InMemoryVideoGraphDataset(path, videos=[])
    with pytest.raises(StoreError, match="missing"):
        VideoGraphDataset(path.with_name("missing"))


def test_arguments_of_other_types(path: Path) -> None:
    """As where nobody checks types at run time."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        videos: Any = (video for video in ["000004", "000002"])
        assert VideoGraphDataset(path, videos=videos).videos == ["000004", "000002"]
        nothing: Any = lambda data: None  # noqa: E731
        with pytest.raises(StoreError, match=r"video '000000': a graph must be a PyG Data .*, got NoneType"):
            VideoGraphDataset(path, pre_transform=nothing)
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def test_without_y_there_are_no_classes(tmp_path: Path) -> None:
    with GraphStore(tmp_path / "plain", "w") as store:
        store.put("one", made_graph([2, 1]))
    assert VideoGraphDataset(tmp_path / "plain").num_classes == 0
