"""All frames of a video, as segments side by side for a motion network; decoded once, in bounded memory."""

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Int64, UInt8

from stg.video.clip import Segment, SegmentRequest
from stg.video.decoding import Decoded, check_damage, decode_frames, original_numbers
from stg.video.packets import MAX_PIXELS, PacketIndex, VideoError, open_regular, pictures_of, read_index
from stg.video.pictures import DecodedPicture, Shape, centred, fitted


def read_segments(
    path: str | Path, request: SegmentRequest, max_pixels: int = MAX_PIXELS, shape: Shape | None = None
) -> Iterator[Segment]:
    """Segments of ``span`` consecutive frames, without gaps or overlap (Pan et al., 2020, Sec. 4.3: 16 frames).

    Row r holds the frames ``r span ... (r + 1) span - 1`` in the numbering of `stg.video.decoding.sample_video`: a
    frame that was lost or is damaged keeps its number and shows the last good picture before it (the first good one at
    the start of the video). The last segment is filled up by repeating the last frame, so a video of n frames has
    ``ceil(n / span)`` segments (the paper does not say what becomes of the tail).

    One pass over the video, of which no more than one segment is held. A damaged file in which the decoder's count and
    the packets' times disagree is decoded a second time, to number its frames as ``sample_video`` does.

    Args:
        path: a regular file, as in ``sample_video``.
        request: frames of a segment, and their size: resized by swscale (bilinear, with its antialiasing), turned
            upright, cropped in the middle.
        max_pixels: pictures with more pixels are refused, before and after resizing.
        shape: height and width of the sampled frames, needed where the size of the pictures changes midway.

    Raises:
        VideoError: as ``sample_video``; what is seen only at the end comes after the segments.
        ValueError: the request makes no sense.
    """
    _check_request(request)
    path = Path(path)
    with open_regular(path) as file:
        index = read_index(file, path, max_pixels)
        frames = _every_frame(file, path, index, Resizer(path, request, max_pixels, shape))
        yield from in_segments(frames, request.span)


def _check_request(request: SegmentRequest) -> None:
    if request.span < 1:
        raise ValueError(f"a segment needs at least 1 frame; got span={request.span}")
    resized = (request.resize,) * 2 if isinstance(request.resize, int) else request.resize
    if not all(0 < cut <= side for cut, side in zip(request.crop, resized, strict=True)):
        raise ValueError(f"crop {request.crop} must lie within the resized frame; resize is {request.resize}")


def in_segments(frames: Iterator[UInt8[np.ndarray, "H W 3"]], span: int) -> Iterator[Segment]:
    """Frames in segments of ``span``, the last one filled up by its last frame."""
    buffer, filled, row = None, 0, 0
    for frame in frames:
        if buffer is None:
            # New memory for each: the one before is still in use.
            buffer = np.empty((span, *frame.shape), np.uint8)
        buffer[filled] = frame
        filled += 1
        if filled == span:
            segment = Segment(row, buffer)
            buffer, filled, row = None, 0, row + 1
            yield segment
            del segment  # nothing is kept here while the next one grows
    if buffer is not None:
        # The last frame fills up the last segment, as networks take whole ones.
        buffer[filled:] = buffer[filled - 1]
        yield Segment(row, buffer)


def _every_frame(
    file: BinaryIO, path: Path, index: PacketIndex, resize: "Resizer"
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """One picture for each number from 0 to the length of the undamaged video, gaps filled."""
    decoded, numbering, last, shown = Decoded(), None, None, 0
    for picture in pictures_of(file, path, resize.max_pixels):
        place = len(decoded.times)
        if not decoded.count(picture):
            continue
        # Without damage a frame's number is its place. If packets and decoder disagree, one more pass numbers them all.
        if numbering is None and not _undisputed(index, place, picture.frame.pts):
            numbering = _numbers_of_all(file, path, index, resize.max_pixels)
        number = place if numbering is None else int(numbering[0][place]) if place < len(numbering[0]) else -1
        if number < shown:
            raise VideoError(f"{path.name!r} decodes differently each time: the file is damaged")
        frame = resize(picture)
        # Lost frames keep their numbers and show the picture before them.
        yield from repeat(frame if last is None else last, number - shown)
        yield frame
        last, shown = frame, number + 1
    check_damage(path, index, decoded, min_frames=1)
    total = original_numbers(index, decoded, np.zeros(0, np.int64))[1] if numbering is None else numbering[1]
    if last is not None:
        yield from repeat(last, total - shown)


def _undisputed(index: PacketIndex, place: int, time: int | None) -> bool:
    """Whether a frame's place among the decoded is also the rank of its time among the packets, so both rules agree."""
    return index.times is None or (place < len(index.times) and int(index.times[place]) == time)


def _numbers_of_all(
    file: BinaryIO, path: Path, index: PacketIndex, max_pixels: int
) -> tuple[Int64[np.ndarray, " N"], int]:
    """Original number of every frame that the decoder gives, and of how many; the file is left where it was read to."""
    where = file.tell()
    decoded = decode_frames(file, path, (), max_pixels)
    file.seek(where)
    return original_numbers(index, decoded, np.arange(len(decoded.times)))


class Resizer:
    """Brings pictures to the size that was asked for, each by its own size, should that change midway.

    Args:
        shape: height and width of the sampled frames. Where all of a picture is asked for, stretched, one of another
            shape is placed as it is placed there, so that boxes point to the same places.
    """

    def __init__(self, path: Path, request: SegmentRequest, max_pixels: int, shape: Shape | None) -> None:
        self.path, self.request, self.max_pixels, self.shape = path, request, max_pixels, shape

    def __call__(self, picture: DecodedPicture) -> UInt8[np.ndarray, "H W 3"]:
        size = self._resized(picture.shape)
        pixels = picture.rgb(self._inner(picture.shape, size))
        if pixels.shape[:2] != size:
            pixels = centred(pixels, size)
        tall, wide = self.request.crop
        top, left = (size[0] - tall) // 2, (size[1] - wide) // 2
        return np.ascontiguousarray(pixels[top : top + tall, left : left + wide])

    def _inner(self, own: Shape, size: Shape) -> Shape:
        """What a picture takes of the resized frame: all, unless it has black at its sides among the sampled frames."""
        if isinstance(self.request.resize, int) or self.shape in (None, own):
            return size
        assert self.shape is not None
        inner = fitted(own, self.shape)
        return max(round(inner[0] * size[0] / self.shape[0]), 1), max(round(inner[1] * size[1] / self.shape[1]), 1)

    def _resized(self, own: Shape) -> Shape:
        if not isinstance(self.request.resize, int):
            return self.request.resize
        height, width = own
        short = min(height, width)
        size = round(height * self.request.resize / short), round(width * self.request.resize / short)
        if size[0] * size[1] > self.max_pixels:
            raise VideoError(
                f"{self.path.name!r} has pictures of {width}x{height}, which are {size[1]}x{size[0]} at a shorter side "
                f"of {self.request.resize}; the limit is {self.max_pixels} pixels"
            )
        return size
