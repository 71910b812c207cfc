"""Networks of timm: small random ones through the real classes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_transform

from stg.runtime.errors import UserError
from stg.video.decoding import SampledFrames
from stg.vision.timm_networks import TimmBackbone
from tests.stg.make_models import write_timm

BOXES = [np.array([[0, 0, 60, 40]], np.float32), np.array([[5, 3, 40, 22]], np.float32)]
FRAMES = np.random.default_rng(0).integers(0, 255, (2, 40, 60, 3), np.uint8)
SAMPLE = SampledFrames("v", FRAMES, np.arange(2), total_frames=2, fps=25.0)


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [("vit_tiny_patch16_224", {"img_size": 64, "depth": 2, "embed_dim": 48}), ("test_convnext", {})],
)
def test_features_are_those_of_the_library(architecture: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    folder = write_timm(tmp_path / "net", architecture, **arguments)
    backbone = TimmBackbone(folder / "model.safetensors", batch=2)
    scene, objects = backbone(SAMPLE, BOXES)
    model: Any = timm.create_model(architecture, num_classes=5, **arguments).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    transform = create_transform(
        (3, 64, 64), interpolation="bicubic", mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), crop_pct=0.8
    )
    with torch.inference_mode():
        pixels = torch.stack([transform(Image.fromarray(frame)) for frame in FRAMES])
        expected = model.forward_head(model.forward_features(pixels), pre_logits=True)
        classes = model(pixels)
    np.testing.assert_allclose(scene, expected.numpy(), atol=1e-5)
    # It is what the classifier reads.
    np.testing.assert_allclose(model.get_classifier()(torch.from_numpy(scene)).detach(), classes.numpy(), atol=1e-4)
    assert objects.shape == (2, model.num_features)
    manifest = backbone.manifest()
    assert (manifest["kind"], manifest["name"], manifest["model"]) == ("timm", architecture, "net")
    assert manifest["processor"]["crop_pct"] == 0.8


def test_objects_are_read_at_their_places(tmp_path: Path) -> None:
    backbone = TimmBackbone(write_timm(tmp_path / "net", "test_convnext") / "model.safetensors", batch=2)
    _, (before, other) = backbone(SAMPLE, [BOXES[0], np.array([[0, 0, 14, 10]], np.float32)])
    changed = FRAMES.copy()
    changed[1, 24:, 40:] = 255 - changed[1, 24:, 40:]
    far = SampledFrames("v", changed, np.arange(2), total_frames=2, fps=25.0)
    maps = backbone.maps(torch.zeros(1, 3, 64, 64))
    assert maps.shape[2:] == (2, 2)
    _, (same, moved) = backbone(far, [BOXES[0], np.array([[46, 30, 60, 40]], np.float32)])
    np.testing.assert_array_equal(before, same)
    assert not np.allclose(other, moved)


def test_other_weights_and_other_files_are_refused(tmp_path: Path) -> None:
    folder = write_timm(tmp_path / "net", "test_convnext")
    state = load_file(folder / "model.safetensors")
    del state["stem.0.weight"]
    save_file(state, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"model.safetensors is not of this network .*missing 1 \(stem.0.weight\)"):
        _ = TimmBackbone(folder / "model.safetensors").network
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architecture": "no_such_network"}))
    with pytest.raises(UserError, match="timm cannot build no_such_network"):
        _ = TimmBackbone(folder / "model.safetensors").network
    (folder / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(UserError, match="is not of timm: it names no architecture"):
        _ = TimmBackbone(folder / "model.safetensors").network
