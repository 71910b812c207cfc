"""RAFT flow: which frames it compares, in which units, and what it does at the edges. Random weights, the real code."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models.optical_flow import raft_large, raft_small

from stg.runtime.errors import UserError
from stg.runtime.files import sha256_file
from stg.vision.flow import Flow, RaftFlow


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(raft_small(weights=None).state_dict(), path)
    return path


def frames(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_flow_is_the_networks_last_answer_for_each_pair(small: Path) -> None:
    clip = frames(2, 3, 128, 136, 3)
    flow = RaftFlow(small, size="small", updates=2, batch=2)
    got = flow(clip)
    network = raft_small(weights=None).eval()
    network.load_state_dict(torch.load(small, weights_only=True))
    images = torch.from_numpy(clip).permute(0, 1, 4, 2, 3) / 255 * 2 - 1
    with torch.inference_mode():
        for row in range(2):
            for step in range(2):
                want = network(images[row, step : step + 1], images[row, step + 1 : step + 2], num_flow_updates=2)[-1]
                np.testing.assert_allclose(got[row, step], want[0].permute(1, 2, 0).numpy(), atol=1e-3)
    np.testing.assert_array_equal(got[:, 2], got[:, 1])  # the last repeats the one before
    assert got.dtype == np.float32
    assert np.abs(got).max() > 0.01
    assert isinstance(flow, Flow)


def test_bytes_do_not_depend_on_the_segments_beside(small: Path) -> None:
    clip = frames(2, 3, 128, 128, 3)
    clip.flags.writeable = False  # as from another process
    flow = RaftFlow(small, size="small", updates=1, batch=4)
    np.testing.assert_array_equal(flow(clip)[1:], flow(clip[1:]))


def test_other_sizes_are_padded_and_cut_again(small: Path) -> None:
    """131x129 is no multiple of 8: the flow is that of the picture with its border repeated."""
    clip = frames(1, 2, 131, 129, 3)
    flow = RaftFlow(small, size="small", updates=1, batch=1)
    padded = np.pad(clip, ((0, 0), (0, 0), (0, 5), (0, 7), (0, 0)), mode="edge")
    np.testing.assert_array_equal(flow(clip), flow(padded)[:, :, :131, :129])


class Shift(torch.nn.Module):
    """Stands for RAFT: x is the mean of the first frame, y that of the second."""

    def forward(self, first: torch.Tensor, second: torch.Tensor, num_flow_updates: int) -> list[torch.Tensor]:
        means = torch.stack([first.mean((1, 2, 3)), second.mean((1, 2, 3))], 1)
        flow = means[:, :, None, None].expand(-1, -1, *first.shape[2:])
        return [flow * 0] * (num_flow_updates - 1) + [flow]


def test_pairs_go_from_each_frame_to_the_next(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flow = RaftFlow(small, size="small", batch=2)
    monkeypatch.setattr(flow, "network", Shift())
    clip = np.repeat(np.array([0, 51, 102, 255], np.uint8), 128 * 128 * 3).reshape(1, 4, 128, 128, 3)
    got = flow(clip)[0, :, 0, 0]
    np.testing.assert_allclose(got, [[-1, -0.6], [-0.6, -0.2], [-0.2, 1], [-0.2, 1]], atol=1e-6)


def test_the_manifest_says_what_decides_the_numbers(small: Path) -> None:
    assert RaftFlow(small, size="small", updates=3).manifest() == {
        "kind": "raft",
        "size": "small",
        "weights": "small.pth",
        "sha256": sha256_file(small),
        "updates": 3,
        "last_frame": "repeats the flow before it",
    }


def test_the_large_network_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "large.pth"
    torch.save(raft_large(weights=None).state_dict(), path)
    flow = RaftFlow(path, updates=1, batch=1)
    assert flow.manifest()["size"] == "large"
    assert sum(item.numel() for item in flow.network.parameters()) == 5257536
    assert not any(item.requires_grad for item in flow.network.parameters())
    assert flow(frames(1, 2, 128, 128, 3)).shape == (1, 2, 128, 128, 2)


@pytest.mark.parametrize("shape", [(1, 1, 128, 128, 3), (1, 2, 120, 128, 3)])
def test_too_little_to_see(small: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"2 frames or more, of 128x128 or more; got \d of \d+x128"):
        RaftFlow(small, size="small")(np.zeros(shape, np.uint8))


def test_other_weights_and_sizes_are_refused(small: Path) -> None:
    with pytest.raises(UserError, match=r"small\.pth is not of this network \(RAFT\): missing"):
        RaftFlow(small)
    wrong: Any = "huge"
    with pytest.raises(ValueError, match="size must be one of large, small; got 'huge'"):
        RaftFlow(small, size=wrong)
