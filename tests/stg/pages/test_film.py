"""Clips as small films on pages: what browsers play, as players show it, and nothing else of the file."""

from pathlib import Path

import av
import numpy as np
import pytest

import stg.pages.videos.film
from stg.pages.videos.film import film_of, small_film, small_size
from stg.pages.videos.views import Film
from tests.stg.make_clips import grey_frames, level, write_clip
from tests.stg.pages.test_overlay import with_sound


def pictures(film: Film, path: Path) -> list[tuple[float, np.ndarray]]:
    path.write_bytes(film.mp4)
    with av.open(path) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        return [(frame.time, frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]


def test_a_clip_becomes_a_small_film_with_its_frames_and_times_and_nothing_else(tmp_path: Path) -> None:
    plain = write_clip(tmp_path / "plain.mp4", grey_frames(12, (480, 642)), rate=10)
    clip = tmp_path / "phone.mov"
    with av.open(plain) as source, av.open(clip, "w") as file:
        file.metadata["comment"] = "taken at +48.1374+011.5755/"
        stream = file.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                file.mux(packet)
    assert b"+48.1374" in clip.read_bytes()
    film = small_film(clip)
    found = pictures(film, tmp_path / "film.mp4")
    assert film.whole
    assert [time for time, _ in found] == pytest.approx([number / 10 for number in range(12)], abs=1e-3)
    assert {picture.shape for _, picture in found} == {(240, 320, 3)}
    assert all(abs(float(picture.mean()) - level(number)) <= 3 for number, (_, picture) in enumerate(found))
    assert b"+48.1374" not in film.mp4


def test_a_turned_clip_is_upright_and_a_high_rate_is_thinned(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "v.mp4", grey_frames(60, (48, 64)), rate=60, rotation=90)
    found = pictures(small_film(clip), tmp_path / "film.mp4")
    assert {picture.shape for _, picture in found} == {(64, 48, 3)}
    assert [time for time, _ in found] == pytest.approx([number / 30 for number in range(30)], abs=1e-3)


def test_of_a_long_clip_there_is_the_beginning_with_its_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = write_clip(tmp_path / "film.mp4", grey_frames(20, (48, 64)), rate=10)
    clip = with_sound(tmp_path / "clip.mkv", film, film_from=0.0, tone_from=0.0, channels="stereo")
    for seconds, frames in ((1, 10), (30, 20)):
        monkeypatch.setattr(stg.pages.videos.film, "SECONDS", seconds)
        short = small_film(clip)
        assert short.whole == (frames == 20)
        assert len(pictures(short, tmp_path / "short.mp4")) == frames
        with av.open(tmp_path / "short.mp4") as file:
            heard = sum(frame.samples for frame in file.decode(audio=0)) / 48000
            assert heard == pytest.approx(min(seconds, 2), abs=0.1)
            assert file.streams.audio[0].bit_rate < 64_000


def test_noise_stays_within_its_share_of_the_page(tmp_path: Path) -> None:
    frames = list(np.random.default_rng(0).integers(0, 256, (60, 240, 320, 3)).astype(np.uint8))
    clip = write_clip(tmp_path / "v.mp4", frames, rate=30)
    assert clip.stat().st_size > 1_000_000
    assert len(small_film(clip).mp4) < 250_000


@pytest.mark.parametrize(
    ("size", "expected"),
    [((240, 320), (240, 320)), ((1080, 1920), (180, 320)), ((1920, 1080), (480, 270)), ((1, 9), (2, 8))],
)
def test_films_are_small_and_of_even_sizes(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert small_size(size) == expected


def test_a_clip_that_cannot_be_played_leaves_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "<b>.mp4").write_bytes(b"no video")
    notes: list[str] = []
    assert film_of(tmp_path / "<b>.mp4", notes) is None
    assert notes[0].startswith("The clip cannot be played here: '<b>.mp4' is not a video")
    assert str(tmp_path) not in notes[0]
    clip = write_clip(tmp_path / "v.mp4", grey_frames(4))
    monkeypatch.setattr(stg.pages.videos.film, "ENCODERS", ("mpeg4",))
    assert film_of(clip, notes) is None
    assert notes[1] == "The clip cannot be played here: nothing here writes H.264"
