"""CAD-120: activities of people at home, as tracks of objects with their relations."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from graphs.build import flat_graph
from graphs.features import VideoFeatures
from graphs.flat import FlatBatch
from graphs.readers.json_files import Entry, read_json

CAD120_CLASSES = (
    "hand", "head", "apple", "book", "bottle", "bowl", "box", "cloth", "cup", "medicine-box", "microwave", "plate",
    "remote",
)  # fmt: skip
"""Classes of objects; their ``label`` is the place here, counted from 1."""

CAD120_ACTIONS = (
    "null", "pick", "place", "open", "close", "drink", "eat", "take_food", "clean", "microwave_food",
)  # fmt: skip
"""What a clip shows; :attr:`Cad120Labels.y` is the place here."""


class Cad120Labels(NamedTuple):
    """What is known of a clip.

    Args:
        y: number of the action in :data:`CAD120_ACTIONS`.
        action: its name.
        subject: who acts; a fair test trains on other people.
        activity: what the whole video shows.
        objects: id of each track, by its number in ``VideoFeatures.track``.
        relations: the ids of two objects -> what joins them, a word a frame. Some have no boxes in the clip, and are
            not among ``objects``.
    """

    y: int
    action: str
    subject: str
    activity: str
    objects: tuple[str, ...]
    relations: dict[tuple[str, str], list[str]]


class Cad120Clip(NamedTuple):
    """A clip of CAD-120: its name, its features, what is known of it."""

    video: str
    features: VideoFeatures
    labels: Cad120Labels

    def graph(self) -> FlatBatch:
        """Its graph, as :func:`graphs.flat_graph` makes it, with the number of the action as ``y [1]``."""
        graph = flat_graph(self.features)
        graph.y = torch.tensor([self.labels.y])
        return graph


def read_cad120(path: str | Path) -> list[Cad120Clip]:
    """The clips of CAD-120 (Koppula et al., 2013), described by their boxes and classes (:func:`graphs.box_features`).

    >>> with graphs.GraphStore("cad120.lmdb", "a") as store:
    ...     store.put_many((clip.video, clip.graph()) for clip in graphs.read_cad120("clips.json"))

    The store keeps ``y``, the action, with each graph; other labels are added to a graph before, as tensors (declared
    by :class:`graphs.FreeField`).

    A list of clips, each with ``subject``, ``activity``, ``video``, ``action``, ``first`` and ``last`` frame in the
    video, ``size`` [width, height], ``tracks`` (``id``, ``class``, ``boxes``: ``[x, y, width, height]`` or null a
    frame) and ``relations`` (``ids`` of two tracks, ``relations``: one word a frame).

    Args:
        path: the file; compressed by gzip where its name ends in ``.gz``.

    Returns:
        The clips in the order of the file, each named ``VIDEO_FIRST_LAST``. Tracks are numbered in the order of the
        clip; ``frame_number`` is the frame in the video.

    Raises:
        OSError: the file cannot be read.
        ValueError: anything else; the file, the place and the value are named.
    """
    clips: dict[str, Cad120Clip] = {}
    for entry in read_json(path).items():
        clip = _clip(entry)
        if clip.video in clips:
            raise entry.fault(f"the clip {clip.video!r} is given twice")
        clips[clip.video] = clip
    return list(clips.values())


def _clip(entry: Entry) -> Cad120Clip:
    given = entry.members("subject activity video first last action size tracks relations")
    first, last = given["first"].integer(), given["last"].integer()
    if last < first:
        raise given["last"].fault(f"must be {first} or more, the first frame, got {last}")
    action = given["action"].text()
    if action not in CAD120_ACTIONS:
        raise given["action"].fault(f"must be one of {', '.join(CAD120_ACTIONS)}, got {action!r}")
    length = last - first + 1
    tracks = [item.members("id class boxes") for item in given["tracks"].items()]
    ids = tuple(item["id"].text() for item in tracks)
    if len(set(ids)) < len(ids):
        raise given["tracks"].fault("an id is given to two tracks")
    frames = _frames(tracks, length)
    size = list(given["size"].items())
    if len(size) != 2:
        raise given["size"].fault(f"must be [width, height] in pixels, got {given['size'].value}")
    width, height = (side.integer(1) for side in size)
    video = f"{given['video'].text()}_{first}_{last}"
    try:
        features = VideoFeatures.from_detections(
            frames, num_frames=length, size=(height, width), video=video, box_format="xywh",
            num_classes=1 + len(CAD120_CLASSES), frame_number=torch.arange(first, last + 1) if tracks else None,
        )  # fmt: skip
    except ValueError as error:
        raise entry.fault(str(error)) from error
    return Cad120Clip(
        video,
        features,
        Cad120Labels(
            y=CAD120_ACTIONS.index(action),
            action=action,
            subject=given["subject"].text(),
            activity=given["activity"].text(),
            objects=ids,
            relations=_relations(given["relations"], length),
        ),
    )


def _frames(tracks: list[dict[str, Entry]], length: int) -> dict[int, dict[str, list[Any]]]:
    """The objects of each frame."""
    frames: dict[int, dict[str, list[Any]]] = {}
    for number, track in enumerate(tracks):
        name = track["class"].text()
        if name not in CAD120_CLASSES:
            raise track["class"].fault(f"must be one of {', '.join(CAD120_CLASSES)}, got {name!r}")
        boxes = list(track["boxes"].items())
        if len(boxes) != length:
            raise track["boxes"].fault(f"must be one box or null a frame, of {length} frames, got {len(boxes)}")
        for frame, entry in enumerate(boxes):
            if entry.value is None:
                continue
            box = entry.numbers(4, "[x, y, width, height] or null")
            if min(box[2:]) < 0:
                raise entry.fault(f"must be [x, y, width, height] with width >= 0 and height >= 0, got {box}")
            made = frames.setdefault(frame, {"boxes": [], "labels": [], "tracks": []})
            made["boxes"].append(box)
            made["labels"].append(1 + CAD120_CLASSES.index(name))
            made["tracks"].append(number)
    return frames


def _relations(entry: Entry, length: int) -> dict[tuple[str, str], list[str]]:
    relations: dict[tuple[str, str], list[str]] = {}
    for item in entry.items():
        given = item.members("ids relations")
        pair = tuple(name.text() for name in given["ids"].items())
        if len(pair) != 2 or pair in relations:
            raise given["ids"].fault(f"must be the ids of two objects, given once in a clip, got {list(pair)}")
        words = [word.text() for word in given["relations"].items()]
        if len(words) != length:
            raise given["relations"].fault(f"must be one word a frame, of {length} frames, got {len(words)}")
        relations[pair] = words
    return relations
