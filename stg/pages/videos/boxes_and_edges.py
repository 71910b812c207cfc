"""The film strip of a video: its frames side by side, with boxes and edges at their place, for inline SVG."""

import base64
import math
from collections.abc import Iterable, Sequence
from colorsys import hls_to_rgb
from dataclasses import dataclass
from itertools import groupby

from graphs import EDGE_TYPES
from stg.pages.videos.labels import Rectangle, place_label
from stg.pages.videos.views import Edge, Node, VideoView

HEIGHT = 240
"""Height of a frame in the units of the drawing; the width follows from the shape of the video."""

GAP = 28
"""Between two frames, so that an edge from one to the next is seen between them."""

LARGEST_K = 5
"""Edges beyond the strongest so many into a node (of one kind) are not drawn, so that pages stay bounded."""

MOST_EDGES = 3000
"""Most edges drawn of one video: with more, fewer ranks than :data:`LARGEST_K` are drawn, though never none."""

KINDS = ("spatial", "temporal", "track", "dense")

COLOURS = {"spatial": (47, 127, 255), "temporal": (255, 56, 56), "track": (160, 80, 245), "dense": (240, 166, 221)}
"""Red, green and blue of each kind of edge, on light and on dark ground; dashes and arrows distinguish them too.

Other types of :data:`graphs.EDGE_TYPES` have colours of their own, see :func:`colour_of`.
"""

LETTER, LINE = 8.2, 18.0
"""Width of a letter and height of a label in the units of the drawing, at the usual size of the frames."""

LABELLED = 8
"""Boxes of a frame, best score first, that have their label at once; the others show it when pointed at."""


@dataclass(frozen=True)
class DrawnFrame:
    """A frame: its left edge ``x``, its number and time as text, and its picture as a data URI (or none)."""

    x: int
    number: int
    seconds: str
    jpeg: str


@dataclass(frozen=True)
class DrawnNode:
    """A box, its corner and size within the strip, what is written on it, and left and base line of that.

    ``colour`` is that of its track, as CSS has it; an object without a track (-1) has none.
    """

    number: int
    frame: int
    x: float
    y: float
    width: float
    height: float
    name: str
    score: str
    minor: bool
    label: tuple[float, float]
    track: int = -1

    @property
    def colour(self) -> str:
        return track_css(self.track)

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2


@dataclass(frozen=True)
class DrawnEdge:
    """An edge: which of the video's it stands for, its rank among those of its kind into its target, and its line."""

    numbers: tuple[int, ...]
    rank: int
    weight: float
    level: int
    path: str


@dataclass(frozen=True)
class Strip:
    """All that is drawn of a video; ``edges`` by kind, strongest ranks first, up to rank ``largest``."""

    frame_width: int
    width: int
    frames: tuple[DrawnFrame, ...]
    nodes: tuple[DrawnNode, ...]
    edges: tuple[tuple[str, tuple[DrawnEdge, ...]], ...]
    strongest: dict[str, float]
    largest: int

    @property
    def order(self) -> list[tuple[int, ...]]:
        """Which edges each line stands for, in the order of the drawing."""
        return [edge.numbers for _, drawn in self.edges for edge in drawn]


