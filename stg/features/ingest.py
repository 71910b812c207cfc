"""The one way by which videos of any origin get into a graph store."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphs import GraphStore, StoreFullError, VideoFeatures, build_graph
from stg.features.clip_pass import Stages, Watched
from stg.features.extractor import Extractor
from stg.runtime.files import append_jsonl
from stg.video.clip import ClipPart
from stg.video.decoding import SampledFrames, VideoError

Source = Callable[[Sequence[str]], Iterable[tuple[str, Iterator[ClipPart]]]]
"""From ids to (id, parts of that clip) in the same order; parts that cannot be read raise a VideoError."""

Motion = Callable[[str, SampledFrames], tuple[np.ndarray, np.ndarray] | None]


@dataclass(frozen=True)
class IngestReport:
    """What became of the videos.

    Args:
        done: ids stored now.
        already: ids that the store held before.
        skipped: ids left out, each with a row in the skip log.
        seconds: wall time by stage: ``read`` (waiting for decoded clips), ``motion``, ``sound``, ``detector``,
            ``image``, ``graph``, ``store``.
    """

    done: tuple[str, ...]
    already: tuple[str, ...]
    skipped: tuple[str, ...]
    seconds: dict[str, float]


def ingest(
    store: GraphStore,
    videos: Sequence[str],
    source: Source,
    extractor: Extractor,
    motion: Motion | None = None,
    *,
    group: int = 1,
    manifest: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    skip_log: str | Path | None = None,
    clip_log: str | Path | None = None,
) -> IngestReport:
    """Extract every video that the store does not hold yet, and put its graph there.

    Can be stopped at any moment: the store then holds what was finished, and the same call goes on from there.

    Args:
        store: open for writing.
        videos: ids.
        source: reads them; see :func:`read_ahead` and :class:`stg.video.readers.Readers`. A :class:`VideoError` skips
            the video; every other error ends the work.
        extractor: clips -> features. A ValueError, such as one about features that are not finite, skips the video.
        motion: (id, frames) -> motion features ``[L M]`` and the row of each frame ``[T]``, where they were computed
            elsewhere; None skips the video, so that a store never holds some videos with motion and some without.
        group: videos whose frames go through the networks together.
        manifest: recorded in the store and compared on resuming; by default the extractor's.
        progress: called with (videos finished, of all) at the start and after each group.
        skip_log: JSON lines file to which each skipped video adds a row: id, stage, error class, message, time.
        clip_log: JSON lines file to which each video adds a row before it is stored: lengths, frame rate, whether it
            was cut short, how many objects it has and how many boxes were unusable. On double ids the last row holds.

    Raises:
        ValueError: the store was made under another manifest; the fields that differ are named.
    """
    store.manifest = extractor.manifest() if manifest is None else manifest
    tell = progress or (lambda done, total: None)
    already = tuple(video for video in videos if video in store)
    held = set(already)
    waiting = [video for video in dict.fromkeys(videos) if video not in held]
    done: list[str] = []
    skipped: list[str] = []
    stages = Stages()

    def skip(video: str, stage: str, error: Exception) -> None:
        skipped.append(video)
        if skip_log is not None:
            append_jsonl(skip_log, skip_row(video, stage, error))

    def finish(clips: Sequence[tuple[str, Watched]]) -> None:
        samples = {video: watched.sample for video, watched in clips}
        for video, features in _extract(extractor, clips, stages, skip):
            try:
                with stages("graph"):
                    graph = build_graph(with_motion(features, video, samples[video], motion))
                with stages("store"):
                    if clip_log is not None:
                        append_jsonl(clip_log, clip_row(video, features))
                    store.put(video, graph)
            except StoreFullError:
                raise
            except (VideoError, ValueError) as error:
                skip(video, "store", error)
            else:
                done.append(video)

    tell(len(already), len(videos))
    clips: list[tuple[str, Watched]] = []
    for video, parts in source(waiting):
        try:
            watched = extractor.watch(parts, stages)
        except VideoError as error:
            skip(video, "read", error)
        else:
            clips.append((video, watched))
        if len(clips) == group:
            finish(clips)
            clips = []
        tell(len(already) + len(done) + len(skipped), len(videos))
    if clips:
        finish(clips)
        tell(len(already) + len(done) + len(skipped), len(videos))
    return IngestReport(tuple(done), already, tuple(skipped), stages.seconds)


def _extract(
    extractor: Extractor,
    clips: Sequence[tuple[str, Watched]],
    stages: Stages,
    skip: Callable[[str, str, Exception], None],
) -> Iterator[tuple[str, VideoFeatures]]:
    """Features of a group of clips; where one of them is refused, one by one, so that it alone is skipped."""
    try:
        found = extractor.extract([watched for _, watched in clips], stages)
    except (VideoError, ValueError) as error:
        if len(clips) == 1:
            skip(clips[0][0], "extract", error)
        else:
            for clip in clips:
                yield from _extract(extractor, [clip], stages, skip)
    else:
        yield from zip((video for video, _ in clips), found, strict=True)


def clip_row(video: str, features: VideoFeatures) -> dict[str, Any]:
    """One line of the clip log."""
    return {"id": video, "objects": features.num_objects, **(features.manifest or {})}


def skip_row(video: str, stage: str, error: Exception) -> dict[str, str]:
    """One line of the skip log."""
    return {
        "id": video,
        "stage": stage,
        "error": type(error).__name__,
        "message": str(error),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def read_ahead(read: Callable[[str], SampledFrames]) -> Source:
    """A source that reads one video ahead, in a second thread: for frames that are made and not decoded."""

    def source(videos: Sequence[str]) -> Iterator[tuple[str, Iterator[ClipPart]]]:
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read") as pool:
            pending: deque[tuple[str, Future[SampledFrames]]] = deque()
            try:
                for video in videos:
                    pending.append((video, pool.submit(read, video)))
                    if len(pending) > 1:
                        yield _opened(*pending.popleft())
                while pending:
                    yield _opened(*pending.popleft())
            finally:
                for _, future in pending:
                    future.cancel()

    return source


def _opened(video: str, future: Future[SampledFrames]) -> tuple[str, Iterator[ClipPart]]:
    return video, (waited.result() for waited in (future,))


def with_motion(features: VideoFeatures, video: str, sample: SampledFrames, motion: Motion | None) -> VideoFeatures:
    """The features with motion that was computed elsewhere, if any is asked for.

    Raises:
        VideoError: there is none for this video.
    """
    if motion is None:
        return features
    found = motion(video, sample)
    if found is None:
        raise VideoError(f"there are no motion features for video {video!r}")
    rows, row = found
    return replace(
        features,
        motion=torch.from_numpy(np.ascontiguousarray(rows, np.float32)),
        motion_row=torch.from_numpy(np.ascontiguousarray(row, np.int64)),
    )
