"""The packets of a video file: opened safely, counted, and passed to the decoder one by one."""

import io
import os
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, BinaryIO, Concatenate, ParamSpec, TypeVar

import numpy as np
from jaxtyping import Float64, Int64

from stg.runtime.errors import UserError
from stg.runtime.reading import open_if_regular
from stg.video.pictures import DecodedPicture, new_reformatter, pixel_shape
from stg.video.sampling import is_even, sample_numbers, sample_seconds
from stg.video.streams import best_film, best_sound, decoded_packets, films, packet_counts

FORMATS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "flv", "ogg", "asf", "gif")
"""Container formats that are opened; none of them can name another file or an address to read."""

P = ParamSpec("P")
T = TypeVar("T")

NO_MEMORY = (MemoryError, BlockingIOError)
"""The errors of running out of memory; the second, where FFmpeg finds no room for a thread (files never block)."""

FFMPEG = ("libavformat", "libavcodec", "libavutil", "libswscale", "libswresample")

MAX_PIXELS = 2**25
"""Largest picture that is decoded, in pixels: four times 4K."""


class VideoError(UserError):
    """This video cannot be used; the message names it and says why."""


class OutOfMemory(VideoError):
    """There is not the memory that reading this video takes: it is large, or its header is damaged and says so."""


def memory_named(read: Callable[Concatenate[BinaryIO, Path, P], T]) -> Callable[Concatenate[BinaryIO, Path, P], T]:
    """Let what reads a video raise :class:`OutOfMemory` where PyAV or NumPy raise errors without its name."""

    @wraps(read)
    def named(file: BinaryIO, path: Path, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return read(file, path, *args, **kwargs)
        except NO_MEMORY as error:
            raise OutOfMemory(f"{path.name!r}: out of memory; is it whole? A damaged header may ask for any") from error

    return named


GAP = 10.0
"""Seconds without a picture that are a jump of the clock, in formats whose clock may jump (as FFmpeg's own limit)."""

LONGEST_STEP = 6 * 3600
"""Most seconds from one frame to the next in a film that is written; an mp4 counts them in 31 bits."""

LONGEST_LAST = 600.0
"""Seconds that the last frame may claim to stand."""


@dataclass(frozen=True)
class PacketIndex:
    """What a pass over the packets shows without decoding any.

    Args:
        packets: how many become pictures.
        times: sorted presentation times; None where some packet has none or two have one.
        fps: mean frames a second, 0 where not known.
        header_frames: frames that the header promises, those that an edit list hides included.
        truncated: the file ends before its header says so.
        base: seconds of one unit of ``times``.
        last: seconds that the last frame stands, 0 where not known.
        jumps: the clock of this format may jump.
        facts: which streams were taken, where there are several.
    """

    packets: int
    times: Int64[np.ndarray, " P"] | None
    fps: float
    header_frames: int
    truncated: bool
    base: Fraction = Fraction(1)
    last: float = 0.0
    jumps: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def clock(self) -> Float64[np.ndarray, " P"] | None:
        """Seconds from the first frame to each."""
        if self.times is None:
            return None
        steps = np.diff(self.times, prepend=self.times[:1]) * float(self.base)
        if self.jumps and (steps > GAP).any():
            steps[steps > GAP] = np.median(steps[1:])
        return np.cumsum(steps)

    @cached_property
    def uneven(self) -> bool:
        """The rate varies, so that numbers spread evenly are not spread evenly in time."""
        return self.clock is not None and self.fps > 0 and not is_even(self.clock, self.last)

    def seconds(
        self, number: Int64[np.ndarray, " T"], times: Int64[np.ndarray, " T"]
    ) -> Float64[np.ndarray, " T"] | None:
        """When frames of these numbers and presentation times are shown; by the mean rate where times are unknown."""
        if self.times is not None and self.clock is not None:
            rank = np.searchsorted(self.times, times).clip(max=len(self.times) - 1)
            if (self.times[rank] == times).all():
                return self.clock[rank]
        return number / self.fps if self.fps > 0 else None

    def shown(self, number: int, pts: int | None) -> float:
        """When the frame of this number and presentation time is shown; at 25 a second where nothing is known."""
        found = self.seconds(np.array([number]), np.array([-1 if pts is None else pts]))
        return number / 25 if found is None else float(found[0])

    def choose(
        self, places: Int64[np.ndarray, " n"], times: Int64[np.ndarray, " n"] | None, rule: tuple[int, str, int]
    ) -> Int64[np.ndarray, " t"]:
        """Those of some frames, at least one, that represent the video by a rule of `stg.video.sampling`."""
        count, sampling, stride = rule
        if self.uneven and times is not None and (seconds := self.seconds(places, times)) is not None:
            return places[sample_seconds(seconds, max(seconds[-1], self._end()), count, sampling, stride)]
        return places[sample_numbers(len(places), count, sampling, stride)]

    def duration(self, total: int) -> float | None:
        """Seconds that the video of so many frames lasts; None where the file does not say."""
        if self.clock is not None and self.fps > 0:
            return self._end()
        return total / self.fps if self.fps > 0 else self.last or None

    def _end(self) -> float:
        return 0.0 if self.clock is None else float(self.clock[-1]) + (self.last or 1 / self.fps)


def open_regular(path: Path) -> io.BufferedReader:
    """The file itself, opened here and not by the demuxer: no protocol is ever tried.

    Raises:
        VideoError: it cannot be opened, or is no regular file.
    """
    try:
        file = open_if_regular(path)
    except (OSError, ValueError) as error:
        raise VideoError(f"could not open {path.name!r}: {getattr(error, 'strerror', None) or error}") from error
    if file is None:
        raise VideoError(f"{path.name!r} is not a regular file (a folder, a pipe or a device)")
    return file


def decoder_versions() -> dict[str, str]:
    """The versions of PyAV, and of the libraries of FFmpeg that turn a file into pictures and sound."""
    import av

    # PyAV may be built on any version of theirs.
    return {"av": av.__version__} | {name: ".".join(map(str, av.library_versions[name])) for name in FFMPEG}


def open_container(file: BinaryIO, path: Path, max_pixels: int, **options: str) -> Any:
    """The container in an open file: of a listed format, with no protocol but the file itself.

    Args:
        options: further ones, of the container.

    Raises:
        VideoError: not a video in a known container.
    """
    import av

    file.seek(0)
    try:
        return av.open(
            file,
            options={"max_pixels": str(max_pixels)},
            container_options={"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file", **options},
            metadata_errors="replace",
        )
    except MemoryError:  # PyAV's own is an FFmpegError too, but says nothing against the file
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(f"{path.name!r} {_why_unreadable(file)}") from error


@memory_named
def open_film(file: BinaryIO, path: Path, max_pixels: int) -> tuple[Any, Any | None]:
    """The container, at its start, and the video stream that players show; None where there is none.

    Where there are several, all packets are read once, as files do not say how long each stream is.
    """
    container = open_container(file, path, max_pixels)
    streams = films(container)
    if len(streams) < 2:
        return container, next(iter(streams), None)
    with container:
        film = best_film(streams, packet_counts(container, streams)).index
    container = open_container(file, path, max_pixels)
    return container, container.streams[film]


def _open_stream(file: BinaryIO, path: Path, max_pixels: int) -> tuple[Any, Any]:
    """The container and its film, set up for decoding."""
    container, stream = open_film(file, path, max_pixels)
    if stream is None or stream.codec_context is None:
        container.close()
        raise VideoError(f"{path.name!r} has no video stream" + ("" if stream is None else " that can be decoded here"))
    width = round(stream.width * pixel_shape(stream))
    pixels = width * stream.height
    if not 0 < pixels <= max_pixels:
        # The size is 0 where it stands in the pictures alone and the decoder refused one so large.
        size = f"{width}x{stream.height} = {pixels} pixels" if pixels else "unknown size, or too large"
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


@memory_named
def read_index(file: BinaryIO, path: Path, max_pixels: int) -> PacketIndex:
    import av

    container, stream = _open_stream(file, path, max_pixels)
    times, packets, untimed, cut, all_packets, last = array("q"), 0, False, False, 0, (0, 0)
    with container:
        facts = stream_facts(container, stream)
        try:
            for packet in container.demux(stream):
                all_packets += bool(packet.size)
                # Neither becomes a picture.
                if not packet.size or packet.is_discard:
                    continue
                packets += 1
                # The last packet decides: damage before it shows when it is decoded.
                cut = packet.is_corrupt
                untimed |= packet.pts is None
                times.append(packet.pts or 0)
                last = max(last, (packet.pts or 0, packet.duration or 0))
        except MemoryError:
            raise
        except (av.FFmpegError, OSError, IndexError):  # IndexError: PyAV, where damage reads as one more stream
            cut = True
        header, base, number = stream.frames, stream.time_base, stream.index
        is_mp4 = container.format.name == FORMATS[0]
        jumps = bool(container.format.flags & av.format.Flags.ts_discont.value)
    # Only the mp4 family lists every frame in its header; an AVI may promise what it never had.
    if is_mp4 and 0 < all_packets < header:
        cut |= _packets_without_edits(file, path, max_pixels, number) < header
    order = np.sort(np.frombuffer(times, dtype=np.int64))
    # Times that repeat or run backwards cannot say which picture is which.
    known = not untimed and len(order) > 0 and bool((np.diff(order) > 0).all())
    base = base or Fraction(0)
    span = float(base * int(order[-1] - order[0])) if known else 0.0
    fps = (packets - 1) / span if span else 0.0
    stands = min(float(base * last[1]), LONGEST_LAST)
    index = PacketIndex(packets, order if known else None, fps, header, bool(cut), base, stands, jumps, facts)
    return replace(index, facts={**facts, "uneven": True}) if index.uneven else index


def stream_facts(container: Any, film: Any) -> dict[str, int]:
    """Which streams are taken, counted from 0 over the whole file, where there are several of a kind."""
    facts: dict[str, int] = {}
    if len(container.streams.video) > 1:
        facts |= {"video_stream": film.index, "video_streams": len(container.streams.video)}
    if len(container.streams.audio) > 1 and (sound := best_sound(container, film)) is not None:
        facts |= {"audio_stream": sound.index, "audio_streams": len(container.streams.audio)}
    return facts


def _packets_without_edits(file: BinaryIO, path: Path, max_pixels: int, number: int) -> int:
    """Packets of a stream that the file holds, those included that an edit list hides from all players."""
    with open_container(file, path, max_pixels, ignore_editlist="1") as container:
        return packet_counts(container, [container.streams[number]]).get(number, 0)


def pictures_of(file: BinaryIO, path: Path, max_pixels: int) -> Iterator[DecodedPicture | None]:
    """Every picture that the decoder gives, in presentation order; None for a packet that it could not decode."""
    container, stream = _open_stream(file, path, max_pixels)
    ratio, reformatter = pixel_shape(stream), new_reformatter()
    with container:
        for _, frames in decoded_packets(container, stream):
            # Counted by whoever asks: the packets behind it may be whole.
            yield from [None] if frames is None else (DecodedPicture(frame, ratio, reformatter) for frame in frames)
