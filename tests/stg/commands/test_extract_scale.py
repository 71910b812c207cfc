"""``stg.extract`` by several processes: torchrun's ranks, decoding workers, Ray; always the same bytes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphs import GraphStore
from stg.commands.extract import main
from stg.commands.parser import run_command
from stg.config.extraction import ExtractConfig
from tests.stg.make_clips import write_clip
from tests.stg.make_networks import write_backbone, write_detector
from tests.stg.run_commands import store_command


class Bench:
    """Five clips, one of them broken, and the command run on them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clips = folder, folder / "clips"
        self.clips.mkdir()
        rng = np.random.default_rng(0)
        for number in range(4):
            pictures = rng.integers(0, 255, (8, 8, 8, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)
            write_clip(self.clips / f"clip{number}.mp4", list(pictures))
        (self.clips / "zbroken.mp4").write_bytes(b"no video")
        self.detector, self.backbone = write_detector(folder / "d.onnx"), write_backbone(folder / "b.onnx")

    def run(self, out: str, *more: str) -> int:
        given = {"--out": self.folder / out, "--detector": self.detector, "--backbone": self.backbone}
        options = [str(item) for pair in given.items() for item in pair]
        fixed = ["--num_frames", "3", "--threshold", "0.2", "--threads", "1", "--max_skip", "0.5"]
        return run_command(ExtractConfig, main, "", [*options, *fixed, *more, str(self.clips)])

    def records(self, out: str) -> dict[str, bytes]:
        with GraphStore(self.folder / out) as store:
            return dict(store.records())

    def skipped(self, out: str) -> list[Any]:
        lines = (self.folder / f"{out}.skipped.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def as_rank(monkeypatch: pytest.MonkeyPatch, rank: int, world: int) -> None:
    """The environment that torchrun gives a process."""
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(world))


def test_workers_and_groups_change_no_byte(bench: Bench) -> None:
    assert bench.run("alone", "--workers", "0", "--group", "1") == 0
    alone = bench.records("alone")
    assert alone.keys() == {"clip0", "clip1", "clip2", "clip3"}
    assert len(set(alone.values())) == 4
    for workers, group in (("1", "4"), ("2", "3")):
        out = f"with{workers}"
        assert bench.run(out, "--workers", workers, "--group", group) == 0
        assert bench.records(out) == alone
        assert [row["id"] for row in bench.skipped(out)] == ["zbroken"]


def test_the_shards_of_two_ranks_merge_into_the_store_of_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bench.run("alone") == 0
    for rank in (0, 1):
        as_rank(monkeypatch, rank, 2)
        assert bench.run("many") == 0
    shards = [bench.folder / f"many.rank{rank}of2" for rank in (0, 1)]
    assert [sorted(bench.records(shard.name)) for shard in shards] == [["clip0", "clip2"], ["clip1", "clip3"]]
    assert store_command(["merge", *map(str, shards), "--out", str(bench.folder / "many")]) == 0
    assert bench.records("many") == bench.records("alone")
    facts = (bench.folder / "many.clips.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["id"] for line in facts) == ["clip0", "clip1", "clip2", "clip3"]
    assert [row["id"] for row in bench.skipped("many")] == ["zbroken"]


def test_another_number_of_ranks_does_only_what_is_missing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    as_rank(monkeypatch, 1, 2)
    assert bench.run("many") == 0  # the other rank never came: clip1 and clip3 are there
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("WORLD_SIZE")
    capsys.readouterr()
    assert bench.run("many") == 0
    assert bench.records("many").keys() == {"clip0", "clip2"}
    assert "2 clips are in other shards" in capsys.readouterr().out
    assert bench.run("alone") == 0
    shard = str(bench.folder / "many.rank1of2")
    assert store_command(["merge", shard, "--out", str(bench.folder / "many")]) == 0
    assert bench.records("many") == bench.records("alone")


def test_a_rank_that_cannot_be_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    as_rank(monkeypatch, 2, 2)
    assert bench.run("many") == 2
    assert "RANK must lie in 0..WORLD_SIZE-1" in capsys.readouterr().err
