"""The plot of a table: every seed a dot, the mean of each row a bar, one panel a score. SVG written by hand."""

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from stg.metrics.columns import HEADINGS
from stg.runtime.files import printable

Number = int | float

PANELS = ("cider", "event", "two_objects", "space", "time", "both")
SEED, MEAN, CONTROL, GRID, INK, QUIET, GROUND = (
    "#56b4e9", "#0b3c5d", "#b35900", "#dcdcdc", "#222222", "#666666", "#f7f7f7",
)  # fmt: skip
"""Blues and an orange that colour-blind readers can distinguish; means and controls differ in shape, too."""

LINE, PANEL, GAP, TOP, BOTTOM, LETTER = 26, 150, 30, 84, 52, 7.2


def to_svg(record: Mapping[str, Any], search: str) -> str:
    """One search of the record of :func:`stg.ablation.report.make_record`.

    Rows go down, scores to the right; a dashed line is the mean of the reference row. Rows without any seed stay empty.
    """
    rows = record["rows"]
    names = [_shown(row["name"]) for row in rows]
    panels = [name for name in PANELS if any(name in row["scores"].get(search, {}) for row in rows)]
    # SVG cannot measure text, so widths follow from numbers of letters.
    left = 24 + LETTER * max(map(len, names))
    title = _shown(f"{record['table']}: {record['title']}")
    legend = "dot: one seed · bar: mean · dashed: mean of the reference row"
    legend += " · triangle: shuffled control" if any(row["control"] for row in rows) else ""
    about = _shown(f"{record['dataset']}, {record['split']}, {search}")
    width = max(
        left + max(len(panels), 1) * (PANEL + GAP), 20 + 8.4 * len(title), 20 + 6.6 * max(len(legend), len(about))
    )
    height = TOP + LINE * len(rows) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
        f'height="{height}" role="img" font-family="Helvetica, Arial, sans-serif">',
        f"<title>{_text(title)}</title>",
        f'<rect width="{width:.0f}" height="{height}" fill="#ffffff"/>',
        _label(12, 22, title, size=14, weight="bold"),
        _label(12, 40, about, size=11, fill=QUIET),
        _label(12, height - 10, legend, size=11, fill=QUIET),
    ]
    for place, (row, name) in enumerate(zip(rows, names, strict=True)):
        reference = row["row"] == record["reference"] and not row["control"]
        fill, weight = (CONTROL if row["control"] else INK), ("bold" if reference else "normal")
        parts.append(_label(left - 12, _middle(place) + 4, name, anchor="end", fill=fill, weight=weight))
    for place, metric in enumerate(panels):
        parts += _panel(rows, record["reference"], search, metric, left + place * (PANEL + GAP))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(rows: Sequence[Mapping[str, Any]], reference: str, search: str, metric: str, left: Number) -> list[str]:
    found = [row["scores"].get(search, {}).get(metric) for row in rows]
    values = [value for spread in found if spread for value in spread["values"]]
    # Not from zero on: rows of a table differ by little.
    ticks = nice_ticks(min(values), max(values))
    low, high = ticks[0], ticks[-1]

    def x(value: Number) -> float:
        return left + 6 + (PANEL - 12) * (value - low) / (high - low)

    bottom = TOP + LINE * len(rows)
    ground = f'<rect x="{left:.1f}" y="{TOP}" width="{PANEL}" height="{bottom - TOP}" fill="{GROUND}"/>'
    parts = [ground, _label(left + PANEL / 2, TOP - 10, HEADINGS[metric], anchor="middle", size=12, weight="bold")]
    for tick in ticks:
        parts.append(_line(x(tick), TOP, x(tick), bottom, GRID))
        parts.append(_label(x(tick), bottom + 14, f"{tick:g}", anchor="middle", size=10, fill=QUIET))
    # First, so that the marks of all rows lie over the line of the reference.
    for row, spread in zip(rows, found, strict=True):
        if row["row"] == reference and not row["control"] and spread:
            parts.append(_line(x(spread["mean"]), TOP, x(spread["mean"]), bottom, MEAN, dashes="4 3"))
    for place, (row, spread) in enumerate(zip(rows, found, strict=True)):
        # A row without results yet keeps its line of the plot.
        if not spread or not spread["values"]:
            continue
        y = _middle(place)
        colour = CONTROL if row["control"] else MEAN
        shown = "; ".join(
            f"seed {seed}: {value:.3f}" for seed, value in zip(row["seeds"], spread["values"], strict=True)
        )
        hint = _text(f"{_shown(row['name'])}, {HEADINGS[metric]}: mean {spread['mean']:.3f} ({shown})")
        marks = [_triangle(x(value), y) if row["control"] else _dot(x(value), y) for value in spread["values"]]
        mean = f'<rect x="{x(spread["mean"]) - 1.5:.1f}" y="{y - 9:.1f}" width="3" height="18" fill="{colour}"/>'
        parts.append(f"<g><title>{hint}</title>{mean}{''.join(marks)}</g>")
    return parts


def nice_ticks(low: Number, high: Number, most: int = 4) -> list[float]:
    """Two to ``most`` + 1 round numbers, evenly spaced, from at or below ``low`` to at or above ``high``."""
    # Scores that are nearly equal must not be drawn far apart.
    if high - low < 0.02:
        low = max(low - 0.01, min(low, 0.0))
        high = max(high, low + 0.02)
    size = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (size * factor for factor in (1, 2, 5, 10, 20, 50)):
        # The tolerance absorbs the rounding of the division, which could add a tick at either end.
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first <= most:
            break
    return [round(number * step, 10) for number in range(first, last + 1)]


def _middle(place: int) -> float:
    return TOP + LINE * (place + 0.5)


def _dot(x: Number, y: Number) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{SEED}" fill-opacity="0.8" stroke="{MEAN}"/>'


def _triangle(x: Number, y: Number) -> str:
    points = f"{x:.1f},{y - 5:.1f} {x - 4.5:.1f},{y + 4:.1f} {x + 4.5:.1f},{y + 4:.1f}"
    return f'<polygon points="{points}" fill="#ffffff" fill-opacity="0.7" stroke="{CONTROL}"/>'


def _line(x1: Number, y1: Number, x2: Number, y2: Number, colour: str, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{dashed}/>'


def _label(
    x: Number, y: Number, text: str, *, anchor: str = "start", size: int = 12, fill: str = INK, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}">{_text(text)}</text>'
    )


def _text(text: str) -> str:
    return escape(text, {'"': "&quot;"})


def _shown(text: str, most: int = 120) -> str:
    """One line without what XML forbids, and not endless."""
    shown = printable(text)
    return shown if len(shown) <= most else shown[: most - 1] + "…"
