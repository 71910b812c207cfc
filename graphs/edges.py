r"""Edges of the spatio-temporal object graph (Pan et al., 2020, Eq. 1-3), for every frame of every video at once.

**How the paper's matrix maps onto PyG.** ``G[i, j]`` is the weight with which object i gathers from object j. Row i of
the spatial block ranges over the objects of i's own frame t, row i of the temporal block over the objects of frame
t + 1. In PyG a message runs from ``edge_index[0]`` (source) to ``edge_index[1]`` (target) and is summed there, so

.. code-block:: python

    source, target = edge_index  # source = j, target = i
    G[target, source] = edge_weight  # out[i] = sum over j of G[i, j] * x[j]

Taken literally, information thus flows *backward* in time, from frame t + 1 to frame t, although the text speaks of
edges along the flow of time; :mod:`graphs.variants` offers the other directions.
``torch_geometric.utils.dense_to_sparse(G)`` gives ``(i, j)``, the transpose of what is needed here.

The functions take flat nodes: ``frame`` counts inside each video, ``batch`` names the video (None: one video), and the
nodes are ordered by video, then by frame. The result is ordered by target. Graphs carry no gradient.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

EDGE_TYPES = {"spatial": 0, "temporal": 1, "track": 255}
"""Name -> number in ``edge_type``; edges of the dense variant carry -1 instead. Other types are added here, with
numbers from 2 to 254, before graphs that hold them are stored or read."""

Edges = tuple[Int[Tensor, "2 E"], Float[Tensor, " E"]]

# Frames are padded to one common size while they hold at most this many objects, or at most twice the median.
_SMALL_FRAME = 8
# Most scores computed at a time: 16 MiB in float32.
_SCORES = 2**22
# Most features gathered at a time: 2 MiB in float32, so that the products read them from the cache.
_GATHER = 2**19
# Nodes that a window of small frames begins with, and the largest frames for which windows are faster.
_WINDOW = 8
_LARGEST_WINDOW = 64
# Squared lengths below this may have lost digits to underflow.
_INEXACT = 1e-20


@torch.no_grad()
def spatial_edges(
    boxes: Float[Tensor, "N 4"],
    frame: Int[Tensor, " N"],
    batch: Int[Tensor, " N"] | None = None,
    *,
    tau: float = 1.0,
    top_k: int | None = None,
    iou_threshold: float | None = None,
) -> Edges:
    r"""Row softmax of the IoU between the objects of a frame (Pan et al., 2020, Eq. 1).

    The IoU of an object with itself is 1, also where its box has no area, so every object has a loop to itself; the
    IoU of two different boxes that cover no area together is 0. Pairs with IoU 0 stay connected (``exp 0 = 1``)
    unless an option says otherwise. ``top_k`` and ``iou_threshold`` are not in the paper: they choose the pairs
    *before* the softmax, so that rows still sum to 1, and never drop the loop.

    Args:
        boxes: ``[N 4]`` corners ``(x1, y1, x2, y2)``, in any unit. IoU is computed in float64.
        frame: ``[N]`` frame of each object inside its video.
        batch: ``[N]`` video of each object; None for a single video.
        tau: temperature of the softmax; 1 in the paper.
        top_k: keep the ``top_k`` objects of highest IoU a row, itself included; ties go to the lower row number.
        iou_threshold: keep pairs with IoU above this, in ``[0, 1)``.

    Returns:
        ``edge_index [2 E]``, ``edge_weight [E]``.

    Raises:
        ValueError: if the nodes are not ordered, or an option is out of its range.
    """
    _check_options(tau, top_k, iou_threshold)
    frames = _frames(frame, batch)
    every = torch.arange(len(frames.start), device=boxes.device)
    # In double precision, as differences of large coordinates lose their digits.
    corners = boxes.double().T.contiguous()
    parts = []
    for left, right in _blocks(frames, every, every):
        rows, columns = _nodes(frames, left), _nodes(frames, right)
        # Exactly 1 with itself, also where a box has no area and the IoU would be 0/0.
        itself = rows.node.unsqueeze(2) == columns.node.unsqueeze(1)
        iou = _iou(corners[:, rows.node], corners[:, columns.node]).masked_fill_(itself, 1.0)
        keep = columns.real.unsqueeze(1).expand_as(iou)
        if iou_threshold is not None:
            keep = keep & (iou > iou_threshold)
        if top_k is not None:
            # Ranked above every IoU, the loop also wins against a second detection with the same box.
            keep = keep & _top(iou.masked_fill(itself, 2.0).masked_fill(~keep, -torch.inf), top_k)
        parts.append(_softmax_edges(rows, columns, iou, keep, tau))
    return _concatenate(parts, _weight_type(boxes), boxes.device)


@torch.no_grad()
def temporal_edges(
    objects: Float[Tensor, "N D"],
    frame: Int[Tensor, " N"],
    batch: Int[Tensor, " N"] | None = None,
    *,
    tau: float = 1.0,
    top_k: int | None = None,
) -> Edges:
    r"""Row softmax of the cosine from each object to the objects of the next frame (Pan et al., 2020, Eq. 2).

    Row i in frame t gathers from frame t + 1. An object whose next frame is empty, or missing, has no row. The cosine
    with a zero vector is 0. Taken on the features as they come from the extractor, as the paper's notation has it.

    Args:
        objects: ``[N D]`` appearance vectors. Half precision is widened to float32 first.
        frame: ``[N]`` frame of each object inside its video.
        batch: ``[N]`` video of each object; None for a single video.
        tau: temperature of the softmax; 1 in the paper.
        top_k: keep the ``top_k`` most similar objects a row, before the softmax; ties go to the lower row number.

    Returns:
        ``edge_index [2 E]``, ``edge_weight [E]``.

    Raises:
        ValueError: if the nodes are not ordered, an option is out of its range, or a vector is too long for its type.
    """
    _check_options(tau, top_k, None)
    frames = _frames(frame, batch)
    # Frames t and t + 1 of one video. A frame without objects is none of these, so nothing leaps over it.
    adjacent = (frames.video[1:] == frames.video[:-1]) & (frames.frame[1:] == frames.frame[:-1] + 1)
    dtype = _weight_type(objects)
    objects = objects.to(dtype).contiguous()
    # A pair of small frames that are no neighbours in time costs less to compute and drop than to cut out: without
    # it the others would no longer lie side by side in memory.
    dropped = ~adjacent & ((frames.slots[1:] != frames.smallest) | (frames.slots[:-1] != frames.smallest))
    left = (~dropped).nonzero().squeeze(1) if bool(adjacent.any()) else adjacent.nonzero().squeeze(1)
    windows = _windows(objects, 2 * frames.smallest - 1) if 0 < frames.smallest <= _LARGEST_WINDOW else None
    inverse = _inverse_norm(objects, windows)
    parts = []
    for here, after in _blocks(frames, left, left + 1):
        rows, columns = _nodes(frames, here), _nodes(frames, after)
        if windows is not None and rows.node.size(1) == columns.node.size(1) == frames.smallest:
            cosine = _pick(windows, rows.node.unsqueeze(2), columns.node.unsqueeze(1))
        else:
            cosine = _products(objects, here, rows.node, columns.node)
        # Scaling the products instead of the vectors spares a normalised copy of all features.
        cosine = cosine * inverse[rows.node].unsqueeze(2) * inverse[columns.node].unsqueeze(1)
        keep = columns.real.unsqueeze(1).expand_as(cosine)
        if top_k is not None:
            keep = keep & _top(cosine.masked_fill(~keep, -torch.inf), top_k)
        # Pairs that were computed only to keep frames side by side get no edges.
        rows = _Nodes(rows.node, rows.real & adjacent[here].unsqueeze(1))
        parts.append(_softmax_edges(rows, columns, cosine, keep, tau))
    return _concatenate(parts, dtype, objects.device)


@torch.no_grad()
def dense_edges(ptr: Int[Tensor, " B1"], *, dtype: torch.dtype = torch.float32) -> Edges:
    """Connect every two objects of a video, each with itself too, with weight 1 (Pan et al., 2020, "Dense Graph").

    Args:
        ptr: ``[B + 1]`` offsets: video b owns the nodes ``ptr[b]`` to ``ptr[b + 1] - 1``.
        dtype: type of the weights.
    """
    count = ptr.diff()
    # Without a loop over videos: for each node how many it gathers from, then where the nodes of its video begin.
    degree = count.repeat_interleave(count)
    target = torch.arange(len(degree), device=ptr.device).repeat_interleave(degree)
    first = ptr[:-1].repeat_interleave(count).repeat_interleave(degree)
    row_start = (degree.cumsum(0) - degree).repeat_interleave(degree)
    source = torch.arange(len(target), device=ptr.device) - row_start + first
    return torch.stack([source, target]), torch.ones(len(target), dtype=dtype, device=ptr.device)


class _Frames(NamedTuple):
    """Runs of nodes that share video and frame, ``size`` nodes each; empty frames have none."""

    start: Tensor
    size: Tensor
    video: Tensor
    frame: Tensor
    slots: Tensor  # how many nodes a frame is padded to
    smallest: int


class _Nodes(NamedTuple):
    """Node numbers of some frames, padded by repeating a frame's last node, and which of them are real."""

    node: Int[Tensor, "P R"]
    real: Bool[Tensor, "P R"]


