"""Curves as plain geometry: all that a template needs to draw a chart as inline SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from stg.evaluation.plots import nice_ticks

WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 448, 28, 216
"""Edges of the plot inside of the chart, in its own units: wide enough to be read when a phone shows it whole."""
MOST_POINTS = 240
STYLES = 8
"""How many line styles a page has; further lines begin again."""


@dataclass(frozen=True, eq=False)
class Series:
    """Values to draw.

    Args:
        name: in the legend.
        x, y: ``[P]``, in the order of ``x``; what is not finite is left out.
        hints: one text a point, shown by a dot; without them there are no dots.
    """

    name: str
    x: Float[np.ndarray, " P"]
    y: Float[np.ndarray, " P"]
    hints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A series as drawn.

    Args:
        name, last: for the legend: what it is, and its last value.
        style: number of the line style.
        path: ``d`` of an SVG path; empty where there is nothing to draw.
        band: ``points`` of a polygon from the least to the greatest value behind each point; empty where each point is
            one value.
        dots: x, y and hint of the points that are shown one by one.
    """

    name: str
    last: str
    style: int
    path: str
    band: str
    dots: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class Chart:
    """A chart as drawn, in units of its own ``WIDTH`` x ``HEIGHT``.

    Args:
        title: what is drawn.
        about: one sentence for readers who do not see it.
        x_name: what goes to the right.
        x_ticks, y_ticks: place and label.
        lines: the curves.
        marks: place and name of upright lines.
        crosses: place and hint of what could not be drawn.
        note: what the reader must know.
    """

    title: str
    about: str
    x_name: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[Line, ...]
    marks: tuple[tuple[float, str], ...] = ()
    crosses: tuple[tuple[float, str], ...] = ()
    note: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = RIGHT
    top: int = TOP
    bottom: int = BOTTOM


@dataclass(frozen=True)
class Scale:
    """From values to places in the chart: x from ``start`` to ``end``, y from ``bottom`` to ``top``."""

    start: float
    end: float
    bottom: float
    top: float

    def across(self, x: Float[np.ndarray, " Q"]) -> Float[np.ndarray, " Q"]:
        """Places of values of x."""
        return LEFT + (RIGHT - LEFT) * (x - self.start) / (self.end - self.start)

    def up(self, y: Float[np.ndarray, " Q"]) -> Float[np.ndarray, " Q"]:
        """Places of values of y."""
        return BOTTOM - (BOTTOM - TOP) * (y - self.bottom) / (self.top - self.bottom)


def thin(x: Float[np.ndarray, " P"], y: Float[np.ndarray, " P"], most: int = MOST_POINTS) -> Float[np.ndarray, "4 Q"]:
    """At most ``most`` points: means of x and y over stretches of equally many points, and least and greatest y there.

    Points that are not finite are left out first. No more than ``most`` points stay as they are.
    """
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    if not len(x):
        return np.zeros((4, 0))
    # Where each stretch begins; their lengths differ by one at most.
    starts = np.arange(min(len(x), most)) * len(x) // min(len(x), most)
    counts = np.diff(np.append(starts, len(x)))
    # Divided first: the sum of many large numbers could leave the range.
    means = [np.add.reduceat(values / np.repeat(counts, counts), starts) for values in (x, y)]
    return np.stack([*means, np.minimum.reduceat(y, starts), np.maximum.reduceat(y, starts)])


