"""COCO-VID: annotations or detections of videos in the manner of COCO (ImageNet VID, TAO, MMTracking)."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from graphs.features import VideoFeatures
from graphs.readers.json_files import Entry, detections_of, read_json


def read_coco_vid(path: str | Path, *, num_classes: int | None = None) -> list[tuple[str, VideoFeatures]]:
    """The videos of a COCO-VID file, described by their boxes (:func:`graphs.box_features`).

    >>> with graphs.GraphStore("vid.lmdb", "a") as store:
    ...     store.put_many((video, graphs.flat_graph(made)) for video, made in graphs.read_coco_vid("vid.json"))

    What is read: ``videos`` (``id``, ``name``), ``images`` (``id``, ``video_id``, ``frame_id`` or, as in TAO,
    ``frame_index``, ``width``, ``height``, or these two of the video), ``annotations`` (``image_id``, ``bbox`` as x, y,
    width, height in pixels, ``category_id``, and where they are there, ``instance_id`` or ``track_id``, and ``score``).
    Other keys are left.

    The frames of a video are its images in the order of ``frame_id``, which may begin anywhere and skip numbers;
    ``frame_number`` keeps it. ``label`` is the category, ``track`` the instance.

    Args:
        path: the file; compressed by gzip where its name ends in ``.gz``.
        num_classes: categories ``0..num_classes - 1`` are part of the vectors, one-hot; by default one more than the
            largest ``id`` of ``categories`` where the file lists them.

    Returns:
        Each video under its name, in the order of the file.

    Raises:
        OSError: the file cannot be read.
        ValueError: what cannot be; the file, the place in it or the video and frame, and the value are named.
    """
    file = read_json(path).members("videos images annotations", None)
    if num_classes is None and "categories" in file:
        numbers = [entry.members("id", None)["id"].integer() for entry in file["categories"].items()]
        num_classes = 1 + max(numbers, default=0)
        if num_classes > _MOST_CLASSES:
            raise file["categories"].fault(
                f"an id must be below {_MOST_CLASSES}, as each is a number of the vectors, got {num_classes - 1}: give "
                "the categories smaller ids"
            )
    videos = _videos(file["videos"])
    images, place = _images(file["images"], videos)
    found: dict[int, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for entry in file["annotations"].items():
        made = _annotation(entry)
        if made["image"] not in place:
            raise entry.fault(f"image_id {made['image']} is none of the images")
        video, frame = place[made["image"]]
        found[video][frame].append(made)
    # A store takes graphs that have the same fields: all videos have scores, or none.
    scored = {item["score"] is not None for frames in found.values() for items in frames.values() for item in items}
    if len(scored) == 2:
        raise file["annotations"].fault("give a score to all annotations, or to none")
    return [
        (name, _features(Path(path), name, images[number], found[number], scored == {True}, num_classes))
        for number, (name, _) in videos.items()
    ]


_MOST_CLASSES = 10_000
_Size = tuple[int, int] | None


def _size(given: dict[str, Entry]) -> _Size:
    if "width" not in given or "height" not in given:
        return None
    return given["height"].integer(1), given["width"].integer(1)


def _videos(entries: Entry) -> dict[int, tuple[str, _Size]]:
    """Id -> name and size of each video."""
    videos: dict[int, tuple[str, _Size]] = {}
    names = set()
    for entry in entries.items():
        given = entry.members("id name", None)
        number, name = given["id"].integer(), given["name"].text()
        if number in videos or name in names:
            what = f"id {number}" if number in videos else f"name {name!r}"
            raise entry.fault(f"the {what} is given to a video before")
        names.add(name)
        videos[number] = (name, _size(given))
    return videos


def _images(
    entries: Entry, videos: dict[int, tuple[str, _Size]]
) -> tuple[dict[int, tuple[list[int], _Size]], dict[int, tuple[int, int]]]:
    """Of each video the frame ids in order, and the size; of each image its video, and its place among the frames."""
    by_video: dict[int, dict[int, int]] = {number: {} for number in videos}
    sizes = {number: size for number, (_, size) in videos.items()}
    known = set()
    for entry in entries.items():
        has = entry.members("", None)
        number = "frame_index" if "frame_index" in has and "frame_id" not in has else "frame_id"
        given = entry.members(f"id video_id {number}", None)
        image, video, frame = (given[key].integer() for key in ("id", "video_id", number))
        if video not in videos:
            raise entry.fault(f"video_id {video} is none of the videos")
        if image in known:
            raise entry.fault(f"the id {image} is given to an image before")
        if frame in by_video[video]:
            raise entry.fault(f"video {videos[video][0]!r} has an image with {number} {frame} before")
        known.add(image)
        by_video[video][frame] = image
        size = _size(given)
        if size and sizes[video] not in (None, size):
            raise entry.fault(
                f"its height and width {size} differ from {sizes[video]} of the video or of its image before"
            )
        sizes[video] = size or sizes[video]
    frames = {video: (sorted(of_video), sizes[video]) for video, of_video in by_video.items()}
    place = {
        by_video[video][frame]: (video, row) for video, (order, _) in frames.items() for row, frame in enumerate(order)
    }
    return frames, place


def _annotation(entry: Entry) -> dict[str, Any]:
    given = entry.members("", None)
    if "bboxes" in given and "bbox" not in given:
        raise entry.fault("it has bboxes, as YouTube-VIS: convert it to COCO-VID, with one annotation a box and image")
    given = entry.members("image_id bbox category_id", None)
    box = given["bbox"].numbers(4, "a list of 4 numbers, x, y, width, height")
    if min(box[2:]) < 0:
        raise given["bbox"].fault(f"must be x, y, width, height with width >= 0 and height >= 0, got {box}")
    track = next((given[key].integer(-1) for key in ("instance_id", "track_id") if key in given), -1)
    score = given["score"].number() if "score" in given else None
    return {
        "image": given["image_id"].integer(), "box": box, "label": given["category_id"].integer(), "track": track,
        "score": score,
    }  # fmt: skip


def _features(
    path: Path,
    name: str,
    images: tuple[list[int], _Size],
    found: dict[int, list[dict[str, Any]]],
    scored: bool,
    num_classes: int | None,
) -> VideoFeatures:
    numbers, size = images
    if not numbers:
        raise ValueError(f"{path}: video {name!r} has no images: remove it from 'videos', or list its frames")
    if size is None:
        raise ValueError(f"{path}: video {name!r} has no width and height, neither in 'videos' nor in 'images'")
    detections = detections_of(found or {0: []}, scored)
    try:
        return VideoFeatures.from_detections(
            detections, num_frames=len(numbers), size=size, video=name, box_format="xywh", num_classes=num_classes,
            frame_number=torch.tensor(numbers),
        )  # fmt: skip
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