def strip_of(view: VideoView) -> Strip:
    """Lay out the frames, boxes and edges of a video."""
    height, width = view.size
    # Bounded: a video of an odd shape would give slivers, or frames wider than a screen.
    frame_width = min(max(round(HEIGHT * width / max(height, 1)), 60), 4 * HEIGHT)
    lefts = [index * (frame_width + GAP) for index in range(len(view.pictures))]
    frames = tuple(
        DrawnFrame(
            x=x,
            number=picture.number,
            seconds="" if picture.seconds is None else f"{picture.seconds:.1f} s",
            jpeg="" if picture.jpeg is None else data_uri("image/jpeg", picture.jpeg),
        )
        for x, picture in zip(lefts, view.pictures, strict=True)
    )
    scale = (frame_width / max(width, 1), HEIGHT / max(height, 1))
    nodes = draw_nodes(view, lefts, scale)
    rows = joined(ranked(view.edges))
    # As many ranks as stay below the limit, but always the strongest edge into each node.
    largest = next((k for k in range(LARGEST_K, 1, -1) if sum(rank <= k for _, _, rank in rows) <= MOST_EDGES), 1)
    kept = [row for row in rows if row[2] <= largest]
    kinds = (*KINDS, *own_types(edge.kind for _, edge, _ in kept))
    # Of the edges that are drawn, so that each kind has a line of the highest level.
    strongest = {kind: max((e.weight for _, e, _ in kept if e.kind == kind), default=0.0) for kind in kinds}
    edges = draw_edges(kept, nodes, strongest)
    total = lefts[-1] + frame_width if lefts else frame_width
    return Strip(frame_width, total, frames, nodes, edges, strongest, largest)


def draw_nodes(view: VideoView, lefts: Sequence[int], scale: tuple[float, float]) -> tuple[DrawnNode, ...]:
    """The boxes at their place in the strip."""
    across, down = scale
    # Labels on all boxes would cover the picture: those of the best few of each frame are seen at once.
    best: dict[int, list[int]] = {}
    for number in sorted(range(len(view.nodes)), key=lambda n: -(view.nodes[n].score or 0.0)):
        best.setdefault(view.nodes[number].frame, []).append(number)
    labelled = {number for numbers in best.values() for number in numbers[:LABELLED]}
    boxes = [
        (x1 * across, y1 * down, max(x2 - x1, 0) * across, max(y2 - y1, 0) * down)
        for x1, y1, x2, y2 in (node.box for node in view.nodes)
    ]
    room = view.size[1] * across, float(HEIGHT)
    labels: dict[int, tuple[float, float]] = {}
    for numbers in best.values():
        taken: list[Rectangle] = []
        for number in numbers:
            wide = LETTER * len(" ".join(label_of(view.nodes[number])))
            labels[number] = place_label(boxes[number], wide, LINE, room, taken)
    return tuple(
        DrawnNode(
            number=number,
            frame=node.frame,
            x=round(lefts[node.frame] + x, 1),
            y=round(y, 1),
            width=round(width, 1),
            height=round(height, 1),
            name=node.name,
            score=score_text(node.score),
            minor=number not in labelled,
            label=(round(lefts[node.frame] + labels[number][0] + 3, 1), round(labels[number][1] + 0.75 * LINE, 1)),
            track=node.track,
        )
        for number, (node, (x, y, width, height)) in enumerate(zip(view.nodes, boxes, strict=True))
    )


def label_of(node: Node) -> list[str]:
    """What is written on a box: number of its track, class, score, as far as they are known."""
    parts = ["" if node.track < 0 else f"#{node.track}", node.name, score_text(node.score)]
    return [part for part in parts if part]


def score_text(score: float | None) -> str:
    """Two decimals, or nothing."""
    return "" if score is None or not math.isfinite(score) else f"{score:.2f}"


def ranked(edges: Iterable[Edge]) -> list[tuple[int, Edge, int]]:
    """Number, edge and rank of each edge among those of its kind into its target, strongest first: rank 1.

    An edge from a node to itself has no line, and a weight that is not finite no rank: both are left out.
    """
    real = [(i, edge) for i, edge in enumerate(edges) if edge.source != edge.target and math.isfinite(edge.weight)]
    real.sort(key=lambda pair: (pair[1].kind, pair[1].target, -pair[1].weight))
    groups = groupby(real, key=lambda pair: (pair[1].kind, pair[1].target))
    return [(i, edge, rank) for _, group in groups for rank, (i, edge) in enumerate(group, start=1)]


