"""What a detector hands back, and the detectors the commands know."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32

from stg.vision.video import SampledFrames


@dataclass(frozen=True)
class Detections:
    """What a detector found in one frame; any order, any number, none included.

    Args:
        boxes: ``[n 4]`` corners ``(x1, y1, x2, y2)`` in pixels of the frame as it was handed over.
        scores: ``[n]`` confidence, larger is better.
    """

    boxes: Float32[np.ndarray, "n 4"]
    scores: Float32[np.ndarray, " n"]

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4 or self.scores.shape != self.boxes.shape[:1]:
            shapes = f"{list(self.boxes.shape)} and {list(self.scores.shape)}"
            raise ValueError(f"detections need boxes [n 4] and scores [n]; got {shapes}")


class Detector(Protocol):
    """Finds objects in the sampled frames of one video."""

    def __call__(self, sample: SampledFrames) -> Sequence[Detections]:
        """One :class:`Detections` a frame, in the order of ``sample.frames``."""
        ...

    def manifest(self) -> dict[str, Any]:
        """What decides the numbers: name, hash of the weights, settings other than the score threshold."""
        ...
