"""The strongest edges of a video in words: kind, direction and weight of each."""

import math
from typing import Any

from stg.pages.videos.boxes_and_edges import KINDS, Strip, own_types
from stg.pages.videos.views import VideoView

LISTED = 10
"""Edges of each kind that are listed, the strongest first."""


def edge_table(strip: Strip, view: VideoView) -> list[dict[str, Any]]:
    """For each kind of edge that the graph has: its name, how many there are, and rows of the strongest.

    An edge from an object to itself counts, but is not listed: it has no line.
    """
    kinds = [*KINDS, *own_types(edge.kind for edge in view.edges)]
    return [found for kind in kinds if (found := _of_kind(kind, strip, view))["count"]]


def _of_kind(kind: str, strip: Strip, view: VideoView) -> dict[str, Any]:
    edges = [edge for edge in view.edges if edge.kind == kind]
    drawn = [edge for edge in edges if edge.source != edge.target and math.isfinite(edge.weight)]
    drawn.sort(key=lambda edge: -edge.weight)
    rows = [
        {
            "target": _called(edge.target, strip, view),
            "source": _called(edge.source, strip, view),
            "weight": f"{edge.weight:.3g}",
        }
        for edge in drawn[:LISTED]
    ]
    return {"kind": kind, "count": len(edges), "loops": sum(e.source == e.target for e in edges), "rows": rows}


def _called(number: int, strip: Strip, view: VideoView) -> dict[str, Any]:
    node = view.nodes[number]
    name = node.name or "object"
    return {
        "colour": strip.nodes[number].colour,
        "name": name if node.track < 0 else f"#{node.track} {node.name}".strip(),
        "frame": strip.frames[node.frame].number,
    }
