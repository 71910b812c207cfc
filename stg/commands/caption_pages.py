"""The pages and pictures of ``python -m stg.caption``: what it shows of the clips that it has captioned."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from stg.captioning.pipeline import ClipCaption, VideoCaptioner
from stg.config.captioning import CaptionConfig
from stg.explain import DeletionTests
from stg.pages import write_video_pages
from stg.pages.videos.build import page_facts
from stg.pages.videos.clip_films import clip_footage, page_readers
from stg.pages.videos.clips import explained_model, view_of_clip
from stg.pages.videos.overlay_film import write_overlay
from stg.pages.videos.split_report import run_name
from stg.pages.videos.views import VideoView
from stg.runs.shipped import model_and_places
from stg.runtime.reporter import Reporter
from stg.video.decoding import VideoError


def write_page(
    captions: Iterator[ClipCaption],
    captioner: VideoCaptioner,
    clips: Mapping[str, Path],
    config: CaptionConfig,
    reporter: Reporter,
) -> list[VideoView]:
    """Write the page that is asked for, if any; returns the views of clips to draw on.

    Args:
        captions: with what they were made of, one after another: of many clips, the frames of one are in memory.
        captioner: made them.
        clips: name -> file.
        config: of the command.
        reporter: takes the names of the files, and which clips are not shown.
    """
    drawn = list[VideoView]()
    tests, name = DeletionTests(), run_name(str(model_and_places(config.model)[0]))

    def views() -> Iterator[VideoView]:
        with page_readers(config.time_limit, config.workers) as readers:
            for one in captions:
                film = readers if config.report else None
                view = view_of_clip(one, film, name, tests=tests, reporter=reporter)
                if view.error is not None and one.error is None:
                    reporter.say(f"{one.video} is not shown: {view.error}")
                if config.overlay and view.error is None:
                    drawn.append(view)
                yield replace(view, folded=True)

    # Views are made one at a time, as a page is written: without a page somebody has to ask for them.
    if not config.report:
        for _ in views():
            pass
        return drawn
    title = next(iter(clips.values())).name if len(clips) == 1 else f"{len(clips)} clips"
    lead = f"Captioned by {name}; search: {captioner.search.name}."
    facts = page_facts([(name, explained_model(captioner))])
    # The results of the tests are passed as a function: they are complete only after the last clip.
    for path in write_video_pages(config.report, views(), title=title, lead=lead, facts=facts, deletions=tests.results):
        reporter.say(f"written: {path}")
    return drawn


def draw_overlay(
    views: list[VideoView], clips: Mapping[str, Path], config: CaptionConfig, overlay: str, reporter: Reporter
) -> None:
    """Write the clip with its caption burnt in; nothing if it could not be captioned.

    Raises:
        VideoError: the clip cannot be read once more, or not within the limits.
    """
    for view in views:
        (clip,) = clips.values()
        try:
            with (
                reporter.bar("drawing the clip") as progress,
                clip_footage(clip, config.time_limit, config.workers) as footage,
            ):
                write_overlay(footage, view, overlay, progress=progress)
        except VideoError as error:
            raise VideoError(f"{overlay} was not written: {error}") from error
        reporter.say(f"written: {overlay}")
