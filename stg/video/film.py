"""Pictures as an mp4 that browsers play; a clip as a small one, which fits on a page."""

import io
import math
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8

from stg.video.clip import ClipPart, ClipRequest, Film
from stg.video.film_sound import SoundTrack, sound_frames
from stg.video.numbered import numbered_frames
from stg.video.packets import MAX_PIXELS, PacketIndex, VideoError, open_regular, pictures_of, read_index
from stg.video.pictures import DecodedPicture, Shape, centred, fitted

ENCODERS = ("libx264", "libopenh264", "mpeg4")
"""The first that is there is used; browsers play what the first two write."""

TICK = Fraction(1, 90000)
"""Seconds of one unit of the time stamps that are written."""

LEGIBLE = {"crf": "19", "preset": "veryfast"}
"""Options of x264, for films with labels to be read."""

SMALL = {"crf": "30", "preset": "veryfast", "maxrate": "300k", "bufsize": "600k"}
"""Options of x264, for films on pages."""

SMALL_RATE, SMALL_SOUND = 250_000, 48_000
"""Bits a second on pages: of the picture for other encoders, and of the sound."""

WIDE, TALL = 320, 480
"""Most pixels of a film on a page."""

SECONDS, FPS = 30, 30
"""Of a film on a page: most seconds, and frames in each of them."""

Write = Callable[[UInt8[np.ndarray, "H W 3"], float, float], None]
"""Takes a picture, when it is shown, and until when the sound may be written."""


def encoder() -> str:
    """The best encoder that is there: it depends on how FFmpeg was built.

    Raises:
        VideoError: none is.
    """
    found = next((name for name in ENCODERS if name in av.codecs_available and _can_write(name)), None)
    if found is None:
        raise VideoError(
            f"no film can be written: the FFmpeg of PyAV has none of the encoders {', '.join(ENCODERS)}; the av of "
            "PyPI has (pip install --force-reinstall av)"
        )
    return found


@contextmanager
def film_writer(
    target: str | io.BytesIO,
    rate: Fraction,
    *,
    sound: Generator[Any] | None = None,
    options: Mapping[str, str] = LEGIBLE,
    bit_rates: tuple[int, int] | None = None,
    seconds: float = math.inf,
) -> Iterator[Write]:
    """An mp4 into which pictures of one size are written in the order of time.

    Args:
        target: the file, or a buffer.
        rate: frames a second that the header states.
        sound: frames of the sound, as :class:`stg.video.film_sound.SoundTrack` takes them; None: there is none.
        options: of x264.
        bit_rates: bits a second, of the picture for other encoders and of the sound.
        seconds: the sound ends there.
    """
    name = encoder()
    # faststart puts the index first, so that a browser plays before it has the whole file; it reads the file again.
    how = {"movflags": "+faststart"} if isinstance(target, str) else {}
    with av.open(target, "w", format="mp4", options=how) as file, ExitStack() as stack:
        stream: Any = None
        track: SoundTrack | None = None

        def write(picture: UInt8[np.ndarray, "H W 3"], at: float, until: float) -> None:
            nonlocal stream, track
            # Only a picture says how large the film is.
            if stream is None:
                picture_rate = bit_rates[0] if bit_rates else 4 * picture.shape[0] * picture.shape[1]
                stream = _add_film(file, name, rate, picture.shape[:2], options, picture_rate)
                if sound is not None:
                    track = SoundTrack(file, sound, bit_rates[1] if bit_rates else None)
                    stack.enter_context(closing(track))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.time_base = TICK if name != "mpeg4" else 1 / rate
            frame.pts = round(at / frame.time_base)
            file.mux(stream.encode(frame))
            # Along with the pictures, so that neither has to be held until the other is done.
            if track is not None:
                track.write_until(until)

        yield write
        if stream is not None:
            # Encoders hold frames back: this brings out the last ones.
            file.mux(stream.encode(None))
        if track is not None:
            track.finish(seconds)


