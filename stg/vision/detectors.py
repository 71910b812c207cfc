"""What a detector finds, and the detectors the commands know."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8

from graphs import VideoFeatures
from stg.runtime.errors import UserError
from stg.video.decoding import SampledFrames
from stg.vision import coco
from stg.vision.onnx import TIME_LIMIT, OnnxNetwork, resize
from stg.vision.weights import Weights

COCO_CLASSES = len(coco.NAMES)
"""Category ids from 0, the background, to 90; eleven of them were never used."""


def class_name(label: int) -> str:
    """What COCO calls category ``label``; empty for 0 and for every other number that is no category."""
    return coco.NAMES[label] if 0 <= label < COCO_CLASSES else ""


def category_ids(classes: int) -> Int64[np.ndarray, " 80"] | None:
    """The category id of each output of a network over COCO's 80 classes; None for another number of outputs."""
    ids = np.flatnonzero([name != "" for name in coco.NAMES]).astype(np.int64)
    return ids if classes == len(ids) else None


NMS = ("agnostic", "per_class")

STRIDES = (8, 16, 32)

PAD_VALUE = 114.0


@dataclass(frozen=True)
class Detections:
    """What a detector found in one frame; any order, any number, none included.

    Args:
        boxes: ``[n 4]`` corners ``(x1, y1, x2, y2)`` in pixels of the frame.
        scores: ``[n]`` confidence, larger is better.
        features: ``[n D]`` what the detector's own body says of each box (Pan et al., 2020, Sec. 4.3); None where the
            features of the boxes come from another network.
        labels: ``[n]`` COCO category id of each box, 1 to 90, and 0 where its class is none of COCO's; None where no
            class is known. For people to read: neither a graph nor a model ever does.
    """

    boxes: Float32[np.ndarray, "n 4"]
    scores: Float32[np.ndarray, " n"]
    features: Float32[np.ndarray, "_ D"] | None = None
    labels: Int64[np.ndarray, " _"] | None = None

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4 or self.scores.shape != self.boxes.shape[:1]:
            shapes = f"{list(self.boxes.shape)} and {list(self.scores.shape)}"
            raise ValueError(f"detections need boxes [n 4] and scores [n]; got {shapes}")
        if self.features is not None and (self.features.ndim != 2 or len(self.features) != len(self.boxes)):
            raise ValueError(f"{len(self.boxes)} boxes need features [n D]; got {list(self.features.shape)}")
        if self.labels is not None and self.labels.shape != self.scores.shape:
            raise ValueError(f"{len(self.boxes)} boxes need labels [n]; got {list(self.labels.shape)}")


@runtime_checkable
class Detector(Protocol):
    """Finds objects in the sampled frames of one video.

    It may have a method ``many(samples)`` too, which takes several videos at once and gives for each what a call gives,
    to the byte.
    """

    def __call__(self, sample: SampledFrames) -> Sequence[Detections]:
        """One :class:`Detections` a frame, in the order of ``sample.frames``."""
        ...

    def manifest(self) -> dict[str, Any]:
        """What decides the numbers: name, hash of the weights, settings other than the score threshold."""
        ...


class ArrayDetector:
    """Any function from a picture to boxes as a detector: of ``supervision``, ``ultralytics``, one's own.

    >>> ArrayDetector(lambda picture: sv.Detections.from_inference(model.infer(picture)), "rf-detr base", version="1.3")

    Args:
        predict: given one frame, ``uint8 [H W 3]`` RGB; gives boxes ``[n 4]`` in its pixels, (x1, y1, x2, y2), under
            ``xyxy`` or ``boxes``, and scores under ``confidence``, ``scores`` or ``conf``, as attributes or in a dict
            (see :meth:`graphs.VideoFeatures.from_detections`).
        name: of the network, for manifests.
        settings: all else that decides which boxes come back, such as ``version``, ``sha256`` or ``words``: features
            made with other settings are refused.
    """

    def __init__(self, predict: Callable[[UInt8[np.ndarray, "H W 3"]], Any], name: str, **settings: Any) -> None:
        self.predict, self.name, self.settings = predict, name, settings

    def manifest(self) -> dict[str, Any]:
        """The name and the settings."""
        return {"name": self.name, **self.settings}

    def __call__(self, sample: SampledFrames) -> list[Detections]:
        """Boxes of every frame.

        Raises:
            ValueError: what the function gave is no boxes, or has no scores; names video and frame.
        """
        size = sample.frames.shape[1], sample.frames.shape[2]
        found = VideoFeatures.from_detections(
            [self.predict(frame) for frame in sample.frames], size=size, video=sample.video
        )
        if found.scores is None:
            raise ValueError(f"the detector {self.name} gives no scores (confidence) for video {sample.video!r}")
        rows = [(found.frame == place).nonzero()[:, 0] for place in range(len(sample.frames))]
        return [Detections(found.boxes[row].numpy(), found.scores[row].numpy()) for row in rows]


