"""The edges that count most, drawn on the frames of a video, from plain arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from stg.pages.videos.boxes_and_edges import COLOURS, GAP, LABELLED
from stg.pages.videos.labels import Rectangle
from stg.pages.videos.overlay_drawing import LONGEST
from stg.pages.videos.strokes import FINE, GROUND, QUIET, TEXT, arrow, font, outline, stroke, tag
from stg.runtime.files import printable

SIDE = 360
"""Longer side of a drawn frame in pixels."""

BLANK = (43, 46, 54)
"""Colour of a frame without a picture."""

LETTERS = 13
"""Height of the letters above frames and in the legend, in pixels."""

UNIT = float(FINE)
"""Lines and labels of the usual size."""

MEANINGS = {
    "spatial": "within a frame",
    "temporal": "between frames that follow each other",
    "dense": "between frames further apart",
}


def draw_edges(
    boxes: Any,
    frame: Any,
    edge_index: Any,
    edge_score: Any,
    *,
    pictures: Any = None,
    size: Any = None,
    labels: Sequence[str] | None = None,
    top: int = 10,
    columns: int = 4,
) -> Image.Image:
    """Draw the strongest edges of a graph of a video on its frames, whatever has scored them.

    >>> import torch
    >>> boxes = torch.tensor([[20, 60, 90, 200], [180, 90, 280, 180], [40, 60, 110, 200]])
    >>> edge_index = torch.tensor([[0, 1, 0], [1, 0, 2]])  # from row 0 to row 1
    >>> picture = draw_edges(
    ...     boxes, torch.tensor([0, 0, 1]), edge_index, torch.tensor([0.9, 0.0, 0.4]),
    ...     size=(240, 320), labels=["person", "cup", "person"],
    ... )
    >>> picture.width
    804

    In a notebook the last line of a cell shows it; ``picture.save("edges.png")`` writes it. With PyG's ``Explainer``,
    ``edge_score`` is ``explanation.edge_mask``; of signed scores give the absolute value.

    Frames stand side by side in the order of time, ``columns`` in a row. If the video has more of them, only those
    that a drawn edge touches are shown, each with its number. Blue arrows join objects of one frame, red ones frames
    that follow each other, pink ones frames further apart; from the source to the head at the target, as messages run,
    or a ring where both are one object. Those of the paper's temporal edges thus point back in time, as an object
    gathers from the next frame (:mod:`graphs.edges`); the pages of ``stg.report`` draw them so, too. An
    arrow that leaves at the side goes on in another row. The higher the score, the wider and the more opaque; the
    scale below goes to the highest one. Objects that no drawn edge touches are grey.

    Args:
        boxes: [N 4] corners x1, y1, x2, y2 in pixels of the frames.
        frame: [N] frame of each object, from 0.
        edge_index: [2 E] source and target of each edge.
        edge_score: [E] finite; edges of 0 or less are not drawn.
        pictures: [T H W 3] uint8, the frames.
        size: height and width of the frames in pixels, for empty frames instead of pictures; ``graph["size"]`` too.
        labels: [N] what to write on each box.
        top: so many edges are drawn, highest score first; of equals, the first.
        columns: frames in a row.

    Returns:
        An RGB picture; frames are scaled to 360 pixels on their longer side.

    Raises:
        ValueError: arrays that do not fit each other, values out of range, or neither pictures nor a size.
    """
    if top < 1 or columns < 1:
        raise ValueError(f"top and columns are 1 or more, not {top} and {columns}")
    graph = _graph(boxes, frame, edge_index, edge_score, labels)
    shots = _shots(pictures, size, graph.frame)
    order = np.argsort(-graph.score, kind="stable")[:top]
    return _compose(shots, graph, order[graph.score[order] > 0], columns)


@dataclass(frozen=True, eq=False)
class _Graph:
    boxes: np.ndarray
    frame: np.ndarray
    ends: np.ndarray
    score: np.ndarray
    labels: Sequence[str]

    def kind(self, edge: int) -> str:
        apart = abs(int(self.frame[self.ends[1, edge]]) - int(self.frame[self.ends[0, edge]]))
        return ("spatial", "temporal", "dense")[min(apart, 2)]


class _Sheet:
    """Frames in rows, and what is drawn over them."""

    def __init__(self, shots: np.ndarray, shown: Sequence[int], columns: int, graph: _Graph) -> None:
        self.graph, self.shown, self.columns = graph, shown, columns
        height, width = shots.shape[1:3]
        scale = SIDE / max(height, width)
        self.cell = max(round(width * scale), 1), max(round(height * scale), 1)
        self.boxes: list[Rectangle] = [tuple(corners) for corners in (graph.boxes * scale * FINE).tolist()]
        self.head = LETTERS + 9
        rows = -(-len(shown) // columns)
        self.across, self.down = self.cell[0] + GAP, self.cell[1] + self.head + GAP // 2
        self.size = min(len(shown), columns) * self.across + GAP, rows * self.down + self.head // 2
        self.picture = Image.new("RGB", self.size, GROUND)
        draw = ImageDraw.Draw(self.picture)
        for number in shown:
            x, y = self._corner(number)
            self.picture.paste(Image.fromarray(shots[number]).resize(self.cell), (x, y))
            draw.text((x, y - self.head // 2), f"frame {number}", fill=TEXT, font=font(LETTERS), anchor="lm")
        self.layer = Image.new("RGBA", (self.size[0] * FINE, self.size[1] * FINE))

    def outlines(self, touched: set[int]) -> None:
        for number in self.shown:
            cell, draw = self._cell()
            for n in sorted(self._nodes(number), key=lambda n: n in touched):
                outline(draw, self.boxes[n], cell.size, UNIT, *([] if n in touched else [QUIET]))
            self._lay(cell, number)

    def arrows(self, edges: Sequence[int]) -> None:
        draw = ImageDraw.Draw(self.layer)
        pairs = {tuple(self.graph.ends[:, edge].tolist()) for edge in edges}
        for edge in edges:
            source, target = self.graph.ends[:, edge].tolist()
            kind = self.graph.kind(edge)
            # Bent where a straight arrow would hide another one, or run through the frames between.
            bend = 0.12 if (target, source) in pairs or kind == "dense" else 0.0
            wide, opacity = stroke(self.graph.score[edge] / self.graph.score[edges].max(), UNIT)
            # Across rows it is drawn in both, as if either went on, and cut where the picture ends.
            for row in {self._row(source), self._row(target)}:
                start, end = self._centre(source, row), self._centre(target, row)
                # There and back to different sides.
                arrow(draw, start, end, wide, (*COLOURS[kind], opacity), UNIT, bend if end > start else -bend)

    def tags(self, touched: Sequence[int]) -> None:
        if not self.graph.labels:
            return
        for number in self.shown:
            cell, draw = self._cell()
            taken: list[Rectangle] = []
            first = [n for n in touched if self.graph.frame[n] == number]
            others = [n for n in self._nodes(number) if n not in first]
            for n in [*first, *others[: max(LABELLED - len(first), 0)]]:
                text, colour = printable(self.graph.labels[n])[:LONGEST], [] if n in first else [QUIET]
                if text:
                    tag(draw, text, self.boxes[n], cell.size, taken, UNIT, *colour)
            self._lay(cell, number)

    def finish(self, drawn: Sequence[int]) -> Image.Image:
        """The picture, with the scale and the meaning of the colours below."""
        self.picture.paste(small := self.layer.resize(self.size, Image.Resampling.BOX), mask=small)
        total = self.graph.ends.shape[1]
        if not drawn:
            return self._legend([("", f"none of {total} edges has a score above 0")])
        kinds = [kind for kind in COLOURS if kind in {self.graph.kind(edge) for edge in drawn}]
        scores = self.graph.score[drawn]
        rings = (self.graph.ends[0, drawn] == self.graph.ends[1, drawn]).any()
        return self._legend(
            [
                ("", f"{len(drawn)} of {total} edges, highest scores first"),
                ("scale", f"score 0 to {scores.max():.3g}"),
                *((kind, MEANINGS[kind]) for kind in kinds),
                *([("", "ring: from an object to itself")] if rings else []),
            ]
        )

    def _legend(self, items: Sequence[tuple[str, str]]) -> Image.Image:
        letters, sign, row = font(LETTERS), 30, LETTERS + 9
        places, x, y = [], float(GAP), self.size[1] + row // 2
        for kind, text in items:
            width = letters.getlength(text) + (sign + 6 if kind else 0)
            if x > GAP and x + width > self.size[0]:
                x, y = float(GAP), y + row
            places.append((kind, text, x, y))
            x += width + 24
        found = Image.new("RGB", (self.size[0], y + row), GROUND)
        found.paste(self.picture)
        draw = ImageDraw.Draw(found)
        for kind, text, x, y in places:
            if kind == "scale":
                for step in range(3):
                    grey = (TEXT[0] * (step + 2) // 4,) * 3
                    draw.line((x + step * sign / 3, y, x + (step + 1) * sign / 3 - 1, y), fill=grey, width=2 * step + 1)
            elif kind:
                draw.line((x, y, x + sign - 6, y), fill=COLOURS[kind], width=3)
                draw.polygon([(x + sign - 8, y - 5), (x + sign, y), (x + sign - 8, y + 5)], fill=COLOURS[kind])
            draw.text((x + (sign + 6 if kind else 0), y), text, fill=TEXT, font=letters, anchor="lm")
        return found

    def _nodes(self, frame: int) -> list[int]:
        return np.flatnonzero(self.graph.frame == frame).tolist()

    def _cell(self) -> tuple[Image.Image, Any]:
        cell = Image.new("RGBA", (self.cell[0] * FINE, self.cell[1] * FINE))
        return cell, ImageDraw.Draw(cell)

    def _corner(self, frame: int, row: int | None = None) -> tuple[int, int]:
        """Left and top of a frame; as if its ``row`` were endless, where one is given."""
        place = self.shown.index(frame)
        row = place // self.columns if row is None else row
        return GAP + (place - row * self.columns) * self.across, self.head + row * self.down

    def _row(self, node: int) -> int:
        return self.shown.index(int(self.graph.frame[node])) // self.columns

    def _lay(self, cell: Image.Image, frame: int) -> None:
        x, y = self._corner(frame)
        self.layer.alpha_composite(cell, (x * FINE, y * FINE))

    def _centre(self, number: int, row: int) -> tuple[float, float]:
        """Of a box, in the frame even where the box is not."""
        x1, y1, x2, y2 = self.boxes[number]
        left, above = self._corner(int(self.graph.frame[number]), row)
        x, y = (min(max(half / 2, 0.0), side * FINE) for half, side in zip((x1 + x2, y1 + y2), self.cell, strict=True))
        return left * FINE + x, above * FINE + y


def _compose(shots: np.ndarray, graph: _Graph, drawn: np.ndarray, columns: int) -> Image.Image:
    """The picture with these edges, strongest first."""
    touched = np.unique(graph.ends[:, drawn])
    shown = np.arange(len(shots))
    if len(shots) > columns:
        # Without any edge the first ones stand for all.
        shown = np.unique(graph.frame[touched]) if len(drawn) else shown[:columns]
    sheet = _Sheet(shots, shown.tolist(), columns, graph)
    sheet.outlines(set(touched.tolist()))
    # What is drawn last is on top: the strongest.
    sheet.arrows(drawn[::-1].tolist())
    sheet.tags(touched.tolist())
    return sheet.finish(drawn.tolist())


def _graph(boxes: Any, frame: Any, edge_index: Any, edge_score: Any, labels: Sequence[str] | None) -> _Graph:
    """The arrays, checked against each other."""
    box, place = _array("boxes", boxes, "N 4"), _array("frame", frame, "N", whole=True)
    ends, score = _array("edge_index", edge_index, "2 E", whole=True), _array("edge_score", edge_score, "E")
    count = len(box)
    for name, length in (("frame", len(place)), ("labels", count if labels is None else len(labels))):
        if length != count:
            raise ValueError(f"{name} has {length} entries, but there are {count} boxes")
    if len(score) != ends.shape[1]:
        raise ValueError(f"edge_score has {len(score)} entries, but edge_index has {ends.shape[1]} edges")
    for name, values in (("boxes", box), ("edge_score", score)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds a value that is not finite")
    if ends.size and not 0 <= ends.min() <= ends.max() < count:
        raise ValueError(f"edge_index reaches from {ends.min()} to {ends.max()}, but there are {count} boxes, from 0")
    if place.size and place.min() < 0:
        raise ValueError(f"frame holds {place.min()}; frames count from 0")
    return _Graph(
        box.astype(np.float64), place, ends, score.astype(np.float64), list(map(str, () if labels is None else labels))
    )


def _shots(pictures: Any, size: Any, frame: np.ndarray) -> np.ndarray:
    """[T H W 3] what is below the boxes."""
    if (pictures is None) == (size is None):
        raise ValueError("give the frames as pictures, or the height and width of empty ones as size")
    needed = int(frame.max(initial=0)) + 1
    if size is not None:
        # One row a graph, as graphs have it.
        sides = np.asarray(size).reshape(-1).tolist()
        if len(sides) != 2 or min(sides) < 1:
            raise ValueError(f"size is a height and a width in pixels, not {sides}")
        return np.broadcast_to(np.array(BLANK, np.uint8), (needed, *map(int, sides), 3))
    shots = _array("pictures", pictures, "T H W 3")
    if shots.dtype != np.uint8 or not shots.size:
        raise ValueError(f"pictures are of {shots.dtype} and shape {list(shots.shape)}, not uint8 [T H W 3]")
    if len(shots) < needed:
        raise ValueError(f"frame holds {needed - 1}, but there are {len(shots)} pictures, from 0")
    return shots


def _array(name: str, value: Any, shape: str, *, whole: bool = False) -> np.ndarray:
    """A tensor, an array or lists as an array of that shape, of the numbers it has."""
    try:
        found = torch.as_tensor(value).detach().cpu().numpy()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} is no array [{shape}] of numbers: {error}") from error
    sides = shape.split()
    fits = len(sides) == found.ndim and all(
        not side.isdigit() or int(side) == length for side, length in zip(sides, found.shape, strict=False)
    )
    if not fits or (whole and found.dtype.kind not in "iu"):
        kind = "whole numbers" if whole else "numbers"
        raise ValueError(f"{name} is of {found.dtype} and shape {list(found.shape)}, not {kind} [{shape}]")
    return found