def _frames(frame: Tensor, batch: Tensor | None) -> _Frames:
    video = torch.zeros_like(frame) if batch is None else batch
    # Runs of equal frames are found by comparing neighbours, which needs the order.
    same = video[1:] == video[:-1]
    if bool(((video[1:] < video[:-1]) | (same & (frame[1:] < frame[:-1]))).any()):
        raise ValueError("nodes must be ordered by video, then by frame: sort boxes, objects, frame and batch alike")
    begins = torch.ones_like(frame, dtype=torch.bool)
    begins[1:] = ~same | (frame[1:] != frame[:-1])
    start = begins.nonzero().squeeze(1)
    size = torch.cat([start, start.new_tensor([len(frame)])]).diff()
    if len(start) == 0:
        return _Frames(start, size, video, frame, size, 0)
    # A frame much larger than the others gets a size of its own, else all would be padded to it.
    small = size <= max(_SMALL_FRAME, 2 * int(size.median()))
    smallest = int(size[small].max())
    power = 2 ** torch.arange(63, device=size.device)
    # Large frames are padded to powers of two, so that only few sizes occur, each a block of its own.
    slots = torch.where(small, smallest, power[torch.searchsorted(power, size)])
    return _Frames(start, size, video[start], frame[start], slots, smallest)


