"""Every network through ``stg.extract``, with random weights: what is in the store is what the network says by hand."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data
from torchvision.models import ResNet101_Weights
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.models.video import s3d

from graphs import GraphStore
from stg.commands.extract import main
from stg.commands.parser import run_command
from stg.config.extraction import ExecutionConfig, ExtractConfig, NetworkConfig, SamplingConfig
from stg.features.build import make_extractor
from stg.runtime.errors import UserError
from stg.video.audio import read_sound
from stg.video.clip import SegmentRequest
from stg.video.decoding import sample_video
from stg.video.segments import read_segments
from stg.vision.motion import I3DNetwork
from stg.vision.published import BACKBONE_NAMES, DETECTOR_NAMES, PUBLISHED, UNPUBLISHED
from stg.vision.registry import MOTION, execution_for, locate, names_of
from stg.vision.torch_backbones import TorchBackbone
from stg.vision.vggish import VGGishNetwork
from tests.stg.make_sound import sine, write_movie
from tests.stg.make_torch_networks import (
    DETECTOR,
    FLOW,
    shrink,
    write_detector,
    write_i3d,
    write_image,
    write_patches,
    write_raft,
    write_s3d,
    write_vggish,
)  # fmt: skip
from tests.stg.vision.test_inference import slow_roi_features
from tests.stg.vision.test_motion import WIDTH, i3d
from tests.stg.vision.test_torch_backbones import narrow

ROOT = Path(__file__).resolve().parents[3]
RESNEXT = "fasterrcnn_resnext101_fpn"


class Bench:
    """Weights, one clip of 12 frames, and the command run on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clip = folder, write_patches(folder / "clip0.mp4")
        self.image = write_image(folder / "image.pth")
        self.rgb, self.flow = write_i3d(folder / "rgb.pt", 3), write_i3d(folder / "flow.pt", 2)
        self.raft = write_raft(folder / "raft.pth")
        self.made: dict[tuple[str, ...], Data] = {}

    def detector(self, name: str = RESNEXT) -> Path:
        path = self.folder / f"{name}.pth"
        return path if path.exists() else write_detector(path, name)

    def run(self, out: Path, *more: Any, clips: tuple[Path, ...] = ()) -> int:
        """Without a detector, of three frames, in this process, unless more is said."""
        options = {"--backbone": "resnet101", "--backbone_weights": self.image, "--num_frames": 3, "--threads": 1}
        told = [item for pair in options.items() for item in pair] + ["--out", out, "--workers", 0]
        told += [] if "--detector" in more else ["--detector", "none"]
        return run_command(
            ExtractConfig, main, "", [str(item) for item in [*told, *more, "--", *(clips or (self.clip,))]]
        )

    def extract(self, *more: Any) -> Data:
        """The graph of the clip, as the store has it."""
        key = tuple(str(item) for item in more)
        if key not in self.made:
            out = self.folder / f"store{len(self.made)}"
            assert self.run(out, *more) == 0
            with GraphStore(out) as store:
                self.made[key] = store.get("clip0")
        return self.made[key]

    def find(self, *more: Any) -> Data:
        """With a detector."""
        return self.extract("--detector", RESNEXT, "--detector_weights", self.detector(), "--threshold", 0.2, *more)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield Bench(tmp_path_factory.mktemp("bench"))


def close(stored: torch.Tensor, expected: Any) -> None:
    """Equal to what half precision keeps, and not all the same."""
    expected = np.asarray(expected)
    assert expected.std() > 1e-4
    assert stored.shape == expected.shape
    np.testing.assert_allclose(stored.float().numpy(), expected, rtol=2e-3, atol=2e-3)


