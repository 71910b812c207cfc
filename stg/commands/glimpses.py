"""A few frames of a video for pages that show captions: of the built-in world, or of clips that are at hand."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stg.config.training import FitConfig
from stg.datasets.world.dataset import World
from stg.features.log import ExtractionLog, require_same_clip
from stg.pages.videos.pictures import glimpse
from stg.runtime.reading import normal_id
from stg.runtime.reporter import Reporter
from stg.video.clip import ClipRequest
from stg.video.clips import ClipList, by_id, list_clips
from stg.video.decoding import SampledFrames, VideoError
from stg.video.readers import Readers


def glimpses(
    settings: FitConfig,
    clips: Mapping[str, Path],
    count: int,
    readers: Readers,
    reporter: Reporter,
    *,
    store: str | None = None,
) -> Callable[[str], Sequence[str]] | None:
    """Frames of a video as ``data:`` addresses; None where neither a world nor clips are there.

    Args:
        settings: of a run; they name the data set and the store.
        clips: the files by their ids.
        count: frames of a video.
        readers: read the clips, ``count`` frames each (`reading`).
        reporter: takes which videos have no pictures, and why.
        store: read in place of the one of the settings.
    """
    if settings.data.dataset == "world":
        world = World.of(settings.world)
        return lambda video: glimpse(world.sample(video, count))
    store = store or settings.data.store
    rows = ExtractionLog(store).rows() if clips and store else {}

    def frames(video: str) -> Sequence[str]:
        if (clip := clips.get(normal_id(video))) is None:
            return ()
        try:
            require_same_clip(rows, video, clip)
            return [one for part in readers.one(clip) if isinstance(part, SampledFrames) for one in glimpse(part)]
        except VideoError as error:
            reporter.say(f"no pictures of {video}: {error}")  # the page shows captions: it can do without
            return ()

    return frames if clips else None


def reading(count: int, time_limit: float) -> Readers:
    """Readers of so many frames a clip."""
    return Readers(ClipRequest(count), 1, time_limit)


def clips_by_id(places: str | None, recursive: bool, reporter: Reporter) -> dict[str, Path]:
    """The clips of files and folders, by id; what was left out is said."""
    found = list_clips(tuple(joined_places(places)), recursive) if places else ClipList()
    if found.left_out:
        reporter.say(found.left_out)
    return by_id(found.paths)


def joined_places(places: str | None) -> list[str]:
    """Files and folders that an option joins as a path is joined."""
    return [place for place in (places or "").split(os.pathsep) if place]
