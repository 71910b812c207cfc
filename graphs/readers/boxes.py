"""Boxes written down by hand, or by a script of one's own: a plain JSON file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from graphs.detections import BOX_FORMATS
from graphs.features import VideoFeatures
from graphs.readers.json_files import Entry, detections_of, read_json

BOXES_FORMAT = "video-boxes/1"
"""What ``format`` says in a file that :func:`read_boxes` reads."""


def read_boxes(path: str | Path) -> list[tuple[str, VideoFeatures]]:
    """The videos of a plain JSON file of boxes.

    >>> with graphs.GraphStore("boxes.lmdb", "a") as store:
    ...     store.put_many((video, graphs.flat_graph(made)) for video, made in graphs.read_boxes("boxes.json"))

    .. code-block:: json

        {"format": "video-boxes/1",
         "box_format": "xyxy",
         "classes": ["person", "dog"],
         "videos": {
           "kitchen": {
             "width": 640, "height": 480, "num_frames": 3, "fps": 25,
             "frames": {
               "0": [{"box": [10, 20, 50, 80], "class": "dog", "score": 0.9, "track": 1, "feature": [0.1, 0.7]}],
               "2": [{"box": [12, 20, 52, 80], "class": "dog", "score": 0.8, "track": 1, "feature": [0.2, 0.6]}]}}}}

    ``format``, ``videos``, and of a video ``frames``, of an object ``box`` must be there; the rest may be left out.

    - ``frames``: frame number (from 0) -> list of objects, or a list of such lists, one a frame. Frames without objects
      may be empty or left out. A video has 2^20 frames at most; of a longer one list those that matter, numbered from 0
      in their order.
    - ``box``: four numbers in pixels, as ``box_format`` says: ``xyxy`` corners (the default), ``xywh`` upper left
      corner and extent, ``cxcywh`` centre and extent.
    - ``class``: a name of ``classes``, which becomes its place there, counted from 1; or a number, 0 for not known.
    - ``score``: confidence; of all objects of a file, or of none. ``track``: a number, the same in each frame of an
      object; -1 or left out where not known.
    - ``feature``: appearance vector; of all objects of a file, or of none, when objects are described by
      :func:`graphs.box_features` (with the classes one-hot, where there are ``classes``), which needs ``width`` and
      ``height``.
    - ``num_frames``: frames of the video, by default up to the last one that is listed. ``fps``: 0 for not known.

    Args:
        path: the file; compressed by gzip where its name ends in ``.gz``.

    Returns:
        Each video with its features, in the order of the file.

    Raises:
        OSError: the file cannot be read.
        ValueError: anything else than this, unknown keys included; the file, the video, the frame and the value are
            named.
    """
    file, box_format, classes = _header(read_json(path))
    videos = {video: _Video(entry, classes) for video, entry in file["videos"].members(optional=None).items()}
    # A store takes graphs that have the same fields and widths: what differs is refused here, with its place.
    scored = _of_all(videos, "a score", lambda item: "score" in item)
    width = _of_all(videos, "a feature of one length", lambda item: len(item["feature"]) if "feature" in item else None)
    sized = {"width" in made.about for made in videos.values()}
    if len(sized) == 2:
        raise file["videos"].fault("give width and height to all videos, or to none")
    with_fps = any("fps" in made.about for made in videos.values())
    return [(video, made.features(video, box_format, scored, width, with_fps)) for video, made in videos.items()]


def _header(root: Entry) -> tuple[dict[str, Entry], str, dict[str, int]]:
    """The members of the file, the format of its boxes, and the number of each class."""
    file = root.members("format videos", "box_format classes")
    if file["format"].value != BOXES_FORMAT:
        raise file["format"].fault(f"must be '{BOXES_FORMAT}', the format that is read here")
    box_format = file["box_format"].text() if "box_format" in file else "xyxy"
    if box_format not in BOX_FORMATS:
        raise file["box_format"].fault(f"must be one of {', '.join(BOX_FORMATS)}, got {box_format!r}")
    classes = [entry.text() for entry in file["classes"].items()] if "classes" in file else []
    if len(set(classes)) < len(classes):
        raise file["classes"].fault("a name is given twice")
    return file, box_format, {name: number for number, name in enumerate(classes, 1)}


class _Video:
    """One video of the file: its objects, frame by frame, and whether they have vectors."""

    def __init__(self, entry: Entry, classes: Mapping[str, int]) -> None:
        self.entry, self.classes = entry, classes
        self.about = entry.members("frames", "width height num_frames fps")
        if ("width" in self.about) != ("height" in self.about):
            raise entry.fault("width and height belong together: give both or neither")
        frames = self.about["frames"]
        listed = (
            {_frame(key, value): value for key, value in frames.members(optional=None).items()}
            if isinstance(frames.value, dict)
            else dict(enumerate(frames.items()))
        )
        self.frames = {number: [self._object(item) for item in value.items()] for number, value in listed.items()}

    def _object(self, entry: Entry) -> dict[str, Any]:
        given = entry.members("box", "class score track feature")
        made: dict[str, Any] = {"box": given["box"].numbers(4, "a list of 4 numbers")}
        made["label"] = self._label(given["class"]) if "class" in given else 0
        made["track"] = given["track"].integer(-1) if "track" in given else -1
        if "score" in given:
            made["score"] = given["score"].number()
        if "feature" in given:
            made["feature"] = given["feature"].numbers()
        return made

    def _label(self, entry: Entry) -> int:
        if isinstance(entry.value, str):
            if entry.value not in self.classes:
                names = ", ".join(self.classes) or "none: list them in 'classes', or give numbers"
                raise entry.fault(f"{entry.value!r} is none of the classes; those of this file are {names}")
            return self.classes[entry.value]
        number = entry.integer()
        if self.classes and number > len(self.classes):
            raise entry.fault(f"must lie in 0..{len(self.classes)}, the places in 'classes', got {number}")
        return number

    def features(
        self, video: str, box_format: str, scored: bool | None, width: int | None, with_fps: bool
    ) -> VideoFeatures:
        """The features of this video, with scores, vectors of that width and a frame rate where the file has them."""
        about = self.about
        num_frames = about["num_frames"].integer(1) if "num_frames" in about else None
        frames = self.frames or ({0: []} if num_frames else {})
        detections = detections_of(frames, scored)
        vectors = (
            {
                number: torch.tensor([item["feature"] for item in items]).reshape(len(items), width or 0)
                for number, items in frames.items()
            }
            if width is not None
            else None
        )
        try:
            return VideoFeatures.from_detections(
                detections,
                num_frames=num_frames,
                size=(about["height"].integer(1), about["width"].integer(1)) if "width" in about else None,
                features=vectors,
                video=video,
                box_format=box_format,
                num_classes=1 + len(self.classes) if self.classes else None,
                fps=(about["fps"].number() if "fps" in about else 0.0) if with_fps else None,
            )
        except ValueError as error:
            raise ValueError(f"{self.entry.path}: {error}") from error


def _frame(key: str, entry: Entry) -> int:
    if not (key.isascii() and key.isdigit() and len(key) < 16) or str(int(key)) != key:
        raise entry.fault("the key must be the number of a frame, counted from 0, as '12'")
    return int(key)


def _of_all(videos: Mapping[str, _Video], what: str, kind: Callable[[dict[str, Any]], Any]) -> Any:
    """What ``kind`` says of every object of the file; None without objects."""
    first: dict[Any, tuple[str, int]] = {}
    for video, made in videos.items():
        for frame, items in made.frames.items():
            for item in items:
                first.setdefault(kind(item), (video, frame))
                if len(first) > 1:
                    (other, at), _ = first.values()
                    place = f"those of video {other!r} frame {at} and of video {video!r} frame {frame} differ"
                    raise made.about["frames"].fault(f"give {what} to all objects of the file, or to none: {place}")
    return next(iter(first), None)
