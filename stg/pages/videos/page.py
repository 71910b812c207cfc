"""Pages of videos: articles into HTML files of bounded size."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from stg.explain import Deletion
from stg.pages.html import render, templates
from stg.pages.videos.boxes_and_edges import HEIGHT, LARGEST_K, data_uri, own_types, strip_of, track_css
from stg.pages.videos.caption_rows import caption_for_template, deletion
from stg.pages.videos.edge_table import edge_table
from stg.pages.videos.views import VideosPage, VideoView
from stg.runtime.files import page_file, write_atomic
from stg.video.film import SECONDS

STRONGEST = 2
"""Edges into each box (of one kind) that are drawn at first."""


MAX_VIDEOS = 30
"""Videos on one page."""


GENERATOR = '<meta name="generator" content="stg">'
"""Marks pages that this package wrote."""


MAX_HEAD = 200_000
"""Characters of a page in which its head and its links to other pages are searched for."""


MAX_BYTES = 18_000_000
"""Bytes of one page, so that it can be mailed; only a single video that is larger by itself exceeds it."""


def videos_html(page: VideosPage) -> str:
    """A page of videos as HTML that needs no other file, no network and, to be read, no script."""
    return filled(page, [article(view, n) for n, view in enumerate(page.videos, start=1)])


@dataclass(frozen=True)
class Article:
    """One video, ready for its page: its name, its part of the page, and what the page's controls depend on.

    Args:
        video: its name.
        said: its caption, where that is listed at the top of the page; else empty.
        html: its part of the page.
        kinds: of the edges that are drawn.
        largest: the largest rank of an edge that is drawn; 0 where none is.
        frames, boxes, tracks, maps: whether there are frames, boxes, tracks of them, and heat maps.
    """

    video: str
    said: str
    html: Markup
    kinds: frozenset[str]
    largest: int
    frames: bool
    boxes: bool
    tracks: bool
    maps: bool


def filled(page: VideosPage, articles: Sequence[Article]) -> str:
    """The page with these articles in it, in place of its own videos."""
    largest = max((article.largest for article in articles), default=0)
    kinds = frozenset[str]().union(*(article.kinds for article in articles))
    return render(
        "videos.html",
        title=page.title,
        lead=page.lead,
        articles=[article.html for article in articles],
        names=[article.video for article in articles],
        said=[article.said for article in articles],
        kinds=kinds,
        others_drawn=bool(kinds - {"spatial", "temporal", "track"}),
        own=own_types(kinds),
        track_css=track_css,
        frames=any(article.frames for article in articles),
        boxes=any(article.boxes for article in articles),
        tracks=any(article.tracks for article in articles),
        maps=any(article.maps for article in articles),
        k=min(STRONGEST, largest),
        largest=largest,
        **around(page),
    )


def around(page: VideosPage) -> dict[str, Any]:
    """Values of the parts that may be filled in later: the links to other pages, and the footer."""
    return {
        "others": page.others,
        "place": page.place,
        "deletions": [deletion(test) for test in page.deletions],
        "facts": page.facts,
    }


def article(view: VideoView, number: int) -> Article:
    """One video as the page shows it; ``number`` is its place on the page, from 1."""
    strip = strip_of(view)
    prepared = [caption_for_template(caption, strip, view.nodes) for caption in view.captions]
    html = render(
        "video.html",
        n=number,
        view=view,
        strip=strip,
        height=HEIGHT,
        film="" if view.film is None else data_uri("video/mp4", view.film.mp4.tobytes()),
        seconds=SECONDS,
        k=STRONGEST,
        largest=LARGEST_K,
        own=own_types(kind for kind, _ in strip.edges),
        captions=[shown for shown, _ in prepared],
        edge_table=edge_table(strip, view),
        data={"captions": [script for _, script in prepared]},
    )
    # The controls of the page depend on what all of its videos have.
    drawn = {kind: max(edge.rank for edge in edges) for kind, edges in strip.edges}
    return Article(
        view.video,
        prepared[0][0]["text"] if view.folded and prepared else "",
        Markup(html),
        frozenset(drawn),
        largest=max(drawn.values(), default=0),
        frames=bool(strip.frames),
        boxes=bool(strip.nodes),
        tracks=any(node.track >= 0 for node in strip.nodes),
        maps=any("maps" in attribution for _, script in prepared for attribution in script["attributions"]),
    )


def video_fragment(page: VideosPage, height: int = 820) -> str:
    """HTML for a notebook: the page inside a frame that shares nothing with what is around it.

    Args:
        page: what to show.
        height: of the frame in pixels; the reader can drag its lower edge.
    """
    return (
        f'<iframe sandbox="allow-scripts" title="{escape(page.title)}" width="100%" height="{height}" '
        f'style="border: 0; resize: vertical; overflow: auto" srcdoc="{escape(videos_html(page))}"></iframe>'
    )


def write_video_pages(
    out: str | Path,
    videos: Iterable[VideoView],
    *,
    title: str,
    lead: str = "",
    facts: tuple[tuple[str, str], ...] = (),
    deletions: tuple[Deletion, ...] | Callable[[], tuple[Deletion, ...]] = (),
    max_videos: int = MAX_VIDEOS,
    max_bytes: int = MAX_BYTES,
) -> list[Path]:
    """Write the videos on as many pages as they need, each bounded in size, and return their files.

    Of many videos only those of one page are in memory. Every file is written whole or not at all; at the end the
    pages get links to each other and the footer, and further pages that an earlier, longer report left are removed.

    Args:
        out: the first file, ``report.html``; the others are ``report-2.html``, ... A name without ``.html`` is a
            folder, made if need be, whose first page is ``index.html``.
        videos: the videos, one after another.
        title, lead, facts: of each page.
        deletions: the deletion tests; a function is asked once every video has been taken.
        max_videos, max_bytes: where a page ends.

    Raises:
        UserError: ``out`` cannot be a file there.
    """
    first = page_file(Path(out))
    files: list[Path] = []
    held: list[Article] = []

    def flush() -> None:
        file = first if not files else first.with_name(f"{first.stem}-{len(files) + 1}{first.suffix}")
        write_atomic(file, filled(VideosPage(title, lead, (), facts=facts), held))
        files.append(file)

    # Styles and script are part of each page.
    size = frame = len(filled(VideosPage(title, lead, (), facts=facts), []).encode())
    for view in videos:
        one = article(view, len(held) + 1)
        added = len(one.html.encode())
        # A single video larger than the bound still gets its page.
        if held and (len(held) >= max_videos or size + added > max_bytes):
            flush()
            held, size = [], frame
            # Made again, since identifiers in the article count from the beginning of its page.
            one = article(view, 1)
        held.append(one)
        size += added
    flush()
    # Links and tests are known only now: the pages have room for them, and are completed one by one.
    tests = deletions() if callable(deletions) else deletions
    others = tuple((f"page {n} of {len(files)}", file.name) for n, file in enumerate(files, start=1))
    for place, file in enumerate(files):
        page = VideosPage(title, lead, (), deletions=tests, facts=facts, others=others, place=place)
        write_atomic(file, completed(file.read_text(encoding="utf-8"), page))
    # At last: until the new pages are complete, those of an earlier, longer report stay.
    for file in left_over(first, len(files)):
        file.unlink(missing_ok=True)
    return files


def left_over(first: Path, count: int) -> list[Path]:
    """Further pages beyond ``count`` that an earlier report with this first file wrote.

    Only a file that has the name of such a page, has the mark of this package, and leads back to ``first`` is one.
    """
    name = re.compile(rf"{re.escape(first.stem)}-([1-9]\d*){re.escape(first.suffix)}")
    beyond = [file for file in first.parent.iterdir() if (n := name.fullmatch(file.name)) and int(n[1]) > count]
    # Deleted is only what this package wrote and what links back to this first page. Other files of such a name stay.
    back = f'href="{templates().from_string("{{ name|urlencode }}").render(name=first.name)}"'
    found = []
    for file in beyond:
        if file.is_file() and not file.is_symlink():
            with open(file, encoding="utf-8", errors="replace") as text:
                # Both marks stand near the top: a page of many megabytes need not be read whole.
                head, _, rest = text.read(MAX_HEAD).partition("</head>")
            if GENERATOR in head and back in rest.partition("<!--/nav-->")[0].partition("<!--nav-->")[2]:
                found.append(file)
    return sorted(found)


def completed(text: str, page: VideosPage) -> str:
    """A written page with its navigation and footer filled in again; no value can hold these marks unescaped."""
    for part, template in (("nav", "navigation.html"), ("closing", "closing.html")):
        start, end = f"<!--{part}-->", f"<!--/{part}-->"
        before, _, rest = text.partition(start)
        text = "".join([before, start, render(template, **around(page)), end, rest.partition(end)[2]])
    return text
