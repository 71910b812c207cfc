"""Clips for pages and overlays, read by child processes: a decoder that hangs or crashes costs one film."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from stg.pages.videos.overlay_film import Footage
from stg.runtime.files import without_places
from stg.runtime.reporter import Reporter
from stg.video.clip import ClipPart, ClipRequest, Film, Frame, SoundPiece, Timeline
from stg.video.decoding import VideoError
from stg.video.film import read_for_page
from stg.video.film_sound import frame_of, read_sound
from stg.video.footage import read_footage
from stg.video.reader_process import Read
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


@contextmanager
def clip_footage(path: str | Path, time_limit: float = TIME_LIMIT, workers: int = 1) -> Iterator[Footage]:
    """All frames of a clip and its sound, each read by a process of its own as they are wanted.

    Args:
        path: the clip.
        time_limit: seconds that are waited for the pictures in all, and as many for the sound.
        workers: 0 reads in this process, without limits.

    Raises:
        VideoError: the clip cannot be read, or too much of it is damaged.
    """
    with ExitStack() as stack:

        def parts(read: Read) -> Generator[ClipPart]:
            readers = stack.enter_context(Readers(ClipRequest(), min(workers, 1), time_limit, read=read))
            return stack.enter_context(closing(readers.one(Path(path))))

        pictures, sound = parts(read_footage), parts(read_sound)
        line = next(pictures)
        assert isinstance(line, Timeline)
        yield Footage(
            line.total,
            line.fps,
            (line.height, line.width),
            lambda: (part.pixels for part in pictures if isinstance(part, Frame)),
            line.seconds,
            lambda: (frame_of(part) for part in sound if isinstance(part, SoundPiece)),
        )


def film_of(video: str, parts: Iterator[ClipPart], notes: list[str], reporter: Reporter) -> Film | None:
    """The film among the parts of a clip; where there is none, a note and a line say why."""
    try:
        return next((part for part in parts if isinstance(part, Film)), None)
    # Captions and pictures are there without it.
    except VideoError as error:
        notes.append(f"The clip cannot be played here: {without_places(str(error))}")
        reporter.say(f"no film of {video}: {error}")
        return None
