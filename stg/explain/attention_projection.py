"""Attention over a memory, laid over the pictures and the objects of its video."""

from dataclasses import replace
from math import isqrt

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from decoders import VideoMemory
from graphs import GraphData
from stg.explain.attention import AttentionMap, Attentions
from stg.explain.explanation import Attribution
from stg.models.memory import subsample_steps

_GRID_NOTE = (
    " The words attend to short stretches of the video, not to pictures: each is shown at the picture nearest in time, "
    "and over the whole picture, though a network may see its middle alone."
)
_OBJECTS_NOTE = " Objects were attended to by themselves: a picture has its own share and those of its objects."
_TRACKS_NOTE = (
    " Each track was attended to as one, over all of its frames: its boxes are shaded by its whole share. No frame of "
    "it was chosen; a picture has its own share and an equal part of that of each track that is seen in it."
)
_QUERIES_NOTE = (
    " Learned queries were attended to, each of which had gathered from all objects: an object has its part of the "
    "share of each, by how much was gathered from it; a picture has its own share and those of its objects."
)
_JOINED_NOTE = " Each picture was two steps here, one of the scene and one of its objects: their shares are added."


def attributions_of(
    found: Attentions, memory: VideoMemory, *, graph: GraphData, grid: tuple[int, int] | None = None
) -> tuple[Attribution, ...]:
    """What the words of a caption attend to, laid over the pictures and the objects of their video.

    Args:
        found: the attention maps of a decoder over ``memory``.
        memory: what the decoder reads of the video, made from ``graph`` alone.
        graph: the video, with its objects in the order of the memory.
        grid: height and width of the grid of a memory that has one; None: it is taken for a square, and its places are
            left out where their number is not that of one.

    Raises:
        ValueError: the memory is not of this graph, or the grid has another number of places.
    """
    return tuple(_attribution(one, memory, graph, grid) for one in found.maps)


def _attribution(
    found: AttentionMap, memory: VideoMemory, graph: GraphData, grid: tuple[int, int] | None
) -> Attribution:
    made = Attribution(found.name, found.title, found.note)
    steps, items, pictures = found.steps, found.items, int(graph.num_frames)
    # Steps of a grid are stretches of time: each is spread over the pictures that lie in it.
    if found.part == "grid":
        onto = pictures_of_steps(memory, graph).to(memory.frames.device)
        made = replace(made, note=made.note + _GRID_NOTE)
        if steps is not None:
            made = replace(made, frames=_numbers(steps @ onto.t()))
        if items is not None and (shape := _places(items.shape[2], grid)) is not None:
            # From steps to pictures: shares [L G P] and pictures of steps [T G] give [L T P].
            places = torch.einsum("lgp,tg->ltp", items, onto)
            made = replace(made, places=_numbers(places.unflatten(2, shape)))
        return made
    if steps is not None and found.part == "objects":
        apart = memory.object_shows, memory.object_times, memory.object_mask, memory.object_shares
        return _of_steps(made, steps, apart, graph)
    # What each step shows is known where a memory holds other steps than frames.
    if steps is not None and memory.shows is not None:
        among = memory.shows, memory.times, memory.frame_mask, memory.shares
        return _of_steps(replace(made, title="Attention to objects and frames"), steps, among, graph)
    # A model that joins scene and objects frame by frame has each picture twice, one after the other.
    if steps is not None:
        if steps.shape[1] not in (pictures, 2 * pictures):
            raise ValueError(f"the memory has {steps.shape[1]} frames and the graph {pictures}: {_ALONE}")
        joined = steps.shape[1] == 2 * pictures
        frames = steps.unflatten(1, (-1, pictures)).sum(1)
        made = replace(made, frames=_numbers(frames), note=made.note + (_JOINED_NOTE if joined else ""))
    if items is not None:
        assert memory.region_mask is not None
        made = replace(made, nodes=_numbers(_nodes(items, memory.region_mask[0], graph)))
    return made


Steps = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]
"""What the steps of a memory show, when, which are real, and the shares of objects in them."""


def _of_steps(made: Attribution, steps: Float[Tensor, "L S"], among: Steps, graph: GraphData) -> Attribution:
    shows, times, mask, shares = among
    assert shows is not None
    assert times is not None
    assert mask is not None
    nodes, frames = _shown(steps, shows, times, mask, shares, graph)
    by_track = bool((shows < -1).any())
    note = _QUERIES_NOTE if shares is not None else _TRACKS_NOTE if by_track else _OBJECTS_NOTE
    return replace(made, nodes=_numbers(nodes), frames=_numbers(frames), note=made.note + note, by_track=by_track)


