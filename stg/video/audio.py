"""The sound of a video as VGGish hears it: log-mel examples of .96 s on the clock of the picture. No torch in here."""

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from stg.video.clip import AudioChunk
from stg.video.packets import MAX_PIXELS, open_film, open_regular
from stg.video.streams import best_sound, decoded_packets

RATE = 16000
"""Samples a second of the sound that is analysed."""

WINDOW, HOP, FFT = 400, 160, 512
"""Samples of one analysis window (25 ms) and from one to the next (10 ms); length of the Fourier transform."""

FRAMES, BANDS = 96, 64
"""Windows and mel bands of one example."""

BAND_HZ = (125.0, 7500.0)
"""Lowest and highest frequency of the mel bands."""

LOG_OFFSET = 0.01
"""Added before the logarithm."""

SILENCE_DBFS = -60.0
"""An example whose RMS (about its mean, so that a constant offset is no sound) is lower than this is not heard."""

STEP = FRAMES * HOP
"""Samples from one example to the next: .96 s."""

NEED = STEP - HOP + WINDOW
"""Samples that an example covers: its last window reaches 15 ms into the next one."""

PIECE = 64
"""Examples in one piece of :func:`read_sound`, about a minute."""

TOLERANCE = 0.1
"""Seconds by which time stamps may disagree with the samples before they are believed."""

MAX_SILENCE = 600.0
"""Seconds of silence, in all, that time stamps can put into a sound; further gaps are closed up."""

RATES = (1000, 768000)
"""Rates outside these are damage, not sound."""


def read_sound(path: str | Path) -> Iterator[AudioChunk]:
    """The sound of a video, piece by piece; nothing at all where it has none that can be decoded here.

    Of several audio streams that can be decoded the one that players take (the default) is read packet by packet, its
    channels averaged, resampled to 16 kHz and turned into log-mel examples. Example k covers [.96 k, .96 (k + 1)) s of
    presentation time, counted from the start of the video stream: sound before it is cut, a later start is silence, to
    within :data:`TOLERANCE` later on. What cannot be decoded (damaged packets, impossible rates, samples that are not
    numbers) is silence too, and therefore not heard: bad sound never costs a video its picture. Memory does not grow
    with the length.

    As published, an incomplete example at the end (under .975 s) is dropped; departure: a sound shorter than that is
    one example filled up with silence, so that short clips are heard.

    Raises:
        VideoError: not a regular file, or not a video in a known container.
    """
    path = Path(path)
    with open_regular(path) as file:
        container, film = open_film(file, path, MAX_PIXELS)
        with container:
            stream = best_sound(container, film)
            if stream is not None:
                yield from sound_pieces(_samples(container, stream, film))


def sound_pieces(samples: Iterator[Float32[np.ndarray, " _"]], piece: int = PIECE) -> Iterator[AudioChunk]:
    """Cut mono sound at 16 kHz, values -1 to 1, that comes in pieces of any length, into examples, ``piece`` at once.

    The numbers do not depend on ``piece`` nor on how the samples come.
    """
    held, count, began = list[np.ndarray](), 0, False
    for part in samples:
        held.append(part)
        count += len(part)
        while count >= (piece - 1) * STEP + NEED:
            sound = np.concatenate(held)
            yield _examples(sound, piece)
            # The last windows of an example reach into the next one, so that sound stays.
            held, count, began = [sound[piece * STEP :]], count - piece * STEP, True
    if not count:
        return
    sound = np.concatenate(held)
    # Only a sound shorter than one example is padded; a rest at the end that fills none is dropped.
    if not began and count < NEED:
        sound = np.pad(sound, (0, NEED - count))
    if left := max(len(sound) - NEED + STEP, 0) // STEP:
        yield _examples(sound, left)


def _examples(sound: Float32[np.ndarray, " _"], count: int) -> AudioChunk:
    sound = sound[: (count - 1) * STEP + NEED]
    loud: Bool[np.ndarray, " count"] = sound[: count * STEP].reshape(-1, STEP).std(1) >= 10 ** (SILENCE_DBFS / 20)
    return AudioChunk(log_mel(sound).reshape(count, FRAMES, BANDS), loud)


