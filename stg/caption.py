"""Caption video files with a trained model.

The model says how its training videos were looked at; the clips are looked at in the same way. Pan's model runs no
detector. Weights of the networks are looked for in --weights and in torch's cache; nothing is downloaded.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stg.cli import command
from stg.errors import TooManySkipped, UserError
from stg.files import printable
from stg.search import SearchConfig, with_shorthands

if TYPE_CHECKING:
    from rich.console import Console

    from stg.captioning import Captioned, VideoCaptioner
    from stg.pages.views import VideoView


JSON_HELP = (
    "print one JSON object a line: video, caption, confidence, log_prob, seconds, truncated, error, and with --n_best "
    "candidates"
)


@dataclass(frozen=True)
class CaptionConfig:
    """What to caption, with which model."""

    videos: tuple[str, ...] = field(
        metadata={"positional": True, "help": "video files, or folders of them; put -- before names that start with -"}
    )
    model: str
    """Run folder of stg.fit, or the model.safetensors in one."""
    weights: str | None = None
    """Folder with the weights of the networks, or a file of them; several are joined by ':' (on Windows ';')."""
    beam: int = 5
    """Width of the search; 1 is greedy."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """Another search than the beam, or rules for it."""
    n_best: int = 1
    """Captions a clip, best first; more than one needs --json, which prints them as a list: candidates."""
    json: bool = field(default=False, metadata={"flag": True, "help": JSON_HELP})
    report: str | None = None
    """Also write a page to this file: frames, graph, words, and where each word looked. It shows objects where the
    detector of the training features is at hand, which captioning may do without. Many clips make several pages."""
    overlay: str | None = None
    """Also write the clip, one alone, to this .mp4 with boxes, edges and the growing caption burnt in."""
    workers: int = 1
    """Processes that decode clips; a crash or a hang costs one clip. 0 decodes in the command's own process."""
    time_limit: float = 600.0
    """Seconds to wait for one clip before it is given up."""
    device: str = "auto"
    """auto, cpu, cuda, ..."""
    threads: int = 0
    """CPU threads; 0 for all cores."""

    def __post_init__(self) -> None:
        if self.searched().n_best > 1 and not self.json:
            raise ValueError("several captions a clip (n_best) are printed with --json alone: add it")
        if self.overlay and Path(self.overlay).suffix.lower() != ".mp4":
            raise ValueError(f"overlay is a file that ends in .mp4; got {self.overlay!r}")
        if self.workers < 0 or self.threads < 0 or not self.time_limit > 0:
            raise ValueError(
                f"workers and threads must not be negative and time_limit be positive; got {self.workers}, "
                f"{self.threads}, {self.time_limit}"
            )

    def searched(self) -> SearchConfig:
        """How captions are searched for."""
        return with_shorthands(self.search, beam=self.beam, n_best=self.n_best)


def main(config: CaptionConfig) -> int:
    """Caption the clips; returns 0, or raises what the command turns into an exit code."""
    from rich.console import Console

    from stg.extract import list_clips
    from stg.runs import features_read, model_file, model_header
    from stg.vision.recorded import recorded_files

    # Whatever is missing is said before torch is loaded, which takes many seconds.
    clips = {str(path): path for path in list_clips(config.videos)}
    if config.overlay and len(clips) != 1:
        raise UserError(f"overlay takes one clip, and {len(clips)} were given: caption them one by one")
    if config.report:
        from stg.pages.page import first_file

        first_file(Path(config.report))
    if config.overlay and not Path(config.overlay).absolute().parent.is_dir():
        raise UserError(f"the folder of {config.overlay} is not there: make it, or give another --overlay")
    for written in filter(None, (config.report, config.overlay)):
        if any(Path(written).exists() and os.path.samefile(written, path) for path in clips.values()):
            raise UserError(f"{written} is a clip to caption, which would be lost: give another name to write to")
    header = model_header(model_file(config.model))
    places = [Path(place) for place in (config.weights.split(os.pathsep) if config.weights else [])]
    files = recorded_files(header["features"], features_read(header), places)

    import torch

    from stg.captioning import load
    from stg.progress import making
    from stg.vision.readers import Readers

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
    failed: list[Captioned] = []
    drawn: list[VideoView] = []
    with (
        Readers(captioner.request(), config.workers, config.time_limit) as readers,
        making(console, "captioning") as bar,
    ):
        found = captioner.describe_many(clips, readers, bar, keep_seen=shown)
        told = _told(found, config, failed)
        if shown:
            drawn = _draw(told, captioner, clips, config, console)
        else:
            for _ in told:
                pass
    for view in drawn:
        from stg.pages.overlay import write_overlay

        (clip,) = clips.values()
        with making(console, "drawing the clip") as bar:
            write_overlay(clip, view, str(config.overlay), progress=bar)
        console.print(f"written: {config.overlay}", highlight=False, markup=False)
    if failed and len(clips) == 1:
        raise UserError(str(failed[0].error))
    if failed:
        raise TooManySkipped(f"{len(failed)} of {len(clips)} clips could not be captioned; the others are done")
    return 0


def _told(found: "Iterator[Captioned]", config: CaptionConfig, failed: "list[Captioned]") -> "Iterator[Captioned]":
    """The same, each said when it comes, and those that failed listed."""
    for one in found:
        if one.error is not None:
            failed.append(one)
        _show(one, config.json, config.searched().n_best)
        yield one


def _draw(
    told: "Iterator[Captioned]",
    captioner: "VideoCaptioner",
    clips: Mapping[str, Path],
    config: CaptionConfig,
    console: "Console",
) -> "list[VideoView]":
    """Write the page of what was seen; returns the views that are to be burnt into their clips."""
    from stg.pages.building import DeletionTests, facts_of, made_by, narrator_of, view_of_clip
    from stg.pages.page import write_pages
    from stg.pages.telling import called
    from stg.pages.views import VideoView

    tests, drawn, name = DeletionTests(), list[VideoView](), called(config.model)

    def views() -> "Iterator[VideoView]":
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


def _show(found: "Captioned", as_json: bool, n_best: int) -> None:
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


if __name__ == "__main__":
    command(CaptionConfig, main, __doc__ or "")