def draw(
    title: str,
    series: Sequence[Series],
    *,
    x_name: str,
    marks: Sequence[tuple[float, str]] = (),
    crosses: Sequence[tuple[float, str]] = (),
    logarithmic: bool = False,
    note: str = "",
) -> Chart | None:
    """The chart of some curves over one axis; None where no value is finite.

    Args:
        marks: value of x and name of what is marked by an upright line.
        crosses: value of x and hint of what happened there and has no value.
        logarithmic: powers of ten go up evenly; values that are not positive are left out.
    """
    # On a logarithmic axis the logarithms are drawn as they are.
    thinned = {}
    for one in series:
        y = np.where(one.y > 0, one.y, np.nan) if logarithmic else one.y
        if (points := thin(one.x, y)).size:
            thinned[one.name] = np.concatenate([points[:1], np.log10(points[1:])]) if logarithmic else points
    if not thinned:
        return None

    # The axes: round numbers around all values, and from zero on, or less, to the right.
    low, high = (float(pick([pick(points[1:]) for points in thinned.values()])) for pick in (np.min, np.max))
    y_ticks = _powers(low, high) if logarithmic else [(tick, f"{tick:g}") for tick in nice_ticks(low, high)]
    bottom, top = min(low, y_ticks[0][0]), max(high, y_ticks[-1][0])
    places = [one.x[np.isfinite(one.x)] for one in series if one.name in thinned]
    start = float(min(0.0, *(x.min() for x in places)))
    # Marks and crosses lie on the axis too; 1e-9, so that a single value at 0 does not make an axis without length.
    end = float(max(1e-9, *(x.max() for x in places), *(place for place, _ in (*marks, *crosses))))

    scale = Scale(start, end, bottom, top)

    lines = [
        _line(one, place % STYLES, thinned[one.name], scale) for place, one in enumerate(series) if one.name in thinned
    ]
    inside = [tick for tick in nice_ticks(start, end, 6) if start <= tick <= end]
    heights = _rounded(scale.up(np.array([tick for tick, _ in y_ticks])))
    ends = "; ".join(f"{one.name} ends at {one.last}" for one in lines)
    return Chart(
        title=title,
        about=f"{title} against {x_name}: {ends}.",
        x_name=x_name,
        x_ticks=_placed([(tick, f"{tick:g}") for tick in inside], scale),
        y_ticks=tuple(zip(heights, (label for _, label in y_ticks), strict=True)),
        lines=tuple(lines),
        marks=_placed(marks, scale),
        # A run that diverges logs a cross a step: as bounded as the points are.
        crosses=_placed(crosses[:MOST_POINTS], scale),
        note=note,
    )


def _line(one: Series, style: int, points: Float[np.ndarray, "4 Q"], scale: Scale) -> Line:
    x, mean, least, greatest = points
    across, up = scale.across(x), scale.up(mean)
    # A point that is a mean of many has no hint, but a band from the least to the greatest.
    whole = len(x) == np.isfinite(one.y).sum()
    dots: tuple[tuple[float, float, str], ...] = ()
    if one.hints and whole:
        hints = [hint for hint, value in zip(one.hints, one.y, strict=True) if math.isfinite(value)]
        dots = tuple(zip(_rounded(across), _rounded(up), hints, strict=True))
    # Along the least values and back along the greatest: a closed shape.
    edge = np.append(scale.up(least), scale.up(greatest)[::-1])
    band = "" if whole else _points(np.append(across, across[::-1]), edge)
    last = f"{one.y[np.isfinite(one.y)][-1]:{'.3f' if one.hints else '.4g'}}"
    return Line(one.name, last, style, "M" + _points(across, up), band, dots)


def _placed(pairs: Sequence[tuple[float, str]], scale: Scale) -> tuple[tuple[float, str], ...]:
    spots = _rounded(scale.across(np.array([place for place, _ in pairs], dtype=float)))
    return tuple(zip(spots, (name for _, name in pairs), strict=True))


def _powers(low: float, high: float) -> list[tuple[float, str]]:
    """Round numbers 1, 2, 5, 10, ... as (logarithm, label) from at or below ``low`` to at or above ``high``."""
    # The tolerance absorbs the rounding of logarithms, which could add a tick at either end.
    first, last = math.floor(low + 1e-9), math.ceil(high - 1e-9)
    last = max(last, first + 1)
    # Steps between the powers only where few powers are seen.
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    ticks = [(power + math.log10(factor), power, factor) for power in range(first, last + 1) for factor in factors]
    below = max(place for place, (value, *_) in enumerate(ticks) if value <= low + 1e-9 or not place)
    above = min(place for place, (value, *_) in enumerate(ticks) if value >= high - 1e-9 or value >= last)
    kept = ticks[below : max(above, below + 1) + 1]
    # Rounded up: seven labels at most fit the height.
    step = -(-len(kept) // 7)
    return [(value, f"{factor * 10.0**power:g}") for value, power, factor in kept[::step]]


def _rounded(values: Float[np.ndarray, " Q"]) -> list[float]:
    rounded: list[float] = np.round(values, 1).tolist()
    return rounded


def _points(x: Float[np.ndarray, " Q"], y: Float[np.ndarray, " Q"]) -> str:
    return " ".join(f"{a:g},{b:g}" for a, b in zip(_rounded(x), _rounded(y), strict=True))
