"""Videos of any origin into a graph store."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphs import GraphStore, StoreFullError, VideoFeatures
from stg.data.edges import graph_as_recorded
from stg.features.clip_pass import ClipFeatures, Stages
from stg.features.extractor import Extractor
from stg.features.log import ExtractionLog
from stg.runtime.reporter import Progress
from stg.video.clip import ClipPart
from stg.video.decoding import SampledFrames, VideoError
from stg.video.readers import Readers

Source = Callable[[Sequence[str]], Iterable[tuple[str, Iterator[ClipPart]]]]
"""From ids to (id, parts of that clip) in the same order; parts that cannot be read raise a VideoError."""

Motion = Callable[[str, SampledFrames], tuple[np.ndarray, np.ndarray] | None]


@dataclass(frozen=True)
class IngestReport:
    """What became of the videos.

    Args:
        done: ids stored now, those made again included.
        already: ids that the store held before.
        skipped: ids left out, each with a row in the list of skips.
        seconds: wall time by stage: ``read`` (waiting for decoded clips), ``motion``, ``sound``, ``detector``,
            ``image``, ``graph``, ``store``.
        elsewhere: ids left out since another shard of the store holds them.
        store: the store that was written, where a function chose it.
        wall: seconds from the first clip to the last.
        remade: ids of ``done`` whose graphs took the place of those of other files.
    """

    done: tuple[str, ...]
    already: tuple[str, ...]
    skipped: tuple[str, ...]
    seconds: dict[str, float]
    elsewhere: tuple[str, ...] = ()
    store: Path | None = None
    wall: float = 0.0
    remade: tuple[str, ...] = ()

    @property
    def asked(self) -> int:
        """Videos that were to be in this store."""
        return len(self.done) + len(self.already) + len(self.skipped)


def ingest(
    store: GraphStore,
    videos: Sequence[str],
    source: Source,
    extractor: Extractor,
    motion: Motion | None = None,
    *,
    group: int = 1,
    manifest: dict[str, Any] | None = None,
    progress: Progress = lambda done, total: None,
    log: ExtractionLog | None = None,
) -> IngestReport:
    """Extract every video that the store does not hold yet, and put its graph there.

    Can be stopped at any moment: the store then holds what was finished, and the same call resumes the work.

    Args:
        store: open for writing.
        videos: ids.
        source: reads them; see :func:`prefetch` and :class:`stg.video.readers.Readers`. A :class:`VideoError` skips
            the video; every other error ends the work.
        extractor: clips -> features. A ValueError, such as one about features that are not finite, skips the video.
        motion: (id, frames) -> motion features ``[L M]`` and the row of each frame ``[T]``, where they were computed
            elsewhere; None skips the video, so that a store never holds some videos with motion and some without.
        group: videos whose frames go through the networks together.
        manifest: recorded in the store and compared on resuming; by default the extractor's.
        progress: called with (videos finished, of all) at the start and after each video read.
        log: takes a row for each video that is skipped, and for each that is stored; and says which are made again.

    Raises:
        ValueError: the store was made under another manifest; the fields that differ are named.
    """
    # Before any work: features that were made otherwise never get into one store.
    store.require_manifest(extractor.manifest() if manifest is None else manifest)
    already = tuple(video for video in videos if (video in store if log is None else log.holds(store, video)))
    held = set(already)
    # Each once, in the order given: what was stored by an earlier call is not extracted again.
    waiting = [video for video in dict.fromkeys(videos) if video not in held]
    work = _Ingestion(store, extractor, motion, log)
    progress(len(already), len(videos))
    clips: list[tuple[str, ClipFeatures]] = []
    # Motion and sound pass through their networks while a clip is read, so that only features and sampled frames are
    # held; detector and image network take the frames of a whole group at once.
    for video, parts in source(waiting):
        try:
            clips.append((video, extractor.run_clip(parts, work.stages)))
        # One clip of many: it is listed with its reason, and the others are read.
        except VideoError as error:
            work.skip(video, "read", error)
        if len(clips) == group:
            work.store_all(clips)
            clips = []
        progress(len(already) + work.count, len(videos))
    if clips:
        work.store_all(clips)
        progress(len(already) + work.count, len(videos))
    return IngestReport(tuple(work.done), already, tuple(work.skipped), work.stages.seconds)


class _Ingestion:
    """What one call of :func:`ingest` works with, and what became of its videos so far."""

    def __init__(
        self, store: GraphStore, extractor: Extractor, motion: Motion | None, log: ExtractionLog | None
    ) -> None:
        self.store, self.extractor, self.motion, self.log = store, extractor, motion, log
        self.manifest = store.manifest
        self.done: list[str] = []
        self.skipped: list[str] = []
        self.stages = Stages()

    @property
    def count(self) -> int:
        """Videos that are finished, one way or the other."""
        return len(self.done) + len(self.skipped)

    def skip(self, video: str, stage: str, error: Exception) -> None:
        self.skipped.append(video)
        if self.log is not None:
            self.log.skip(video, stage, error)

    def store_all(self, clips: Sequence[tuple[str, ClipFeatures]]) -> None:
        """Put the graphs of a group of clips into the store."""
        samples = {video: clip.sample for video, clip in clips}
        for video, features in self._extract(clips):
            try:
                with self.stages("graph"):
                    # As the manifest says: what it says nothing of is the paper's.
                    whole = with_motion(features, video, samples[video], self.motion)
                    graph = graph_as_recorded(whole, self.manifest)
                row = clip_row(video, features)
                with self.stages("store"), nullcontext() if self.log is None else self.log.clip(row):
                    self.store.put(video, graph)
            except StoreFullError:  # no fault of the video: nothing more can be stored
                raise
            except (VideoError, ValueError) as error:
                self.skip(video, "store", error)
            else:
                self.done.append(video)

    def _extract(self, clips: Sequence[tuple[str, ClipFeatures]]) -> Iterator[tuple[str, VideoFeatures]]:
        """Features of a group of clips; where one of them is refused, one by one, so that it alone is skipped."""
        try:
            found = self.extractor.extract([clip for _, clip in clips], self.stages)
        except (VideoError, ValueError) as error:
            # It is the one that was refused. Groups of one end the recursion.
            if len(clips) == 1:
                self.skip(clips[0][0], "extract", error)
            else:
                for clip in clips:
                    yield from self._extract([clip])
        else:
            yield from zip((video for video, _ in clips), found, strict=True)


def clip_row(video: str, features: VideoFeatures) -> dict[str, Any]:
    """One line of the list of clips: what is known of a video."""
    return {"id": video, "objects": features.num_objects, **(features.manifest or {})}


def source_of(readers: Readers, clips: Mapping[str, Path]) -> Source:
    """The source that reads clips by their paths, in other processes."""
    return lambda videos: readers.open({video: clips[video] for video in videos})


def prefetch(read: Callable[[str], SampledFrames]) -> Source:
    """A source that reads one video ahead, in a second thread: for frames that are made and not decoded."""

    def source(videos: Sequence[str]) -> Iterator[tuple[str, Iterator[ClipPart]]]:
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read") as pool:
            pending: deque[tuple[str, Future[SampledFrames]]] = deque()
            try:
                for video in videos:
                    pending.append((video, pool.submit(read, video)))
                    # One is always being read while the one before it is worked on; more would only hold memory.
                    if len(pending) > 1:
                        yield _opened(*pending.popleft())
                while pending:
                    yield _opened(*pending.popleft())
            finally:
                # Whoever stops in the middle does not wait for videos that nobody wants any more.
                for _, future in pending:
                    future.cancel()

    return source


def _opened(video: str, future: Future[SampledFrames]) -> tuple[str, Iterator[ClipPart]]:
    return video, (waited.result() for waited in (future,))


def with_motion(features: VideoFeatures, video: str, sample: SampledFrames, motion: Motion | None) -> VideoFeatures:
    """The features with motion that was computed elsewhere, if any is asked for.

    Raises:
        VideoError: this video has no motion features.
    """
    if motion is None:
        return features
    found = motion(video, sample)
    if found is None:
        raise VideoError(f"there are no motion features for video {video!r}")
    rows, row = found
    return replace(
        features,
        # A copy where needed: rows of a table may be strided, or of another type.
        motion=torch.from_numpy(np.ascontiguousarray(rows, np.float32)),
        motion_row=torch.from_numpy(np.ascontiguousarray(row, np.int64)),
    )
