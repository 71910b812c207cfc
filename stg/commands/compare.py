"""Compare runs on the same videos, paired."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from stg.config.results import CompareConfig
from stg.evaluation.comparison import PAIRED, compare
from stg.metrics.columns import HEADINGS, PUBLISHED, reason_lines
from stg.runtime.files import page_file, printable
from stg.runtime.output import json_line
from stg.runtime.progress import ConsoleReporter
from stg.runtime.reading import counted


def main(config: CompareConfig) -> int:
    """The command."""
    if config.report:
        page_file(Path(config.report))  # what cannot be written is said before the work
    record = compare(config)
    if config.json:
        print(json_line(record))
    else:
        show(record, Console(highlight=False, markup=False))
    if config.report:
        # Here and not above: pages load what draws pictures, which a table does not need.
        from stg.commands.compare_page import write_report

        write_report(record, config, ConsoleReporter(Console(stderr=True, soft_wrap=True)))
    return 0


def show(record: Mapping[str, Any], console: Console) -> None:
    """Tables of what :func:`stg.evaluation.compare` found."""

    say = ConsoleReporter(console).say
    title = f"{record['dataset']} {record['split']}, {record['search']}, {counted(record['videos'], 'video')}"
    table = _table(title, "row", "n", *(HEADINGS[metric] for metric in PUBLISHED))
    for row in record["rows"]:
        cells = (_mean(row["scores"].get(metric)) for metric in PUBLISHED)
        table.add_row(printable(row["name"]), str(len(row["runs"])), *cells)
    console.print(table)
    say("mean and deviation over n seeds")
    for line in reason_lines(record["unavailable"]) + record["notes"]:
        say(f"note: {line}")
    if "differences" not in record:
        return
    title = f"against {printable(record['baseline'])}, {counted(record['samples'], 'resample')} of the videos"
    table = _table(title, "row", "score", "difference", "95 % interval", "better in")
    for row in record["differences"]:
        # The name stands in the first line of its block, and a rule below the last.
        for place, (metric, found) in enumerate(row["scores"].items(), 1):
            numbers = (f"{found['value']:+.3f}", f"{found['low']:+.3f} .. {found['high']:+.3f}")
            share, last = f"{100 * found['better']:.1f} %", place == len(row["scores"])
            name = printable(row["name"]) if place == 1 else ""
            table.add_row(name, PAIRED[metric], *numbers, share, end_section=last)
    console.print(table)
    # Videos are listed only where there are two rows to compare, so either list may be missing.
    for kind, does in {"gains": "gains", "losses": "loses"}.items():
        if record.get(kind):
            console.print()
            say(f"{record['shown']} {does} most CIDEr against {record['baseline']}:")
        for found in record.get(kind, ()):
            before, after = found["baseline"], found["row"]
            say(f"  {found['video']}: {before['cider']:.2f} -> {after['cider']:.2f} ({found['change']:+.2f})")
            captions = {record["baseline"]: before["caption"], record["shown"]: after["caption"]}
            for name, caption in {**captions, "a reference": found["reference"]}.items():
                say(f"    {name}: {caption}")


def _table(title: str, name: str, *columns: str) -> Any:
    """Where there is little room, names are broken and numbers are not."""

    table = Table(title=title)
    table.add_column(name, overflow="fold")
    for column in columns:
        table.add_column(column, no_wrap=column != "score")
    return table


def _mean(found: Mapping[str, float | None] | None) -> str:
    if found is None:
        return "-"
    deviation = found["deviation"]
    return f"{found['mean']:.3f} \u00b1 {'-' if deviation is None else format(deviation, '.3f')}"
