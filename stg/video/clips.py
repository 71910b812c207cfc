"""Find clips, and read one."""

import os
from collections.abc import Iterator
from pathlib import Path

from stg.runtime.errors import UserError
from stg.video.audio import read_sound
from stg.video.clip import ClipPart, ClipRequest
from stg.video.decoding import sample_video, video_id
from stg.video.segments import read_segments

SUFFIXES = tuple(
    ".mp4 .m4v .mov .3gp .mkv .webm .avi .mpg .mpeg .ts .m2ts .flv .ogv .wmv .asf".split()  # noqa: SIM905
)
"""Suffixes that mark a name as a clip's file: those that ``stg.extract`` takes from a folder."""


def read_clip(path: str | Path, request: ClipRequest) -> Iterator[ClipPart]:
    """The parts of a clip: first its sampled frames, then its segments in order, then its sound, piece by piece.

    Memory is bounded whatever the length: nothing is kept once it was given out. That costs time: a clip whose
    segments are wanted is decoded twice, once for the sampled frames and once for the segments (a damaged one up to
    twice for each), for which frames to sample is only certain when all have been decoded.

    Raises:
        VideoError: the clip cannot be used; may come after the first parts.
    """
    sample = sample_video(
        path, request.num_frames, request.sampling, request.max_pixels, request.min_frames, request.stride
    )
    yield sample
    if request.segments is not None:
        height, width = sample.frames.shape[1:3]
        yield from read_segments(path, request.segments, request.max_pixels, (height, width))
    if request.sound:
        yield from read_sound(path)


def find_clips(names: tuple[str, ...]) -> dict[str, Path]:
    """Id -> path of every clip of :func:`list_clips`.

    Raises:
        UserError: two clips with one id (their ids are their names without the suffix).
    """

    clips: dict[str, Path] = {}
    for path in list_clips(names):
        video = video_id(path)
        other = clips.setdefault(video, path)
        if other is not path and other.absolute() != path.absolute():
            raise UserError(f"two clips would have the id {video!r}: {str(other)!r} and {str(path)!r}; rename one")
    return clips


def list_clips(names: tuple[str, ...]) -> list[Path]:
    """Files as named, and of folders the entries that look like videos, sorted.

    Raises:
        UserError: a name that is not there, a folder without clips.
    """
    clips: list[Path] = []
    for name in names:
        path = Path(name)
        if not os.path.lexists(path):
            raise UserError(f"there is no file or folder {name!r}: give clips, or folders of clips")
        entries = [path]
        if path.is_dir():
            entries = sorted(item for item in path.iterdir() if item.suffix.lower() in SUFFIXES)
            if not entries:
                raise UserError(f"folder {str(path)!r} holds no clips (names that end in {' '.join(sorted(SUFFIXES))})")
        clips += entries
    return clips
