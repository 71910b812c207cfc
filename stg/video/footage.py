"""All frames of a clip, one after the other, for a film that is made of them."""

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from stg.video.clip import ClipPart, ClipRequest, Frame, Timeline
from stg.video.decoding import check_damage, decode_frames, original_numbers
from stg.video.packets import LONGEST_STEP, VideoError, open_regular, pictures_of, read_index
from stg.video.pictures import Shape, fit


def read_footage(path: Path, request: ClipRequest) -> Iterator[ClipPart]:
    """A `Timeline`, then as many `Frame` by their original numbers; one that cannot be read shows the one before it.

    Raises:
        VideoError: the clip cannot be read, too much of it is damaged, or its time stamps cannot be.
    """
    with open_regular(path) as file:
        index = read_index(file, path, request.max_pixels)
        # Once for the numbers alone, so that damage is reported before anything is written.
        decoded = decode_frames(file, path, (), request.max_pixels)
        check_damage(path, index, decoded, 1)
        good = np.frombuffer(decoded.good, dtype=np.int64)
        numbers, total = original_numbers(index, decoded, good)
    # Times go by packets: where frames were lost in number, a constant rate is all that is known.
    clock = index.clock if index.uneven and index.clock is not None and len(index.clock) == total else None
    if clock is not None and (step := np.diff(clock).max()) > LONGEST_STEP:
        raise VideoError(
            f"{path.name!r}: one frame stands for {step:g} s by its time stamps, and a film can hold {LONGEST_STEP} s: "
            "they are damaged, or the clip needs to be cut"
        )
    yield Timeline(total, index.fps, *decoded.shape, clock)
    number_of = dict(zip(good.tolist(), numbers.tolist(), strict=True))
    for pixels in _frames(path, number_of, total, decoded.shape, request.max_pixels):
        yield Frame(pixels)


def _frames(
    path: Path, number_of: dict[int, int], total: int, shape: Shape, max_pixels: int
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    last, shown = None, 0
    with open_regular(path) as file:
        for place, picture in enumerate(p for p in pictures_of(file, path, max_pixels) if p is not None):
            if place not in number_of:
                continue
            frame = fit(picture.kept(), shape)
            # Frames that cannot be read show the one before them, or at the beginning the first that can.
            yield from repeat(frame if last is None else last, number_of[place] - shown)
            yield frame
            last, shown = frame, number_of[place] + 1
    if last is not None:
        # What is missing at the end holds the last frame, or the film would be shorter than its clip.
        yield from repeat(last, total - shown)
