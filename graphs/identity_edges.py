"""Edges along tracks: between the boxes of one object in nearby frames."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphs.edges import Edges

DIRECTIONS = ("both", "forward", "backward")
"""``forward``: an object gathers from earlier frames. ``backward``: from later ones, as the paper's temporal edges do
in the literal direction. ``both``: both."""

RATE = 30.0
"""Changes a frame are multiplied by this before their asinh, by :func:`graphs.box_motion` and `TrackRelations`."""


@torch.no_grad()
def track_edges(
    frame: Int[Tensor, " N"],
    track: Int[Tensor, " N"],
    batch: Int[Tensor, " N"] | None = None,
    *,
    span: int = 1,
    direction: str = "both",
) -> Edges:
    """Edges between the objects of one track that are at most ``span`` frames apart.

    The identity edges of GraVi-T and SPELL (Min et al., 2022), whose three streams have edges forward, backward and
    both ways. The weights of what an object gathers sum to 1. Linear in the edges, with a loop over ``span`` alone.

    Args:
        frame: ``[N]`` frame of each object inside its video.
        track: ``[N]`` track of each object; those with -1 have no edges.
        batch: ``[N]`` video of each object; None for a single video.
        span: the window: the largest distance in frames.
        direction: where information goes in time, one of :data:`DIRECTIONS`.

    Returns:
        ``edge_index [2 E]`` ordered by target, ``edge_weight [E]`` float32.

    Raises:
        ValueError: a span below 1, or an unknown direction.
    """
    check_window(span, direction)
    video = torch.zeros_like(frame) if batch is None else batch
    order = along_groups(frame, track, video)
    order = order[track[order] >= 0]
    # No track is twice in a frame: what lies at most ``span`` frames apart lies at most ``span`` places apart.
    parts = [order.new_zeros(2, 0)]
    for step in range(1, min(span, len(order) - 1) + 1):
        pair = torch.stack([order[:-step], order[step:]])
        near = (video[pair].diff(dim=0) == 0) & (track[pair].diff(dim=0) == 0) & (frame[pair].diff(dim=0) <= span)
        forward = pair[:, near[0]]  # the source is earlier
        parts += {"both": [forward, forward.flip(0)], "forward": [forward], "backward": [forward.flip(0)]}[direction]
    index = torch.cat(parts, dim=1)
    for row in (0, 1):
        index = index[:, index[row].argsort(stable=True)]
    gathered = torch.bincount(index[1], minlength=len(frame))
    return index, 1 / gathered[index[1]].float()


def along_groups(frame: Int[Tensor, " M"], *groups: Int[Tensor, " M"]) -> Int[Tensor, " M"]:
    """All rows by group, the last of ``groups`` first, and in each by frame."""
    order = torch.arange(frame.shape[0], device=frame.device)
    for key in (frame, *groups):
        order = order[key[order].argsort(stable=True)]
    return order


@torch.no_grad()
def rate_of_change(
    values: Float[Tensor, "M F"], frame: Int[Tensor, " M"], *groups: Int[Tensor, " M"]
) -> Float[Tensor, "M F"]:
    """How fast each row changes: from the row before it to the one after it in its group, per frame.

    At an end of a group it is the change from or to the row itself. A row that is alone in its group does not change.

    Args:
        values: ``[M F]`` what is known of each row.
        frame: ``[M]`` when.
        groups: ``[M]`` each; rows that agree in all of them are one thing over time, for example an object by its video
            and its track. Rows that are below 0 in one of them are of no group: 0.
    """
    order = along_groups(frame, *groups)
    known = torch.stack([key[order] >= 0 for key in groups]).all(0)

    def goes(other: Tensor, earlier: Tensor, later: Tensor) -> Tensor:
        same = known & (frame[earlier] < frame[later])
        for key in groups:
            same = same & (key[other] == key[order])
        # By the roll, the last of all comes before the first: it is no earlier.
        return torch.where(same, other, order)

    before, after = order.roll(1), order.roll(-1)
    before, after = goes(before, before, order), goes(after, order, after)
    frames = (frame[after] - frame[before]).clamp(min=1).unsqueeze(1)
    change = (values[after] - values[before]) / frames
    return torch.zeros_like(change).index_copy(0, order, change)


def check_window(span: int, direction: str) -> None:
    """Refuse a window that cannot be.

    Raises:
        ValueError: a span below 1, or an unknown direction.
    """
    if span < 1:
        raise ValueError(f"span must be a number of frames, 1 or more, got {span}")
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}")
