"""A rival of :mod:`graphs.edges` for the benchmark: both kinds of edges in one compiled loop over pairs of frames.

Needs numba, and float32 features in frames of at most 64 boxes. It is no part of the package: edges are built once, at
ingest, where their time does not count (see the result's ``ingest``), and other sums than the matrix products' would
make the bits of a store depend on what is installed.
"""

import numba
import numpy as np

LARGEST = 64


@numba.njit(fastmath=True, cache=False)
def edges_of(
    objects: np.ndarray, boxes: np.ndarray, start: np.ndarray, frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Source, target and weight of all edges, first the spatial ones; ``start [B * T + 1]`` counts nodes by frame."""
    slots, width = len(start) - 1, objects.shape[1]
    space, time = 0, 0
    for t in range(slots):
        size = start[t + 1] - start[t]
        space += size * size
        if (t + 1) % frames:
            time += size * (start[t + 2] - start[t + 1])
    source, target = np.empty(space + time, np.int64), np.empty(space + time, np.int64)
    weight = np.empty(space + time, np.float32)
    at = 0
    for t in range(slots):
        for i in range(start[t], start[t + 1]):
            first, total = at, 0.0
            for j in range(start[t], start[t + 1]):
                value = np.exp(1.0 if i == j else _iou(boxes[i], boxes[j]))
                source[at], target[at], weight[at] = j, i, value
                total += value
                at += 1
            weight[first:at] /= total
    norm = np.empty(len(objects), np.float32)
    for i in range(len(objects)):
        norm[i] = np.sqrt(_dot(objects, i, i, width))
    for t in range(slots):
        if (t + 1) % frames == 0:
            continue
        for i in range(start[t], start[t + 1]):
            first, total = at, 0.0
            for j in range(start[t + 1], start[t + 2]):
                length = norm[i] * norm[j]
                value = np.exp(_dot(objects, i, j, width) / length if length > 0 else 0.0)
                source[at], target[at], weight[at] = j, i, value
                total += value
                at += 1
            weight[first:at] /= total
    return source, target, weight


@numba.njit(fastmath=True, inline="always")
def _dot(objects: np.ndarray, i: int, j: int, width: int) -> float:
    total = np.float32(0)
    for k in range(width):
        total += objects[i, k] * objects[j, k]
    return total


@numba.njit(inline="always")
def _iou(a: np.ndarray, b: np.ndarray) -> float:
    across = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    overlap = across * down
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / union if union > 0 else 0.0
