"""VGGish with tiny random weights: names, layers, batches, and what it says of itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from stg.runtime.errors import UserError
from stg.video.audio import log_mel, read_sound
from stg.vision.vggish import VGGish, VGGishNetwork
from tests.stg.make_sound import sine, write_movie


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.manual_seed(0)
    torch.save(VGGish(2, 8).state_dict(), path)
    return path


def made_examples(count: int) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(count, 96, 64)).astype(np.float32)


def test_published_size_and_names() -> None:
    with torch.device("meta"):
        network = VGGish()
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items() if name.endswith("weight")}
    assert shapes == {
        "features.0.weight": (64, 1, 3, 3),
        "features.3.weight": (128, 64, 3, 3),
        "features.6.weight": (256, 128, 3, 3),
        "features.8.weight": (256, 256, 3, 3),
        "features.11.weight": (512, 256, 3, 3),
        "features.13.weight": (512, 512, 3, 3),
        "embeddings.0.weight": (4096, 12288),
        "embeddings.2.weight": (4096, 4096),
        "embeddings.4.weight": (128, 4096),
    }
    assert {name.replace("bias", "weight") for name in network.state_dict()} == set(shapes)
    assert sum(value.numel() for value in network.parameters()) == 72_141_184


def test_layers_by_hand_and_the_map_flattened_channels_innermost(weights: Path) -> None:
    state = {name: value.double() for name, value in torch.load(weights, weights_only=True).items()}
    examples = made_examples(2)
    maps = torch.from_numpy(examples).double()[:, None]
    for number in (0, 3, 6, 8, 11, 13):
        padded = nn.functional.pad(maps, (1, 1, 1, 1))
        patches = padded.unfold(2, 3, 1).unfold(3, 3, 1)  # [K C h w 3 3]
        maps = torch.einsum("kchwij,ocij->kohw", patches, state[f"features.{number}.weight"])
        maps = (maps + state[f"features.{number}.bias"][:, None, None]).clamp(min=0)
        if number not in (6, 11):
            k, c, h, w = maps.shape
            maps = maps.reshape(k, c, h // 2, 2, w // 2, 2).amax((3, 5))
    # TensorFlow's order: channels innermost
    rows = torch.stack([maps[:, c, h, w] for h in range(6) for w in range(4) for c in range(16)], 1)
    for number in (0, 2, 4):
        rows = (rows @ state[f"embeddings.{number}.weight"].T + state[f"embeddings.{number}.bias"]).clamp(min=0)
    np.testing.assert_allclose(VGGishNetwork(weights)(examples), rows, atol=1e-6)


def test_the_last_relu_can_be_left_out(weights: Path) -> None:
    plain, cut = VGGishNetwork(weights, final_relu=False), VGGishNetwork(weights)
    rows = plain(made_examples(3))
    assert rows.min() < 0
    np.testing.assert_array_equal(cut(made_examples(3)), rows.clip(min=0))


def test_grouping_changes_no_byte(weights: Path) -> None:
    network, examples = VGGishNetwork(weights, batch=4), made_examples(11)
    together = network(examples)
    assert together.shape == (11, network.width) == (11, 128)
    assert together.dtype == np.float32
    assert together.tobytes() == b"".join(network(examples[k : k + 1]).tobytes() for k in range(11))
    assert network(examples[:0]).shape == (0, 128)


def test_it_listens_to_a_file(weights: Path, tmp_path: Path) -> None:
    path = write_movie(tmp_path / "a.mp4", sine(700, 2.5), codec="aac")
    network = VGGishNetwork(weights)
    rows = np.concatenate([network(part.examples) for part in read_sound(path)])
    assert rows.shape == (2, 128)
    assert np.isfinite(rows).all()
    direct = network(log_mel(np.pad(sine(700, 2.5), (0, 240)))[:192].reshape(2, 96, 64))
    np.testing.assert_allclose(rows[1], direct[1], atol=0.02)


def test_the_manifest_tells_all_that_decides_the_numbers(weights: Path) -> None:
    manifest = VGGishNetwork(weights, final_relu=False, batch=3).manifest()
    assert len(manifest.pop("sha256")) == 64
    assert manifest == {
        "kind": "vggish",
        "weights": "tiny.pth",
        "final_relu": False,
        "postprocessing": "none",
        "rate": 16000,
        "window": 400,
        "hop": 160,
        "fft": 512,
        "frames": 96,
        "bands": 64,
        "band_hz": [125.0, 7500.0],
        "log_offset": 0.01,
        "silence_dbfs": -60.0,
    }


def test_files_of_other_networks_are_refused(weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights, weights_only=True)
    for name, wrong, message in (
        ("missing", {key: value for key, value in state.items() if key != "embeddings.2.bias"}, "embeddings.2.bias"),
        ("extra", {**state, "pproc.pca_means": torch.zeros(128, 1)}, "pproc.pca_means"),
        ("shape", {**state, "embeddings.4.weight": torch.zeros(64, 8)}, "embeddings.4.weight"),
        ("huge", {**state, "features.0.weight": torch.zeros(1, 1, 3, 3).expand(10**9, 1, 3, 3)}, "features.0.weight"),
        ("flat", {**state, "features.0.weight": torch.tensor(1.0)}, "features.0.weight"),
        ("none", {"a": torch.zeros(1)}, "embeddings.0.bias"),
    ):
        path = tmp_path / f"{name}.pth"
        torch.save(wrong, path)
        with pytest.raises(UserError, match=message):
            VGGishNetwork(path)
    with pytest.raises(UserError, match="does not exist"):
        VGGishNetwork(tmp_path / "absent.pth")
