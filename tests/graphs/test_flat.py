"""The container without PyG holds what PyG's holds, and nothing that reads it imports PyG."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

from graphs.build import build_graph, flat_graph
from graphs.flat import FlatBatch, GraphData
from graphs.storage.store import GraphStore
from tests.graphs.graph_reference import make_video
from tests.graphs.made_graphs import same

ROOT = Path(__file__).resolve().parents[2]


def test_fields_are_attributes_and_items() -> None:
    batch = FlatBatch(x=torch.ones(3, 2), videos=["a"])
    batch.frame, batch["size"] = torch.zeros(3), torch.tensor([[4, 5]])
    assert batch["frame"] is batch.frame
    assert batch.size is batch["size"]
    assert batch.keys() == ["x", "videos", "frame", "size"]
    assert ("x" in batch, "boxes" in batch, batch.get("boxes")) == (True, False, None)
    del batch.frame
    with pytest.raises(AttributeError, match="frame"):
        print(batch.frame)
    with pytest.raises(KeyError, match="frame"):
        batch["frame"]


def test_copies_share_what_they_say() -> None:
    batch = FlatBatch(x=torch.ones(2), videos=["a"])
    copied, moved = batch.clone(), batch.to("cpu")
    copied.x += 1
    moved.x = torch.zeros(2)
    assert batch.x.tolist() == [1, 1]
    assert batch.to("meta").x.device.type == "meta"
    for other in (copy.copy(batch), pickle.loads(pickle.dumps(batch))):
        assert other.to_dict().keys() == batch.to_dict().keys()
        assert torch.equal(other.x, batch.x)
    assert repr(batch) == "FlatBatch(x=[2], videos=['a'])"


def test_the_graph_is_that_of_pyg() -> None:
    video = make_video([2, 0, 3])
    data = build_graph(video)
    assert type(data) is Data
    assert same(flat_graph(video).to_data(), data, without=())
    assert isinstance(data, GraphData)
    assert isinstance(flat_graph(video), GraphData)


def test_a_flat_batch_is_the_batch(tmp_path: Path) -> None:
    with GraphStore(tmp_path / "store", "a") as store:
        for seed in range(2):
            store.put(f"made-{seed}", flat_graph(make_video([2, 0, 3], seed=seed)))
        videos = ["made-1", "made-0"]
        flat, batch = store.flat_batch(videos, "temporal", "both"), store.batch(videos, "temporal", "both")
    assert type(batch) is Data
    assert same(flat.to_data(), batch, without=())


def test_building_storing_and_reading_import_no_pyg(tmp_path: Path) -> None:
    code = f"""
import sys, torch, graphs
features = graphs.VideoFeatures(torch.tensor([[0.0, 0, 2, 2]]), torch.ones(1, 3), torch.tensor([0]), 2)
with graphs.GraphStore({str(tmp_path / "store")!r}, "a") as store:
    store.put("v", graphs.flat_graph(features))
    assert store.flat_batch(["v"], "dense").x.tolist() == [[1, 1, 1]]
    kept = graphs.GraphsInMemory.read(store, ["v"])
assert kept.flat_batch(["v"], "none").videos == ["v"]
assert issubclass(graphs.GraphsInMemory, graphs.GraphSource)
assert "torch_geometric" not in sys.modules, "flat graphs import PyG"
import stg.commands.report
assert "torch_geometric" not in sys.modules, "pages import PyG"
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
