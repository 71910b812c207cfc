"""The report of a table as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from stg.metrics.columns import EVENTS, HEADINGS, PUBLISHED, Record, spread_text
from stg.runtime.files import printable


def to_markdown(record: Record) -> str:
    """The record of :func:`stg.ablation.report.make_record` as Markdown; the plot is ``table.svg`` next to it."""
    parts = [
        f"# Ablation {_cell(record['table'])}: {_cell(record['title'])}",
        f"{_cell(record['dataset'])}; scores on {_cell(record['split'])}, as fractions: mean ± {record['deviation']}.",
    ]
    if features := record["features"]:
        parts.append(_features(features))
    if missing := record["missing"]:
        listed = "\n".join(f"- {_cell(name)}: {_cell(why)}" for name, why in missing.items())
        parts.append(f"**Not all is there: {len(missing)} of {record['cells']} cells are missing.**\n\n{listed}")
    events = any(set(EVENTS) & found.keys() for row in record["rows"] for found in row["scores"].values())
    if events:
        parts.append(
            "event, two objects, space, time, both: share of the videos whose caption names the event that happens, of "
            "all videos, of those whose event has two objects, and of those whose event only space, only time, or both "
            "tell from its likes."
        )
    parts += [_scores(record, search) for search in record["searches"]]
    # By its name alone: text and plot are moved together.
    parts.append("![every seed and the mean of each row](table.svg)")
    parts += [part for part in (_differences(record, search) for search in record["searches"]) if part]
    parts += [_published(record, paper) for paper in record["published"]]
    if verbs := _verbs(record):
        parts.append(verbs)
    parts.append(_settings(record))
    return "\n\n".join(parts) + "\n"


def _features(features: Record) -> str:
    edges = features["edges"]
    shown = edges if isinstance(edges, str) else ", ".join(f"{name} {value}" for name, value in edges.items())
    return f"Features of manifest {_cell(features['manifest'][:12])}; edges: {_cell(shown)}."


def _scores(record: Record, search: str) -> str:
    there = {name for row in record["rows"] for name in row["scores"].get(search, {})}
    columns = [name for name in HEADINGS if name in there]
    lines = []
    for row in record["rows"]:
        found = row["scores"].get(search, {})
        weights = row["weights"]
        name = f"*control: {_cell(row['name'])}*" if row["control"] else _cell(row["name"])
        name = f"**{name}**" if row["row"] == record["reference"] and not row["control"] else name
        lines.append(
            [
                name,
                str(len(row["seeds"])),
                *(spread_text(found.get(column)) for column in columns),
                f"{weights['trained'] / 1e6:.2f}M" if weights else "-",
                "-" if row["minutes"]["mean"] is None else f"{row['minutes']['mean']:.1f}",
            ]
        )
    heads = ["row", "seeds", *(HEADINGS[column] for column in columns), "weights", "minutes"]
    return f"## Scores, {_cell(search)}\n\n{_table(heads, lines)}\n\n{_under_scores(record)}"


def _under_scores(record: Record) -> str:
    note = ["In bold the reference row. Weights: all that is trained. Minutes: to train one seed."]
    if any(row["control"] for row in record["rows"]):
        note.append("Controls are trained and scored on features shuffled between clips.")
    return " ".join(note)


def _differences(record: Record, search: str) -> str:
    there = {name for pair in record["differences"] for name in pair["scores"].get(search, {})}
    columns = [name for name in ("cider", *EVENTS) if name in there]
    lines = []
    for pair in record["differences"]:
        found = pair["scores"].get(search, {})
        if found:
            count = pair["settings_apart"]
            # With more than one setting between two rows a difference has no single cause: the table says so.
            sign = "" if count == 1 else " (fused)" if count is None else f" ({count} settings)"
            lines.append(
                [_cell(pair["row"]), _cell(pair["against"]) + sign, *(_apart(found.get(name)) for name in columns)]
            )
    if not lines or not columns:
        return ""
    table = _table(["row", "against", *(HEADINGS[name] for name in columns)], lines)
    return (
        f"## Differences, {_cell(search)}\n\n{table}\n\nIn brackets in units of deviations: "
        f"{record['in_units_of_deviations']}."
    )


def _published(record: Record, paper: Record) -> str:
    search = record["searches"][0]
    lines = []
    for row in record["rows"]:
        # No paper prints a control.
        if row["control"]:
            continue
        ours, theirs = row["scores"].get(search, {}), paper["scores"].get(row["row"], {})
        numbers = (f"{_mean(ours.get(name))} / {_number(theirs.get(name))}" for name in PUBLISHED)
        lines.append([f"{_cell(row['name'])} ({_cell(row['title'])})", *numbers])
    table = _table(["row (in the paper)", *(f"{HEADINGS[name]}, ours / theirs" for name in PUBLISHED)], lines)
    return (
        f"## Beside {_cell(paper['source'])}\n\nPublished on {_cell(paper['data'])} with {_cell(paper['features'])}; "
        f"ours ({_cell(search)}) on {_cell(record['dataset'])}. Other data and features: what compares is the order of "
        f"the rows.\n\n{table}"
    )


def _verbs(record: Record) -> str:
    search = record["searches"][0]
    rows = [row for row in record["rows"] if row["verbs"].get(search) and not row["control"]]
    verbs = sorted({verb for row in rows for verb in row["verbs"][search]})
    if not verbs:
        return ""
    lines = [[_cell(verb), *(_mean(row["verbs"][search].get(verb)) for row in rows)] for verb in verbs]
    return f"## Event by event, {_cell(search)}\n\n{_table(['event', *(_cell(row['name']) for row in rows)], lines)}"


def _settings(record: Record) -> str:
    # Cells may be trained over weeks and on several machines: all of them are named.
    commits = sorted({commit for row in record["rows"] for commit in row["commits"]})
    machines = dict.fromkeys(
        ", ".join(f"{name} {_cell(value)}" for name, value in machine.items())
        for row in record["rows"]
        for machine in row["machines"]
    )
    lines = [
        f"- {_cell(row['name'])}: {_settings_text(row['settings'])}" for row in record["rows"] if not row["control"]
    ]
    parts = [
        "## How\n\n" + "\n".join(lines),
        "All other settings are the same for all rows: `settings` in table.json.",
        "\n".join(f"- {_cell(note)}" for note in record["notes"]),
        f"Trained at commit {', '.join(map(_cell, commits)) or '-'} on {'; and on '.join(machines) or '-'}. "
        f"Reported at commit {_cell(str(record['commit']))}.",
    ]
    return "\n\n".join(part for part in parts if part)


def _settings_text(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name} {_cell(str(value))}`" for name, value in settings.items())


def _mean(found: Record | None) -> str:
    return "-" if found is None else _number(found["mean"])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _apart(found: Record | None) -> str:
    if found is None or found["difference"] is None:
        return "-"
    deviations = found["deviations"]
    return f"{found['difference']:+.3f}" + ("" if deviations is None else f" ({deviations:+.1f})")


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(heads) - 1)
    return "\n".join("| " + " | ".join(line) + " |" for line in [heads, rule, *lines])


def _cell(text: str) -> str:
    """Text that stays text inside of a Markdown table."""
    shown = printable(text)
    for sign in "\\`*_[]<>|":
        shown = shown.replace(sign, f"\\{sign}")
    return shown
