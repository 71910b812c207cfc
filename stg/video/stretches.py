"""A long clip as stretches of it, one after another, each read as a clip of its own would be.

Several decoders run over the file at once, one a stretch behind the other, so that memory does not grow with the length
and the first stretch is there long before the last is read.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float64

from stg.video.audio import RATE as SOUND_RATE
from stg.video.audio import STEP, read_sound
from stg.video.clip import AudioChunk, ClipPart, ClipRequest
from stg.video.cuts import cut_seconds
from stg.video.decoding import Decoded, SampledFrames, check_damage, video_id
from stg.video.packets import PacketIndex, VideoError, open_regular, pictures_of, read_index
from stg.video.pictures import DecodedPicture, fit
from stg.video.sampling import sample_numbers, sample_seconds
from stg.video.segments import Resizer, in_segments

SHORTEST = 1.0
"""Seconds: what is shorter joins its neighbour."""

EARLY = 1e-6
"""Seconds by which rounding may put a frame before its time."""

Timed = tuple[float, DecodedPicture]
"""A picture, and when it is shown."""


@dataclass(frozen=True)
class Stretch:
    """What of a clip is seen at once.

    Args:
        start, end: in seconds from the first picture.
        clock: ``[n]`` when its frames are shown, at least one.
        whole: seconds that the clip lasts.
    """

    start: float
    end: float
    clock: Float64[np.ndarray, " n"]
    whole: float


def read_stretches(path: str | Path, request: ClipRequest) -> Iterator[ClipPart]:
    """The parts of each stretch in the order of :func:`stg.video.clips.read_clip`, its sampled frames first.

    ``request.cut`` says where the clip is cut: each so many seconds, or where its picture changes at once (``scenes``,
    :func:`stg.video.cuts.cut_seconds`). One shorter than :data:`SHORTEST`, and one in which no new frame is shown,
    joins its neighbour. Frames are chosen among those of the stretch by the request's rule. A frame that cannot be read
    shows the one before it. Sound is cut to the nearest example of .96 s.

    Raises:
        VideoError: the clip cannot be used; mostly comes after the parts that could be read.
    """
    path = Path(path)
    with ExitStack() as stack:
        files = [stack.enter_context(open_regular(path)) for _ in range(3)]
        index = read_index(files[0], path, request.max_pixels)
        if not index.packets:
            raise VideoError(f"{path.name!r} has 0 readable frames; at least {max(request.min_frames, 1)} wanted")
        sampler = _Sampler(path, request, index, files[1])
        frames, sound = None, _Sound(path) if request.sound else None
        for stretch in _stretches(path, request, index, files[0]):
            yield (sample := sampler.sample(stretch))
            if request.segments is not None:
                frames = frames or _Frames(path, request, index, files[2], sample.frames.shape[1:3])
                yield from in_segments(frames.until(stretch.end), request.segments.span)
            if sound is not None:
                yield from sound.until(stretch.end)
        sampler.check()


def by_stretch(parts: Iterator[ClipPart]) -> Iterator[Iterator[ClipPart]]:
    """The parts of :func:`read_stretches`, those of each stretch apart; they are there until the next is asked for."""
    count = 0

    def number(part: ClipPart) -> int:
        nonlocal count
        count += isinstance(part, SampledFrames)
        return count

    return (group for _, group in groupby(parts, number))


def _stretches(path: Path, request: ClipRequest, index: PacketIndex, file: BinaryIO) -> Iterator[Stretch]:
    clock = index.clock if index.clock is not None else np.arange(index.packets) / (index.fps or 25)
    whole = index.duration(index.packets) or float(clock[-1]) + 1 / 25
    if request.cut == "scenes":
        cuts = cut_seconds(timed_pictures(file, path, index, Decoded(), request.max_pixels))
    else:
        assert isinstance(request.cut, float)
        cuts = iter(np.arange(request.cut, whole, request.cut).tolist())
    start, first, before = 0.0, 0, list[Stretch]()
    for cut in chain(cuts, [whole]):
        if cut < whole and min(cut - start, whole - cut) < SHORTEST - EARLY:
            continue
        end = int(np.searchsorted(clock, cut - EARLY)) if cut < whole else len(clock)
        if first == end:
            # The picture of the stretch before still stands: what is said of that goes for both.
            before = [replace(one, end=cut) for one in before]
        else:
            yield from before
            before = [Stretch(start, cut, clock[first:end], whole)]
        start, first = cut, end
    yield from before


def timed_pictures(
    file: BinaryIO, path: Path, index: PacketIndex, decoded: Decoded, max_pixels: int
) -> Iterator[Timed]:
    """The whole pictures of a clip with their times, which never run backwards; ``decoded`` counts all of them."""
    last = 0.0
    for picture in pictures_of(file, path, max_pixels):
        place = len(decoded.times)
        if decoded.count(picture):
            last = max(last, index.shown(place, picture.frame.pts))
            yield last, picture


class _Sampler:
    """Takes the sampled frames of one stretch after the other, in one pass over the clip."""

    def __init__(self, path: Path, request: ClipRequest, index: PacketIndex, file: BinaryIO) -> None:
        self.path, self.request, self.index, self.decoded = path, request, index, Decoded()
        self.pictures = timed_pictures(file, path, index, self.decoded, request.max_pixels)
        self.last: Timed | None = None
        self.next = next(self.pictures, None)

    def sample(self, stretch: Stretch) -> SampledFrames:
        clock, request, index = stretch.clock, self.request, self.index
        rule = (request.num_frames, request.sampling, request.stride)
        if index.uneven:
            places = sample_seconds(clock - stretch.start, stretch.end - stretch.start, *rule)
        else:
            places = sample_numbers(len(clock), *rule)
        taken: list[np.ndarray] = []
        held: DecodedPicture | None = None
        for moment in clock[places].tolist():
            picture = self._at(moment, stretch)
            taken.append(taken[-1] if picture is held else picture.kept())
            held = picture
        shape = max(frame.shape[0] for frame in taken), max(frame.shape[1] for frame in taken)
        if shape[0] * shape[1] > request.max_pixels:
            raise VideoError(
                f"{self.path.name!r} changes its size, to {shape[1]}x{shape[0]} together; the limit is "
                f"{request.max_pixels} pixels"
            )
        return SampledFrames(
            video=video_id(self.path),
            frames=np.stack([fit(frame, shape) for frame in taken]),
            frame_number=places,
            total_frames=len(clock),
            fps=index.fps,
            truncated=index.truncated,
            seconds=clock[places] - stretch.start,
            facts={**index.facts, **self.decoded.facts},
            duration=stretch.end - stretch.start,
            start=stretch.start,
            whole=stretch.whole,
        )

    def _at(self, moment: float, stretch: Stretch) -> DecodedPicture:
        """What is on the screen at a moment: of this stretch, unless nothing of it can be read."""
        while self.next is not None and self.next[0] <= moment + EARLY:
            self.last, self.next = self.next, next(self.pictures, None)
        ahead = self.next is not None and self.next[0] < stretch.end - EARLY
        if self.next is not None and (self.last is None or (ahead and self.last[0] < stretch.start - EARLY)):
            return self.next[1]
        if self.last is None:
            raise VideoError(f"{self.path.name!r} has 0 readable frames; at least 1 wanted")
        return self.last[1]

    def check(self) -> None:
        """Read to the end, and refuse a clip of which too much could not be read."""
        for _ in self.pictures:
            pass
        check_damage(self.path, self.index, self.decoded, self.request.min_frames)


class _Frames:
    """All frames of one stretch after the other, resized for a motion network, in one pass over the clip."""

    def __init__(
        self, path: Path, request: ClipRequest, index: PacketIndex, file: BinaryIO, shape: tuple[int, int]
    ) -> None:
        assert request.segments is not None
        self.resize = Resizer(path, request.segments, request.max_pixels, shape)
        self.pictures = timed_pictures(file, path, index, Decoded(), request.max_pixels)
        self.next = next(self.pictures, None)
        self.last: np.ndarray | None = None

    def until(self, end: float) -> Iterator[np.ndarray]:
        """The frames that begin before ``end``; if none does, the one that is on the screen."""
        empty = True
        while self.next is not None and self.next[0] < end - EARLY:
            self.last, empty = self.resize(self.next[1]), False
            yield self.last
            self.next = next(self.pictures, None)
        if empty and self.last is not None:
            yield self.last


class _Sound:
    """The examples of one stretch after the other, in one pass over the sound."""

    def __init__(self, path: Path) -> None:
        self.chunks = read_sound(path)
        self.rest: AudioChunk | None = None
        self.done = 0

    def until(self, end: float) -> Iterator[AudioChunk]:
        """The examples of which more than half lies before ``end``."""
        count = round(end * SOUND_RATE / STEP) - self.done
        while count > 0 and (chunk := self.rest or next(self.chunks, None)) is not None:
            taken = min(count, len(chunk.audible))
            yield AudioChunk(chunk.examples[:taken], chunk.audible[:taken])
            left = AudioChunk(chunk.examples[taken:], chunk.audible[taken:])
            self.rest = left if len(left.audible) else None
            self.done, count = self.done + taken, count - taken
