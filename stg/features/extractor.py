"""From what was read of a clip to its validated features."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64

from graphs import VideoFeatures
from stg.config.extraction import SamplingConfig
from stg.features.clip_pass import ClipFeatures, Stages, run_clip
from stg.runtime.errors import UserError
from stg.video.clip import ClipPart, ClipRequest
from stg.video.decoding import SampledFrames
from stg.video.sampling import RULES
from stg.vision.backbones import Backbone
from stg.vision.detectors import Detections, Detector
from stg.vision.inference import roi_features
from stg.vision.motion import MotionNetwork
from stg.vision.vggish import SoundNetwork

OBJECTS = ("image", "detector", "image+motion")
"""Where object features are read off, see :class:`Extractor`."""

DEFAULT = SamplingConfig()

PerFrame = Sequence[Float32[np.ndarray, "_ 4"]]


class Extractor:
    """Frozen networks, and how their results become the features of a video.

    Args:
        detector: finds boxes; its labels, if any, are kept for people to read only. None: no objects.
        backbone: gives one scene feature a frame (and one object feature a box).
        sampling: which frames are read, ``T`` of them (with ``sampling="stride"`` at most so many: T differs from video
            to video), and what is kept of them; all that decides a number is recorded in the manifest. Boxes of equal
            score keep the detector's order. ``objects``: ``image`` (as ``auto`` here): object features come from the
            image network's map; ``detector``: from the last map of the detector's own body (Pan et al., 2020, Sec.
            4.3); ``image+motion``: from the image and the motion network's maps, side by side (Chen et al., 2019, Sec.
            2.1). ``grid``: the motion features of all places (Cherian et al., 2020, Sec. 4.1).
        motion: network over all frames, segment by segment.
        sound: network over the sound.

    Raises:
        UserError: an unknown rule, or a setting that needs a network that is not there.
    """

    def __init__(
        self,
        detector: Detector | None,
        backbone: Backbone,
        sampling: SamplingConfig = DEFAULT,
        *,
        motion: MotionNetwork | None = None,
        sound: SoundNetwork | None = None,
    ) -> None:
        objects = "image" if sampling.objects == "auto" else sampling.objects
        # Manifests of other programs give these as they please; command lines were checked before.
        for name, value, known in (("sampling", sampling.sampling, RULES), ("objects", objects, OBJECTS)):
            if value not in known:
                raise UserError(f"{name} must be one of {', '.join(known)}; got {value!r}")
        if motion is None and (sampling.grid or objects == "image+motion"):
            raise UserError(
                f"{'grid' if sampling.grid else 'objects=image+motion'} needs a motion network: give one with motion"
            )
        self.detector, self.backbone, self.motion, self.sound = detector, backbone, motion, sound
        self.sampling, self.objects = sampling, objects

    def manifest(self) -> dict[str, Any]:
        """Everything that decides the numbers; features made under different manifests never mix."""
        return {
            "detector": self.detector.manifest() if self.detector is not None else None,
            "backbone": self.backbone.manifest(),
            "motion": self.motion.manifest() if self.motion is not None else None,
            "sound": self.sound.manifest() if self.sound is not None else None,
            "num_frames": self.sampling.num_frames,
            "sampling": self.sampling.sampling,
            # Absent otherwise, so that stores made before there was a stride can be continued.
            **({"stride": self.sampling.stride} if self.sampling.sampling == "stride" else {}),
            "threshold": self.sampling.threshold,
            "max_objects": self.sampling.max_objects,
            "objects": self.objects,
            "grid": self.sampling.grid,
            "layout": "boxes xyxy in pixels of the upright frame, frame by frame, best first",
            "dtype": "float32",
        }

    def request(self) -> ClipRequest:
        """What has to be read of a clip for these networks."""
        return ClipRequest(
            num_frames=self.sampling.num_frames,
            sampling=self.sampling.sampling,
            stride=self.sampling.stride,
            max_pixels=self.sampling.max_pixels,
            min_frames=self.sampling.min_frames,
            segments=self.motion.request if self.motion is not None else None,
            sound=self.sound is not None,
        )

    def run_clip(self, parts: Iterable[ClipPart], stages: Stages | None = None) -> ClipFeatures:
        """Go through the parts of a clip, read as :meth:`request` says, keeping what :meth:`extract` needs.

        Args:
            parts: of one clip.
            stages: takes the time of ``read``, ``motion`` and ``sound``.

        Raises:
            VideoError: the clip cannot be used.
        """
        maps = self.objects == "image+motion"
        return run_clip(parts, self.motion, self.sound, grid=self.sampling.grid, maps=maps, stages=stages)

    def __call__(self, clip: ClipFeatures | SampledFrames) -> VideoFeatures:
        """Features of one video: boxes and objects frame by frame, best first; frames without objects are legal."""
        return self.extract([clip])[0]

    def extract(
        self, clips: Sequence[ClipFeatures | SampledFrames], stages: Stages | None = None
    ) -> list[VideoFeatures]:
        """Features of several videos, the networks batched over all their frames; the same bytes as one by one.

        The ``manifest`` of each result holds the facts of its video: lengths, and how many boxes were unusable.

        Args:
            clips: of :meth:`run_clip`, read as :meth:`request` says; sampled frames alone do without motion and sound.
            stages: takes the time of ``detector`` and ``image``.

        Raises:
            UserError: a clip has another number of frames than the manifest says (more, with ``sampling="stride"``).
            ValueError: the networks gave numbers that :class:`graphs.features.VideoFeatures` refuses.
        """
        stages = stages or Stages()
        passed = [ClipFeatures(clip) if isinstance(clip, SampledFrames) else clip for clip in clips]
        samples = [clip.sample for clip in passed]
        most, fewer = self.sampling.num_frames, self.sampling.sampling == "stride"
        for sample in samples:
            if len(sample.frames) > most or (len(sample.frames) < most and not fewer):
                raise UserError(
                    f"video {sample.video!r} was sampled at {len(sample.frames)} frames; this extractor is set to "
                    f"{'at most ' if fewer else ''}{most}: sample with num_frames={most}"
                )
        with stages("detector"):
            picked = [
                [select(item, size_of(sample), self.sampling.threshold, self.sampling.max_objects) for item in found]
                for sample, found in zip(samples, self._detect(samples), strict=True)
            ]
        # Boxes before image features: the image network describes the objects that were kept, and no others.
        boxes = [[kept.boxes for kept, _ in frames] for frames in picked]
        with stages("image"):
            described = self._describe(samples, boxes)
        return [
            self._features(clip, frames, scene, objects)
            for clip, frames, (scene, objects) in zip(passed, picked, described, strict=True)
        ]

    def _detect(self, samples: Sequence[SampledFrames]) -> list[list[Detections]]:
        if self.detector is None:
            # Without a detector there are frames all the same, none of which has objects.
            nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
            return [[nothing] * len(sample.frames) for sample in samples]
        # Detectors that can take the frames of several videos at once do; the others see one video at a time.
        many = getattr(self.detector, "many", None)
        found = [list(item) for item in (map(self.detector, samples) if many is None else many(samples))]
        for sample, item in zip(samples, found, strict=True):
            if len(item) != len(sample.frames):
                raise ValueError(f"the detector gave {len(item)} lists for {len(sample.frames)} frames")
        return found

    def _describe(
        self, samples: Sequence[SampledFrames], boxes: Sequence[PerFrame]
    ) -> list[tuple[Float32[np.ndarray, "T S"], Float32[np.ndarray, "N D"]]]:
        many = getattr(self.backbone, "many", None)
        return list(map(self.backbone, samples, boxes) if many is None else many(samples, boxes))

    def _features(
        self, clip: ClipFeatures, frames: Sequence[tuple[Detections, int]], scene: np.ndarray, objects: np.ndarray
    ) -> VideoFeatures:
        sample, kept = clip.sample, [item for item, _ in frames]
        # What the image network said of the boxes is replaced, or joined by what the motion network says of them.
        if self.detector is not None and self.objects == "detector":
            objects = self._detector_objects(kept)
        elif self.detector is not None and self.objects == "image+motion":
            objects = np.concatenate([objects, self._motion_objects(clip, [item.boxes for item in kept])], axis=1)
        return VideoFeatures(
            boxes=_tensor(np.concatenate([item.boxes for item in kept])),
            objects=_tensor(objects),
            frame=torch.from_numpy(frame_of([item.boxes for item in kept])),
            num_frames=len(sample.frames),
            scores=_tensor(np.concatenate([item.scores for item in kept])),
            label=_labels(kept),
            scene=_tensor(scene),
            motion=_tensor(clip.motion) if clip.motion is not None else None,
            motion_row=torch.from_numpy(clip.motion_row) if clip.motion_row is not None else None,
            grid=_tensor(clip.grid) if clip.grid is not None else None,
            audio=_tensor(clip.audio) if clip.audio is not None else None,
            audio_mask=torch.from_numpy(clip.audio_mask) if clip.audio_mask is not None else None,
            # A copy: what comes from a reading process may be read-only.
            frame_number=torch.from_numpy(np.array(sample.frame_number, np.int64)),
            frame_time=_frame_time(sample),
            total_frames=sample.total_frames,
            fps=sample.fps,
            size=size_of(sample),
            video=sample.video,
            manifest={
                "total_frames": sample.total_frames,
                "header_frames": sample.header_frames,
                "fps": sample.fps,
                "truncated": sample.truncated,
                "num_unique": sample.num_unique,
                # Facts of the clip, kept to be seen; nothing that decides how features are made.
                "unusable_boxes": sum(count for _, count in frames),
                **sample.facts,
            },
        )

    def _detector_objects(self, kept: Sequence[Detections]) -> Float32[np.ndarray, "N D"]:
        rows = [item.features for item in kept if item.features is not None]
        if len(rows) != len(kept):
            raise UserError("objects=detector needs a detector that gives features; use objects=image with this one")
        return np.concatenate(rows)

    def _motion_objects(self, clip: ClipFeatures, boxes: PerFrame) -> Float32[np.ndarray, "N C"]:
        """RoIAlign on the motion map of each frame's segment, of the whole frame, stretched (Chen et al., 2019)."""
        if clip.maps is None or self.motion is None:
            raise UserError("objects=image+motion needs clips that were run with their motion maps")
        height, width = self.motion.request.crop
        rows, columns = size_of(clip.sample)
        corners = np.concatenate(list(boxes)) * np.array([width / columns, height / rows] * 2, np.float32)
        stride = height // clip.maps.shape[2]
        maps, places = _tensor(clip.maps), torch.from_numpy(frame_of(boxes))
        return roi_features(maps, torch.from_numpy(corners), places, stride=stride).numpy()


