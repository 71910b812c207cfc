"""Frames to a video file."""

from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from stg.runtime.errors import StgError


def write_video(
    path: str | Path,
    frames: Iterable[UInt8[np.ndarray, "H W 3"]],
    fps: int,
    *,
    crf: int = 4,
    pix_fmt: str = "yuv444p",
) -> None:
    """Write frames as H.264, by default with full colour and near lossless; whole or not at all.

    Args:
        path: of the mp4 file; its folder is there.
        frames: RGB, all of one size, whose sides are even.
        fps: frames a second.
        crf: x264's quality, from 0 (lossless) to 51.
        pix_fmt: ``yuv444p``: full colour, without which small things would lose theirs, and with it their name;
            ``yuv420p``: what every player knows.

    Raises:
        StgError: the file cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    try:
        with av.open(str(part), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=fps)
            stream.pix_fmt = pix_fmt
            stream.options = {"crf": str(crf), "preset": "veryfast"}
            for place, picture in enumerate(frames):
                if not place:
                    stream.height, stream.width = picture.shape[:2]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            # The encoder holds frames back: this brings out the last ones.
            container.mux(stream.encode())
        part.replace(path)
    except OSError as error:
        raise StgError(f"could not write {path}: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
