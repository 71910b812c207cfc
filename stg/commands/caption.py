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
from stg.explain.explain import DeletionTests
from stg.features.rebuild import features_read, recorded_files
from stg.pages.videos.build import facts_of, made_by, narrator_of, view_of_clip
from stg.pages.videos.overlay import write_overlay
from stg.pages.videos.page import first_file, write_pages
from stg.pages.videos.split_report import called
from stg.pages.videos.views import VideoView
from stg.runs.model_file import model_file, model_header
from stg.runtime.errors import TooManySkipped, UserError
from stg.runtime.files import printable
from stg.runtime.progress import progress_bar
from stg.video.clips import list_clips
from stg.video.readers import Readers


def main(config: CaptionConfig) -> int:
    """Caption the clips; returns 0, or raises what the command turns into an exit code."""

    # Whatever is missing is said before torch is loaded, which takes many seconds.
    clips = {str(path): path for path in list_clips(config.videos)}
    if config.overlay and len(clips) != 1:
        raise UserError(f"overlay takes one clip, and {len(clips)} were given: caption them one by one")
    if config.report:
        first_file(Path(config.report))
    if config.overlay and not Path(config.overlay).absolute().parent.is_dir():
        raise UserError(f"the folder of {config.overlay} is not there: make it, or give another --overlay")
    for written in filter(None, (config.report, config.overlay)):
        if any(Path(written).exists() and os.path.samefile(written, path) for path in clips.values()):
            raise UserError(f"{written} is a clip to caption, which would be lost: give another name to write to")
    header = model_header(model_file(config.model))
    places = [Path(place) for place in (config.weights.split(os.pathsep) if config.weights else [])]
    files = recorded_files(header["features"], features_read(header), places)

    if config.threads:
        torch.set_num_threads(config.threads)
    console = Console(stderr=True, soft_wrap=True)
    shown = bool(config.report or config.overlay)
    captioner = load(
        config.model,
        weights=[*files.values(), *places],
        device=config.device,
        threads=config.threads,
        search=config.searched(),
        graph=shown,
    )
    for note in captioner.notes:
        console.print(note, highlight=False, markup=False)
    failed: list[ClipCaption] = []
    drawn: list[VideoView] = []
    with (
        Readers(captioner.request(), config.workers, config.time_limit) as readers,
        progress_bar(console, "captioning") as bar,
    ):
        found = captioner.describe_many(clips, readers, bar, keep_seen=shown)
        told = _told(found, config, failed)
        if shown:
            drawn = _draw(told, captioner, clips, config, console)
        else:
            for _ in told:
                pass
    for view in drawn:
        (clip,) = clips.values()
        with progress_bar(console, "drawing the clip") as bar:
            write_overlay(clip, view, str(config.overlay), progress=bar)
        console.print(f"written: {config.overlay}", highlight=False, markup=False)
    if failed and len(clips) == 1:
        raise UserError(str(failed[0].error))
    if failed:
        raise TooManySkipped(f"{len(failed)} of {len(clips)} clips could not be captioned; the others are done")
    return 0


def _told(found: Iterator[ClipCaption], config: CaptionConfig, failed: list[ClipCaption]) -> Iterator[ClipCaption]:
    """The same, each said when it comes, and those that failed listed."""
    for one in found:
        if one.error is not None:
            failed.append(one)
        _show(one, config.json, config.searched().n_best)
        yield one


def _draw(
    told: Iterator[ClipCaption],
    captioner: VideoCaptioner,
    clips: Mapping[str, Path],
    config: CaptionConfig,
    console: Console,
) -> list[VideoView]:
    """Write the page of what was seen; returns the views that are to be burnt into their clips."""

    tests, drawn, name = DeletionTests(), list[VideoView](), called(config.model)

    def views() -> Iterator[VideoView]:
        for one in told:
            view = view_of_clip(one, name, tests=tests)
            if view.error is not None and one.error is None:
                console.print(f"{one.video} is not shown: {view.error}", highlight=False, markup=False)
            if config.overlay and view.error is None:
                drawn.append(view)
            yield view

    if config.report:
        title = next(iter(clips.values())).name if len(clips) == 1 else f"{len(clips)} clips"
        lead = f"Captioned by {name}; search: {captioner.search.name}."
        facts = (*facts_of(narrator_of(captioner, name)), *made_by())
        for path in write_pages(config.report, views(), title=title, lead=lead, facts=facts, deletions=tests.results):
            console.print(f"written: {path}", highlight=False, markup=False)
        return drawn
    for _ in views():
        pass
    return drawn


def _show(found: ClipCaption, as_json: bool, n_best: int) -> None:
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
