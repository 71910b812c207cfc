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
    """The sampled frames of a clip in these places, each with its own number in the clip."""
    return replace(
        sample,
        frames=sample.frames[places],
        frame_number=sample.frame_number[places],
        num_unique=len(set(places.tolist())),
    )