def _blocks(frames: _Frames, left: Tensor, right: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Split pairs of frames into blocks that are padded alike and small enough for memory."""
    # One number for both sizes: unique over pairs is many times slower.
    kinds, kind = (frames.slots[left] * 2**31 + frames.slots[right]).unique(return_inverse=True)
    for number, (rows, columns) in enumerate(divmod(both, 2**31) for both in kinds.tolist()):
        member = (kind == number).nonzero().squeeze(1)
        step = max(1, _SCORES // (rows * columns))
        for part in member.split(step):
            yield left[part], right[part]


def _nodes(frames: _Frames, which: Tensor) -> _Nodes:
    slot = torch.arange(int(frames.slots[which[0]]), device=which.device)
    count = frames.size[which].unsqueeze(1)
    return _Nodes(frames.start[which].unsqueeze(1) + torch.minimum(slot, count - 1), slot < count)


def _take(values: Tensor, node: Tensor) -> Tensor:
    return values.index_select(0, node.flatten()).view(*node.shape, values.size(1))


def _products(objects: Tensor, here: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Inner products ``[P R1 R2]`` of the objects of each frame with those of the next."""
    (pairs, height), breadth, width = rows.shape, columns.size(1), objects.size(1)
    product = objects.new_empty(pairs, height, breadth)
    step = max(1, _GATHER // max(1, (height + breadth) * width))
    # Fresh memory for every part would cost more than the products.
    gathered = objects.new_empty(((min(step, pairs) + 1) * max(height, breadth), width))
    # As lists, all at once: reading them one by one would wait for the device each time.
    number, start, end = here.tolist(), rows[:, 0].tolist(), (columns[:, -1] + 1).tolist()
    for first in range(0, pairs, step):
        last = min(first + step, pairs) - 1
        part = slice(first, last + 1)
        if number[last] - number[first] != last - first or height != breadth:
            left, right = _take(objects, rows[part]), _take(objects, columns[part])
        else:
            # Each frame but the ends is the left of one pair and the right of another: gather it once.
            count = (last - first + 2) * height
            stretch = objects[start[first] : end[last]]
            if len(stretch) != count:
                node = torch.cat([rows[part], columns[last : last + 1]]).flatten()
                stretch = torch.index_select(objects, 0, node, out=gathered[:count])
            stretch = stretch.view(-1, height, width)
            left, right = stretch[:-1], stretch[1:]
        torch.bmm(left, right.transpose(1, 2), out=product[part])
    return product


def _windows(objects: Tensor, reach: int) -> Tensor:
    """Inner products ``[N W]`` of each node with a window of nodes: at least itself and the ``reach`` nodes after it.

    Every few nodes are multiplied with the stretch of nodes that begins with them. The windows overlap in memory, so
    that no feature is copied, and are the same for ragged frames as for equal ones: picking the products that are
    wanted costs ``1 / D`` of picking features.
    """
    (count, width), span = objects.shape, _WINDOW + reach
    blocks = -(-count // _WINDOW)
    whole = max(0, (count - span) // _WINDOW + 1)
    product = objects.new_empty(blocks, _WINDOW, span)
    # The last windows reach beyond the last node: they are taken from a copy with zeros behind it.
    rest = objects.new_zeros((blocks - whole - 1) * _WINDOW + span, width)
    rest[: count - whole * _WINDOW] = objects[whole * _WINDOW :]
    for part, values in ((product[:whole], objects), (product[whole:], rest)):
        step = _WINDOW * width
        # Overlapping views of one memory: no feature is copied.
        left = values.as_strided((part.size(0), _WINDOW, width), (step, width, 1))
        right = values.as_strided((part.size(0), width, span), (step, 1, width))
        torch.bmm(left, right, out=part)
    return product.view(-1, span)


def _pick(windows: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """The products of two nodes each, of which the second lies at most ``reach`` behind the first."""
    return windows.view(-1)[row * (windows.size(1) - 1) + row % _WINDOW + column]


def _iou(rows: Tensor, columns: Tensor) -> Tensor:
    """From corners ``[4 P R1]`` and ``[4 P R2]``."""
    a, b = rows.unsqueeze(3), columns.unsqueeze(2)
    # Boxes that do not meet have negative sides, whose product could be positive.
    sides = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp_(min=0)
    overlap = sides[0] * sides[1]
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / torch.where(union > 0, union, 1.0)


def _inverse_norm(objects: Tensor, windows: Tensor | None) -> Tensor:
    if windows is None:
        norm = torch.linalg.vector_norm(objects, dim=1)
        square = norm * norm
    else:
        node = torch.arange(len(objects), device=objects.device)
        square = _pick(windows, node, node)
        norm = square.sqrt()
    # Where the square underflows, or is no number, the length is taken in float64.
    odd = ~(square > _INEXACT)
    norm[odd] = torch.linalg.vector_norm(objects[odd].double(), dim=1).to(norm.dtype)
    long = ~torch.isfinite(norm * norm)
    if bool(long.any()):
        raise ValueError(
            f"object features must be finite and short enough to square in {objects.dtype}; "
            f"row {int(long.int().argmax())} is not: scale the features down"
        )
    # A vector of zeros has no direction: its cosine with any other is 0.
    nonzero = norm > torch.finfo(norm.dtype).tiny
    return torch.where(nonzero, 1 / torch.where(nonzero, norm, 1), 0)


def _top(score: Tensor, k: int) -> Tensor:
    # `topk` leaves open which of equal scores it takes, and the lower row number is promised.
    best = score.argsort(dim=2, descending=True, stable=True)[..., :k]
    return torch.zeros_like(score, dtype=torch.bool).scatter_(2, best, True)


def _softmax_edges(rows: _Nodes, columns: _Nodes, score: Tensor, keep: Tensor, tau: float) -> Edges:
    # Padded rows repeat a real one, so no softmax ever runs over nothing.
    score = (score / tau).masked_fill_(~keep, -torch.inf)
    # The same softmax along the last axis takes ten times as long where that axis is short.
    weight = score.permute(2, 0, 1).contiguous().softmax(dim=0).permute(1, 2, 0).contiguous()
    valid = (keep & rows.real.unsqueeze(2)).flatten().nonzero().squeeze(1)
    ends = torch.stack([columns.node.unsqueeze(1).expand_as(keep), rows.node.unsqueeze(2).expand_as(keep)])
    return ends.view(2, -1).index_select(1, valid), weight.flatten().index_select(0, valid)


def _concatenate(parts: list[tuple[Tensor, Tensor]], dtype: torch.dtype, device: torch.device) -> Edges:
    if not parts:
        return torch.zeros(2, 0, dtype=torch.int64, device=device), torch.zeros(0, dtype=dtype, device=device)
    edge_index = torch.cat([index for index, _ in parts], dim=1)
    edge_weight = torch.cat([weight for _, weight in parts]).to(dtype)
    # Blocks are put together by size; a stable sort keeps the sources of a target in order.
    if len(parts) > 1:
        order = edge_index[1].argsort(stable=True)
        edge_index, edge_weight = edge_index[:, order], edge_weight[order]
    return edge_index, edge_weight


def _weight_type(values: Tensor) -> torch.dtype:
    return torch.promote_types(values.dtype, torch.float32)


def _check_options(tau: float, top_k: int | None, iou_threshold: float | None) -> None:
    if not tau > 0:
        raise ValueError(f"tau must be above 0, got {tau}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, or None for all pairs, got {top_k}")
    if iou_threshold is not None and not 0 <= iou_threshold < 1:
        raise ValueError(f"iou_threshold must lie in [0, 1), got {iou_threshold}")
