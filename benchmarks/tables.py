"""The tables of README, docs/results.md and the guide to the bench, made from result files and from nothing else.

A result file may hold, at its top level, a list ``bars`` (see `benchmarks.timing.bar`); anywhere, groups of times
(``{"ours": {"low", "median", "high"}, "some rival": ..., "floor": ...}``); and under names that begin with ``growth``
fitted exponents. All else in it is for readers of the file.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import stdev
from typing import Any

from benchmarks import RESULTS
from benchmarks.measured import FAMILIES_FILE, measured, score

ROOT = Path(__file__).parents[1]
README, PAGE, GUIDE = ROOT / "README.md", ROOT / "docs" / "results.md", ROOT / "docs" / "guides" / "benchmark.md"
BENCHMARKS, MEASURED, FAMILIES, BENCH = "benchmarks", "measured", "families", "bench"
"""Marks, as ``<!-- NAME -->`` and ``<!-- /NAME -->``: of the tables of speed in PAGE, of README's one table, of all
model families in PAGE, and of the rows of the bench in GUIDE."""
FAMILIES_HEAD = ("model", "seeds", "CIDEr, greedy", "beam 5", "minus the first row", "BLEU-4", "ROUGE-L", "weights")
BENCH_KINDS = ("verb", "order", "role", "direction", "event", "agent")
"""The kinds of questions shown in GUIDE; `benchmarks.bench_rows` has all, with intervals."""
OURS = ("ours", "csr", "at once")
"""What our own way is called among its rivals."""
FRAMES = ("cases", "milliseconds", "cpu_ms", "wall_ms", "wall_s", "parts", "steps", "times")
"""Keys that say nothing of the workload."""


def write_tables(page: Path = PAGE, readme: Path = README, guide: Path = GUIDE, folder: Path = RESULTS) -> list[Path]:
    """Write the tables of a folder of results into the three files; returns these.

    Raises:
        ValueError: a file does not hold both of its marks, once each and in order.
    """
    write_between(page, BENCHMARKS, tables(read(folder)))
    write_between(page, FAMILIES, families(folder))
    write_between(readme, MEASURED, measured(folder))
    write_between(guide, BENCH, bench_rows(folder))
    return [page, readme, guide]


def write_between(file: Path, mark: str, text: str) -> None:
    """Put a text between the marks of a file.

    Raises:
        ValueError: the file does not hold both marks, once each and in order.
    """
    whole = file.read_text("utf-8")
    start, end = _places(file, whole, mark)
    file.write_text(f"{whole[:start]}\n{text}\n{whole[end:]}", "utf-8")


def between(file: Path, mark: str) -> str:
    """What stands between the marks of a file."""
    whole = file.read_text("utf-8")
    start, end = _places(file, whole, mark)
    return whole[start:end].removeprefix("\n").removesuffix("\n")


def _places(file: Path, whole: str, mark: str) -> tuple[int, int]:
    begin, close = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    start, end = whole.find(begin), whole.find(close)
    if whole.count(begin) != 1 or whole.count(close) != 1 or end < start:
        raise ValueError(f"{file.name} must hold {begin} and after it {close}, once each")
    return start + len(begin), end


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """All results of a folder, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def tables(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Everything that stands between the marks, in Markdown."""
    bars = [line for name, result in results.items() for line in bar_lines(name, result)]
    rows = [line for name, result in results.items() for line in workload_lines(name, result)]
    growing = [line for name, result in results.items() for line in growth_lines(name, result)]
    parts = []
    if bars:
        parts.append(["| benchmark | what | reached | bar | |", "|---|---|---|---|---|", *bars])
    if growing:
        parts.append(["Cost grows with size to the power of (1: in proportion):", "", *growing])
    if rows:
        head = ["<details><summary>All workloads</summary>", "", "| workload | ours | / floor | rivals, times ours |"]
        parts.append([*head, "|---|---|---|---|", *rows, "", "</details>"])
    parts.append(origins(results))
    return "\n".join(["", "\n\n".join("\n".join(part) for part in parts), ""])


def families(folder: Path = RESULTS) -> str:
    """The table of all model families, as it stands between its marks."""
    return "\n".join(["", *families_lines(json.loads((folder / FAMILIES_FILE).read_text("utf-8"))), ""])


def families_lines(result: Mapping[str, Any]) -> list[str]:
    """Rows in their order; of the difference of CIDEr with beam 5, the 95 % interval of a paired bootstrap."""
    lines = [f"| {' | '.join(FAMILIES_HEAD)} |", f"| {' | '.join(['---', *['---:'] * (len(FAMILIES_HEAD) - 1)])} |"]
    for row in result["rows"]:
        apart, beam = row["apart"]["beam 5"], row["scores"]["beam 5"]
        cells = [
            row["title"] + ", features shuffled" * row["control"],
            str(len(row["seeds"])),
            score(row["scores"]["greedy"]["cider"]),
            score(beam["cider"]),
            f"{apart['value']:+.3f} ({apart['low']:+.3f} to {apart['high']:+.3f})" if apart else "-",
            score(beam["bleu4"]),
            score(beam["rouge"]),
            f"{row['weights']['trained'] / 1e6:.1f} M",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def bench_rows(folder: Path = RESULTS) -> str:
    """The table of who answers the bench, as it stands between its marks."""
    return "\n".join(["", *bench_lines(json.loads((folder / "world" / "bench.json").read_text("utf-8"))), ""])


def bench_lines(result: Mapping[str, Any]) -> list[str]:
    """Per cent right by kind; of several seeds mean and deviation."""
    lines = [f"| who answers | {' | '.join(BENCH_KINDS)} |", f"| --- | {' | '.join(['---:'] * len(BENCH_KINDS))} |"]
    for row in result["rows"]:
        cells = []
        for found in (row["kinds"].get(kind) for kind in BENCH_KINDS):
            spread = f" ± {100 * stdev(found['seeds']):.0f}" if found and len(found["seeds"]) > 1 else ""
            cells.append(f"{100 * found['accuracy']:.0f}{spread}" if found else "-")
        lines.append(f"| {' | '.join([row['name'], *cells])} |")
    return lines


def bar_lines(name: str, result: Mapping[str, Any]) -> list[str]:
    """One line for every bar: what was asked, what was reached, met or missed."""
    lines = []
    for bar in result.get("bars", ()):
        higher = bar["better"] == "higher"
        met = bar["reached"] >= bar["bar"] if higher else bar["reached"] <= bar["bar"]
        asked = f"{'≥' if higher else '≤'} {number(bar['bar'])}"
        verdict = "met" if met else "**missed**"
        lines.append(f"| {name} | {bar['what']} | {number(bar['reached'])} | {asked} | {verdict} |")
    return lines


def workload_lines(name: str, result: Mapping[str, Any]) -> list[str]:
    """One line for every group of times: ours, its ratio to the floor, and each rival's ratio to ours."""
    lines = []
    for path, group in groups(result):
        unit = "s" if path[-1:] == ("wall_s",) else "ms"
        median, mine, floor = medians(group)
        others = [rival for rival in median if rival not in (mine, floor)]
        label = ", ".join([name, *(part for part in path if part not in FRAMES)])
        if mine is None:
            told = "; ".join(f"{rival} {number(median[rival])} {unit}" for rival in others)
            lines.append(f"| {label} | - | - | {told} |")
            continue
        told = "; ".join(f"{rival} {number(median[rival] / median[mine])}" for rival in others)
        above = number(median[mine] / median[floor]) if floor and median[floor] else "-"
        lines.append(f"| {label} | {number(median[mine])} {unit} | {above} | {told or '-'} |")
    return lines


def groups(result: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every mapping of names to quartiles in a result, with the keys that lead to it."""
    if isinstance(result, Mapping):
        timed = {name: value for name, value in result.items() if isinstance(value, Mapping) and "median" in value}
        if timed:
            yield path, timed
        for name, value in result.items():
            if name not in timed:
                yield from groups(value, (*path, name))
    elif isinstance(result, list):
        for item in result:
            yield from groups(item, (*path, case(item)))


def medians(group: Mapping[str, Any]) -> tuple[dict[str, float], str | None, str | None]:
    """The median of each rival, and what our own way and the floor are called among them, if they are there."""
    median = {rival: times["median"] for rival, times in group.items()}
    mine = next((rival for rival in OURS if rival in median), None)
    return median, mine, next((rival for rival in median if rival.startswith("floor")), None)


def case(item: Any) -> str:
    """What tells one item of a list of workloads from the next."""
    if not isinstance(item, Mapping):
        return str(item)
    size = " x ".join(str(item[key]) for key in ("videos", "frames", "boxes") if key in item)
    named = [str(item[key]) for key in ("name", "workload", "what") if key in item]
    return ", ".join([*named, *([size] if size else []), *(["ragged"] if item.get("ragged") is True else [])])


def growth_lines(name: str, result: Mapping[str, Any]) -> list[str]:
    """The fitted exponents of one result."""
    lines = []
    for key, value in result.items():
        if key.startswith("growth"):
            label = f"{name}{key.removeprefix('growth').replace('_', ' ')}"
            lines.append(f"- {label}: {exponents(value)}")
    return lines


def exponents(value: Any) -> str:
    """A number, or numbers by name."""
    if not isinstance(value, Mapping):
        return f"{float(value):.2f}"
    return "; ".join(
        f"{name} ({exponents(item)})" if isinstance(item, Mapping) else f"{name} {exponents(item)}"
        for name, item in value.items()
    )


def origins(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Where and when the results were measured."""
    made: dict[str, list[str]] = {}
    for name, result in results.items():
        machine = result.get("machine", {})
        facts = [machine.get("cpu"), machine.get("vector_unit"), machine.get("gpu")]
        facts.append(f"torch {machine['torch']}" if "torch" in machine else None)
        commit = f"commit {result['commit']}" if "commit" in result else "an earlier commit"
        key = ", ".join([*filter(None, facts), commit, *filter(None, [result.get("date")])])
        made.setdefault(key, []).append(name)
    return [f"Measured on {where}: {', '.join(names)}.  " for where, names in made.items()]


def number(value: float) -> str:
    """Three telling digits; whole numbers as they are."""
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    if value != 0 and abs(value) < 1e-3:
        return f"{value:.0e}"
    return f"{value:.{max(0, 2 - max(0, len(str(int(abs(value)))) - 1))}f}"
