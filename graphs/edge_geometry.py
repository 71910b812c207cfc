"""How the two boxes of an edge lie to each other, in space and time, as attributes of the edge."""

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.transforms import BaseTransform

from graphs.identity_edges import rate_of_change

RELATIVE_GEOMETRY = ("dx", "dy", "width", "height", "iou", "later", "apart", "velocity_x", "velocity_y")
"""The columns of :func:`relative_geometry`."""

_LARGEST_RATIO = 4.0  # of the logarithm of two lengths: one is 55 times the other


@torch.no_grad()
def relative_geometry(
    edge_index: Int[Tensor, "2 E"],
    boxes: Float[Tensor, "N 4"],
    frame: Int[Tensor, " N"],
    batch: Int[Tensor, " N"] | None = None,
    track: Int[Tensor, " N"] | None = None,
) -> Float[Tensor, "E 9"]:
    r"""Where the source of each edge lies, seen from its target: the features of relation networks, with time.

    After Hu et al. (2018, Relation Networks for Object Detection, Eq. 5), with IoU, time and motion. Lengths are
    bounded by the soft sign ``s(v) = v / (1 + |v|)``, which is 1/2 at one width and still tells three from ten; of
    source j and target i with centres c, widths w, heights h and frames t the columns are

    - ``dx, dy``: :math:`s((c^x_j - c^x_i) / w_i)`, :math:`s((c^y_j - c^y_i) / h_i)`;
    - ``width, height``: :math:`\log(w_j / w_i)`, :math:`\log(h_j / h_i)`, clamped to -4..4; 0 between two of no extent;
    - ``iou``: from 0 to 1; 1 for a loop, as in :func:`graphs.spatial_edges`;
    - ``later``: 1 where the source is later, -1 where it is earlier, 0 in one frame;
    - ``apart``: :math:`s(|t_j - t_i|)`: 0, 1/2, 2/3, ...;
    - ``velocity_x, velocity_y``: :math:`s(v_j) - s(v_i)`, from -2 to 2. The velocity of an object is that of its centre
      from the object before to the one after it in its track (at an end of the track, from or to itself), in widths and
      heights of its own box a frame; 0 where no track is known.

    Linear in the edges. No gradient flows to the boxes.

    Args:
        edge_index: ``[2 E]`` sources and targets.
        boxes: ``[N 4]`` corners ``(x1, y1, x2, y2)``, in any unit.
        frame: ``[N]`` frame of each object inside its video.
        batch: ``[N]`` video of each object; None for a single video. Only tracks need it.
        track: ``[N]`` track of each object inside its video, -1 where not known; None: none is known.

    Returns:
        ``[E 9]`` in float32, or in float64 where the boxes are; see :data:`RELATIVE_GEOMETRY`.

    Raises:
        ValueError: fields of different lengths, or an edge to a node that is not there.
    """
    _check(edge_index, boxes, {"frame": frame, "batch": batch, "track": track})
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    centre, extent = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    source, target = edge_index
    place = _soft_sign(centre[source] - centre[target], extent[target])
    # The least number instead of none has a logarithm, and two of them a ratio of 1.
    size = extent.clamp(min=torch.finfo(extent.dtype).tiny).log()
    ratio = (size[source] - size[target]).clamp(-_LARGEST_RATIO, _LARGEST_RATIO)
    if track is None:
        motion = torch.zeros_like(place)
    else:
        video = torch.zeros_like(frame) if batch is None else batch
        speed = _soft_sign(rate_of_change(centre, frame, track, video), extent)
        motion = speed[source] - speed[target]
    time = frames_apart(edge_index, frame, boxes.dtype)
    return torch.cat([place, ratio, _iou(edge_index, boxes, extent), time, motion], dim=1)


def frames_apart(edge_index: Int[Tensor, "2 E"], frame: Int[Tensor, " N"], dtype: torch.dtype) -> Float[Tensor, "E 2"]:
    """The columns ``later`` and ``apart`` of :func:`relative_geometry`."""
    source, target = edge_index
    step = (frame[source] - frame[target]).to(dtype).unsqueeze(1)
    return torch.cat([step.sign(), step.abs() / (1 + step.abs())], dim=1)


CONTACT_GEOMETRY = ("right", "down", "distance", "gap", "boxes_right", "boxes_down", "inside")
"""The columns of :func:`contact_geometry`."""


