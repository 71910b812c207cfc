"""Sampled frames of a video file, decoded so that a bad file can neither lie, hang, nor run away with the memory."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, UInt8

from stg.errors import UserError


class VideoError(UserError):
    """This video cannot be used; the message names it and says why."""


@dataclass(frozen=True)
class SampledFrames:
    """The frames that stand for one video, with what is needed to say where they came from.

    Args:
        video: id of the video.
        frames: ``[T H W 3]`` RGB, upright.
        frame_number: ``[T]`` place of each frame in presentation order, counted from 0 over the whole video.
        total_frames: frames of the whole video, counted, not read from the header.
        fps: mean frames a second, 0 where the file does not tell.
        truncated: the file ends before its own header says so.
        num_unique: how many different frames there are among the T; below T only for videos shorter than T frames.
    """

    video: str
    frames: UInt8[np.ndarray, "T H W 3"]
    frame_number: Int64[np.ndarray, " T"]
    total_frames: int
    fps: float
    truncated: bool = False
    num_unique: int = 0

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