def _shown(
    steps: Float[Tensor, "L S"],
    shows: Int[Tensor, "1 S"],
    times: Int[Tensor, "1 S"],
    mask: Bool[Tensor, "1 S"],
    shares: Float[Tensor, "1 S M"] | None,
    graph: GraphData,
) -> tuple[Float[Tensor, "L N"], Float[Tensor, "L T"]]:
    """The share of each object, and of each picture with all that is seen in it.

    An object has the share of its own step, or its part of the share of its track, which all of its frames have alike,
    or of the share of each learned query, by how much the query gathered from it.

    Raises:
        ValueError: the memory is not of this graph.
    """
    real, frame = mask[0], graph.frame.to(steps.device)
    shows, times, steps = shows[0, real], times[0, real], steps[:, real]
    number = torch.arange(len(frame), device=frame.device)
    of_object = shows[:, None] == number
    if "track" in graph:
        track = graph.track.to(steps.device)
        of_object |= (shows[:, None] == -2 - track) & (track >= 0)
    seen = of_object.sum(1, keepdim=True)
    if bool(((shows != -1) & (seen[:, 0] == 0)).any()):
        raise ValueError(f"the memory shows objects that the graph has not: {_ALONE}")
    nodes = steps @ (of_object / seen.clamp(min=1)).to(steps)
    # A learned query passes its share on to the objects that it gathered from.
    if shares is not None:
        nodes = nodes + steps @ shares[0, real, : len(frame)].to(steps)
    pictures = torch.arange(int(graph.num_frames), device=steps.device)
    whole = steps @ ((shows == -1)[:, None] & (times[:, None] == pictures)).to(steps)
    return nodes, whole + nodes @ (frame[:, None] == pictures).to(steps)


_ALONE = "give the memory of this graph alone"


def _nodes(items: Float[Tensor, "L F R"], real: Bool[Tensor, "F R"], graph: GraphData) -> Float[Tensor, "L N"]:
    """The inverse of `stg.models.memory.pad_regions`: what is real, frame by frame, are the nodes in order."""
    nodes = items[:, real]
    if nodes.shape[1] != len(graph.frame):
        raise ValueError(f"the memory has {nodes.shape[1]} objects and the graph {len(graph.frame)}: {_ALONE}")
    return nodes


def pictures_of_steps(memory: VideoMemory, graph: GraphData) -> Float[Tensor, "T G"]:
    """The share of each step of a memory's grid that each picture shows; that of all pictures is 1.

    A picture shows the step that it falls into (``motion_row``), or the nearest where the memory holds but some of the
    steps; a step that no picture shows by that goes to the nearest picture. Equals share.

    Raises:
        ValueError: the memory has more steps than the graph.
    """
    assert memory.grid is not None
    pictures, rows, kept = int(graph.num_frames), len(graph.grid), memory.grid.shape[1]
    if kept > rows:
        raise ValueError(f"the memory has {kept} steps of a grid and the graph {rows}: {_ALONE}")
    # The memory may have kept some of the rows only: these are they.
    row, _ = subsample_steps(torch.tensor([0, rows]), kept)
    # Stores without recorded rows: pictures lie in the middle of equal parts of the video.
    even = (2 * torch.arange(pictures) + 1) * rows // (2 * pictures)
    at = graph.motion_row.cpu() if "motion_row" in graph else even
    apart = (at[:, None] - row).abs()
    shows = apart == apart.amin(1, keepdim=True)
    # A step that is nearest to no picture would lose its share: it is shown at the picture nearest to it.
    shows |= ~shows.any(0) & (apart == apart.amin(0))
    return shows.double() / shows.sum(0)


def _places(count: int, grid: tuple[int, int] | None) -> tuple[int, int] | None:
    if grid is None:
        side = isqrt(count)
        return (side, side) if side * side == count else None
    if grid[0] * grid[1] != count:
        raise ValueError(f"the memory's grid has {count} places, and {grid[0]} x {grid[1]} are {grid[0] * grid[1]}")
    return grid


def _numbers(values: Tensor) -> np.ndarray:
    return values.cpu().numpy()
