"""Find clips, and read one."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from stg.runtime.errors import UserError
from stg.runtime.reading import counted
from stg.runtime.stamps import read_of
from stg.video.audio import read_sound
from stg.video.clip import ClipPart, ClipRequest
from stg.video.decoding import sample_video, video_id
from stg.video.packets import open_regular
from stg.video.segments import read_segments
from stg.video.stretches import read_stretches

SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3gpp", ".3g2", ".3gp2", ".f4v", ".mj2", ".mkv", ".mk3d", ".webm", ".avi",
    ".divx", ".mpg", ".mpeg", ".mpe", ".vob", ".mod", ".ts", ".mts", ".m2ts", ".m2t", ".trp", ".tod", ".flv", ".ogv",
    ".ogm", ".wmv", ".asf", ".gif",
)  # fmt: skip
"""Suffixes that mark a name as a clip's file, in any case: those that ``stg.extract`` takes from a folder, and that ids
lose. All that the decoder reads, but those that mostly hold sound alone."""

CAPTION_FILES = ("captions.csv", "captions.jsonl")
"""Belong to a folder of clips, so nobody needs to read that they are no clips."""


def read_clip(path: str | Path, request: ClipRequest) -> Iterator[ClipPart]:
    """The parts of a clip: first its sampled frames, then its segments in order, then its sound, piece by piece.

    Memory is bounded whatever the length: nothing is kept once it was given out. That costs time: a clip whose
    segments are wanted is decoded twice, once for the sampled frames and once for the segments (a damaged one up to
    twice for each), for which frames to sample is only certain when all have been decoded.

    With ``request.cut`` the same of one stretch after the other.

    Raises:
        VideoError: the clip cannot be used; may come after the first parts.
    """
    if request.cut is not None:
        yield from read_stretches(path, request)
        return
    read = None
    if request.identity:
        # Before the frames: a file that is replaced meanwhile is seen to differ later, and not taken for this one.
        with open_regular(Path(path)) as file:
            read = read_of(file)
    sample = sample_video(
        path, request.num_frames, request.sampling, request.max_pixels, request.min_frames, request.stride
    )
    yield sample if read is None else replace(sample, facts={**sample.facts, **read.row()})
    if request.segments is not None:
        height, width = sample.frames.shape[1:3]
        yield from read_segments(path, request.segments, request.max_pixels, (height, width))
    if request.sound:
        yield from read_sound(path)


@dataclass
class ClipList:
    """Clips that were found, and what was left out.

    Attributes:
        paths: files as named, and of folders the entries that look like clips, sorted.
        hidden: files whose names start with a dot, such as the companions that a Mac writes (``._NAME``).
        others: suffix -> how many files of folders have it and are therefore no clips.
        below: clips in subfolders that were not searched.
    """

    paths: list[Path] = field(default_factory=list)
    hidden: int = 0
    others: Counter[str] = field(default_factory=Counter)
    below: int = 0

    @property
    def left_out(self) -> str:
        """One line that counts what was left out and why; empty if nothing was."""
        parts = []
        if self.below:
            parts.append(f"{counted(self.below, 'clip')} in subfolders (--recursive takes them)")
        if self.others:
            kinds = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in self.others.most_common(5))
            more = ", ..." if len(self.others) > 5 else ""
            parts.append(f"{counted(self.others.total(), 'file')} that are no clips by their suffix ({kinds}{more})")
        if self.hidden:
            parts.append(f"{counted(self.hidden, 'hidden file')} (names that start with a dot)")
        return "left out: " + "; ".join(parts) if parts else ""


def find_clips(names: tuple[str, ...], recursive: bool = False) -> dict[str, Path]:
    """Id -> path of every clip of :func:`list_clips`.

    Raises:
        UserError: two clips with one id (their ids are their names without the suffix).
    """
    return by_id(list_clips(names, recursive).paths)


def by_id(paths: Iterable[Path]) -> dict[str, Path]:
    """Id -> path; the same file twice is one clip.

    Raises:
        UserError: two clips with one id (their ids are their names without the suffix).
    """
    clips: dict[str, Path] = {}
    for path in paths:
        video = video_id(path)
        other = clips.setdefault(video, path)
        if other is not path and other.absolute() != path.absolute():
            raise UserError(f"two clips would have the id {video!r}: {str(other)!r} and {str(path)!r}; rename one")
    return clips


def list_clips(names: tuple[str, ...], recursive: bool = False) -> ClipList:
    """Files as named, and of folders the entries that look like clips.

    Args:
        recursive: search the subfolders of folders, too, but those that are links or hidden.

    Raises:
        UserError: a name that is not there, a folder without clips.
    """
    found = ClipList()
    for name in names:
        path = Path(name)
        if not os.path.lexists(path):
            raise UserError(f"there is no file or folder {name!r}: give clips, or folders of clips")
        if not path.is_dir():
            found.paths.append(path)
            continue
        inside = _in_folder(path, recursive)
        if not inside.paths:
            why = f"; {inside.left_out}" if inside.left_out else ""
            raise UserError(
                f"folder {str(path)!r} holds no clips (names that end in {' '.join(sorted(SUFFIXES))}){why}"
            )
        found.paths += inside.paths
        found.hidden += inside.hidden
        found.others += inside.others
        found.below += inside.below
    return found


def _in_folder(folder: Path, recursive: bool) -> ClipList:
    found = ClipList()
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = [name for name in files if not name.startswith(".")]
        clips = [Path(place, name) for name in inside if Path(name).suffix.lower() in SUFFIXES]
        if not recursive and place != str(folder):
            found.below += len(clips)
            continue
        found.paths += clips
        found.hidden += len(files) - len(inside)
        others = (Path(name) for name in inside if name not in CAPTION_FILES)
        found.others.update(path.suffix.lower() for path in others if path.suffix.lower() not in SUFFIXES)
    found.paths.sort()
    return found
