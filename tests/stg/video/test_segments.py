"""Segments of all frames: the same numbering as the sampled frames, whatever the file, in bounded memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stg.video import packets as video
from stg.video.clip import ClipRequest, Segment, SegmentRequest
from stg.video.clips import read_clip
from stg.video.decoding import SampledFrames, VideoError, sample_video
from stg.video.segments import read_segments
from tests.stg.make_clips import grey_frames, level, write_clip, write_sound

SMALL = SegmentRequest(span=16, resize=32, crop=(24, 24))


def levels(segments: list[Segment]) -> np.ndarray:
    """Mean grey level of every frame of every segment, one after the other."""
    return np.concatenate([segment.frames.mean(axis=(1, 2, 3)) for segment in segments])


def noise(count: int) -> list[np.ndarray]:
    """Frames that do not compress, so that cutting or flipping bytes always hits a picture."""
    return list(np.random.default_rng(0).integers(0, 255, (count, 48, 64, 3)).astype(np.uint8))


def agree(path: Path, span: int = 16) -> list[Segment]:
    """At the video's own size, every sampled frame must be the very frame of the segments at its number."""
    sample = sample_video(path, 10)
    size = sample.frames.shape[1:3]
    segments = list(read_segments(path, SegmentRequest(span, size, size)))
    assert [segment.row for segment in segments] == list(range(-(-sample.total_frames // span)))
    frames = np.concatenate([segment.frames for segment in segments])
    np.testing.assert_array_equal(frames[sample.frame_number], sample.frames)
    np.testing.assert_array_equal(frames[sample.total_frames :], frames[-1:].repeat(-sample.total_frames % span, 0))
    return segments


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("bframes.mp4", {"options": {"bf": "3", "g": "60"}}),
        ("variable.mp4", {"pts": [number * number for number in range(45)]}),
        ("hidden.webm", {"codec": "libvpx-vp9", "options": {"cpu-used": "5", "auto-alt-ref": "1"}}),
        ("mpeg4.avi", {"codec": "mpeg4", "options": {"bf": "2", "qscale": "1", "flags": "qscale"}}),
        ("h264.avi", {"options": {"bf": "2"}}),
        ("fragmented.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
    ],
)
def test_every_frame_is_there_in_order(tmp_path: Path, name: str, how: dict) -> None:
    segments = agree(write_clip(tmp_path / name, grey_frames(45), **how))
    want = [level(min(number, 44)) for number in range(48)]  # the tail repeats the last frame
    np.testing.assert_allclose(levels(segments), want, atol=2)


@pytest.mark.parametrize(("frames", "rows"), [(1, 1), (2, 1), (15, 1), (16, 1), (17, 2), (32, 2), (33, 3)])
def test_as_many_segments_as_begin(tmp_path: Path, frames: int, rows: int) -> None:
    segments = agree(write_clip(tmp_path / "clip.mp4", grey_frames(frames)))
    assert len(segments) == rows
    np.testing.assert_allclose(levels(segments)[frames - 1 :], level(frames - 1), atol=2)
    assert {segment.frames.shape for segment in segments} == {(16, 48, 64, 3)}


def test_healthy_videos_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    open_container = video._open_stream
    monkeypatch.setattr(video, "_open_stream", lambda *given: opened.append(1) or open_container(*given))
    list(read_segments(write_clip(tmp_path / "clip.mp4", grey_frames(40), options={"bf": "3"}), SMALL))
    assert len(opened) == 2  # the packets are counted, then decoded


@pytest.mark.shared_data
def test_real_clips_agree_too(shared_data: Path) -> None:
    clips = [
        *sorted(shared_data.glob("msvd/clips/**/*.mp4"))[:3],
        *sorted(shared_data.glob("msrvtt/clips/**/*.mp4"))[:2],
    ]
    assert len(clips) == 5
    for path in clips:
        agree(path)


# --- A2, A3: damage moves no frame


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a decoder of several threads paints over damage differs from run to run."""
    open_container = video._open_stream

    def calm(*given: object) -> object:
        container, stream = open_container(*given)
        stream.codec_context.thread_count = 1
        return container, stream

    monkeypatch.setattr(video, "_open_stream", calm)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["cut.avi", "cut.mp4", "cut.ts"])
@pytest.mark.parametrize("keep", [0.4, 0.61, 0.83])
def test_a_cut_file_gives_what_it_has(tmp_path: Path, name: str, keep: float) -> None:
    how = {"container_options": {"movflags": "faststart"}} if name.endswith("mp4") else {}
    path = write_clip(
        tmp_path / name, [part // 8 + picture for part, picture in zip(noise(60), dim(60), strict=True)], **how
    )
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    agree(path)


def dim(count: int) -> list[np.ndarray]:
    """Flat frames that leave room for noise on top."""
    return [np.full((48, 64, 3), 20 + 3 * number, np.uint8) for number in range(count)]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["flipped.mkv", "flipped.avi", "flipped.ts"])
def test_flipped_bytes_leave_the_numbering_as_it_was(tmp_path: Path, name: str, seed: int) -> None:
    pictures = [part // 8 + picture for part, picture in zip(noise(60), dim(60), strict=True)]
    path = write_clip(tmp_path / name, pictures, options={"g": "6", "bf": "2"})
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    for place in random.integers(len(data) // 4, len(data), 12):
        data[place] = random.integers(256)
    path.write_bytes(data)
    try:
        sample_video(path)
    except VideoError:
        with pytest.raises(VideoError):
            list(read_segments(path, SMALL))
        return
    agree(path)


def lose(monkeypatch: pytest.MonkeyPatch, lost: tuple[int, ...]) -> None:
    """Let the decoder fail on some packets."""
    pictures = video.pictures_of

    def failing(*given: object) -> object:
        for number, picture in enumerate(pictures(*given)):
            yield None if number in lost else picture

    for module in ("stg.video.decoding", "stg.video.segments"):
        monkeypatch.setattr(f"{module}.pictures_of", failing)


@pytest.mark.parametrize("lost", [(0, 1), (20, 21, 22), (58, 59)], ids=["start", "middle", "end"])
def test_a_lost_frame_keeps_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: tuple[int, ...]) -> None:
    """Lost frames show the picture before them (after them, at the start)."""
    path = write_clip(tmp_path / "clip.mkv", grey_frames(60), options={"bf": "0", "g": "1"})
    lose(monkeypatch, lost)
    segments = agree(path)
    shown = [number for number in range(60) if number not in lost]
    want = [
        max([kept for kept in shown if kept <= number], default=shown[0]) for number in [*range(60), 59, 59, 59, 59]
    ]
    np.testing.assert_allclose(levels(segments), [level(number) for number in want], atol=2)


def test_numbering_a_damaged_file_does_not_lose_the_place_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Larger than any buffer, so that both passes really read on from where they are."""
    path = write_clip(
        tmp_path / "clip.mkv", noise(60), codec="mjpeg", pixels="yuvj420p", options={"qscale": "2", "flags": "qscale"}
    )
    assert path.stat().st_size > 2**17
    lose(monkeypatch, (5,))
    agree(path)


def test_what_is_no_video_says_so(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"'sound.m4a' has no video stream"):
        list(read_segments(write_sound(tmp_path / "sound.m4a"), SMALL))
    with pytest.raises(VideoError, match=r"could not open 'no.mp4'"):
        list(read_segments(tmp_path / "no.mp4", SMALL))


# --- the pixels


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_frames_are_upright_and_cropped_in_the_middle(tmp_path: Path, turn: int) -> None:
    picture = np.zeros((64, 96, 3), np.uint8)
    picture[:16] = (255, 0, 0)  # a red band on top, as stored
    path = write_clip(tmp_path / "clip.mp4", [picture] * 2, rotation=turn)
    agree(path, span=2)
    upright = sample_video(path, 1).frames[0]
    [segment] = read_segments(path, SegmentRequest(span=2, resize=64, crop=(64, 64)))
    height, width = upright.shape[:2]
    top, left = (height - 64) // 2, (width - 64) // 2
    want = upright[top : top + 64, left : left + 64]
    assert np.abs(segment.frames[0].astype(int) - want).max() <= 4
    assert want[..., 0].max() > 200 or turn in (90, 270)  # the band is cut off when it stands at the side


@pytest.mark.parametrize(("resize", "size"), [(24, (24, 36)), ((24, 24), (24, 24))])
def test_resizing_is_near_the_mean_of_the_pixels_covered(
    tmp_path: Path, resize: int | tuple[int, int], size: tuple[int, int]
) -> None:
    """A smooth picture at half (or less) of its size, against plain sampling of the full one."""
    ramp = np.broadcast_to(np.linspace(40, 200, 72)[None, :, None], (48, 72, 3)).astype(np.uint8)
    path = write_clip(tmp_path / "clip.mp4", [ramp], options={"crf": "5"})
    [segment] = read_segments(path, SegmentRequest(span=1, resize=resize, crop=(24, 24)))
    centre = (np.arange(size[1]) + 0.5) * 72 / size[1] - 0.5
    want = np.interp(centre, np.arange(72), ramp[0, :, 0])[(size[1] - 24) // 2 :][:24]
    assert np.abs(segment.frames[0, 12, :, 0] - want).max() < 4


def test_a_thread_thin_picture_is_not_blown_up(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "thin.mp4", [np.zeros((16, 2048, 3), np.uint8)])
    with pytest.raises(VideoError, match=r"'thin.mp4' has pictures of 2048x16, which are 32768x256 at a shorter side"):
        list(read_segments(path, SegmentRequest(span=1), max_pixels=2**22))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (SegmentRequest(span=0), "at least 1 frame; got span=0"),
        (SegmentRequest(span=1, resize=200), r"crop \(224, 224\) must lie within the resized frame; resize is 200"),
    ],
)
def test_requests_without_sense_are_refused(tmp_path: Path, request_: SegmentRequest, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        list(read_segments(tmp_path / "any.mp4", request_))


def test_a_clip_gives_its_samples_first_then_its_segments(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", grey_frames(40))
    parts = list(read_clip(path, ClipRequest(segments=SMALL)))
    assert [type(part) for part in parts] == [SampledFrames, Segment, Segment, Segment]


# --- A10: memory


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/status to see the peak of memory")
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    """All 6000 frames at 64x64 would be 70 MiB; two segments are 0.4."""
    paths = []
    for name, times in (("small", 1), ("long", 120)):
        frames = [np.full((48, 48, 3), level(number), np.uint8) for number in range(50)] * times
        paths.append(str(write_clip(tmp_path / f"{name}.mp4", frames, rate=100, options={"preset": "ultrafast"})))
    code = f"""
import re, sys
from stg.video.clip import SegmentRequest
from stg.video.segments import read_segments

def rows(path):
    count = 0
    for segment in read_segments(path, SegmentRequest(16, 64, (64, 64))):
        count += 1
    peak = int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
    return count, peak

before = rows({paths[0]!r})
after = rows({paths[1]!r})
print(before[0], after[0], (after[1] - before[1]) // 1024, "torch" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    few, many, grown, torch = told.stdout.split()
    assert (int(few), int(many), torch) == (4, 375, "False")
    assert int(grown) < 8  # MiB


def test_one_segment_is_alive_at_a_time(tmp_path: Path) -> None:
    import weakref

    path = write_clip(tmp_path / "clip.mp4", grey_frames(50))
    seen: list[weakref.ref] = []
    for segment in read_segments(path, SMALL):
        seen.append(weakref.ref(segment.frames))
        assert sum(item() is not None for item in seen) == 1
        del segment
