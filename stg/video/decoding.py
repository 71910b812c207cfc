"""Sampled frames of a video file, decoded so that a bad file can neither lie nor hang nor exhaust the memory."""

from array import array
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from stg.config.extraction import STRIDE
from stg.runtime.reading import file_id
from stg.video.packets import MAX_PIXELS as MAX_PIXELS
from stg.video.packets import PacketIndex, memory_named, open_regular, pictures_of, read_index
from stg.video.packets import VideoError as VideoError
from stg.video.pictures import HDR, DecodedPicture, Shape, fit, kept_shape

BAD_SHARE = 0.2
"""A video with a larger share of unreadable or damaged frames is refused."""


@dataclass(frozen=True)
class SampledFrames:
    """The sampled frames of one video, with what is needed to say where they came from.

    Args:
        video: id of the video.
        frames: ``[T H W 3]`` RGB, upright, in their displayed shape, tone-mapped where they are HDR. Where the size
            changes midway, each picture unsqueezed in the middle of the largest height and width that occur. Pictures
            beyond 4K are reduced (`stg.video.pictures.kept_shape`).
        frame_number: ``[T]`` place of each frame in presentation order, counted from 0 over the whole video.
        total_frames: frames of the whole video, counted, not read from the header.
        fps: mean frames a second, 0 if the file does not say.
        truncated: the file ends before its own header says so.
        num_unique: how many different frames there are among the T; below T only for videos shorter than T frames.
        header_frames: the number of frames that the header promises, 0 where it does not; never relied on.
        seconds: ``[T]`` when each frame is shown, counted from the first frame of the video; None where not known.
        facts: what is unusual about the clip, for its list: ``video_stream`` and ``video_streams`` (which was taken, of
            how many), ``audio_stream`` and ``audio_streams``, ``hdr``, ``picture_sizes``, ``uneven``.
        duration: seconds that the video lasts, its last frame included; None where not known.
        start, whole: where this is a stretch of a longer clip, which all else is counted within: when it begins there,
            and how many seconds that lasts.
    """

    video: str
    frames: UInt8[np.ndarray, "T H W 3"]
    frame_number: Int64[np.ndarray, " T"]
    total_frames: int
    fps: float
    truncated: bool = False
    num_unique: int = 0
    header_frames: int = 0
    seconds: Float64[np.ndarray, " T"] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    duration: float | None = None
    start: float = 0.0
    whole: float | None = None

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or self.frames.dtype != np.uint8:
            came = f"{self.frames.dtype} {list(self.frames.shape)}"
            raise ValueError(f"frames of video {self.video!r} must be uint8 [T H W 3]; got {came}")
        if self.frame_number.shape != self.frames.shape[:1]:
            raise ValueError(
                f"video {self.video!r} has {len(self.frames)} frames but {list(self.frame_number.shape)} frame numbers"
            )
        if not self.num_unique:
            object.__setattr__(self, "num_unique", len(np.unique(self.frame_number)))


def sample_video(
    path: str | Path,
    num_frames: int = 10,
    sampling: str = "centres",
    max_pixels: int = MAX_PIXELS,
    min_frames: int = 1,
    stride: int = STRIDE,
) -> SampledFrames:
    """Decode ``num_frames`` frames of a video file, spread over its true length.

    Spread evenly means evenly in time: where the frames come at a constant rate, to within one frame, by their numbers,
    and else by their time stamps, so that a picture that stands for long is taken as often as it deserves.

    The packets are counted first, without decoding; then the video is decoded once, packet by packet, and only the
    sampled frames are kept, so memory does not grow with the length. Where the decoder gives another number of frames
    than there are packets (damage, hidden frames), the frames are chosen again over what it did give. Frames that the
    decoder flags as corrupt keep their number but are never chosen; a file that was cut short gives what it has.

    Args:
        path: a regular file in one of :data:`stg.video.packets.FORMATS`; never an address. The id of the video is
            the file's stem.
        num_frames: frames wanted, ``T``; a shorter video repeats some. With ``sampling="stride"`` the most frames.
        sampling: one of :data:`stg.video.sampling.RULES`.
        max_pixels: pictures with more pixels are refused from the header, before any is decoded.
        min_frames: videos with fewer readable frames are refused.
        stride: with ``sampling="stride"``, one frame for each so many (readable ones, where the file is damaged).

    Raises:
        VideoError: not a regular file, not a video, no video stream, a picture too large, too much of it unreadable.
    """
    path = Path(path)
    with open_regular(path) as file:
        index = read_index(file, path, max_pixels)
        rule = (num_frames, sampling, stride)
        # A guess from the number of packets, right for every clip without damage, which is then decoded once.
        wanted = index.choose(np.arange(index.packets), index.times, rule) if index.packets else np.zeros(0, np.int64)
        decoded = decode_frames(file, path, wanted.tolist(), max_pixels)
        check_damage(path, index, decoded, min_frames)
        good, times = np.frombuffer(decoded.good, dtype=np.int64), np.frombuffer(decoded.times, dtype=np.int64)
        chosen = index.choose(good, times[good], rule)
        # Now it is known which frames can be read, and so which represent the clip: one more pass for those.
        if not decoded.frames.keys() >= set(chosen.tolist()):
            decoded = decode_frames(file, path, chosen.tolist(), max_pixels)
    if not decoded.frames.keys() >= set(chosen.tolist()):
        raise VideoError(f"{path.name!r} decodes differently each time: the file is damaged")
    number, total = original_numbers(index, decoded, chosen)
    return sampled(path, index, decoded, chosen, number, total)


