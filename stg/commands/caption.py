"""Caption video files: text, JSON lines, pages, clips with the caption burnt in."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from rich.console import Console

from stg.captioning.pipeline import ClipCaption, VideoCaptioner, load
from stg.config.captioning import CaptionConfig
from stg.datasets.world.extractor import WORLD_BUILDERS
from stg.explain import DeletionTests
from stg.features.rebuild import features_read, plan_features
from stg.pages import write_video_pages
from stg.pages.videos.build import page_facts
from stg.pages.videos.clips import explained_model, view_of_clip
from stg.pages.videos.overlay import write_overlay
from stg.pages.videos.split_report import run_name
from stg.pages.videos.views import VideoView
from stg.runs.model_file import model_file, model_header
from stg.runtime.errors import TooManySkipped, UserError
from stg.runtime.files import printable
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reporter import Reporter
from stg.video.clips import list_clips
from stg.video.readers import Readers


def main(config: CaptionConfig) -> int:
    """Caption the clips; returns 0, or raises what the command turns into an exit code."""
    clips = {str(path): path for path in list_clips(config.videos)}
    captioner = _load(config)
    reporter = ConsoleReporter(Console(stderr=True, soft_wrap=True))
    for note in captioner.notes:
        reporter.say(note)
    failed, views = _caption(captioner, clips, config, reporter)
    if config.overlay:
        for view in views:
            (clip,) = clips.values()
            with reporter.bar("drawing the clip") as progress:
                write_overlay(clip, view, str(config.overlay), progress=progress)
            reporter.say(f"written: {config.overlay}")
    if failed and len(clips) == 1:
        raise UserError(str(failed[0].error))
    if failed:
        raise TooManySkipped(f"{len(failed)} of {len(clips)} clips could not be captioned; the others are done")
    return 0


def _load(config: CaptionConfig) -> VideoCaptioner:
    # A missing file is reported before the model and the networks are opened, which takes seconds.
    header = model_header(model_file(config.model))
    places = [Path(place) for place in (config.weights.split(os.pathsep) if config.weights else [])]
    plan = plan_features(header["features"], features_read(header), places, WORLD_BUILDERS)
    if config.threads:
        torch.set_num_threads(config.threads)
    return load(
        config.model,
        device=config.device,
        threads=config.threads,
        search=config.searched(),
        graph=bool(config.report or config.overlay),
        plan=plan,
    )


def _caption(
    captioner: VideoCaptioner, clips: Mapping[str, Path], config: CaptionConfig, reporter: Reporter
) -> tuple[list[ClipCaption], list[VideoView]]:
    """Caption, print, and write the page; returns what failed, and the views of clips to draw on."""
    failed, drawn = list[ClipCaption](), list[VideoView]()
    shown = bool(config.report or config.overlay)
    tests, name = DeletionTests(), run_name(config.model)

    with (
        Readers(captioner.request(), config.workers, config.time_limit) as readers,
        reporter.bar("captioning") as progress,
    ):
        found = captioner.describe_many(clips, readers, progress, keep_seen=shown)

        # Each clip is printed and becomes part of the page as soon as it is captioned: of many clips, the frames of
        # one are in memory.
        def printed() -> Iterator[ClipCaption]:
            for one in found:
                if one.error is not None:
                    failed.append(one)
                _print(one, config.json, config.searched().n_best)
                yield one

        def views() -> Iterator[VideoView]:
            for one in printed():
                view = view_of_clip(one, name, tests=tests)
                if view.error is not None and one.error is None:
                    reporter.say(f"{one.video} is not shown: {view.error}")
                if config.overlay and view.error is None:
                    drawn.append(view)
                yield view

        if config.report:
            title = next(iter(clips.values())).name if len(clips) == 1 else f"{len(clips)} clips"
            lead = f"Captioned by {name}; search: {captioner.search.name}."
            facts = page_facts([(name, explained_model(captioner))])
            files = write_video_pages(
                config.report, views(), title=title, lead=lead, facts=facts, deletions=tests.results
            )
            for path in files:
                reporter.say(f"written: {path}")
        else:
            for _ in views() if shown else printed():
                pass
    return failed, drawn


def _print(found: ClipCaption, as_json: bool, n_best: int) -> None:
    if as_json:
        record = asdict(replace(found, seen=None))
        del record["seen"]
        # Who asks for one caption gets no list of one.
        del record["candidates"]
        if n_best > 1:
            record["candidates"] = [
                {"caption": one.text, "log_prob": one.log_prob, "score": one.score, "confidence": one.confidence}
                for one in found.candidates[:n_best]
            ]
        print(json.dumps(record), flush=True)
    elif found.error is None:
        name = printable(found.video)
        note = ", the file is cut short" if found.truncated else ""
        print(f"{name}: {found.caption}   (confidence {found.confidence:.2f}, {found.seconds:.1f} s{note})", flush=True)
    else:
        print(f"skipped: {printable(found.error)}", file=sys.stderr, flush=True)
