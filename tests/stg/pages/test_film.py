"""Clips as small films on pages: what browsers play, as players show it, and nothing else of the file."""

from pathlib import Path

import av
import numpy as np
import pytest

import stg.video.film
from stg.pages.videos.clip_films import film_of, page_readers
from stg.runtime.reporter import SILENT
from stg.video.clip import ClipRequest, Film, NumberedFrames
from stg.video.decoding import SampledFrames, VideoError
from stg.video.film import encoder, small_film, small_size
from stg.video.readers import Readers
from tests.stg.make_clips import grey_frames, level, write_clip
from tests.stg.make_readers import act_at_the_film
from tests.stg.pages.test_overlay import with_sound
from tests.stg.said import Said


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
    assert b"+48.1374" not in film.mp4.tobytes()


def test_a_turned_clip_is_upright_and_a_high_rate_is_thinned(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "v.mp4", grey_frames(60, (48, 64)), rate=60, rotation=90)
    found = pictures(small_film(clip), tmp_path / "film.mp4")
    assert {picture.shape for _, picture in found} == {(64, 48, 3)}
    assert [time for time, _ in found] == pytest.approx([number / 30 for number in range(30)], abs=1e-3)


def test_of_a_long_clip_there_is_the_beginning_with_its_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = write_clip(tmp_path / "film.mp4", grey_frames(20, (48, 64)), rate=10)
    clip = with_sound(tmp_path / "clip.mkv", film, film_from=0.0, tone_from=0.0, channels="stereo")
    for seconds, frames in ((1, 10), (30, 20)):
        monkeypatch.setattr(stg.video.film, "SECONDS", seconds)
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
    notes, said = list[str](), Said()
    with page_readers() as readers:
        assert film_of("odd", readers.one(tmp_path / "<b>.mp4"), notes, said) is None
    assert notes[0].startswith("The clip cannot be played here: '<b>.mp4' is not a video")
    assert str(tmp_path) not in notes[0]
    assert said.lines == [f"no film of odd: {notes[0].removeprefix('The clip cannot be played here: ')}"]
    clip = write_clip(tmp_path / "v.mp4", grey_frames(4))
    monkeypatch.setattr(stg.video.film, "ENCODERS", ("mpeg4",))
    with page_readers(workers=0) as readers:
        assert film_of("v", readers.one(clip), notes, said) is None
    assert notes[1] == "The clip cannot be played here: nothing here writes H.264"


def test_without_any_encoder_one_sentence_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stg.video.film, "ENCODERS", ("no-such", "none-such"))
    with pytest.raises(VideoError, match=r"no film can be written: .* none of the encoders no-such, none-such; the av"):
        encoder()
    notes = list[str]()
    with page_readers(workers=0) as readers:
        assert film_of("v", readers.one(write_clip(tmp_path / "v.mp4", grey_frames(4))), notes, SILENT) is None
    assert notes[0].startswith("The clip cannot be played here: no film can be written")


@pytest.mark.parametrize(
    ("deed", "why"),
    [
        ("crash", "the decoder crashed (signal SIGSEGV)"),
        ("hang", "no result within 2 s: the decoder hangs, or it is slow and time_limit too short"),
        ("greedy", "out of memory (limit 0.5 GiB)"),
    ],
)
def test_a_bad_decoder_costs_one_film(tmp_path: Path, deed: str, why: str) -> None:
    for name in (deed, "fine"):
        (tmp_path / name).mkdir()
        write_clip(tmp_path / name / "v.mp4", grey_frames(8))
    wanted = ClipRequest(wanted=NumberedFrames((2, 5), 8, (48, 64)))
    notes, said = list[str](), Said()
    with Readers(ClipRequest(), 1, 2.0, 2**29, act_at_the_film) as readers:
        parts = readers.one(tmp_path / deed / "v.mp4", wanted)
        sample = next(parts)
        assert isinstance(sample, SampledFrames)
        assert sample.frame_number.tolist() == [2, 5]
        assert film_of("v", parts, notes, said) is None
        assert notes == [f"The clip cannot be played here: 'v.mp4': {why}"]
        assert said.lines == [f"no film of v: 'v.mp4': {why}"]
        # Two seconds are for what hangs: a busy machine may need more for the clip that is fine.
        readers._readers[0].time_limit = 60.0
        film = film_of("v", readers.one(tmp_path / "fine" / "v.mp4"), notes, said)
        assert film is not None
        assert len(pictures(film, tmp_path / "film.mp4")) == 8


def test_a_film_that_nobody_waits_for_leaves_the_readers_free(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "v.mp4", grey_frames(8))
    with page_readers() as readers:
        for numbers in ((0,), (1, 3)):
            parts = readers.one(clip, ClipRequest(wanted=NumberedFrames(numbers)))
            sample = next(parts)
            parts.close()
            assert isinstance(sample, SampledFrames)
            assert sample.frame_number.tolist() == list(numbers)
        assert [type(part) for part in readers.one(clip)] == [Film]