def read_for_page(path: Path, request: ClipRequest) -> Iterator[ClipPart]:
    """What a page shows of a clip: the frames that are wanted, if any, then the clip as a small film."""
    if request.wanted is not None:
        yield numbered_frames(path, request.wanted, request.max_pixels)
    try:
        yield small_film(path, request.max_pixels)
    except av.FFmpegError as error:
        raise VideoError(f"{path.name!r}: {error}") from error


def small_film(path: Path, max_pixels: int = MAX_PIXELS) -> Film:
    """The first seconds of a clip as a small mp4, as players show it, with its sound and nothing else of the file.

    It is always written anew: what browsers play, upright, of bounded size, and without the place and the camera that
    phones write into their files.

    Raises:
        VideoError: the clip cannot be read, or nothing here writes what browsers play.
    """
    if encoder() == "mpeg4":
        raise VideoError("nothing here writes H.264")
    target, whole, empty = io.BytesIO(), True, True
    how: dict[str, Any] = {"options": SMALL, "bit_rates": (SMALL_RATE, SMALL_SOUND), "seconds": float(SECONDS)}
    with open_regular(path) as file:
        index = read_index(file, path, max_pixels)
        rate = Fraction(min(max(index.fps, 1.0), FPS) if index.fps else 25).limit_denominator(1001)
        with film_writer(target, rate, sound=sound_frames(path, max_pixels), **how) as write:
            for picture, at in _thinned(pictures_of(file, path, max_pixels), index):
                # Times are sums of steps, and a little short.
                if at >= SECONDS - 1e-3:
                    whole = False
                    break
                write(picture, at, at)
                empty = False
    if empty:
        raise VideoError(f"{path.name!r} has no frame that can be read")
    return Film(np.frombuffer(target.getbuffer(), np.uint8), whole)


def _thinned(
    pictures: Iterator[DecodedPicture | None], index: PacketIndex
) -> Iterator[tuple[UInt8[np.ndarray, "H W 3"], float]]:
    """Small pictures of a clip, and when each is shown; of high rates not all of them."""
    first, shape, last = None, (0, 0), -math.inf
    for number, picture in enumerate(p for p in pictures if p is not None):
        if first is None:
            first, shape = picture.shape, small_size(picture.shape)
        at = index.shown(number, picture.frame.pts)
        # A little less than a step, since times are rounded.
        if at >= last + 0.9 / FPS:
            inner = shape if picture.shape == first else fitted(picture.shape, shape)
            yield centred(picture.rgb(inner), shape), at
            last = at


def small_size(size: Shape) -> Shape:
    """Even height and width of a film on a page: no larger than the clip, and of its aspect."""
    scale = min(1.0, TALL / size[0], WIDE / size[1])
    return max(2 * round(size[0] * scale / 2), 2), max(2 * round(size[1] * scale / 2), 2)


def _add_film(file: Any, name: str, rate: Fraction, shape: Shape, options: Mapping[str, str], bit_rate: int) -> Any:
    stream = file.add_stream(name, rate=rate, options=dict(options) if name == "libx264" else {})
    stream.height, stream.width = shape
    # The one format that all players know; it needs even sizes.
    stream.pix_fmt = "yuv420p"
    # A key frame every 48 frames keeps jumps in the film exact.
    stream.codec_context.gop_size = 48
    # MPEG-4 Part 2 takes no more than 65535 ticks a second, and is left at one a frame.
    if name != "mpeg4":
        stream.codec_context.time_base = TICK
    # Only x264 takes a quality; the others would fall back to a rate too low to read labels by.
    if name != "libx264":
        stream.bit_rate = bit_rate
    return stream


def _can_write(name: str) -> bool:
    try:
        av.codec.Codec(name, "w")
    except (av.codec.codec.UnknownCodecError, ValueError):
        return False
    return True
