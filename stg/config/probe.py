"""What to ask a classifier of events."""

from dataclasses import asdict, dataclass, field
from typing import Any

from stg.config.data import WorldConfig
from stg.config.model import TimeFlow
from stg.config.plugins import known, near
from stg.config.schema import not_negative, positive, seed_list

ROWS = ("scene", "none", "spatial", "temporal", "dense", "full")

SHUFFLED = "-shuffled"

HEADS = 8
"""Attention heads over frames."""


@dataclass(frozen=True)
class ProbeConfig:
    """What to probe, and how."""

    out: str = "runs/probe-world"
    """Folder of the results."""
    store: str | None = None
    """Store of the world's graphs, such as one that stg.store edges made; default: as stg.fit makes it."""
    rows: str = ",".join(ROWS)
    """Of scene, none, spatial, temporal, dense, full, and edges of a plugin; with -shuffled behind it, on features
    shuffled between videos."""
    seeds: str = "0,1,2"
    """Seeds of weights, order and dropout, with commas; each row is trained once with each."""
    time_flow: TimeFlow = "literal"
    """Direction of information along temporal edges: literal (Eq. 4: a node gathers from the next frame), forward,
    both."""
    world: WorldConfig = field(default_factory=lambda: WorldConfig(train=2400, val=160, test=480))
    """The built-in world."""
    epochs: int = 20
    """Passes over the training videos; the best on val is tested."""
    batch_videos: int = 64
    """Videos a step."""
    lr: float = 1e-3
    """Step size of Adam."""
    channels: int = 128
    """Width of the classifier, a multiple of 8; smaller is quicker."""
    layers: int = 3
    """Number of graph convolutions, one behind the other; 0: none."""
    dropout: float = 0.2
    """Share of the values that training leaves out at random, in 0..1 (1 excluded)."""
    threads: int | None = None
    """CPU threads; default: all cores."""

    def __post_init__(self) -> None:
        positive(self, "epochs", "batch_videos", "lr", "channels")
        if self.channels % HEADS:
            raise ValueError(f"channels must be a multiple of {HEADS}; got {self.channels}")
        not_negative(self, "layers")
        there = dict.fromkeys([*ROWS, *known("variant")])
        if unknown := [row for row in self.chosen if row.removesuffix(SHUFFLED) not in there]:
            raise ValueError(
                f"rows must be of {', '.join(there)}, each with or without {SHUFFLED}; got {self.rows!r}"
                f"{near(unknown[0], there)}"
            )
        seed_list(self.seeds)

    @property
    def chosen(self) -> list[str]:
        """The rows."""
        return list(dict.fromkeys(row.strip() for row in self.rows.split(",")))

    @property
    def numbers(self) -> list[int]:
        """The seeds."""
        return seed_list(self.seeds)

    @property
    def settings(self) -> dict[str, Any]:
        """What a result depends on, apart from row and seed."""
        return {name: value for name, value in asdict(self).items() if name not in ("out", "rows", "seeds", "threads")}
