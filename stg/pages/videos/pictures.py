"""The sampled frames of a video as pictures for a page, and its graph as plain values."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image

from graphs import DENSE_TYPE, EDGE_TYPES, GraphData
from stg.datasets.world.dataset import World
from stg.pages.videos.boxes_and_edges import data_uri
from stg.pages.videos.views import Edge, Node, Picture
from stg.video.decoding import SampledFrames, check_damage, decode_frames, original_numbers, sampled, video_id
from stg.video.packets import MAX_PIXELS, VideoError, open_regular, read_index
from stg.vision.detectors import class_name

WIDTH = 320
"""Most pixels across a picture on a page; the boxes stay those of the whole frame."""

QUALITY = 80
"""Of the JPEG coding."""


def sample_of_clip(path: str | Path, graph: GraphData, max_pixels: int = MAX_PIXELS) -> SampledFrames:
    """The frames of a clip that a graph was made from, by the frame numbers that it holds.

    Args:
        path: the clip.
        graph: of this one video.
        max_pixels: as in :func:`stg.video.decoding.sample_video`.

    Raises:
        VideoError: the clip cannot be read, a frame of the graph cannot be, or it is another clip: its length or the
            size of its pictures is not the graph's. Also a graph without frame numbers.
    """
    path, numbers = Path(path), _frame_numbers(graph)
    if numbers is None:
        raise VideoError(f"the graph of {video_id(path)!r} does not say which frames of {path.name!r} it was made of")
    with open_regular(path) as file:
        index = read_index(file, path, max_pixels)
        # At the original numbers first: right for every clip without damage, which is then decoded once.
        decoded = decode_frames(file, path, numbers.tolist(), max_pixels)
        check_damage(path, index, decoded, 1)
        good = np.frombuffer(decoded.good, dtype=np.int64)
        originals, total = original_numbers(index, decoded, good)
        # Damaged frames are missing from what a decoder counts, so places and original numbers differ behind them.
        place_of = dict(zip(originals.tolist(), good.tolist(), strict=True))
        places = [place_of[number] for number in numbers.tolist() if number in place_of]
        if not decoded.frames.keys() >= set(places):
            decoded = decode_frames(file, path, places, max_pixels)
    size = next((frame.shape[:2] for frame in decoded.frames.values()), None)
    _check_same_clip(f"{path.name!r}", graph, total, size)
    missing = [number for number in numbers.tolist() if decoded.frames.get(place_of.get(number, -1)) is None]
    if missing:
        raise VideoError(f"{path.name!r}: frame {missing[0]} of its {total} frames cannot be read")
    return sampled(path, index, decoded, np.array(places, np.int64), numbers, total)


def sample_of_world(world: World, video: str, graph: GraphData) -> SampledFrames:
    """The frames of a video of the built-in world that a graph was made from.

    Raises:
        UserError: the world has no such video.
        VideoError: the graph was made in another world, or has no frame numbers.
    """
    numbers = _frame_numbers(graph)
    if numbers is None:
        raise VideoError(f"the graph of {video!r} does not say which frames it was made of")
    _check_same_clip(f"video {video!r} of this world", graph, world.frames, (world.size, world.size))
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
    rows = zip(graph.frame.tolist(), graph.boxes.tolist(), scores, labels, strict=True)
    return tuple(Node(frame, tuple(box), score, class_name(label)) for frame, box, score, label in rows)


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


def _check_same_clip(name: str, graph: GraphData, total: int, size: Sequence[int] | None) -> None:
    """What the graph knows of its video must be true of this one."""
    # A graph of imported features may know neither length nor size: then any clip passes.
    length = graph.get("total_frames")
    shape = graph["size"] if graph.get("size") is not None else None
    wrong = []
    if length is not None and int(length) != total:
        wrong.append(f"{total} frames instead of {int(length)}")
    if shape is not None and size is not None and shape.flatten().tolist() != list(size):
        height, width = shape.flatten().tolist()
        wrong.append(f"pictures of {size[1]}x{size[0]} instead of {width}x{height}")
    if wrong:
        raise VideoError(
            f"{name} is not what the graph was made from: it has {' and '.join(wrong)}; point to the clip that was "
            "extracted, or extract this one"
        )


def _seconds(number: int, fps: float) -> float | None:
    return number / fps if fps > 0 else None
