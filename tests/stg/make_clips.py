"""Tiny clips whose picture tells the frame number, for the tests of the vision part."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def level(number: int) -> int:
    """Grey level of the frame with this number: four steps apart, so that lossy coding cannot confuse neighbours."""
    return 20 + 4 * (number % 50)


def grey_frames(count: int, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """``count`` flat frames ``[H W 3]`` of :func:`level`."""
    return [np.full((*size, 3), level(number), np.uint8) for number in range(count)]


def write_clip(
    path: str | Path,
    frames: Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    rate: int | Fraction = 25,
    pts: Sequence[int] | None = None,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    container: str | None = None,
    rotation: int = 0,
) -> Path:
    """Encode ``frames`` (RGB arrays ``[H W 3]``) at the times ``pts`` (in 1/1000 s; even spacing by default)."""
    path = Path(path)
    with av.open(path, "w", format=container, options=container_options or {}) as file:
        stream = file.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        stream.thread_count = 1
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
            stream.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        for number, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            if pts is not None:
                frame.pts, frame.time_base = pts[number], Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def write_sound(path: str | Path, cover: bool = False) -> Path:
    """A file with sound only; with ``cover`` also a picture attached as cover art."""
    path = Path(path)
    with av.open(path, "w") as file:
        sound = file.add_stream("aac" if path.suffix != ".mp3" else "libmp3lame", rate=16000, layout="mono")
        picture = None
        if cover:
            picture = file.add_stream("mjpeg", rate=1)
            picture.width, picture.height, picture.pix_fmt = 32, 32, "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
        if picture is not None:
            file.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
            file.mux(picture.encode(None))
        for start in range(0, 16000, 1024):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 16000, start
            file.mux(sound.encode(samples))
        file.mux(sound.encode(None))
    return path
