"""The frames of a clip that a graph was made from, for pictures on a page."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stg.video.clip import NumberedFrames
from stg.video.decoding import SampledFrames, check_damage, decode_frames, original_numbers, sampled
from stg.video.packets import MAX_PIXELS, VideoError, open_regular, read_index


def numbered_frames(path: Path, wanted: NumberedFrames, max_pixels: int = MAX_PIXELS) -> SampledFrames:
    """Frames of a clip by their numbers.

    Args:
        path: the clip.
        wanted: which frames, of which clip.
        max_pixels: as in :func:`stg.video.decoding.sample_video`.

    Raises:
        VideoError: the clip cannot be read, a frame cannot be, or it is another clip: its length or the size of its
            pictures is not the one that is known.
    """
    with open_regular(path) as file:
        index = read_index(file, path, max_pixels)
        # At the original numbers first: right for every clip without damage, which is then decoded once.
        decoded = decode_frames(file, path, wanted.numbers, max_pixels)
        check_damage(path, index, decoded, 1)
        good = np.frombuffer(decoded.good, dtype=np.int64)
        originals, total = original_numbers(index, decoded, good)
        # Damaged frames are missing from what a decoder counts, so places and original numbers differ behind them.
        place_of = dict(zip(originals.tolist(), good.tolist(), strict=True))
        places = [place_of[number] for number in wanted.numbers if number in place_of]
        if not decoded.frames.keys() >= set(places):
            decoded = decode_frames(file, path, places, max_pixels)
    size = next((frame.shape[:2] for frame in decoded.frames.values()), None)
    check_same_clip(f"{path.name!r}", wanted, total, size)
    missing = [number for number in wanted.numbers if decoded.frames.get(place_of.get(number, -1)) is None]
    if missing:
        raise VideoError(f"{path.name!r}: frame {missing[0]} of its {total} frames cannot be read")
    return sampled(path, index, decoded, np.array(places, np.int64), np.array(wanted.numbers, np.int64), total)


def check_same_clip(name: str, wanted: NumberedFrames, total: int, size: Sequence[int] | None) -> None:
    """What is known of the clip must be true of this one.

    Raises:
        VideoError: it is not.
    """
    # Imported features may come without length and size: then any clip passes.
    wrong = []
    if wanted.total is not None and wanted.total != total:
        wrong.append(f"{total} frames instead of {wanted.total}")
    if wanted.size is not None and size is not None and wanted.size != tuple(size):
        wrong.append(f"pictures of {size[1]}x{size[0]} instead of {wanted.size[1]}x{wanted.size[0]}")
    if wrong:
        raise VideoError(
            f"{name} is not what the graph was made from: it has {' and '.join(wrong)}; point to the clip that was "
            "extracted, or extract this one"
        )
