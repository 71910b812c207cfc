"""The sound of a clip, for the film that shows it: on the clock of the picture, as AAC."""

from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from stg.video.audio import RATES, start_of
from stg.video.clip import ClipPart, ClipRequest, SoundPiece
from stg.video.packets import LONGEST_STEP, MAX_PIXELS, open_film, open_regular
from stg.video.streams import best_sound, decoded_packets

OUT_RATE, OUT_FRAME = 48000, 1024
"""Samples a second, and in one frame of the coder."""

JITTER = 960
"""Samples (20 ms) by which the times of two parts may fail to meet; Matroska counts in milliseconds."""


class SoundTrack:
    """Copies the sound that players take into a film that is being written.

    What cannot be decoded is left out; a clip without sound gives a film without a track.

    Args:
        file: open for writing; the track is added, so no packet may have been written yet.
        frames: of :func:`sound_frames`, or made by :func:`frame_of`.
        bit_rate: bits a second; None leaves it to the coder.
    """

    def __init__(self, file: Any, frames: Generator[Any], bit_rate: int | None = None) -> None:
        self.file = file
        self._frames = frames
        self._next = next(self._frames, None)
        if self._next is not None:
            self._stream = file.add_stream("aac", rate=OUT_RATE, layout=self._next.layout.name)
            if bit_rate is not None:
                self._stream.bit_rate = bit_rate

    def write_until(self, seconds: float) -> None:
        """Write what is heard before that moment of the film."""
        while self._next is not None and self._next.pts < seconds * OUT_RATE:
            self.file.mux(self._stream.encode(self._next))
            self._next = next(self._frames, None)
            if self._next is None:
                self.file.mux(self._stream.encode(None))

    def finish(self, seconds: float) -> None:
        """Write what is heard before that moment, and end the track there."""
        self.write_until(seconds)
        if self._next is not None:
            self._next = None
            self.file.mux(self._stream.encode(None))

    def close(self) -> None:
        """Leave the rest, and the clip."""
        self._frames.close()


def read_sound(path: Path, request: ClipRequest) -> Iterator[ClipPart]:
    """All of :func:`sound_frames`, as parts that travel to other processes."""
    for frame in sound_frames(path, request.max_pixels):
        yield SoundPiece(frame.pts, frame.to_ndarray())


def frame_of(piece: SoundPiece) -> Any:
    """The frame of PyAV that :func:`read_sound` made into ``piece``."""
    frame = av.AudioFrame.from_ndarray(piece.samples, "fltp", "mono" if len(piece.samples) == 1 else "stereo")
    frame.sample_rate, frame.pts, frame.time_base = OUT_RATE, piece.start, Fraction(1, OUT_RATE)
    return frame


def sound_frames(path: Path, max_pixels: int = MAX_PIXELS) -> Generator[Any]:
    """Frames of mono or stereo sound, with time stamps in samples from the first picture on; none from before it."""
    with open_regular(path) as file:
        container, film = open_film(file, path, max_pixels)
        with container:
            stream = best_sound(container, film)
            if stream is None:
                return
            start, layout, kind, end = start_of(film, stream), "", None, 0
            resampler: Any = None
            for frame in _whole(container, stream):
                # A stream may change its form on the way; what the film holds stays as it began.
                if kind != (kind := (frame.format.name, frame.layout.name, frame.sample_rate)):
                    layout = (
                        resampler.layout.name if resampler else "mono" if frame.layout.nb_channels == 1 else "stereo"
                    )
                    resampler = av.AudioResampler("fltp", layout, OUT_RATE, frame_size=OUT_FRAME)
                for part in resampler.resample(frame):
                    at = round((part.pts * part.time_base - start) * OUT_RATE)
                    # Files round their times: what nearly follows the part before it follows it.
                    if abs(at - end) < JITTER:
                        at = end
                    # A clock that steps back, or beyond what a film can hold, would be refused by it.
                    if end <= at <= end + LONGEST_STEP * OUT_RATE:
                        part.pts, part.time_base = at, Fraction(1, OUT_RATE)
                        end = at + part.samples
                        yield part


def _whole(container: Any, stream: Any) -> Iterator[Any]:
    for _, frames in decoded_packets(container, stream, ValueError):
        for frame in frames or ():
            if not frame.is_corrupt and frame.pts is not None and RATES[0] <= frame.sample_rate <= RATES[1]:
                yield frame
