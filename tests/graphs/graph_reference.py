"""Pan et al. (2020), Eq. 1-5, written down as loops over a dense float64 matrix; and made videos to try it on."""

import math

import torch
from hypothesis import strategies as st
from torch import Tensor

from graphs.features import VideoFeatures


def iou(a: list[float], b: list[float]) -> float:
    overlap = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / union if union > 0 else 0.0


def cosine(a: list[float], b: list[float]) -> float:
    length = math.sqrt(sum(v * v for v in a)) * math.sqrt(sum(v * v for v in b))
    return sum(v * w for v, w in zip(a, b, strict=True)) / length if length > 0 else 0.0


def softmax_row(scores: dict[int, float], tau: float) -> dict[int, float]:
    total = sum(math.exp(score / tau) for score in scores.values())
    return {j: math.exp(score / tau) / total for j, score in scores.items()}


def best(scores: dict[int, float], k: int | None, first: int | None = None) -> dict[int, float]:
    """The ``k`` highest scores, ``first`` before all others, ties to the lower number."""
    ranked = sorted(scores, key=lambda j: (j != first, -scores[j], j))
    return {j: scores[j] for j in ranked[:k]}


def matrix(
    video: VideoFeatures,
    variant: str = "full",
    time_flow: str = "literal",
    *,
    tau_space: float = 1.0,
    tau_time: float = 1.0,
    top_k: int | None = None,
    iou_threshold: float | None = None,
) -> Tensor:
    """``G_st`` of Eq. 3: spatial blocks (Eq. 1) on the diagonal, temporal blocks (Eq. 2) right of them."""
    n = video.num_objects
    boxes, objects, frame = video.boxes.double().tolist(), video.objects.double().tolist(), video.frame.tolist()
    if variant == "dense":
        return torch.ones(n, n, dtype=torch.float64)
    space, time = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        same = {j: 1.0 if i == j else iou(boxes[i], boxes[j]) for j in range(n) if frame[j] == frame[i]}
        if iou_threshold is not None:
            same = {j: score for j, score in same.items() if score > iou_threshold}
        for j, weight in softmax_row(best(same, top_k, first=i), tau_space).items():
            space[i, j] = weight
        after = {j: cosine(objects[i], objects[j]) for j in range(n) if frame[j] == frame[i] + 1}
        for j, weight in softmax_row(best(after, top_k), tau_time).items():
            time[i, j] = weight
    time = {"literal": time, "forward": time.T, "both": time + time.T}[time_flow]
    stored = {"full": space + time, "spatial": space, "temporal": time, "none": torch.zeros_like(space)}
    kept, tracks, _ = variant.partition("tracks")
    return stored[kept.removesuffix("+") or "none"] + tracks_matrix(video) if tracks else stored[variant]


def tracks_matrix(video: VideoFeatures, span: int = 1, direction: str = "both") -> Tensor:
    """Weights along tracks: equal shares of what an object gathers."""
    assert video.track is not None
    frame, track = video.frame.tolist(), video.track.tolist()
    g = torch.zeros(len(frame), len(frame), dtype=torch.float64)
    for i in range(len(frame)):
        near = [
            j for j in range(len(frame)) if i != j and track[i] == track[j] >= 0 and abs(frame[i] - frame[j]) <= span
        ]
        near = [j for j in near if direction == "both" or (direction == "forward") == (frame[j] < frame[i])]
        for j in near:
            g[i, j] = 1 / len(near)
    return g


def layer(h: Tensor, g: Tensor, w: Tensor) -> Tensor:
    """Eq. 4. ``w`` is ``[in, out]``."""
    degree = [float(row.sum()) or 1.0 for row in g]
    out = torch.zeros_like(h)
    hw = h @ w
    for i in range(len(h)):
        gathered = torch.zeros_like(h[i])
        for j in range(len(h)):
            gathered = gathered + g[i, j] / math.sqrt(degree[i] * degree[j]) * hw[j]
        out[i] = torch.relu(h[i] + gathered)
    return out


def encode(video: VideoFeatures, g: Tensor, project: Tensor, weights: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Eq. 5, the layers, and the mean over each frame: node states, frame states, which frames have objects."""
    h = video.objects.double() @ project
    for w in weights:
        h = layer(h, g, w)
    frames = torch.zeros(video.num_frames, project.size(1), dtype=torch.float64)
    mask = torch.zeros(video.num_frames, dtype=torch.bool)
    for t in range(video.num_frames):
        members = [i for i in range(len(h)) if int(video.frame[i]) == t]
        if members:
            frames[t] = sum(h[i] for i in members) / len(members)
            mask[t] = True
    return h, frames, mask


def dense(edge_index: Tensor, edge_weight: Tensor, num_nodes: int) -> Tensor:
    """Edges as the paper's matrix: row = target, column = source."""
    g = torch.zeros(num_nodes, num_nodes, dtype=torch.float64)
    for source, target, weight in zip(*edge_index.tolist(), edge_weight.tolist(), strict=True):
        g[target, source] += weight
    return g


def make_video(
    counts: list[int], *, width: int = 6, seed: int = 0, dtype: torch.dtype = torch.float64
) -> VideoFeatures:
    """A video with so many objects in each frame, tracks among them; its boxes overlap here and there."""
    generator = torch.Generator().manual_seed(seed)
    n = sum(counts)
    boxes = 60 * torch.rand(n, 4, generator=generator, dtype=dtype)
    boxes[:, 2:] = boxes[:, :2] + boxes[:, 2:] + 1
    return VideoFeatures(
        boxes=boxes,
        objects=torch.randn(n, width, generator=generator, dtype=dtype),
        frame=torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)),
        num_frames=len(counts),
        track=made_tracks(counts),
        video=f"made-{seed}",
    )


def made_tracks(counts: list[int]) -> Tensor:
    """The place of each object in its frame; that of the last of four is not known."""
    return torch.tensor([place if place < 3 else -1 for count in counts for place in range(count)], dtype=torch.int64)


@st.composite
def videos(draw: st.DrawFn, width: int = 3) -> VideoFeatures:
    """Small videos full of corner cases: empty frames, boxes without area, equal boxes, zero vectors."""
    counts = draw(st.lists(st.integers(0, 4), min_size=1, max_size=5))
    n = sum(counts)
    numbers = draw(st.lists(st.integers(0, 4), min_size=4 * n, max_size=4 * n))
    boxes = torch.tensor(numbers, dtype=torch.float64).view(n, 4)
    boxes[:, 2:] += boxes[:, :2]
    values = draw(st.lists(st.sampled_from([-1.0, 0.0, 0.0, 0.5, 2.0]), min_size=width * n, max_size=width * n))
    return VideoFeatures(
        boxes=boxes,
        objects=torch.tensor(values, dtype=torch.float64).view(n, width),
        frame=torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)),
        num_frames=len(counts),
        track=made_tracks(counts),
    )
