"""Pages that show a run: `report RUN --split test` its videos, `report RUN` the run itself.

With --split, the page shows videos of that split: their frames with the boxes and edges of the graph, the caption word
by word with where each word looked, the candidates of the beam, references and scores. Pictures come from --clips (the
built-in world needs none), Grad-CAM also from the image network, which is looked for in --weights. Without --split, the
page shows how the run went: curves, validation captions, scores, best and worst videos, words, ablations.

Every page is one file that needs no network and no other file, and may be mailed.
"""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stg.cli import command
from stg.errors import UserError
from stg.extract import find_clips
from stg.search import SearchConfig, with_candidates, with_shorthands

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console

    from stg.config import FitConfig

GLIMPSES = 4
"""Frames of each of the best and the worst videos on the page of a run."""


OF_VIDEOS = ("videos", "order", "limit", "weights", "beside", "beam", "search", "explainer", "store", "device")
"""Options that say nothing of the page of a run."""


@dataclass(frozen=True)
class ReportConfig:
    """What to show, and where to write it."""

    run: str = field(metadata={"positional": True, "help": "run folder, as printed by stg.fit"})
    split: str | None = None
    """val, test or train: show videos of this split. Without it the run itself is shown."""
    videos: str | None = None
    """Names of the videos to show, with commas, in this order; by default the first, see limit and order."""
    order: Literal["given", "best", "worst"] = "given"
    """Which videos come first: as the split lists them, or by their CIDEr (BLEU-4 where that is not defined)."""
    limit: int = 30
    """Most videos to show; 0 for all. More than fit on a page of 30 go to further pages: NAME-2.html, ..."""
    out: str | None = None
    """The page, or a folder for several pages; by default RUN/report/SPLIT.html, or RUN/report/run.html."""
    clips: str | None = None
    """The video files, or folders of them, joined by ':' (on Windows ';'); their names are the names of the videos."""
    weights: str | None = None
    """Folder with the weights of the image network, or its file, for Grad-CAM; several joined as clips are."""
    beside: str | None = None
    """Other runs with the same features, with commas, whose captions stand beside: Scene only beside Full, say."""
    beam: int = 5
    """Width of the search, whose candidates are shown; 1 is greedy."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """Another search than the beam, or rules for it."""
    explainer: int = 0
    """Steps of GNNExplainer, which finds few objects and edges that suffice for a caption: 60 take seconds a video; 0:
    gradient times input alone tells what objects and edges did."""
    ablations: str | None = None
    """Without --split: folders of stg.ablate or stg.probe whose tables are shown too, with commas."""
    store: str | None = None
    """Another place of the graph store than the run was trained with."""
    root: str | None = None
    """Another place of the annotation files."""
    device: str = "auto"
    """auto, cpu, cuda, ..."""
    threads: int = 0
    """CPU threads; 0 for all cores."""

    def __post_init__(self) -> None:
        if min(self.limit, self.threads, self.explainer) < 0:
            raise ValueError(
                f"limit, threads and explainer must not be negative; got {self.limit}, {self.threads}, {self.explainer}"
            )
        if self.split is None:
            plain = ReportConfig(self.run, split="val")
            given = [name for name in OF_VIDEOS if getattr(self, name) != getattr(plain, name)]
            if given:
                are = "is" if len(given) == 1 else "are"
                raise ValueError(f"{', '.join(given)} {are} for a page of videos: add --split val, test or train")
        if self.split is not None and self.ablations:
            raise ValueError("ablations are shown on the page of the run: leave out --split")
        self.searched()

    def searched(self) -> SearchConfig:
        """How captions are searched for: what the beam finds is shown."""
        return with_candidates(with_shorthands(self.search, beam=self.beam))

    @property
    def target(self) -> Path:
        """The (first) file to write."""
        return Path(self.out) if self.out else Path(self.run) / "report" / f"{self.split or 'run'}.html"


def main(config: ReportConfig) -> int:
    """The command."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True)
    if config.threads:
        import torch

        torch.set_num_threads(config.threads)
    written = report_videos(config, console=console) if config.split else [report_run(config, console=console)]
    for path in written:
        print(path)
    return 0


def report_run(config: ReportConfig, *, console: "Console") -> Path:
    """Write the page of a run; returns where.

    Without the annotation files it does without the best and the worst videos, and says so.

    Raises:
        UserError: no such run, or no such ablation.
    """
    from stg.evaluated import captions_of
    from stg.files import write_atomic
    from stg.pages.page import first_file
    from stg.pages.run_page import run_html, run_view
    from stg.runs import load_config

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


def _glimpses(config: ReportConfig, settings: "FitConfig") -> "Callable[[str], Sequence[str]] | None":
    """A few frames of a video as ``data:`` addresses, where they are at hand."""
    from stg.datasets.world import World
    from stg.pages.pictures import glimpse
    from stg.vision.video import VideoError, sample_video

    if settings.data.dataset == "world":
        world = World(**asdict(settings.world))
        return lambda video: glimpse(world.sample(video, GLIMPSES))
    clips = find_clips(tuple(_joined(config.clips))) if config.clips else {}

    def frames(video: str) -> "Sequence[str]":
        if video not in clips:
            return ()
        try:
            return glimpse(sample_video(clips[video], GLIMPSES))
        except VideoError:
            return ()  # a picture more or less: the caption is what is shown here

    return frames if clips else None


def report_videos(config: ReportConfig, *, console: "Console") -> list[Path]:
    """Write the page, or pages, of the videos of a split; returns where.

    Raises:
        UserError: no such run, split, video or clip; or a run beside it that reads other features.
    """
    from stg.opened import open_run
    from stg.pages.page import first_file, write_pages
    from stg.pages.telling import Narration, called
    from stg.progress import making
    from stg.runs import load_config

    def tell(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    assert config.split is not None  # main() decides by it
    load_config(config.run)
    target = first_file(config.target)  # what cannot be is said before the work
    with making(console, "making the videos' graphs") as progress:
        run = open_run(
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
    with making(console, "captioning") as progress:
        narration.caption(progress)
    videos = narration.chosen(_listed(config.videos), config.order, config.limit)
    with making(console, "drawing") as progress:
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


if __name__ == "__main__":
    command(ReportConfig, main, __doc__ or "")
