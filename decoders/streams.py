"""The parts of a memory as streams: places in steps of time, whichever part they come from."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from decoders.memory import VideoMemory, keep_one_key

STREAMS = {"frames": False, "motion": False, "regions": True, "grid": True}
"""What a memory can give as a stream, and whether it has several places a step."""


@dataclass(frozen=True)
class Stream:
    """``n`` places in each of ``F`` steps, those steps first in which there is something.

    A step without anything real, at the end as padding or in the middle because a detector saw nothing, is no step:
    the others move up and keep their order. Padding holds zeros. A video with nothing at all has one real place, a zero
    vector, so that there is something to attend to.

    Args:
        values: ``[B F n C]``, zero where nothing is real.
        mask: True where the place is real ``[B F n]``.
        real: True where the step holds something: the first steps of each video, at least one ``[B F]``.
        order: the step of the memory that each step was ``[B F]``.
    """

    values: Float[Tensor, "B F n C"]
    mask: Bool[Tensor, "B F n"]
    real: Bool[Tensor, "B F"]
    order: Int[Tensor, "B F"]


def take_stream(memory: VideoMemory, name: str, channels: int) -> Stream:
    """Take one part of a memory as a stream.

    Args:
        memory: of ``B`` videos.
        name: one of `STREAMS`.
        channels: width that it must have.

    Raises:
        ValueError: the memory does not carry the part, or it has another width.
    """
    part, mask = _part(memory, name, channels)
    values, flat = keep_one_key(part.flatten(1, 2), mask.flatten(1))
    values, mask = values.view_as(part), flat.view_as(mask)
    real = mask.any(2)
    # Stable, so that steps with something in them keep their order in time.
    order = real.int().argsort(dim=1, descending=True, stable=True)
    return Stream(
        torch.take_along_dim(values, order[:, :, None, None], 1),
        torch.take_along_dim(mask, order[:, :, None], 1),
        torch.take_along_dim(real, order, 1),
        order,
    )


def holds_something(memory: VideoMemory, name: str, channels: int) -> Bool[Tensor, " B"]:
    """Whether anything is real in a stream of each video; arguments and errors as in `take_stream`."""
    return _part(memory, name, channels)[1].flatten(1).any(1)


def _part(memory: VideoMemory, name: str, channels: int) -> tuple[Float[Tensor, "B F n C"], Bool[Tensor, "B F n"]]:
    value = memory.take(name, channels)
    if not STREAMS[name]:
        return value[:, :, None], memory.frame_mask[:, :, None]
    if name == "regions":
        assert memory.region_mask is not None  # comes with the regions
        return value, memory.region_mask & memory.frame_mask[:, :, None]
    assert memory.grid_mask is not None  # comes with the grid
    return value, memory.grid_mask[:, :, None].expand(-1, -1, value.shape[2])
