"""The graphs of a store with edges drawn anew, sharper or fewer than the papers', in a store of their own."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from stg.config import differences
from stg.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from graphs import GraphStore

CHUNK = 64
"""Graphs that one transaction takes."""


@dataclass(frozen=True, kw_only=True)
class EdgeChoice:
    """How edges are drawn (Pan et al., 2020, Eq. 1 and 2); the defaults are the paper's."""

    tau_space: float = 1.0
    """edges: temperature of the softmax over overlaps; 1 in the paper."""
    tau_time: float = 1.0
    """edges: temperature of the softmax over cosines; 1 in the paper. At 0.1 an object finds itself again."""
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
        """What `graphs.build_graph` takes."""
        return {
            "tau_space": self.tau_space,
            "tau_time": self.tau_time,
            "top_k": self.top_k,
            "iou_threshold": 0.0 if self.drop_zero_iou else None,
        }


def recorded_edges(manifest: Mapping[str, Any]) -> EdgeChoice:
    """How the edges of the graphs of a manifest were drawn.

    Raises:
        UserError: the manifest tells of edges that this version does not know.
    """
    try:
        return EdgeChoice(**manifest.get("edges", {}))
    except (TypeError, ValueError) as error:
        raise UserError(f"the graphs have edges that this version cannot draw: {manifest['edges']!r}") from error


def redraw(source: "GraphStore", target: "GraphStore", edges: EdgeChoice, console: "Console") -> None:
    """Copy all graphs of ``source`` into ``target``, with other edges; what is there already is not done again.

    The choice goes into the manifest under ``edges``, so that models trained on either refuse the other. Cosines are
    those of the stored features: in float16 they differ from the extractor's in the last digits.

    Raises:
        UserError: ``target`` holds something else.
    """
    from graphs.transforms import paper_edges
    from stg.progress import making

    manifest = {**source.manifest, "edges": asdict(edges)}
    if len(target) and (differing := differences(target.manifest, manifest)):
        listed = "; ".join(f"{key}: {old!r} there, now {new!r}" for key, (old, new) in differing.items())
        raise UserError(f"{target.path} holds other graphs ({listed}): choose another --out")
    target.manifest = manifest
    draw = paper_edges(**edges.arguments)
    waiting = [video for video in source if video not in target]
    before = len(target)
    with making(console, "drawing edges") as tell:
        for start in range(0, len(waiting), CHUNK):
            chunk = waiting[start : start + CHUNK]
            target.put_many((video, draw(source.get(video))) for video in chunk)
            tell(start + len(chunk), len(waiting))
    console.print(f"{target.path}: {len(waiting)} graphs with other edges added, {before} there before")
