"""Bad clips, through the commands that meet them; tests/FAULTS.md says which row each test belongs to."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import graphs.storage.file_systems
import stg.commands.extract
import stg.video.clips
import stg.video.readers
from graphs import GraphStore
from stg.commands.caption import main as caption
from stg.commands.extract import main as extract
from stg.commands.parser import run_command
from stg.config.captioning import CaptionConfig
from stg.config.extraction import ExtractConfig
from stg.config.model import GraphConfig, ModelConfig
from stg.data.batches import BatchSource
from stg.models.build import build_captioner
from stg.models.feature_kinds import FeatureWidths
from stg.runs.bundle import CaptionerBundle
from stg.text.vocabulary import Vocabulary
from stg.video.clip import ClipPart, ClipRequest, Segment, SegmentRequest
from stg.video.clips import ClipList
from stg.video.decoding import SampledFrames, VideoError
from stg.video.readers import Readers
from stg.video.sampling import segment_centres
from tests.stg.alarms import ends_within
from tests.stg.best_captions import best_captions
from tests.stg.make_bad_decoder import read
from tests.stg.make_clips import level, write_clip
from tests.stg.make_networks import write_backbone, write_detector

ROOT = Path(__file__).resolve().parents[3]
WORDS = Vocabulary.build(["a blue square moves to the right"], min_count=1, max_words=6)


def moving_square(count: int = 12) -> list[np.ndarray]:
    """A blue square on black, which the made detector sees, that moves right."""
    frames = np.zeros((count, 64, 64, 3), np.uint8)
    for t in range(count):
        frames[t, 24:40, 4 * (t % 12) : 4 * (t % 12) + 16] = (0, 0, 255)
    return list(frames)


def noise(count: int) -> list[np.ndarray]:
    """Frames that do not compress, so that half of the bytes is half of the frames."""
    return list(np.random.default_rng(0).integers(0, 255, (count, 48, 64, 3), np.uint8))


class Bench:
    """Clips, networks, and the two commands that are given clips."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clips, self.out = folder, folder / "clips", folder / "out" / "store"
        self.weights, self.run = folder / "weights", folder / "run"
        for item in (self.clips, self.weights, self.run):
            item.mkdir()
        self.detector = write_detector(self.weights / "eye.onnx")
        self.backbone = write_backbone(self.weights / "net.onnx")

    def options(self, *more: str) -> list[str]:
        given = {"--out": self.out, "--detector": self.detector, "--backbone": self.backbone, "--threads": 1}
        return [str(item) for pair in given.items() for item in pair] + ["--num_frames", "4", *more]

    def extract(self, *more: str, clips: list[str] | None = None) -> int:
        named = [str(self.clips)] if clips is None else clips
        return run_command(ExtractConfig, extract, "", [*self.options(*more), "--", *named])

    def caption(self, *more: str, clips: list[str] | None = None) -> int:
        named = [str(self.clips)] if clips is None else clips
        options = ["--model", str(self.run), "--weights", str(self.weights), "--threads", "1", "--json", *more]
        return run_command(CaptionConfig, caption, "", [*options, "--", *named])

    def rows(self, kind: str) -> dict[str, dict[str, Any]]:
        path = Path(f"{self.out}.{kind}.jsonl")
        lines = path.read_text().splitlines() if path.exists() else []
        return {row["id"]: row for row in map(json.loads, lines)}

    def videos(self) -> list[str]:
        with GraphStore(self.out) as store:
            return list(store.keys())

    def model(self, branches: str = "scene", variant: str = "full") -> CaptionerBundle:
        """An untrained model for the features in the store, saved as a run of ``stg.fit`` would."""
        with GraphStore(self.out) as store:
            torch.manual_seed(3)
            model = ModelConfig(branches=branches, channels=16, hidden=16, heads=2)  # type: ignore[arg-type]
            graph = GraphConfig(layers=2, variant=variant)  # type: ignore[arg-type]
            widths = FeatureWidths.of(store.get(next(iter(store.keys()))))
            captioner = build_captioner(model, graph, widths=widths, vocabulary=len(WORDS), max_words=6).eval()
            trained = CaptionerBundle(captioner, WORDS, model, graph, widths, store.manifest, store.features_dtype)
        trained.save(self.run / "model.safetensors")
        return trained


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def alarm() -> Iterator[None]:
    """Twenty seconds, then the test fails instead of hanging."""
    with ends_within(20):
        yield


# --- A2, A6: what is known of a clip goes with it


