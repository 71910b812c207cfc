"""The front end against librosa and the definition; the reading against made files with every kind of fault."""

import math
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import librosa
import numpy as np
import pytest

from stg.video import audio as sound_module
from stg.video.audio import BANDS, FRAMES, NEED, RATE, STEP, log_mel, mel_bands, read_sound, sound_pieces
from stg.video.clip import AudioChunk
from stg.video.decoding import VideoError
from tests.stg.make_clips import grey_frames, write_clip
from tests.stg.make_sound import sine, write_movie

NOISE = np.random.default_rng(5).uniform(-1, 1, 4 * RATE).astype(np.float32)
SILENT = math.log(0.01)


def listen(path: Path) -> AudioChunk:
    """The whole sound of a file in one piece."""
    return whole(read_sound(path))


def whole(parts: Iterator[AudioChunk]) -> AudioChunk:
    found = [AudioChunk(np.zeros((0, FRAMES, BANDS), np.float32), np.zeros(0, bool)), *parts]
    return AudioChunk(np.concatenate([one.examples for one in found]), np.concatenate([one.audible for one in found]))


def onset(path: Path) -> float:
    """When the sound begins, in seconds: the first window of 10 ms steps that is not silent."""
    frames = listen(path).examples.reshape(-1, BANDS).max(1)
    return float(np.flatnonzero(frames > SILENT + 0.5)[0]) / 100


# The front end


def test_log_mel_follows_its_definition() -> None:
    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    low, high = mel(125), mel(7500)
    edges = [low + (high - low) * place / 65 for place in range(66)]
    found = log_mel(NOISE[:720])
    assert found.shape == (3, 64)
    for row in range(3):
        part = [float(NOISE[160 * row + n]) * (0.5 - 0.5 * math.cos(2 * math.pi * n / 400)) for n in range(400)]
        size = []
        for k in range(257):
            real = math.fsum(x * math.cos(2 * math.pi * k * n / 512) for n, x in enumerate(part))
            imaginary = math.fsum(x * math.sin(2 * math.pi * k * n / 512) for n, x in enumerate(part))
            size.append(math.hypot(real, imaginary))
        for band in range(64):
            left, middle, right = edges[band : band + 3]
            total = 0.0
            for k in range(1, 257):
                at = mel(k * 16000 / 512)
                total += size[k] * max(0.0, min((at - left) / (middle - left), (right - at) / (right - middle)))
            assert found[row, band] == pytest.approx(math.log(total + 0.01), abs=1e-5)


def test_spectrum_and_mel_scale_are_librosas() -> None:
    # librosa puts the window into the middle of the 512 samples: 56 zeros either side make its frames begin with ours.
    spectrum = np.abs(
        librosa.stft(np.pad(NOISE, 56), n_fft=512, hop_length=160, win_length=400, center=False, dtype=np.complex128)
    )
    edges = librosa.hz_to_mel(librosa.mel_frequencies(66, fmin=125, fmax=7500, htk=True), htk=True)
    places = librosa.hz_to_mel(librosa.fft_frequencies(sr=16000, n_fft=512), htk=True)[:, None]
    rise = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    mel = np.maximum(0, np.minimum(rise, fall)).T @ spectrum
    found = log_mel(NOISE)
    np.testing.assert_allclose(found, np.log(mel + 0.01).T[: len(found)], atol=1e-5)


def test_librosas_own_triangles_differ_by_a_known_bit() -> None:
    theirs = librosa.filters.mel(sr=16000, n_fft=512, n_mels=64, fmin=125, fmax=7500, htk=True, norm=None)
    assert 0.004 < np.abs(mel_bands().T - theirs).max() < 0.0045
    features = librosa.feature.melspectrogram(
        y=np.pad(NOISE, 56),
        sr=16000,
        n_fft=512,
        hop_length=160,
        win_length=400,
        center=False,
        power=1.0,
        n_mels=64,
        fmin=125,
        fmax=7500,
        htk=True,
        norm=None,
    )
    found = log_mel(NOISE)
    assert np.abs(found - np.log(features + 0.01).T[: len(found)]).max() < 0.02


