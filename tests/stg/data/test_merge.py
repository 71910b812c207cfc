"""``python -m stg.store merge``: many stores become the one that a single process would have made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import stg.data.merge
from graphs import FreeField, GraphStore
from graphs.storage.records import Field, decode, encode
from stg.data.merge import stores_among
from stg.runtime.reading import counted
from tests.graphs.made_graphs import made_graph
from tests.stg.run_commands import store_command as main

MANIFEST = {"detector": {"name": "d", "sha256": "aa"}}
VIDEOS = ["a", "B", "b", "\u00e9", "\u732b", "\U0001f3ac", "x/../y", "-dash"]


def seed(video: str) -> int:
    return sum(video.encode())


def shard(path: Path, videos: Sequence[str], manifest: Any = MANIFEST, **more: Any) -> Path:
    with GraphStore(path, "a", manifest=manifest, features_dtype=more.pop("features_dtype", None)) as store:
        for video in videos:
            store.put(video, made_graph([2, 1], seed=seed(video), **more))
    return path


def contents(path: Path) -> tuple[Any, dict[str, bytes]]:
    with GraphStore(path) as store:
        return (store.manifest, store.fields, store.features_dtype), dict(store.records())


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """Three ranks' stores; the last one had nothing to do and was killed before it said anything."""
    GraphStore(tmp_path / "rank2", "a").close()
    return [shard(tmp_path / "rank0", VIDEOS[::2]), shard(tmp_path / "rank1", VIDEOS[1::2]), tmp_path / "rank2"]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("chunk", [1, 2**26])
def test_a_merge_equals_one_process(
    parts: list[Path],
    order: int,
    chunk: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stg.data.merge, "CHUNK", chunk)
    alone = shard(tmp_path / "alone", VIDEOS)
    assert main(["merge", *map(str, parts[::order]), "--out", str(tmp_path / "all")]) == 0
    assert "all: 8 videos added from 3 stores, 0 there before" in capsys.readouterr().out
    assert contents(tmp_path / "all") == contents(alone)
    assert list(contents(tmp_path / "all")[1]) == sorted(VIDEOS, key=str.encode)