def test_cut_clips_are_marked_with_both_counts(bench: Bench) -> None:
    write_clip(bench.clips / "fast.mp4", noise(60), container_options={"movflags": "faststart"})
    write_clip(bench.clips / "old.avi", noise(60), codec="mpeg4")
    for path in bench.clips.iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    write_clip(bench.clips / "whole.mp4", noise(60))
    assert bench.extract() == 0
    facts = bench.rows("clips")
    for video, truncated in {"fast": True, "old": True, "whole": False}.items():
        assert facts[video]["truncated"] is truncated
        assert facts[video]["header_frames"] == 60
        assert facts[video]["num_unique"] == 4
        low, high = (15, 35) if truncated else (60, 60)
        assert low <= facts[video]["total_frames"] <= high
    bench.out = bench.folder / "long"
    assert bench.extract("--min_frames", "40", "--max_skip", "0.7") == 0
    assert bench.videos() == ["whole"]
    assert re.search(r"has \d\d readable frames; at least 40 wanted", bench.rows("skipped")["old"]["message"])


LENGTHS = {"one": 1, "two": 2, "three": 15, "black": 15}


@pytest.mark.parametrize("frames", [1, 10])
def test_short_clips_go_all_the_way(bench: Bench, frames: int) -> None:
    """With one frame there is no temporal edge; ``black`` has no object at all (A14)."""
    for name, count in LENGTHS.items():
        frames_of = moving_square(count) if name != "black" else [np.zeros((64, 64, 3), np.uint8)] * count
        write_clip(bench.clips / f"{name}.mp4", frames_of)
    assert bench.extract("--num_frames", str(frames)) == 0
    with GraphStore(bench.out) as store:
        for name, count in LENGTHS.items():
            graph, facts = store.get(name), bench.rows("clips")[name]
            assert graph.frame_number.tolist() == segment_centres(count, frames).tolist()
            assert (facts["total_frames"], facts["num_unique"]) == (count, min(count, frames))
            assert (len(graph.x) > 0) == (name != "black")
            assert bool((graph.edge_type == 1).any()) == (frames > 1 and name != "black")
            assert all(torch.isfinite(graph[key]).all() for key in ("x", "edge_weight", "scene", "boxes"))
        for branches in ("full", "object", "concat"):
            for variant in ("full", "temporal"):
                trained, source = bench.model(branches, variant), BatchSource(store, variant)
                found = best_captions(trained.captioner, source, sorted(LENGTHS), WORDS)
                assert all(np.isfinite(one.log_prob) for one in found.values())
                alone = best_captions(trained.captioner, source, ["one"], WORDS)
                assert alone["one"].log_prob == pytest.approx(found["one"].log_prob, abs=1e-4)


# --- A10: length costs no memory


@pytest.mark.skipif(sys.platform != "linux", reason="other systems may not enforce the limit")
def test_thousands_of_frames_pass_through_a_child_with_little_memory(tmp_path: Path) -> None:
    """All pictures are 225 MiB, as segments too; the child may take 128 beside its libraries."""
    pictures = [np.full((128, 128, 3), level(number), np.uint8) for number in range(50)]
    path = write_clip(tmp_path / "long.mp4", pictures * 96, rate=1000, options={"preset": "ultrafast"})
    request = ClipRequest(num_frames=4, segments=SegmentRequest(16, 128, (128, 128)))
    with Readers(request, 1, 120.0, 2**27) as readers:
        clips = readers.open({"long": path})
        _, parts = next(clips)
        sample = next(parts)
        assert isinstance(sample, SampledFrames)
        assert sample.frame_number.tolist() == [600, 1800, 3000, 4200]
        seen = 0
        for part in parts:
            assert isinstance(part, Segment)
            assert part.row == seen
            seen += 1
    assert seen == 300


# --- A11, A12: what is not a clip at all


