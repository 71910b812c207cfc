"""Which stream of several is taken, and frames spread evenly in time."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from graphs import GraphStore, flat_graph
from stg.config.extraction import SamplingConfig
from stg.features.extractor import Extractor
from stg.features.ingestion import clip_row
from stg.pages.videos.pictures import blank, from_sample
from stg.video.audio import read_sound
from stg.video.decoding import SampledFrames, sample_video
from stg.video.sampling import is_even, sample_seconds, segment_centres
from tests.stg.make_clips import grey_frames, level, write_clip

DEFAULT = av.stream.Disposition.default


def joined(path: Path, parts: list[tuple[Path, int]]) -> Path:
    """The first stream of each file, with these dispositions, in one file."""
    with av.open(path, "w") as file:
        sources = [av.open(part) for part, _ in parts]
        streams = []
        for source, (_, disposition) in zip(sources, parts, strict=True):
            streams.append(file.add_stream_from_template(source.streams[0]))
            streams[-1].disposition = disposition
        for source, stream in zip(sources, streams, strict=True):
            for packet in source.demux(source.streams[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    file.mux(packet)
            source.close()
    return path


def film(path: Path, size: tuple[int, int] = (48, 64), count: int = 30) -> Path:
    return write_clip(path, grey_frames(count, size))


def still(path: Path, size: tuple[int, int], count: int = 1) -> Path:
    pictures = [np.full((*size, 3), (200, 20, 20), np.uint8)] * count
    return write_clip(path, pictures, codec="mjpeg", pixels="yuvj420p", rate=2)


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        (("still", (96, 128), 0), ("film", (48, 64), 0), 1),  # a thumbnail that is not marked as a cover
        (("still", (96, 128), DEFAULT), ("film", (48, 64), 0), 1),
        (("thumbs", (48, 64), 0), ("film", (48, 64), 0), 1),  # one each second
        (("film", (48, 64), 0), ("film", (32, 48), DEFAULT), 1),
        (("film", (48, 64), DEFAULT), ("film", (64, 80), 0), 0),
        (("film", (24, 30), 0), ("film", (48, 64), 0), 1),  # a preview
        (("film", (24, 30), DEFAULT), ("film", (96, 128), 0), 1),
        (("film", (48, 64), 0), ("film", (48, 64), 0), 0),
    ],
)
@pytest.mark.parametrize("suffix", ["mkv", "mp4"])
def test_the_film_is_taken_that_players_show(
    tmp_path: Path, first: tuple, second: tuple, taken: int, suffix: str
) -> None:
    made = {
        "still": lambda path, size: still(path, size),
        "thumbs": lambda path, size: still(path, size, 2),
        "film": film,
    }
    parts = [
        (made[kind](tmp_path / f"{number}.{'mov' if kind != 'film' else 'mp4'}", size), disposition)
        for number, (kind, size, disposition) in enumerate((first, second))
    ]
    # An mp4 cannot say that no stream is the default: its first is.
    if suffix == "mp4" and not any(disposition for _, disposition in parts):
        parts[0] = parts[0][0], DEFAULT
    sample = sample_video(joined(tmp_path / f"clip.{suffix}", parts), 5)
    assert sample.facts == {"video_stream": taken, "video_streams": 2}
    assert sample.frames.shape[1:3] == (first, second)[taken][1]
    assert sample.total_frames == 30
    found = [float(picture.mean()) for picture in sample.frames]
    assert found == pytest.approx([level(number) for number in sample.frame_number], abs=2)


def tone(path: Path, loud: float) -> Path:
    with av.open(path, "w") as file:
        stream = file.add_stream("pcm_s16le", rate=16000, layout="mono")
        samples = np.rint(loud * np.sin(np.arange(32000) * 0.4) * 30000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
        frame.sample_rate, frame.pts = 16000, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("default", [None, 0, 1, 2])
def test_the_default_sound_is_heard(tmp_path: Path, default: int | None) -> None:
    tones = [tone(tmp_path / f"{number}.mkv", loud) for number, loud in enumerate((0.1, 0.01, 0.9))]
    parts = [(film(tmp_path / "film.mp4", count=50), DEFAULT)]
    parts += [(path, DEFAULT if number == default else 0) for number, path in enumerate(tones)]
    clip = joined(tmp_path / "clip.mkv", parts)
    taken = default or 0
    np.testing.assert_allclose(
        np.concatenate([part.examples for part in read_sound(clip)]),
        np.concatenate([part.examples for part in read_sound(tones[taken])]),
        atol=1e-5,
    )
    assert sample_video(clip, 2).facts == {"audio_stream": taken + 1, "audio_streams": 3}


STILL = [0] + [9000 + round(i * 1000 / 60) for i in range(60)]
"""One picture for 9 s, then 60 in a second."""


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm"])
def test_frames_are_spread_evenly_in_time_where_rates_vary(tmp_path: Path, suffix: str) -> None:
    how = {"codec": "libvpx", "options": {"lag-in-frames": "0"}} if suffix == "webm" else {"options": {"bf": "2"}}
    path = write_clip(tmp_path / f"clip.{suffix}", grey_frames(61), pts=STILL, **how)
    sample = sample_video(path, 10)
    assert sample.frame_number.tolist()[:9] == [0] * 9
    assert 29 <= sample.frame_number[9] <= 32
    assert sample.seconds is not None
    assert sample.seconds.tolist() == pytest.approx([STILL[number] / 1000 for number in sample.frame_number], abs=0.002)
    assert sample.facts == {"uneven": True}
    assert (sample.num_unique, sample.total_frames) == (2, 61)
    assert [picture.seconds for picture in from_sample(sample)] == sample.seconds.tolist()
    assert sample_video(path, 3, "linspace").frame_number.tolist() == [0, 0, 60]
    # A stride counts frames: with as many rows of motion each sampled frame has its own.
    assert sample_video(path, 10, "stride", stride=16).frame_number.tolist() == [8, 24, 40, 56]


def test_a_store_keeps_the_times_where_the_rate_varies(tmp_path: Path) -> None:
    class Width:
        """A backbone that says nothing of its frames."""

        def __call__(self, sample: SampledFrames, boxes: object) -> tuple[np.ndarray, np.ndarray]:
            return np.ones((len(sample.frames), 2), np.float32), np.zeros((0, 2), np.float32)

        def manifest(self) -> dict[str, str]:
            return {"name": "width"}

    extractor = Extractor(None, Width(), SamplingConfig(num_frames=10))
    clips = {
        "uneven": write_clip(tmp_path / "uneven.mp4", grey_frames(61), pts=STILL),
        "even": write_clip(tmp_path / "even.mp4", grey_frames(61)),
    }
    with GraphStore(tmp_path / "store", "w") as store:
        for video, path in clips.items():
            features = extractor(sample_video(path, 10))
            store.put(video, flat_graph(features))
            assert clip_row(video, features).get("uneven", False) == (video == "uneven")
    with GraphStore(tmp_path / "store") as store:
        uneven, even = store.flat_batch(["uneven"]), store.flat_batch(["even"])
    assert even.get("frame_time") is None
    assert [picture.seconds for picture in blank(even)] == pytest.approx([n / 25 for n in segment_centres(61, 10)])
    # The clip ends at 10 s: the middles of ten parts are at .5, 1.5, ... 9.5 s.
    times = [picture.seconds for picture in blank(uneven)]
    assert times[:9] == [0.0] * 9
    assert times[9] == pytest.approx(9.5, abs=0.035)


def test_two_rates_in_one_clip(tmp_path: Path) -> None:
    times = [round(i * 1001 / 30) for i in range(30)] + [1001 + round(i * 1000 / 5) for i in range(20)]
    sample = sample_video(write_clip(tmp_path / "clip.mp4", grey_frames(50), pts=times, options={"bf": "0"}), 5)
    # 4.841 s, as the last frame stands 40 ms: the middles are at .48, 1.45, 2.42, 3.39 and 4.36 s.
    assert sample.frame_number.tolist() == [14, 32, 37, 41, 46]


@pytest.mark.parametrize("rate", [Fraction(30000, 1001), Fraction(25), Fraction(24000, 1001), Fraction(120)])
def test_a_constant_rate_goes_by_number_and_says_the_time(tmp_path: Path, rate: Fraction) -> None:
    sample = sample_video(write_clip(tmp_path / "clip.mkv", grey_frames(40), rate=rate), 4)
    assert sample.frame_number.tolist() == [5, 15, 25, 35]
    assert sample.seconds is not None
    assert sample.seconds.tolist() == pytest.approx([float(n / rate) for n in (5, 15, 25, 35)], abs=0.001)
    assert sample.facts == {}


def test_a_clock_that_jumps_is_no_long_picture(tmp_path: Path) -> None:
    times = [40 * i for i in range(30)] + [95_000_000 + 40 * i for i in range(30)]
    path = write_clip(tmp_path / "clip.ts", grey_frames(60), pts=times, options={"bf": "0"})
    sample = sample_video(path, 6)
    assert sample.frame_number.tolist() == [5, 15, 25, 35, 45, 55]
    assert sample.seconds is not None
    assert sample.seconds.tolist() == pytest.approx([n / 25 for n in (5, 15, 25, 35, 45, 55)], abs=0.001)


def test_even_is_within_one_frame_of_a_constant_rate() -> None:
    steady = np.arange(50) * 0.04
    assert is_even(steady, 0.04)
    assert is_even(steady + np.random.default_rng(0).uniform(-0.015, 0.015, 50), 0.0)
    assert not is_even(steady**2, 0.04)
    assert not is_even(steady, 3.0)  # the last picture stands
    assert not is_even(np.array([0.0, 0.04]), 9.0)
    assert is_even(np.array([0.0]), 9.0)


def test_the_picture_on_the_screen_is_taken() -> None:
    seconds = np.array([0.0, 1.0, 9.0])
    assert sample_seconds(seconds, 10.0, 5).tolist() == [1, 1, 1, 1, 2]  # at 1, 3, 5, 7, 9: a frame that begins is on
    assert sample_seconds(seconds, 10.0, 3, "linspace").tolist() == [0, 1, 2]
    assert sample_seconds(seconds, 10.0, 1, "linspace").tolist() == [1]
    assert sample_seconds(seconds, 10.0, 1, "stride", 1).tolist() == [1]
