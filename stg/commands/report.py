"""Write the page of a run, or of videos of one of its splits."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console

from stg.config.report import ReportConfig
from stg.config.training import FitConfig
from stg.datasets.world.dataset import World
from stg.evaluation.loaded_run import load_run_as
from stg.evaluation.results import captions_of
from stg.explain import EXPLAINERS, Explainer
from stg.explain.explainers import find_explainer
from stg.features.log import ExtractionLog, require_same_clip
from stg.pages import run_view, write_run_page, write_video_pages
from stg.pages.videos.clip_films import page_readers
from stg.pages.videos.pictures import glimpse
from stg.pages.videos.split_report import SplitReport, run_name
from stg.runs.folder import load_config
from stg.runtime.errors import UserError
from stg.runtime.files import page_file, printable
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reading import normal_id
from stg.runtime.reporter import Reporter
from stg.video.clip import ClipRequest
from stg.video.clips import ClipList, by_id, list_clips
from stg.video.decoding import SampledFrames, VideoError
from stg.video.readers import Readers

GLIMPSES = 4
"""Frames of each of the best and the worst videos on the page of a run."""


def main(config: ReportConfig) -> int:
    """The command."""
    console = Console(stderr=True, soft_wrap=True)
    reporter = ConsoleReporter(console)
    if config.threads:
        torch.set_num_threads(config.threads)
    if config.split:
        written = report_videos(config, reporter=reporter)
    else:
        with console.status("reading the run"):
            written = [report_run(config, reporter=reporter)]
    for path in written:
        print(printable(str(path)))
    return 0


def report_run(config: ReportConfig, *, reporter: Reporter) -> Path:
    """Write the page of a run; returns where.

    Without the annotation files it does without the best and the worst videos, and says so.

    Raises:
        UserError: no such run, or no such ablation.
    """
    settings = load_config(config.run)
    page_file(config.target)  # what cannot be written is said before the work
    # A run that was evaluated on test is shown on it; otherwise on what its training was judged by.
    tested = any((Path(config.run) / "evaluation").glob("test-*-scores.json"))
    references = None
    try:
        references = captions_of(settings, config.run, config.root)
    # The page needs no captions by people: without them it has no best and worst videos.
    except UserError as error:
        reporter.say(f"no best and worst videos: {error}")
    with Readers(ClipRequest(GLIMPSES), 1, config.time_limit) as readers:
        page = run_view(
            config.run,
            ablations=_listed(config.ablations),
            split="test" if tested else "val",
            references=references,
            pictures=_glimpses(config, settings, readers, reporter),
        )
    return write_run_page(config.target, page)


def _glimpses(
    config: ReportConfig, settings: FitConfig, readers: Readers, reporter: Reporter
) -> Callable[[str], Sequence[str]] | None:
    """A few frames of a video as ``data:`` addresses, if they are at hand."""
    if settings.data.dataset == "world":
        world = World.of(settings.world)
        return lambda video: glimpse(world.sample(video, GLIMPSES))
    clips, store = _clips(config, reporter), config.store or settings.data.store
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


def report_videos(config: ReportConfig, *, reporter: Reporter) -> list[Path]:
    """Write the page, or pages, of the videos of a split; returns where.

    Raises:
        UserError: no such run, split, video, clip or explainer; or a run alongside that reads other features.
    """
    assert config.split is not None  # main() decides by it
    load_config(config.run)
    explainers = _explainers(config)
    page_file(config.target)  # what cannot be written is said before the work
    run = load_run_as(config, config.split, reporter=reporter)
    run.require_split(config.split)
    report = SplitReport(
        run,
        config.split,
        search=config.searched(),
        beside=_listed(config.beside),
        clips=_clips(config, reporter),
        weights=[Path(place) for place in _joined(config.weights)],
        explainers=explainers,
        reporter=reporter,
    )
    report.caption()
    videos = report.chosen(_listed(config.videos), config.order, config.limit)
    with page_readers(config.time_limit) as readers:
        return write_video_pages(
            config.target,
            report.views(videos, readers),
            title=f"{run.dataset.name}, {config.split}: {run_name(run.folder)}",
            # Videos asked for by name stand in the order given, whatever --order says.
            lead=report.lead(len(videos), "given" if config.videos else config.order),
            facts=report.facts(),
            deletions=report.deletions,
        )


def _explainers(config: ReportConfig) -> list[Explainer]:
    made = [find_explainer(name)() for name in _listed(config.explainers)]
    return made + ([EXPLAINERS["gnn_explainer"](epochs=config.explainer)] if config.explainer else [])


def _clips(config: ReportConfig, reporter: Reporter) -> dict[str, Path]:
    """The clips by id; what was left out is said."""
    found = list_clips(tuple(_joined(config.clips)), config.recursive) if config.clips else ClipList()
    if found.left_out:
        reporter.say(found.left_out)
    return by_id(found.paths)


def _listed(names: str | None) -> list[str]:
    return [name.strip() for name in (names or "").split(",") if name.strip()]


def _joined(places: str | None) -> list[str]:
    return [place for place in (places or "").split(os.pathsep) if place]
