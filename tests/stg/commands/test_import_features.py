"""``python -m stg.import_features``: rows end up beside the frames they belong to, and what cannot be used is named."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from graphs import GraphStore
from stg.commands.import_features import main
from stg.commands.parser import run_command
from stg.config.extraction import ImportConfig
from stg.features.precomputed.description import Description
from stg.features.precomputed.importer import Importer
from stg.models.feature_kinds import FeatureWidths
from stg.runtime.errors import UserError
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reporter import Progress

ROOT = Path(__file__).resolve().parents[3]
random = np.random.default_rng(0)


def save(folder: Path, **arrays: Any) -> None:
    folder.mkdir(exist_ok=True)
    for video, array in arrays.items():
        np.save(folder / f"{video}.npy", array)


def describe(folder: Path, **values: Any) -> Path:
    (folder / "features.json").write_text(json.dumps({"name": "made", "version": "1", **values}), encoding="utf-8")
    return folder / "features.json"


def importer(folder: Path, **values: Any) -> Importer:
    return Importer(Description.read(describe(folder, **values)), folder)


def command(path: Path, out: Path, *more: str) -> int:
    return run_command(ImportConfig, main, "", [str(path), "--out", str(out), *more])


def clips(folder: Path, **totals: int) -> str:
    rows = [{"id": video, "total_frames": total, "fps": 25.0, "objects": 3} for video, total in totals.items()]
    (folder / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return "clips.jsonl"


def rows(count: int, width: int) -> np.ndarray:
    """Row i holds i throughout."""
    return np.repeat(np.arange(count, dtype=np.float32)[:, None], width, axis=1)


@pytest.mark.parametrize(
    ("frames", "count", "known", "numbers", "scene", "motion_row"),
    [
        # 100 frames, 4 kept; motion of 7 rows, 16 frames each.
        ("centres", 4, True, [12, 37, 62, 87], [0, 1, 2, 3], [0, 2, 3, 5]),
        ("linspace", 4, True, [0, 33, 66, 99], [0, 1, 2, 3], [0, 2, 4, 6]),
        # Of 10 rows at 5, 15, ... 95 the middle ones of four parts: 1, 3, 6, 8.
        ("centres", 10, True, [15, 35, 65, 85], [1, 3, 6, 8], [0, 2, 4, 5]),
        ("stride:10", 10, True, [10, 30, 60, 80], [1, 3, 6, 8], [0, 1, 3, 5]),
        ("stride:10", 10, False, [10, 30, 60, 80], [1, 3, 6, 8], [0, 1, 3, 5]),
        ([3, 20, 50, 98], 4, False, [3, 20, 50, 98], [0, 1, 2, 3], [0, 1, 3, 6]),
        # Two rows, four frames wanted: each stands for two.
        ("centres", 2, True, [25, 25, 75, 75], [0, 0, 1, 1], [1, 1, 4, 4]),
        # No length known: no numbers either, and the motion rows are spread evenly.
        ("centres", 4, False, None, [0, 1, 2, 3], [0, 2, 4, 6]),
        ("centres", 10, False, None, [1, 3, 6, 8], [1, 2, 4, 5]),
    ],
)
def test_rows_meet_their_frames(
    tmp_path: Path,
    frames: Any,
    count: int,
    known: bool,
    numbers: list[int] | None,
    scene: list[int],
    motion_row: list[int],
) -> None:
    save(tmp_path / "scene", v=rows(count, 3))
    save(tmp_path / "motion", v=rows(7, 2))
    values: dict[str, Any] = {"clips": clips(tmp_path, v=100)} if known else {}
    made = importer(
        tmp_path,
        num_frames=4,
        frames=frames,
        scene={"source": "scene", "width": 3},
        motion={"source": "motion", "width": 2, "span": 16},
        **values,
    )
    features, _ = made("v")
    assert features.scene is not None
    assert features.motion_row is not None
    assert features.scene[:, 0].tolist() == scene
    assert features.motion_row.tolist() == motion_row
    assert (features.frame_number is None) == (numbers is None)
    assert features.frame_number is None or features.frame_number.tolist() == numbers
    assert (features.total_frames, features.fps) == ((100, 25.0) if known else (None, None))
    evenly = "spread evenly" if numbers is None else "by span"
    assert made.manifest()["motion_row"] == evenly
    assert made.manifest()["frame_number"].startswith("unknown: rows are spread" if numbers is None else "known")


def test_motion_rows_without_a_span_are_spread_over_the_length(tmp_path: Path) -> None:
    save(tmp_path / "motion", v=rows(3, 2))
    made = importer(tmp_path, num_frames=4, clips=clips(tmp_path, v=120), motion={"source": "motion", "width": 2})
    features, _ = made("v")
    assert features.motion_row is not None
    assert features.scene is not None
    assert features.motion_row.tolist() == [15 * 3 // 120, 45 * 3 // 120, 75 * 3 // 120, 105 * 3 // 120] == [0, 1, 1, 2]
    assert features.scene[:, 0].tolist() == [0, 1, 1, 2]
    assert made.manifest()["motion_row"] == "spread evenly"


def test_the_vatex_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One ``[1 L 1024]`` a video, named by video and seconds; no frames, so the motion rows stand for the scene."""
    save(tmp_path / "val", **{"-9e_000001_000011": random.random((1, 26, 1024), dtype=np.float32)})
    save(tmp_path / "val", short=random.random((1, 2, 1024), dtype=np.float32))
    path = describe(tmp_path, layout="vatex_i3d", source="val")
    assert command(path, tmp_path / "out") == 0
    assert "out: 2 videos added, 0 there before, 0 skipped" in capsys.readouterr().out
    with GraphStore(tmp_path / "out") as store:
        assert store.fields["motion"] == store.fields["scene"] == 1024
        long = store.get("-9e_000001_000011")
        assert long.motion_row.tolist() == [(2 * t + 1) * 26 // 20 for t in range(10)]
        assert torch.equal(long.scene, long.motion[long.motion_row])
        batch = store.batch(["-9e_000001_000011", "short"])
        assert batch.motion_ptr.tolist() == [0, 26, 28]
        assert store.manifest["imported"]["layout"] == "vatex_i3d"
        assert store.manifest["scene_rows"] == "the motion row of each frame"


def test_videos_without_objects_or_sound_and_the_scene_model_on_them(tmp_path: Path) -> None:
    """No objects described: nodes of width 0, which the widths of a model call absent."""
    save(tmp_path / "scene", a=rows(4, 3), b=rows(4, 3))
    save(tmp_path / "audio", a=np.array([[1, 2], [0, 0], [3, 0]], np.float32))
    scene = {"source": "scene", "width": 3}
    made = importer(tmp_path, num_frames=4, scene=scene, audio={"source": "audio", "width": 2})
    (a, _), (b, _) = made("a"), made("b")
    assert a.audio_mask is not None
    assert a.audio_mask.tolist() == [True, False, True]
    assert b.audio is not None
    assert tuple(b.audio.shape) == (0, 2)
    assert tuple(a.objects.shape) == (0, 0)
    assert command(tmp_path / "features.json", tmp_path / "out") == 0
    with GraphStore(tmp_path / "out") as store:
        batch = store.batch(["a", "b"])
        assert FeatureWidths.of(store.get("a")) == FeatureWidths(scene=3, motion=0, objects=0, audio=2)
        assert (batch.x.shape, batch.audio_ptr.tolist()) == ((0, 0), [0, 3, 3])
        assert store.verify() == []


def test_objects_go_with_the_rows_that_are_kept(tmp_path: Path) -> None:
    """Ten rows, four kept (1, 3, 6, 8), two rows, each kept twice: against a loop over frames."""
    for count, kept in ((10, [1, 3, 6, 8]), (2, [0, 0, 1, 1])):
        frame = np.sort(random.integers(0, count, 17))
        low = random.random((17, 2), dtype=np.float32)
        arrays = {
            "objects": random.random((17, 5), dtype=np.float32),
            "boxes": np.concatenate([low, low + 1], axis=1),
            "frame": frame,
            "scores": random.random(17, dtype=np.float32),
        }
        with h5py.File(tmp_path / "all.h5", "w") as file:
            file["scene/v"] = rows(count, 3)
            file["scene/none"] = rows(count, 3)
            for name, array in arrays.items():
                file[f"objects/v/{name}"] = array
        streams = {name: {"source": "all.h5", "key": f"objects/{{video}}/{name}"} for name in arrays}
        streams["objects"]["width"] = 5  # type: ignore[assignment]
        scene = {"source": "all.h5", "key": "scene/{video}", "width": 3}
        made = importer(tmp_path, num_frames=4, scene=scene, **streams)
        assert made.videos == ["none", "v"]
        index = [i for row in kept for i in range(17) if frame[i] == row]
        features, _ = made("v")
        assert features.scores is not None
        assert_array_equal(features.objects.numpy(), arrays["objects"][index])
        assert_array_equal(features.boxes.numpy(), arrays["boxes"][index])
        assert_array_equal(features.scores.numpy(), arrays["scores"][index])
        assert features.frame.tolist() == [t for t, row in enumerate(kept) for i in range(17) if frame[i] == row]
        none, _ = made("none")
        assert none.scores is not None
        assert [list(array.shape) for array in (none.objects, none.boxes, none.scores)] == [[0, 5], [0, 4], [0]]
        assert made.manifest()["streams"]["objects"] == {
            "name": "all.h5",
            "key": "objects/{video}/objects",
            "width": 5,
            "span": None,
        }
        made.close()


def test_equally_many_objects_in_every_frame_and_a_grid(tmp_path: Path) -> None:
    save(tmp_path / "scene", v=rows(4, 3))
    save(tmp_path / "objects", v=np.arange(40, dtype=np.float64).reshape(4, 2, 5))
    save(tmp_path / "boxes", v=np.tile([0, 0, 2, 2], (4, 2, 1)))
    save(tmp_path / "grid", v=np.arange(3 * 2 * 2 * 6, dtype=np.float16).reshape(3, 2, 2, 6))
    made = importer(
        tmp_path,
        num_frames=4,
        scene={"source": "scene", "width": 3},
        objects={"source": "objects", "width": 5},
        boxes={"source": "boxes"},
        grid={"source": "grid", "width": 6, "span": 16},
    )
    features, _ = made("v")
    assert features.frame.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert features.objects.flatten().tolist() == list(range(40))
    assert features.grid is not None
    assert features.motion_row is not None
    assert features.grid.shape == (3, 4, 6)
    assert features.grid[1, 2].tolist() == list(range(36, 42))
    assert features.motion_row.tolist() == [0, 1, 1, 2]


def test_what_cannot_be_used_is_skipped_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong: dict[str, tuple[Any, str]] = {
        "width": (np.zeros((4, 9)), r"scene of video 'width' has shape [4, 9], expected 2 axes, the last of them 3"),
        "axes": (np.zeros((1, 4, 3)), "scene of video 'axes' has shape [1, 4, 3], expected 2 axes"),
        "nan": (np.array([[0, 0, 0], [0, np.nan, 0]]), "scene must be finite, got nan; video 'nan' row 1 of "),
        "large": (
            np.full((4, 3), 1e39),
            "scene holds 1e+39, beyond the largest float32 (3.40282e+38); video",
        ),
        "half": (np.full((4, 3), 1e6), "beyond the largest float16"),
        "empty": (np.zeros((0, 3)), "scene of video 'empty' has no rows"),
        "late": (
            np.zeros((44, 3)),
            "row 16 of the scene of video 'late' would be frame 160, by frames 'stride:10', but",
        ),
        "unlisted": (np.zeros((4, 3)), "video 'unlisted' is not among the clips of clips.jsonl"),
    }
    save(tmp_path / "scene", good=rows(10, 3), **{video: array for video, (array, _) in wrong.items()})
    (tmp_path / "scene" / "pickle.npy").write_bytes(pickle.dumps([1]))
    reasons = {video: reason for video, (_, reason) in wrong.items()} | {"pickle": "holds pickled Python objects"}
    listed = clips(tmp_path, **dict.fromkeys([v for v in ("good", *reasons) if v != "unlisted"], 100))
    path = describe(tmp_path, num_frames=4, clips=listed, frames="stride:10", scene={"source": "scene", "width": 3})
    out = tmp_path / "deep" / "out"
    assert command(path, out, "--max_skip", "0.5") == 3
    told = capsys.readouterr()
    assert "9 of 10 videos were skipped, more than --max_skip 0.5" in told.err
    skipped = [json.loads(line) for line in Path(f"{out}.skipped.jsonl").read_text().splitlines()]
    assert sorted(row["id"] for row in skipped) == sorted(reasons)
    for row in skipped:
        assert row["stage"] == "import"
        assert reasons[row["id"]] in row["message"]
    with GraphStore(out) as store:
        assert store.keys() == ["good"]
    assert command(path, out, "--max_skip", "1") == 0
    assert "0 videos added, 1 there before, 9 skipped" in capsys.readouterr().out


def test_resuming_adds_what_is_missing_and_another_description_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "scene", a=rows(4, 3), b=rows(4, 3), c=rows(4, 3))
    scene = {"source": "scene", "width": 3}
    path, out = describe(tmp_path, num_frames=4, scene=scene), tmp_path / "out"
    put, calls = GraphStore.put, []

    def second_stops(self: GraphStore, *given: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        put(self, *given)

    monkeypatch.setattr(GraphStore, "put", second_stops)
    assert command(path, out) == 75
    assert "stopped: 1 of 3 videos are in" in capsys.readouterr().err
    assert command(path, out) == 0
    assert "2 videos added, 1 there before" in capsys.readouterr().out
    describe(tmp_path, num_frames=5, scene=scene)
    assert command(path, out) == 2
    assert "features made otherwise (its value first, the new one second): num_frames: 4, 5" in capsys.readouterr().err


def listed(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(f"{out}.sources.jsonl").read_text().splitlines()]


def test_a_folder_and_a_file_may_grow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only what is new is read and made, and the lengths of the clips may grow with the features."""
    save(tmp_path / "scene", a=rows(4, 3))
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["a"] = rows(5, 2)
    values: dict[str, Any] = {"scene": {"source": "scene", "width": 3}, "motion": {"source": "all.h5", "width": 2}}
    path, out = describe(tmp_path, num_frames=4, clips=clips(tmp_path, a=100), **values), tmp_path / "out"
    assert command(path, out) == 0
    with GraphStore(out) as store:
        first = store.get("a").scene
    save(tmp_path / "scene", b=rows(4, 3))
    with h5py.File(tmp_path / "all.h5", "a") as file:
        file["b"] = rows(6, 2)
    clips(tmp_path, a=100, b=200)
    capsys.readouterr()
    assert command(path, out) == 0
    assert capsys.readouterr().out.endswith("out: 1 video added, 1 there before, 0 skipped\n")
    with GraphStore(out) as store:
        assert store.keys() == ["a", "b"]
        assert torch.equal(store.get("a").scene, first)
    assert [row["id"] for row in listed(out)] == [
        "a",
        "a",
        "b",
    ]  # the HDF5 file has another stamp, kept for the next time
    assert command(path, out) == 0
    assert len(listed(out)) == 3


@pytest.mark.parametrize("kind", ["npy", "npz", "hdf5"])
def test_other_features_under_the_same_names_are_refused(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Equal names, shapes, sizes and dates: of another network, in a store that lacks a video yet."""
    (tmp_path / "scene").mkdir()

    def write(*videos: str, plus: float) -> Path:
        if kind == "hdf5":
            with h5py.File(tmp_path / "all.h5", "a") as file:
                for video in videos:
                    if video in file:
                        file[video][:] = rows(4, 3) + plus
                    else:
                        file[video] = rows(4, 3) + plus
            return tmp_path / "all.h5"
        for video in videos:
            where = tmp_path / "scene" / f"{video}.{kind}"
            if kind == "npy":
                np.save(where, rows(4, 3) + plus)
            else:
                np.savez(where, feat=rows(4, 3) + plus)
        return where

    scene: dict[str, Any] = {"source": "all.h5" if kind == "hdf5" else "scene", "width": 3}
    scene |= {"key": "feat"} if kind == "npz" else {}
    path = describe(tmp_path, num_frames=4, scene=scene)
    file, out = write("a", "b", plus=0.0), tmp_path / "out"
    assert command(path, out) == 0
    write("a", "b", plus=0.0)  # written anew, with the same content
    assert command(path, out) == 0
    before = file.stat()
    write("b", "c", plus=1.0)
    if kind != "hdf5":
        os.utime(file.with_stem("b"), ns=(before.st_atime_ns, before.st_mtime_ns))
        assert file.with_stem("b").stat().st_size == before.st_size
    capsys.readouterr()
    assert command(path, out) == 2
    told = capsys.readouterr().err
    assert f"video 'b' is in the store already, but its scene in {file} is not what it was" in told
    assert "import into a new store (another --out), with another version in the description" in told
    with GraphStore(out) as store:
        assert store.keys() == ["a", "b"]
    describe(tmp_path, num_frames=4, scene=scene, version="2")
    assert command(path, out) == 2
    assert "imported.version: '1', '2'" in capsys.readouterr().err


def test_what_came_later_or_is_damaged_now_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "scene", a=rows(4, 3), b=rows(4, 3))
    save(tmp_path / "audio", b=rows(2, 2))
    values: dict[str, Any] = {"scene": {"source": "scene", "width": 3}, "audio": {"source": "audio", "width": 2}}
    path, out = describe(tmp_path, num_frames=4, clips=clips(tmp_path, a=100, b=100), **values), tmp_path / "out"
    assert command(path, out) == 0
    save(tmp_path / "audio", a=rows(2, 2))
    assert command(path, out) == 2
    assert "video 'a' is in the store already, but there was no audio for it, now there is" in capsys.readouterr().err
    (tmp_path / "audio" / "a.npy").unlink()
    clips(tmp_path, a=101, b=100)
    assert command(path, out) == 2
    assert "video 'a' is in the store already, but its length or frame rate in" in capsys.readouterr().err
    clips(tmp_path, a=100, b=100)
    (tmp_path / "scene" / "b.npy").write_bytes(b"no")
    assert command(path, out) == 2
    assert "video 'b' is in the store already, but " in (told := capsys.readouterr().err)
    assert "b.npy is not a .npy file, or a damaged one" in told
    (tmp_path / "scene" / "b.npy").unlink()
    (tmp_path / "audio" / "b.npy").unlink()
    save(tmp_path / "audio", c=rows(2, 2))
    assert command(path, out) == 0  # what is gone contradicts nothing


