"""One pass over a clip: its sampled frames, and what the motion and sound networks say of the rest."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

from stg.video.clip import AudioChunk, ClipPart, Segment
from stg.video.decoding import SampledFrames, VideoError
from stg.video.sampling import motion_rows
from stg.vision.motion import MotionNetwork, grid, mean_map
from stg.vision.registry import MOTION_BATCH
from stg.vision.vggish import SoundNetwork


class Stages:
    """Wall seconds by stage, summed over all entries; stages must not be entered inside one another."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


MOST_GRIDS = 1024
"""Most segments of a clip whose grids are kept, 400 kB each (800 kB with two streams): 16 frames each are 9 minutes at
30 frames a second."""


@dataclass(frozen=True)
class ClipFeatures:
    """A clip as the detector and the image network need it, everything else being features already.

    Args:
        sample: the sampled frames.
        motion: ``[L M]`` pooled features of the segments.
        motion_row: ``[T]`` the segment that each sampled frame lies in.
        grid: ``[L P G]`` features of the places of each segment.
        maps: ``[T C h w]`` the motion network's map, averaged over time, of each sampled frame's segment.
        audio: ``[A U]`` features of the sound; no rows where there is no sound at all.
        audio_mask: ``[A]`` False where the sound is silent.
    """

    sample: SampledFrames
    motion: Float32[np.ndarray, "L M"] | None = None
    motion_row: Int64[np.ndarray, " T"] | None = None
    grid: Float32[np.ndarray, "L P G"] | None = None
    maps: Float32[np.ndarray, "T C h w"] | None = None
    audio: Float32[np.ndarray, "A U"] | None = None
    audio_mask: Bool[np.ndarray, " A"] | None = None


def run_clip(
    parts: Iterable[ClipPart],
    motion: MotionNetwork | None = None,
    sound: SoundNetwork | None = None,
    *,
    grid: bool = False,
    maps: bool = False,
    stages: Stages | None = None,
) -> ClipFeatures:
    """Go through the parts of a clip once, in their order, keeping features instead of pictures.

    Args:
        parts: as :func:`stg.video.clips.read_clip` gives them.
        motion: describes the segments.
        sound: describes the sound.
        grid: keep the features of all places too; clips of more than :data:`MOST_GRIDS` segments are then refused.
        maps: keep the motion maps of the segments that hold a sampled frame.
        stages: takes the time of ``read``, ``motion`` and ``sound``.

    Raises:
        VideoError: the clip cannot be used.
    """
    stages = stages or Stages()
    remaining = _timed(iter(parts), stages)
    # The frames of the sample come first, whatever else is asked for: they decide what is kept of the rest.
    sample = next(remaining, None)
    if not isinstance(sample, SampledFrames):
        raise VideoError("the clip gave no frames")
    segments: list[Segment] = []
    audio: list[np.ndarray] = []
    audible: list[np.ndarray] = []
    track = _MotionTrack(sample, motion, grid=grid, maps=maps) if motion is not None else None
    for part in remaining:
        if isinstance(part, Segment) and track is not None:
            segments.append(part)
            # In batches for the GPU, and released at once: a long clip never is in memory as pictures.
            if len(segments) == MOTION_BATCH:
                with stages("motion"):
                    track.add(segments)
                segments = []
        elif isinstance(part, AudioChunk) and sound is not None:
            rows = np.zeros((len(part.audible), sound.width), np.float32)  # silence stays zero, and is masked
            if part.audible.any():
                with stages("sound"):
                    rows[part.audible] = sound(part.examples[part.audible])
            audio.append(rows)
            audible.append(part.audible)
    # What is left when the clip ends: the last batch need not be full.
    if track is not None and segments:
        with stages("motion"):
            track.add(segments)
    return ClipFeatures(
        sample,
        **(track.result() if track is not None else {}),
        # With an empty array in front, as a silent clip gives no chunk at all.
        audio=np.concatenate([np.zeros((0, sound.width), np.float32), *audio]) if sound is not None else None,
        audio_mask=np.concatenate([np.zeros(0, bool), *audible]) if sound is not None else None,
    )


def _timed(parts: Iterator[ClipPart], stages: Stages) -> Iterator[ClipPart]:
    while True:
        with stages("read"):
            part = next(parts, None)
        if part is None:
            return
        yield part


class _MotionTrack:
    """The motion features of a clip, gathered segment by segment: a row always covers one, whatever the length."""

    def __init__(self, sample: SampledFrames, network: MotionNetwork, *, grid: bool, maps: bool) -> None:
        self.sample, self.network = sample, network
        self.pooled: list[np.ndarray] = []
        self.grids: list[np.ndarray] = []
        self.keep_grid, self.keep_maps = grid, maps
        self.maps: dict[int, np.ndarray] = {}
        self.asked = set((sample.frame_number // network.request.span).tolist())
        self._check_length(-(-sample.total_frames // network.request.span))

    def add(self, segments: Sequence[Segment]) -> None:

        # Again: a file may decode to more frames than the first time.
        self._check_length(sum(map(len, self.grids)) + len(segments))
        found = self.network(np.stack([segment.frames for segment in segments]))
        self.pooled.append(found.pooled)
        if self.keep_grid:
            self.grids.append(grid(found.maps))
        if self.keep_maps:
            means = mean_map(found.maps)
            self.maps |= {s.row: m for s, m in zip(segments, means, strict=True) if s.row in self.asked}
            # Frames beyond the last whole segment take its map.
            self.maps[-1] = means[-1]

    def _check_length(self, count: int) -> None:
        if self.keep_grid and count > MOST_GRIDS:
            raise VideoError(
                f"{self.sample.video!r} has {count} segments of {self.network.request.span} frames; with --grid at "
                f"most {MOST_GRIDS} are kept: cut it, or extract without --grid"
            )

    def result(self) -> dict[str, np.ndarray]:
        if not self.pooled:
            raise VideoError(f"{self.sample.video!r} has no frame for the motion network")
        span = self.network.request.span
        motion = np.concatenate(self.pooled)
        # Which row each sampled frame falls into follows from its number, as every row covers ``span`` frames.
        found = {"motion": motion, "motion_row": motion_rows(self.sample.frame_number, len(motion), span)}
        if self.keep_grid:
            found["grid"] = np.concatenate(self.grids)
        if self.keep_maps:
            places = (self.sample.frame_number // span).tolist()
            found["maps"] = np.stack([self.maps.get(place, self.maps[-1]) for place in places])
        return found