def test_the_scene_is_the_networks_average_pool(bench: Bench) -> None:
    graph = bench.extract()
    frame = sample_video(bench.clip, 3).frames[1]
    image = ResNet101_Weights.IMAGENET1K_V1.transforms()(torch.from_numpy(frame).permute(2, 0, 1))[None]
    with torch.inference_mode():
        pooled = create_feature_extractor(narrow(), ["flatten"])(image)["flatten"]
    assert graph.scene.shape == (3, 2048)
    close(graph.scene[1], pooled[0])
    assert graph.x.shape == (0, 0)
    assert graph.boxes.shape == (0, 4)


def test_objects_are_the_detectors_own_by_default(bench: Bench) -> None:
    """The head has 6 classes: the file tells how many."""
    graph = bench.find()
    sample = sample_video(bench.clip, 3)
    assert sample.seconds is not None
    second = replace(
        sample, frames=sample.frames[1:2], frame_number=sample.frame_number[1:2], seconds=sample.seconds[1:2]
    )
    found = DETECTOR(RESNEXT, weights=bench.detector())(second)[0]
    rows = graph.frame == 1
    count = min(5, int((found.scores >= 0.2).sum()))
    assert 0 < count == int(rows.sum())
    close(graph.boxes[rows], found.boxes[:count])
    close(graph.scores[rows], found.scores[:count])
    close(graph.x[rows], found.features[:count])
    assert graph.x.shape[1] == 2048


def test_objects_from_the_image_are_read_off_the_map_of_the_whole_frame(bench: Bench) -> None:
    graph = bench.find("--objects", "image")
    maps = TorchBackbone("resnet101", weights=bench.image).feature_maps(sample_video(bench.clip, 3))
    rows, channels = graph.frame == 1, np.arange(0, 2048, 97)
    boxes = graph.boxes[rows].numpy() * np.array([426 / 80, 256 / 48] * 2)
    slow = slow_roi_features(maps[1:2, channels].astype(float), boxes, np.zeros(len(boxes), int), 32.0)
    close(graph.x[rows][:, channels], slow)
    assert graph.x.shape[1] == 2048


@torch.inference_mode()
def test_s3d_describes_rows_places_and_objects(bench: Bench) -> None:
    weights = write_s3d(bench.folder / "s3d.pth")
    options = ["--motion", "s3d", "--motion_weights", weights, "--motion_span", 14]
    graph = bench.find(*options, "--grid", "true", "--objects", "image+motion")
    (segment,) = read_segments(bench.clip, SegmentRequest(14, (224, 224), (224, 224)))
    mean, std = torch.tensor([0.43216, 0.394666, 0.37645]), torch.tensor([0.22803, 0.22145, 0.216989])
    values = (torch.from_numpy(segment.frames) / 255 - mean) / std
    network = s3d(weights=None, num_classes=5).eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    (maps,) = network.features(values.permute(3, 0, 1, 2)[None])
    steps = maps.shape[1]
    assert graph.motion_row.tolist() == [0, 0, 0]
    close(graph.motion, maps.mean((1, 2, 3))[None])
    assert graph.grid.shape == (1, 49, 1024 * steps)
    close(graph.grid[0, 9], torch.cat([maps[:, step, 1, 2] for step in range(steps)]))
    rows, channels = graph.frame == 1, np.arange(0, 1024, 61)
    boxes = graph.boxes[rows].numpy() * np.array([224 / 80, 224 / 48] * 2)
    slow = slow_roi_features(maps.mean(1)[None, channels].double().numpy(), boxes, np.zeros(len(boxes), int), 32.0)
    assert graph.x.shape[1] == 2048 + 1024
    close(graph.x[rows][:, 2048 + channels], slow)
    close(graph.x[:, :2048], bench.find("--objects", "image").x)


@torch.inference_mode()
def test_i3d_on_rgb(bench: Bench) -> None:
    graph = bench.extract("--motion", "i3d", "--motion_weights", bench.rgb, "--motion_span", 9, "--grid", "true")
    first, second = read_segments(bench.clip, SegmentRequest(9, 256, (224, 224)))
    values = torch.from_numpy(np.stack([first.frames, second.frames])) / 127.5 - 1
    maps = i3d(bench.folder, "rgb", 3)(values.permute(0, 4, 1, 2, 3))
    assert graph.motion_row.tolist() == [0, 0, 1]  # frames 2, 6, 10
    close(graph.motion, maps.mean((2, 3, 4)))
    close(graph.grid, torch.cat([maps[:, :, 0], maps[:, :, 1]], 1).flatten(2).transpose(1, 2))


