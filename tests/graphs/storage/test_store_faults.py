"""What happens to a store when processes die, disks fill, and workers and threads share it: words, never a signal."""

import multiprocessing
import os
import random
import re
import resource
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from graphs.storage.records import StoreError, StoreFullError
from graphs.storage.store import GraphStore
from tests.graphs.made_graphs import WIDE, as_stored, filled, in_child, made_graph, read_all, same

# Newer Pythons warn of any fork in a process with threads; the children here only read, write and leave.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "graphs.store"


class Videos(Dataset[float]):
    """A dataset as users write it: the store opened in the parent, used in the workers."""

    def __init__(self, store: GraphStore) -> None:
        self.store = store

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> float:
        data = self.store.get(f"v{index}")
        assert same(data, as_stored(made_graph([2, 1], seed=index, **WIDE)))
        return float(self.store.batch([data.video]).x.double().sum())


@pytest.mark.parametrize(
    ("mode", "workers", "start"),
    [("r", 0, None), ("r", 1, "fork"), ("r", 2, "fork"), ("a", 0, None), ("a", 2, "fork"), ("a", 1, "spawn")],
)
def test_workers_read_the_same_numbers(path: Path, mode: str, workers: int, start: str | None) -> None:
    with GraphStore(filled(path), mode) as store:
        expected = [float(store.get(f"v{i}").x.double().sum()) for i in range(12)]
        loader = DataLoader(Videos(store), batch_size=None, num_workers=workers, multiprocessing_context=start)
        assert [float(value) for value in loader] == expected
        assert len(store) == 12


def test_one_process_may_open_a_store_many_times(path: Path) -> None:
    filled(path)
    with GraphStore(path) as first, GraphStore(str(path)) as second, GraphStore(path, "a") as writer:
        writer.put("new", made_graph([1], **WIDE))
        assert "new" in first
        assert "new" in second
        with pytest.raises(StoreError, match=rf"already open for writing in this process \({os.getpid()}\)"):
            GraphStore(path, "a")
        second.close()
        assert len(first) == 13
    abandoned = GraphStore(path, "a")
    del abandoned
    with GraphStore(path, "a") as writer:
        writer.put("newer", made_graph([1], **WIDE))
    assert sorted(file.name for file in path.parent.iterdir()) == ["graphs.store", "graphs.store-lock"]


