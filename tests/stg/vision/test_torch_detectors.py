"""torchvision's detectors with tiny random weights: the real code from the file to the boxes and their features."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import ResNet, detection
from torchvision.models.resnet import Bottleneck

from stg.runtime.errors import UserError
from stg.video.decoding import SampledFrames, VideoError
from stg.vision import torch_detectors
from stg.vision.detectors import Detections, Detector
from stg.vision.torch_detectors import CLASSES, NAMES, TorchDetector, build
from tests.stg.vision.test_inference import slow_roi_features

PROPOSALS = 60
SMALL = {"min_size": 64, "max_size": 100, "batch": 2}
PLAIN = "fasterrcnn_resnet50_fpn"


def thin(*, weights: None, norm_layer: Callable[..., nn.Module] = nn.BatchNorm2d, **_: Any) -> ResNet:
    return ResNet(Bottleneck, [1, 1, 1, 1], width_per_group=2, norm_layer=norm_layer)


@pytest.fixture(autouse=True)
def _thin_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Residual bodies of one thin block a stage and few proposals; all else is torchvision's in full size."""
    monkeypatch.setattr(torch_detectors, "build", partial(build, rpn_post_nms_top_n_test=PROPOSALS))
    for module in (torchvision.models.resnet, detection.faster_rcnn, detection.mask_rcnn):
        monkeypatch.setattr(module, "resnet50", thin)
    monkeypatch.setattr(torchvision.models.resnet, "resnext101_32x8d", thin)


def state_of(name: str, classes: int) -> dict[str, torch.Tensor]:
    """Random weights under which every class is said of something, all over the picture."""
    torch.manual_seed(0)
    state = dict(build(name, classes).state_dict())
    for key, value in state.items():
        if key.endswith("running_var"):
            state[key] = torch.rand_like(value) + 0.5
    state[CLASSES] = torch.randn_like(state[CLASSES]) * 0.5
    return state


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "plain.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.models.resnet, "resnet50", thin)
        torch.save(state_of(PLAIN, 6), path)
    return path


def sample_of(seed: int, count: int, height: int, width: int) -> SampledFrames:
    frames = np.random.default_rng(seed).integers(0, 256, (count, height, width, 3)).astype(np.uint8)
    return SampledFrames(f"v{seed}", frames, np.arange(count), count, 25.0)


def equal(first: Detections, second: Detections) -> bool:
    assert first.features is not None
    assert second.features is not None
    pairs = zip(
        (first.boxes, first.scores, first.features), (second.boxes, second.scores, second.features), strict=True
    )
    return all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.parametrize(("height", "width"), [(50, 90), (120, 70), (30, 100)])
def test_features_equal_the_slow_loop_on_the_map_of_the_body(plain: Path, height: int, width: int) -> None:
    detector = TorchDetector(PLAIN, weights=plain, max_boxes=4, **SMALL)
    sample = sample_of(1, 2, height, width)
    kept: dict[str, Any] = {}
    network: Any = detector.network
    network.backbone.body.register_forward_hook(lambda _, __, output: kept.update(output))
    found = detector(sample)
    images, _ = network.transform([torch.from_numpy(frame).permute(2, 0, 1) / 255 for frame in sample.frames])
    assert kept["3"].shape == (2, 2048, images.tensors.shape[2] // 32, images.tensors.shape[3] // 32)
    with torch.inference_mode():
        assert torch.equal(kept["3"], network.backbone.body(images.tensors)["3"])
    taken = np.array(images.image_sizes[0])
    boxes = np.concatenate([item.boxes for item in found])
    assert len(boxes) == 8
    assert (boxes >= 0).all()
    assert (boxes <= [width, height] * 2).all()
    scale = np.array([taken[1] / width, taken[0] / height] * 2)
    channels = np.arange(0, 2048, 111)
    maps = kept["3"][:, channels].double().numpy()
    slow = slow_roi_features(maps, boxes * scale, np.repeat([0, 1], 4), 32.0)
    features = np.concatenate([item.features for item in found if item.features is not None])
    assert features.shape == (8, 2048)
    np.testing.assert_allclose(features[:, channels], slow, rtol=1e-4, atol=1e-5)
    assert np.abs(features[0] - features[1]).max() > 1e-3


def test_boxes_are_those_of_torchvisions_own_detector(plain: Path) -> None:
    settings = {"min_size": 64, "max_size": 100, "box_detections_per_img": 9, "rpn_post_nms_top_n_test": PROPOSALS}
    own: Any = detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=6, **settings).eval()
    own.load_state_dict(torch.load(plain, weights_only=True), strict=False)
    sample = sample_of(2, 1, 60, 80)
    with torch.inference_mode():
        result = own([torch.from_numpy(sample.frames[0]).permute(2, 0, 1) / 255])[0]
    found = TorchDetector(PLAIN, weights=plain, max_boxes=9, **SMALL)(sample)[0]
    assert found.boxes.dtype == found.scores.dtype == np.float32
    np.testing.assert_allclose(found.scores, result["scores"].numpy(), rtol=1e-3)
    np.testing.assert_allclose(found.boxes, result["boxes"].numpy(), atol=1e-2)


