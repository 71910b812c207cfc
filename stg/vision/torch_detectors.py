"""torchvision's detectors, and what their own bodies say of the boxes they find."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import mobilenet_backbone, resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d, nms

from stg.runtime.errors import UserError
from stg.video.decoding import SampledFrames, VideoError
from stg.vision.detectors import COCO_CLASSES, NMS, Detections
from stg.vision.inference import inference, roi_features
from stg.vision.published import DETECTOR_NAMES
from stg.vision.weights import WeightFile, Weights, frozen_network

NAMES = DETECTOR_NAMES
STRIDE = 32
CLASSES = "roi_heads.box_predictor.cls_score.weight"

# torchvision's first detectors were trained with a normalisation that added nothing to the variance.
NO_EPS = ("258fb6c6", "bf2d0c1e")


class TorchDetector:
    """Faster R-CNN (Ren et al., 2015) or Mask R-CNN (He et al., 2017) with a feature pyramid; masks are never made.

    The features of a box are read off C5, the last map of the bottom-up body and no level of the pyramid: RoIAlign 7x7
    (stride 32 of the resized picture, aligned, sampling ratio 2), maximum (Pan et al., 2020, Sec. 4.3). Labels are
    kept for people to read, where the network has COCO's classes: the graph uses boxes, scores and features.

    Args:
        name: one of :data:`NAMES`. ``fasterrcnn_resnext101_fpn`` is the paper's detector, for which one needs an own
            file, trained on Visual Genome for instance; for the others COCO weights are published.
        weights: file of the state dict, which also says the number of classes.
        batch: frames of one clip in one pass. Another number gives other last bits.
        device: where the network runs.
        features: False gives boxes and scores alone.
        nms: ``per_class`` is torchvision's own suppression; ``agnostic`` then also drops, of the boxes that are left,
            those that overlap a better one of another class, which the graph cannot distinguish.
        iou: boxes that overlap a better one by more than this are dropped.
        min_score: boxes below are dropped before the suppression. Later thresholds above it lose nothing, since a box
            is only ever suppressed by a better one.
        max_boxes: most boxes a frame, the best of those that torchvision's suppression leaves.
        min_size: pixels that the shorter side of a frame is brought to.
        max_size: most pixels of the longer side.
        eps: added to the variance in frozen normalisation; by default 1e-5, and 0 for the two published files that were
            trained so. torchvision sets the same; a checkpoint fine-tuned from those two may need 0 as well.

    Raises:
        UserError: unknown name or setting, no such file; at first use also: weights of another network, no such device.
    """

    def __init__(
        self,
        name: str,
        *,
        weights: Weights,
        batch: int = 4,
        device: str = "cpu",
        features: bool = True,
        nms: str = "per_class",
        iou: float = 0.5,
        min_score: float = 0.05,
        max_boxes: int = 100,
        min_size: int = 800,
        max_size: int = 1333,
        eps: float | None = None,
    ) -> None:
        if name not in NAMES:
            raise UserError(f"the detector must be one of {', '.join(NAMES)}; got {name!r}")
        if nms not in NMS:
            raise UserError(f"nms must be one of {', '.join(NMS)}; got {nms!r}")
        if batch < 1 or max_boxes < 1 or not 1 <= min_size <= max_size:
            raise UserError(
                f"batch and max_boxes must be at least 1 and min_size lie in 1..max_size; got {batch}, {max_boxes}, "
                f"{min_size} and {max_size}"
            )
        self.name, self.weights, self.batch, self.device, self.features = (
            name,
            WeightFile.of(weights),
            batch,
            device,
            features,
        )
        self.nms, self.iou, self.min_score, self.max_boxes = nms, iou, min_score, max_boxes
        self.min_size, self.max_size = min_size, max_size
        self.sha256 = self.weights.sha256
        published = self.sha256.startswith(NO_EPS)
        # The hash decides: a file of the user's own under a published name is normalised as torchvision does today.
        self.eps = eps if eps is not None else 0.0 if published else 1e-5

    @cached_property
    def network(self) -> nn.Module:
        """The frozen detector."""
        return frozen_network(self._build, self.weights, self.device)

    def manifest(self) -> dict[str, Any]:
        """Name, hash of the weights, and the settings that decide which boxes and features come back."""
        features = "RoIAlign 7x7 on the last map of the body, stride 32, aligned, sampling ratio 2, maximum"
        return {
            "kind": "torchvision",
            "name": self.name,
            "weights": self.weights.name,
            "sha256": self.sha256,
            "input": f"RGB, shorter side {self.min_size}, longer side at most {self.max_size}, bilinear",
            "eps": self.eps,
            "nms": self.nms,
            "iou": self.iou,
            "min_score": self.min_score,
            "max_boxes": self.max_boxes,
            "features": features if self.features else "none",
        }

    def many(self, samples: Sequence[SampledFrames]) -> list[list[Detections]]:
        """For every clip what was found in each frame; clips never share a pass, since their sizes would change it."""
        return [self(sample) for sample in samples]

    def __call__(self, sample: SampledFrames) -> list[Detections]:
        """Boxes of every frame in pixels of the frame, best first, equal scores in the network's order."""
        self._check_size(sample)
        found: list[Detections] = []
        with inference():
            for start in range(0, len(sample.frames), self.batch):
                frames = torch.tensor(sample.frames[start : start + self.batch])
                images = frames.to(self.device).permute(0, 3, 1, 2).contiguous().float() / 255
                found += self._pass(images)
        return found

    def _pass(self, images: Float32[Tensor, "T 3 H W"]) -> list[Detections]:
        """Detections of some frames of one clip, and the features of the boxes from the same pass."""
        # Hooks, since torchvision's detectors return neither their maps nor the size of the resized picture.
        seen: dict[str, Any] = {}
        hooks = [
            self.network.get_submodule("transform").register_forward_hook(
                lambda _, __, output: seen.update(sizes=output[0].image_sizes)
            ),
            self.network.get_submodule("backbone.body").register_forward_hook(
                lambda _, __, output: seen.update(maps=list(output.values())[-1])
            ),
        ]
        try:
            results = self.network(list(images))
        finally:
            for hook in hooks:
                hook.remove()
        picked = [self._pick(result) for result in results]
        if not self.features:
            return [self._found(*item) for item in picked]
        counts = [len(scores) for _, scores, _ in picked]
        # torchvision resizes the picture itself: the boxes are brought onto the map of that size.
        (height, width), taken = images.shape[2:], seen["sizes"][0]
        boxes = torch.cat([item[0] for item in picked])
        scale = boxes.new_tensor([taken[1] / width, taken[0] / height] * 2)
        frame = torch.repeat_interleave(torch.tensor(counts)).to(boxes.device)
        features = roi_features(seen["maps"], boxes * scale, frame, stride=STRIDE).split(counts)
        return [self._found(*item, rows) for item, rows in zip(picked, features, strict=True)]

    def _found(self, boxes: Tensor, scores: Tensor, labels: Tensor, features: Tensor | None = None) -> Detections:
        return Detections(
            boxes.cpu().numpy(),
            scores.cpu().numpy(),
            None if features is None else features.cpu().numpy(),
            labels.cpu().numpy() if self._classes == COCO_CLASSES else None,
        )

    @property
    def _classes(self) -> int:
        """Classes that the box head distinguishes, the background included."""
        return len(self.network.get_parameter(CLASSES))

    def _pick(self, result: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and labels of one frame, the best first."""

        order = result["scores"].argsort(descending=True, stable=True)
        boxes, scores, labels = (result[name][order] for name in ("boxes", "scores", "labels"))
        if self.nms == "agnostic":
            kept = nms(boxes, scores, self.iou).sort().values
            boxes, scores, labels = boxes[kept], scores[kept], labels[kept]
        return boxes, scores, labels

    def _check_size(self, sample: SampledFrames) -> None:
        shorter, longer = sorted(sample.frames.shape[1:3])
        if int(shorter * min(self.min_size / shorter, self.max_size / longer)) < 1:
            raise VideoError(
                f"video {sample.video!r} is {sample.frames.shape[2]}x{sample.frames.shape[1]}: too thin to be resized "
                f"to at most {self.max_size} pixels"
            )

    def _build(self, state: dict[str, Tensor]) -> nn.Module:

        # The file knows how many classes it was trained for.
        classes = len(state[CLASSES]) if CLASSES in state else COCO_CLASSES
        network = build(
            self.name,
            classes,
            min_size=self.min_size,
            max_size=self.max_size,
            box_score_thresh=self.min_score,
            box_nms_thresh=self.iou,
            box_detections_per_img=self.max_boxes,
        )
        # Set afterwards, as torchvision has no argument for it, and with
        # another value published files give other boxes.
        for layer in network.modules():
            if isinstance(layer, FrozenBatchNorm2d):
                layer.eps = self.eps
        network.get_submodule("roi_heads").mask_roi_pool = None  # type: ignore[assignment]  # no masks are made
        return network


def build(name: str, classes: int, **settings: Any) -> nn.Module:
    """The detector ``name`` without weights, its normalisation frozen where torchvision trained it so.

    Args:
        name: one of :data:`NAMES`.
        classes: classes of the box head, the background included (91 for COCO, 1601 for Visual Genome).
        settings: what :class:`torchvision.models.detection.FasterRCNN` takes.
    """

    if name.endswith("_v2"):
        return detection.__dict__[name](weights=None, weights_backbone=None, num_classes=classes, **settings)
    if name == "fasterrcnn_mobilenet_v3_large_fpn":
        body = mobilenet_backbone(backbone_name="mobilenet_v3_large", weights=None, fpn=True, trainable_layers=0)
        anchors = AnchorGenerator(((32, 64, 128, 256, 512),) * 3, ((0.5, 1.0, 2.0),) * 3)
        return detection.FasterRCNN(body, classes, rpn_anchor_generator=anchors, rpn_score_thresh=0.05, **settings)
    kind = detection.MaskRCNN if name.startswith("maskrcnn") else detection.FasterRCNN
    body = resnet_fpn_backbone(backbone_name=BODIES[name], weights=None, trainable_layers=0)
    return kind(body, classes, **settings)


BODIES = {
    "fasterrcnn_resnet50_fpn": "resnet50",
    "maskrcnn_resnet50_fpn": "resnet50",
    "fasterrcnn_resnext101_fpn": "resnext101_32x8d",
}
