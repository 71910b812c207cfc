"""The features of one video: what a detector and the feature networks say about it, checked once, here."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from graphs.detections import detection_fields, first_true

TENSORS = (
    "boxes", "objects", "frame", "scores", "scene", "motion", "motion_row", "frame_number", "grid", "audio",
    "audio_mask", "label", "frame_time", "track", "label_score",
)  # fmt: skip
"""The fields of :class:`VideoFeatures` that hold tensors, where they are given."""


@dataclass(frozen=True, eq=False)
class VideoFeatures:
    """Boxes and features of the objects of one video, frame by frame, with what goes along per frame.

    The rows of ``boxes``, ``objects``, ``frame``, ``scores``, ``label``, ``label_score`` and ``track`` belong together:
    one an object, by frame. A frame, or a whole video, without objects is legal; ``num_frames`` says how long the video
    is. Nothing is clipped, sorted or repaired: what does not fit is refused.

    Args:
        boxes: ``[N 4]`` corners ``(x1, y1, x2, y2)`` in pixels, ``x2 >= x1`` and ``y2 >= y1``.
        objects: ``[N D]`` appearance vectors, one an object.
        frame: ``[N]`` int64, the sampled frame of each object, non-decreasing, in ``0..num_frames - 1``.
        num_frames: number ``T`` of sampled frames, at least 1.
        scores: ``[N]`` confidence of the detector.
        scene: ``[T S]`` appearance of each whole frame.
        motion: ``[L M]`` features of ``L`` short clips of the video.
        motion_row: ``[T]`` int64, the row of ``motion`` and ``grid`` that each sampled frame falls into.
        frame_number: ``[T]`` int64, each sampled frame's number in the original video.
        grid: ``[L P G]`` features of ``P`` places in each of those clips, row by row those of ``motion``.
        audio: ``[A U]`` features of ``A`` stretches of the sound, none for a silent video; with ``audio_mask``.
        audio_mask: ``[A]`` whether anything is heard in each stretch.
        total_frames: number of frames in the original video, above every ``frame_number``.
        fps: frames a second of the original video; 0 where that is not known.
        size: ``(height, width)`` of the pictures in pixels.
        label: ``[N]`` int64, the class of each object in the numbers of its detector, 0 where that is not known: for
            people to read, and for :class:`graphs.NodeInputs` where asked for. No edge follows from it.
        frame_time: ``[T]`` seconds from the first frame of the original video to each sampled frame, for people to
            read; None where ``frame_number / fps`` says it.
        track: ``[N]`` int64, the identity of each object over time, the same number in each of its frames, -1 where
            that is not known. No track is twice in one frame. No edge follows from it, and no encoder reads it.
        label_score: ``[N]`` confidence of ``label``, where it has one of its own.
        video: name of the video, used in error messages and as its key.
        manifest: how the features were made (networks, weight hashes, sampling); carried along, never interpreted.

    Raises:
        ValueError: if shapes disagree or a value cannot be; the message names the video, the row and the value.
    """

    boxes: Float[Tensor, "N 4"]
    objects: Float[Tensor, "N D"]
    frame: Int[Tensor, " N"]
    num_frames: int
    scores: Float[Tensor, " N"] | None = None
    scene: Float[Tensor, "T S"] | None = None
    motion: Float[Tensor, "L M"] | None = None
    motion_row: Int[Tensor, " T"] | None = None
    frame_number: Int[Tensor, " T"] | None = None
    grid: Float[Tensor, "L P G"] | None = None
    audio: Float[Tensor, "A U"] | None = None
    audio_mask: Bool[Tensor, " A"] | None = None
    total_frames: int | None = None
    fps: float | None = None
    size: tuple[int, int] | None = None
    label: Int[Tensor, " N"] | None = None
    frame_time: Float[Tensor, " T"] | None = None
    track: Int[Tensor, " N"] | None = None
    label_score: Float[Tensor, " N"] | None = None
    video: str = ""
    manifest: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise self._error(f"num_frames must be at least 1, got {self.num_frames}")
        # First: the checks below index by these shapes.
        self._check_tensors()
        self._check_shapes()
        for name in ("boxes", "objects", "scores", "scene", "motion", "grid", "audio", "frame_time", "label_score"):
            self._check_finite(name)
        self._check_boxes()
        self._check_frames()
        row = None if self.label is None else first_true(self.label < 0)
        if self.label is not None and row is not None:
            raise self._error(f"label must be 0 or more, got {self.label[row].item()}", row)
        self._check_tracks()
        self._check_motion()
        self._check_clock()
        if (self.audio is None) != (self.audio_mask is None):
            raise self._error("audio and audio_mask belong together: give both or neither")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise self._error(f"size must be (height, width) in pixels, both at least 1, got {self.size}")

    @classmethod
    def from_detections(
        cls,
        detections: Iterable[Any] | Mapping[Any, Any],
        *,
        num_frames: int | None = None,
        size: tuple[int, int] | None = None,
        features: Iterable[Any] | Mapping[Any, Any] | None = None,
        with_boxes: bool = False,
        video: str = "",
        box_format: str = "xyxy",
        num_classes: int | None = None,
        **fields: Any,
    ) -> "VideoFeatures":
        """The features of a video from what any detector, tracker or file says of its frames.

        >>> frames = [sv.Detections.from_ultralytics(model(picture)[0]) for picture in pictures]
        >>> features = VideoFeatures.from_detections(frames, size=(480, 640), video="kitchen")
        >>> store.put(features.video, graphs.build_graph(features))

        Args:
            detections: one item a frame in a list, or frame number -> item. An item is an object with ``xyxy [n 4]``
                and, each an array ``[n]`` or None, ``confidence``, ``class_id`` and ``tracker_id`` (supervision), or
                ``conf``, ``cls`` and ``id`` (ultralytics: ``Results`` or their ``boxes``); a dict with
                ``boxes``, and ``scores``, ``labels``, ``tracks`` where they are known (torchvision, transformers), or
                with the names above; an array or list of boxes ``[n 4]``; None, or nothing in it, for a frame without
                objects. What else objects and dicts hold is left.
            num_frames: number ``T`` of frames, 2^20 at most; by default up to the last one given.
            size: ``(height, width)`` of the pictures in pixels.
            features: appearance vectors ``[n D]``, one array a frame, or frame number -> array. By default, the
                ``[n 5 + num_classes]`` of :func:`graphs.box_features`, for which ``size`` is needed.
            with_boxes: append those to ``features``, as GraVi-T and SPELL do.
            video: name of the video.
            box_format: ``xyxy`` corners, ``xywh`` upper left corner and extent, ``cxcywh`` centre and extent; pixels.
            num_classes: classes ``0..num_classes - 1`` are part of the vectors that are made of boxes, one-hot.
            fields: other fields of :class:`VideoFeatures`, as ``scene``, ``fps``, ``frame_number``.

        Classes become ``label`` as they are: the 0 of a detector that counts its classes from 0 reads as not known;
        add 1 to all where that matters. Objects without a class have label 0, those without a tracker's number track
        -1. Scores belong to all objects, or to none.

        Raises:
            ValueError: what cannot be, naming the video, the frame and the value.
        """
        made = detection_fields(
            detections, num_frames=num_frames, size=size, features=features, with_boxes=with_boxes, video=video,
            box_format=box_format, num_classes=num_classes,
        )  # fmt: skip
        return cls(**made, **fields)

    @classmethod
    def from_numpy(
        cls, boxes: np.ndarray, objects: np.ndarray, frame: np.ndarray, num_frames: int, **more: Any
    ) -> "VideoFeatures":
        """The same from NumPy arrays, which are copied: floats as float32, whole numbers as int64, as models have them.

        Args:
            boxes, objects, frame, num_frames: as for the class.
            more: any of its other fields.

        Raises:
            ValueError: as for the class.
        """
        fields: dict[str, Any] = {name: _tensor(name, value) for name, value in more.items()}
        first = _tensor("boxes", boxes), _tensor("objects", objects), _tensor("frame", frame)
        return cls(*first, num_frames, **fields)

    @property
    def num_objects(self) -> int:
        """Number ``N`` of objects in all frames together."""
        return self.boxes.size(0)

    def _error(self, problem: str, row: int | None = None) -> ValueError:
        where = f"video {self.video!r}" + ("" if row is None else f" row {row}")
        return ValueError(f"{problem}; {where}")

    def _check_tensors(self) -> None:
        """Arrays of NumPy would pass some checks and fail in others: which is to be converted is said at once."""
        for name in TENSORS:
            value = getattr(self, name)
            if value is not None and not isinstance(value, Tensor):
                hint = ": use VideoFeatures.from_numpy" if type(value).__module__ == "numpy" else ""
                raise self._error(f"{name} must be a torch tensor, got {type(value).__name__}{hint}")
            if value is None and name in ("boxes", "objects", "frame"):
                raise self._error(f"{name} must be a torch tensor, got None")

    def _check_shapes(self) -> None:
        rows, frames = self.boxes.size(0) if self.boxes.dim() else 0, self.num_frames
        clips = self.motion.size(0) if self.motion is not None and self.motion.dim() else None
        heard = self.audio.size(0) if self.audio is not None and self.audio.dim() else None
        # One table of shapes instead of a check a field; None fits any size.
        expected: dict[str, tuple[int | None, ...]] = {
            "boxes": (rows, 4),
            "objects": (rows, None),
            "frame": (rows,),
            "scores": (rows,),
            "label": (rows,),
            "label_score": (rows,),
            "track": (rows,),
            "scene": (frames, None),
            "motion": (None, None),
            "motion_row": (frames,),
            "frame_number": (frames,),
            "frame_time": (frames,),
            "grid": (clips, None, None),
            "audio": (None, None),
            "audio_mask": (heard,),
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is None:
                continue
            fits = value.dim() == len(shape) and all(
                want in (None, have) for want, have in zip(shape, value.shape, strict=True)
            )
            if not fits:
                words = " ".join("?" if want is None else str(want) for want in shape)
                raise self._error(
                    f"{name} must have shape [{words}] ({rows} objects, {frames} frames), got {list(value.shape)}"
                )
            # The dtype decides how a batch may be indexed and stored, so it is never cast in silence.
            whole = name in ("frame", "label", "track", "motion_row", "frame_number")
            if whole and value.dtype != torch.int64:
                raise self._error(f"{name} must be int64, got {value.dtype}")
            if name == "audio_mask" and value.dtype != torch.bool:
                raise self._error(f"{name} must be bool, got {value.dtype}")
            if not whole and name != "audio_mask" and not value.is_floating_point():
                raise self._error(f"{name} must be floating point, got {value.dtype}")

    def _check_finite(self, name: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        bad = ~torch.isfinite(value if value.dim() > 1 else value.unsqueeze(1)).flatten(1).all(dim=1)
        row = first_true(bad)
        if row is not None:
            number = next(v for v in value[row].reshape(-1).tolist() if v != v or v in (float("inf"), float("-inf")))
            raise self._error(f"{name} must be finite, got {number}", row)

    def _check_boxes(self) -> None:
        for low, high in ((0, 2), (1, 3)):
            row = first_true(self.boxes[:, high] < self.boxes[:, low])
            if row is not None:
                axis = "xy"[low]
                raise self._error(
                    f"boxes must be (x1, y1, x2, y2) with {axis}2 >= {axis}1, got "
                    f"{axis}1={self.boxes[row, low].item()}, {axis}2={self.boxes[row, high].item()}",
                    row,
                )

    def _check_frames(self) -> None:
        row = first_true((self.frame < 0) | (self.frame >= self.num_frames))
        if row is not None:
            raise self._error(f"frame must lie in 0..{self.num_frames - 1}, got {self.frame[row].item()}", row)
        row = first_true(self.frame[1:] < self.frame[:-1])
        if row is not None:
            before, after = self.frame[row : row + 2].tolist()
            raise self._error(
                f"frame must not decrease (order the objects by frame), got {after} after {before}", row + 1
            )

    def _check_tracks(self) -> None:
        if self.track is None:
            return
        row = first_true(self.track < -1)
        if row is not None:
            raise self._error(f"track must be 0 or more, or -1 where not known, got {self.track[row].item()}", row)
        row = repeated_track(self.frame, self.track)
        if row is not None:
            raise self._error(
                f"frame {self.frame[row].item()} holds track {self.track[row].item()} twice: an object is in a frame "
                "once; give -1 where the track is not known",
                row,
            )

    def _check_motion(self) -> None:
        if self.motion_row is None:
            return
        clips = self.motion if self.motion is not None else self.grid
        if clips is None:
            raise self._error("motion_row is given without motion or grid: it points into their rows")
        row = first_true((self.motion_row < 0) | (self.motion_row >= clips.size(0)))
        if row is not None:
            raise self._error(f"motion_row must lie in 0..{clips.size(0) - 1}, got {self.motion_row[row].item()}", row)

    def _check_clock(self) -> None:
        if self.fps is not None and not (math.isfinite(self.fps) and self.fps >= 0):
            raise self._error(f"fps must be a number of frames a second, 0 where not known, got {self.fps}")
        if self.total_frames is None:
            return
        if self.total_frames < 1:
            raise self._error(f"total_frames must be at least 1, got {self.total_frames}")
        row = None if self.frame_number is None else first_true(self.frame_number >= self.total_frames)
        if self.frame_number is not None and row is not None:
            raise self._error(
                f"total_frames is {self.total_frames}, but frame_number holds {self.frame_number[row].item()}", row
            )


def repeated_track(frame: Tensor, track: Tensor) -> int | None:
    """The first row whose known track is in its frame already, None if there is none."""
    # Stable sorts: by frame, then by track; of equal pairs the later row comes second.
    order = track.argsort(stable=True)
    order = order[frame[order].argsort(stable=True)]
    frame, track = frame[order], track[order]
    again = (track[1:] == track[:-1]) & (frame[1:] == frame[:-1]) & (track[1:] >= 0)
    return int(order[1:][again].min()) if bool(again.any()) else None


def _tensor(name: str, value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    kinds = {"f": np.float32, "i": np.int64, "u": np.int64}
    if value.dtype.kind == "u" and value.size and value.max() >= 2**63:
        raise ValueError(f"{name} must hold whole numbers below 2**63, got {value.max()}")
    return torch.from_numpy(value.astype(kinds.get(value.dtype.kind, value.dtype)))
