"""``python -m stg.extract``: exit codes, resuming, what is skipped and why."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import stg.features
from graphs import GraphStore, build_graph
from stg.commands.extract import main
from stg.commands.parser import run_command
from stg.config.extraction import ExecutionConfig, ExtractConfig, NetworkConfig, SamplingConfig
from stg.features import extraction_job
from stg.features.extractor import Extractor
from stg.features.ingestion import ingest, prefetch
from stg.features.log import ExtractionLog
from stg.runtime.errors import StgError, UserError
from stg.runtime.reading import counted
from stg.runtime.reporter import Progress, Reporter
from stg.video.clips import find_clips
from stg.video.decoding import SampledFrames, VideoError, sample_video
from stg.vision.backbones import OnnxBackbone
from stg.vision.detectors import OnnxYoloX
from tests.stg.make_clips import write_clip
from tests.stg.make_networks import write_backbone, write_detector

ROOT = Path(__file__).resolve().parents[3]


def moving_square(count: int = 12) -> list[np.ndarray]:
    """A blue square on black that moves right."""
    frames = np.zeros((count, 64, 64, 3), np.uint8)
    for t in range(count):
        frames[t, 24:40, 4 * t : 4 * t + 16] = (0, 0, 255)
    return list(frames)


class Bench:
    """A folder with clips, networks, and the command run on them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clips, self.out = folder, folder / "clips", folder / "stores" / "made"
        self.clips.mkdir()
        self.detector = write_detector(folder / "detector.onnx")
        self.backbone = write_backbone(folder / "backbone.onnx")

    def clip(self, name: str, **how: Any) -> Path:
        return write_clip(self.clips / name, moving_square(), **how)

    def options(self, *more: str) -> list[str]:
        given = {"--out": self.out, "--detector": self.detector, "--backbone": self.backbone, "--num_frames": 4}
        return [str(item) for pair in given.items() for item in pair] + ["--threads", "1", *more]

    def run(self, *more: str, clips: list[str] | None = None) -> int:
        named = [str(self.clips)] if clips is None else clips
        return run_command(ExtractConfig, main, "", [*self.options(*more), "--", *named])

    def rows(self, kind: str) -> list[dict[str, Any]]:
        path = Path(f"{self.out}.{kind}.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_folder_of_clips_becomes_a_store_of_graphs(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.clip("a.mp4")
    bench.clip("b.avi", codec="mpeg4")
    (bench.clips / "notes.txt").write_text("not a clip")
    assert bench.run("--threshold", "0.4") == 0
    assert "2 clips added" in capsys.readouterr().out
    with GraphStore(bench.out) as store:
        assert sorted(store.keys()) == ["a", "b"]
        graph = store.get("a")
        extractor = Extractor(
            OnnxYoloX(bench.detector, threads=1),
            OnnxBackbone(bench.backbone, threads=1),
            SamplingConfig(num_frames=4, threshold=0.4),
        )
        expected = build_graph(extractor(sample_video(bench.clips / "a.mp4", 4)))
        assert graph.boxes.shape[0] >= 4
        for name in ("boxes", "frame", "edge_index", "edge_type", "scores", "frame_number", "motion"):
            assert (name in graph) == (name in expected)
            if name in expected:
                assert torch.equal(graph[name], expected[name]), name
        torch.testing.assert_close(graph.x, expected.x, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(graph.scene, expected.scene, atol=1e-3, rtol=1e-3)
        assert store.manifest == extractor.manifest() | {"motion": None}
    facts = {row["id"]: row for row in bench.rows("clips")}
    assert facts["a"]["total_frames"] == facts["a"]["header_frames"] == 12
    assert facts["a"]["fps"] == pytest.approx(25)
    assert facts["a"]["truncated"] is False
    assert facts["a"]["objects"] == graph.boxes.shape[0]
    assert bench.rows("skipped") == []


def test_versions_that_differ_are_a_warning_and_no_refusal(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.clip("a.mp4")
    assert bench.run() == 0
    with GraphStore(bench.out) as store:
        (first,), manifest = store.versions, store.manifest
        assert {"av", "libavcodec", "torch", "torchvision", "onnxruntime"} <= first.keys()
    later = first | {"av": "99.0"}
    monkeypatch.setattr(extraction_job, "versions_now", lambda manifest: later)
    capsys.readouterr()
    # Nothing is added, so nothing is mixed.
    assert bench.run() == 0
    assert "warning:" not in capsys.readouterr().out
    bench.clip("b.mp4")
    for clips_added in (1, 0):
        assert bench.run() == 0
        said = capsys.readouterr().out
        assert f"{counted(clips_added, 'clip')} added" in said
        warned = f"warning: {bench.out} holds features made with other versions than are installed here;"
        assert (f"{warned} numbers may differ a little: av: {first['av']}, here 99.0\n" in said) == bool(clips_added)
    with GraphStore(bench.out) as store:
        assert store.versions == (first, later)
        assert store.manifest == manifest


def test_the_library_extracts_what_the_command_does(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    path = bench.clip("a.mp4")
    told: list[tuple[int, int]] = []

    class Listening(Reporter):
        @contextmanager
        def bar(self, title: str) -> Iterator[Progress]:
            yield lambda done, total: told.append((done, total))

    report = stg.features.extract(
        [path],
        bench.folder / "other",
        networks=NetworkConfig(detector=str(bench.detector), backbone=str(bench.backbone)),
        sampling=SamplingConfig(num_frames=4),
        execution=ExecutionConfig(workers=0, threads=1),
        reporter=Listening(),
    )
    assert (report.done, report.skipped, report.store) == (("a",), (), bench.folder / "other")
    assert (told[0], told[-1]) == ((0, 1), (1, 1))
    assert capsys.readouterr() == ("", "")
    assert bench.run("--workers", "0") == 0
    with GraphStore(bench.out) as one, GraphStore(bench.folder / "other") as other:
        assert one.record("a") == other.record("a")
        assert one.manifest == other.manifest


def test_what_is_there_is_not_done_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import stg.video.clips as clip

    bench.clip("a.mp4")
    assert bench.run("--workers", "0") == 0
    seen = []
    real = clip.sample_video
    monkeypatch.setattr(
        clip, "sample_video", lambda path, *rest, **more: (seen.append(path.name), real(path, *rest, **more))[1]
    )
    assert bench.run("--workers", "0") == 0
    assert seen == []
    bench.clip("b.mp4")
    assert bench.run("--workers", "0") == 0
    assert seen == ["b.mp4"]


def test_one_cut_file_of_three(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        bench.clip(name)
    cut = bench.clips / "b.mp4"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    assert bench.run() == 3
    told = capsys.readouterr()
    assert "1 of 3 clips were skipped, more than --max_skip 0.01" in told.err
    assert "2 clips added" in told.out
    (row,) = bench.rows("skipped")
    assert (row["id"], row["stage"], row["error"]) == ("b", "read", "VideoError")
    assert "incomplete file" in row["message"]
    assert row["time"].endswith("+00:00")
    with GraphStore(bench.out) as store:
        assert sorted(store.keys()) == ["a", "c"]
    assert bench.run("--max_skip", "0.5") == 0
    assert [row["id"] for row in bench.rows("skipped")] == ["b"]
    shutil.copy(bench.clips / "a.mp4", cut)
    assert bench.run() == 0
    assert not Path(f"{bench.out}.skipped.jsonl").exists()


def test_every_kind_of_broken_file_is_a_row(bench: Bench) -> None:
    bench.clip("good.mp4")
    (bench.clips / "empty.mp4").write_bytes(b"")
    (bench.clips / "page.mp4").write_text("<html>404</html>")
    (bench.clips / "gone.mp4").symlink_to(bench.clips / "nowhere")
    os.mkfifo(bench.clips / "pipe.mp4")
    assert bench.run() == 3
    assert {row["id"] for row in bench.rows("skipped")} == {"empty", "page", "gone", "pipe"}
    with GraphStore(bench.out) as store:
        assert list(store.keys()) == ["good"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (["--threshold", "0.3"], "threshold"),
        (["--num_frames", "5"], "num_frames"),
        (["--max_objects", "2"], "max_objects"),
        (["--sampling", "linspace"], "sampling"),
    ],
)
def test_another_setting_on_the_same_store_is_refused(
    bench: Bench, capsys: pytest.CaptureFixture[str], change: list[str], field: str
) -> None:
    bench.clip("a.mp4")
    assert bench.run() == 0
    bench.clip("b.mp4")
    assert bench.run(*change) == 2
    assert field in capsys.readouterr().err
    with GraphStore(bench.out) as store:
        assert list(store.keys()) == ["a"]


def test_other_weights_on_the_same_store_are_refused(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.clip("a.mp4")
    assert bench.run() == 0
    bench.detector.write_bytes(bench.detector.read_bytes() + b"\x00")
    assert bench.run() == 2
    assert "sha256" in capsys.readouterr().err


def test_motion_joins_by_name_and_a_clip_without_it_is_skipped(bench: Bench) -> None:
    bench.clip("a.mp4")
    bench.clip("b.mp4")
    motion = bench.folder / "motion.npz"
    rows = np.repeat(np.array([1, 2, 3, 3], np.float16)[None, :, None], 5, axis=2)
    np.savez(motion, clip=np.array(["a"]), feat=rows)
    assert bench.run("--motion", str(motion), "--motion_span", "4") == 3
    with GraphStore(bench.out) as store:
        assert list(store.keys()) == ["a"]
        graph = store.get("a")
        assert graph.motion[:, 0].tolist() == [1, 2, 3]
        assert graph.frame_number.tolist() == [1, 4, 7, 10]
        assert graph.motion_row.tolist() == [0, 1, 1, 2]
        assert store.manifest["motion"]["span"] == 4
    (row,) = bench.rows("skipped")
    assert row["id"] == "b"
    assert row["message"] == "there are no motion features for video 'b'"


NAMES = ["-4wsuPCjDBc_5_15.mp4", "two words.mp4", "line\nbreak.mp4", "smile 😀.mp4", b"caf\xe9.mp4"]


def test_any_file_name_works(bench: Bench) -> None:
    first = bench.clip("first.mp4")
    for name in NAMES:
        (bench.clips / os.fsdecode(name)).write_bytes(first.read_bytes())
    assert bench.run() == 0
    with GraphStore(bench.out) as store:
        ids = {"-4wsuPCjDBc_5_15", "two words", "line\nbreak", "smile 😀", "caf\\xe9", "first"}
        assert set(store.keys()) == ids
    assert {row["id"] for row in bench.rows("clips")} == ids


def test_a_name_that_starts_with_a_dash_on_the_command_line(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.clip("-4ws.mp4")
    monkeypatch.chdir(bench.clips)
    assert bench.run(clips=["-4ws.mp4"]) == 0
    with GraphStore(bench.out) as store:
        assert list(store.keys()) == ["-4ws"]


def test_finding_clips(bench: Bench) -> None:
    path = bench.clip("b.mp4")
    (bench.clips / "a.MKV").write_bytes(b"")
    (bench.clips / "x.txt").write_text("")
    assert find_clips((str(bench.clips),)) == {"a": bench.clips / "a.MKV", "b": path}
    assert find_clips((str(bench.clips / "x.txt"), str(path))).keys() == {"x", "b"}
    with pytest.raises(UserError, match=r"there is no file or folder 'gone\.mp4': give clips"):
        find_clips((str(path), "gone.mp4"))
    assert len(find_clips((str(bench.clips), str(path)))) == 2  # the same file twice is one clip
    (bench.folder / "b.avi").write_bytes(b"")
    with pytest.raises(UserError, match=r"two clips would have the id 'b': .*b.mp4' and .*b.avi'; rename one"):
        find_clips((str(bench.clips), str(bench.folder / "b.avi")))
    (bench.folder / "none").mkdir()
    with pytest.raises(UserError, match=r"none' holds no clips \(names that end in .3g2 .3gp .*"):
        find_clips((str(bench.folder / "none"),))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--detector", "nothing.onnx"], "network nothing.onnx does not exist"),
        (["--motion", "nothing.npz"], "could not read nothing.npz"),
        (["--threshold", "2"], "threshold must lie in 0..1; got 2.0"),
        (["--num_frames", "0"], "num_frames must be at least 1; got 0"),
        (["--sampling", "random"], "sampling"),
        (["--thresold", "0.3"], "threshold"),
    ],
)
def test_wrong_options_end_with_2(
    bench: Bench, capsys: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    bench.clip("a.mp4")
    assert bench.run(*options) == 2
    assert words in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_done_and_the_command_goes_on(bench: Bench, python: list[str]) -> None:
    first = bench.clip("clip0.mp4")
    for number in range(1, 120):
        (bench.clips / f"clip{number}.mp4").write_bytes(first.read_bytes())
    command = [*python, "-m", "stg.extract", *bench.options(), "--", str(bench.clips)]
    running = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while len(bench.rows("clips")) < 3 and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    told = running.communicate(timeout=300)[1]
    assert running.returncode == 75, told
    assert "of 120 clips are in" in told
    with GraphStore(bench.out) as store:
        kept = set(store.keys())
        assert 2 <= len(kept) < 120
    left = sorted(path for path in bench.clips.iterdir() if path.stem not in kept)
    for path in left[5:]:
        path.unlink()
    assert bench.run() == 0
    with GraphStore(bench.out) as store:
        assert set(store.keys()) == kept | {path.stem for path in left[:5]}
        assert store.verify() == []


def test_a_request_to_terminate_is_ctrl_c(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import stg.video.clips as clip

    for name in ("a.mp4", "b.mp4", "c.mp4"):
        bench.clip(name)
    real, before = clip.sample_video, signal.getsignal(signal.SIGTERM)

    def read(path: Path, *rest: Any, **more: Any) -> SampledFrames:
        if path.name == "c.mp4":
            os.kill(os.getpid(), signal.SIGTERM)
        return real(path, *rest, **more)

    monkeypatch.setattr(clip, "sample_video", read)
    assert bench.run("--workers", "0", "--group", "1") == 75
    assert "the same command resumes from there" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.undo()
    assert bench.run() == 0
    with GraphStore(bench.out) as store:
        assert store.keys() == ["a", "b", "c"]


# --- ingest, as other sources use it


def frames_of(video: str) -> SampledFrames:
    return SampledFrames(video, np.zeros((2, 64, 64, 3), np.uint8), np.arange(2), 2, 0.0)


def extractor_of(bench: Bench) -> Extractor:
    networks = OnnxYoloX(bench.detector, threads=1), OnnxBackbone(bench.backbone, threads=1)
    return Extractor(*networks, SamplingConfig(num_frames=2))


def ingest_into(bench: Bench, read: Callable[[str], SampledFrames], videos: list[str], **more: Any) -> Any:
    bench.out.parent.mkdir(exist_ok=True)
    with GraphStore(bench.out, "a") as store:
        return ingest(store, videos, prefetch(read), extractor_of(bench), **more)


def test_ingest_tells_what_became_of_every_video_in_order(bench: Bench) -> None:
    told: list[tuple[int, int]] = []

    def read(video: str) -> SampledFrames:
        if video == "bad":
            raise VideoError("'bad' is broken")
        return frames_of(video)

    log = ExtractionLog(bench.folder / "made")
    report = ingest_into(bench, read, ["x", "bad", "y", "x"], progress=lambda *now: told.append(now), log=log)
    assert (report.done, report.already, report.skipped) == (("x", "y"), (), ("bad",))
    assert told == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert report.seconds.keys() == {"read", "detector", "image", "graph", "store"}
    assert json.loads(log.skips.read_text())["message"] == "'bad' is broken"
    again = ingest_into(bench, read, ["y", "z", "x"])
    assert (again.done, again.already, again.skipped) == (("z",), ("y", "x"), ())


def test_an_error_that_is_not_the_videos_ends_the_work(bench: Bench) -> None:
    def read(video: str) -> SampledFrames:
        raise StgError("the disk is gone")

    with pytest.raises(StgError, match="the disk is gone"):
        ingest_into(bench, read, ["x"])
    with pytest.raises(UserError, match=r"'x' was sampled at 3 frames; this extractor is set to 2"):
        ingest_into(
            bench, lambda video: SampledFrames(video, np.zeros((3, 8, 8, 3), np.uint8), np.arange(3), 3, 0.0), ["x"]
        )


def test_a_clip_that_the_networks_refuse_is_skipped_and_its_group_is_not(bench: Bench) -> None:
    extractor = extractor_of(bench)

    class Choosy:
        """An image network that refuses one clip, as those of torchvision refuse very long pictures."""

        def __call__(self, sample: SampledFrames, boxes: Any) -> Any:
            if sample.video == "thin":
                raise VideoError("'thin' is 640x20")
            return extractor.backbone(sample, boxes)

        def manifest(self) -> dict[str, Any]:
            return extractor.backbone.manifest()

    choosy = Extractor(extractor.detector, Choosy(), SamplingConfig(num_frames=2))
    log = ExtractionLog(bench.folder / "made")
    bench.out.parent.mkdir()
    with GraphStore(bench.out, "a") as store:
        report = ingest(store, ["a", "thin", "b"], prefetch(frames_of), choosy, group=3, log=log)
        assert store.keys() == ["a", "b"]
    assert (report.done, report.skipped) == (("a", "b"), ("thin",))
    row = json.loads(log.skips.read_text())
    assert (row["id"], row["stage"], row["error"]) == ("thin", "extract", "VideoError")


def test_features_that_are_not_finite_skip_the_video(bench: Bench) -> None:
    motion = lambda video, sample: (np.full((1, 2), np.nan if video == "x" else 1.0), np.zeros(2, int))  # noqa: E731
    report = ingest_into(bench, frames_of, ["x", "y"], motion=motion)
    assert (report.done, report.skipped) == (("y",), ("x",))


def test_reading_is_one_video_ahead_and_no_more(bench: Bench) -> None:
    started: list[str] = []
    most = 0

    def read(video: str) -> SampledFrames:
        started.append(video)
        return frames_of(video)

    def progress(done: int, total: int) -> None:
        nonlocal most
        most = max(most, len(started) - done)

    ingest_into(bench, read, [f"v{i}" for i in range(8)], progress=progress)
    assert len(started) == 8
    assert most <= 2


@pytest.mark.shared_data
def test_two_real_clips_with_real_networks(shared_data: Path, tmp_path: Path) -> None:
    weights, msvd, out = shared_data.parent / "weights", shared_data / "msvd", tmp_path / "store"
    names = ["-AwoiGR6c8M_10_14", "-_aaMGK6GGw_57_61"]
    code = run_command(
        ExtractConfig,
        main,
        "",
        ["--out", str(out), "--detector", str(weights / "yolox_nano.onnx"), "--threshold", "0.3", "--threads", "1"]
        + ["--backbone", str(weights / "efficientnet_lite0_256.onnx"), "--num_frames", "3"]
        + ["--motion", str(msvd / "motion" / "r2plus1d34_ig65m_logits.npz"), "--"]
        + [str(msvd / "clips" / f"{name}.mp4") for name in names],
    )
    assert code == 0
    with GraphStore(out) as store:
        assert sorted(store.keys()) == sorted(names)
        for name in names:
            graph = store.get(name)
            assert graph.scene.shape == (3, 1280)
            assert graph.motion.shape[1] == 359
            assert graph.x.shape[1] == 1280
            assert (graph.scores >= 0.3).all()