def sampled(
    path: Path,
    index: PacketIndex,
    decoded: "Decoded",
    places: Int64[np.ndarray, " T"],
    number: Int64[np.ndarray, " T"],
    total: int,
) -> SampledFrames:
    """The decoded frames at ``places``, which have these numbers in the undamaged video of ``total`` frames."""
    times = np.frombuffer(decoded.times, dtype=np.int64)
    return SampledFrames(
        video=video_id(path),
        frames=np.stack([decoded.frames[place] for place in places.tolist()]),
        frame_number=number,
        total_frames=total,
        fps=index.fps,
        truncated=index.truncated,
        header_frames=index.header_frames,
        seconds=index.seconds(number, times[places]),
        facts={**index.facts, **decoded.facts},
        duration=index.duration(total),
    )


def video_id(path: str | Path) -> str:
    """The id of a video file: its name without the suffix, as :func:`stg.runtime.reading.file_id` has it."""
    return file_id(Path(path).stem)


@dataclass
class Decoded:
    """One pass over the frames: the wanted pictures, and the place and time of every frame that is whole.

    Attributes:
        frames: the wanted ones, all of one shape.
        good: places of the frames that are whole.
        times: of every frame, -1 where unknown.
        failed_packets: packets that gave an error.
        shapes: upright shapes of the whole frames, in the order in which they first occur.
        hdr: name of the transfer curve of those that are HDR; empty if none is.
    """

    frames: dict[int, UInt8[np.ndarray, "H W 3"]] = field(default_factory=dict)
    good: "array[int]" = field(default_factory=lambda: array("q"))
    times: "array[int]" = field(default_factory=lambda: array("q"))
    failed_packets: int = 0
    shapes: dict[Shape, None] = field(default_factory=dict)
    hdr: str = ""

    @property
    def shape(self) -> Shape:
        """What every picture goes into unsqueezed: the largest height and width that occur, as far as they are kept."""
        return kept_shape(self.largest)

    @property
    def largest(self) -> Shape:
        """The largest height and the largest width that occur."""
        return max((height for height, _ in self.shapes), default=1), max(
            (width for _, width in self.shapes), default=1
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What is unusual about the pictures."""
        sizes = [f"{width}x{height}" for height, width in self.shapes]
        return ({"hdr": self.hdr} if self.hdr else {}) | ({"picture_sizes": sizes[:10]} if len(sizes) > 1 else {})

    def count(self, picture: DecodedPicture | None) -> TypeGuard[DecodedPicture]:
        """Note what the decoder gave next; whether it is a whole frame."""
        if picture is None:
            self.failed_packets += 1
            return False
        place, frame = len(self.times), picture.frame
        self.times.append(-1 if frame.pts is None else frame.pts)
        if not frame.is_corrupt:
            self.good.append(place)
            self.shapes[picture.shape] = None
            self.hdr = self.hdr or HDR.get(frame.color_trc, "")
        return not frame.is_corrupt


@memory_named
def decode_frames(file: BinaryIO, path: Path, wanted: Collection[int], max_pixels: int) -> Decoded:
    wanted, result = set(wanted), Decoded()
    for picture in pictures_of(file, path, max_pixels):
        place = len(result.times)
        if result.count(picture) and place in wanted:
            result.frames[place] = picture.kept()
    shape = result.largest
    if shape[0] * shape[1] > max_pixels:
        raise VideoError(
            f"{path.name!r} changes its size: pictures of {', '.join(result.facts['picture_sizes'])} need "
            f"{shape[1]}x{shape[0]} pixels together; the limit is {max_pixels} pixels"
        )
    # Only now is it known how large the largest picture is.
    result.frames = {place: fit(frame, result.shape) for place, frame in result.frames.items()}
    return result


def check_damage(path: Path, index: PacketIndex, decoded: Decoded, min_frames: int) -> None:
    count = max(index.packets, len(decoded.times))
    bad = decoded.failed_packets + len(decoded.times) - len(decoded.good)
    if bad > BAD_SHARE * count:
        raise VideoError(f"{path.name!r}: {bad} of {count} frames are damaged, more than {BAD_SHARE:.0%}")
    if len(decoded.good) < max(min_frames, 1):
        raise VideoError(f"{path.name!r} has {len(decoded.good)} readable frames; at least {max(min_frames, 1)} wanted")


def original_numbers(
    index: PacketIndex, decoded: Decoded, chosen: Int64[np.ndarray, " T"]
) -> tuple[Int64[np.ndarray, " T"], int]:
    """Number of each chosen frame in the undamaged video, and the length of that video, as far as the file says.

    Frames come out in presentation order, so the place is the number, unless packets were lost on the way; then the
    rank of the presentation time among all packets is.
    """
    count = len(decoded.times)
    # Fewer pictures than packets is normal for some codecs: only damage or a cut end loses any.
    lost = index.packets > count and (decoded.failed_packets > 0 or index.truncated)
    if lost and index.times is not None:
        times = np.frombuffer(decoded.times, dtype=np.int64)
        rank = np.searchsorted(index.times, times).clip(max=len(index.times) - 1)
        if (np.diff(times) > 0).all() and (index.times[rank] == times).all():
            return rank[chosen], index.packets
    return chosen, count
