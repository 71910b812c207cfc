"""From the sampled frames of a video to its validated features."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64

from graphs import VideoFeatures
from stg.errors import UserError
from stg.vision.backbones import Backbone
from stg.vision.detectors import Detections, Detector
from stg.vision.sampling import SAMPLING
from stg.vision.video import SampledFrames

Boxes = Float32[np.ndarray, "_ 4"]
Scores = Float32[np.ndarray, " _"]


class Extractor:
    """A frozen detector and a frozen image network, and how their results become features (Pan et al., 2020, Sec. 4.1).

    Args:
        detector: finds boxes; its labels, if any, are never used.
        backbone: gives one scene feature a frame and one object feature a box.
        num_frames: frames of a video, ``T``; recorded in the manifest, and what :func:`sample_video` should be given.
        threshold: least score of a box.
        max_objects: boxes kept a frame, the best; equal scores keep the detector's order.
        sampling: rule by which the frames are chosen; recorded like ``num_frames``.

    Raises:
        UserError: a setting out of its range.
    """

    def __init__(
        self,
        detector: Detector,
        backbone: Backbone,
        num_frames: int = 10,
        threshold: float = 0.5,
        max_objects: int = 5,
        sampling: str = "centres",
    ) -> None:
        if num_frames < 1 or max_objects < 1 or not 0 <= threshold <= 1:
            raise UserError(
                f"num_frames and max_objects must be at least 1 and threshold lie in 0..1; "
                f"got {num_frames}, {max_objects}, {threshold}"
            )
        if sampling not in SAMPLING:
            raise UserError(f"sampling must be one of {', '.join(SAMPLING)}; got {sampling!r}")
        self.detector, self.backbone = detector, backbone
        self.num_frames, self.threshold, self.max_objects, self.sampling = num_frames, threshold, max_objects, sampling

    def manifest(self) -> dict[str, Any]:
        """Everything that decides the numbers; features made under different manifests never mix."""
        return {
            "detector": self.detector.manifest(),
            "backbone": self.backbone.manifest(),
            "num_frames": self.num_frames,
            "sampling": self.sampling,
            "threshold": self.threshold,
            "max_objects": self.max_objects,
            "layout": "boxes xyxy in pixels of the upright frame, frame by frame, best first",
            "dtype": "float32",
        }

    def __call__(self, sample: SampledFrames) -> VideoFeatures:
        """Features of one video: boxes and objects frame by frame, best first; frames without objects are legal.

        The ``manifest`` of the result holds the facts of this video: lengths, and how many boxes were unusable.

        Raises:
            UserError: ``sample`` has another number of frames than the manifest says.
            ValueError: the networks gave numbers that :class:`graphs.features.VideoFeatures` refuses.
        """
        if len(sample.frames) != self.num_frames:
            raise UserError(
                f"video {sample.video!r} was sampled at {len(sample.frames)} frames; this extractor is set to "
                f"{self.num_frames}: sample with num_frames={self.num_frames}"
            )
        size = sample.frames.shape[1], sample.frames.shape[2]
        detections = self.detector(sample)
        if len(detections) != len(sample.frames):
            raise ValueError(f"the detector gave {len(detections)} lists for {len(sample.frames)} frames")
        picked = [select_boxes(item, size, self.threshold, self.max_objects) for item in detections]
        boxes = [item[0] for item in picked]
        scene, objects = self.backbone(sample, boxes)
        return VideoFeatures(
            boxes=torch.from_numpy(np.concatenate(boxes)),
            objects=torch.from_numpy(np.ascontiguousarray(objects, np.float32)),
            frame=torch.from_numpy(_frame_of(boxes)),
            num_frames=len(sample.frames),
            scores=torch.from_numpy(np.concatenate([item[1] for item in picked])),
            scene=torch.from_numpy(np.ascontiguousarray(scene, np.float32)),
            frame_number=torch.from_numpy(np.array(sample.frame_number, np.int64)),
            size=size,
            video=sample.video,
            manifest={
                "total_frames": sample.total_frames,
                "header_frames": sample.header_frames,
                "fps": sample.fps,
                "truncated": sample.truncated,
                "num_unique": sample.num_unique,
                "unusable_boxes": sum(item[2] for item in picked),
            },
        )


def select_boxes(
    found: Detections, size: tuple[int, int], threshold: float, max_objects: int
) -> tuple[Boxes, Scores, int]:
    """Usable boxes of one frame: clipped to the picture, above the threshold, the best first, equal scores in order.

    Boxes that are not finite, or have no area inside the picture, are left out and counted.

    Args:
        found: boxes and scores in any order.
        size: height and width of the picture.
        threshold: least score.
        max_objects: boxes kept.

    Returns:
        boxes ``[n 4]``, scores ``[n]``, and how many boxes were unusable.
    """
    height, width = size
    finite = np.isfinite(found.boxes).all(axis=1) & np.isfinite(found.scores)
    boxes = np.where(finite[:, None], found.boxes, 0).clip(0, np.array([width, height] * 2, np.float32))
    usable = finite & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    rows = np.flatnonzero(usable & (found.scores >= threshold))
    rows = rows[np.argsort(-found.scores[rows], kind="stable")][:max_objects]
    return boxes[rows].astype(np.float32), found.scores[rows], int((~usable).sum())


def _frame_of(boxes: list[Boxes]) -> Int64[np.ndarray, " N"]:
    return np.repeat(np.arange(len(boxes), dtype=np.int64), [len(item) for item in boxes])
