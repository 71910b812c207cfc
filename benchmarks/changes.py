"""Which ratios a new run of a benchmark has worse than the committed result that it replaces."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks import RESULTS
from benchmarks.tables import FRAMES, OURS, groups, number

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
    for what, now in _ratios(after):
        # Written so that lower is better for all.
        if what in old and now > old[what] * (1 + share):
            label, better = what
            was, is_now = (1 / old[what], 1 / now) if better == "higher" else (old[what], now)
            lines.append(f"{label}: {number(is_now)}, was {number(was)} ({better} is better)")
    return lines


def _ratios(result: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], float]]:
    """What is compared and which way is better -> the ratio, or one over it where higher is better."""
    for bar in result.get("bars", ()):
        if bar["reached"] > LEAST:
            reached = bar["reached"]
            yield (bar["what"], bar["better"]), 1 / reached if bar["better"] == "higher" else reached
    for path, group in groups(result):
        median = {rival: times["median"] for rival, times in group.items()}
        mine = next((rival for rival in OURS if rival in median), None)
        if mine is None or not median[mine]:
            continue
        label = ", ".join(part for part in path if part not in FRAMES)
        for rival, taken in median.items():
            if rival == mine or not taken:
                continue
            if rival.startswith("floor"):
                yield (f"{label}: times the floor", "lower"), median[mine] / taken
            else:
                yield (f"{label}: {rival}, times ours", "higher"), median[mine] / taken
