"""What is read of one clip: sampled frames, and where asked for, segments of all frames and the sound.

No torch in here: a process that only decodes imports this and little else.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from stg.config.extraction import STRIDE
from stg.video.decoding import MAX_PIXELS, SampledFrames


@dataclass(frozen=True)
class SegmentRequest:
    """How a motion network wants to see a video: as segments of consecutive frames, side by side, without gaps.

    Args:
        span: frames of one segment; the last one is filled up by repeating the last frame of the video.
        resize: the shorter side in pixels (aspect kept), or (height, width), of the frames before the crop.
        crop: (height, width) cut from the middle.
    """

    span: int
    resize: int | tuple[int, int] = 256
    crop: tuple[int, int] = (224, 224)


@dataclass(frozen=True)
class NumberedFrames:
    """The frames of a clip by their numbers, as a graph holds them, with what else it knows of its clip.

    Args:
        numbers: in the undamaged video, from 0.
        total: how many frames the video has; None where that is not known.
        size: height and width of its pictures; None where that is not known.
    """

    numbers: tuple[int, ...]
    total: int | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class ClipRequest:
    """What to read of a clip. Travels to other processes.

    Args:
        num_frames, sampling, stride, max_pixels, min_frames: as in :func:`stg.video.decoding.sample_video`.
        segments: what the motion network wants; None: no segments are read.
        sound: whether the sound is read.
        identity: whether ``stamp`` and ``sha256`` of the file (:class:`stg.runtime.stamps.Read`) are among the facts.
        wanted: these frames in place of sampled ones, for pages.
        cut: read the clip as stretches, as :func:`stg.video.stretches.read_stretches` does: each of so many seconds, or
            ``"scenes"``; None: whole.
    """

    num_frames: int = 10
    sampling: str = "centres"
    max_pixels: int = MAX_PIXELS
    min_frames: int = 1
    segments: SegmentRequest | None = None
    sound: bool = False
    stride: int = STRIDE
    identity: bool = False
    wanted: NumberedFrames | None = None
    cut: float | str | None = None


@dataclass(frozen=True)
class Segment:
    """Consecutive frames of a video, resized and cropped as asked.

    Args:
        row: which segment it is: it starts at frame ``row * span`` of the original numbering.
        frames: ``[span H W 3]`` RGB.
    """

    row: int
    frames: UInt8[np.ndarray, "span H W 3"]


@dataclass(frozen=True)
class AudioChunk:
    """Some consecutive log-mel examples of the sound, .96 s each; together the parts cover the video.

    Args:
        examples: ``[k 96 64]`` (10 ms steps, mel bands).
        audible: ``[k]`` False where the example is silent: its features say nothing and are masked.
    """

    examples: Float32[np.ndarray, "k 96 64"]
    audible: Bool[np.ndarray, " k"]


@dataclass(frozen=True, eq=False)
class Film:
    """The clip itself, small, for a page.

    Args:
        mp4: ``[n]`` bytes of a file that browsers play.
        whole: all of the clip is there, not its beginning alone.
    """

    mp4: UInt8[np.ndarray, " n"]
    whole: bool = True


@dataclass(frozen=True, eq=False)
class Timeline:
    """What is known of all frames of a clip before the first of them.

    Args:
        total: number of frames.
        fps: mean frames a second, 0 where not known.
        height, width: of every frame.
        seconds: ``[total]`` when each is shown, where the rate varies; None: at a constant rate.
    """

    total: int
    fps: float
    height: int
    width: int
    seconds: Float64[np.ndarray, " total"] | None = None


@dataclass(frozen=True, eq=False)
class Frame:
    """The next frame of a clip.

    Args:
        pixels: ``[H W 3]`` RGB.
    """

    pixels: UInt8[np.ndarray, "H W 3"]


@dataclass(frozen=True, eq=False)
class SoundPiece:
    """The next piece of the sound of a clip, at 48 kHz.

    Args:
        start: samples from the first picture to this piece.
        samples: ``[k n]`` of one channel or two, values -1 to 1.
    """

    start: int
    samples: Float32[np.ndarray, "k n"]


ClipPart = SampledFrames | Segment | AudioChunk | Film | Timeline | Frame | SoundPiece