@torch.no_grad()
def contact_geometry(
    edge_index: Int[Tensor, "2 E"],
    boxes: Float[Tensor, "N 4"],
    size: Real[Tensor, "B 2"] | tuple[int, int],
    batch: Int[Tensor, " N"] | None = None,
) -> Float[Tensor, "E 7"]:
    r"""How near the source of each edge is to its target, on a scale that is linear near by and logarithmic far off.

    The soft sign of :func:`relative_geometry` tells little apart beyond a few widths of the target, and nothing but IoU
    in it knows of borders. With :math:`a(v) = \mathrm{asinh}(v)`, source j, target i and lengths in tenths of the
    picture's width (in all directions, so that the picture's form does not count) the columns are

    - ``right, down``: :math:`a` of the way from the centre of i to that of j;
    - ``distance``: :math:`a` of its length;
    - ``gap``: :math:`a` of the distance from border to border, 0 where the boxes touch or overlap;
    - ``boxes_right, boxes_down``: :math:`a` of the way in widths and heights of the target's box;
    - ``inside``: the share of the target that the source covers, from 0 to 1.

    Linear in the edges. No gradient flows to the boxes.

    Args:
        edge_index: ``[2 E]`` sources and targets.
        boxes: ``[N 4]`` corners ``(x1, y1, x2, y2)`` in pixels; sides below a pixel count as one.
        size: ``[B 2]`` height and width of each video's pictures in pixels; a pair for all.
        batch: ``[N]`` video of each object; None for a single video.

    Returns:
        ``[E 7]`` in float32, or in float64 where the boxes are; see :data:`CONTACT_GEOMETRY`.

    Raises:
        ValueError: fields of different lengths, an edge to a node that is not there, or sizes that are not those of the
            videos.
    """
    _check(edge_index, boxes, {"batch": batch})
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    width = _widths(size, batch, boxes)
    source, target = boxes[edge_index[0]], boxes[edge_index[1]]
    tenth = (width[0] if batch is None or len(width) == 1 else width[batch[edge_index[1]]].unsqueeze(1)) / 10
    way = (source[:, :2] + source[:, 2:] - target[:, :2] - target[:, 2:]) / 2
    extent = (target[:, 2:] - target[:, :2]).clamp(min=1)
    overlap = torch.minimum(source[:, 2:], target[:, 2:]) - torch.maximum(source[:, :2], target[:, :2])
    lengths = [torch.linalg.vector_norm(part, dim=1, keepdim=True) for part in (way, (-overlap).clamp(min=0))]
    inside = (overlap.clamp(min=0) / extent).prod(dim=1, keepdim=True)
    return torch.cat([(torch.cat([way, *lengths], dim=1) / tenth).asinh(), (way / extent).asinh(), inside], dim=1)


class RelativeGeometry(BaseTransform):
    """Write ``edge_attr [E 9]``, in place of one that is there: see :func:`graphs.relative_geometry`.

    It reads ``edge_index``, ``boxes``, ``frame``, and ``batch`` and ``track`` where the data has them. Apply it last:
    edges that are turned afterwards (:class:`graphs.SelectVariant` with a time flow) keep their attributes, which then
    are those of the other direction. ``STGConv(..., edge_dim=9)`` takes it, and a store keeps it.
    """

    def forward(self, data: Data) -> Data:
        for name in ("edge_index", "boxes", "frame"):
            if name not in data:
                raise ValueError(
                    f"RelativeGeometry reads {name}, which the data has not: build edges first, or give it"
                )
        known = data.to_dict()
        data.edge_attr = relative_geometry(
            data.edge_index, data.boxes, data.frame, known.get("batch"), known.get("track")
        )
        return data

    def __repr__(self) -> str:
        return "RelativeGeometry()"


def _soft_sign(value: Tensor, unit: Tensor) -> Tensor:
    """``v / (1 + |v|)`` of ``v = value / unit``, without the division: a unit may be 0."""
    total = unit + value.abs()
    return value / torch.where(total > 0, total, 1)


def _iou(edge_index: Tensor, boxes: Tensor, extent: Tensor) -> Tensor:
    """``[E 1]``"""
    source, target = edge_index
    first, second = boxes[source], boxes[target]
    sides = (torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])).clamp(min=0)
    area, overlap = extent.prod(dim=1), sides.prod(dim=1)
    union = area[source] + area[target] - overlap
    iou = overlap / torch.where(union > 0, union, 1)
    return torch.where(source == target, 1, iou).unsqueeze(1)


def _widths(size: Tensor | tuple[int, int], batch: Tensor | None, boxes: Tensor) -> Tensor:
    """Of the pictures of each video ``[B]``, or of all ``[1]``."""
    sizes = torch.as_tensor(size, device=boxes.device)
    sizes = sizes.reshape(1, -1) if sizes.dim() == 1 else sizes
    if sizes.dim() != 2 or sizes.size(1) != 2:
        raise ValueError(f"size must be [B 2], height and width of the pictures of each video, got {list(sizes.shape)}")
    if not torch.compiler.is_exporting():
        if bool((sizes < 1).any()):
            raise ValueError(f"size must be (height, width) in pixels, both at least 1, got {sizes.tolist()}")
        videos = 1 if batch is None or not len(batch) else 1 + int(batch.max())
        if len(sizes) != 1 and len(sizes) < videos:
            raise ValueError(f"size must have a row for each of {videos} videos, or one for all, got {len(sizes)}")
    return sizes[:, 1].to(boxes.dtype)


def _check(edge_index: Tensor, boxes: Tensor, fields: dict[str, Tensor | None]) -> None:
    nodes = boxes.size(0)
    if boxes.dim() != 2 or boxes.size(1) != 4:
        raise ValueError(f"boxes must have shape [N 4], got {list(boxes.shape)}")
    for name, value in fields.items():
        if value is not None and value.shape != (nodes,):
            raise ValueError(f"{name} must have shape [{nodes}], one number a box, got {list(value.shape)}")
    if edge_index.dim() != 2 or edge_index.size(0) != 2:
        raise ValueError(f"edge_index must have shape [2 E], got {list(edge_index.shape)}")
    if torch.compiler.is_exporting() or not edge_index.numel():
        return
    for node in (int(edge_index.min()), int(edge_index.max())):
        if not 0 <= node < nodes:
            raise ValueError(f"edge_index names node {node}, but there are {nodes} boxes, numbered from 0")