def test_a_store_without_its_list_says_what_is_not_known_until_it_is_refreshed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = list[tuple[int, int]]()

    @contextmanager
    def bar(self: ConsoleReporter, title: str) -> Iterator[Progress]:
        yield lambda done, total: shown.append((done, total))

    monkeypatch.setattr(ConsoleReporter, "bar", bar)
    save(tmp_path / "scene", a=rows(4, 3), b=rows(4, 3))
    path, out = describe(tmp_path, num_frames=4, scene={"source": "scene", "width": 3}), tmp_path / "out"
    assert command(path, out) == 0
    sources = Path(f"{out}.sources.jsonl")
    first, second = sources.read_text().splitlines(keepends=True)
    sources.write_text('7\n{"id": "a", "streams": {"scene": 1}, "clip": null}\n' + second + first[:30])  # cut
    save(tmp_path / "scene", c=rows(4, 3))
    capsys.readouterr()
    shown.clear()
    assert command(path, out) == 0
    told = capsys.readouterr().out
    unknown = (
        f"1 video of {out} without a note in {sources} ('a'): nobody knows whether the features are still the same"
    )
    assert f"{unknown}; --refresh imports them anew" in told
    assert "1 video added, 2 there before" in told
    assert shown == [(1, 3), (2, 3), (3, 3)]
    shown.clear()
    assert command(path, out, "--refresh") == 0
    # The one that is made again is done when it is made, not when it is found.
    assert shown == [(0, 3), (1, 3), (2, 3), (3, 3)]
    told = capsys.readouterr().out
    assert unknown not in told
    assert "0 videos added, 1 made again, 2 there before" in told
    assert command(path, out) == 0
    assert unknown not in capsys.readouterr().out
    save(tmp_path / "scene", c=rows(4, 3) + 1)
    assert command(path, out) == 2  # the row of c did not get lost behind the one that was cut
    assert "video 'c' is in the store already" in capsys.readouterr().err
    sources.unlink()
    sources.mkdir()
    assert command(path, out) == 2
    assert f"{sources} is not a regular file" in capsys.readouterr().err