def test_a_merge_goes_on_and_takes_equal_copies(
    parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped after some records, run twice, and with a video that two stores hold."""
    alone = shard(tmp_path / "alone", VIDEOS)
    shard(tmp_path / "all", VIDEOS[:3])
    shard(parts[1], VIDEOS[:1])
    for added, before in ((5, 3), (0, 8)):
        assert main(["merge", *map(str, parts), "--out", str(tmp_path / "all")]) == 0
        assert f"{counted(added, 'video')} added from 3 stores, {before} there before" in capsys.readouterr().out
        assert contents(tmp_path / "all") == contents(alone)


def test_a_merge_that_dies_midway_goes_on(parts: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone, put = shard(tmp_path / "alone", VIDEOS), GraphStore.put_records
    calls = []

    def third_fails(self: GraphStore, items: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        put(self, items)

    monkeypatch.setattr(stg.data.merge, "CHUNK", 1)
    monkeypatch.setattr(GraphStore, "put_records", third_fails)
    assert main(["merge", *map(str, parts), "--out", str(tmp_path / "all")]) == 130
    assert len(contents(tmp_path / "all")[1]) == 2
    assert main(["merge", *map(str, parts), "--out", str(tmp_path / "all")]) == 0
    assert contents(tmp_path / "all") == contents(alone)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"manifest": {"detector": {"name": "d", "sha256": "bb"}}}, "manifest.detector.sha256: 'aa', 'bb'"),
        ({"manifest": {"detector": {"name": "d", "sha256": "aa"}, "layer": 3}}, "manifest.layer: None, 3"),
        ({"manifest": None}, "manifest.detector: "),
        ({"scene": 9}, "fields.scene: 4, 9"),
        ({"features_dtype": "float32"}, "features: 'float16', 'float32'"),
    ],
)
@pytest.mark.parametrize("into", [True, False])
def test_stores_made_otherwise_never_mix(
    parts: list[Path],
    other: dict[str, Any],
    message: str,
    into: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """C11: among the stores to merge, and between them and the store that takes them."""
    shard(tmp_path / "other", ["z"], **other)
    names = [parts[0], *([] if into else [tmp_path / "other"])]
    out = tmp_path / ("other" if into else "all")
    assert main(["merge", *map(str, names), "--out", str(out)]) == 2
    told = capsys.readouterr().err
    if into and "features_dtype" in other:
        assert "keeps its features as float32, asked for float16" in told
    else:
        first, second = message.rsplit(": ", 1)[1].split(", ") if ", " in message else ("", "")
        assert message in told or f"{message.rsplit(': ', 1)[0]}: {second}, {first}" in told
    assert not (tmp_path / "all").exists()
    assert list(contents(tmp_path / "other")[1]) == ["z"]


def test_one_video_with_two_contents_is_refused(
    parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with GraphStore(parts[1], "a") as store:
        store.put("a", made_graph([1], seed=99))
    assert main(["merge", *map(str, parts), "--out", str(tmp_path / "all")]) == 2
    assert f"'a' in {parts[0]} and {parts[1]}" in capsys.readouterr().err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("all")]
    with GraphStore(shard(tmp_path / "all", ["b"]), "a") as store:
        store.put("-dash", made_graph([1], seed=98))
    before = contents(tmp_path / "all")
    assert main(["merge", str(parts[0]), str(parts[1]), "--out", str(tmp_path / "all")]) == 2
    assert "2 videos have different bytes in two stores" in capsys.readouterr().err
    assert contents(tmp_path / "all") == before


def test_broken_records_are_named_and_nothing_is_merged(
    parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with GraphStore(parts[0]) as store:
        needle = store.get("b").x.half().numpy().tobytes()
    parts[0].write_bytes(parts[0].read_bytes().replace(needle, bytes([needle[0] ^ 1]) + needle[1:]))
    assert main(["merge", *map(str, parts), "--out", str(tmp_path / "all")]) == 1
    told = capsys.readouterr()
    assert f"{parts[0]}, video 'b': damaged" in told.out
    assert "1 of 8 records broken, so nothing was merged" in told.err
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("all")]


def test_the_lists_beside_the_stores_are_joined_once(
    parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "all"
    Path(f"{parts[0]}.clips.jsonl").write_text('{"id": "a"}\n{"id": "b\u2028"}\n', encoding="utf-8")
    Path(f"{parts[1]}.clips.jsonl").write_text('{"id": "B"}\n{"id": "a"}', encoding="utf-8")
    Path(f"{parts[1]}.skipped.jsonl").write_text('{"id": "z"}\n', encoding="utf-8")
    Path(f"{out}.skipped.jsonl").write_text('{"id": "y"}\n', encoding="utf-8")
    for _ in range(2):
        assert main(["merge", *map(str, parts), "--out", str(out)]) == 0
        clips = Path(f"{out}.clips.jsonl").read_text(encoding="utf-8")
        assert clips == '{"id": "a"}\n{"id": "b\u2028"}\n{"id": "B"}\n'
        assert Path(f"{out}.skipped.jsonl").read_text(encoding="utf-8") == '{"id": "y"}\n{"id": "z"}\n'
    # Half a line at the end is that of a killed writer; elsewhere something else is wrong.
    Path(f"{parts[0]}.clips.jsonl").write_text('{"id": "a"}\n{"id": "b', encoding="utf-8")
    assert main(["merge", *map(str, parts), "--out", str(tmp_path / "half")]) == 0
    assert Path(f"{tmp_path / 'half'}.clips.jsonl").read_text(encoding="utf-8") == '{"id": "a"}\n{"id": "B"}\n'
    Path(f"{parts[0]}.clips.jsonl").write_text('{"id": "a"}\n{"id": "b\n', encoding="utf-8")
    assert main(["merge", *map(str, parts), "--out", str(tmp_path / "other")]) == 2
    assert f"{parts[0]}.clips.jsonl line 2 is not JSON" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_clip_that_one_shard_stored_is_not_listed_as_skipped(parts: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "all"
    stored = GraphStore(parts[0]).keys()[0]
    first, second = ('{"id": "x", "time": 1}', '{"id": "x", "time": 2}')
    Path(f"{parts[0]}.skipped.jsonl").write_text(f"{first}\n")
    Path(f"{parts[1]}.skipped.jsonl").write_text(f'{{"id": "{stored}"}}\n{second}\n')
    assert main(["merge", *map(str, parts), "--out", str(out)]) == 0
    assert Path(f"{out}.skipped.jsonl").read_text() == f"{second}\n"


@pytest.mark.parametrize(("place", "message"), [("file/all", "there is no folder"), ("none/all", "there is no folder")])
def test_a_place_that_cannot_be_written_is_said_at_once(
    parts: list[Path], place: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["merge", *map(str, parts), "--out", str(tmp_path / place)]) == 2
    assert message in capsys.readouterr().err


def test_put_records_takes_whole_fitting_records_only(tmp_path: Path) -> None:
    with GraphStore(shard(tmp_path / "from", ["a", "b"])) as source, GraphStore(tmp_path / "to", "a") as store:
        record = source.record("a")
        forged = {n: Field(f.kind, f.array.copy()) for n, f in decode(record).items()}
        forged["frame"].array[-1] = 9
        wide = made_graph([1], scene=9)
        for wrong, message in [
            ([("a", record), ("b", record[:-1])], "video 'b': the record has"),
            ([("a", record), ("b", bytes([*record[:-1], record[-1] ^ 1]))], "video 'b': damaged"),
            ([("b", bytes(encode(forged)))], "video 'b': frame holds 9"),
            ([("a", record), ("a", record)], "video 'a' is given twice"),
            ([("", record)], "1 to 511 bytes"),
        ]:
            with pytest.raises(ValueError, match=message):
                store.put_records(wrong)
            assert len(store) == 0
        store.put_records(source.records())
        assert dict(store.records()) == dict(source.records())
        assert store.fields == source.fields
        assert torch.equal(store.get("a").x, source.get("a").x)
        with GraphStore(tmp_path / "wide", "a") as other:
            other.put("w", wide)
            with pytest.raises(ValueError, match=r"video 'w': unlike the other graphs of this store: scene of width 9"):
                store.put_records(other.records())
        with GraphStore(tmp_path / "float32", "a", features_dtype="float32") as other:
            with pytest.raises(ValueError, match="features in float16, but the store keeps float32"):
                other.put_records(source.records())
            with pytest.raises(ValueError, match="video 'none': not among its 0 graphs"):
                other.record("none")


def test_what_lies_beside_a_named_store_is_not_a_store() -> None:
    beside = ["s.rank0of2", "s.rank0of2-lock", "s.rank0of2.clips.jsonl", "s.rank0of2.skipped.jsonl", "s.rank1of2"]
    beside.insert(2, "s.rank0of2-writer")  # its writer was killed
    assert stores_among(beside) == ["s.rank0of2", "s.rank1of2"]
    assert stores_among(["a-lock", "b.clips.jsonl", "c-writer"]) == [
        "a-lock",
        "b.clips.jsonl",
        "c-writer",
    ]  # stores of odd names


def free_shard(path: Path, videos: Sequence[str], keep: str = "float16") -> Path:
    free = {"velocity": FreeField("node", keep)}
    with GraphStore(path, "a", manifest=MANIFEST, free=free) as store:
        for video in videos:
            data = made_graph([2, 1], seed=seed(video))
            data.velocity, data.y = torch.full((3, 2), seed(video) / 8), torch.tensor([seed(video)])
            store.put(video, data)
    return path


def test_free_fields_are_listed_and_merged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [free_shard(tmp_path / "one", ["a", "b"]), free_shard(tmp_path / "two", ["c"])]
    out = tmp_path / "all"
    assert main(["merge", *map(str, parts), "--out", str(out)]) == 0
    assert main(["merge", *map(str, parts), "--out", str(out)]) == 0
    with GraphStore(out) as store:
        assert store.batch(["c", "a"]).y.tolist() == [seed("c"), seed("a")]
        assert store.get("a").velocity[0].tolist() == [seed("a") / 8] * 2
    assert main(["info", str(out)]) == 0
    told = capsys.readouterr().out
    assert "free field velocity: by node, float16 [N 2]\n" in told
    assert "free field y: by graph, int64 [1]\n" in told
    other = free_shard(tmp_path / "other", ["d"], "exact")
    assert main(["merge", str(parts[0]), str(other), "--out", str(tmp_path / "never")]) == 2
    words = "free fields.velocity: 'by node, float16 [N 2]', 'by node, float32 [N 2]'"
    assert words in capsys.readouterr().err