def joined(rows: Iterable[tuple[int, Edge, int]]) -> list[tuple[tuple[int, ...], Edge, int]]:
    """The same with both ways between two objects as one, by the stronger edge and the better rank.

    That holds for spatial edges, which have no arrow and would be two lines in one place; others have two arrows.
    """
    found: dict[object, tuple[tuple[int, ...], Edge, int]] = {}
    for number, edge, rank in rows:
        key = frozenset((edge.source, edge.target)) if edge.kind == "spatial" else number
        numbers, other, best = found.get(key, ((), edge, rank))
        found[key] = (*numbers, number), max(other, edge, key=lambda one: one.weight), min(best, rank)
    return list(found.values())


def draw_edges(
    kept: Sequence[tuple[tuple[int, ...], Edge, int]], nodes: Sequence[DrawnNode], strongest: dict[str, float]
) -> tuple[tuple[str, tuple[DrawnEdge, ...]], ...]:
    """The lines of the edges by kind; their level is the weight as a part of the ``strongest`` of the kind.

    Arrows run as messages do, from the source to the target that gathers, as :func:`stg.pages.draw_edges` draws them.
    With ``time_flow: literal`` those of temporal edges thus point back in time. Pan et al. (2020, Fig. 1) draw them
    forward, although an object gathers from the next frame by their Eq. 2 and 4.
    """
    drawn: dict[str, list[DrawnEdge]] = {kind: [] for kind in strongest}
    for numbers, edge, rank in sorted(kept, key=lambda row: (row[2], row[0])):
        share = edge.weight / strongest[edge.kind] if strongest[edge.kind] > 0 else 0.0
        path = line(nodes[edge.source].centre, nodes[edge.target].centre, arrow=edge.kind != "spatial")
        drawn[edge.kind].append(DrawnEdge(numbers, rank, edge.weight, min(max(round(9 * share), 0), 9), path))
    return tuple((kind, tuple(lines)) for kind, lines in drawn.items() if lines)


def line(start: tuple[float, float], end: tuple[float, float], *, arrow: bool) -> str:
    """An SVG path, bent to the right, so that two arrows lie apart; with an arrow it stops short of the end."""
    across, down = end[0] - start[0], end[1] - start[1]
    length = math.hypot(across, down)
    if arrow and length > 24:
        across, down = across * (1 - 7 / length), down * (1 - 7 / length)
    bend = 0.06 if arrow else 0.1
    middle = (across / 2 - bend * down, down / 2 + bend * across)
    return f"M{start[0]:.0f} {start[1]:.0f}q{middle[0]:.0f} {middle[1]:.0f} {across:.0f} {down:.0f}".replace(" -", "-")


def colour_of(kind: str) -> tuple[int, int, int]:
    """Red, green and blue of a kind of edge."""
    if kind in COLOURS:
        return COLOURS[kind]
    # By the golden ratio any numbers lie far apart; from orange to cyan only, away from the colours above.
    hue = 0.1 + 0.4 * (EDGE_TYPES[kind] * 0.618 % 1)
    red, green, blue = (round(255 * part) for part in hls_to_rgb(hue, 0.45, 0.8))
    return red, green, blue


def track_colour(track: int) -> tuple[int, int, int]:
    """Red, green and blue of a track: the same in each frame, and light, so that dark letters are read on it."""
    # After eight colours, far apart by the golden ratio, come paler ones.
    red, green, blue = hls_to_rgb((0.125 + 0.618 * track) % 1, 0.86 if track // 8 % 2 else 0.72, 0.9)
    return round(255 * red), round(255 * green), round(255 * blue)


def track_css(track: int) -> str:
    """The colour of a track as CSS has it; empty for an object without one."""
    return "" if track < 0 else "#" + bytes(track_colour(track)).hex()


def own_types(kinds: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Number in ``EDGE_TYPES`` and colour, as CSS has it, of those kinds that are not in :data:`KINDS`."""
    names = sorted({kind for kind in kinds if kind not in KINDS}, key=EDGE_TYPES.__getitem__)
    return {name: (EDGE_TYPES[name], "#" + bytes(colour_of(name)).hex()) for name in names}


def data_uri(kind: str, payload: bytes) -> str:
    """``payload`` as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(payload).decode()}"
