"""``python -m stg.extract`` where a clip has been replaced by another file of its name."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from graphs import GraphStore, StoreError
from stg.features.log import ExtractionLog
from stg.runtime.files import sha256_file
from tests.stg.commands.test_extract import Bench
from tests.stg.make_clips import write_clip


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.clip("a.mp4")
    bench.clip("b.mp4")
    assert bench.run("--workers", "0") == 0
    return bench


def replace_with_white(path: Path, count: int = 20) -> None:
    write_clip(path, [np.full((64, 64, 3), 255, np.uint8)] * count)


def records(bench: Bench) -> dict[str, bytes]:
    with GraphStore(bench.out) as store:
        return dict(store.records())


def test_a_replaced_clip_is_named_and_made_again_with_refresh(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    before, clip = records(bench), bench.clips / "a.mp4"
    (row,) = [row for row in bench.rows("clips") if row["id"] == "a"]
    assert row["sha256"] == sha256_file(clip)
    assert row["stamp"][:2] == [clip.stat().st_size, clip.stat().st_mtime_ns]
    replace_with_white(clip)
    bench.clip("c.mp4")
    capsys.readouterr()
    assert bench.run("--workers", "0") == 2
    said = capsys.readouterr().err
    assert f"1 clip is not what was read for the store ('a': {clip} has {clip.stat().st_size} bytes" in said
    assert "add --refresh to make their graphs again" in said
    assert records(bench) == before
    assert bench.run("--workers", "0", "--refresh") == 0
    assert "1 clip added, 1 made again" in capsys.readouterr().out
    after = records(bench)
    assert (after.keys(), after["b"]) == ({"a", "b", "c"}, before["b"])
    with GraphStore(bench.out) as store:
        assert store.get("a").total_frames.item() == 20
    assert bench.run("--workers", "0") == 0
    assert "0 clips added" in capsys.readouterr().out


def test_the_same_bytes_are_the_same_clip(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    clip = bench.clips / "a.mp4"
    shutil.copy(clip, bench.folder / "copy")
    os.replace(bench.folder / "copy", clip)
    assert bench.run("--workers", "0") == 0
    assert "0 clips added (" not in capsys.readouterr().out
    rows = [row for row in bench.rows("clips") if row["id"] == "a"]
    now = [clip.stat().st_size, clip.stat().st_mtime_ns, clip.stat().st_ctime_ns]
    assert [row["stamp"] == now for row in rows] == [False, True]
    assert rows[0] | {"stamp": None} == rows[1] | {"stamp": None}
    # Of the same size, at the same time, and with one other byte.
    times = clip.stat().st_atime_ns, clip.stat().st_mtime_ns
    content = bytearray(clip.read_bytes())
    content[-1] ^= 1
    clip.write_bytes(content)
    os.utime(clip, ns=times)
    assert bench.run("--workers", "0") == 2
    assert f"{clip} has the same size and another content" in capsys.readouterr().err


def test_a_list_of_an_earlier_version_is_taken_and_gets_its_hashes_with_refresh(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = bench.rows("clips")
    old = [{key: value for key, value in row.items() if key not in ("stamp", "sha256")} for row in rows]
    Path(f"{bench.out}.clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old))
    replace_with_white(bench.clips / "a.mp4")
    before = records(bench)
    for _ in range(2):
        assert bench.run("--workers", "0") == 0
        said = capsys.readouterr().out
        assert "2 stored clips without a hash in" in said
        assert (
            "('a', 'b'): nobody knows whether the files are still the same; --refresh takes them for the same" in said
        )
    assert bench.run("--workers", "0", "--refresh") == 0
    assert "('a', 'b'): taken for the same files; their hashes are noted now" in capsys.readouterr().out
    assert records(bench) == before
    assert bench.run("--workers", "0") == 0
    assert "without a hash" not in capsys.readouterr().out
    # All that was stated before is still there.
    assert [row | {"stamp": 0, "sha256": 0} for row in old] == [
        row | {"stamp": 0, "sha256": 0} for row in bench.rows("clips")[2:]
    ]
    replace_with_white(bench.clips / "b.mp4")
    assert bench.run("--workers", "0") == 2
    assert "1 clip is not what was read for the store ('b': " in capsys.readouterr().err


def test_a_replacement_that_cannot_be_used_stays_one(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    before = records(bench)
    (bench.clips / "a.mp4").write_text("<html>404</html>")
    assert bench.run("--workers", "0", "--refresh", "--max_skip", "1") == 0
    assert f"{bench.out} still holds the former graphs of clips that could not be made again: 'a'" in (
        capsys.readouterr().out
    )
    assert records(bench) == before
    assert [row["id"] for row in bench.rows("skipped")] == ["a"]
    assert bench.run("--workers", "0") == 2
    assert "has 16 bytes" in capsys.readouterr().err
    (bench.clips / "a.mp4").unlink()
    (bench.clips / "a.mp4").symlink_to("nowhere")
    assert bench.run("--workers", "0") == 2
    assert "a.mp4 cannot be read: No such file" in capsys.readouterr().err


def test_a_kill_while_a_graph_is_made_again_leaves_the_clip_replaced(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_with_white(bench.clips / "a.mp4")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(GraphStore, "put", killed)
        assert bench.run("--workers", "0", "--refresh") == 75
    assert bench.run("--workers", "0") == 2
    assert bench.run("--workers", "0", "--refresh") == 0
    assert bench.run("--workers", "0") == 0


def test_a_clip_that_is_new_has_its_row_before_its_graph(tmp_path: Path) -> None:
    log = ExtractionLog(tmp_path / "made")
    with pytest.raises(StoreError), log.clip({"id": "new"}):
        raise StoreError("full")
    assert log.rows() == {"new": {"id": "new"}}
    log.remake.add("old")
    with pytest.raises(StoreError), log.clip({"id": "old"}):
        raise StoreError("full")
    assert log.rows().keys() == {"new"}


def test_a_replaced_clip_of_another_shard_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_with_white(bench.clips / "a.mp4")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert bench.run("--workers", "0", "--refresh") == 2
    said = capsys.readouterr().err
    assert "1 clip is not what was read for the store ('a': " in said
    assert f"their graphs are in {bench.out} or other shards of it: join these with stg.store merge" in said
    monkeypatch.setenv("RANK", "1")  # whose clip has not changed
    assert bench.run("--workers", "0", "--refresh") == 0


def test_a_reading_process_says_what_it_read(bench: Bench) -> None:
    rows = {row["id"]: row for row in bench.rows("clips")}
    shutil.rmtree(bench.out.parent)
    assert bench.run("--workers", "1") == 0
    assert {row["id"]: row for row in bench.rows("clips")} == rows
