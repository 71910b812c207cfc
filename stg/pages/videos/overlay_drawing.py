"""What is drawn over a frame of a video and below it: boxes, edges, and a caption that grows."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from stg.pages.videos.boxes_and_edges import COLOURS, KINDS, colour_of, label_of, own_types, ranked, track_colour
from stg.pages.videos.labels import Rectangle
from stg.pages.videos.strokes import BOX, FINE, GROUND, INK, QUIET, TEXT, arrow, curve, dot, font, outline, stroke, tag
from stg.pages.videos.views import Edge, VideoView
from stg.runtime.files import printable

NEW = BOX

THROUGH_TIME = ("temporal", "track")
"""Kinds of edges between neighbouring sampled frames, drawn as arrows from source to target, as messages run."""

LINES = 4
"""Lines of the caption that are seen at once; a longer one moves up."""

LONGEST = 24
"""Letters of a class on a label."""


class Overlay:
    """Boxes and edges of the sampled frames, to be laid over a picture, one frame at a time.

    Args:
        view: the video; boxes are in pixels of its frames.
        size: height and width of the picture that is drawn over.
        scale: its pixels by those of the video.
        k: so many of the strongest edges into each object are drawn, of each kind.
    """

    def __init__(self, view: VideoView, size: tuple[int, int], scale: tuple[float, float], k: int) -> None:
        self.view, self.size, self.k = view, size, k
        down, across = (factor * FINE for factor in scale)
        self.boxes = [
            (x1 * across, y1 * down, x2 * across, y2 * down) for x1, y1, x2, y2 in (node.box for node in view.nodes)
        ]
        # Lines and letters grow with the picture, but never below what is legible.
        self.unit = FINE * max(1.0, min(size) / 360)
        self.edges = _by_frame(view, k)
        self.strongest = {
            kind: max((edge.weight for edges in self.edges.values() for edge in edges if edge.kind == kind), default=0)
            for kind in (*KINDS, *own_types(edge.kind for edge in view.edges))
        }

    def layer(self, frame: int) -> Any:
        """A transparent picture with what belongs to a sampled frame: boxes, edges, and those to or from the next."""

        large = Image.new("RGBA", (self.size[1] * FINE, self.size[0] * FINE))
        draw = ImageDraw.Draw(large)
        nodes = [n for n, node in enumerate(self.view.nodes) if node.frame == frame]
        for number in nodes:
            outline(draw, self.boxes[number], large.size, self.unit, self._colour(number))
        # What is drawn last is on top: edges through time, and strong ones of each kind.
        for edge in sorted(self.edges.get(frame, ()), key=lambda edge: (edge.kind in THROUGH_TIME, edge.weight)):
            self._edge(draw, edge)
        taken: list[Rectangle] = []
        # Labels lie over all lines, and the best score chooses its place first.
        for number in sorted(nodes, key=lambda n: -(self.view.nodes[n].score or 0.0)):
            self._label(draw, number, taken)
        return large.resize((self.size[1], self.size[0]), Image.Resampling.BOX)

    def _edge(self, draw: Any, edge: Edge) -> None:
        start, end = self._centre(edge.source), self._centre(edge.target)
        share = edge.weight / self.strongest[edge.kind] if self.strongest[edge.kind] > 0 else 0.0
        wide, opacity = stroke(share, self.unit)
        if edge.kind in THROUGH_TIME:
            # A track edge joins boxes that a temporal one may join too: it is bent to the other side.
            bend = 0.06 if edge.kind == "temporal" else -0.12
            if self.view.nodes[edge.source].frame < self.view.nodes[edge.target].frame:
                # Further out than the arrow that may come back.
                bend *= 2
            arrow(draw, start, end, wide, (*COLOURS[edge.kind], opacity), self.unit, bend)
        else:
            colour = colour_of(edge.kind)
            # Bent to the other side than a temporal arrow between the same boxes; the
            # dark line below keeps it visible on any picture.
            way = curve(start, end, -0.1)
            draw.line(way, fill=(*INK, opacity // 2), width=round(wide + 2 * self.unit), joint="curve")
            draw.line(way, fill=(*colour, opacity), width=round(wide), joint="curve")
            for x, y in (start, end):
                dot(draw, x, y, 2.5 * self.unit, (*colour, 255))

    def _label(self, draw: Any, number: int, taken: list[Rectangle]) -> None:
        """Number of the track, class and score where no other label is."""
        node = self.view.nodes[number]
        text = " ".join(label_of(replace(node, name=_plain(node.name)[:LONGEST])))
        if text:
            room = self.size[1] * FINE, self.size[0] * FINE
            tag(draw, text, self.boxes[number], room, taken, self.unit, self._colour(number))

    def _colour(self, number: int) -> tuple[int, int, int]:
        track = self.view.nodes[number].track
        return BOX if track < 0 else track_colour(track)

    def _centre(self, number: int) -> tuple[float, float]:
        x1, y1, x2, y2 = self.boxes[number]
        return (x1 + x2) / 2, (y1 + y2) / 2


class CaptionStrip:
    """The caption below the picture, with a line on what is seen above it.

    Args:
        words: of the caption; whatever they hold is drawn as text.
        width: of the strip in pixels.
        kinds: kinds of edges that are drawn, for the legend.
    """

    def __init__(self, words: Sequence[str], width: int, kinds: Sequence[str]) -> None:
        self.width, self.kinds = width, kinds
        self.size = min(max(round(width / 26), 16), 36)
        self.pad = max(self.size // 2, 8)
        self.lines = wrap([_plain(word) for word in words], font(self.size), width - 2 * self.pad)
        self.row = round(1.35 * self.size)
        self.small = max(round(0.55 * self.size), 11)
        shown = min(max(len(self.lines), 1), LINES)
        height = 2 * self.pad + shown * self.row + round(1.6 * self.small)
        # Even, as the pixel format of the film demands.
        self.height = height + height % 2

    def image(self, count: int, note: str) -> UInt8[np.ndarray, "H W 3"]:
        """The strip with the first ``count`` words, the last of them lit, and ``note`` in small letters."""

        strip = Image.new("RGB", (self.width, self.height), GROUND)
        draw, letters = ImageDraw.Draw(strip), font(self.size)
        # The line of the newest word; it is the lowest one shown, so that a long caption moves up.
        current = next((row for row, line in enumerate(self.lines) if line and line[-1][0] >= count - 1), 0)
        first = max(0, current - LINES + 1)
        for row, line in enumerate(self.lines[first : first + LINES]):
            for number, text, x in line:
                if number < count:
                    colour = NEW if number == count - 1 else TEXT
                    draw.text((self.pad + x, self.pad + row * self.row), text, fill=colour, font=letters)
        self._legend(draw, note)
        return np.asarray(strip)

    def _legend(self, draw: Any, note: str) -> None:
        letters, y = font(self.small), self.height - self.pad - self.small // 2
        draw.text((self.pad, y), note, fill=QUIET, font=letters, anchor="lm")
        x = float(self.width - self.pad)
        for kind in reversed(self.kinds):
            names = {"temporal": "next sampled frame", "track": "same track", "dense": "other"}
            name = names.get(kind, _plain(kind))
            x -= letters.getlength(name)
            # No room left next to the note: the other kinds go without a legend.
            if x - 2.2 * self.small < self.pad + letters.getlength(note) + self.small:
                return
            draw.text((x, y), name, fill=QUIET, font=letters, anchor="lm")
            x -= 0.5 * self.small
            draw.line((x - 1.2 * self.small, y, x, y), fill=colour_of(kind), width=max(self.small // 4, 2))
            x -= 2.0 * self.small


def wrap(words: Sequence[str], letters: Any, width: int) -> list[list[tuple[int, str, float]]]:
    """Lines of (number of the word, text, place across); a word wider than a line continues in the next one."""
    lines: list[list[tuple[int, str, float]]] = [[]]
    space, x = letters.getlength(" "), 0.0
    for number, word in enumerate(words):
        if lines[-1] and x + letters.getlength(word) > width:
            lines.append([])
            x = 0.0
        while letters.getlength(word) > width and len(word) > 1:
            # One letter at least, or a narrow picture would never end this loop.
            fits = max(bisect_right(range(1, len(word)), width, key=lambda n: letters.getlength(word[:n])), 1)
            lines[-1].append((number, word[:fits], 0.0))
            lines.append([])
            word = word[fits:]
        lines[-1].append((number, word, x))
        x += letters.getlength(word) + space
    return lines


def _plain(text: str) -> str:
    return printable(text[:200])


def _by_frame(view: VideoView, k: int) -> dict[int, list[Edge]]:
    """The edges that are drawn with each sampled frame: one for each pair of its objects, and those that join it to the
    next through time, each way on its own."""
    best: dict[tuple[str, int, int], Edge] = {}
    for _, edge, rank in ranked(view.edges):
        first, last = sorted((view.nodes[edge.source].frame, view.nodes[edge.target].frame))
        # Between objects of one frame, or to the next through time: edges across more frames would cover everything.
        if rank > k or last - first != (edge.kind in THROUGH_TIME):
            continue
        # A line without a head stands for both directions of a pair, by the stronger one.
        turned = first == last and edge.source > edge.target
        key = (edge.kind, edge.target, edge.source) if turned else (edge.kind, edge.source, edge.target)
        if key not in best or best[key].weight < edge.weight:
            best[key] = edge
    found: dict[int, list[Edge]] = {}
    for edge in best.values():
        found.setdefault(min(view.nodes[n].frame for n in (edge.source, edge.target)), []).append(edge)
    return found
