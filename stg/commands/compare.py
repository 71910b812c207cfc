"""Compare runs on the same videos, paired."""

import json
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from stg.config.results import CompareConfig
from stg.evaluation.compare import METRICS, PAIRED, changes, notes, paired, summary
from stg.evaluation.results import (
    distinct,
    find_row,
    group,
    read_run,
    references,
    require_same_videos,
)
from stg.metrics.scorer import Scorer
from stg.runtime.errors import UserError
from stg.runtime.files import printable


def main(config: CompareConfig) -> int:
    """The command."""

    compare(config, Console(highlight=False, markup=False))
    return 0


def compare(config: CompareConfig, console: Console) -> dict[str, Any]:
    """Print the comparison; returns what ``--json`` prints.

    Raises:
        UserError: a run is no run, given twice, or not evaluated so; a file is damaged; the runs are of different data
            sets or videos; no row has the baseline's name; the annotation cannot be read.
    """

    runs = [read_run(folder, config.split, config.search) for folder in distinct(config.runs)]
    require_same_videos(runs)
    rows = group(runs, names=config.names)
    baseline = find_row(rows, config.baseline)
    videos = list(runs[0].captions)
    known = references(runs, config.root)
    if lacking := [video for video in videos if not known.get(video)]:
        raise UserError(
            f"{len(lacking)} of {len(videos)} videos, such as {lacking[0]!r}, have no caption in the annotation: give "
            "the one that the runs were trained with (--root)"
        )
    known = {video: known[video] for video in videos}
    metrics = ("bleu", "meteor", "rouge", "cider") if config.meteor else ("bleu", "rouge", "cider")
    with Scorer(known) as scorer:
        scores = {run.folder: scorer.score(run.captions, metrics=metrics) for run in runs}
    unavailable = {metric: reason for found in scores.values() for metric, reason in found.unavailable.items()}
    found = [metric for metric in METRICS if all(metric in scores[run.folder].values for run in runs)]

    record: dict[str, Any] = {
        "dataset": runs[0].settings.data.dataset,
        "split": config.split,
        "search": config.search,
        "videos": len(videos),
        "rows": [summary(row, scores, found) for row in rows],
        "unavailable": unavailable,
        "notes": notes(rows, scores),
    }
    others = [row for row in rows if row is not baseline]
    if others:
        record |= {"baseline": baseline.name, "samples": config.samples, "seed": config.seed}
        record["differences_of"] = {metric: PAIRED[metric] for metric in found}
        record["differences"] = paired(baseline, others, scores, known, found, config)
        if "cider" in found:
            record |= changes(baseline, others[-1], scores, known, config.show)
    if config.json:
        print(json.dumps(record, ensure_ascii=False))
    else:
        show(record, console)
    return record


# --- what is printed


def show(record: Mapping[str, Any], console: Console) -> None:
    """Tables of what :func:`compare` found."""

    def tell(line: str) -> None:
        console.print(printable(line), soft_wrap=True)

    title = f"{record['dataset']} {record['split']}, {record['search']}, {record['videos']} videos"
    table = _table(title, "row", "n", *METRICS.values())
    for row in record["rows"]:
        cells = (_mean(row["scores"].get(metric)) for metric in METRICS)
        table.add_row(printable(row["name"]), str(len(row["runs"])), *cells)
    console.print(table)
    tell("mean and deviation over n seeds")
    for line in [f"{metric}: {reason}" for metric, reason in record["unavailable"].items()] + record["notes"]:
        tell(f"note: {line}")
    if "differences" not in record:
        return
    title = f"against {printable(record['baseline'])}, {record['samples']} resamples of the videos"
    table = _table(title, "row", "score", "difference", "95 % interval", "better in")
    for row in record["differences"]:
        for place, (metric, found) in enumerate(row["scores"].items(), 1):
            numbers = (f"{found['value']:+.3f}", f"{found['low']:+.3f} .. {found['high']:+.3f}")
            share, last = f"{100 * found['better']:.1f} %", place == len(row["scores"])
            name = printable(row["name"]) if place == 1 else ""
            table.add_row(name, PAIRED[metric], *numbers, share, end_section=last)
    console.print(table)
    for kind, does in {"gains": "gains", "losses": "loses"}.items():
        if record.get(kind):
            console.print()
            tell(f"{record['shown']} {does} most CIDEr against {record['baseline']}:")
        for found in record.get(kind, ()):
            before, after = found["baseline"], found["row"]
            tell(f"  {found['video']}: {before['cider']:.2f} -> {after['cider']:.2f} ({found['change']:+.2f})")
            said = {record["baseline"]: before["caption"], record["shown"]: after["caption"]}
            for name, caption in {**said, "a reference": found["reference"]}.items():
                tell(f"    {name}: {caption}")


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
