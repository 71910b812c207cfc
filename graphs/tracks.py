"""Which boxes of a video show the same object: boxes joined from frame to frame."""

from collections.abc import Callable

import numpy as np
import scipy.optimize
import torch
from jaxtyping import Float, Int
from torch import Tensor

_DIGITS = 6  # of a similarity that count: the rest is rounding, which must not decide between equals


@torch.no_grad()
def link_tracks(
    boxes: Float[Tensor, "N 4"],
    objects: Float[Tensor, "N D"],
    frame: Int[Tensor, " N"],
    batch: Int[Tensor, " N"] | None = None,
    *,
    label: Int[Tensor, " N"] | None = None,
    min_iou: float = 0.3,
    min_cosine: float = -1.0,
    appearance: float = 0.5,
    patience: int = 0,
) -> Int[Tensor, " N"]:
    r"""The track of each object, from boxes and appearance.

    From each frame to the next, objects and the tracks so far are paired so that the sum of their similarities is
    largest (Hungarian method, as in SORT, Bewley et al., 2016; without its motion model):

    .. math:: s_{ij} = (1 - a)\,\mathrm{IoU}_{ij} + a\,(1 + \cos_{ij}) / 2

    between object j and the last object i of a track. Pairs below a threshold, and those with s = 0, are never joined;
    an object without a pair begins a track. Frames go one after the other, as each depends on the one before; there is
    no loop over objects. Similarities are rounded to six digits, so that ties do not fall by rounding.

    Args:
        boxes: ``[N 4]`` corners, in any unit.
        objects: ``[N D]`` appearance vectors; the cosine with a zero vector is 0.
        frame: ``[N]`` frame of each object inside its video, ordered.
        batch: ``[N]`` video of each object, ordered; None for a single video.
        label: ``[N]`` class; if given, only objects of one class are joined.
        min_iou: the least IoU of a pair, from 0 to 1.
        min_cosine: the least cosine of a pair, from -1 to 1; -1 for any.
        appearance: share ``a`` of the cosine, from 0 to 1.
        patience: frames that a track may be lost for and come back; 0: an object must be in every frame.

    Returns:
        ``[N]`` int64, numbered from 0 in each video in the order in which tracks begin.

    Raises:
        ValueError: an option out of its range, or objects that are not ordered.
    """
    check_linking(min_iou, min_cosine, appearance, patience)
    video = torch.zeros_like(frame) if batch is None else batch
    _check_order(video, frame)
    # In double precision: similarities are to be the same to all digits that count.
    vectors = objects.double()
    vectors = (vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True).clamp_min(1e-300)).cpu().numpy()
    corners, kinds = boxes.double().cpu().numpy(), None if label is None else label.cpu().numpy()

    def similarity(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        # 0 where no pair may be
        iou, cosine = _iou(corners[old], corners[new]), vectors[old] @ vectors[new].T
        allowed = (iou >= min_iou) & (cosine >= min_cosine - 10**-_DIGITS)
        if kinds is not None:
            allowed &= kinds[old][:, None] == kinds[new]
        return np.where(allowed, np.round((1 - appearance) * iou + appearance * (1 + cosine) / 2, _DIGITS), 0)

    return torch.from_numpy(_link(video.cpu().numpy(), frame.cpu().numpy(), similarity, patience)).to(frame.device)


def _link(
    video: np.ndarray,
    frame: np.ndarray,
    similarity: Callable[[np.ndarray, np.ndarray], np.ndarray],
    patience: int,
) -> np.ndarray:
    """The track of each object, from the similarity of any objects with any others."""
    begins = np.flatnonzero((np.diff(video, prepend=-1) != 0) | (np.diff(frame, prepend=-1) != 0))
    track = np.zeros(len(frame), np.int64)
    last = np.zeros(0, np.int64)  # the last object of each track that may go on
    count, of = 0, None
    for here in np.split(np.arange(len(frame)), begins[1:]) if len(frame) else []:
        if video[here[0]] != of:
            last, count, of = last[:0], 0, video[here[0]]
        last = last[frame[here[0]] - frame[last] <= patience + 1]
        alike = similarity(last, here)
        old, new = scipy.optimize.linear_sum_assignment(alike, maximize=True)
        joined = alike[old, new] > 0
        old, new = old[joined], new[joined]
        fresh = np.delete(np.arange(len(here)), new)
        track[here[new]] = track[last[old]]
        track[here[fresh]] = count + np.arange(len(fresh))
        count += len(fresh)
        last = np.concatenate([np.delete(last, old), here])
        last = last[track[last].argsort()]  # the order of tracks, as it decides between equals
    return track


def _check_order(video: Tensor, frame: Tensor) -> None:
    earlier = (video[1:] < video[:-1]) | ((video[1:] == video[:-1]) & (frame[1:] < frame[:-1]))
    if bool(earlier.any()):
        raise ValueError(
            f"objects must be ordered by video, then by frame; row {int(earlier.int().argmax()) + 1} is not"
        )


def check_linking(min_iou: float, min_cosine: float, appearance: float, patience: int) -> None:
    """Refuse options of :func:`link_tracks` that are out of their range.

    Raises:
        ValueError: naming the option.
    """
    for name, value, least in (
        ("min_iou", min_iou, 0),
        ("min_cosine", min_cosine, -1),
        ("appearance", appearance, 0),
    ):
        if not least <= value <= 1:
            raise ValueError(f"{name} must lie in {least}..1, got {value}")
    if patience < 0 or patience != int(patience):
        raise ValueError(f"patience must be a whole number of frames, 0 or more, got {patience}")


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """From corners ``[n 4]`` and ``[m 4]``; torchvision's gives NaN for boxes without area."""
    sides = (np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])).clip(min=0)
    overlap = sides.prod(axis=2)
    area_a, area_b = ((c[:, 2:] - c[:, :2]).prod(axis=1) for c in (a, b))
    union = area_a[:, None] + area_b - overlap
    return overlap / np.where(union > 0, union, 1)
