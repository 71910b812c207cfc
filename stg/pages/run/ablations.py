"""Ablation tables and their plots, from the ``table.json`` that `stg.ablate` and `stg.probe` write."""

import base64
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stg.evaluation.plots import to_svg
from stg.metrics.columns import EVENTS, HEADINGS, PUBLISHED, spread_text
from stg.pages.run.views import Ablation, Grid, Plot
from stg.runtime.errors import UserError
from stg.runtime.files import without_places
from stg.runtime.reading import number, read_json

Record = Mapping[str, Any]


def read_ablation(place: str | Path) -> Ablation:
    """An ablation from its folder, or from its ``table.json`` itself.

    The plots are drawn again from the numbers: no picture that lies in the folder becomes part of a page.

    Raises:
        UserError: there is no table, or another program wrote it.
    """
    path = Path(place)
    path = path / "table.json" if path.is_dir() or not path.suffix else path
    if not path.exists():
        raise UserError(
            f"{place} holds no ablation table (table.json): give the folder that stg.ablate printed, or make it: "
            f"python -m stg.ablate --out {place}"
        )
    record = read_json(path)
    try:
        return _ablation(record)
    # The file may be of any program or version: whatever is missing in it becomes one sentence.
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise UserError(
            f"{path} is not a table of stg.ablate or stg.probe ({type(error).__name__}: {error}): make it again with "
            "stg.ablate --report"
        ) from error


def _ablation(record: Record) -> Ablation:
    rows = record["rows"]
    # Not every table names its searches: those of its rows serve, in the order in which they occur.
    searches = record.get("searches") or list(dict.fromkeys(search for row in rows for search in row["scores"]))
    # A search that nothing is scored by yet would give an empty plot.
    drawn = [search for search in searches if any(row["scores"].get(search) for row in rows)]
    differing = [_differences(record, search) for search in searches]
    more = [*differing, *(_published(record, each, searches[0]) for each in record.get("published", ()))]
    more += [_verbs(record, searches[0]) if searches else None, _settings(rows)]
    events = any(set(EVENTS) & found.keys() for row in rows for found in row["scores"].values())
    notes = [without_places(note) for note in record.get("notes", ())]
    if events:
        # First, since it explains headings of the tables above.
        notes.insert(
            0,
            "Event, two objects, space, time, both: share of the videos whose event is named right, of all videos, of "
            "those whose event has two objects, and of those whose event only space, only time, or both tell from its "
            "likes.",
        )
    return Ablation(
        title=without_places(f"{record['table']}: {record['title']}"),
        lead=without_places(
            f"{record['dataset']}; scores on {record['split']}, as fractions: mean ± "
            f"{record.get('deviation', 'deviation of a sample (n - 1) over seeds')}."
        ),
        missing=tuple((str(name), without_places(why)) for name, why in record.get("missing", {}).items()),
        cells=int(record.get("cells", 0)),
        plots=tuple(_plot(record, search) for search in drawn),
        tables=tuple(_scores(record, search) for search in searches),
        more=tuple(grid for grid in more if grid is not None and grid.rows),
        notes=tuple(notes),
    )


def _plot(record: Record, search: str) -> Plot:
    svg = to_svg(record, search)
    size = re.search(r'width="(\d+)" height="(\d+)"', svg)
    if size is None:
        raise ValueError("the plot has no size")
    about = f"Every seed a dot, the mean of each row a bar, {search}. The numbers are in the table."
    return Plot(base64.b64encode(svg.encode()).decode(), about, int(size[1]), int(size[2]))


