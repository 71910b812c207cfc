"""What to do with a graph store."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EdgeConfig:
    """How edges are drawn (Pan et al., 2020, Eq. 1 and 2); the defaults are the paper's."""

    tau_space: float = 1.0
    """edges: temperature of the softmax over overlaps; the lower, the more the best one counts (1 in the paper)."""
    tau_time: float = 1.0
    """edges: temperature of the softmax over cosines; the lower, the more the best one counts (1 in the paper). At 0.1
    an object finds itself again."""
    top_k: int | None = None
    """edges: most edges of each kind that a node gathers over; null: all, as in the paper."""
    drop_zero_iou: bool = False
    """edges: connect only boxes that overlap; the paper connects all boxes of a frame."""

    def __post_init__(self) -> None:
        for name in ("tau_space", "tau_time"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0; got {getattr(self, name)}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, or null for all; got {self.top_k}")

    @property
    def arguments(self) -> dict[str, Any]:
        """What `graphs.flat_graph` takes."""
        return {
            "tau_space": self.tau_space,
            "tau_time": self.tau_time,
            "top_k": self.top_k,
            "iou_threshold": 0.0 if self.drop_zero_iou else None,
        }


ACTIONS = ("info", "verify", "merge", "edges")

MAKING = ("merge", "edges")
"""Those that make a store."""


@dataclass(frozen=True, kw_only=True)
class StoreConfig(EdgeConfig):
    """What to do with which stores."""

    action: str = field(metadata={"positional": True, "help": "info, verify, merge or edges."})

    paths: tuple[str, ...] = field(
        metadata={"positional": True, "help": "The files of the stores; put -- before names that start with -."}
    )
    out: str | None = None
    """merge, edges: the store to make, or to add to."""
    strict: bool = False
    """merge, edges: refuse to write on a network file system, where a store can be damaged, instead of warning."""

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"the action must be one of {', '.join(ACTIONS)}, got '{self.action}'")
        if (self.out is not None) != (self.action in MAKING):
            raise ValueError(f"{' and '.join(MAKING)} need --out STORE, the other actions take none")
        if self.action == "edges" and len(self.paths) != 1:
            raise ValueError(f"edges takes one store, got {len(self.paths)}")
        super().__post_init__()
        if self.action == "edges" and self.edges == EdgeConfig():
            raise ValueError(f"edges draws other edges than the paper's: set one of {', '.join(asdict(EdgeConfig()))}")
        if self.action != "edges" and self.edges != EdgeConfig():
            raise ValueError(f"{', '.join(asdict(EdgeConfig()))} are for edges; the action is {self.action}")

    @property
    def edges(self) -> EdgeConfig:
        """How edges are to be drawn."""
        return EdgeConfig(**{item.name: getattr(self, item.name) for item in fields(EdgeConfig)})
