"""What to evaluate."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from stg.config.plugins import check_name
from stg.config.search import SearchConfig, with_shorthands


@dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate."""

    run: str = field(metadata={"positional": True, "help": "Run folder, as printed by stg.fit."})
    split: str = "val"
    """val, test or train, or another that the data set has. Choose on val; use test once. A split whose captions
    are withheld (VATEX's private test) is captioned, for submission, and not scored."""
    beam: int = 5
    """Width of the beam search that is reported next to greedy search; 1: greedy alone."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """Another search than the beam, with rules or more captions a video."""
    dataset: str | None = None
    """Of a run that has learned from several data sets (data.more) one by its name, such as msvd, with references of
    its own and scores in a folder of its name; or all, together. By default the first, data.dataset."""
    store: str | None = None
    """Graph store to read in place of the one that the run was trained with."""
    root: str | None = None
    """Folder of the annotation files, if they have moved since the training; of one of several data sets (data.more)
    NAME:FOLDER, with commas, such as msvd:/data/msvd."""
    out: str | None = None
    """Folder for captions and scores; by default ``evaluation`` in the run."""
    meteor: bool = True
    """Score by METEOR, too; it needs Java and about 20 seconds to start."""
    reference: bool = field(
        default=False,
        metadata={"flag": True, "help": "Score with pycocoevalcap's own code, Java tokenizer included."},
    )
    spice: str | None = None
    """Folder with the files that SPICE needs in addition to pycocoevalcap (stanford-corenlp-3.6.0.jar and -models.jar),
    to print SPICE too; it is slow and needs Java."""
    metrics: str | None = None
    """Which metrics, with commas: bleu, rouge, cider, meteor, spice, and what a plugin adds; null: all that are there
    (METEOR by --meteor, SPICE by --spice). Scores that are recorded of the same captions stay in the run."""
    device: str = "auto"
    """auto: a GPU (CUDA) where there is one, else the CPU; or cpu, cuda, cuda:1, mps."""
    show: int = 5
    """Captions to print, each with a reference."""

    def __post_init__(self) -> None:
        self.searches()
        if self.metrics is not None:
            names = self.chosen_metrics(())
            for name in names:
                check_name("metric", "metrics", name)
            if "meteor" in names and not self.meteor:
                raise ValueError("--metrics names meteor, and --meteor false leaves it out: give one of the two")
            if "spice" in names and self.spice is None:
                raise ValueError("--metrics names spice, which needs its files: give their folder by --spice")
            if "spice" not in names and self.spice is not None:
                raise ValueError("--spice gives the files of spice, and --metrics leaves it out: add it there")

    def chosen_metrics(self, known: Iterable[str]) -> tuple[str, ...]:
        """The metrics to compute, out of those ``known`` where none are named."""
        if self.metrics is not None:
            return tuple(dict.fromkeys(name.strip() for name in self.metrics.split(",")))
        return tuple(name for name in known if name != "meteor" or self.meteor)

    def searches(self) -> list[SearchConfig]:
        """Greedy search, and the one that was asked for."""
        greedy, chosen = SearchConfig("greedy"), with_shorthands(self.search, beam=self.beam)
        return [greedy] if chosen.name == greedy.name else [greedy, chosen]