def test_seven_detections_are_in_stable_order(plain: Path) -> None:
    detector = TorchDetector(PLAIN, weights=plain, max_boxes=7, **SMALL)
    found = detector(sample_of(3, 1, 60, 80))[0]
    assert len(found.scores) == 7
    assert (np.diff(found.scores) <= 0).all()
    assert found.scores.min() >= 0.05
    scores = torch.tensor([0.5, 0.9, 0.5, 0.7, 0.9, 0.5, 0.1])
    corner = 100.0 * torch.arange(7)[:, None]
    boxes, sorted_scores, labels = detector._pick(
        {"scores": scores, "boxes": torch.cat([corner, corner, corner + 9, corner + 9], 1), "labels": torch.arange(7)}
    )
    assert (boxes[:, 0] / 100).tolist() == labels.tolist() == [1, 4, 3, 0, 2, 5, 6]
    assert sorted_scores.tolist() == sorted(scores.tolist(), reverse=True)


@pytest.mark.parametrize(
    ("nms", "left", "classes"), [("per_class", [0.9, 0.8, 0.7], [3, 1, 2]), ("agnostic", [0.9, 0.7], [3, 2])]
)
def test_agnostic_suppression_drops_a_second_class_on_the_same_place(
    plain: Path, nms: str, left: list[float], classes: list[int]
) -> None:
    boxes = torch.tensor([[0.0, 0.0, 10.0, 10.0], [50.0, 0.0, 60.0, 10.0], [0.0, 0.0, 10.0, 11.0]])
    detector = TorchDetector(PLAIN, weights=plain, nms=nms)
    scores, labels = torch.tensor([0.8, 0.7, 0.9]), torch.tensor([1, 2, 3])
    _, scores, labels = detector._pick({"scores": scores, "boxes": boxes, "labels": labels})
    assert scores.tolist() == pytest.approx(left)
    assert labels.tolist() == classes


@pytest.mark.parametrize("features", [True, False])
def test_labels_are_handed_back_where_the_classes_are_those_of_coco(
    plain: Path, tmp_path: Path, features: bool
) -> None:
    state = torch.load(plain, weights_only=True)
    head = "roi_heads.box_predictor"
    state[f"{head}.cls_score.weight"] = torch.zeros(91, 1024)
    state[f"{head}.cls_score.bias"] = torch.zeros(91)
    state[f"{head}.cls_score.bias"][17] = 9.0  # all is cat
    state[f"{head}.bbox_pred.weight"], state[f"{head}.bbox_pred.bias"] = torch.zeros(4 * 91, 1024), torch.zeros(4 * 91)
    torch.save(state, tmp_path / "coco.pth")
    sample = sample_of(3, 2, 60, 80)
    for found in TorchDetector(PLAIN, weights=tmp_path / "coco.pth", features=features, max_boxes=3, **SMALL)(sample):
        assert found.labels is not None
        assert found.labels.tolist() == [17] * 3
        assert found.labels.dtype == np.int64
    other = TorchDetector(PLAIN, weights=plain, features=features, max_boxes=3, **SMALL)
    assert [found.labels for found in other(sample)] == [None] * 2  # six classes of somebody's own