def log_mel(sound: Float[np.ndarray, " _"]) -> Float32[np.ndarray, "n 64"]:
    """Log-mel spectrum of every whole window of a sound at 16 kHz: ``log(|STFT| W + 0.01)``.

    The front end of VGGish (Hershey et al., 2017, and its release): 25 ms periodic Hann window each 10 ms, filled up
    with zeros to 512 samples, magnitudes (not powers), the bands of :func:`mel_bands`.

    Args:
        sound: samples, values -1 to 1; fewer than a window give no row.
    """
    if len(sound) < WINDOW:
        return np.zeros((0, BANDS), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    size = np.abs(np.fft.rfft(windows * hann, FFT))
    # One product a window: a matrix product's last bits would depend on how many windows there are.
    mel = np.matmul(size[:, None], mel_bands())[:, 0]
    return np.log(mel + LOG_OFFSET).astype(np.float32)


@cache
def mel_bands() -> Float64[np.ndarray, "257 64"]:
    """Triangles over the bins of the spectrum, evenly spaced on the HTK mel scale ``1127 ln(1 + f / 700)``.

    The sides are straight on the mel scale, as in the release and in HTK; librosa's (``htk=True, norm=None``) are
    straight in hertz, up to .0045 away. The constant bin lies below the lowest band.
    """

    def mel(hertz: Float64[np.ndarray, " _"]) -> Float64[np.ndarray, " _"]:
        return 1127 * np.log1p(hertz / 700)

    low, high = mel(np.array(BAND_HZ))
    edges = np.linspace(low, high, BANDS + 2)
    place = mel(np.arange(FFT // 2 + 1) * RATE / FFT)[:, None]
    width = np.diff(edges)
    bands: Float64[np.ndarray, "257 64"] = np.minimum(
        (place - edges[:-2]) / width[:-1], (edges[2:] - place) / width[1:]
    ).clip(min=0)
    # Cached, and so shared by all callers.
    bands.setflags(write=False)
    return bands


def _samples(container: Any, stream: Any, film: Any | None) -> Iterator[Float32[np.ndarray, " _"]]:
    """Mono sound at 16 kHz from the start of the video on, in bounded pieces; gaps in the time stamps are silence."""
    clock, end = _Clock(start_of(film, stream)), 0.0
    for packet, frames in decoded_packets(container, stream, ValueError):
        if packet.pts is not None and not packet.is_discard:
            # Where the packets say that the sound ends: what is damaged there becomes silence.
            end = max(end, clock.seconds(packet.pts + (packet.duration or 0), stream.time_base))
        for frame in frames or ():
            if frame.is_corrupt or not RATES[0] <= frame.sample_rate <= RATES[1]:
                continue
            sound = _mono(frame)
            if sound is not None:
                at = None if frame.pts is None else clock.seconds(frame.pts, frame.time_base or stream.time_base)
                yield from clock.put(sound, frame.sample_rate, at)
    yield from clock.finish(end)


def start_of(film: Any | None, stream: Any) -> Fraction:
    """Presentation time of the first picture, in seconds; of the sound where there is no picture."""
    for item in (film, stream):
        if item is not None and item.start_time is not None and item.time_base:
            return Fraction(item.start_time * item.time_base)
    return Fraction(0)


def _mono(frame: Any) -> Float32[np.ndarray, " _"] | None:
    """The mean of the channels, values -1 to 1; None where a sample is not a number, or of a kind not known here."""
    try:
        sound = frame.to_ndarray()
    except ValueError:
        return None
    # Packed samples [time channels] are turned into [channels time].
    sound = sound if frame.format.is_planar else sound.reshape(-1, len(frame.layout.channels)).T
    if sound.dtype == np.uint8:
        sound = (sound - 128.0) / 128
    elif sound.dtype.kind == "i":
        sound = sound / -float(np.iinfo(sound.dtype).min)
    return sound.clip(-1, 1).mean(0).astype(np.float32) if np.isfinite(sound).all() else None


class _Clock:
    """Resamples sound and keeps it on time: writes silence where the time stamps say that some is missing.

    Args:
        start: presentation time, in seconds, of the first sample that is passed on.
    """

    def __init__(self, start: Fraction) -> None:
        self.start = start
        self.written = 0  # samples passed on
        self.time = 0.0  # seconds from the start to the end of what was put in
        self.trust = MAX_SILENCE  # seconds of silence that may still be written
        self.rate = 0
        self.resampler: Any = None

    def seconds(self, pts: int, base: Fraction) -> float:
        return float(pts * base - self.start)

    def put(self, sound: Float32[np.ndarray, " _"], rate: int, at: float | None) -> Iterator[Float32[np.ndarray, " _"]]:
        """Sound that begins ``at`` so many seconds after the start, or where the last one ended when that is None."""
        import av

        first = self.resampler is None
        # Sound before the first picture goes with no frame.
        if at is not None and first and at < 0:
            sound = sound[round(-at * rate) :]
            if not len(sound):
                return
        elif at is not None and at > self.time + (0 if first else TOLERANCE):
            yield from self.silence_until(at)
        # A stream may change its rate on the way; what the resampler still holds comes first.
        if rate != self.rate:
            yield from self.flush()
            self.resampler, self.rate = av.AudioResampler("fltp", "mono", RATE), rate
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound)[None], "fltp", "mono")
        frame.sample_rate = rate
        self.time += len(sound) / rate
        yield from self.resampled(frame)

    def finish(self, end: float) -> Iterator[Float32[np.ndarray, " _"]]:
        """What the resampler still holds, and silence until ``end`` where the last sound ended long before."""
        if end > self.time + TOLERANCE:
            yield from self.silence_until(end)
        else:
            yield from self.flush()

    def silence_until(self, at: float) -> Iterator[Float32[np.ndarray, " _"]]:
        yield from self.flush()
        # Damaged time stamps may claim years: beyond the allowance the gap is closed, by moving the start of the clock.
        believed = min(at - self.time, self.trust)
        self.trust -= believed
        self.start += Fraction(at - self.time - believed)
        self.time += believed
        while (left := round(self.time * RATE) - self.written) > 0:
            zeros = np.zeros(min(left, 60 * RATE), np.float32)
            self.written += len(zeros)
            yield zeros

    def flush(self) -> Iterator[Float32[np.ndarray, " _"]]:
        if self.rate:
            yield from self.resampled(None)
            self.rate = 0

    def resampled(self, frame: Any) -> Iterator[Float32[np.ndarray, " _"]]:
        for part in self.resampler.resample(frame):
            sound = part.to_ndarray()[0]
            self.written += len(sound)
            yield sound
