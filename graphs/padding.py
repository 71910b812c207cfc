"""Frames filled up to one number of objects, as the zero-padding of Pan et al. (2020), Sec. 4.3, can be read."""

import torch

from graphs.flat import GraphData

_FILLED = {"x": 0, "boxes": 0, "scores": 0, "label": 0, "label_score": 0, "track": -1}
"""What an object that is none has by field: 0 is no class, -1 no track."""


def pad_frames(data: GraphData, count: int) -> None:
    r"""Fill every frame of a video's graph up to ``count`` objects with objects that are all zero, in place.

    Pan et al. (2020) detect five objects a frame, "zero-padding if there are less", and count N_t objects in their
    equations. Here pads exist in no graph, unless this is asked for: then they take part in softmax, degrees and means
    as any object. With overlap 0 (Eq. 1) and cosine 0 (Eq. 2) to all others they get the weight :math:`e^0 = 1` of
    each row before it is normalised. As of every box without area, the overlap of a pad with itself counts as 1.

    The edges are those of before and lead to objects that have moved: draw them anew, by
    :func:`graphs.draw_paper_edges`.

    Args:
        data: of one video; its objects are ordered by frame. Edges are removed.
        count: of objects in a frame; frames with as many or more stay as they are.

    Raises:
        ValueError: ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1; got {count}")
    frame: torch.Tensor = data.frame
    frames = int(torch.as_tensor(data["num_frames"]).sum())
    lacking = (count - torch.bincount(frame, minlength=frames)).clamp_min(0)
    pads = torch.arange(frames, device=frame.device).repeat_interleave(lacking)
    joined = torch.cat([frame, pads])
    # Stable: pads come behind the objects of their frame.
    order = joined.argsort(stable=True)
    for name, value in _FILLED.items():
        if name in data:
            rows = data[name]
            data[name] = torch.cat([rows, rows.new_full((len(pads), *rows.shape[1:]), value)])[order]
    data.frame = joined[order]
    for name in ("edge_index", "edge_weight", "edge_type"):
        if name in data:
            delattr(data, name)
