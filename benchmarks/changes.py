"""Which ratios a new run of a benchmark has worse than the committed result that it replaces."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks import RESULTS
from benchmarks.tables import FRAMES, groups, medians, number

WORSE = 0.15
"""Share by which a ratio must be worse to be named: those of two runs on one machine differ by less."""
LEAST = 1e-6
"""Bars below this are rounding errors, which go up and down by more than that share."""


def committed(name: str) -> Mapping[str, Any] | None:
    """The result of a benchmark at the newest commit; None where there is none, or no git."""
    command = ["git", "-C", str(RESULTS), "show", f"HEAD:./{name}.json"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    result: Mapping[str, Any] = json.loads(found)
    return result


def worse(before: Mapping[str, Any], after: Mapping[str, Any], share: float = WORSE) -> list[str]:
    """One line for each ratio of both results that is worse by more than ``share``.

    Ratios are the bars, the time of each rival over ours, and ours over the floor. What only one of the results has is
    not compared; absolute times never are.
    """
    old, lines = dict(_ratios(before)), []
    for (label, better), now in _ratios(after):
        was = old.get((label, better))
        if was is None:
            continue
        if was > now * (1 + share) if better == "higher" else now > was * (1 + share):
            lines.append(f"{label}: {number(now)}, was {number(was)} ({better} is better)")
    return lines


def _ratios(result: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], float]]:
    """What is compared and which way is better -> the ratio."""
    for bar in result.get("bars", ()):
        if bar["reached"] > LEAST:
            yield (bar["what"], bar["better"]), bar["reached"]
    for path, group in groups(result):
        median, mine, floor = medians(group)
        if mine is None or not median[mine]:
            continue
        label = ", ".join(part for part in path if part not in FRAMES)
        for rival, taken in median.items():
            if rival == floor and taken:
                yield (f"{label}: times the floor", "lower"), median[mine] / taken
            elif rival != mine and taken:
                yield (f"{label}: {rival}, times ours", "higher"), taken / median[mine]
