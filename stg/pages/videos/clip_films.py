"""Clips for pages, read by a child process: a decoder that hangs, crashes or eats memory costs one film."""

from collections.abc import Iterator

from stg.runtime.files import without_places
from stg.runtime.reporter import Reporter
from stg.video.clip import ClipPart, ClipRequest, Film
from stg.video.decoding import VideoError
from stg.video.film import read_for_page
from stg.video.readers import Readers

TIME_LIMIT = 600.0
"""Seconds that are waited for one clip."""


def page_readers(time_limit: float = TIME_LIMIT, workers: int = 1) -> Readers:
    """Readers of clips for pages: their process starts with the first clip.

    Args:
        time_limit: seconds that are waited for one clip.
        workers: 0 reads in this process, without limits.
    """
    return Readers(ClipRequest(), min(workers, 1), time_limit, read=read_for_page)


def film_of(video: str, parts: Iterator[ClipPart], notes: list[str], reporter: Reporter) -> Film | None:
    """The film among the parts of a clip; where there is none, a note and a line say why."""
    try:
        return next((part for part in parts if isinstance(part, Film)), None)
    # Captions and pictures are there without it.
    except VideoError as error:
        notes.append(f"The clip cannot be played here: {without_places(str(error))}")
        reporter.say(f"no film of {video}: {error}")
        return None