def test_results_do_not_depend_on_the_grouping_to_the_byte(plain: Path) -> None:
    detector = TorchDetector(PLAIN, weights=plain, max_boxes=5, **SMALL)
    samples = [sample_of(4, 3, 50, 70), sample_of(5, 1, 70, 50), sample_of(6, 2, 50, 70)]
    together = detector.many(samples)
    assert [len(found) for found in together] == [3, 1, 2]
    for sample, found in zip(samples, together, strict=True):
        assert all(equal(*pair) for pair in zip(found, detector(sample), strict=True))
    assert isinstance(detector, Detector)


def test_frames_without_objects_are_legal(plain: Path, tmp_path: Path) -> None:
    state = torch.load(plain, weights_only=True)
    state["roi_heads.box_predictor.cls_score.bias"][0] = 100  # everything is background
    torch.save(state, tmp_path / "blind.pth")
    sample = sample_of(7, 3, 60, 80)
    for found in TorchDetector(PLAIN, weights=tmp_path / "blind.pth", **SMALL)(sample):
        assert (found.boxes.shape, found.scores.shape) == ((0, 4), (0,))
        assert found.features is not None
        assert found.features.shape == (0, 2048)
    bare = TorchDetector(PLAIN, weights=plain, features=False, max_boxes=3, **SMALL)(sample)
    assert [item.features for item in bare] == [None] * 3


@pytest.mark.parametrize(("name", "classes"), [("fasterrcnn_resnext101_fpn", 1601), ("maskrcnn_resnet50_fpn", 4)])
def test_the_file_tells_the_number_of_classes(tmp_path: Path, name: str, classes: int) -> None:
    torch.save({"model": state_of(name, classes), "epoch": 3}, tmp_path / "own.pth")
    detector = TorchDetector(name, weights=tmp_path / "own.pth", min_score=0.0, max_boxes=3, **SMALL)
    network: Any = detector.network
    assert network.roi_heads.box_predictor.cls_score.out_features == classes
    assert not network.roi_heads.has_mask()
    found = detector(sample_of(8, 1, 60, 80))[0]
    assert found.boxes.shape == (3, 4)
    assert found.features is not None
    assert found.features.shape == (3, 2048)


def test_weights_of_another_detector_are_refused_with_what_differs(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"plain.pth is not of this network \(MaskRCNN\): missing 12 \(roi_heads.mask_h"
    ):
        TorchDetector("maskrcnn_resnet50_fpn", weights=plain)(sample_of(1, 1, 8, 8))
    torch.save({"fc.weight": torch.zeros(3, 3)}, tmp_path / "image.pth")
    with pytest.raises(
        UserError, match=r"image.pth is not of this network \(FasterRCNN\): missing .*extra 1 \(fc.weigh"
    ):
        TorchDetector(PLAIN, weights=tmp_path / "image.pth")(sample_of(1, 1, 8, 8))


def test_nothing_in_it_can_be_trained(plain: Path) -> None:
    detector = TorchDetector(PLAIN, weights=plain)
    assert not any(parameter.requires_grad for parameter in detector.network.parameters())
    assert not any(layer.training for layer in detector.network.modules())


