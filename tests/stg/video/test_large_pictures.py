"""Pictures beyond 4K are reduced as soon as they are decoded."""

from pathlib import Path

import numpy as np
import pytest

from stg.video import pictures
from stg.video.clip import ClipRequest, Frame, Timeline
from stg.video.decoding import SampledFrames, sample_video
from stg.video.footage import read_footage
from stg.video.pictures import kept_shape
from stg.video.stretches import read_stretches
from tests.stg.make_clips import grey_frames, level, write_clip


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((2160, 3840), (2160, 3840)),
        ((2304, 4096), (2304, 4096)),
        ((2305, 4096), (768, 1365)),
        ((4320, 7680), (1080, 1920)),
        ((7680, 4320), (1920, 1080)),
        ((1, 2**25), (1, 2**23)),
    ],
)
def test_what_is_kept_of_a_picture(shape: tuple[int, int], kept: tuple[int, int]) -> None:
    assert kept_shape(shape) == kept


def test_every_way_to_read_a_large_clip_has_the_same_small_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.mp4"
    write_clip(path, grey_frames(6, (96, 128)))
    monkeypatch.setattr(pictures, "WHOLE", 96 * 128 - 1)
    monkeypatch.setattr(pictures, "REDUCED", 96 * 128 // 8)
    sample = sample_video(path, 3)
    assert sample.frames.shape == (3, 32, 42, 3)
    expected = [level(number) for number in sample.frame_number.tolist()]
    assert np.abs(sample.frames.mean((1, 2, 3)) - expected).max() < 4
    (stretch,) = read_stretches(path, ClipRequest(num_frames=3, cut=1000.0))
    assert isinstance(stretch, SampledFrames)
    assert np.array_equal(stretch.frames, sample.frames)
    timeline, *shown = read_footage(path, ClipRequest())
    assert isinstance(timeline, Timeline)
    assert (timeline.height, timeline.width) == (32, 42)
    assert [part.pixels.shape for part in shown if isinstance(part, Frame)] == [(32, 42, 3)] * 6