def test_lists_and_addresses_reach_for_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], alarm: None
) -> None:
    """Whoever opened the pipe that the lists name would wait in it; whoever asked the server would be seen there."""
    good = write_clip(bench.clips / "good.mp4", moving_square())
    assert bench.extract() == 0
    bench.model()
    capsys.readouterr()
    monkeypatch.chdir(bench.clips)
    os.mkfifo("pipe")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/far.mp4"
        for number, target in enumerate(("pipe", good.name, address)):
            Path(f"concat{number}.mp4").write_text(f"ffconcat version 1.0\nfile '{target}'\n")
            Path(f"hls{number}.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n")
        lists = sorted(path.name for path in Path().glob("[ch][ol]*.mp4"))
        names = [address, f"concat:{good.name}|x.mp4", f"file:{good.name}", "pipe:0", f"subfile,,start,0,,:{good.name}"]
        limits = ["--time_limit", "5"]
        assert bench.extract("--max_skip", "1", *limits, clips=lists) == 0
        assert bench.videos() == ["good"]
        told = [row["message"] for row in bench.rows("skipped").values()]
        assert bench.caption(*limits, clips=lists) == 3
        told += [json.loads(line)["error"] for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
        for name in names:
            for command in (bench.extract, bench.caption):
                assert command(*limits, clips=[name]) == 2
                assert f"there is no file or folder {name!r}" in capsys.readouterr().err
        with pytest.raises(TimeoutError):
            server.accept()
    assert sum("is not a video in a known container" in line for line in told) == 12
    assert len(told) == 12


def test_only_regular_files_are_read_and_none_is_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, alarm: None
) -> None:
    """Found in a folder or named, and one that vanishes after it was found."""
    write_clip(bench.clips / "good.mp4", moving_square())
    os.mkfifo(bench.clips / "pipe.mp4")
    (bench.clips / "device.mp4").symlink_to("/dev/zero")
    (bench.clips / "folder.mp4").mkdir()
    (bench.clips / "folder.mp4" / "inside.mp4").write_bytes(b"not looked at")
    (bench.clips / "broken.mp4").symlink_to(bench.clips / "nowhere.mp4")
    (bench.clips / "gone.mp4").write_bytes((bench.clips / "good.mp4").read_bytes())
    find = stg.video.clips.list_clips

    def find_and_lose(names: tuple[str, ...], recursive: bool) -> ClipList:
        found = find(names, recursive)
        (bench.clips / "gone.mp4").unlink()
        return found

    monkeypatch.setattr("stg.commands.extract.list_clips", find_and_lose)
    assert bench.extract("--time_limit", "5", "--max_skip", "0.9", clips=[str(bench.clips), "/dev/zero"]) == 0
    told = {video: row["message"] for video, row in bench.rows("skipped").items()}
    assert told == {
        name: f"{file!r} is not a regular file (a folder, a pipe or a device)"
        for name, file in {"pipe": "pipe.mp4", "device": "device.mp4", "zero": "zero"}.items()
    } | {name: f"could not open '{name}.mp4': No such file or directory" for name in ("broken", "gone")}
    assert bench.videos() == ["good"]


