"""Which frames of a video represent it, and which motion row goes with each."""

import numpy as np
from jaxtyping import Float64, Int64

from stg.config.extraction import STRIDE

SAMPLING = ("centres", "linspace")
"""Rules that spread the wanted number of frames over any video; features made elsewhere may name one, too."""

RULES = (*SAMPLING, "stride")
"""Names of all sampling rules, as the commands accept them."""


def segment_centres(n: int, T: int) -> Int64[np.ndarray, " T"]:
    """Centres of T equal segments of n frames, ``floor((i + 1/2) n / T)``: "uniformly sampled" (Pan et al., 2020).

    The paper does not say where in a segment the frame lies; the centre is deterministic and never the very first or
    last frame of a long clip, which are often fades. Integer arithmetic, exact at any length. With ``n < T`` numbers
    repeat.

    Args:
        n: frames in the video, at least 1.
        T: frames wanted, at least 1.
    """
    _check(n, T)
    return (2 * np.arange(T, dtype=np.int64) + 1) * n // (2 * T)


def linspace_frames(n: int, T: int) -> Int64[np.ndarray, " T"]:
    """T frame numbers from the first frame to the last, both included; the middle frame when ``T = 1``.

    The other common reading of "uniformly sampled". Halves round up; with ``n < T`` numbers repeat.

    Args:
        n: frames in the video, at least 1.
        T: frames wanted, at least 1.
    """
    _check(n, T)
    if T == 1:
        return np.array([(n - 1) // 2], dtype=np.int64)
    return (2 * np.arange(T, dtype=np.int64) * (n - 1) + T - 1) // (2 * (T - 1))


def stride_frames(n: int, T: int, stride: int = STRIDE) -> Int64[np.ndarray, " t"]:
    """One frame for each ``stride`` frames, the middle one: ``min(k stride + floor(stride / 2), n - 1)``.

    "Each 32 frames" (Chen et al., 2019), "one frame each 16" (Cherian et al., 2020); which frame of them is not said.
    The last segment may be shorter. With motion rows that cover as many frames, sampled frame k lies in row k. No
    number repeats.

    A video of more than ``T`` segments gives the centres of T equal parts instead, so that memory stays bounded.

    Args:
        n: frames in the video, at least 1.
        T: most frames wanted, at least 1.
        stride: frames of one segment, at least 1.
    """
    _check(n, T)
    if stride < 1:
        raise ValueError(f"stride must be at least 1; got {stride}")
    count = -(-n // stride)
    if count > T:
        return segment_centres(n, T)
    return np.minimum(np.arange(count, dtype=np.int64) * stride + stride // 2, n - 1)


def sample_numbers(n: int, T: int, sampling: str = "centres", stride: int = STRIDE) -> Int64[np.ndarray, " t"]:
    """Frame numbers by the rule named ``sampling``, one of :data:`RULES`: T of them, or up to T with ``stride``."""
    if sampling == "centres":
        return segment_centres(n, T)
    if sampling == "linspace":
        return linspace_frames(n, T)
    if sampling == "stride":
        return stride_frames(n, T, stride)
    raise ValueError(f"sampling must be one of {', '.join(RULES)}; got {sampling!r}")


def is_even(seconds: Float64[np.ndarray, " n"], last: float) -> bool:
    """Whether frames come at a constant rate: none is further than one frame from where such a rate would put it.

    Args:
        seconds: when each is shown, increasing from 0.
        last: how long the last one stands, 0 where that is not known.
    """
    count = len(seconds)
    if count < 3:
        return bool(count < 2 or last <= 2 * seconds[1])
    step = seconds[-1] / (count - 1)
    slack = 1.001 * step
    return bool((np.abs(seconds - np.arange(count) * step) <= slack).all() and last <= step + slack)


def sample_seconds(
    seconds: Float64[np.ndarray, " n"], end: float, T: int, sampling: str = "centres", stride: int = STRIDE
) -> Int64[np.ndarray, " t"]:
    """Places of the frames that are on the screen at evenly spread moments, by the rule named ``sampling``.

    ``centres``: the middle of each of T equal parts of ``[0, end]``; ``linspace``: from the first frame's time to the
    last one's. ``stride`` counts frames, whatever their times, as long as that gives no more than T of them.

    Args:
        seconds: when each frame is shown, increasing.
        end: when the last one ends.
    """
    count = len(seconds)
    if sampling == "stride" and -(-count // stride) <= T:
        return stride_frames(count, T, stride)
    if sampling == "linspace":
        moments = np.linspace(seconds[0], seconds[-1], T) if T > 1 else np.array([(seconds[0] + seconds[-1]) / 2])
    else:
        moments = (np.arange(T) + 0.5) * end / T
    # A frame that comes at the very moment is on the screen, however its time was rounded.
    return (np.searchsorted(seconds, moments + 1e-6, side="right") - 1).clip(0, count - 1).astype(np.int64)


def motion_rows(frame_number: Int64[np.ndarray, " T"], num_rows: int, span: int) -> Int64[np.ndarray, " T"]:
    """Row of the motion features that covers each sampled frame: ``min(floor(number / span), L - 1)``.

    The same as repeating every row ``span`` times in time and slicing at the sampled frames (Pan et al., 2020,
    Sec. 3.3), without the copy. Frames after the last full span take the last row.

    Args:
        frame_number: sampled frames in the ORIGINAL numbering, at least 0.
        num_rows: motion rows ``L``, at least 1.
        span: frames that one row covers (16 in the paper).
    """
    if num_rows < 1 or span < 1:
        raise ValueError(f"num_rows and span must be at least 1; got num_rows={num_rows}, span={span}")
    if frame_number.size and int(frame_number.min()) < 0:
        raise ValueError(f"frame_number must be at least 0; got {int(frame_number.min())}")
    return np.minimum(frame_number // span, num_rows - 1)


def _check(n: int, T: int) -> None:
    if n < 1 or T < 1:
        raise ValueError(f"a video needs at least one frame and one sample; got n={n} frames, T={T} samples")
