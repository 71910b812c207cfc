"""Write the page of a run, or of videos of one of its splits."""

from pathlib import Path

import torch
from rich.console import Console

from stg.commands.glimpses import clips_by_id, glimpses, joined_places, reading
from stg.config.report import ReportConfig
from stg.evaluation.loaded_run import load_run_as
from stg.evaluation.results import captions_of
from stg.explain import EXPLAINERS, Explainer
from stg.explain.explainers import find_explainer
from stg.pages import run_view, write_run_page, write_video_pages
from stg.pages.videos.clip_films import page_readers
from stg.pages.videos.split_report import SplitReport, run_name
from stg.runs.folder import RunFolder, load_config
from stg.runtime.errors import UserError
from stg.runtime.files import page_file, printable
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reporter import Reporter

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
    run = RunFolder(config.run)
    settings, data = run.config, run.data_of(config.dataset, config.root)
    page_file(config.target)  # what cannot be written is said before the work
    # A run that was evaluated on test is shown on it; otherwise on what its training was judged by.
    tested = any(run.evaluation_of(config.dataset).glob("test-*-scores.json"))
    references = None
    try:
        references = captions_of(data, settings.world, config.run)
    # The page needs no captions by people: without them it has no best and worst videos.
    except UserError as error:
        reporter.say(f"no best and worst videos: {error}")
    clips = {} if settings.data.dataset == "world" else clips_by_id(config.clips, config.recursive, reporter)
    with reading(GLIMPSES, config.time_limit) as readers:
        page = run_view(
            config.run,
            ablations=_listed(config.ablations),
            split="test" if tested else "val",
            dataset=run.evaluation_of(config.dataset).relative_to(run.evaluation).name,
            references=references,
            pictures=glimpses(settings, clips, GLIMPSES, readers, reporter, store=config.store),
        )
    return write_run_page(config.target, page)


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
        clips=clips_by_id(config.clips, config.recursive, reporter),
        weights=[Path(place) for place in joined_places(config.weights)],
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


def _listed(names: str | None) -> list[str]:
    return [name.strip() for name in (names or "").split(",") if name.strip()]