def test_the_published_first_detectors_add_nothing_to_the_variance(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def eps_of(detector: TorchDetector) -> set[float]:
        layers = [layer for layer in detector.network.modules() if isinstance(layer, torchvision.ops.FrozenBatchNorm2d)]
        assert len(layers) > 10
        assert detector.manifest()["eps"] == detector.eps
        return {layer.eps for layer in layers}

    assert eps_of(TorchDetector(PLAIN, weights=plain)) == {1e-5}
    assert eps_of(TorchDetector(PLAIN, weights=plain, eps=0.0)) == {0.0}
    monkeypatch.setattr(torch_detectors, "NO_EPS", (TorchDetector(PLAIN, weights=plain).sha256[:8],))
    assert eps_of(TorchDetector(PLAIN, weights=plain)) == {0.0}
    from torchvision.models import get_model_weights

    monkeypatch.undo()
    for name, prefix in zip((PLAIN, "maskrcnn_resnet50_fpn"), torch_detectors.NO_EPS, strict=True):
        assert f"-{prefix}." in get_model_weights(name)["COCO_V1"].url


@pytest.mark.parametrize("name", NAMES[:5])
def test_names_and_shapes_of_the_weights_are_torchvisions(name: str) -> None:
    def shapes(network: nn.Module) -> dict[str, torch.Size]:
        return {key: value.shape for key, value in network.state_dict().items() if not key.endswith("tracked")}

    with torch.device("meta"):
        theirs = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=91)
        ours = build(name, 91)
    assert shapes(ours) == shapes(theirs)


def test_the_lighter_detectors_run(tmp_path: Path) -> None:
    for name, width in (("fasterrcnn_mobilenet_v3_large_fpn", 960), ("fasterrcnn_resnet50_fpn_v2", 2048)):
        torch.save(state_of(name, 3), tmp_path / f"{name}.pth")
        detector = TorchDetector(name, weights=tmp_path / f"{name}.pth", max_boxes=2, **SMALL)
        for found in detector(sample_of(9, 1, 60, 80)):
            assert found.features is not None
            assert found.features.shape == (len(found.boxes), width)


def test_the_manifest_tells_what_decides_the_numbers(plain: Path) -> None:
    manifest = TorchDetector(PLAIN, weights=plain).manifest()
    assert manifest == TorchDetector(PLAIN, weights=plain, batch=9, device="cuda").manifest()
    assert json.loads(json.dumps(manifest)) == manifest
    assert (manifest["kind"], manifest["name"], manifest["weights"]) == ("torchvision", PLAIN, "plain.pth")
    settings: list[dict[str, Any]] = [
        {"features": False},
        {"nms": "agnostic"},
        {"iou": 0.4},
        {"min_score": 0.1},
        {"max_boxes": 10},
        {"min_size": 400},
        {"max_size": 900},
        {"eps": 0.0},
    ]
    for changed in settings:
        assert TorchDetector(PLAIN, weights=plain, **changed).manifest() != manifest


def test_faults_are_named(plain: Path) -> None:
    with pytest.raises(UserError, match=r"detector must be one of fasterrcnn_resnet50_fpn, .*; got 'yolo'"):
        TorchDetector("yolo", weights=plain)
    with pytest.raises(UserError, match=r"nms must be one of agnostic, per_class; got 'soft'"):
        TorchDetector(PLAIN, weights=plain, nms="soft")
    with pytest.raises(UserError, match=r"min_size lie in 1..max_size; got 4, 100, 900 and 800"):
        TorchDetector(PLAIN, weights=plain, min_size=900, max_size=800)
    with pytest.raises(UserError, match=r"could not read .*none.pth: No such file"):
        TorchDetector(PLAIN, weights=plain.with_name("none.pth"))
    with pytest.raises(VideoError, match=r"video 'v1' is 400x2: too thin to be resized to at most 100 pixels"):
        TorchDetector(PLAIN, weights=plain, **SMALL)(sample_of(1, 1, 2, 400))


def test_features_go_with_boxes() -> None:
    boxes, scores = np.zeros((2, 4), np.float32), np.zeros(2, np.float32)
    with pytest.raises(ValueError, match=r"2 boxes need features \[n D\]; got \[3, 5\]"):
        Detections(boxes, scores, np.zeros((3, 5), np.float32))
    with pytest.raises(ValueError, match=r"2 boxes need labels \[n\]; got \[3\]"):
        Detections(boxes, scores, labels=np.zeros(3, np.int64))