def select(found: Detections, size: tuple[int, int], threshold: float, max_objects: int) -> tuple[Detections, int]:
    """Usable boxes of one frame: clipped to the picture, above the threshold, the best first, equal scores in order.

    Boxes that are not finite, or have no area inside the picture, are left out and counted.

    Args:
        found: boxes, scores, and features and labels if any, in any order.
        size: height and width of the picture.
        threshold: least score.
        max_objects: boxes kept.

    Returns:
        what is kept, and how many boxes were unusable.
    """
    height, width = size
    finite = np.isfinite(found.boxes).all(axis=1) & np.isfinite(found.scores)
    # Boxes that are not finite become 0, so that clipping does not warn of them; they are not usable below.
    boxes = np.where(finite[:, None], found.boxes, 0).clip(0, np.array([width, height] * 2, np.float32))
    usable = finite & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    rows = np.flatnonzero(usable & (found.scores >= threshold))
    # Stable, so that boxes of equal score keep the detector's order on every machine.
    rows = rows[np.argsort(-found.scores[rows], kind="stable")][:max_objects]
    features = None if found.features is None else found.features[rows]
    labels = None if found.labels is None else found.labels[rows]
    return Detections(boxes[rows].astype(np.float32), found.scores[rows], features, labels), int((~usable).sum())


def size_of(sample: SampledFrames) -> tuple[int, int]:
    """Height and width of the frames."""
    return sample.frames.shape[1], sample.frames.shape[2]


def frame_of(boxes: PerFrame) -> Int64[np.ndarray, " N"]:
    """The frame of each box, the boxes being listed frame by frame."""
    return np.repeat(np.arange(len(boxes), dtype=np.int64), [len(item) for item in boxes])


def _labels(kept: Sequence[Detections]) -> torch.Tensor | None:
    labels = [item.labels for item in kept if item.labels is not None]
    return torch.from_numpy(np.concatenate(labels)) if len(labels) == len(kept) else None


def _frame_time(sample: SampledFrames) -> torch.Tensor | None:
    # Absent at a constant rate, where number and rate say the same.
    return _tensor(sample.seconds) if sample.seconds is not None and sample.facts.get("uneven") else None


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
