"""RoIAlign against its definition, written as loops in float64."""

import math

import numpy as np
import pytest
import torch

from stg.vision.inference import roi_features


def bilinear(planes: np.ndarray, y: float, x: float) -> np.ndarray:
    """Values of ``planes [C h w]`` at a real place; zero beyond one cell outside, the border value up to there."""
    h, w = planes.shape[1:]
    if y < -1 or y > h or x < -1 or x > w:
        return np.zeros(len(planes))
    y, x = min(max(y, 0.0), h - 1.0), min(max(x, 0.0), w - 1.0)
    y0, x0 = math.floor(y), math.floor(x)
    y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
    dy, dx = y - y0, x - x0
    top = (1 - dx) * planes[:, y0, x0] + dx * planes[:, y0, x1]
    bottom = (1 - dx) * planes[:, y1, x0] + dx * planes[:, y1, x1]
    return (1 - dy) * top + dy * bottom


def slow_roi_features(maps: np.ndarray, boxes: np.ndarray, frame: np.ndarray, stride: float) -> np.ndarray:
    """Maximum over 7x7 bins of the mean of 2x2 bilinear samples, half-pixel aligned."""
    out = np.zeros((len(boxes), maps.shape[1]))
    for n, (box, t) in enumerate(zip(boxes, frame, strict=True)):
        x1, y1, x2, y2 = box / stride - 0.5
        height, width = (y2 - y1) / 7, (x2 - x1) / 7
        bins = [
            sum(
                bilinear(maps[t], y1 + (i + (a + 0.5) / 2) * height, x1 + (j + (b + 0.5) / 2) * width)
                for a in range(2)
                for b in range(2)
            )
            / 4
            for i in range(7)
            for j in range(7)
        ]
        out[n] = np.max(bins, axis=0)
    return out


def test_equals_the_slow_loop() -> None:
    random = np.random.default_rng(0)
    maps = random.normal(size=(3, 4, 8, 6))
    low = random.uniform(0, 150, size=(12, 2))
    boxes = np.concatenate([low, low + random.uniform(0, 80, size=(12, 2))], axis=1)
    boxes[0] = [0, 0, 192, 256]  # the whole input
    boxes[1, 2:] = boxes[1, :2]  # no area
    frame = np.sort(random.integers(0, 3, size=12))
    fast = roi_features(torch.from_numpy(maps), torch.from_numpy(boxes), torch.from_numpy(frame), stride=32)
    np.testing.assert_allclose(fast.numpy(), slow_roi_features(maps, boxes, frame, 32.0), atol=1e-10)


def test_without_boxes_there_are_no_features() -> None:
    maps = torch.ones(2, 3, 8, 8, dtype=torch.float64)
    features = roi_features(maps, torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), stride=32)
    assert (features.shape, features.dtype) == ((0, 3), torch.float64)


def test_the_reference_tells_alignment_and_sampling_apart() -> None:
    random = np.random.default_rng(1)
    maps = torch.from_numpy(random.normal(size=(1, 2, 8, 8)))
    boxes = torch.tensor([[20.0, 30.0, 190.0, 120.0]], dtype=torch.float64)
    frame = torch.zeros(1, dtype=torch.int64)
    right = slow_roi_features(maps.numpy(), boxes.numpy(), frame.numpy(), 32.0)
    shifted = roi_features(maps, boxes + 16, frame, stride=32).numpy()
    coarse = roi_features(maps, boxes, frame, stride=32, sampling_ratio=1).numpy()
    assert np.abs(shifted - right).max() > 1e-3
    assert np.abs(coarse - right).max() > 1e-3


def test_a_box_over_a_flat_region_has_its_value() -> None:
    maps = torch.zeros(1, 1, 8, 8)
    maps[:, :, 2:6, 2:6] = 3.0
    boxes = torch.tensor([[96.0, 96.0, 160.0, 160.0]])  # cells 3 and 4, well inside
    assert roi_features(maps, boxes, torch.zeros(1, dtype=torch.int64), stride=32).item() == pytest.approx(3.0)


def test_no_boxes_give_no_features() -> None:
    none = roi_features(torch.zeros(2, 5, 4, 4), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), stride=32)
    assert none.shape == (0, 5)