class OnnxYoloX:
    """A YOLOX detector (Ge et al., 2021) exported without its box decoding, as the official exports are.

    The input is BGR, 0 to 255, resized with its aspect ratio into the top left corner and padded with 114. Labels take
    part in the suppression and are kept for people to read, where the network has COCO's 80 classes: the graph
    uses boxes, scores and features, never classes.

    Args:
        path: ONNX file with input ``[1 3 h w]`` and output ``[1 cells 5+classes]``.
        threads: threads of one inference, 0 for all cores.
        nms: ``agnostic`` keeps one box where several classes claim the same place; ``per_class`` keeps one a class.
        iou: boxes that overlap a better one by more than this are dropped.
        min_score: boxes below are dropped before the suppression. Later thresholds above it lose nothing, since a box
            is only ever suppressed by a better one.
        max_boxes: most boxes a frame.
        time_limit: seconds that a frame may take.
    """

    def __init__(
        self,
        path: Weights,
        *,
        threads: int = 0,
        nms: str = "agnostic",
        iou: float = 0.45,
        min_score: float = 0.05,
        max_boxes: int = 100,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        if nms not in NMS:
            raise UserError(f"nms must be one of {', '.join(NMS)}; got {nms!r}")
        self.network = OnnxNetwork(path, threads, time_limit)
        self.nms, self.iou, self.min_score, self.max_boxes = nms, iou, min_score, max_boxes

    def manifest(self) -> dict[str, Any]:
        """Name, hash of the weights, and the settings that decide which boxes come back."""
        return {
            "name": "yolox",
            "weights": self.network.path.name,
            "sha256": self.network.sha256,
            "input": "BGR 0-255, aspect kept, top left, padded with 114, bilinear",
            "nms": self.nms,
            "iou": self.iou,
            "min_score": self.min_score,
            "max_boxes": self.max_boxes,
        }

    def __call__(self, sample: SampledFrames) -> list[Detections]:
        """Boxes of every frame in pixels of the frame, best first."""
        size = self.network.input_size
        if size is None:
            raise UserError(f"{self.network.path} takes images of any size; export it with a fixed one")
        images, ratio = letterbox(sample.frames, size)
        output = self.network.run(np.ascontiguousarray(images[:, ::-1]))
        boxes, scores, labels = decode_yolox(output, size)
        ids = category_ids(output.shape[2] - 5)
        return [self._suppress(boxes[t] / np.float32(ratio), scores[t], labels[t], ids) for t in range(len(boxes))]

    def many(self, samples: Sequence[SampledFrames]) -> list[list[Detections]]:
        """For every clip what was found in each frame; the network takes one picture at a time."""
        return [self(sample) for sample in samples]

    def _suppress(
        self, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, ids: np.ndarray | None = None
    ) -> Detections:
        from torchvision.ops import batched_nms

        rows = np.flatnonzero(scores >= self.min_score)
        group = labels[rows] if self.nms == "per_class" else np.zeros(len(rows), np.int64)
        kept = batched_nms(*(torch.from_numpy(item) for item in (boxes[rows], scores[rows], group)), self.iou)
        rows = rows[kept[: self.max_boxes].numpy()]
        return Detections(boxes[rows], scores[rows], labels=None if ids is None else ids[labels[rows]])


def letterbox(frames: UInt8[np.ndarray, "T H W 3"], size: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Frames as ``[T 3 h w]`` float32 in the top left corner of a grey canvas, and the factor that took them there."""
    height, width = frames.shape[1:3]
    ratio = min(size[0] / height, size[1] / width)
    inner = max(int(height * ratio), 1), max(int(width * ratio), 1)
    # The aspect is kept and the rest filled with grey, as in the training of YOLOX.
    canvas = np.full((len(frames), 3, *size), PAD_VALUE, np.float32)
    canvas[:, :, : inner[0], : inner[1]] = resize(frames, *inner, antialias=False)
    return canvas, ratio


def decode_yolox(
    output: np.ndarray, size: tuple[int, int]
) -> tuple[Float32[np.ndarray, "T cells 4"], Float32[np.ndarray, "T cells"], Int64[np.ndarray, "T cells"]]:
    """Boxes (corners, input pixels), scores and labels from the raw output ``[T cells 5+classes]``.

    A cell at grid place g of stride s says: centre ``(g + xy) s``, size ``exp(wh) s``, score ``objectness * class``.

    Raises:
        UserError: the number of cells is not that of strides 8, 16 and 32 on this input size.
    """
    grid, stride = _grid(size)
    if output.ndim != 3 or output.shape[1] != len(grid) or output.shape[2] < 6:
        raise UserError(
            f"the detector's output is {list(output.shape)}; YOLOX with input {size[0]}x{size[1]} has "
            f"[frames {len(grid)} 5+classes]: export it without box decoding (strides 8, 16, 32)"
        )
    # Boxes that become infinite are no error: `stg.features.extractor.select` drops them.
    with np.errstate(over="ignore"):
        half = np.exp(output[..., 2:4]) * stride / 2
    centre = (output[..., :2] + grid) * stride
    boxes = np.concatenate([centre - half, centre + half], axis=-1)
    # Objectness times the best class, as YOLOX scores its boxes.
    scores = output[..., 4] * output[..., 5:].max(axis=-1)
    return boxes, scores, output[..., 5:].argmax(axis=-1)


def _grid(size: tuple[int, int]) -> tuple[Float32[np.ndarray, "cells 2"], Float32[np.ndarray, "cells 1"]]:
    """Place (x, y) and stride of every cell, row by row, finest stride first."""
    grids, strides = [], []
    for stride in STRIDES:
        rows, columns = size[0] // stride, size[1] // stride
        y, x = np.mgrid[:rows, :columns]
        grids.append(np.stack([x.ravel(), y.ravel()], axis=1))
        strides.append(np.full((rows * columns, 1), stride))
    return np.concatenate(grids).astype(np.float32), np.concatenate(strides).astype(np.float32)
