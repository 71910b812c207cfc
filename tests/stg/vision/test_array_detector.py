"""Functions from a picture to boxes, as detectors."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stg.video.decoding import SampledFrames
from stg.vision import ArrayDetector

FRAMES = np.stack([np.full((40, 60, 3), value, np.uint8) for value in (0, 90, 200)])
SAMPLE = SampledFrames("clip1", FRAMES, np.arange(3), total_frames=3, fps=25.0)


def supervised(picture: np.ndarray) -> Any:
    """As ``sv.Detections``: as many boxes as the brightness says, none in the dark."""
    count = int(picture.mean()) // 80
    boxes = np.array([[5.0 * i, 2, 30, 20 + i] for i in range(count)], np.float64).reshape(-1, 4)
    ids = np.arange(count)
    return SimpleNamespace(xyxy=boxes, confidence=np.linspace(0.5, 0.9, count), class_id=ids, tracker_id=None)


def test_boxes_of_another_library_come_frame_by_frame() -> None:
    detector = ArrayDetector(supervised, "bright", version="1.3", words=["light"])
    found = detector(SAMPLE)
    assert [len(item.boxes) for item in found] == [0, 1, 2]
    np.testing.assert_array_equal(found[2].boxes, np.array([[0, 2, 30, 20], [5, 2, 30, 21]], np.float32))
    np.testing.assert_allclose(found[2].scores, [0.5, 0.9], atol=1e-6)
    assert detector.manifest() == {"name": "bright", "version": "1.3", "words": ["light"]}


def test_what_are_no_boxes_is_named_with_video_and_frame() -> None:
    with pytest.raises(ValueError, match=r"must have xyxy .* got str; video 'clip1' frame 0"):
        ArrayDetector(lambda picture: "two cats", "wrong")(SAMPLE)
    bare = ArrayDetector(lambda picture: {"boxes": [[1, 2, 3, 4]]}, "bare")
    with pytest.raises(ValueError, match=r"the detector bare gives no scores \(confidence\) for video 'clip1'"):
        bare(SAMPLE)
