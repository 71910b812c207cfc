"""Pages in notebooks."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from stg.captioning.pipeline import ClipCaption
from stg.explain import DeletionTests
from stg.pages.videos.build import page_facts
from stg.pages.videos.clip_films import page_readers
from stg.pages.videos.clips import view_of_clip
from stg.pages.videos.page import video_fragment, videos_html
from stg.pages.videos.views import VideosPage
from stg.runtime.files import write_atomic


class Shown:
    """A page of captioned clips, which notebooks show by themselves; made by :func:`stg.show`.

    Args:
        page: what is on it.
    """

    def __init__(self, page: VideosPage) -> None:
        self.page = page

    @cached_property
    def html(self) -> str:
        """The whole page, one file that needs nothing else."""
        return videos_html(self.page)

    def _repr_html_(self) -> str:
        return video_fragment(self.page)

    def save(self, path: str | Path) -> Path:
        """Write the page to a file; returns its path."""
        write_atomic(path, self.html)
        return Path(path)

    def __repr__(self) -> str:
        captioned = [view for view in self.page.videos if view.captions]
        listed = "; ".join(f"{view.video}: {' '.join(view.captions[0].explanation.words)}" for view in captioned)
        return f"Shown({listed or 'nothing'})"


def show(result: ClipCaption | Sequence[ClipCaption]) -> Shown:
    """The page of one captioned clip, or of several; see :func:`stg.show`."""
    found = [result] if isinstance(result, ClipCaption) else list(result)
    if not found:
        raise ValueError("there is nothing to show: give what describe() returned, or several of these")
    tests = DeletionTests()
    with page_readers() as readers:
        views = tuple(view_of_clip(one, readers, tests=tests) for one in found)
    title = Path(found[0].video).name if len(found) == 1 else f"{len(found)} videos"
    return Shown(VideosPage(title=title, lead="", videos=views, deletions=tests.results(), facts=page_facts()))