def test_i3d_on_flow_and_on_both(bench: Bench) -> None:
    options = ["--raft_weights", bench.raft, "--motion_span", 12, "--batch", 11]
    both = ["--motion", "i3d_two_stream", "--motion_weights", bench.rgb, "--flow_weights", bench.flow, *options]
    alone = ["--motion", "i3d_flow", "--motion_weights", bench.flow, *options]
    graphs = [bench.extract(*both), bench.extract(*alone)]
    (segment,) = read_segments(bench.clip, SegmentRequest(12, 256, (256, 256)))
    pixels = FLOW(bench.raft, size="small")(segment.frames[None])[:, :, 16:-16, 16:-16]
    values = torch.from_numpy(pixels.clip(-20, 20) / 20).permute(0, 4, 1, 2, 3)
    with torch.inference_mode():
        pooled = i3d(bench.folder, "flow", 2)(values).mean((2, 3, 4))
    rgb = I3DNetwork(weights=bench.rgb, span=12)(segment.frames[None, :, 16:-16, 16:-16]).pooled
    close(graphs[0].motion, np.concatenate([rgb, pooled], 1))
    close(graphs[1].motion, pooled)
    assert pooled.shape == (1, 16 * WIDTH)


def test_sound_silence_and_none_are_in_one_store(bench: Bench) -> None:
    weights, out = write_vggish(bench.folder / "vggish.pth"), bench.folder / "heard"
    sounds = {"tone": sine(700, 2.5), "silent": np.zeros(32000, np.float32), "mute": None}
    clips = [write_movie(bench.folder / f"{name}.mkv", made) for name, made in sounds.items()]
    assert bench.run(out, "--sound", "vggish", "--sound_weights", weights, clips=tuple(clips)) == 0
    with GraphStore(out) as store:
        graphs = {name: store.get(name) for name in sounds}
    examples = np.concatenate([part.examples for part in read_sound(clips[0])])
    close(graphs["tone"].audio, VGGishNetwork(weights)(examples))
    assert graphs["tone"].audio_mask.tolist() == [True, True]
    assert graphs["silent"].audio_mask.tolist() == [False, False]
    assert torch.equal(graphs["silent"].audio, torch.zeros(2, 128, dtype=graphs["silent"].audio.dtype))
    assert graphs["mute"].audio.shape == (0, 128)
    assert graphs["mute"].audio_mask.shape == (0,)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where weights would be on a machine that has none, and no network."""

    def refuse(*_: Any) -> None:
        raise OSError("the network is down")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    return tmp_path / "torch" / "hub" / "checkpoints"


def told(choice: NetworkConfig, **how: Any) -> str:
    """The one line that a choice is answered with."""
    with pytest.raises(UserError) as error:
        locate(choice, **how)
    assert "\n" not in str(error.value)
    return str(error.value)


def assert_published(words: str, network: str, option: str, cache: Path) -> None:
    """Name, file, size, hash, address, where the file goes, and how it is passed; others may be missing, too."""
    words = about(words, option)
    (item, *_) = PUBLISHED[network]
    for word in (
        f"the weights {item.choice} of {network} are not on this machine: {item.file}, {item.megabytes:.1f} MB, ",
        f", sha256 {item.sha256_prefix}..., published at {item.address}; put the file at {cache / item.file}",
    ):
        assert word in words
    assert words.endswith(f" (--{option} FILE, or --download)")


def about(words: str, option: str) -> str:
    """The part of an answer that is about one of several missing files."""
    return next(part for part in words.split("; and ") if f"(--{option} FILE" in part)


def test_all_that_is_missing_is_told_at_once(cache: Path) -> None:
    words = told(NetworkConfig(detector="maskrcnn_resnet50_fpn", motion="s3d", sound="vggish"))
    for network, option in (("maskrcnn_resnet50_fpn", "detector"), ("resnet101", "backbone"), ("s3d", "motion")):
        assert_published(words, network, f"{option}_weights", cache)
    assert "no weights of vggish are published" in about(words, "sound_weights")


@pytest.mark.parametrize("name", BACKBONE_NAMES)
def test_offline_an_image_network_is_told(cache: Path, name: str) -> None:
    assert_published(told(NetworkConfig(detector="none", backbone=name)), name, "backbone_weights", cache)


@pytest.mark.parametrize("name", [name for name in DETECTOR_NAMES if name != RESNEXT])
def test_offline_a_detector_is_told(cache: Path, name: str) -> None:
    assert_published(told(NetworkConfig(detector=name)), name, "detector_weights", cache)


@pytest.mark.parametrize(
    ("choice", "missing", "option"),
    [
        ({"detector": RESNEXT}, RESNEXT, "detector_weights"),
        ({"motion": "s3d"}, "s3d", "motion_weights"),
        ({"motion": "i3d"}, "i3d_rgb", "motion_weights"),
        ({"motion": "i3d_flow"}, "i3d_flow", "motion_weights"),
        ({"motion": "i3d_flow", "motion_weights": "bench"}, "raft_large", "raft_weights"),
        ({"motion": "i3d_two_stream"}, "i3d_rgb", "motion_weights"),
        ({"motion": "i3d_two_stream", "motion_weights": "bench"}, "i3d_flow", "flow_weights"),
        (
            {"motion": "i3d_two_stream", "motion_weights": "bench", "flow_weights": "bench"},
            "raft_large",
            "raft_weights",
        ),
        ({"sound": "vggish"}, "vggish", "sound_weights"),
    ],
)  # fmt: skip
def test_offline_the_other_networks_are_told(
    cache: Path, bench: Bench, choice: dict[str, Any], missing: str, option: str
) -> None:
    here = {"detector": "none", "backbone_weights": "bench"} | choice
    words = told(NetworkConfig(**{key: str(bench.image) if value == "bench" else value for key, value in here.items()}))
    if missing in PUBLISHED:
        assert_published(words, missing, option, cache)
    else:
        assert about(words, option) == (
            f"no weights of {missing} are published that may be fetched: give the path of a file with "
            f"{UNPUBLISHED[missing]} (--{option} FILE)"
        )


def test_a_download_without_a_network_is_one_line(cache: Path) -> None:
    words = told(NetworkConfig(detector="none"), fetch=True)
    assert words.startswith(f"could not download {PUBLISHED['resnet101'][0].address} (170.5 MB) to {cache}")
    assert words.endswith("put it there, or give the path of a file (--backbone_weights FILE)")
    assert "the network is down" in words
    assert not list(cache.glob("*"))


WRAPPER = """
import socket, sys
def refuse(*_): raise SystemExit("a connection was tried")
socket.socket.connect = socket.getaddrinfo = refuse
from stg.commands.parser import run_command
from stg.extract import ExtractConfig, main
code = run_command(ExtractConfig, main, "", sys.argv[1:])
assert "torch" not in sys.modules and "av" not in sys.modules
sys.exit(code)
"""


def test_offline_the_command_answers_before_it_loads_anything(bench: Bench, tmp_path: Path) -> None:
    environment = os.environ | {"TORCH_HOME": str(tmp_path / "torch")}
    command = [sys.executable, "-c", WRAPPER, str(bench.clip), "--out", str(tmp_path / "store")]
    found = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert found.returncode == 2, found.stderr
    assert found.stderr.count("\n") == 1
    cache = tmp_path / "torch" / "hub" / "checkpoints"
    name = "fasterrcnn_resnet50_fpn_v2"
    assert_published(found.stderr.removeprefix("error: ").rstrip(), name, "detector_weights", cache)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (
            {"detector": "yolo"},
            f"detector must be one of {', '.join(DETECTOR_NAMES)}, the path of an .onnx file, hf:MODEL (a folder, or ",
        ),
        (
            {"detector": "none", "backbone": "vgg"},
            f"backbone must be one of {', '.join(BACKBONE_NAMES)}, the path of an .onnx",
        ),
        ({"backbone": "none", "detector": "none"}, "got 'none'"),
        ({"detector": "eye.onnx"}, "network eye.onnx does not exist; --detector takes the path of an ONNX file"),
        ({"motion": "c3d"}, f"motion must be one of {', '.join(names_of(MOTION))}, hf:MODEL (a folder, "),
    ],
)
def test_unknown_names_list_the_known_ones(bench: Bench, choice: dict[str, str], words: str) -> None:
    assert words in told(NetworkConfig(**{"detector": "none", "backbone_weights": str(bench.image)} | choice))


class Payload:
    """Pickled code that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_code_in_weights_is_never_run(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad, trace = tmp_path / "bad.pth", tmp_path / "ran"
    torch.save({"fc.weight": torch.zeros(5, 2048), "more": Payload(trace)}, bad)
    for option in ("--backbone_weights", "--detector_weights", "--motion_weights"):
        given = ["--motion", "s3d", "--motion_weights", bad] if "motion" in option else [option, bad]
        given += ["--detector", RESNEXT] if "detector" in option else []
        assert bench.run(tmp_path / "store", *given) == 2
        words = capsys.readouterr().err
        assert f"weights file {bad} holds Python objects besides tensors" in words
        assert words.count("\n") == 1
    assert not trace.exists()


def test_weights_that_do_not_fit_begin_no_store(
    bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detector = ["--detector", RESNEXT, "--detector_weights"]
    for given, words in (
        (["--backbone_weights", bench.rgb], r"rgb.pt is not of this network \(ResNet\): missing \d+ .*; extra \d+"),
        ([*detector, bench.image], r"image.pth is not of this network \(FasterRCNN\): missing"),
        (["--motion", "s3d", "--motion_weights", bench.rgb], r"rgb.pt is not of this network \(S3D\): missing"),
        (
            ["--motion", "i3d", "--motion_weights", bench.flow],
            r"flow.pt is of an I3D on 2 channels; the rgb ",
        ),
        (
            ["--motion", "i3d_flow", "--motion_weights", bench.flow, "--raft_weights", bench.image],
            r"image.pth is not of this network \(RAFT\): missing",
        ),
        (["--sound", "vggish", "--sound_weights", bench.rgb], r"rgb.pt is not of this network \(VGGish\): missing"),
    ):
        assert bench.run(tmp_path / "store", *given) == 2
        told = capsys.readouterr().err
        assert re.search(words, told)
        assert told.count("\n") == 1
    assert bench.run(tmp_path / "store") == 0  # no manifest of a network that could not be loaded is in the way


def test_detectors_and_motion_take_little_at_a_time_on_a_cpu(bench: Bench) -> None:
    for asked, batches in (5, (5, 5, 1)), (20, (20, 20, 4)):
        found = execution_for(ExecutionConfig(device="cpu", batch=asked), num_frames=10)
        assert (found.batch, found.detector_batch, found.segments) == batches
    choice = NetworkConfig(
        detector=RESNEXT,
        detector_weights=str(bench.detector()),
        backbone_weights=str(bench.image),
        motion="i3d",
        motion_weights=str(bench.rgb),
    )
    usual = execution_for(ExecutionConfig(device="cpu"), num_frames=10)
    extractor, _ = make_extractor(choice, SamplingConfig(), usual, locate(choice))
    parts: list[Any] = [extractor.backbone, extractor.detector, extractor.motion]
    assert tuple(part.batch for part in parts) == (10, 2, 1)
