"""One pass over a clip: motion and sound become features as they pass, memory stays bounded."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stg.features import clip_pass as watching
from stg.features.clip_pass import Stages, run_clip
from stg.video.clip import AudioChunk, ClipPart, Segment, SegmentRequest
from stg.video.decoding import SampledFrames, VideoError
from stg.video.sampling import stride_frames
from stg.vision.motion import MotionResult

SPAN = 4


class Counting:
    """A motion network whose features tell the first pixel of a segment, at every place of a 2x3x3 map."""

    request = SegmentRequest(SPAN, 8, (8, 8))

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, segments: np.ndarray) -> MotionResult:
        self.calls.append(len(segments))
        first = segments[:, 0, 0, 0, 0].astype(np.float32)
        maps = np.broadcast_to(first[:, None, None, None, None], (len(segments), 2, 3, 3, 2)).copy()
        maps[:, 1] += 100
        return MotionResult(np.stack([first, -first], axis=1), maps)

    def manifest(self) -> dict[str, Any]:
        return {"kind": "counting"}


class Hearing:
    """A sound network whose features are the mean of the example."""

    width = 2

    def __call__(self, examples: np.ndarray) -> np.ndarray:
        return np.repeat(examples.mean(axis=(1, 2))[:, None], 2, axis=1).astype(np.float32)

    def manifest(self) -> dict[str, Any]:
        return {"kind": "hearing"}


def frames(*numbers: int) -> SampledFrames:
    shape = (len(numbers), 8, 8, 3)
    return SampledFrames("vid", np.zeros(shape, np.uint8), np.array(numbers), max(numbers) + 1, 25.0)


def segments(count: int) -> Iterator[Segment]:
    return (Segment(row, np.full((SPAN, 8, 8, 3), row % 256, np.uint8)) for row in range(count))


def parts(sample: SampledFrames, *rest: Any) -> Iterator[ClipPart]:
    yield sample
    for item in rest:
        yield from item


def test_frames_alone_pass_as_they_are() -> None:
    sample = frames(1, 5)
    found = run_clip([sample])
    assert found.sample is sample
    assert (found.motion, found.grid, found.maps, found.audio, found.audio_mask) == (None,) * 5


def test_every_segment_gives_a_row_and_every_frame_points_at_its_own() -> None:
    network = Counting()
    found = run_clip(parts(frames(0, 7, 8, 40), segments(11)), network)
    assert found.motion is not None
    assert found.motion_row is not None
    assert found.motion[:, 0].tolist() == list(range(11))
    assert found.motion_row.tolist() == [0, 1, 2, 10]  # floor(number / span), the last row beyond the end
    assert network.calls == [4, 4, 3]
    assert found.grid is None


def test_maps_are_kept_of_the_segments_that_hold_a_sampled_frame() -> None:
    found = run_clip(parts(frames(1, 9, 400), segments(7)), Counting(), maps=True)
    assert found.maps is not None
    assert found.maps.shape == (3, 2, 3, 3)
    # Mean over the two steps of the map; a frame beyond the last segment takes that one's map.
    assert found.maps[:, 0, 0, 0].tolist() == [50.0, 52.0, 56.0]


def test_the_grid_has_the_steps_side_by_side() -> None:
    found = run_clip(parts(frames(0), segments(2)), Counting(), grid=True)
    assert found.grid is not None
    assert found.grid.shape == (2, 9, 4)
    assert found.grid[1, 4].tolist() == [1.0, 1.0, 101.0, 101.0]


@pytest.mark.parametrize("grid", [True, False])
def test_motion_is_the_same_with_and_without_the_grid_however_long_the_clip(grid: bool) -> None:
    count = watching.MOST_GRIDS
    found = run_clip(parts(frames(0, 7, 23, SPAN * count - 1), segments(count)), Counting(), grid=grid)
    assert found.motion is not None
    assert found.motion_row is not None
    assert found.motion[:, 0].tolist() == [row % 256 for row in range(count)]
    assert found.motion_row.tolist() == [0, 1, 5, count - 1]
    assert (found.grid is not None) == grid
    assert found.grid is None or len(found.grid) == count


def test_clips_too_long_for_grids_are_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MOST_GRIDS", 4)
    network = Counting()
    words = r"'vid' has 5 segments of 4 frames; with --grid at most 4 are kept: cut it, or extract without --grid"
    with pytest.raises(VideoError, match=words):
        run_clip(parts(frames(0, 16), segments(5)), network, grid=True)
    assert network.calls == []
    kept = run_clip(parts(frames(0, 15), segments(4)), network, grid=True).grid
    pooled = run_clip(parts(frames(0, 16), segments(5)), network).motion
    assert kept is not None
    assert pooled is not None
    assert (len(kept), len(pooled)) == (4, 5)
    # The frames were counted when the sampled ones were decoded; a damaged file may give more the next time.
    with pytest.raises(VideoError, match=words):
        run_clip(parts(frames(0), segments(5)), network, grid=True)


def test_frames_sampled_by_stride_stand_beside_the_segments() -> None:
    """Checklist V2: row k of the motion features and sampled frame k show the same part of the clip."""
    numbers = stride_frames(SPAN * 5 + 1, 10, SPAN).tolist()
    assert numbers == [2, 6, 10, 14, 18, 20]
    found = run_clip(parts(frames(*numbers), segments(6)), Counting())
    assert found.motion is not None
    assert found.motion_row is not None
    assert found.motion_row.tolist() == list(range(len(found.motion)))


def test_silence_is_masked_and_never_heard() -> None:
    class Proud(Hearing):
        def __call__(self, examples: np.ndarray) -> np.ndarray:
            assert (examples == 1).all(), "silent examples must not reach the network"
            return super().__call__(examples)

    loud, silent = np.ones((1, 96, 64), np.float32), np.full((1, 96, 64), 9, np.float32)
    sounds = [
        AudioChunk(np.concatenate([loud, silent]), np.array([True, False])),
        AudioChunk(silent, np.array([False])),
        AudioChunk(loud, np.array([True])),
    ]
    found = run_clip(parts(frames(0), sounds), sound=Proud())
    assert found.audio is not None
    assert found.audio_mask is not None
    assert found.audio.tolist() == [[1, 1], [0, 0], [0, 0], [1, 1]]
    assert found.audio_mask.tolist() == [True, False, False, True]


def test_a_clip_without_sound_has_no_rows() -> None:
    found = run_clip([frames(0)], sound=Hearing())
    assert found.audio is not None
    assert found.audio_mask is not None
    assert found.audio.shape == (0, 2)
    assert found.audio_mask.shape == (0,)


def test_a_clip_without_frames_or_segments_is_refused() -> None:
    with pytest.raises(VideoError, match="gave no frames"):
        run_clip(iter([]))
    with pytest.raises(VideoError, match="'vid' has no frame for the motion network"):
        run_clip([frames(0)], Counting())


def test_no_more_than_a_few_segments_are_held() -> None:
    alive: list[int] = []

    def counted() -> Iterator[Segment]:
        for segment in segments(64):
            alive.append(segment.row)
            yield segment

    class Watching(Counting):
        def __call__(self, batch: np.ndarray) -> MotionResult:
            assert len(alive) <= sum(self.calls) + watching.MOTION_BATCH
            return super().__call__(batch)

    network = Watching()
    run_clip(parts(frames(0), counted()), network)
    assert sum(network.calls) == 64


def test_time_is_told_by_stage() -> None:
    stages = Stages()
    sound = [AudioChunk(np.ones((1, 96, 64), np.float32), np.array([True]))]
    run_clip(parts(frames(0), segments(1), sound), Counting(), Hearing(), stages=stages)
    assert stages.seconds.keys() == {"read", "motion", "sound"}
    assert all(seconds > 0 for seconds in stages.seconds.values())
