"""Graphs held in memory hand out the very batches that a store would."""

from pathlib import Path

import pytest
import torch

from graphs.storage.in_memory import GraphsInMemory
from graphs.storage.records import StoreError
from graphs.storage.store import GraphStore
from tests.graphs.made_graphs import made_graph, same


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(("variant", "flow"), [("full", "literal"), ("temporal", "forward"), ("dense", "literal")])
def test_batches_equal_those_of_a_store(tmp_path: Path, dtype: str, variant: str, flow: str) -> None:
    made = {f"v{seed}": made_graph([2, 0, 1 + seed], seed, sounds=seed) for seed in range(3)}
    with GraphStore(tmp_path / "store", "w", dtype) as store:
        store.put_many(made)
        expected = store.batch(["v2", "v0"], variant, flow)
    found = GraphsInMemory(made, dtype).batch(["v2", "v0"], variant, flow)
    assert same(found, expected, without=())


def test_features_are_rounded_as_in_a_store() -> None:
    graph = made_graph([2, 1])
    graph.x = graph.x + 1 / 4096
    rounded = GraphsInMemory({"v": graph}).batch(["v"]).x
    assert torch.equal(rounded, graph.x.half().float())
    assert not torch.equal(rounded, graph.x)


def test_what_a_store_would_refuse_is_refused_by_name() -> None:
    graph = made_graph([2, 1])
    graph.x = graph.x * float("nan")
    with pytest.raises(StoreError, match="video 'bad': x holds nan"):
        GraphsInMemory({"bad": graph})
    here = GraphsInMemory({"v": made_graph([2, 1])})
    with pytest.raises(StoreError, match="no graph of 'w' is here"):
        here.batch(["w"])
    with pytest.raises(StoreError, match="a batch needs at least one video"):
        here.batch([])
