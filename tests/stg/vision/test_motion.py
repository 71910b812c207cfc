"""Motion networks on random weights: preprocessing against the definition, shapes, grouping, manifests, errors."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models.optical_flow import raft_small
from torchvision.models.video import S3D_Weights, s3d

from stg.runtime.errors import UserError
from stg.runtime.files import sha256_file
from stg.video.clip import SegmentRequest
from stg.video.segments import read_segments
from stg.vision.flow import RaftFlow
from stg.vision.i3d import I3D
from stg.vision.motion import I3DNetwork, MotionNetwork, S3DNetwork, grid, mean_map
from tests.stg.make_clips import write_clip

WIDTH = 4
"""Of the first convolution; the map has 16 times as many channels, as the published network."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights: ``rgb.pt``, ``flow.pt`` (I3D of width 4, 7 classes) and ``s3d.pth`` (5 classes)."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name, channels in (("rgb", 3), ("flow", 2)):
        torch.save(lively(I3D(channels, 7, WIDTH)).state_dict(), folder / f"{name}.pt")
    torch.save(lively(s3d(weights=None, num_classes=5)).state_dict(), folder / "s3d.pth")
    return folder


def lively(network: torch.nn.Module) -> torch.nn.Module:
    """Keep the signal up through the layers, so that the map is not all zeros."""
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm3d):
            torch.nn.init.constant_(layer.weight, 2.0)
            torch.nn.init.uniform_(layer.bias, -0.1, 0.2)
    return network


def segments(count: int, side: int = 224, span: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, span, side, side, 3), dtype=np.uint8)


class Ramp:
    """A flow of known pixels: 30 to the right in the left half, -5 down everywhere; the crop's border is marked."""

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        flow = np.zeros((*frames.shape[:4], 2), np.float32)
        flow[:, :, :, :128, 0] = 30
        flow[..., 1] = -5
        flow[:, :, :16] = flow[:, :, -16:] = flow[:, :, :, :16] = flow[:, :, :, -16:] = 1000  # to be cropped
        return flow

    def manifest(self) -> dict[str, Any]:
        return {"kind": "ramp"}


def i3d(folder: Path, name: str, channels: int) -> I3D:
    network = I3D(channels, 7, WIDTH).eval()
    network.load_state_dict(torch.load(folder / f"{name}.pt", weights_only=True))
    return network


