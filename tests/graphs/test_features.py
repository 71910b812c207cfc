"""VideoFeatures: what fits is kept as it is, what does not is refused in words."""

from collections.abc import Iterator
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

from graphs.build import build_graph
from graphs.features import VideoFeatures


def given(**changes: Any) -> VideoFeatures:
    fields: dict[str, Any] = {
        "boxes": torch.tensor([[0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 1.0, 1.0], [2.0, 0.0, 9.0, 5.0]]),
        "objects": torch.ones(3, 5),
        "frame": torch.tensor([0, 0, 2]),
        "num_frames": 4,
        "video": "vid42",
    }
    return VideoFeatures(**(fields | changes))


def _with_nan(*shape: int) -> torch.Tensor:
    values = torch.zeros(*shape)
    values[-1].view(-1)[-1] = float("nan")
    return values


@pytest.fixture
def _own_words() -> Iterator[None]:
    """Lets wrong shapes through to the checks of the class, as they are where nobody checks shapes at run time."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


def test_everything_that_may_be_given() -> None:
    features = given(
        scores=torch.tensor([0.9, 0.5, 0.7]),
        scene=torch.zeros(4, 7),
        motion=torch.zeros(2, 6),
        motion_row=torch.tensor([0, 0, 1, 1]),
        frame_number=torch.tensor([3, 9, 15, 21]),
        grid=torch.zeros(2, 49, 3),
        audio=torch.zeros(0, 8),
        audio_mask=torch.zeros(0, dtype=torch.bool),
        total_frames=22,
        fps=25.0,
        size=(240, 320),
        label=torch.tensor([1, 0, 90]),
        manifest={"detector": "made"},
    )
    assert features.num_objects == 3
    assert features.frame.tolist() == [0, 0, 2]


def test_the_graph_carries_what_goes_along() -> None:
    grid, audio, mask = torch.rand(2, 4, 3), torch.rand(3, 8), torch.tensor([True, False, True])
    data = build_graph(given(grid=grid, audio=audio, audio_mask=mask, total_frames=22, fps=29.97))
    assert torch.equal(data.grid, grid)
    assert torch.equal(data.audio, audio)
    assert data.audio_mask.tolist() == [True, False, True]
    assert data.total_frames.tolist() == [22]
    assert data.fps.tolist() == [pytest.approx(29.97)]
    assert not {"grid", "audio", "audio_mask", "total_frames", "fps", "label"} & set(build_graph(given()).keys())
    assert build_graph(given(label=torch.tensor([1, 0, 90]))).label.tolist() == [1, 0, 90]
    # Objects whose track is not known may be in one frame.
    tracked = build_graph(given(track=torch.tensor([-1, -1, 7]), label_score=torch.tensor([0.5, 0.25, 1.0])))
    assert tracked.track.tolist() == [-1, -1, 7]
    assert tracked.label_score.tolist() == [0.5, 0.25, 1.0]
    assert not {"track", "label_score"} & set(build_graph(given()).keys())


def test_a_video_without_objects() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    assert given(boxes=torch.zeros(0, 4), objects=torch.zeros(0, 5), frame=nothing).num_objects == 0


@pytest.mark.usefixtures("_own_words")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_frames": 0}, "num_frames must be at least 1, got 0; video 'vid42'"),
        ({"boxes": torch.zeros(3, 5)}, r"boxes must have shape \[3 4\] \(3 objects, 4 frames\), got \[3, 5\]; video"),
        ({"boxes": torch.tensor(1.0)}, r"boxes must have shape \[0 4\] \(0 objects, 4 frames\), got \[\]"),
        ({"objects": torch.zeros(2, 5)}, r"objects must have shape \[3 \?\] .*, got \[2, 5\]; video 'vid42'"),
        ({"scores": torch.zeros(2)}, r"scores must have shape \[3\]"),
        ({"label": torch.zeros(2, dtype=torch.int64)}, r"label must have shape \[3\]"),
        ({"label": torch.ones(3)}, "label must be int64, got torch.float32"),
        ({"label": torch.tensor([1, 0, -3])}, "label must be 0 or more, got -3; video 'vid42' row 2"),
        ({"label_score": torch.zeros(2)}, r"label_score must have shape \[3\]"),
        (
            {"label_score": torch.tensor([1, float("nan"), 1])},
            "label_score must be finite, got nan; video 'vid42' row 1",
        ),
        ({"track": torch.zeros(3)}, "track must be int64, got torch.float32"),
        ({"track": torch.zeros(4, dtype=torch.int64)}, r"track must have shape \[3\]"),
        (
            {"track": torch.tensor([1, 0, -2])},
            "track must be 0 or more, or -1 where not known, got -2; video 'vid42' row 2",
        ),
        (
            {"track": torch.tensor([7, 7, 7])},
            "frame 0 holds track 7 twice: .* give -1 where .*; video 'vid42' row 1",
        ),
        ({"scene": torch.zeros(3, 2)}, r"scene must have shape \[4 \?\]"),
        ({"motion": torch.zeros(3)}, r"motion must have shape \[\? \?\]"),
        ({"frame_number": torch.tensor([1])}, r"frame_number must have shape \[4\]"),
        ({"frame": torch.tensor([0.0, 0.0, 2.0])}, "frame must be int64, got torch.float32"),
        ({"objects": torch.ones(3, 5, dtype=torch.int64)}, "objects must be floating point, got torch.int64"),
        (
            {"boxes": torch.tensor([[0.0, 0, 1, 1], [80, 0, 64, 1], [0, 0, 1, 1]])},
            r"boxes must be \(x1, y1, x2, y2\) with x2 >= x1, got x1=80.0, x2=64.0; video 'vid42' row 1",
        ),
        (
            {"boxes": torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1], [0, 7, 1, 1]])},
            r"with y2 >= y1, got y1=7.0, y2=1.0; video 'vid42' row 2",
        ),
        (
            {"boxes": torch.tensor([[0.0, 0, 1, 1], [0, 0, float("nan"), 1], [0, 0, 1, 1]])},
            "boxes must be finite, got nan; video 'vid42' row 1",
        ),
        ({"objects": torch.full((3, 5), float("-inf"))}, "objects must be finite, got -inf; video 'vid42' row 0"),
        ({"scores": torch.tensor([1, float("inf"), 1])}, "scores must be finite, got inf; video 'vid42' row 1"),
        ({"frame": torch.tensor([0, 1, 4])}, r"frame must lie in 0..3, got 4; video 'vid42' row 2"),
        ({"frame": torch.tensor([-1, 1, 2])}, r"frame must lie in 0..3, got -1; video 'vid42' row 0"),
        (
            {"frame": torch.tensor([0, 2, 1])},
            r"frame must not decrease \(order .*\), got 1 after 2; video 'vid42' row 2",
        ),
        (
            {"motion": torch.zeros(2, 3), "motion_row": torch.tensor([0, 1, 2, 1])},
            r"motion_row must lie in 0..1, got 2; video 'vid42' row 2",
        ),
        ({"motion_row": torch.zeros(4, dtype=torch.int64)}, "motion_row is given without motion or grid"),
        (
            {"grid": torch.zeros(2, 4, 3), "motion_row": torch.tensor([0, 1, 2, 1])},
            r"motion_row must lie in 0..1, got 2; video 'vid42' row 2",
        ),
        ({"motion": torch.zeros(3, 2), "grid": torch.zeros(2, 4, 3)}, r"grid must have shape \[3 \? \?\]"),
        ({"grid": torch.zeros(2, 3)}, r"grid must have shape \[\? \? \?\]"),
        ({"grid": _with_nan(2, 4, 3)}, "grid must be finite, got nan; video 'vid42' row 1"),
        ({"audio": torch.zeros(2, 3)}, "audio and audio_mask belong together: give both or neither; video 'vid42'"),
        ({"audio_mask": torch.ones(2).bool()}, "audio and audio_mask belong together"),
        (
            {"audio": torch.zeros(2, 3), "audio_mask": torch.ones(3).bool()},
            r"audio_mask must have shape \[2\] .*, got \[3\]",
        ),
        ({"audio": torch.zeros(2, 3), "audio_mask": torch.ones(2)}, "audio_mask must be bool, got torch.float32"),
        ({"audio": _with_nan(2, 3), "audio_mask": torch.ones(2).bool()}, "audio must be finite, got nan"),
        ({"total_frames": 0}, "total_frames must be at least 1, got 0"),
        (
            {"total_frames": 15, "frame_number": torch.tensor([3, 9, 15, 21])},
            "total_frames is 15, but frame_number holds 15; video 'vid42' row 2",
        ),
        ({"fps": -1.0}, "fps must be a number of frames a second, 0 where not known, got -1.0"),
        ({"fps": float("inf")}, "fps must be a number of frames a second, 0 where not known, got inf"),
        ({"size": (0, 10)}, r"size must be \(height, width\) in pixels, both at least 1, got \(0, 10\)"),
    ],
)
def test_what_does_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        given(**changes)


@pytest.mark.usefixtures("_own_words")
@pytest.mark.parametrize("name", ["boxes", "frame", "scores", "scene", "label", "track", "audio_mask"])
def test_what_is_no_tensor_is_named(name: str) -> None:
    words = rf"{name} must be a torch tensor, got ndarray: use VideoFeatures.from_numpy; video 'vid42'"
    with pytest.raises(ValueError, match=words):
        given(**{name: np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match=rf"{name} must be a torch tensor, got list; video 'vid42'"):
        given(**{name: [1.0, 2.0, 3.0]})


def test_arrays_of_numpy_become_the_tensors_that_models_read() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 1, 3, 3]], np.float64)[::-1]  # no tensor shares memory that runs backwards
    objects = np.arange(6, dtype=np.float16).reshape(2, 3)
    objects.flags.writeable = False
    features = VideoFeatures.from_numpy(
        boxes, objects, np.array([0, 1], np.int32), 2, label=np.array([3, 4], np.uint8), size=(4, 4), video="v"
    )
    assert features.boxes.tolist() == [[1, 1, 3, 3], [0, 0, 2, 2]]
    assert features.objects.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (features.boxes.dtype, features.objects.dtype) == (torch.float32, torch.float32)
    assert (features.frame.dtype, features.label.dtype) == (torch.int64, torch.int64)
    assert (features.frame.tolist(), features.label.tolist(), features.video) == ([0, 1], [3, 4], "v")
    track = np.array([1, 2**63], np.uint64)
    with pytest.raises(ValueError, match=r"track must hold whole numbers below 2\*\*63, got 9223372036854775808"):
        VideoFeatures.from_numpy(boxes, objects, np.array([0, 1]), 2, track=track)
