"""Decoding real files, whole and broken (the letters are the rows of the list of faults)."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stg.video.clip import ClipRequest
from stg.video.clips import read_clip
from stg.video.decoding import SampledFrames, VideoError, sample_video, video_id
from stg.video.sampling import linspace_frames, segment_centres
from tests.stg.alarms import ends_within
from tests.stg.make_clips import grey_frames, level, write_clip, write_sound

QUICK = {"deadline": "realtime", "cpu-used": "8"}


def noise(count: int, seed: int = 0) -> list[np.ndarray]:
    """Frames that do not compress, so that cutting or flipping bytes always hits a picture."""
    return list(np.random.default_rng(seed).integers(0, 255, (count, 48, 64, 3)).astype(np.uint8))


def assert_levels(sample: SampledFrames, tolerance: int = 2) -> None:
    """Every picture must have the grey level of its frame number."""
    for picture, number in zip(sample.frames, sample.frame_number.tolist(), strict=True):
        assert abs(float(picture.mean()) - level(number)) <= tolerance, f"frame {number}"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", grey_frames(60), options={"bf": "3", "g": "60"})


@pytest.fixture
def alarm() -> Iterator[None]:
    """Five seconds, then the test fails instead of hanging."""
    with ends_within(5):
        yield


# --- A7, A8: the frames are the ones that were asked for


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("bframes.mp4", {"options": {"bf": "3", "g": "60"}}),
        ("jitter.mp4", {"pts": [40 * number + number % 3 * 13 for number in range(60)]}),
        ("dropped.mp4", {"pts": [40 * number + (40 if number > 30 else 0) for number in range(60)]}),
        ("ntsc.mkv", {"rate": Fraction(30000, 1001)}),
        ("vp9.webm", {"codec": "libvpx-vp9", "options": QUICK}),
        ("hidden.webm", {"codec": "libvpx-vp9", "options": {"cpu-used": "5", "auto-alt-ref": "1"}}),
        ("mpeg4.avi", {"codec": "mpeg4", "options": {"bf": "2", "qscale": "1", "flags": "qscale"}}),
        ("h264.avi", {"options": {"bf": "2"}}),
        ("fragmented.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("stream.ts", {}),
        ("ten.mkv", {"pixels": "yuv420p10le", "options": {"profile": "high10"}}),
    ],
)
@pytest.mark.parametrize("sampling", ["centres", "linspace"])
def test_the_frames_are_the_ones_asked_for(tmp_path: Path, name: str, how: dict, sampling: str) -> None:
    sample = sample_video(write_clip(tmp_path / name, grey_frames(60), **how), 10, sampling)
    rule = segment_centres if sampling == "centres" else linspace_frames
    assert sample.frame_number.tolist() == rule(60, 10).tolist()
    assert sample.total_frames == 60
    assert not sample.truncated
    assert sample.num_unique == 10
    assert sample.video == name.split(".")[0]
    assert_levels(sample)


@pytest.mark.parametrize(
    ("count", "stride", "numbers"), [(60, 16, [8, 24, 40, 56]), (60, 32, [16, 48]), (40, 16, [8, 24, 39]), (1, 16, [0])]
)
def test_one_frame_each_stride(tmp_path: Path, count: int, stride: int, numbers: list[int]) -> None:
    path = write_clip(tmp_path / "strides.mp4", grey_frames(count), options={"bf": "2"})
    sample = sample_video(path, 10, "stride", stride=stride)
    assert sample.frame_number.tolist() == numbers
    assert (sample.num_unique, sample.total_frames) == (len(numbers), count)
    assert_levels(sample)
    (read,) = read_clip(path, ClipRequest(num_frames=10, sampling="stride", stride=stride))
    assert isinstance(read, SampledFrames)
    assert read.frame_number.tolist() == numbers
    capped = sample_video(path, 1, "stride", stride=stride)
    assert capped.frame_number.tolist() == (numbers if count == 1 else [count // 2])


def test_every_single_frame_of_a_long_group_of_pictures_is_exact(clip: Path) -> None:
    sample = sample_video(clip, 60)
    assert sample.frame_number.tolist() == list(range(60))
    assert_levels(sample)


def test_the_rate_is_the_mean_one(tmp_path: Path, clip: Path) -> None:
    assert sample_video(clip).fps == pytest.approx(25, rel=1e-3)
    times = [0, 10, 20, 30, 400]
    uneven = write_clip(tmp_path / "uneven.mp4", grey_frames(5), pts=times, options={"bf": "0"})
    assert sample_video(uneven).fps == pytest.approx(10, rel=1e-2)


@pytest.mark.parametrize("turn", [90, 180, -90])
def test_phone_videos_are_turned_upright(tmp_path: Path, turn: int) -> None:
    picture = np.full((48, 64, 3), 40, np.uint8)
    picture[:16, :16] = 220  # bright where it is upper left
    upright = sample_video(write_clip(tmp_path / "phone.mp4", [picture] * 5, rotation=turn), 2)
    expected = np.rot90(picture, turn // 90)  # the angle turns the picture counter-clockwise
    assert upright.frames.shape == (2, *expected.shape)
    assert np.abs(upright.frames[0].astype(int) - expected).mean() < 4


def test_odd_sizes(tmp_path: Path) -> None:
    odd = write_clip(tmp_path / "odd.webm", grey_frames(5, (47, 63)), codec="libvpx-vp9", options=QUICK)
    assert sample_video(odd, 5).frames.shape == (5, 47, 63, 3)


def test_a_header_that_lies_is_not_believed(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "lie.avi", grey_frames(30), codec="mpeg4")
    data = bytearray(path.read_bytes())
    main, stream = data.index(b"avih") + 8 + 16, data.index(b"strh") + 8 + 32
    for place in (main, stream):
        assert int.from_bytes(data[place : place + 4], "little") == 30
        data[place : place + 4] = (500).to_bytes(4, "little")
    path.write_bytes(data)
    sample = sample_video(path)
    assert sample.total_frames == 30
    assert sample.header_frames == 500
    assert not sample.truncated
    assert sample.frame_number.tolist() == segment_centres(30, 10).tolist()
    assert sample.num_unique == 10


# --- A6: short videos


@pytest.mark.parametrize("count", [1, 2, 9, 15])
def test_short_videos_repeat_frames(tmp_path: Path, count: int) -> None:
    sample = sample_video(write_clip(tmp_path / "short.mp4", grey_frames(count)))
    assert sample.frame_number.tolist() == segment_centres(count, 10).tolist()
    assert sample.num_unique == min(count, 10)
    assert sample.total_frames == count
    assert_levels(sample)


def test_too_short_is_refused_where_a_minimum_is_set(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "short.mp4", grey_frames(3))
    assert sample_video(path, min_frames=3).total_frames == 3
    with pytest.raises(VideoError, match=r"'short.mp4' has 3 readable frames; at least 4 wanted"):
        sample_video(path, min_frames=4)


# --- A1, A2: cut files


def test_an_mp4_without_its_index_is_called_incomplete(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "cut.mp4", noise(20))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(VideoError, match=r"'cut.mp4' is an incomplete file: its index \(moov\) is missing"):
        sample_video(path)


@pytest.mark.parametrize("name", ["fast.mp4", "cut.avi"])
def test_a_cut_file_gives_the_frames_it_has(tmp_path: Path, name: str) -> None:
    how = {"codec": "mpeg4"} if name.endswith("avi") else {"container_options": {"movflags": "faststart"}}
    path = write_clip(tmp_path / name, noise(60), **how)
    whole = sample_video(path, 60)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    cut = sample_video(path)
    assert cut.truncated
    assert cut.header_frames == 60
    assert 15 <= cut.total_frames <= 35
    assert cut.num_unique == 10
    assert cut.frame_number.max() < cut.total_frames
    for picture, number in zip(cut.frames, cut.frame_number.tolist(), strict=True):
        assert np.abs(picture.astype(int) - whole.frames[number]).mean() < 1, number


# --- A3: damage inside the stream


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), flips=st.sampled_from([1, 3, 10, 400]))
@example(seed=958096, flips=400)
def test_flipped_bytes_never_do_more_than_spoil_the_video(tmp_path: Path, seed: int, flips: int) -> None:
    source = tmp_path / "noise.mp4"
    if not source.exists():
        write_clip(source, noise(40), container_options={"movflags": "faststart"})
    data = np.frombuffer(source.read_bytes(), np.uint8).copy()
    places = np.random.default_rng(seed).integers(0, len(data), flips)
    data[places] ^= 255
    path = tmp_path / "flipped.mp4"
    path.write_bytes(data.tobytes())
    try:
        sample = sample_video(path)
    # Also where a size in the header asks for more memory than FFmpeg gives.
    except VideoError:
        return
    assert sample.total_frames <= 40
    assert sample.frames.shape[0] == 10
    assert sample.frame_number.min() >= 0
    assert sample.frame_number.max() < 40


def test_frames_that_the_decoder_calls_corrupt_are_never_chosen(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.mp4", noise(60), container_options={"movflags": "faststart"}).read_bytes()
    path = tmp_path / "spoilt.mp4"
    seen = 0
    for seed in range(20):
        data = np.frombuffer(whole, np.uint8).copy()
        data[np.random.default_rng(seed).integers(len(data) // 3, len(data), 2)] ^= 255
        path.write_bytes(data.tobytes())
        flags: list[bool] = []
        # A packet that the decoder refuses altogether gives no picture that it could call corrupt.
        with av.open(path) as file, suppress(av.error.InvalidDataError):
            file.streams.video[0].thread_count = 1  # several threads mark other pictures from run to run
            flags = [picture.is_corrupt for picture in file.decode(video=0)]
        if 0 < sum(flags) <= 12:
            seen += 1
            good = [number for number, bad in enumerate(flags) if not bad]
            assert sample_video(path, len(good)).frame_number.tolist() == good
    assert seen >= 3


def test_a_lost_packet_does_not_shift_the_numbers(tmp_path: Path) -> None:
    """Packets without references (intra only): one is made unreadable, all others keep their frame number."""
    path = write_clip(tmp_path / "intra.mov", grey_frames(40), codec="png", pixels="rgb24")
    data = bytearray(path.read_bytes())
    starts = [place for place in range(len(data)) if data[place : place + 8] == b"\x89PNG\r\n\x1a\n"]
    assert len(starts) == 40
    data[starts[10] : starts[10] + 8] = b"notimage"
    path.write_bytes(data)
    sample = sample_video(path, 39)
    assert sample.total_frames == 40
    assert sample.frame_number.tolist() == [number for number in range(40) if number != 10]
    assert_levels(sample)


def test_mostly_damaged_is_refused_with_the_share(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "bad.mov", grey_frames(40), codec="png", pixels="rgb24")
    path.write_bytes(path.read_bytes().replace(b"\x89PNG\r\n\x1a\n", b"notimage", 9))
    with pytest.raises(VideoError, match=r"'bad.mov': 9 of 40 frames are damaged, more than 20%"):
        sample_video(path)


# --- A4, A5: not a video


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a video: the file is empty"),
        (b"<!DOCTYPE html><title>404</title>" * 20, "is not a video"),
        (np.random.default_rng(0).bytes(5000), "is not a video"),
    ],
)
def test_what_is_not_a_video_is_called_so(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "fake.mp4"
    path.write_bytes(content)
    with pytest.raises(VideoError, match=f"'fake.mp4' {words}"):
        sample_video(path)


def test_other_containers_are_not_opened(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "fake.mp4", grey_frames(3), codec="ffv1", container="nut")
    with av.open(path) as file:
        assert file.format.name == "nut"
    with pytest.raises(VideoError, match=r"'fake.mp4' is not a video in a known container"):
        sample_video(path)


@pytest.mark.parametrize("cover", [False, True])
def test_sound_and_cover_art_are_not_a_video(tmp_path: Path, cover: bool) -> None:
    with pytest.raises(VideoError, match=r"'sound.mp4' has no video stream"):
        sample_video(write_sound(tmp_path / "sound.mp4", cover=cover))


# --- A11, A12: things that are not clips at all


@pytest.mark.parametrize(
    "text",
    ["ffconcat version 1.0\nfile 'clip.mp4'\n", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nclip.mp4\n"],
)
def test_a_playlist_opens_nothing(tmp_path: Path, clip: Path, text: str) -> None:
    path = tmp_path / "list.mp4"
    path.write_text(text)
    with pytest.raises(VideoError, match=r"'list.mp4' is not a video"):
        sample_video(path)


def test_an_address_is_only_a_file_that_does_not_exist(monkeypatch: pytest.MonkeyPatch, alarm: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        with pytest.raises(VideoError, match=r"could not open 'clip.mp4': No such file"):
            sample_video(f"http://127.0.0.1:{server.getsockname()[1]}/clip.mp4")
        with pytest.raises(TimeoutError):
            server.accept()


def test_only_regular_files_are_opened(tmp_path: Path, alarm: None) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "broken.mp4").symlink_to(tmp_path / "nowhere.mp4")
    for name in ("pipe.mp4", "folder.mp4"):
        with pytest.raises(VideoError, match=f"'{name}' is not a regular file"):
            sample_video(tmp_path / name)
    with pytest.raises(VideoError, match=r"'null' is not a regular file"):
        sample_video("/dev/null")
    for name in ("broken.mp4", "gone.mp4"):
        with pytest.raises(VideoError, match=f"could not open '{name}': No such file"):
            sample_video(tmp_path / name)
    with pytest.raises(VideoError, match=r"could not open"):
        sample_video("nul\0byte.mp4")


def test_a_file_that_vanishes_midway_is_read_to_its_end(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import stg.video.decoding as video

    read_index = video.read_index
    monkeypatch.setattr(video, "read_index", lambda *given: (read_index(*given), clip.unlink())[0])
    assert_levels(sample_video(clip))
    assert not clip.exists()


# --- A15: names


@pytest.mark.parametrize(
    "name", ["-4wsuPCjDBc_5_15.mp4", "two words.mp4", "line\nbreak.mp4", "smile 😀.mp4", b"caf\xe9.mp4"]
)
def test_any_name_works(tmp_path: Path, clip: Path, name: str | bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    clip.rename(path)
    sample = sample_video(path)
    assert_levels(sample)
    sample.video.encode()
    expected = "caf\\xe9" if isinstance(name, bytes) else name.removesuffix(".mp4")
    assert sample.video == expected == video_id(path)


# --- the value object


def test_sampled_frames_refuse_what_does_not_fit() -> None:
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=r"'v' has 2 frames but \[3\] frame numbers"):
        SampledFrames.__post_init__(_raw(frames, np.zeros(3, np.int64)))
    with pytest.raises(ValueError, match=r"must be uint8 \[T H W 3\]; got float32 \[2, 4, 4, 3\]"):
        SampledFrames.__post_init__(_raw(frames.astype(np.float32), np.zeros(2, np.int64)))


def _raw(frames: np.ndarray, number: np.ndarray) -> SampledFrames:
    """A value that has not been validated yet; the run-time shape checks of the tests would stop it first."""
    made = object.__new__(SampledFrames)
    for name, value in {"video": "v", "frames": frames, "frame_number": number, "num_unique": 0}.items():
        object.__setattr__(made, name, value)
    return made


@pytest.mark.shared_data
def test_real_clips_decode_to_their_sizes(shared_data: Path) -> None:
    for name in ("-AwoiGR6c8M_10_14", "zMg9dChF97A_12_38"):
        sample = sample_video(shared_data / "msvd" / "clips" / f"{name}.mp4")
        assert sample.frames.shape[0] == 10
        assert sample.frames.shape[2] == 320
        assert sample.num_unique == 10
        assert sample.total_frames == sample.header_frames
        assert sample.frames.std() > 10
