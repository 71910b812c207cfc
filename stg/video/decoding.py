"""Sampled frames of a video file, decoded so that a bad file can neither lie nor hang nor exhaust the memory."""

import os
import stat
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Int64, UInt8

from stg.config.extraction import STRIDE
from stg.runtime.errors import UserError
from stg.video.sampling import sample_numbers

FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "flv", "ogg", "asf")
"""Container formats that are opened; none of them can name another file or an address to read."""

MAX_PIXELS = 2**25
"""Largest picture that is decoded, in pixels: four times 4K."""

BAD_SHARE = 0.2
"""A video with a larger share of unreadable or damaged frames is refused."""


class VideoError(UserError):
    """This video cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class SampledFrames:
    """The sampled frames of one video, with what is needed to say where they came from.

    Args:
        video: id of the video.
        frames: ``[T H W 3]`` RGB, upright.
        frame_number: ``[T]`` place of each frame in presentation order, counted from 0 over the whole video.
        total_frames: frames of the whole video, counted, not read from the header.
        fps: mean frames a second, 0 if the file does not say.
        truncated: the file ends before its own header says so.
        num_unique: how many different frames there are among the T; below T only for videos shorter than T frames.
        header_frames: the number of frames that the header promises, 0 where it does not; never relied on.
    """

    video: str
    frames: UInt8[np.ndarray, "T H W 3"]
    frame_number: Int64[np.ndarray, " T"]
    total_frames: int
    fps: float
    truncated: bool = False
    num_unique: int = 0
    header_frames: int = 0

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

    The packets are counted first, without decoding; then the video is decoded once, packet by packet, and only the
    sampled frames are kept, so memory does not grow with the length. Where the decoder gives another number of frames
    than there are packets (damage, hidden frames), the frames are chosen again over what it did give. Frames that the
    decoder flags as corrupt keep their number but are never chosen; a file that was cut short gives what it has.

    Args:
        path: a regular file in one of :data:`FORMATS`; never an address. The id of the video is the file's stem.
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
        wanted = sample_numbers(index.packets, *rule) if index.packets else np.zeros(0, np.int64)
        decoded = decode_frames(file, path, wanted.tolist(), max_pixels)
        check_damage(path, index, decoded, min_frames)
        good = np.frombuffer(decoded.good, dtype=np.int64)
        chosen = good[sample_numbers(len(good), *rule)]
        # Now it is known which frames can be read, and so which represent the clip: one more pass for those.
        if not decoded.frames.keys() >= set(chosen.tolist()):
            decoded = decode_frames(file, path, chosen.tolist(), max_pixels)
    if not decoded.frames.keys() >= set(chosen.tolist()):
        raise VideoError(f"{path.name!r} decodes differently each time: the file is damaged")
    number, total = original_numbers(index, decoded, chosen)
    return SampledFrames(
        video=video_id(path),
        frames=np.stack([decoded.frames[place] for place in chosen.tolist()]),
        frame_number=number,
        total_frames=total,
        fps=index.fps,
        truncated=index.truncated,
        header_frames=index.header_frames,
    )


def video_id(path: str | Path) -> str:
    """The id of a video file: its name without the suffix; bytes that are not UTF-8 are written as ``\\xNN``."""
    return os.fsencode(Path(path).stem).decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class PacketIndex:
    """What a pass over the packets shows without decoding any."""

    packets: int
    times: Int64[np.ndarray, " P"] | None  # sorted presentation times; None where some packet has none
    fps: float
    header_frames: int
    truncated: bool


@dataclass
class Decoded:
    """One pass over the frames: the wanted pictures, and the place and time of every frame that is whole."""

    frames: dict[int, UInt8[np.ndarray, "H W 3"]] = field(default_factory=dict)
    good: "array[int]" = field(default_factory=lambda: array("q"))
    times: "array[int]" = field(default_factory=lambda: array("q"))  # of every frame, -1 where unknown
    failed_packets: int = 0

    def count(self, picture: Any) -> bool:
        """Note what the decoder gave next; whether it is a whole frame."""
        if picture is None:
            self.failed_packets += 1
            return False
        place = len(self.times)
        self.times.append(-1 if picture.pts is None else picture.pts)
        if not picture.is_corrupt:
            self.good.append(place)
        return not picture.is_corrupt


def open_regular(path: Path) -> BinaryIO:
    # Opened here, not by the demuxer: no protocol is ever tried, and the file that was checked is the one that is read.
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise VideoError(f"could not open {path.name!r}: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise VideoError(f"{path.name!r} is not a regular file (a folder, a pipe or a device)")
    return os.fdopen(handle, "rb")


def open_container(file: BinaryIO, path: Path, max_pixels: int) -> Any:
    """The container in an open file: of a listed format, with no protocol but the file itself.

    Raises:
        VideoError: not a video in a known container.
    """
    import av

    file.seek(0)
    try:
        return av.open(
            file,
            options={"max_pixels": str(max_pixels)},
            container_options={"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except MemoryError:  # PyAV's own is an FFmpegError too, but says nothing against the file
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path.name!r} {_why_unreadable(file)}") from error


def _open_container(file: BinaryIO, path: Path, max_pixels: int) -> tuple[Any, Any]:
    """The container and its first video stream that is no cover art, set up for decoding."""
    import av

    container = open_container(file, path, max_pixels)
    # A cover picture of a music file is a video stream too.
    cover = av.stream.Disposition.attached_pic
    streams = [item for item in container.streams.video if not item.disposition & cover]
    if not streams or streams[0].codec_context is None:
        container.close()
        raise VideoError(f"{path.name!r} has no video stream" + (" that can be decoded here" if streams else ""))
    stream = streams[0]
    pixels = stream.width * stream.height
    if not 0 < pixels <= max_pixels:
        # The size is 0 where it stands in the pictures alone and the decoder refused one so large.
        size = f"{stream.width}x{stream.height} = {pixels} pixels" if pixels else "unknown size, or too large"
        container.close()
        raise VideoError(f"{path.name!r} has pictures of {size}; the limit is {max_pixels} pixels")
    # One thread: what several of them paint over a damaged stretch differs from run to run.
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(max_pixels)}
    return container, stream


def _why_unreadable(file: BinaryIO) -> str:
    """Distinguish a cut mp4 (its index, the ``moov`` box, comes last) from a file that never was a video."""
    size = os.fstat(file.fileno()).st_size
    if size == 0:
        return "is not a video: the file is empty"
    place, kinds = 0, list[bytes]()
    while place + 8 <= size and len(kinds) < 64:
        file.seek(place)
        head = file.read(16)
        # A box of an mp4: its length and its kind; a length of 1 stands for one of eight bytes behind these.
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        kinds.append(kind)
        length = int.from_bytes(head[8:16], "big") if length == 1 else length
        if length < 8:
            break
        place += length
    if kinds[:1] == [b"ftyp"] and b"moov" not in kinds:
        return "is an incomplete file: its index (moov) is missing, the end was probably cut off"
    return "is not a video in a known container, or its header is damaged"


def read_index(file: BinaryIO, path: Path, max_pixels: int) -> PacketIndex:
    import av

    container, stream = _open_container(file, path, max_pixels)
    times, packets, untimed, cut = array("q"), 0, False, False
    with container:
        try:
            for packet in container.demux(stream):
                # Neither becomes a picture.
                if not packet.size or packet.is_discard:
                    continue
                packets += 1
                # The last packet decides: damage before it shows when it is decoded.
                cut = packet.is_corrupt
                untimed |= packet.pts is None
                times.append(packet.pts or 0)
        except MemoryError:
            raise
        except (av.FFmpegError, OSError, IndexError):  # IndexError: PyAV, where damage reads as one more stream
            cut = True
        header, base = stream.frames, stream.time_base
        # Only the mp4 family lists every frame in its header; an AVI may promise what it never had.
        cut |= container.format.name == FORMATS[0] and 0 < packets < header
    order = np.sort(np.frombuffer(times, dtype=np.int64))
    # Times that repeat or run backwards cannot say which picture is which.
    known = not untimed and len(order) > 0 and bool((np.diff(order) > 0).all())
    span = float(base * int(order[-1] - order[0])) if known and base else 0.0
    return PacketIndex(packets, order if known else None, (packets - 1) / span if span else 0.0, header, bool(cut))


def pictures_of(file: BinaryIO, path: Path, max_pixels: int) -> Iterator[Any]:
    """Every picture that the decoder gives, in presentation order; None for a packet that it could not decode."""
    import av

    container, stream = _open_container(file, path, max_pixels)
    with container:
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except MemoryError:
                raise
            except (av.FFmpegError, OSError, IndexError):
                return
            if packet is None:
                return
            try:
                pictures = packet.decode()
            except MemoryError:
                raise
            except (av.FFmpegError, OSError):
                # Counted by whoever asks: the packets behind it may be whole.
                yield None
                continue
            yield from pictures


def decode_frames(file: BinaryIO, path: Path, wanted: Collection[int], max_pixels: int) -> Decoded:
    wanted, result, size = set(wanted), Decoded(), None
    for picture in pictures_of(file, path, max_pixels):
        place = len(result.times)
        if result.count(picture) and place in wanted:
            size = size or (picture.width, picture.height)
            result.frames[place] = upright(picture, size)
    return result


def upright(picture: Any, size: tuple[int, int]) -> UInt8[np.ndarray, "H W 3"]:
    """RGB pixels as they are meant to be seen: the display matrix says by how much to turn, counter-clockwise."""
    pixels = picture.to_ndarray(format="rgb24", width=size[0], height=size[1])
    return np.ascontiguousarray(np.rot90(pixels, round(picture.rotation / 90) % 4))


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