def test_extract_and_caption_say_what_they_left_out(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(bench.clips / "a.MTS", moving_square(), container="mpegts")
    (bench.clips / "._a.MTS").write_bytes(bytes.fromhex("0005160700020000") + bytes(4000))
    (bench.clips / "day").mkdir()
    write_clip(bench.clips / "day" / "b.mp4", moving_square())
    line = "left out: 1 clip in subfolders (--recursive takes them); 1 hidden file (names that start with a dot)"
    assert bench.extract() == 0
    assert line in capsys.readouterr().out
    assert bench.videos() == ["a"]
    bench.model()
    assert bench.caption() == 0
    told = capsys.readouterr()
    assert line in told.err
    assert told.out.count("\n") == 1
    assert bench.extract("--recursive") == 0
    assert "1 hidden file" in (told := capsys.readouterr().out)
    assert "subfolders" not in told
    assert bench.videos() == ["a", "b"]
    assert bench.caption("--recursive") == 0
    assert capsys.readouterr().out.count("\n") == 2


# --- A13: decoders that hang, crash, or eat memory


class BadReaders(Readers):
    """Readers of clips with the misbehaving decoder."""

    def __init__(self, request: ClipRequest, workers: int, time_limit: float, memory: int = 4 * 2**30) -> None:
        super().__init__(request, workers, time_limit, memory, read)


def test_a_bad_decoder_costs_one_clip(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "crash", "greedy", "hang", "z"):
        write_clip(bench.clips / f"{name}.mp4", moving_square())
    for user in ("stg.features.extraction_job", "stg.commands.caption"):
        monkeypatch.setattr(f"{user}.Readers", BadReaders)
    limits = ("--time_limit", "5", "--memory_gb", "0.25")
    assert bench.extract(*limits) == 3
    assert bench.videos() == ["a", "z"]
    expected = {
        "crash": "'crash.mp4': the decoder crashed (signal SIGSEGV)",
        "greedy": "'greedy.mp4': out of memory (limit 0.2 GiB)",
        "hang": "'hang.mp4': no result within 5 s: the decoder hangs, or it is slow and time_limit too short",
    }
    rows = bench.rows("skipped")
    assert {video: row["message"] for video, row in rows.items()} == expected
    assert {(row["stage"], row["error"]) for row in rows.values()} == {("read", "VideoError")}
    assert "3 of 5 clips were skipped, more than --max_skip 0.01" in capsys.readouterr().err
    bench.model()
    (bench.clips / "greedy.mp4").unlink()  # the other command has its limit at 4 GiB
    assert bench.caption("--time_limit", "5") == 3
    told = {Path(row["video"]).stem: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert {video: row["error"] for video, row in told.items() if row["error"]} == {
        video: text for video, text in expected.items() if video != "greedy"
    }
    assert told["z"]["caption"] == told["a"]["caption"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems may not enforce the limit")
@pytest.mark.parametrize(("name", "how"), [("a.mp4", {}), ("b.mov", {"codec": "png", "pixels": "rgb24"})])
def test_out_of_memory_is_not_called_damage(tmp_path: Path, name: str, how: dict[str, Any]) -> None:
    """PyAV's error for it is one of FFmpeg's, such as those that damaged packets raise."""
    path = write_clip(tmp_path / name, [np.zeros((2048, 3072, 3), np.uint8)] * 6, **how)
    with Readers(ClipRequest(num_frames=2), 1, 60.0, 2**25) as readers:
        for _, parts in readers.open({"large": path}):
            with pytest.raises(VideoError, match=rf"^'{name}': out of memory \(limit 0.0 GiB\)$"):
                list(parts)


def no_memory(path: Path, request: ClipRequest) -> Iterator[ClipPart]:
    raise MemoryError
    yield


def test_out_of_memory_in_this_process_is_said_too() -> None:
    for _, parts in Readers(ClipRequest(), 0, read=no_memory).open({"x": Path("x.mp4")}):
        with pytest.raises(VideoError, match=r"^'x.mp4': out of memory$"):
            next(parts)


# --- C9, C11, C13: one store, one writer, one way of extracting


def test_a_second_extraction_on_one_store_is_told_who_has_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, python: list[str]
) -> None:
    first = write_clip(bench.clips / "clip0.mp4", moving_square())
    for number in range(1, 4):
        os.link(first, bench.clips / f"clip{number}.mp4")
    second: list[subprocess.CompletedProcess[str]] = []
    real = stg.video.clips.sample_video

    def read_clip(path: Path, *rest: Any, **more: Any) -> SampledFrames:
        if path.name == "clip2.mp4":
            command = [*python, "-m", "stg.extract", *bench.options(), "--", str(first)]
            second.append(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300))
        return real(path, *rest, **more)

    monkeypatch.setattr(stg.video.clips, "sample_video", read_clip)
    assert bench.extract("--workers", "0", "--group", "1") == 0  # the first one is not disturbed
    (done,) = second
    assert done.returncode == 2, done.stderr
    assert f"is being written by process {os.getpid()} on host {socket.gethostname()} since 2" in done.stderr
    with GraphStore(bench.out) as store:
        assert len(store) == 4
        assert store.verify() == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (["--threshold", "0.3"], "threshold: 0.5, 0.3"),
        (["--num_frames", "5"], "num_frames: 4, 5"),
        (["--max_objects", "2"], "max_objects: 5, 2"),
    ],
)
def test_other_settings_are_refused_with_both_values(
    bench: Bench, capsys: pytest.CaptureFixture[str], change: list[str], told: str
) -> None:
    write_clip(bench.clips / "a.mp4", moving_square())
    assert bench.extract() == 0
    write_clip(bench.clips / "b.mp4", moving_square())
    assert bench.extract(*change) == 2
    assert told in capsys.readouterr().err
    assert bench.videos() == ["a"]


def test_a_place_that_cannot_be_written_is_said_before_a_clip_is_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip(bench.clips / "a.mp4", moving_square())
    bench.out.parent.mkdir()
    monkeypatch.setattr(graphs.storage.file_systems.os, "access", lambda where, mode: mode != os.W_OK)
    monkeypatch.setattr("stg.features.extraction_job.Readers", lambda *given: pytest.fail("work began"))
    assert bench.extract() == 2
    assert "read-only for this user" in capsys.readouterr().err
    assert list(bench.out.parent.iterdir()) == []
