"""The sampled frames of a video as pictures for a page, and its graph as plain values."""

import io
from dataclasses import replace

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from graphs import DENSE_TYPE, EDGE_TYPES, GraphData
from stg.datasets.world.dataset import World
from stg.pages.videos.boxes_and_edges import data_uri
from stg.pages.videos.views import Edge, Node, Picture
from stg.video.clip import NumberedFrames
from stg.video.decoding import SampledFrames, VideoError
from stg.video.numbered import check_same_clip
from stg.vision.detectors import class_name

WIDTH = 320
"""Most pixels across a picture on a page; the boxes stay those of the whole frame."""

QUALITY = 80
"""Of the JPEG coding."""


def frames_of(graph: GraphData, video: str) -> NumberedFrames:
    """The frames that the graph of one video was made from, and what it knows of the clip.

    Raises:
        VideoError: the graph has no frame numbers.
    """
    numbers = _frame_numbers(graph)
    if numbers is None:
        raise VideoError(f"the graph of {video!r} does not say which frames it was made of")
    total, size = graph.get("total_frames"), graph.get("size")
    height_width = None if size is None else tuple(size.flatten().tolist())
    return NumberedFrames(tuple(numbers.tolist()), None if total is None else int(total), height_width)


def sample_of_world(world: World, video: str, graph: GraphData) -> SampledFrames:
    """The frames of a video of the built-in world that a graph was made from.

    Raises:
        UserError: the world has no such video.
        VideoError: the graph was made in another world, or has no frame numbers.
    """
    wanted = frames_of(graph, video)
    check_same_clip(f"video {video!r} of this world", wanted, world.frames, (world.size, world.size))
    numbers = np.array(wanted.numbers, np.int64)
    return replace(
        world.sample(video, 1), frames=world.render(video, numbers), frame_number=numbers, num_unique=0, seconds=None
    )


def from_sample(sample: SampledFrames, *, width: int = WIDTH) -> tuple[Picture, ...]:
    """Pictures of sampled frames, each with the time at which it is shown in the clip.

    Args:
        width: most pixels across; smaller frames stay as they are.
    """
    made: dict[int, bytes] = {}
    for number, frame in zip(sample.frame_number.tolist(), sample.frames, strict=True):
        if number not in made:
            made[number] = jpeg(frame, width)
    numbers = sample.frame_number.tolist()
    seconds = (
        [_seconds(number, sample.fps) for number in numbers] if sample.seconds is None else sample.seconds.tolist()
    )
    return tuple(Picture(number, made[number], at) for number, at in zip(numbers, seconds, strict=True))


def glimpse(sample: SampledFrames, *, width: int = WIDTH // 2) -> list[str]:
    """Sampled frames as small ``data:`` addresses."""
    pictures = from_sample(sample, width=width)
    return [data_uri("image/jpeg", picture.jpeg) for picture in pictures if picture.jpeg is not None]


def blank(graph: GraphData) -> tuple[Picture, ...]:
    """The sampled frames without pictures, where the clip is not at hand.

    If the graph does not hold their numbers either, the frames are counted from 0.
    """
    numbers, fps = _frame_numbers(graph), float(graph.fps) if graph.get("fps") is not None else 0.0
    if numbers is None:
        return tuple(Picture(place) for place in range(int(graph.num_frames)))
    if (times := graph.get("frame_time")) is not None:
        seconds = times.tolist()
    else:
        seconds = [_seconds(number, fps) for number in numbers.tolist()]
    return tuple(Picture(number, None, at) for number, at in zip(numbers.tolist(), seconds, strict=True))


def jpeg(frame: UInt8[np.ndarray, "H W 3"], width: int = WIDTH) -> bytes:
    """A frame as a JPEG file, no larger than ``width`` across and three times that down."""

    picture, file = Image.fromarray(frame), io.BytesIO()
    picture.thumbnail((width, 3 * width), Image.Resampling.LANCZOS)
    picture.save(file, "JPEG", quality=QUALITY, optimize=True)
    return file.getvalue()


def nodes_of(graph: GraphData) -> tuple[Node, ...]:
    """The objects of one video, in the order of the graph, by the names of COCO's classes where they are known."""
    _check_single(graph)
    count = len(graph.frame)
    scores = graph.scores.tolist() if graph.get("scores") is not None else [None] * count
    labels = graph.label.tolist() if graph.get("label") is not None else [0] * count
    tracks = graph.track.tolist() if graph.get("track") is not None else [-1] * count
    rows = zip(graph.frame.tolist(), graph.boxes.tolist(), scores, labels, tracks, strict=True)
    return tuple(Node(frame, tuple(box), score, class_name(label), track) for frame, box, score, label, track in rows)


def edges_of(graph: GraphData) -> tuple[Edge, ...]:
    """All edges of one video, in the order of the graph, those from an object to itself included."""
    _check_single(graph)
    rows = zip(*graph.edge_index.tolist(), graph.edge_type.tolist(), graph.edge_weight.tolist(), strict=True)
    names = {number: name for name, number in EDGE_TYPES.items()} | {DENSE_TYPE: "dense"}
    return tuple(Edge(source, target, names.get(number, "dense"), weight) for source, target, number, weight in rows)


def _check_single(graph: GraphData) -> None:
    if graph.get("ptr") is not None and len(graph.ptr) != 2:
        raise ValueError(f"one video is shown at a time; got a batch of {len(graph.ptr) - 1}")


def _frame_numbers(graph: GraphData) -> Int64[np.ndarray, " T"] | None:
    _check_single(graph)
    return None if graph.get("frame_number") is None else graph.frame_number.cpu().numpy().astype(np.int64)


def _seconds(number: int, fps: float) -> float | None:
    return number / fps if fps > 0 else None
