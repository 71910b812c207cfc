"""torchvision's image networks with tiny random weights: the real code from the file to the features."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import ResNet, ResNet101_Weights
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.models.resnet import Bottleneck

from stg.runtime.errors import UserError
from stg.video.decoding import SampledFrames, VideoError
from stg.vision import torch_backbones as torch_images
from stg.vision.backbones import Backbone
from stg.vision.torch_backbones import TorchBackbone
from tests.stg.vision.test_inference import slow_roi_features

EMPTY = np.zeros((0, 4), np.float32)


def made(classes: int = 1000) -> ResNet:
    """A residual network of one thin block a stage; its last map is as wide as the real one, 2048."""
    return ResNet(Bottleneck, [1, 1, 1, 1], num_classes=classes, width_per_group=2)


def narrow(classes: int = 5) -> nn.Module:
    """The same with its running statistics made up, so that normalisation does something."""
    torch.manual_seed(0)
    network = made(classes)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    return network.eval()


def sample_of(seed: int, count: int, height: int, width: int) -> SampledFrames:
    """Smooth random pictures, all of a video."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 5, 7, generator=random)
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    frames = (smooth * 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
    return SampledFrames(f"v{seed}", frames, np.arange(count), count, 25.0)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of weights, read by the very code that reads the real ones."""

    def get_model(name: str, *, weights: None, num_classes: int) -> nn.Module:
        assert name == "resnet101"
        return made(num_classes)

    monkeypatch.setattr("stg.vision.torch_backbones.get_model", get_model)
    torch.save(narrow().state_dict(), tmp_path / "tiny.pth")
    return tmp_path / "tiny.pth"


def test_the_scene_is_what_torchvision_computes(tiny: Path) -> None:
    sample = sample_of(1, 3, 90, 131)
    scene, _ = TorchBackbone("resnet101", weights=tiny, batch=3)(sample, [EMPTY] * 3)
    preset = ResNet101_Weights.IMAGENET1K_V1.transforms()
    images = torch.stack([preset(torch.from_numpy(frame).permute(2, 0, 1)) for frame in sample.frames])
    network = narrow()
    with torch.inference_mode():
        pooled = create_feature_extractor(network, ["flatten"])(images)["flatten"]
        assert torch.equal(network.fc(pooled), network(images))  # what is pooled is what the classifier sees
    assert scene.dtype == np.float32
    assert scene.shape == (3, 2048)
    assert np.array_equal(scene, pooled.numpy())
    assert np.abs(scene[0] - scene[1]).max() > 1e-3


@pytest.mark.parametrize(("height", "width"), [(90, 131), (150, 70)])
def test_objects_equal_the_slow_loop_on_the_map_of_the_whole_frame(tiny: Path, height: int, width: int) -> None:
    backbone = TorchBackbone("resnet101", weights=tiny, batch=2)
    sample = sample_of(2, 3, height, width)
    boxes = [
        np.array([[0, 0, width, height], [width - 9.5, height - 20, width, height]], np.float32),
        EMPTY,
        np.array([[3.25, 7, 31, 60]], np.float32),
    ]
    _, objects = backbone(sample, boxes)
    maps = backbone.feature_maps(sample)
    taken = np.array([256 * height // min(height, width), 256 * width // min(height, width)])
    assert maps.shape == (3, 2048, *(-(-taken // 32)))
    scale = np.array([taken[1] / width, taken[0] / height] * 2)
    channels = np.arange(0, 2048, 97)
    slow = slow_roi_features(maps[:, channels].astype(float), np.concatenate(boxes) * scale, np.array([0, 0, 2]), 32.0)
    np.testing.assert_allclose(objects[:, channels], slow, rtol=1e-4, atol=1e-5)


def test_the_map_is_that_of_the_upright_uncropped_frame(tiny: Path) -> None:
    """A map of the preset's pixels, made without the crop and by hand."""
    sample = sample_of(3, 1, 64, 100)
    pixels = torch.from_numpy(sample.frames).permute(0, 3, 1, 2).float()
    images = nn.functional.interpolate(pixels, (256, 400), mode="bilinear", antialias=True).round() / 255
    images = (images - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    with torch.inference_mode():
        maps = create_feature_extractor(narrow(), ["layer4"])(images)["layer4"]
    np.testing.assert_allclose(
        TorchBackbone("resnet101", weights=tiny, batch=1).feature_maps(sample), maps.numpy(), rtol=1e-4, atol=1e-4
    )


def test_results_do_not_depend_on_the_grouping_to_the_byte(tiny: Path) -> None:
    backbone = TorchBackbone("resnet101", weights=tiny, batch=4)
    samples = [sample_of(4, 3, 60, 80), sample_of(5, 2, 80, 60), sample_of(6, 6, 60, 80), sample_of(7, 1, 61, 80)]
    boxes = [[np.array([[5, 5, 40, 50]], np.float32)] * len(sample.frames) for sample in samples]
    together = backbone.many(samples, boxes)
    for sample, found, (scene, objects) in zip(samples, boxes, together, strict=True):
        alone = backbone(sample, found)
        assert np.array_equal(scene, alone[0])
        assert np.array_equal(objects, alone[1])
        assert len(objects) == len(sample.frames)
    assert backbone.many([], []) == []
    assert isinstance(backbone, Backbone)


def test_without_objects_no_second_pass_is_made(tiny: Path) -> None:
    sample, boxes = sample_of(8, 2, 60, 80), [np.array([[0, 0, 9, 9]], np.float32), EMPTY]
    full = TorchBackbone("resnet101", weights=tiny, batch=2)
    bare = TorchBackbone("resnet101", weights=tiny, batch=2, objects=False)
    passes: list[Any] = []
    bare.body.register_forward_hook(lambda _, inputs, __: passes.append(inputs[0].shape))
    scene, objects = bare(sample, boxes)
    assert np.array_equal(scene, full(sample, boxes)[0])
    assert objects.shape == (1, 0)
    assert passes == [(2, 3, 224, 224)]
    assert full.manifest()["objects"] != bare.manifest()["objects"] == "none"


def test_nothing_in_it_can_be_trained(tiny: Path) -> None:
    backbone = TorchBackbone("resnet101", weights=tiny)
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())
    assert not any(layer.training for layer in backbone.network.modules())


def test_the_manifest_names_the_weights_and_no_machine(tiny: Path) -> None:
    manifest = TorchBackbone("resnet101", weights=tiny).manifest()
    assert manifest == TorchBackbone("resnet101", weights=tiny, batch=3, device="cuda").manifest()
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest["kind"] == "torchvision"
    assert (manifest["name"], manifest["weights"], len(manifest["sha256"])) == ("resnet101", "tiny.pth", 64)
    other = tiny.with_name("other.pth")
    torch.save(narrow(6).state_dict(), other)
    assert TorchBackbone("resnet101", weights=other).manifest()["sha256"] != manifest["sha256"]


def test_faults_are_named(tiny: Path) -> None:
    with pytest.raises(UserError, match=r"image network must be one of resnet101, .*; got 'resnet1'"):
        TorchBackbone("resnet1", weights=tiny)
    with pytest.raises(UserError, match=r"batch must be at least 1; got 0"):
        TorchBackbone("resnet101", weights=tiny, batch=0)
    with pytest.raises(UserError, match=r"could not read .*none.pth: No such file"):
        TorchBackbone("resnet101", weights=tiny.with_name("none.pth"))
    state = torch.load(tiny, weights_only=True)
    state["layer5.weight"] = state.pop("fc.bias")
    torch.save(state, tiny)
    with pytest.raises(UserError, match=r"not of this network \(ResNet\): missing 1 \(fc.bias\); extra 1 \(layer5.wei"):
        TorchBackbone("resnet101", weights=tiny)(sample_of(1, 1, 8, 8), [EMPTY])


def test_a_picture_as_thin_as_a_thread_is_refused(tiny: Path) -> None:
    with pytest.raises(VideoError, match=r"video 'v9' is 200x10; its longer side may be 16 times its shorter one"):
        TorchBackbone("resnet101", weights=tiny)(sample_of(9, 1, 10, 200), [EMPTY])


@pytest.mark.parametrize("name", torch_images.NAMES)
def test_the_names_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        network = torch_images.build(name, {"fc.weight": torch.zeros(7, 2048)})
    assert isinstance(network, ResNet)
    assert network.fc.weight.shape == (7, 2048)
    assert [key for key, _ in network.named_children()][-2:] == ["avgpool", "fc"]


@pytest.mark.gpu
def test_a_gpu_gives_the_features_of_the_cpu(tiny: Path) -> None:
    sample = sample_of(1, 3, 90, 131)
    boxes = [np.array([[10, 20, 90, 80]], np.float32)] * 3
    expected = TorchBackbone("resnet101", weights=tiny, batch=3)(sample, boxes)
    backbone = TorchBackbone("resnet101", weights=tiny, batch=3, device="cuda")
    for found, wanted in zip(backbone(sample, boxes), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
    together = backbone.many([sample, sample_of(2, 5, 90, 131)], [boxes, [EMPTY] * 5])
    assert np.array_equal(together[0][0], backbone(sample, boxes)[0])  # grouping changes no byte here either
