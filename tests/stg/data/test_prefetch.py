"""Reading ahead, and graphs held in memory."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import stg.data.prefetch
import stg.runtime.device
from graphs import GraphsInMemory, GraphStore, StoreError
from stg.data.prefetch import load_into_memory, prefetch
from stg.runtime.device import free_memory
from stg.runtime.errors import UserError
from tests.graphs.made_graphs import made_graph, same
from tests.stg.said import Said


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with GraphStore(tmp_path / "store", "w") as made:
        made.put_many({f"v{n}": made_graph([2, 0, 1 + n], n) for n in range(5)})
    with GraphStore(tmp_path / "store") as opened:
        yield opened


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_everything_comes_in_order(count: int) -> None:
    assert list(prefetch(lambda n: n * n, range(count))) == [n * n for n in range(count)]


def test_the_next_is_read_in_another_thread_while_one_is_in_use() -> None:
    begun = {n: threading.Event() for n in range(3)}

    def load(n: int) -> str:
        begun[n].set()
        return threading.current_thread().name

    loaded = prefetch(load, range(3))
    assert next(loaded).startswith("stg-read-ahead")
    assert begun[1].wait(10)
    assert not begun[2].is_set()


def test_an_error_is_raised_where_its_batch_is_asked_for() -> None:
    loaded = prefetch(lambda n: 1 // n, [1, 0])
    assert next(loaded) == 1
    with pytest.raises(ZeroDivisionError):
        next(loaded)


def test_closing_midway_ends_the_thread_and_begins_no_other_batch() -> None:
    begun: list[int] = []
    threads: list[threading.Thread] = []

    def load(n: int) -> int:
        begun.append(n)
        threads.append(threading.current_thread())
        return n

    loaded = prefetch(load, range(9))
    assert next(loaded) == 0
    loaded.close()  # type: ignore[attr-defined]
    assert begun == [0, 1]
    assert not threads[0].is_alive()


def test_batches_of_a_store_are_read_ahead_while_this_thread_reads_it_too(store: GraphStore) -> None:
    batches = [["v0", "v3"], ["v1"], ["v2", "v4"], ["v0"]] * 5
    for videos, batch in zip(batches, prefetch(store.batch, batches), strict=True):
        assert same(batch, store.batch(videos), without=())


def test_a_store_can_be_closed_after_reading_midway(store: GraphStore) -> None:
    loaded = prefetch(store.batch, [["v0"], ["v1"], ["v2"]])
    next(loaded)
    loaded.close()  # type: ignore[attr-defined]
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        store.batch(["v0"])


def test_what_a_store_refuses_in_the_thread_is_told_by_name(store: GraphStore) -> None:
    loaded = prefetch(store.batch, [["v0"], ["strange"]])
    next(loaded)
    with pytest.raises(StoreError, match="video 'strange': not among its 5 graphs"):
        next(loaded)


def test_graphs_in_memory_give_the_batches_of_their_store(store: GraphStore) -> None:
    said = Said()
    kept = load_into_memory(store, ["v4", "v0", "v2", "v0"], reporter=said)
    expected = [store.batch(["v2", "v4"], variant, "both") for variant in ("full", "temporal")]
    store.close()
    assert said.lines == ["keeping the graphs of 3 videos in memory (0 MiB)"]
    for batch, variant in zip(expected, ("full", "temporal"), strict=True):
        assert same(kept.batch(["v2", "v4"], variant, "both"), batch, without=())
    with pytest.raises(StoreError, match="no graph of 'v1' is here"):
        kept.batch(["v1"])


def test_a_video_that_the_store_lacks_is_named_at_the_start(store: GraphStore) -> None:
    with pytest.raises(StoreError, match="video 'v9': not among its 5 graphs"):
        GraphsInMemory.read(store, ["v0", "v9"])


def test_what_does_not_fit_is_refused_before_it_is_read(store: GraphStore, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = sum(store.sizes())
    monkeypatch.setattr(stg.data.prefetch, "free_memory", lambda: needed - 1)
    monkeypatch.setattr(GraphStore, "record", None)
    with pytest.raises(UserError, match=r"would keep 0\.0 GiB of graphs and .* are free: set data.loading to ahead"):
        load_into_memory(store, list(store))
    monkeypatch.undo()
    monkeypatch.setattr(stg.data.prefetch, "free_memory", lambda: needed)
    load_into_memory(store, list(store))
    monkeypatch.setattr(stg.data.prefetch, "free_memory", lambda: None)
    load_into_memory(store, list(store))


def test_each_process_of_a_machine_keeps_its_own_graphs(store: GraphStore, monkeypatch: pytest.MonkeyPatch) -> None:
    needed = sum(store.sizes())
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setattr(stg.data.prefetch, "free_memory", lambda: 3 * needed - 1)
    with pytest.raises(UserError, match=r"would keep 0\.0 GiB of graphs in each of 3 processes and"):
        load_into_memory(store, list(store))
    monkeypatch.setattr(stg.data.prefetch, "free_memory", lambda: 3 * needed)
    load_into_memory(store, list(store))


def test_free_memory_is_the_least_that_system_and_container_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stg.runtime.device, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(stg.runtime.device, "GROUPS", tmp_path)
    assert free_memory() is None
    (tmp_path / "meminfo").write_text("MemTotal:  900 kB\nMemAvailable:    700 kB\n")
    assert free_memory() == 700 * 1024
    (tmp_path / "memory.max").write_text("600000\n")
    (tmp_path / "memory.current").write_text("500000\n")
    (tmp_path / "memory.stat").write_text("anon 400000\ninactive_file 30000\nactive_file 5000\n")
    assert free_memory() == 135_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory() == 700 * 1024


@pytest.mark.gpu
def test_pinned_batches_reach_a_gpu_whole(store: GraphStore) -> None:
    from stg.data.batches import BatchSource, TrainingSet

    captions = {f"v{n}": [[1, 4 + n, 2]] for n in range(5)}
    plain, pinned = (
        TrainingSet(BatchSource(store), captions, batch_videos=2, pinned=wanted) for wanted in (False, True)
    )
    batches = plain.epoch(0)
    for items, batch in zip(batches, prefetch(pinned.load, batches), strict=True):
        assert batch.words.is_pinned()
        assert batch.graphs.x.is_pinned()
        moved, expected = batch.to("cuda", non_blocking=True), plain.load(items)
        assert torch.equal(moved.words.cpu(), expected.words)
        assert torch.equal(moved.graphs.x.cpu(), expected.graphs.x)
