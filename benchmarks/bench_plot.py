"""The figure of a bench: accuracy by kind for each row, with chance. SVG written by hand."""

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from stg.benchmark.questions import IN_TIME, KINDS

INK, QUIET, GRID, PLAIN, CONTROL, READER = "#222222", "#666666", "#dcdcdc", "#0b3c5d", "#b35900", "#8a8a8a"
LINE, PANEL, GAP, TOP, LETTER = 22, 108, 22, 92, 6.9


def to_svg(record: Mapping[str, Any]) -> str:
    """Rows go down, one panel a kind, accuracy from 0 to 100 % to the right; a dashed line is chance.

    Args:
        record: of `benchmarks.bench_rows`.
    """
    rows, left = record["rows"], 20 + LETTER * max(len(row["name"]) for row in record["rows"])
    width, height = left + len(KINDS) * (PANEL + GAP) + 8, TOP + LINE * len(rows) + 46
    about = f"{record['clips']} clips of the built-in world; bold kinds need time: no single frame answers them"
    legend = "dot: mean of the seeds, with its 95 % interval · small dots: seeds · dashed: chance · orange: frames in "
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
        f'height="{height}" role="img" font-family="Helvetica, Arial, sans-serif">',
        "<title>Who answers the bench, by kind of question</title>",
        f'<rect width="{width:.0f}" height="{height}" fill="#ffffff"/>',
        label(12, 24, "Who answers the bench, by kind of question", size=15, weight="bold"),
        label(12, 44, about, fill=QUIET),
        label(12, height - 12, f"{legend}other orders or alone · grey: readers, no model", fill=QUIET),
    ]
    for place, row in enumerate(rows):
        y = middle(place)
        if place % 2:
            parts.append(f'<rect x="8" y="{y - LINE / 2}" width="{width - 16:.0f}" height="{LINE}" fill="#f6f6f6"/>')
        fill = colour(row)
        parts.append(label(left - 8, y + 4, row["name"], anchor="end", fill=INK if fill == PLAIN else fill))
    for place, kind in enumerate(KINDS):
        parts += panel(rows, kind, left + place * (PANEL + GAP))
    return "\n".join([*parts, "</svg>"]) + "\n"


def panel(rows: list[Mapping[str, Any]], kind: str, left: float) -> list[str]:
    """One kind: its name, a scale, chance, and what each row reaches."""
    bottom = TOP + LINE * len(rows)

    def x(share: float) -> float:
        return left + PANEL * share

    weight = "bold" if kind in IN_TIME else "normal"
    parts = [label(left + PANEL / 2, TOP - 24, kind, anchor="middle", size=12, weight=weight)]
    for tick in (0.0, 0.5, 1.0):
        parts.append(line(x(tick), TOP - 4, x(tick), bottom, GRID))
        parts.append(label(x(tick), TOP - 9, f"{100 * tick:.0f}", anchor="middle", size=9, fill=QUIET))
    chance = next(row["kinds"][kind]["chance"] for row in rows if kind in row["kinds"])
    parts.append(line(x(chance), TOP - 4, x(chance), bottom, QUIET, dashes="3 3"))
    for place, row in enumerate(rows):
        found, y, fill = row["kinds"].get(kind), middle(place), colour(row)
        if found is None:
            parts.append(label(x(0.5), y + 4, "no words", anchor="middle", size=9, fill=QUIET))
            continue
        parts.append(line(x(found["low"]), y, x(found["high"]), y, fill, width=2))
        if len(found["seeds"]) > 1:
            parts += [circle(x(one), y, 1.8, "#56b4e9") for one in found["seeds"]]
        parts.append(circle(x(found["accuracy"]), y, 4, fill))
    return parts


def colour(row: Mapping[str, Any]) -> str:
    """Of a row: a run, a run with frames in another order, a reader without a run."""
    if row.get("control"):
        return CONTROL
    return PLAIN if "control" in row else READER


def middle(place: int) -> float:
    """Where a row lies."""
    return TOP + LINE * place + LINE / 2


def label(
    x: float, y: float, text: str, *, size: int = 11, anchor: str = "start", fill: str = INK, weight: str = "normal"
) -> str:
    """A text."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


def line(x1: float, y1: float, x2: float, y2: float, fill: str, *, width: float = 1, dashes: str = "") -> str:
    """A line."""
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {place} stroke="{fill}" stroke-width="{width}"{dashed}/>'


def circle(x: float, y: float, radius: float, fill: str) -> str:
    """A dot."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}"/>'