def test_published_numbers_of_a_tone_of_1_khz() -> None:
    # The release's smoke test prints these for its first bands (through another resampler, hence the tolerance).
    found = log_mel(sine(1000, 1, loud=1.0))
    np.testing.assert_allclose(found[:, :3], np.tile([-4.48303714, -4.27112599, -4.1703935], (98, 1)), atol=5e-4)


@pytest.mark.parametrize("band", [0, 7, 20, 40, 63])
def test_a_tone_peaks_in_its_band(band: int) -> None:
    mel = 1127 * np.log1p(np.array([125, 7500]) / 700)
    hertz = 700 * math.expm1((mel[0] + (mel[1] - mel[0]) * (band + 1) / 65) / 1127)
    assert set(log_mel(sine(hertz, 0.3)).argmax(1).tolist()) <= {band, max(band - 1, 0)}


def test_less_than_a_window_gives_no_row() -> None:
    assert log_mel(NOISE[:399]).shape == (0, 64)
    assert log_mel(NOISE[:400]).shape == (1, 64)


# Examples


@pytest.mark.parametrize("sizes", [[997], [159, 161], [15360], [15599, 2], [40000]])
def test_pieces_equal_the_whole_to_the_byte(sizes: list[int]) -> None:
    noise = np.random.default_rng(1).uniform(-1, 1, 5 * STEP + 300).astype(np.float32)
    cuts = np.cumsum(sizes * (len(noise) // sum(sizes) + 1))
    direct = log_mel(noise)[: 5 * FRAMES].reshape(5, FRAMES, BANDS)
    for piece in (1, 2, 64):
        found = list(sound_pieces(iter(np.split(noise, cuts[cuts < len(noise)])), piece))
        assert all(len(one.audible) <= piece for one in found)
        assert np.concatenate([one.examples for one in found]).tobytes() == direct.tobytes()


@pytest.mark.parametrize(
    ("samples", "count"),
    [(0, 0), (1, 1), (STEP, 1), (NEED, 1), (NEED + STEP - 1, 1), (NEED + STEP, 2), (NEED + 2 * STEP, 3)],
)
def test_an_incomplete_example_is_dropped_unless_it_is_the_only_one(samples: int, count: int) -> None:
    noise = np.random.default_rng(1).uniform(-1, 1, samples).astype(np.float32)
    for piece in (1, 2, 64):
        found = whole(sound_pieces(iter([noise]), piece))
        assert len(found.audible) == len(found.examples) == count


def test_the_only_example_is_filled_up_with_silence() -> None:
    found = whole(sound_pieces(iter([NOISE[:8000]])))
    assert found.audible.tolist() == [True]
    np.testing.assert_array_equal(found.examples[0, :48], log_mel(NOISE[:8400] * (np.arange(8400) < 8000))[:48])
    np.testing.assert_allclose(found.examples[0, 50:], SILENT, atol=1e-6)


def test_silence_is_not_heard() -> None:
    scale = 10 ** (-60 / 20) * math.sqrt(2)  # a sine's RMS is its amplitude by the root of two
    tone = sine(1000, 0.96, loud=1.0)
    loud = np.concatenate(
        [0 * tone, 0.99 * scale * tone, 1.01 * scale * tone, 0 * tone + 0.25, 0.25 + 0.1 * tone, tone]
    )
    found = whole(sound_pieces(iter([np.pad(loud, (0, 240))])))
    assert found.audible.tolist() == [False, False, True, False, True, True]
    np.testing.assert_allclose(found.examples[0, :90], SILENT, atol=1e-6)


# Files


def test_no_sound_gives_nothing(tmp_path: Path) -> None:
    assert list(read_sound(write_clip(tmp_path / "a.mp4", grey_frames(3)))) == []


def test_a_silent_file_is_all_there_and_not_heard(tmp_path: Path) -> None:
    found = listen(write_movie(tmp_path / "a.mp4", np.zeros(3 * RATE), codec="aac"))
    assert found.audible.tolist() == [False] * 3


@pytest.mark.parametrize(("codec", "error"), [("pcm_f32le", 0.0), ("pcm_s16le", 2e-2), ("pcm_s32le", 1e-5)])
def test_samples_of_every_kind_are_scaled_alike(codec: str, error: float, tmp_path: Path) -> None:
    path = write_movie(tmp_path / "a.mkv", NOISE, codec=codec)
    np.testing.assert_allclose(listen(path).examples, whole(sound_pieces(iter([NOISE]))).examples, atol=error)


def test_bytes_are_scaled_about_their_middle(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "a.avi", sine(1000, 1), codec="pcm_u8")
    peak = whole(sound_pieces(iter([sine(1000, 1)]))).examples.max()
    assert listen(path).examples.max() == pytest.approx(peak, abs=0.02)


def test_eight_khz_has_its_tone_in_the_same_band(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "a.mkv", sine(1000, 2, rate=8000), rate=8000)
    found, direct = listen(path).examples, whole(sound_pieces(iter([sine(1000, 2)]))).examples
    peak = int(direct[0, 50].argmax())
    np.testing.assert_allclose(found[:, 5:90, peak], direct[:, 5:90, peak], atol=0.01)
    assert found[0, 5:90, 50:].max() < -3  # nothing above 4 kHz


def test_channels_are_averaged(tmp_path: Path) -> None:
    tone = sine(1000, 1)
    against = write_movie(tmp_path / "against.mkv", np.stack([tone, -tone]))
    assert listen(against).audible.tolist() == [False]
    one = write_movie(tmp_path / "one.mkv", np.stack([tone, 0 * tone]))
    np.testing.assert_array_equal(listen(one).examples, whole(sound_pieces(iter([tone / 2]))).examples)
    six = write_movie(tmp_path / "six.mkv", np.stack([tone, *[0 * tone] * 5]), codec="pcm_s16le")
    np.testing.assert_allclose(listen(six).examples.max(), log_mel(tone / 6).max(), atol=1e-3)


def test_48_khz_stereo_aac_in_mp4(tmp_path: Path) -> None:
    tone = sine(1000, 3, rate=48000)
    path = write_movie(tmp_path / "a.mp4", np.stack([tone, tone]), rate=48000, codec="aac")
    found, direct = listen(path), whole(sound_pieces(iter([sine(1000, 3)])))
    assert found.audible.tolist() == [True] * 3
    assert np.abs(found.examples.max(2) - direct.examples.max(2))[0, 5:].max() < 0.05
    assert set(found.examples[0, 5:].argmax(1).tolist()) == {int(direct.examples[0, 5].argmax())}


def test_a_short_sound_is_heard(tmp_path: Path) -> None:
    assert listen(write_movie(tmp_path / "a.mkv", sine(500, 0.2))).audible.tolist() == [True]


@pytest.mark.parametrize("start", [0.0, 0.05, 1.3])
def test_sound_that_begins_later_is_on_the_clock_of_the_picture(start: float, tmp_path: Path) -> None:
    path = write_movie(tmp_path / "a.mkv", {start: sine(1000, 3)})
    assert onset(path) == pytest.approx(start, abs=0.025)
    assert len(listen(path).audible) == round((3 + start) / 0.96 - 0.5)


def test_sound_before_the_picture_is_cut(tmp_path: Path) -> None:
    quiet_then_tone = np.concatenate([0.3 * NOISE[:RATE], sine(1000, 2)])
    path = write_movie(tmp_path / "a.mkv", quiet_then_tone, picture_start=1.0)
    np.testing.assert_array_equal(listen(path).examples, whole(sound_pieces(iter([sine(1000, 2)]))).examples)


@pytest.mark.parametrize("rate", [16000, 44100])
def test_a_gap_is_silence(rate: int, tmp_path: Path) -> None:
    path = write_movie(tmp_path / "a.mkv", {0.0: sine(1000, 1, rate), 3.0: sine(1000, 2, rate)}, rate=rate)
    found = listen(path)
    assert found.audible.tolist() == [True, True, False, True, True]
    frames = found.examples.reshape(-1, BANDS).max(1) > SILENT + 0.5
    assert np.flatnonzero(~frames)[[0, -1]] == pytest.approx([100, 297], abs=2)


def test_small_disagreements_of_the_time_stamps_are_no_gaps(tmp_path: Path) -> None:
    # 99 ms of lateness is not believed; from .1 s on, silence makes up for it.
    late = write_movie(tmp_path / "late.mkv", {0.0: sine(1000, 1), 1.09: sine(1000, 1)})
    assert len(whole(read_sound(late)).audible) == 2
    frames = listen(late).examples.reshape(-1, BANDS).max(1)
    assert frames[:190].min() > SILENT + 0.5


def test_nothing_is_lost_where_time_stamps_run_back_or_are_missing() -> None:
    clock, tone = sound_module._Clock(Fraction(0)), sine(1000, 1)
    parts = [part for at in (0.0, 0.5, None, -30.0) for part in clock.put(tone, RATE, at)]
    np.testing.assert_array_equal(np.concatenate([*parts, *clock.finish(1.0)]), np.tile(tone, 4))


def test_time_stamps_cannot_make_silence_without_end() -> None:
    clock = sound_module._Clock(Fraction(0))
    tone, length, biggest = sine(1000, 0.1), 0, 0
    for number in range(4):
        at = clock.seconds(10**15 * (number + 1), Fraction(1, 1000))
        for part in clock.put(tone, RATE, at):
            length, biggest = length + len(part), max(biggest, len(part))
    for part in clock.finish(clock.seconds(10**18, Fraction(1, 1000))):
        length, biggest = length + len(part), max(biggest, len(part))
    assert length == 600 * RATE + 4 * len(tone)
    assert biggest <= 60 * RATE


def damage(path: Path, first: int, last: int) -> None:
    """Overwrite the sound packets from number ``first`` to ``last`` where they lie in the file."""
    with av.open(path) as file:
        places = [(packet.pos, packet.size) for packet in file.demux(file.streams.audio[0]) if packet.size]
    data = bytearray(path.read_bytes())
    for place, size in places[first:last]:
        data[place : place + size] = b"\xff" * size
    path.write_bytes(data)


def test_damaged_packets_are_silence(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "a.mp4", sine(1000, 6), codec="aac")
    before = listen(path)
    damage(path, 20, 65)  # 1.28 s to 4.16 s
    found = listen(path)
    assert before.audible.tolist() == [True] * 6
    assert found.audible.tolist() == [True, True, False, False, True, True]
    np.testing.assert_allclose(found.examples[5], before.examples[5], atol=0.05)


def test_sound_that_cannot_be_decoded_at_all_is_not_heard(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "a.mp4", sine(1000, 3), codec="aac")
    damage(path, 0, 1000)
    assert listen(path).audible.tolist() == [False] * 3


def test_samples_that_are_not_numbers_are_silence(tmp_path: Path) -> None:
    broken = sine(1000, 3)
    broken[RATE : 2 * RATE] = np.nan
    broken[2 * RATE + 100] = np.inf
    found = listen(write_movie(tmp_path / "a.mkv", broken))
    assert np.isfinite(found.examples).all()
    assert found.audible.tolist() == [True, False, True]
    frames = found.examples.reshape(-1, BANDS).max(1)
    np.testing.assert_allclose(frames[110:190], SILENT, atol=1e-6)
    assert listen(write_movie(tmp_path / "b.mkv", broken * np.nan)).audible.tolist() == [False] * 3


def test_samples_of_an_unknown_kind_and_impossible_rates_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown, slow = av.AudioFrame("s64", "mono", 64), av.AudioFrame.from_ndarray(sine(100, 1)[None], "fltp", "mono")
    unknown.sample_rate, slow.sample_rate = RATE, 10
    assert sound_module._mono(unknown) is None
    monkeypatch.setattr(sound_module, "start_of", lambda *_: Fraction(0))
    packet = type("Packet", (), {"pts": None})()
    monkeypatch.setattr(sound_module, "decoded_packets", lambda *_: iter([(packet, [unknown, slow])]))
    assert list(sound_module._samples(None, None, None)) == []


def test_infinities_of_two_channels_do_not_meet(tmp_path: Path) -> None:
    broken = np.stack([sine(1000, 1), sine(1000, 1)])
    broken[:, 5000] = np.inf, -np.inf
    assert np.isfinite(listen(write_movie(tmp_path / "a.mkv", broken)).examples).all()


def test_a_stream_that_appears_at_the_end_ends_the_sound() -> None:
    class Container:
        def demux(self, stream: object) -> Iterator[object]:
            raise IndexError("list index out of range")  # what PyAV does when it flushes a stream it never listed
            yield

    assert list(sound_module.decoded_packets(Container(), None)) == []


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "aac"), ("avi", "libmp3lame"), ("ts", "mp2"), ("mkv", "flac")])
def test_flipped_bytes_never_break_the_reading(suffix: str, codec: str, tmp_path: Path) -> None:
    path = write_movie(tmp_path / f"a.{suffix}", sine(700, 1, 48000), rate=48000, codec=codec)
    assert listen(path).audible.tolist() == [True]
    whole_file, random = np.frombuffer(path.read_bytes(), np.uint8), np.random.default_rng(6)
    for flips in (1, 5, 20, 100) * 6:
        data = whole_file.copy()
        data[random.integers(0, len(data), flips)] = random.integers(0, 256, flips)
        path.write_bytes(data[: random.integers(len(data) // 2, 2 * len(data))].tobytes())
        try:
            found = listen(path)
        except VideoError:
            continue
        assert np.isfinite(found.examples).all()


def test_too_loud_samples_are_clipped(tmp_path: Path) -> None:
    found = listen(write_movie(tmp_path / "a.mkv", 1000 * np.sign(sine(1000, 1) + 1e-6)))
    np.testing.assert_array_equal(found.examples, whole(sound_pieces(iter([np.sign(sine(1000, 1) + 1e-6)]))).examples)


def test_a_cut_file_is_heard_as_far_as_it_goes(tmp_path: Path) -> None:
    path = write_movie(tmp_path / "a.mkv", NOISE)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 5])
    assert listen(path).audible.tolist() == [True] * 2


def test_what_is_no_video_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    for name, message in {
        "text.mp4": "'text.mp4' is not a video in a known container",
        "list.mp4": "'list.mp4' is not a video in a known container",
        "empty.mp4": "'empty.mp4' is not a video: the file is empty",
        "absent.mp4": "could not open 'absent.mp4': No such file or directory",
        ".": "is not a regular file",
    }.items():
        with pytest.raises(VideoError, match=message):
            list(read_sound(tmp_path / name))


def test_a_long_sound_is_read_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.mkv"
    with av.open(path, "w") as file:
        stream = file.add_stream("pcm_u8", rate=8000, layout="mono")
        samples = np.random.default_rng(3).integers(0, 255, (1, 8000 * 20), np.uint8)
        frame = av.AudioFrame.from_ndarray(samples, format="u8", layout="mono")
        frame.sample_rate = 8000
        for number in range(48):
            frame.pts = number * 8000 * 20
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    tracemalloc.start()
    try:
        count = sum(int(part.audible.sum()) for part in read_sound(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 999  # the last would need 15 ms more
    assert peak < 100 * 2**20


def test_a_decoding_process_needs_no_torch() -> None:
    code = "import sys, stg.video.audio; sys.exit('torch' in sys.modules or 'av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.shared_data
def test_real_clips_are_heard(shared_data: Path) -> None:
    clips = sorted((shared_data / "msrvtt" / "clips").glob("*.mp4"))
    assert len(clips) == 9
    for path in clips:
        with av.open(path) as file:
            voice = file.streams.audio[0]
            seconds = float(voice.duration * voice.time_base)
        found = listen(path)
        assert abs(len(found.audible) - seconds / 0.96) <= 1, path.name
        assert found.audible.mean() > 0.5, path.name
        assert np.isfinite(found.examples).all()


@pytest.mark.shared_data
def test_the_clips_of_msvd_have_no_sound(shared_data: Path) -> None:
    clips = sorted((shared_data / "msvd" / "clips").iterdir())[:20]
    assert clips
    for path in clips:
        assert list(read_sound(path)) == []
