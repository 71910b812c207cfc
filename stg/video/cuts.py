"""Where the picture of a clip changes at once: the cuts between its scenes, found as it is decoded."""

from collections import deque
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int16

from stg.video.pictures import DecodedPicture

SIZE = (36, 64)
"""Height and width at which frames are compared: noise and small movements vanish."""

LEAST = 12.0
"""Mean difference of two frames, in levels of 255, below which there is no cut."""

TIMES = 3.0
"""So many times the mean of its neighbours a difference has to be: what moves all the time is no cut."""

NEIGHBOURS = 2
"""Differences on either side that one is compared with."""


def cut_seconds(pictures: Iterator[tuple[float, DecodedPicture]]) -> Iterator[float]:
    """When the first frame of each scene but the first is shown.

    A cut is between two frames whose mean absolute difference in RGB, at :data:`SIZE`, is at least :data:`LEAST` and
    :data:`TIMES` the mean of the differences around it. Slow changes (fades, dissolves) are no cuts; a flash is one.
    The rule is that of PySceneDetect's ``AdaptiveDetector``, whose scores are of hue, saturation and brightness.

    Args:
        pictures: with their times, in order.
    """
    before = None
    window = deque[tuple[float, float]](maxlen=2 * NEIGHBOURS + 1)
    # At both ends of the clip the neighbours that are missing are taken as still pictures.
    window.extend([(0.0, 0.0)] * NEIGHBOURS)
    for at, picture in pictures:
        small = picture.rgb(SIZE).astype(np.int16)
        window.append((at, 0.0 if before is None else _difference(small, before)))
        before = small
        yield from _cut(window)
    for _ in range(NEIGHBOURS):
        window.append((0.0, 0.0))
        yield from _cut(window)


def _cut(window: deque[tuple[float, float]]) -> Iterator[float]:
    if len(window) < 2 * NEIGHBOURS + 1:
        return
    at, most = window[NEIGHBOURS]
    around = (sum(difference for _, difference in window) - most) / (2 * NEIGHBOURS)
    if most >= max(LEAST, TIMES * around):
        yield at


def _difference(one: Int16[np.ndarray, "h w 3"], other: Int16[np.ndarray, "h w 3"]) -> float:
    return float(np.abs(one - other).mean())
