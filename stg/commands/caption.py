"""Caption video files: text, JSON lines, pages, clips with the caption burnt in."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from rich.console import Console

from stg.captioning.caption_file import CaptionFile, caption_record
from stg.captioning.pipeline import ClipCaption, VideoCaptioner, load
from stg.commands.checks import clip_plan
from stg.config.captioning import CaptionConfig
from stg.runtime.errors import TooManySkipped, UserError
from stg.runtime.files import printable
from stg.runtime.output import json_line
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reporter import Reporter
from stg.video.clips import list_clips
from stg.video.readers import Readers


def main(config: CaptionConfig) -> int:
    """Caption the clips; returns 0, or raises what the command turns into an exit code."""
    found = list_clips(config.videos, config.recursive)
    clips = {str(path): path for path in found.paths}
    # Before the model is opened, which takes seconds: a name that cannot be written to is reported at once.
    out = CaptionFile(config.out, found.paths, config.searched().n_best) if config.out is not None else None
    captioner = _load(config)
    reporter = ConsoleReporter(Console(stderr=True, soft_wrap=True))
    for note in (*captioner.notes, *filter(None, [found.left_out])):
        reporter.say(note)
    failed = list[ClipCaption]()
    if config.report or config.overlay:
        _show(captioner, clips, config, reporter, failed, out)
    else:
        with _captions(captioner, clips, config, reporter, failed, out) as captions:
            for _ in captions:
                pass
    # Of a single clip the reason is the whole answer; of many, each was printed in its place.
    if failed and len(clips) == 1:
        raise UserError(str(failed[0].error))
    if failed:
        raise TooManySkipped(f"{len(failed)} of {len(clips)} clips could not be captioned; the others are done")
    return 0


def _load(config: CaptionConfig) -> VideoCaptioner:
    # A missing file is reported before the model and the networks are opened, which takes seconds.
    model, plan = clip_plan(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    return load(
        model,
        download=config.download,
        device=config.device,
        threads=config.threads,
        search=config.searched(),
        graph=bool(config.report or config.overlay),
        plan=plan,
    )


@contextmanager
def _captions(
    captioner: VideoCaptioner,
    clips: Mapping[str, Path],
    config: CaptionConfig,
    reporter: Reporter,
    failed: list[ClipCaption],
    out: CaptionFile | None,
) -> Iterator[Iterator[ClipCaption]]:
    """The captions one after another, each printed and written as soon as it is there; what failed is added to
    ``failed``."""
    shown = bool(config.report or config.overlay)

    def printed() -> Iterator[ClipCaption]:
        warned = False
        for one in captioner.describe_many(clips, readers, progress, keep_seen=shown):
            if one.error is not None:
                failed.append(one)
            # Once: of many clips, those further on say so in a word.
            if one.warning and not warned:
                reporter.say(f"warning: {one.video} is {one.warning}")
                warned = True
            _print(one, config.json, config.searched().n_best, config.segments is not None)
            if out is not None:
                out.add(one)
            yield one

    with (
        nullcontext() if out is None else _written(out, reporter),
        Readers(captioner.request(config.segments), config.workers, config.time_limit) as readers,
        reporter.bar("captioning") as progress,
    ):
        yield printed()


@contextmanager
def _written(out: CaptionFile, reporter: Reporter) -> Iterator[None]:
    """Complete the file at the end, and say where it is, also where the end is an error or Ctrl-C."""
    try:
        with out:
            yield
    finally:
        if len(out.files) > 1:
            reporter.say(f"written: {len(out.files)} files in {out.files[0].parent}")
        for file in out.files if len(out.files) == 1 else ():
            reporter.say(f"written: {file}")


def _show(
    captioner: VideoCaptioner,
    clips: Mapping[str, Path],
    config: CaptionConfig,
    reporter: Reporter,
    failed: list[ClipCaption],
    out: CaptionFile | None,
) -> None:
    """Caption the clips onto a page, or into a clip."""
    # Here and not above: pages explain captions by PyTorch Geometric and draw pictures, and importing all that takes
    # several times as long as captioning a clip, which needs nothing of it.
    from stg.commands.caption_pages import draw_overlay, write_page

    with _captions(captioner, clips, config, reporter, failed, out) as captions:
        views = write_page(captions, captioner, clips, config, reporter)
    if config.overlay:
        draw_overlay(views, clips, config, config.overlay, reporter)


def _print(found: ClipCaption, as_json: bool, n_best: int, segments: bool = False) -> None:
    if as_json:
        print(json_line(caption_record(found, n_best)), flush=True)
    elif found.error is None:
        # Names of files, and words of a model, may hold control characters, which a terminal would obey.
        name = printable(found.video) + (f" {found.times}" if segments else "")
        note = ", the file is cut short" if found.truncated else ""
        note += ", unlike the training data" if found.warning else ""
        text = printable(found.caption)
        # Of a calibrated search the chance of being right; else what the model makes of its own words.
        sure = f" {found.confidence:.2f}" if found.chance is None else f": {found.level}, {found.chance:.2f}"
        print(f"{name}: {text}   (confidence{sure}, {found.seconds:.1f} s{note})", flush=True)
    else:
        print(f"skipped: {printable(found.error)}", file=sys.stderr, flush=True)
