"""What to show on pages."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from stg.config.extraction import RECURSIVE_HELP
from stg.config.search import SearchConfig, with_candidates, with_shorthands

OF_VIDEOS = (
    "videos",
    "order",
    "limit",
    "weights",
    "beside",
    "beam",
    "search",
    "explainer",
    "explainers",
    "store",
    "device",
)
"""Options that say nothing of the page of a run."""


@dataclass(frozen=True)
class ReportConfig:
    """What to show, and where to write it."""

    run: str = field(metadata={"positional": True, "help": "Run folder, as printed by stg.fit."})
    split: str | None = None
    """val, test or train: show videos of this split. Without it the run itself is shown."""
    dataset: str | None = None
    """The data set, as of stg.evaluate. A page of the run shows captions of this one."""
    videos: str | None = None
    """Names of the videos to show, with commas, in this order; by default the first, see limit and order."""
    order: Literal["given", "best", "worst"] = "given"
    """Which videos come first: as the split lists them, or by their CIDEr (BLEU-4 where that is not defined)."""
    limit: int = 30
    """Most videos to show; 0 for all. A page ends after 30 videos or 18 MB; the others go to NAME-2.html, ..."""
    out: str | None = None
    """The page, or a folder for several pages; by default RUN/report/SPLIT.html, or RUN/report/run.html."""
    clips: str | None = None
    """The video files, or folders of them, joined by ':' (on Windows ';'); their names are the names of the videos."""
    recursive: bool = field(default=False, metadata={"flag": True, "help": RECURSIVE_HELP})
    weights: str | None = None
    """Folder with the weights of the image network, or its file, for Grad-CAM; several joined as clips are."""
    beside: str | None = None
    """Other runs with the same features, with commas, whose captions are shown alongside."""
    beam: int = 5
    """Width of the search, whose candidates are shown; 1 is greedy."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """Another search than the beam, or rules for it."""
    explainer: int = 0
    """Steps of GNNExplainer, which finds few objects and edges that suffice for a caption: 60 take seconds a video; 0:
    gradient times input alone shows what objects and edges did."""
    explainers: str = "scene,graph"
    """With commas, what explains a caption besides attention: scene (Grad-CAM; without pictures, gradients of the
    frames), graph (gradient times input of objects and edges), and what a plugin adds."""
    ablations: str | None = None
    """Without --split: folders of stg.ablate or stg.probe whose tables are shown too, with commas."""
    store: str | None = None
    """Graph store to read in place of the one that the run was trained with."""
    root: str | None = None
    """Folder of the annotation files, if they have moved since the training; of one of several data sets (data.more)
    NAME:FOLDER, with commas, such as msvd:/data/msvd."""
    time_limit: float = 600.0
    """Seconds to wait for one clip before it is given up: its video is shown without pictures, or without its film."""
    device: str = "auto"
    """auto: a GPU (CUDA) where there is one, else the CPU; or cpu, cuda, cuda:1, mps."""
    threads: int = 0
    """CPU threads; 0 for all cores."""

    def __post_init__(self) -> None:
        if min(self.limit, self.threads, self.explainer) < 0:
            raise ValueError(
                f"limit, threads and explainer must not be negative; got {self.limit}, {self.threads}, {self.explainer}"
            )
        if not self.time_limit > 0:
            raise ValueError(f"time_limit must be greater than 0; got {self.time_limit}")
        if self.split is None:
            plain = ReportConfig(self.run, split="val")
            given = [name for name in OF_VIDEOS if getattr(self, name) != getattr(plain, name)]
            if given:
                are = "is" if len(given) == 1 else "are"
                raise ValueError(f"{', '.join(given)} {are} for a page of videos: add --split val, test or train")
        if self.recursive and not self.clips:
            raise ValueError("recursive is for the folders of clips: add --clips")
        if self.split is not None and self.ablations:
            raise ValueError("ablations are shown on the page of the run: leave out --split")
        self.searched()

    def searched(self) -> SearchConfig:
        """How captions are searched for: what the beam finds is shown."""
        return with_candidates(with_shorthands(self.search, beam=self.beam))

    @property
    def target(self) -> Path:
        """The (first) file to write."""
        name = "-".join(filter(None, (self.dataset, self.split or "run")))
        return Path(self.out) if self.out else Path(self.run) / "report" / f"{name}.html"
