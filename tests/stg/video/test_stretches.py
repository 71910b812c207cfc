"""A clip read in stretches: each as a clip of its own would be, in one pass, whatever the length."""

from pathlib import Path

import numpy as np
import pytest

from stg.video import decoding, packets
from stg.video.clip import AudioChunk, ClipPart, ClipRequest, Segment, SegmentRequest
from stg.video.clips import read_clip
from stg.video.decoding import SampledFrames, VideoError
from stg.video.readers import Readers
from stg.video.segments import read_segments
from stg.video.stretches import by_stretch
from tests.stg.make_clips import grey_frames, level, write_clip, write_sound
from tests.stg.make_sound import sine, write_movie

LOSSLESS = {"options": {"crf": "0"}, "pixels": "yuv444p"}


def scene(seed: int, count: int) -> list[np.ndarray]:
    """Squares of many colours that move by a pixel a frame."""
    squares = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8).repeat(12, axis=0).repeat(16, axis=1)
    return [np.roll(squares, number, axis=1) for number in range(count)]


def stretches(path: Path, cut: float | str, **request: object) -> list[list[ClipPart]]:
    parts = read_clip(path, ClipRequest(cut=cut, **request))  # type: ignore[arg-type]
    return [list(group) for group in by_stretch(parts)]


def times(path: Path, cut: float | str) -> list[tuple[float, float]]:
    """Start and length of each stretch."""
    found = [group[0] for group in stretches(path, cut, num_frames=2)]
    return [(round(one.start, 6), round(one.duration, 6)) for one in found]  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize("rule", [{"num_frames": 10}, {"num_frames": 7, "sampling": "linspace"},
                                  {"num_frames": 4, "sampling": "stride", "stride": 16}])  # fmt: skip
def test_a_stretch_is_read_as_a_clip_of_its_own(tmp_path: Path, rule: dict) -> None:
    frames, request = scene(0, 130), SegmentRequest(16, 32, (24, 24))
    found = stretches(write_clip(tmp_path / "long.mp4", frames, **LOSSLESS), 2.0, segments=request, **rule)
    assert len(found) == 3
    for number, (sample, *segments) in enumerate(found):
        # The last 30 frames of 25 a second are longer than a second, and stay apart.
        own = write_clip(tmp_path / "own.mp4", frames[50 * number : 50 * number + 50], **LOSSLESS)
        alone, *rest = read_clip(own, ClipRequest(segments=request, **rule))
        assert isinstance(sample, SampledFrames)
        assert isinstance(alone, SampledFrames)
        np.testing.assert_array_equal(sample.frames, alone.frames)
        np.testing.assert_array_equal(sample.frame_number, alone.frame_number)
        np.testing.assert_allclose(sample.seconds, alone.seconds, atol=1e-6)
        assert (sample.total_frames, sample.fps) == (alone.total_frames, pytest.approx(alone.fps))
        assert (sample.start, sample.whole) == (2.0 * number, pytest.approx(5.2))
        assert sample.duration == pytest.approx(alone.duration)
        assert [part.row for part in segments] == [part.row for part in rest]
        for one, other in zip(segments, rest, strict=True):
            np.testing.assert_array_equal(one.frames, other.frames)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (100, [(0, 2), (2, 2)]),
        (124, [(0, 2), (2, 2.96)]),
        (125, [(0, 2), (2, 2), (4, 1)]),
        (10, [(0, 0.4)]),
        (1, [(0, 0.04)]),
    ],
)
def test_a_rest_that_is_shorter_than_a_second_joins_its_neighbour(
    tmp_path: Path, frames: int, expected: list[tuple[float, float]]
) -> None:
    assert times(write_clip(tmp_path / "clip.mp4", grey_frames(frames)), 2.0) == expected


