"""What is drawn over a picture with Pillow: outlines, labels, lines and arrows, and in which colours."""

import math
from functools import lru_cache
from typing import Any

from PIL import ImageFont

from stg.pages.videos.labels import Rectangle, place_label

BOX, INK, GROUND, QUIET = (255, 215, 94), (20, 22, 26), (20, 22, 26), (169, 173, 182)
TEXT = (236, 234, 228)

FINE = 2
"""What is drawn is drawn so much larger first, since Pillow does not smooth lines."""

Colour = tuple[int, int, int, int]
"""Red, green, blue and opacity, each in 0..255."""


@lru_cache(maxsize=16)
def font(size: int) -> Any:
    """Pillow's own font."""

    return ImageFont.load_default(size=size)


def stroke(share: float, unit: float) -> tuple[float, int]:
    """Width and opacity of a line by its share of the strongest; less than 0 counts as 0, more than 1 as 1."""
    share = min(max(share, 0.0), 1.0)
    return unit * (1.2 + 1.8 * share), round(110 + 145 * share)


def outline(draw: Any, box: Rectangle, room: tuple[int, int], unit: float, colour: tuple[int, int, int] = BOX) -> None:
    """A box (its corners) with a dark rim, as much of it as lies in the picture, ``room`` wide and high."""
    wide = round(2 * unit)
    x1, y1, x2, y2 = box
    x1, y1 = min(max(x1, 0), room[0] - 1), min(max(y1, 0), room[1] - 1)
    x2, y2 = max(min(x2, room[0] - 1), x1), max(min(y2, room[1] - 1), y1)
    rim = max(wide // 2, 1)
    draw.rectangle((x1, y1, x2, y2), outline=(*INK, 150), width=wide + 2 * rim)
    if x2 - x1 > 2 * rim and y2 - y1 > 2 * rim:
        draw.rectangle((x1 + rim, y1 + rim, x2 - rim, y2 - rim), outline=(*colour, 255), width=wide)


def tag(
    draw: Any,
    text: str,
    box: Rectangle,
    room: tuple[int, int],
    taken: list[Rectangle],
    unit: float,
    colour: tuple[int, int, int] = BOX,
) -> None:
    """The label of a box (its corners) where none of ``taken`` is; it is added there."""
    letters = font(round(11 * unit))
    pad, height = 3 * unit, 15 * unit
    width = letters.getlength(text) + 2 * pad
    x1, y1, x2, y2 = box
    x, y = place_label((x1, y1, x2 - x1, y2 - y1), width, height, (float(room[0]), float(room[1])), taken)
    draw.rectangle((x, y, x + width, y + height), fill=(*colour, 235))
    draw.text((x + pad, y + height / 2), text, fill=(*INK, 255), font=letters, anchor="lm")


def arrow(
    draw: Any,
    start: tuple[float, float],
    end: tuple[float, float],
    wide: float,
    colour: Colour,
    unit: float,
    bend: float = 0.06,
) -> None:
    """An arrow, bent as a :func:`curve`; a dot in a ring where it would have no length."""
    across, down = end[0] - start[0], end[1] - start[1]
    length, head = math.hypot(across, down), 3.5 * unit + 2 * wide
    if length < 1.2 * head:
        dot(draw, *end, 2.2 * unit, colour)
        x, y, r = *end, 5.5 * unit
        draw.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=round(1.6 * unit))
        return
    way = curve(start, end, bend)
    # The head follows the end of the curve, not the chord; the line stops at its neck, or it would show through.
    before = next(point for point in reversed(way) if math.dist(point, end) >= head)
    ux, uy = ((end[i] - before[i]) / math.dist(before, end) for i in (0, 1))
    neck = end[0] - head * ux, end[1] - head * uy
    way = [*(point for point in way if math.dist(point, end) > head), neck]
    side = 0.5 * head
    tip = [end, (neck[0] - side * uy, neck[1] + side * ux), (neck[0] + side * uy, neck[1] - side * ux)]
    draw.line(way, fill=(*INK, colour[3] // 2), width=round(wide + 2 * unit), joint="curve")
    draw.line(way, fill=colour, width=round(wide), joint="curve")
    draw.polygon(tip, fill=colour)
    dot(draw, *start, 2.2 * unit, colour)


def curve(start: tuple[float, float], end: tuple[float, float], bend: float) -> list[tuple[float, float]]:
    """Points of a line bent by a share of its length: downward, or upward where it is negative, there and back."""
    (x1, y1), (x2, y2) = start, end
    bend = bend if end > start else -bend
    # The control point of a quadratic Bezier curve.
    middle = (x1 + x2) / 2 - bend * (y2 - y1), (y1 + y2) / 2 + bend * (x2 - x1)
    shares = [step / 24 for step in range(25)]
    return [
        (
            (1 - t) ** 2 * x1 + 2 * t * (1 - t) * middle[0] + t**2 * x2,
            (1 - t) ** 2 * y1 + 2 * t * (1 - t) * middle[1] + t**2 * y2,
        )
        for t in shares
    ]


def dot(draw: Any, x: float, y: float, radius: float, colour: Colour) -> None:
    """A filled circle."""
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
