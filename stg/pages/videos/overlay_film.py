"""A clip with its boxes, its edges and its growing caption burnt in, as an mp4."""

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from stg.pages.videos.overlay_drawing import CaptionStrip, Overlay
from stg.pages.videos.views import VideoView
from stg.runtime.files import replacing
from stg.video.film import film_writer
from stg.video.packets import VideoError

WIDEST, TALLEST, WIDE_ENOUGH = 1280, 1080, 640
"""Pixels of the picture: larger ones are brought down to the first two, smaller ones up to the last across."""

K = 2
"""Strongest edges into an object, of each kind."""

READING = 0.85
"""Share of the film over which the caption grows; then it stands whole."""

LEAST_SECONDS = 2
"""A shorter clip holds its last frame until so many seconds are full, so that its caption can be read."""


@dataclass(frozen=True)
class Footage:
    """All frames of a video.

    Args:
        total: number of frames.
        fps: frames a second.
        size: height and width.
        frames: gives them, each once, in the order of time.
        seconds: when each is shown, where the rate varies; None: at a constant rate.
        sound: gives frames of its sound, as :class:`stg.video.film_sound.SoundTrack` takes them; None: there is none.
    """

    total: int
    fps: float
    size: tuple[int, int]
    frames: Callable[[], Iterator[UInt8[np.ndarray, "H W 3"]]]
    seconds: Float64[np.ndarray, " N"] | None = None
    sound: Callable[[], Generator[Any]] | None = None


def write_overlay(
    footage: Footage,
    view: VideoView,
    out: str | Path,
    *,
    k: int = K,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a clip as an mp4 in which every frame shows the graph of the sampled frame that is nearest to it.

    Boxes with class and score, the edges inside the frame (blue), those between its objects and the places of the
    next sampled frame's objects (red arrows, to the object that gathers), and below the picture the caption of
    ``view.captions[0]``, which grows word by word and is whole at the last frame. Frames stream through: memory
    does not grow with the length. Each frame is shown at its own time, and the sound that players take goes along, as
    AAC. A clip shorter than two seconds holds its last frame until two seconds are full. ``out`` is complete or not
    there at all.

    Args:
        footage: the clip.
        view: of this video.
        k: so many of the strongest edges into each object are drawn, of each kind.
        progress: called with (frames done, of all).

    Raises:
        VideoError: the clip cannot be read, or is not the one of the view.
        StgError: ``out`` cannot be written.
    """
    _check_same(footage, view)
    with replacing(out) as temporary:
        _encode(footage, view, temporary, k, progress or (lambda done, total: None))


def _encode(footage: Footage, view: VideoView, path: Path, k: int, progress: Callable[[int, int], None]) -> None:
    rate, total = frame_rate(footage), length(footage)
    with film_writer(str(path), rate, sound=footage.sound and footage.sound()) as write:
        empty = True
        for number, picture in enumerate(compose(footage, view, k)):
            write(picture, _shown_at(footage, number), _shown_at(footage, number + 1))
            progress(number + 1, total)
            empty = False
        if empty:
            raise VideoError(f"video {view.video!r} gives no frame")


def _shown_at(footage: Footage, number: int) -> float:
    """Seconds at which a frame is shown; those that hold the last one follow at the mean rate."""
    rate = float(frame_rate(footage))
    if footage.seconds is None:
        return number / rate
    last = len(footage.seconds) - 1
    return float(footage.seconds[min(number, last)]) + max(number - last, 0) / rate


def compose(footage: Footage, view: VideoView, k: int = K) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The frames as they are written, one after the other, the last one held as in `write_overlay`."""

    height, width = size = picture_size(footage.size)
    # A narrow film gets margins, or no line of the caption would fit below it.
    across = max(width, 320)
    overlay = Overlay(view, size, (height / footage.size[0], width / footage.size[1]), k)
    words = view.captions[0].explanation.words if view.captions else ()
    kinds = [kind for kind, weight in overlay.strongest.items() if weight > 0]
    strip = CaptionStrip(words, across, kinds)
    canvas = np.zeros((height + strip.height, across, 3), np.uint8)
    left, before, layer, total = (across - width) // 2, None, None, length(footage)
    for number, frame in enumerate(_held(footage)):
        nearest = nearest_picture(view, number)
        count = words_shown(number, total, len(words))
        # Layer and caption are drawn when they change: a film has many more frames than samples and words.
        if before is None or nearest != before[0]:
            layer = None if nearest is None else overlay.layer(nearest)
        if (nearest, count) != before:
            canvas[height:] = strip.image(count, _note(view, nearest))
            before = nearest, count
        picture = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC)
        if layer is not None:
            picture.paste(layer, mask=layer)
        canvas[:height, left : left + width] = np.asarray(picture)
        # A copy, as the canvas is drawn over for the next frame while an encoder may still hold this one.
        yield canvas.copy()


def picture_size(size: tuple[int, int]) -> tuple[int, int]:
    """Even height and width at which pictures of a size are shown."""
    height, width = size
    scale = min(max(1.0, WIDE_ENOUGH / width), WIDEST / width, TALLEST / height)
    return max(2 * round(height * scale / 2), 2), max(2 * round(width * scale / 2), 2)


def nearest_picture(view: VideoView, number: int) -> int | None:
    """Which sampled frame is nearest to a frame: of two as near the earlier, of several with one number the last."""
    places = range(len(view.pictures))
    return min(places, key=lambda place: (abs(view.pictures[place].number - number), -place), default=None)


def words_shown(number: int, total: int, words: int) -> int:
    """How many words of the caption are there at a frame; at the last, all."""
    if number >= total - 1:
        return words
    return min(words, 1 + int(number * words / (READING * total)))


def frame_rate(footage: Footage) -> Fraction:
    """Frames a second as they are written: 25 if the clip does not say."""
    return Fraction(min(max(footage.fps, 0.1), 1000)).limit_denominator(1001) if footage.fps > 0 else Fraction(25)


def length(footage: Footage) -> int:
    """Frames that are written: those of the clip, and as many more as two seconds want."""
    return max(footage.total, math.ceil(LEAST_SECONDS * frame_rate(footage)))


def _held(footage: Footage) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    frame = None
    for frame in footage.frames():
        yield frame
    if frame is not None:
        yield from repeat(frame, length(footage) - footage.total)


def _note(view: VideoView, nearest: int | None) -> str:
    if nearest is None:
        return ""
    return f"sampled frame {nearest + 1} of {len(view.pictures)}"


def _check_same(footage: Footage, view: VideoView) -> None:
    numbers = [picture.number for picture in view.pictures]
    known = view.size != (1, 1) and view.size != footage.size
    if known or max(numbers, default=0) >= footage.total:
        (height, width), (high, wide) = footage.size, view.size
        raise VideoError(
            f"video {view.video!r}: this is another clip, with {footage.total} frames of {width}x{height}; what is to "
            f"be drawn belongs to one with at least {max(numbers, default=0) + 1} frames of {wide}x{high}"
        )