def test_the_row_of_a_video_is_written_before_it_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "scene", a=rows(4, 3), b=rows(4, 3))
    path, out = describe(tmp_path, num_frames=4, scene={"source": "scene", "width": 3}), tmp_path / "out"
    put, seen = GraphStore.put, []

    def watched_put(self: GraphStore, video: str, *rest: Any) -> None:
        seen.append([row["id"] for row in listed(out)])
        put(self, video, *rest)

    monkeypatch.setattr(GraphStore, "put", watched_put)
    assert command(path, out) == 0
    assert seen == [["a"], ["a", "b"]]


def test_a_request_to_terminate_is_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "scene", a=rows(4, 3), b=rows(4, 3))
    path, out = describe(tmp_path, num_frames=4, scene={"source": "scene", "width": 3}), tmp_path / "out"
    put = GraphStore.put

    def terminated(self: GraphStore, video: str, *rest: Any) -> None:
        put(self, video, *rest)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(GraphStore, "put", terminated)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # without a handler of ours the command would go on
    try:
        assert command(path, out) == 75
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "stopped: 1 of 2 videos are in" in capsys.readouterr().err


def test_a_moved_folder_gives_the_same_manifest(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    save(tmp_path / "one" / "scene", a=rows(4, 3))
    values: dict[str, Any] = {"num_frames": 4, "scene": {"source": "scene", "width": 3}}
    first = importer(tmp_path / "one", **values).manifest()
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert importer(tmp_path / "two", **values).manifest() == first
    assert str(tmp_path) not in json.dumps(first)


def test_yaml_says_the_same(tmp_path: Path) -> None:
    path = describe(tmp_path, num_frames=2, frames=[1, 2], scene={"source": "s", "width": 3, "squeeze": True})
    other = tmp_path / "features.yaml"
    other.write_text(
        "name: made\nversion: '1'\nnum_frames: 2\nframes: [1, 2]\nscene: {source: s, width: 3, squeeze: true}\n"
    )
    assert Description.read(other) == Description.read(path)
    other.write_text("name: [")
    with pytest.raises(UserError, match=r"features.yaml is not valid YAML at line 1"):
        Description.read(other)


SCENE = {"source": "scene", "width": 3}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "scene or motion is needed, or a layout"),
        ({"scene": {"source": "s"}}, "scene needs its width"),
        ({"scene": {"width": 3}}, "scene lacks source"),
        ({"scene": "s"}, "scene must be an object with source and width, got 's'"),
        ({"scene": SCENE | {"with": 3}}, "scene has the unknown key 'with'; known: source, width, key, span, squeeze"),
        ({"scene": SCENE | {"width": "3"}}, "width of scene must be int | None, got '3'"),
        ({"scene": SCENE | {"width": True}}, "width of scene must be int | None, got True"),
        ({"scene": SCENE | {"width": 0}}, "width and span of scene must be at least 1; got 0 and None"),
        ({"sceen": SCENE}, "the description has the unknown key 'sceen'"),
        ({"scene": SCENE, "num_frames": 0}, "num_frames must lie in 1..10000; got 0"),
        ({"scene": SCENE, "frames": "middle"}, "frames must be centres, linspace, stride:N or numbers; got 'middle'"),
        ({"scene": SCENE, "frames": "stride:0"}, "or numbers; got 'stride:0'"),
        ({"scene": SCENE, "frames": [1.5]}, "frames of the description must be"),
        ({"scene": SCENE, "frames": [-1]}, r"frames must be numbers of 0 or more; got [-1]"),
        ({"motion": SCENE, "frames": "stride:2"}, "frames 'stride:N' counts the rows of the scene, and there is none"),
        ({"scene": SCENE, "objects": SCENE}, "objects and boxes belong together, and frame, scores and label to them"),
        ({"scene": SCENE, "scores": {"source": "s"}}, "objects and boxes belong together, and frame, scores"),
        ({"layout": "msvd"}, "unknown layout 'msvd'; known: vatex_i3d"),
        ({"layout": "vatex_i3d"}, "layout 'vatex_i3d' needs the source, a folder"),
        ({"scene": SCENE, "name": None}, "name of the description must be str, got None"),
    ],
)
def test_a_wrong_description_is_refused(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as told:
        Description.read(describe(tmp_path, **values))
    assert str(told.value).startswith(f"{tmp_path / 'features.json'}: ")
    assert message in str(told.value)


def test_a_description_without_a_name_or_that_is_a_list(tmp_path: Path) -> None:
    path = tmp_path / "features.json"
    for text, message in [
        ('{"scene": {"source": "s", "width": 1}}', "the description lacks name, version"),
        ("[]", "it must be an object with name, version and streams, got list"),
        ("{", "is not valid JSON"),
    ]:
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            Description.read(path)
    with pytest.raises(UserError, match="could not read"):
        Description.read(tmp_path / "none.json")


def test_a_width_that_fits_no_video_is_refused_before_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "scene", a=rows(4, 3), b=rows(4, 3))
    path = describe(tmp_path, scene={"source": "scene", "width": 2048})
    assert command(path, tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert "none of the scene arrays is as declared; the first: scene of video 'a' has shape [4, 3]" in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line", ["{", '{"id": "v"}', '{"id": 1, "total_frames": 5}', '{"id": "v", "total_frames": 0}', "[]", "3"]
)
def test_a_wrong_line_of_clips_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "clips.jsonl").write_text('{"id": "v", "total_frames": 9}\n\n' + line)
    with pytest.raises(UserError, match=r"clips.jsonl line 3 must be like"):
        importer(tmp_path, clips="clips.jsonl", scene=SCENE)


