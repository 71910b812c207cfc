"""Write the page of a run, or of videos of one of its splits."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from stg.config.report import ReportConfig
from stg.config.training import FitConfig
from stg.datasets.world.dataset import World
from stg.evaluation.loaded_run import load_run
from stg.evaluation.results import captions_of
from stg.pages.run.page import run_html, run_view
from stg.pages.videos.page import first_file, write_pages
from stg.pages.videos.pictures import glimpse
from stg.pages.videos.split_report import Narration, called
from stg.runs.folder import load_config
from stg.runtime.errors import UserError
from stg.runtime.files import write_atomic
from stg.runtime.progress import progress_bar
from stg.video.clips import find_clips
from stg.video.decoding import VideoError, sample_video

GLIMPSES = 4
"""Frames of each of the best and the worst videos on the page of a run."""


def main(config: ReportConfig) -> int:
    """The command."""

    console = Console(stderr=True, soft_wrap=True)
    if config.threads:
        torch.set_num_threads(config.threads)
    written = report_videos(config, console=console) if config.split else [report_run(config, console=console)]
    for path in written:
        print(path)
    return 0


def report_run(config: ReportConfig, *, console: Console) -> Path:
    """Write the page of a run; returns where.

    Without the annotation files it does without the best and the worst videos, and says so.

    Raises:
        UserError: no such run, or no such ablation.
    """

    settings = load_config(config.run)
    target = first_file(config.target)  # what cannot be is said before the work
    tested = any((Path(config.run) / "evaluation").glob("test-*-scores.json"))
    references = None
    with console.status("reading the run"):
        try:
            references = captions_of(settings, config.run, config.root)
        except UserError as error:
            console.print(f"no best and worst videos: {error}", highlight=False, markup=False)
        view = run_view(
            config.run,
            ablations=_listed(config.ablations),
            split="test" if tested else "val",
            references=references,
            pictures=_glimpses(config, settings),
        )
    write_atomic(target, run_html(view))
    return target


def _glimpses(config: ReportConfig, settings: FitConfig) -> Callable[[str], Sequence[str]] | None:
    """A few frames of a video as ``data:`` addresses, where they are at hand."""

    if settings.data.dataset == "world":
        world = World(**asdict(settings.world))
        return lambda video: glimpse(world.sample(video, GLIMPSES))
    clips = find_clips(tuple(_joined(config.clips))) if config.clips else {}

    def frames(video: str) -> Sequence[str]:
        if video not in clips:
            return ()
        try:
            return glimpse(sample_video(clips[video], GLIMPSES))
        except VideoError:
            return ()  # a picture more or less: the caption is what is shown here

    return frames if clips else None


def report_videos(config: ReportConfig, *, console: Console) -> list[Path]:
    """Write the page, or pages, of the videos of a split; returns where.

    Raises:
        UserError: no such run, split, video or clip; or a run beside it that reads other features.
    """

    def tell(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    assert config.split is not None  # main() decides by it
    load_config(config.run)
    target = first_file(config.target)  # what cannot be is said before the work
    with progress_bar(console, "making the videos' graphs") as progress:
        run = load_run(
            config.run, store=config.store, root=config.root, device=config.device, progress=progress, tell=tell
        )
    run.require_split(config.split)
    places = [Path(place) for place in _joined(config.weights)]
    narration = Narration(
        run,
        config.split,
        search=config.searched(),
        beside=_listed(config.beside),
        clips=find_clips(tuple(_joined(config.clips))) if config.clips else {},
        weights=places,
        explainer=config.explainer,
        tell=tell,
    )
    with progress_bar(console, "captioning") as progress:
        narration.caption(progress)
    videos = narration.chosen(_listed(config.videos), config.order, config.limit)
    with progress_bar(console, "drawing") as progress:
        return write_pages(
            target,
            narration.views(videos, progress),
            title=f"{run.dataset.name}, {config.split}: {called(run.folder)}",
            lead=narration.lead(len(videos), "given" if config.videos else config.order),
            facts=narration.facts(),
            deletions=narration.deletions,
        )


def _listed(names: str | None) -> list[str]:
    return [name.strip() for name in (names or "").split(",") if name.strip()]


def _joined(places: str | None) -> list[str]:
    return [place for place in (places or "").split(os.pathsep) if place]