def test_a_second_writer_is_told_who_writes(path: Path) -> None:
    def second_writer() -> str:
        with GraphStore(path, "a"):
            return "opened"

    with GraphStore(filled(path), "a") as store:
        answer = in_child(second_writer)
        who = f"is being written by process {os.getpid()} on host {socket.gethostname()} since "
        assert re.search(re.escape(who) + r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", answer), answer
        store.put("still", made_graph([1], **WIDE))
    assert in_child(second_writer) == "opened"


def test_a_store_has_one_writer_under_all_its_names(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(filled(path))
    with GraphStore(link, "a"):
        assert "is being written by process" in in_child(lambda: repr(GraphStore(path, "a")))
        assert in_child(lambda: read_all(path)) == "whole"
    assert sorted(file.name for file in path.parent.iterdir()) == ["graphs.store", "graphs.store-lock", "link"]


def test_a_killed_writer_leaves_no_lock_to_its_children(path: Path) -> None:
    """A worker may outlive its parent for seconds: the next start must not wait for it."""
    filled(path)
    ready, tell = os.pipe()
    stay, leave = os.pipe()
    if (pid := os.fork()) == 0:
        store = GraphStore(path, "a")
        if os.fork() == 0:
            os.write(tell, b"x")
            os.close(leave)
            os.read(stay, 1)  # ends with this test
            os._exit(0)
        signal.pause()
    os.read(ready, 1)
    assert "is being written by process" in in_child(lambda: repr(GraphStore(path, "a")))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with GraphStore(path, "a") as store:
        store.put("new", made_graph([1], **WIDE))
    os.close(leave)


@pytest.mark.parametrize("end", ["-lock", "-writer"])
def test_nothing_is_written_through_a_link_beside_a_store(path: Path, end: str) -> None:
    filled(path)
    victim = path.with_name("thesis.txt")
    victim.write_text("three years of work")
    beside = Path(f"{path}{end}")
    beside.unlink(missing_ok=True)
    beside.symlink_to(victim)
    for mode in ("r", "a") if end == "-lock" else ("a",):
        answer = in_child(lambda mode=mode: repr(GraphStore(path, mode)))
        assert answer.startswith("StoreError"), answer
        assert f"{beside} is a link, and what it leads to would be overwritten: remove it" in answer
    assert victim.read_text() == "three years of work"
    beside.unlink()
    os.mkfifo(beside)
    assert "is not a regular file: remove it" in in_child(lambda: repr(GraphStore(path, "a")))


def limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def test_a_store_can_be_read_where_there_is_no_room_for_a_lock_file(path: Path) -> None:
    """LMDB maps its lock file: a page without room on the disk ends the process with SIGBUS."""
    lock = Path(f"{filled(path)}-lock")
    assert 512 * lock.stat().st_blocks >= lock.stat().st_size
    lock.unlink()

    def visit(mode: str) -> str:
        limit_files(10_000)
        if mode == "r":
            return read_all(path)
        return repr(GraphStore(path, mode))

    assert in_child(lambda: visit("r")) == "whole"
    answer = in_child(lambda: visit("a"))
    assert answer.startswith("StoreFullError: could not write to"), answer
    assert "the disk is full, or a quota or file-size limit is reached; about" in answer
    lock.unlink()
    with open(lock, "wb") as file:  # as LMDB makes it: with a size, and no room on the disk yet
        file.truncate(20_000)
    with GraphStore(path, "a") as store:
        store.put("new", made_graph([1], **WIDE))
    assert lock.stat().st_size == 20_000
    assert 512 * lock.stat().st_blocks >= 20_000


def test_a_reader_elsewhere_sees_what_is_committed_and_follows_growth(path: Path) -> None:
    with GraphStore(filled(path, 1), "a", map_growth=4096) as writer, GraphStore(path) as reader:
        receive, send = multiprocessing.Pipe()
        pid = os.fork()
        if pid == 0:
            receive.close()
            try:
                with GraphStore(path) as here:
                    before = len(here)
                    send.send("ready")
                    send.recv()
                    ok = same(here.get("v39"), as_stored(made_graph([2, 1], seed=39, **WIDE)))
                    send.send((before, len(here), ok))
            finally:
                os._exit(0)
        send.close()
        assert receive.recv() == "ready"
        for i in range(1, 40):
            writer.put(f"v{i}", made_graph([2, 1], seed=i, **WIDE))
        receive.send("go")
        assert receive.recv() == (1, 40, True)
        os.waitpid(pid, 0)
        assert len(reader) == 40


def test_the_map_grows_by_itself(path: Path) -> None:
    with GraphStore(path, "w", map_growth=2**20) as store:
        store.put_many((f"v{i}", made_graph([5], seed=i, width=200_000)) for i in range(5))
        for i in range(5):
            store.put(f"w{i}", made_graph([5], seed=i, width=200_000))
        assert path.stat().st_size > 19 * 2**20
        assert (len(store), store.verify()) == (10, [])
    with pytest.raises(StoreError, match="map_growth must be a positive number of bytes, got 0"):
        GraphStore(path, "a", map_growth=0)


def test_commits_are_synchronous_and_the_map_is_read_only(path: Path) -> None:
    for mode in ("w", "r"):
        with GraphStore(path, mode) as store:
            assert store._file._environment is not None
            flags = store._file._environment.lmdb.flags()
            assert flags["sync"]
            assert flags["metasync"]
            assert flags["readahead"]
            assert not flags["writemap"]
            assert not flags["map_async"]


def test_a_killed_writer_loses_its_open_transaction_at_most(path: Path) -> None:
    """C1: kill -9 at seeded moments, go on with what is missing, and end with what an undisturbed run has."""
    chance = random.Random(7)
    for _ in range(6):
        announced, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            with GraphStore(path, "a", map_growth=2**16) as store:
                for i in range(400):
                    if f"v{i}" not in store:
                        store.put(f"v{i}", made_graph([3, 2], seed=i, width=3000))
                        os.write(told, b".")
            os._exit(0)
        os.close(told)
        os.read(announced, 1)
        time.sleep(chance.uniform(0, 0.08))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        confirmed = 1
        while chunk := os.read(announced, 1000):
            confirmed += len(chunk)
        os.close(announced)
        with GraphStore(path) as store:
            assert store.verify() == []
            assert store.keys() == sorted(f"v{i}" for i in range(len(store)))
            assert len(store) >= confirmed
    with GraphStore(path, "a") as store, GraphStore(path.with_name("other"), "w") as undisturbed:
        store.put_many((f"v{i}", made_graph([3, 2], seed=i, width=3000)) for i in range(len(store), 60))
        for video in store:
            undisturbed.put(video, made_graph([3, 2], seed=int(video[1:]), width=3000))
            with store._file.read() as left, undisturbed._file.read() as right:
                assert left.get(video.encode()) == right.get(video.encode())


def test_a_full_disk_is_said_and_costs_no_record(path: Path) -> None:
    filled(path)

    def fill() -> str:
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 200_000, size + 200_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with GraphStore(path, "a") as store:
            try:
                for i in range(100, 200):
                    store.put(f"v{i}", made_graph([2, 1], seed=i, **WIDE))
            except StoreFullError as error:
                kept = len(store)
                assert store.verify() == []
                assert 12 < kept < 112
                return f"{kept} {error}"
        return "nothing happened"

    kept, _, words = in_child(fill).partition(" ")
    assert "the disk is full, or a quota or file-size limit is reached; about" in words
    assert "more bytes are needed" in words
    assert "All records committed before are intact" in words
    with GraphStore(path, "a") as store:
        assert len(store) == int(kept)
        assert store.verify() == []
        store.put("later", made_graph([1], **WIDE))
    assert read_all(path) == "whole"


def test_threads_share_a_store_while_it_grows(path: Path) -> None:
    with GraphStore(filled(path), "a", map_growth=4096) as store:
        expected = store.batch(["v1", "v2"])
        failures: list[object] = []

        def read() -> None:
            for _ in range(150):
                if not torch.equal(store.batch(["v1", "v2"]).x, expected.x):
                    failures.append("wrong numbers")

        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for i in range(40):
            store.put(f"w{i}", made_graph([2, 1], seed=i, **WIDE))
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(store) == 52


def test_forks_do_not_disturb_a_reading_thread(path: Path) -> None:
    """A child that closes what it inherited must not free the slots of readers in the parent."""
    with GraphStore(filled(path)) as store:
        stop, failures = threading.Event(), []
        expected = store.batch(["v1", "v2"])

        def read() -> None:
            while not stop.is_set():
                try:
                    if not torch.equal(store.batch(["v1", "v2"]).x, expected.x):
                        failures.append("wrong numbers")
                except StoreError as error:
                    failures.append(str(error))

        thread = threading.Thread(target=read)
        thread.start()
        answers = {in_child(lambda: read_all(path)) for _ in range(8)}
        stop.set()
        thread.join()
    assert (answers, failures) == ({"whole"}, [])


def test_a_fork_waits_for_the_readers_of_other_threads(path: Path) -> None:
    with GraphStore(filled(path)) as store:
        inside = threading.Event()

        def read() -> None:
            with store._file.read():
                inside.set()
                time.sleep(0.3)

        thread = threading.Thread(target=read)
        thread.start()
        inside.wait()
        environment = store._file._environment
        assert environment is not None
        assert in_child(lambda: f"{environment._active} readers") == "0 readers"
        thread.join()
