"""Work divided over ranks: nothing twice, nothing left out, and one writer for each store (fault C9)."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lmdb.verify import VerifyError, verify

import graphs.storage.lmdb_check
from graphs import GraphStore, StoreError, VideoFeatures, build_graph
from graphs.storage.lmdb_check import being_written, read_extent
from stg.data.shards import done_elsewhere, rank_and_world, shard, shard_path, shard_paths
from stg.runtime.errors import UserError


def fill(path: Path, *videos: str, manifest: dict[str, int] | None = None) -> None:
    boxes, frame = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([0])
    graph = build_graph(VideoFeatures(boxes, torch.ones(1, 3), frame, num_frames=1))
    with GraphStore(path, "a", manifest=manifest) as store:
        for video in videos:
            store.put(video, graph)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [({}, (0, 1)), ({"RANK": "1", "WORLD_SIZE": "2", "HOME": "/"}, (1, 2)), ({"RANK": "0", "WORLD_SIZE": "1"}, (0, 1))],
)
def test_rank_and_world_come_from_torchrun(environ: dict[str, str], expected: tuple[int, int]) -> None:
    assert rank_and_world(environ) == expected


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"RANK": "0"}, "RANK='0', but"),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE='2', but"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK='2' and WORLD_SIZE='2', but"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK='-1' and"),
        ({"RANK": "", "WORLD_SIZE": "2"}, "RANK='' and"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "WORLD_SIZE='0', but"),
        ({"RANK": "\u0663", "WORLD_SIZE": "9"}, "RANK must lie in 0..WORLD_SIZE-1"),
    ],
)
def test_what_torchrun_would_not_say_is_refused(environ: dict[str, str], told: str) -> None:
    with pytest.raises(UserError) as caught:
        rank_and_world(environ)
    assert told in str(caught.value)
    assert str(caught.value).endswith("start with torchrun, or unset both")


@given(st.lists(st.text(max_size=3), max_size=30), st.integers(1, 9))
def test_shards_cover_everything_once(items: list[str], world: int) -> None:
    shares = [shard(items, rank, world) for rank in range(world)]
    assert sorted(item for share in shares for item in share) == sorted(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_each_rank_has_its_own_file(tmp_path: Path) -> None:
    out = tmp_path / "-a [b]*.\n"
    assert shard_path(out, 0, 1) == out
    assert shard_path(out, 1, 12) == Path(f"{out}.rank1of12")
    names = [shard_path(out, rank, world) for rank, world in ((1, 12), (0, 2), (10, 12), (2, 12))]
    others = [Path(f"{out}.rank1of12-lock"), Path(f"{out}.rank1of12.skipped.jsonl"), tmp_path / "x.rank0of2", out]
    for path in [*names, *others]:
        path.touch()
    assert shard_paths(out) == [names[1], names[0], names[3], names[2]]
    assert shard_paths(tmp_path / "no" / "folder") == []


def test_what_any_earlier_run_made_counts_as_done(tmp_path: Path) -> None:
    """First two ranks, then three: nothing is done again, and together everything is done."""
    out, videos = tmp_path / "made", [f"v{number}" for number in range(10)]
    assert done_elsewhere(out) == set()
    fill(out, "v0", "x")
    fill(shard_path(out, 1, 2), *shard(videos, 1, 2)[:3])
    done = done_elsewhere(out)
    assert done == {"v0", "x", "v1", "v3", "v5"}
    waiting = [[video for video in shard(videos, rank, 3) if video not in done] for rank in range(3)]
    for rank in range(3):
        fill(shard_path(out, rank, 3), *waiting[rank])
    assert sorted(video for share in waiting for video in share) == ["v2", "v4", "v6", "v7", "v8", "v9"]
    assert done_elsewhere(out) == {"x", *videos}


def test_a_shard_made_otherwise_does_not_count_but_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "made"
    fill(shard_path(out, 0, 2), "a", manifest={"frames": 10})
    fill(shard_path(out, 1, 2), manifest={"frames": 8})
    assert done_elsewhere(out, {"frames": 10}) == {"a"}  # what holds nothing does not matter
    with pytest.raises(StoreError, match=r"made\.rank0of2 holds features made otherwise .*: frames: 10, 8"):
        done_elsewhere(out, {"frames": 8})
    assert done_elsewhere(out) == {"a"}


def test_a_shard_that_is_just_being_made_holds_nothing_yet(tmp_path: Path) -> None:
    from graphs import LMDBFile

    out = tmp_path / "made"
    shard_path(out, 0, 2).touch()
    LMDBFile(shard_path(out, 1, 2), write=True).close()  # no header yet
    assert done_elsewhere(out) == set()
    shard_path(out, 0, 2).write_bytes(b"no store" * 1000)
    with pytest.raises(StoreError, match="rank0of2"):
        done_elsewhere(out)


def test_a_second_writer_of_a_shard_is_told_who_has_it(tmp_path: Path) -> None:
    path = shard_path(tmp_path / "made", 0, 2)
    with GraphStore(path, "a"):
        reading, writing = os.pipe()
        if (pid := os.fork()) == 0:
            try:
                GraphStore(path, "a")
            except StoreError as error:
                os.write(writing, str(error).encode())
            finally:
                os._exit(0)
        os.close(writing)
        os.waitpid(pid, 0)
        with os.fdopen(reading) as stream:
            told = stream.read()
        assert done_elsewhere(tmp_path / "made") == set()  # reading is allowed meanwhile
    owner = f"process {os.getpid()} on host {socket.gethostname()}"
    assert told.startswith(f"{path} is being written by {owner} since 2")
    assert told.endswith(": wait for it, or end it")


WRITER = """
import fcntl, lmdb, os, sys
lock = open(sys.argv[1] + "-writer", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("ready", flush=True)
if sys.argv[2] == "idle":
    sys.stdin.read()
store, number = lmdb.open(sys.argv[1], subdir=False, map_size=2**28), 0
while os.getppid() == int(sys.argv[3]):
    number += 1
    with store.begin(write=True) as transaction:
        for step in range(0, 600, 3):
            transaction.put(b"key%d" % (number * 7919 % 50021 + step), os.urandom(300))
"""


@contextmanager
def writer_at_work(path: Path, how: str = "busy") -> Iterator["subprocess.Popen[str]"]:
    """Another process that holds the writer's lock, and commits as fast as it can; without what takes long to load."""
    command = [sys.executable, "-c", WRITER, str(path), how, str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


def test_a_shard_that_another_rank_is_writing_is_never_called_damaged(tmp_path: Path) -> None:
    """LMDB reuses pages with every commit, so that a look at them page by page finds contradictions."""
    out = tmp_path / "made"
    path = shard_path(out, 0, 2)
    fill(path, "v0")
    suspected, end = 0, time.monotonic() + 60
    with writer_at_work(path) as child:
        while suspected < 3 and time.monotonic() < end:
            before = read_extent(path)
            with suppress(VerifyError):
                suspected += bool(verify(str(path), subdir=False)) and read_extent(path) != before
            assert "v0" in done_elsewhere(out)
        assert child.poll() is None
    assert suspected == 3, "the writer must be busy for this test to mean anything"


def test_what_its_writer_left_damaged_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside a living writer the check is passed over, and only then; a file that is too short never is."""
    out = tmp_path / "made"
    path = shard_path(out, 0, 2)
    fill(path, "v0")
    monkeypatch.setattr(graphs.storage.lmdb_check, "verify", lambda *_, **__: ["page 3 is used twice"])
    with writer_at_work(path, "idle"):
        assert done_elsewhere(out) == {"v0"}
    assert Path(f"{path}-writer").exists()
    with pytest.raises(StoreError, match="rank0of2 is damaged: page 3 is used twice"):
        done_elsewhere(out)


def test_a_short_file_is_refused_beside_its_writer_too(tmp_path: Path) -> None:
    path = shard_path(tmp_path / "made", 0, 2)
    fill(path, *(f"v{number}" for number in range(99)))
    with writer_at_work(path, "idle"):
        os.truncate(path, path.stat().st_size // 2)
        with pytest.raises(StoreError, match="rank0of2 is truncated: "):
            done_elsewhere(tmp_path / "made")


def test_looking_for_a_writer_leaves_ones_own_lock_alone(tmp_path: Path) -> None:
    path = tmp_path / "made"
    with GraphStore(path, "a"):
        assert not being_written(path)
        take = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'r+'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        found = subprocess.run([sys.executable, "-c", take, f"{path}-writer"], capture_output=True, text=True)
        assert "BlockingIOError" in found.stderr
    Path(f"{path}-writer").touch()
    assert not being_written(path)
    with writer_at_work(path, "idle"):
        assert being_written(path)
