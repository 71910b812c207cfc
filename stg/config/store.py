"""What to do with a graph store."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from stg.config.schema import not_negative


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

    pad_objects: int | None = None
    """edges: fill each frame up to so many objects with zeros that take part as objects do, the literal reading of the
    paper's zero-padding (5 there); null: no such objects."""

    def __post_init__(self) -> None:
        for name in ("tau_space", "tau_time"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be greater than 0; got {getattr(self, name)}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be at least 1, or null for all; got {self.top_k}")
        if self.pad_objects is not None and self.pad_objects < 1:
            raise ValueError(f"pad_objects must be at least 1, or null for none; got {self.pad_objects}")

    @property
    def arguments(self) -> dict[str, Any]:
        """What `graphs.flat_graph` and `graphs.draw_paper_edges` take."""
        return {
            "tau_space": self.tau_space,
            "tau_time": self.tau_time,
            "top_k": self.top_k,
            "iou_threshold": 0.0 if self.drop_zero_iou else None,
        }


@dataclass(frozen=True, kw_only=True)
class TrackConfig:
    """How the objects of sampled frames are joined to tracks (`graphs.link_tracks`).

    The defaults are for frames that lie seconds apart, in which boxes of one object need not overlap.
    """

    min_iou: float = 0.0
    """tracks: least overlap of two boxes that are joined, from 0 to 1; frames in close succession allow 0.3."""
    min_cosine: float = 0.3
    """tracks: least cosine of two objects that are joined, from -1 to 1."""
    appearance: float = 0.8
    """tracks: share of the cosine in the similarity that decides between pairs; the rest is that of the overlap."""
    patience: int = 2
    """tracks: sampled frames for which an object may be lost and come back."""
    same_label: bool = False
    """tracks: join objects of one class only; for stores with the classes of a detector."""

    def __post_init__(self) -> None:
        for name, least in (("min_iou", 0), ("min_cosine", -1), ("appearance", 0)):
            if not least <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in {least}..1; got {getattr(self, name)}")
        not_negative(self, "patience")


ACTIONS = ("info", "verify", "merge", "edges", "tracks")

MAKING = ("merge", "edges", "tracks")
"""Those that make a store."""


@dataclass(frozen=True, kw_only=True)
class StoreConfig(TrackConfig, EdgeConfig):
    """What to do with which stores."""

    action: str = field(metadata={"positional": True, "help": "info, verify, merge, edges or tracks."})

    paths: tuple[str, ...] = field(
        metadata={"positional": True, "help": "The files of the stores; put -- before names that start with -."}
    )
    out: str | None = None
    """merge, edges, tracks: the store to make, or to add to."""
    strict: bool = False
    """merge, edges, tracks: refuse to write on a network file system, where a store can be damaged, instead of
    warning."""

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"the action must be one of {', '.join(ACTIONS)}, got '{self.action}'")
        if (self.out is not None) != (self.action in MAKING):
            raise ValueError(f"{', '.join(MAKING[:-1])} and {MAKING[-1]} need --out STORE, the other actions take none")
        if self.action in ("edges", "tracks") and len(self.paths) != 1:
            raise ValueError(f"{self.action} takes one store, got {len(self.paths)}")
        EdgeConfig.__post_init__(self)
        TrackConfig.__post_init__(self)
        if self.action == "edges" and self.edges == EdgeConfig():
            raise ValueError(f"edges draws other edges than the paper's: set one of {', '.join(asdict(EdgeConfig()))}")
        if self.action != "edges" and self.edges != EdgeConfig():
            raise ValueError(f"{', '.join(asdict(EdgeConfig()))} are for edges; the action is {self.action}")
        if self.action != "tracks" and self.tracks != TrackConfig():
            raise ValueError(f"{', '.join(asdict(TrackConfig()))} are for tracks; the action is {self.action}")

    @property
    def edges(self) -> EdgeConfig:
        """How edges are to be drawn."""
        return EdgeConfig(**{item.name: getattr(self, item.name) for item in fields(EdgeConfig)})

    @property
    def tracks(self) -> TrackConfig:
        """How objects are to be joined."""
        return TrackConfig(**{item.name: getattr(self, item.name) for item in fields(TrackConfig)})