def _scores(record: Record, search: str) -> Grid:
    rows = record["rows"]
    there = {name for row in rows for name in row["scores"].get(search, {})}
    columns = [name for name in HEADINGS if name in there]
    # A column that no row has a value for is left out, not filled with dashes.
    weighed, timed = (any(row.get(name) for row in rows) for name in ("weights", "minutes"))
    lines, strong = [], []
    for place, row in enumerate(rows):
        found = row["scores"].get(search, {})
        weights, minutes = row.get("weights"), number((row.get("minutes") or {}).get("mean"))
        if row["row"] == record["reference"] and not row["control"]:
            strong.append(place)
        lines.append(
            (
                ("control: " if row["control"] else "") + str(row["name"]),
                str(len(row["seeds"])),
                *(spread_text(found.get(column)) for column in columns),
                *([f"{weights['trained'] / 1e6:.2f}M" if weights else "-"] if weighed else []),
                *(["-" if minutes is None else f"{minutes:.1f}"] if timed else []),
            )
        )
    note = "In bold the reference row."
    note += " Weights: all that is trained." * weighed + " Minutes: to train one seed." * timed
    if any(row["control"] for row in rows):
        note += " Controls are trained and scored on features shuffled between clips."
    heads = ("row", "seeds", *(HEADINGS[name] for name in columns), *["weights"] * weighed, *["minutes"] * timed)
    return Grid(f"Scores, {search}", heads, tuple(lines), tuple(strong), note)


def _differences(record: Record, search: str) -> Grid | None:
    pairs = [pair for pair in record.get("differences", ()) if pair["scores"].get(search)]
    there = {name for pair in pairs for name in pair["scores"][search]}
    columns = [name for name in ("cider", *EVENTS) if name in there]
    if not pairs or not columns:
        return None
    lines = []
    for pair in pairs:
        # With more than one setting between two rows a difference has no single cause: the table says so.
        count = pair["settings_apart"]
        against = str(pair["against"]) + ("" if count == 1 else f" ({count} settings)")
        lines.append((str(pair["row"]), against, *(_apart(pair["scores"][search].get(name)) for name in columns)))
    note = f"In brackets in units of deviations: {record['in_units_of_deviations']}."
    heads = ("row", "against", *(HEADINGS[name] for name in columns))
    return Grid(f"Differences, {search}", heads, tuple(lines), note=note, numeric=2)


def _published(record: Record, paper: Record, search: str) -> Grid:
    lines = []
    for row in record["rows"]:
        # No paper prints a control.
        if row["control"]:
            continue
        ours, theirs = row["scores"].get(search, {}), paper["scores"].get(row["row"], {})
        cells = (f"{_mean(ours.get(name))} / {_decimal(theirs.get(name))}" for name in PUBLISHED)
        lines.append((f"{row['name']} ({row['title']})", *cells))
    return Grid(
        f"Beside {paper['source']}",
        ("row (in the paper)", *(f"{HEADINGS[name]}, ours / theirs" for name in PUBLISHED)),
        tuple(lines),
        note=f"Published on {paper['data']} with {paper['features']}; ours ({search}) on {record['dataset']}. Other "
        "data and features: what compares is the order of the rows.",
    )


def _verbs(record: Record, search: str) -> Grid | None:
    rows = [row for row in record["rows"] if row.get("verbs", {}).get(search) and not row["control"]]
    verbs = sorted({verb for row in rows for verb in row["verbs"][search]})
    lines = tuple((str(verb), *(_mean(row["verbs"][search].get(verb)) for row in rows)) for verb in verbs)
    return Grid(f"Event by event, {search}", ("event", *(str(row["name"]) for row in rows)), lines)


def _settings(rows: Sequence[Record]) -> Grid:
    shown = [row for row in rows if not row["control"] and row.get("settings")]
    lines = tuple(
        (str(row["name"]), ", ".join(f"{k} {without_places(v)}" for k, v in row["settings"].items())) for row in shown
    )
    return Grid(
        "Settings of the rows",
        ("row", "settings"),
        lines,
        note="All other settings are the same for all rows.",
        numeric=0,
    )


def _apart(found: Record | None) -> str:
    if found is None or number(found["difference"]) is None:
        return "-"
    deviations = number(found["deviations"])
    return f"{found['difference']:+.3f}" + ("" if deviations is None else f" ({deviations:+.1f})")


def _mean(found: Record | None) -> str:
    return "-" if found is None else _decimal(found["mean"])


def _decimal(value: object) -> str:
    known = number(value)
    return "-" if known is None else f"{known:.3f}"