def test_scenes_end_where_the_picture_changes_at_once(tmp_path: Path) -> None:
    # 2 s, 1.2 s, .4 s that join what follows.
    frames = [*scene(1, 50), *scene(2, 30), *scene(3, 10), *scene(4, 60)]
    assert times(write_clip(tmp_path / "clip.mp4", frames), "scenes") == [(0, 2), (2, 1.2), (3.2, 2.8)]
    assert times(write_clip(tmp_path / "still.mp4", grey_frames(1) * 60), "scenes") == [(0, 2.4)]
    # What changes with every frame has no cuts.
    noise = np.random.default_rng(0).integers(0, 255, (60, 12, 16, 3), np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    assert times(write_clip(tmp_path / "noise.mp4", list(noise)), "scenes") == [(0, 2.4)]


def test_fades_are_no_cuts(tmp_path: Path) -> None:
    one, other = scene(1, 1)[0].astype(float), scene(2, 1)[0]
    fade = [(one + (other - one) * share).astype(np.uint8) for share in np.linspace(0, 1, 25)]
    frames = [fade[0]] * 40 + fade + [fade[-1]] * 40
    assert times(write_clip(tmp_path / "clip.mp4", frames), "scenes") == [(0, 4.2)]


def test_three_hours_are_read_in_one_pass_as_they_are_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A picture each ten seconds.
    path = write_clip(tmp_path / "long.mp4", grey_frames(1080, (16, 16)), pts=[10_000 * n for n in range(1080)])
    opened, decoded = list[str](), list[int]()
    open_stream, count = packets._open_stream, decoding.Decoded.count
    monkeypatch.setattr(packets, "_open_stream", lambda *given: opened.append("") or open_stream(*given))
    monkeypatch.setattr(decoding.Decoded, "count", lambda *given: decoded.append(1) or count(*given))
    parts = read_clip(path, ClipRequest(num_frames=4, cut=60.0))
    first = next(parts)
    assert isinstance(first, SampledFrames)
    assert len(decoded) < 10  # of the first minute alone
    np.testing.assert_allclose(first.frames.mean((1, 2, 3)), [level(n) for n in (0, 2, 3, 5)], atol=2)
    last = [part for part in parts if isinstance(part, SampledFrames)]
    assert len(last) == 179
    assert (last[-1].start, last[-1].whole) == (179 * 60, pytest.approx(10_790.04))
    np.testing.assert_allclose(last[-1].frames.mean((1, 2, 3)), [level(1074 + n) for n in (0, 2, 3, 5)], atol=2)
    assert len(opened) == 2  # the packets are counted, then decoded


def test_a_picture_that_stands_for_long_is_one_stretch(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "slides.mp4", grey_frames(4), pts=[0, 500, 25_000, 31_000])
    assert [start for start, _ in times(path, 10.0)] == [0, 20.0, 30.0]


def test_what_cannot_be_read_shows_the_picture_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "clip.mp4", grey_frames(100))
    # As if frames 30 to 37 were damaged, and the first of the second stretch.
    bad, count = {*range(30, 38), 50}, decoding.Decoded.count

    def counted(self: decoding.Decoded, picture: object) -> bool:
        good = count(self, picture)  # type: ignore[arg-type]
        if len(self.times) - 1 in bad:
            self.good.pop()
            return False
        return good

    monkeypatch.setattr(decoding.Decoded, "count", counted)
    one, other = (group[0].frames.mean((1, 2, 3)) for group in stretches(path, 2.0, num_frames=50))  # type: ignore[union-attr]
    expected = [level(29 if n in bad else n) for n in range(50)]
    np.testing.assert_allclose(one, expected, atol=2)
    assert other[0] == pytest.approx(level(51), abs=2)  # never one of the stretch before
    bad.update(range(60, 90))
    with pytest.raises(VideoError, match=r"39 of 100 frames are damaged, more than 20%"):
        stretches(path, 2.0)


def test_sound_goes_with_its_stretch(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "clip.mkv", sine(440, 10.0), picture_seconds=10.0)
    found = stretches(path, 3.0, num_frames=1, sound=True)
    counts = [sum(len(part.audible) for part in group if isinstance(part, AudioChunk)) for group in found]
    whole = [part for part in read_clip(path, ClipRequest(sound=True)) if isinstance(part, AudioChunk)]
    assert counts == [3, 3, 3, 1]
    chunks = [part.examples for group in found for part in group if isinstance(part, AudioChunk)]
    np.testing.assert_array_equal(np.concatenate(chunks), np.concatenate([part.examples for part in whole]))


def test_every_stretch_has_a_time_limit_of_its_own(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", grey_frames(100))
    for cut, whole in ((2.0, True), (None, False)):
        with Readers(ClipRequest(num_frames=2, cut=cut), time_limit=60.0) as readers:
            for _, parts in readers.open({"clip": path}):
                left = [readers._readers[0]._left for part in parts if isinstance(part, SampledFrames)]
        assert [each == 60.0 for each in left] == ([True] * 2 if whole else [False])


def test_a_file_without_a_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"'sound.mp4' has no video stream"):
        list(read_clip(write_sound(tmp_path / "sound.mp4"), ClipRequest(cut=2.0)))


def test_motion_segments_of_a_stretch_are_those_of_the_clip_where_they_meet(tmp_path: Path) -> None:
    path, request = write_clip(tmp_path / "clip.mp4", scene(0, 64)), SegmentRequest(16, 32, (24, 24))
    found = [part for group in stretches(path, 1.28, segments=request) for part in group if isinstance(part, Segment)]
    for one, other in zip(found, read_segments(path, request), strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