def assert_result(result: Any, want: torch.Tensor) -> None:
    assert want.std() > 1e-3
    np.testing.assert_allclose(result.maps, want.permute(0, 2, 3, 4, 1).numpy(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(result.pooled, want.mean((2, 3, 4)).numpy(), rtol=1e-3, atol=1e-4)


@torch.inference_mode()
def test_rgb_values_lie_between_minus_one_and_one(folder: Path) -> None:
    network = I3DNetwork(weights=folder / "rgb.pt")
    clips = segments(1)
    values = torch.from_numpy(clips).float().permute(0, 4, 1, 2, 3) * 2 / 255 - 1
    result = network(clips)
    assert_result(result, i3d(folder, "rgb", 3)(values))
    assert result.maps.shape == (1, 2, 7, 7, 16 * WIDTH)
    assert network.request == SegmentRequest(16, 256, (224, 224))
    assert isinstance(network, MotionNetwork)


@torch.inference_mode()
def test_flow_is_cut_off_at_twenty_pixels_and_cropped(folder: Path) -> None:
    network = I3DNetwork("flow", weights=folder / "flow.pt", flow=Ramp())
    assert network.request == SegmentRequest(16, 256, (256, 256))
    values = torch.zeros(1, 2, 16, 224, 224)
    values[:, 0, :, :, :112] = 1
    values[:, 1] = -0.25
    assert_result(network(segments(1, 256)), i3d(folder, "flow", 2)(values))


def test_two_streams_are_rgb_then_flow(folder: Path) -> None:
    files = (folder / "rgb.pt", folder / "flow.pt")
    clips = segments(1, 256)
    both = I3DNetwork("two_stream", weights=files, flow=Ramp())(clips)
    rgb = I3DNetwork(weights=files[0])(clips[:, :, 16:-16, 16:-16])
    flow = I3DNetwork("flow", weights=files[1], flow=Ramp())(clips)
    np.testing.assert_array_equal(both.pooled, np.concatenate([rgb.pooled, flow.pooled], 1))
    np.testing.assert_array_equal(both.maps, np.concatenate([rgb.maps, flow.maps], 4))
    assert grid(both.maps).shape == (1, 49, 2 * 2 * 16 * WIDTH)


def test_real_flow_goes_through(folder: Path, tmp_path: Path) -> None:
    torch.save(raft_small(weights=None).state_dict(), tmp_path / "raft.pth")
    flow = RaftFlow(tmp_path / "raft.pth", size="small", updates=1, batch=1)
    result = I3DNetwork("flow", weights=folder / "flow.pt", span=9, flow=flow)(segments(1, 256, 9))
    assert result.maps.shape == (1, 2, 7, 7, 16 * WIDTH)
    assert np.isfinite(result.maps).all()


def test_32_frames_give_four_steps(folder: Path) -> None:
    result = I3DNetwork(weights=folder / "rgb.pt", span=32)(segments(1, span=32))
    assert result.maps.shape == (1, 4, 7, 7, 16 * WIDTH)
    np.testing.assert_allclose(result.pooled, result.maps.mean((1, 2, 3)), rtol=1e-4)


@torch.inference_mode()
def test_s3d_is_torchvisions_network_on_torchvisions_preset(folder: Path) -> None:
    network = S3DNetwork(folder / "s3d.pth")
    assert network.request == SegmentRequest(16, (256, 256), (224, 224))
    reference = s3d(weights=None, num_classes=5).eval()
    reference.load_state_dict(torch.load(folder / "s3d.pth", weights_only=True))
    preset = S3D_Weights.KINETICS400_V1.transforms()
    assert (preset.resize_size, preset.crop_size) == ([256, 256], [224, 224])
    assert S3D_Weights.KINETICS400_V1.meta["min_temporal_size"] == 14
    clips = segments(1)
    preset.resize_size = [224, 224]  # done by the reader
    result = network(clips)
    values = preset(torch.from_numpy(clips).permute(0, 1, 4, 2, 3))
    maps = reference.features(values)
    assert_result(result, maps)
    assert result.pooled.shape == (1, 1024)
    assert isinstance(network, MotionNetwork)
    scores = reference.classifier(torch.from_numpy(result.pooled)[:, :, None, None, None]).flatten(1)
    want = reference.classifier(reference.avgpool(maps)).mean((2, 3, 4))
    torch.testing.assert_close(scores, want, rtol=1e-3, atol=1e-4)  # pooled is what it classifies


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """How many threads torch has; other tests leave it as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("batch", [1, 2])
def test_bytes_do_not_depend_on_the_grouping(folder: Path, batch: int) -> None:
    network = I3DNetwork(weights=folder / "rgb.pt", span=9, batch=batch)
    clips = segments(3, span=9)
    clips.flags.writeable = False  # as from another process
    together = network(clips)
    for row in range(3):
        alone = network(clips[row : row + 1])
        np.testing.assert_array_equal(alone.pooled[0], together.pooled[row])
        np.testing.assert_array_equal(alone.maps[0], together.maps[row])
    assert len(np.unique(together.pooled[:, 0])) == 3


def test_a_clip_goes_all_the_way(folder: Path, tmp_path: Path) -> None:
    """Read as the network asks, one row for each begun span; the still second half looks like nothing but itself."""
    pictures = [*np.random.default_rng(0).integers(0, 256, (9, 48, 64, 3), dtype=np.uint8)]
    path = write_clip(tmp_path / "clip.mp4", pictures + [pictures[-1]] * 11)
    network = I3DNetwork(weights=folder / "rgb.pt", span=9)
    rows = [network(segment.frames[None]).pooled for segment in read_segments(path, network.request)]
    assert np.concatenate(rows).shape == (3, 16 * WIDTH)
    assert np.abs(rows[1] - rows[2]).max() < np.abs(rows[0] - rows[1]).max() / 3


# --- what is made of the maps


def test_grid_puts_the_steps_side_by_side() -> None:
    maps = np.random.default_rng(0).random((3, 2, 4, 5, 6), np.float32)
    got = grid(maps)
    assert got.shape == (3, 20, 12)
    for k, t, y, x, g in np.ndindex(*maps.shape):
        assert got[k, y * 5 + x, t * 6 + g] == maps[k, t, y, x, g]
    assert grid(np.zeros((2, 2, 7, 7, 1024), np.float32)).shape == (2, 49, 2048)
    assert grid(np.zeros((0, 2, 7, 7, 1024), np.float32)).shape == (0, 49, 2048)


def test_mean_map_is_the_mean_over_time() -> None:
    maps = np.random.default_rng(0).random((3, 2, 4, 5, 6), np.float32)
    got = mean_map(maps)
    assert got.shape == (3, 6, 4, 5)
    for k, g, y, x in np.ndindex(*got.shape):
        assert got[k, g, y, x] == pytest.approx((maps[k, 0, y, x, g] + maps[k, 1, y, x, g]) / 2)


# --- manifests


def test_the_manifest_of_i3d(folder: Path) -> None:
    files = (folder / "rgb.pt", folder / "flow.pt")
    assert I3DNetwork("two_stream", weights=files, span=32, flow=Ramp()).manifest() == {
        "kind": "i3d",
        "stream": "two_stream",
        "weights": ["rgb.pt", "flow.pt"],
        "sha256": [sha256_file(path) for path in files],
        "span": 32,
        "frame_rate": "as in the video",
        "resize": "shorter side 256, swscale bilinear",
        "crop": [224, 224],
        "values": "rgb to [-1, 1]; flow in pixels cut off at 20, divided by 20",
        "pooled": "mean over Mixed_5c",
        "flow": {"kind": "ramp"},
    }
    assert I3DNetwork(weights=files[0]).manifest()["flow"] is None


def test_the_manifest_of_s3d(folder: Path) -> None:
    manifest = S3DNetwork(folder / "s3d.pth", span=32).manifest()
    preset = S3D_Weights.KINETICS400_V1.transforms()
    assert (manifest["kind"], manifest["span"], manifest["weights"]) == ("s3d", 32, "s3d.pth")
    assert manifest["sha256"] == sha256_file(folder / "s3d.pth")
    assert (manifest["mean"], manifest["std"]) == (preset.mean, preset.std)


# --- errors


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stream": "grey"}, "stream must be one of rgb, flow, two_stream; got 'grey'"),
        ({"stream": "two_stream", "flow": Ramp()}, "stream two_stream needs 2 weights files; got 1"),
        ({"stream": "flow"}, "stream flow needs a flow network"),
        ({"flow": Ramp()}, "stream rgb takes no flow"),
        ({"span": 8}, "span must be at least 9 frames; got 8"),
    ],
)
def test_what_does_not_go_together(folder: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        I3DNetwork(**given, weights=folder / "rgb.pt")


def test_weights_of_the_other_stream_or_network_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"rgb\.pt is of an I3D on 3 channels; the flow stream has 2"):
        I3DNetwork("flow", weights=folder / "rgb.pt", flow=Ramp())
    with pytest.raises(UserError, match=r"s3d\.pth is not of this network \(I3D\): missing"):
        I3DNetwork(weights=folder / "s3d.pth")
    with pytest.raises(UserError, match=r"rgb\.pt is not of this network \(S3D\): missing"):
        S3DNetwork(folder / "rgb.pt")
    with pytest.raises(ValueError, match="span must be at least 14 frames; got 13"):
        S3DNetwork(folder / "s3d.pth", span=13)


@pytest.mark.parametrize(
    "came", [np.zeros((1, 16, 112, 112, 3), np.uint8), np.zeros((1, 8, 224, 224, 3), np.uint8)], ids=["size", "span"]
)
def test_segments_of_another_shape_are_refused(folder: Path, came: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"segments must be uint8 \[K 16 224 224 3\]; got uint8 \[1, "):
        I3DNetwork(weights=folder / "rgb.pt")(came)


def test_nothing_is_trained(folder: Path) -> None:
    for network in [*I3DNetwork(weights=folder / "rgb.pt").networks.values(), S3DNetwork(folder / "s3d.pth").network]:
        assert not network.training
        assert not any(item.requires_grad for item in network.parameters())


def test_files_without_counters_load(folder: Path, tmp_path: Path) -> None:
    """The shared files are older than batch normalisation's step counter."""
    state = torch.load(folder / "rgb.pt", weights_only=True)
    torch.save({name: value for name, value in state.items() if "num_batches" not in name}, tmp_path / "old.pt")
    clips = segments(1, span=9)
    old, new = (I3DNetwork(weights=path, span=9)(clips).pooled for path in (tmp_path / "old.pt", folder / "rgb.pt"))
    np.testing.assert_array_equal(old, new)
