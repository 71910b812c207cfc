"""The one way by which videos of any origin get into a graph store."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphs import GraphStore, VideoFeatures, build_graph
from graphs.records import StoreFullError
from stg.files import append_jsonl
from stg.vision.extractor import Extractor
from stg.vision.video import SampledFrames, VideoError

Read = Callable[[str], SampledFrames]
Motion = Callable[[str, SampledFrames], tuple[np.ndarray, np.ndarray] | None]


@dataclass(frozen=True)
class IngestReport:
    """What became of the videos.

    Args:
        done: ids stored now.
        already: ids that the store held before.
        skipped: ids left out, each with a row in the skip log.
        seconds: time by stage: ``read`` (decoding, in its own thread, beside the others), ``extract``, ``store``.
    """

    done: tuple[str, ...]
    already: tuple[str, ...]
    skipped: tuple[str, ...]
    seconds: dict[str, float]


def ingest(
    store: GraphStore,
    videos: Sequence[str],
    read: Read,
    extractor: Extractor,
    motion: Motion | None = None,
    *,
    manifest: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    skip_log: str | Path | None = None,
    clip_log: str | Path | None = None,
) -> IngestReport:
    """Extract every video that the store does not hold yet, and put its graph there, one transaction a video.

    Can be stopped at any moment: the store then holds what was finished, and the same call goes on from there. The
    next videos are read in a second thread while the networks look at this one.

    Args:
        store: open for writing.
        videos: ids.
        read: id -> sampled frames. A :class:`VideoError` skips the video; every other error ends the work.
        extractor: frames -> features. A ValueError, such as one about features that are not finite, skips the video.
        motion: (id, frames) -> motion features ``[L M]`` and the row of each frame ``[T]``; None skips the video, so
            that a store never holds some videos with motion and some without.
        manifest: recorded in the store and compared on resuming; by default the extractor's.
        progress: called with (videos finished, of all) at the start and after each.
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
    seconds = {"read": 0.0, "extract": 0.0, "store": 0.0}
    tell(len(already), len(videos))
    for video, future in _read_ahead(waiting, read):
        stage = "read"
        try:
            sample, spent = future.result()
            seconds["read"] += spent
            stage, start = "extract", time.perf_counter()
            features = _with_motion(extractor(sample), video, sample, motion)
            graph = build_graph(features)
            seconds["extract"] += time.perf_counter() - start
            stage, start = "store", time.perf_counter()
            if clip_log is not None:
                append_jsonl(clip_log, {"id": video, "objects": features.num_objects, **(features.manifest or {})})
            store.put(video, graph)
            seconds["store"] += time.perf_counter() - start
        except StoreFullError:
            raise
        except (VideoError, ValueError) as error:
            skipped.append(video)
            if skip_log is not None:
                append_jsonl(skip_log, skip_row(video, stage, error))
        else:
            done.append(video)
        tell(len(already) + len(done) + len(skipped), len(videos))
    return IngestReport(tuple(done), already, tuple(skipped), seconds)


def skip_row(video: str, stage: str, error: Exception) -> dict[str, str]:
    """One line of the skip log."""
    return {
        "id": video,
        "stage": stage,
        "error": type(error).__name__,
        "message": str(error),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _read_ahead(videos: Sequence[str], read: Read) -> Iterator[tuple[str, "Future[tuple[SampledFrames, float]]"]]:
    """Each video with its frames, read one video ahead; memory holds three videos' frames at the most."""

    def timed(video: str) -> tuple[SampledFrames, float]:
        start = time.perf_counter()
        return read(video), time.perf_counter() - start

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read") as pool:
        pending: deque[tuple[str, Future[tuple[SampledFrames, float]]]] = deque()
        try:
            for video in videos:
                pending.append((video, pool.submit(timed, video)))
                if len(pending) > 1:
                    yield pending.popleft()
            yield from pending
        finally:
            for _, future in pending:
                future.cancel()


def _with_motion(features: VideoFeatures, video: str, sample: SampledFrames, motion: Motion | None) -> VideoFeatures:
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
