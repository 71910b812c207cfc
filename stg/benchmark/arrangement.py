"""Clips with their sampled frames in another order, or with one frame alone: the controls of a bench."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal
from zlib import crc32

import numpy as np
from jaxtyping import Int

from stg.video.decoding import SampledFrames

Control = Literal["none", "shuffled", "reversed", "single", "mean"]

CONTROLS: Mapping[Control, str] = {
    "none": "the frames as they are",
    "shuffled": "the same frames in another order, drawn for each clip",
    "reversed": "the same frames in reverse order",
    "single": "the middle frame in the place of all",
    "mean": "each frame by itself in the place of all; the mean of the scores counts",
}
"""Name of a control -> what is shown of a clip."""


def arrangements(control: Control, video: str, frames: int) -> list[Int[np.ndarray, " T"]]:
    """Which sampled frame stands in each place: one row, or for ``mean`` one for each frame.

    Args:
        control: one of :data:`CONTROLS`.
        video: name of the clip; the same has the same order.
        frames: how many there are.
    """
    places = np.arange(frames)
    if control == "shuffled":
        rng = np.random.default_rng(crc32(video.encode()))
        order = rng.permutation(frames)
        # Of two frames and more, none that is the order of time.
        while frames > 1 and (order == places).all():
            order = rng.permutation(frames)
        return [order]
    if control == "reversed":
        return [places[::-1].copy()]
    if control == "single":
        return [np.full(frames, frames // 2)]
    if control == "mean":
        return [np.full(frames, place) for place in places]
    return [places]


def arranged(sample: SampledFrames, places: Int[np.ndarray, " T"]) -> SampledFrames:
    """The sampled frames of a clip in these places, each with its own number in the clip.

    Numbers move with the frames: by its number the detector of the built-in world knows what a frame shows. ``seconds``
    do not move, as they say when a place is shown, not what: a control is a clip like any other, which runs as long as
    the original and whose times increase. Else the times would tell the true order of shuffled frames. Features keep
    them for people to read, in clips of uneven rate alone (``frame_time``); no model reads them.
    """
    return replace(
        sample,
        frames=sample.frames[places],
        frame_number=sample.frame_number[places],
        num_unique=len(set(places.tolist())),
    )