def test_objects_that_do_not_fit_together(tmp_path: Path) -> None:
    streams: dict[str, Any] = {name: {"source": name} for name in ("boxes", "frame")}
    streams["objects"] = {"source": "objects", "width": 5}
    save(tmp_path / "s", v=rows(4, 3))
    for objects, boxes, frame, message in [
        (
            np.zeros((3, 5)),
            np.zeros((2, 4)),
            np.zeros(3),
            "objects, boxes and frame of video 'v' have different numbers of rows: objects 3, boxes 2, frame 3",
        ),
        (np.zeros((3, 5)), np.zeros((3, 4)), np.array([0, 2, 1]), "frame must hold whole numbers in 0..3, in order"),
        (np.zeros((3, 5)), np.zeros((3, 4)), np.array([0, 2, 4]), "frame must hold whole numbers in 0..3, in order"),
        (np.zeros((3, 5)), np.zeros((3, 4)), np.array([0, 0.5, 1]), "frame must hold whole numbers in 0..3, in order"),
        (
            np.zeros((3, 2, 5)),
            np.zeros((3, 2, 4)),
            None,
            r"objects \[3, 2, 5\] of video 'v' are 3 frames, the scene has 4",
        ),
        (np.zeros((3, 5)), np.zeros((3, 4)), None, r"objects \[N D\] of video 'v' need frame \[N\]"),
    ]:
        save(tmp_path / "objects", v=objects)
        save(tmp_path / "boxes", v=boxes)
        given = {name: stream for name, stream in streams.items() if name != "frame" or frame is not None}
        if frame is not None:
            save(tmp_path / "frame", v=frame)
        with pytest.raises(ValueError, match=message):
            importer(tmp_path, num_frames=4, scene={"source": "s", "width": 3}, **given)("v")


def test_help_is_quick_and_needs_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['import_features.py', '--help']; from stg.import_features import *\n"
        "try: command('import_features', ImportConfig, main, __doc__)\n"
        "finally: assert not {'torch', 'h5py'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--max_skip" in done.stdout
