"""What to ablate."""

from dataclasses import dataclass, field

from stg.ablation.tables import TABLES
from stg.config.schema import seed_list
from stg.config.training import RunConfig, TrainingSections


@dataclass(frozen=True)
class Rows:
    """Which runs there are, and how they are scored."""

    table: str | None = field(
        default=None,
        metadata={"positional": True, "optional": True, "help": f"One of {', '.join(TABLES)}; by default pan3."},
    )
    variants: str | None = None
    """A grid instead of a table: values of graph.variant, with commas."""
    decoders: str | None = None
    """A grid instead of a table: values of model.decoder, with commas."""
    branches: str | None = None
    """A grid instead of a table: values of model.branches, with commas."""
    seeds: str = "0,1,2"
    """Seeds of every row (run.seed), with commas."""
    controls: bool = False
    """Every row also trained and scored on shuffled features (run.control)."""
    out: str | None = None
    """Folder of the cells and of the report; default runs/ablation-<table>-<dataset>."""
    split: str = "test"
    """Which split the cells are scored on, once they are trained. Their best epochs are chosen on val."""
    beam: int = 5
    """Width of the beam search that is reported next to greedy search; 1: greedy alone."""
    meteor: bool | None = None
    """Score by METEOR, too; it needs Java and about 20 seconds a cell. null: on real data sets, not on the built-in
    world."""
    embedding: str | None = None
    """Settings of the embedding that chooses captions in the last row of vatex1: a preset (vatex_embedding) or file of
    stg.embed. Data, seed and folder are those of the cell. null: the defaults of stg.embed."""
    dry_run: bool = field(
        default=False, metadata={"flag": True, "help": "List the cells, their commands and how far they are; no more."}
    )
    report: bool = field(
        default=False, metadata={"flag": True, "help": "Write the report of what is there, and train nothing."}
    )
    verbose: bool = field(
        default=False, metadata={"flag": True, "help": "Print all that stg.fit and stg.evaluate print of each cell."}
    )

    def __post_init__(self) -> None:
        seed_list(self.seeds)


@dataclass(frozen=True)
class AblateConfig(TrainingSections, Rows):
    """What to compare."""

    run: RunConfig = field(default_factory=RunConfig)
    """Threads and device of every cell."""
    given: tuple[str, ...] = field(default=(), metadata={"given": True})
