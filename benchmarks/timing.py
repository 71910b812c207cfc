"""How every benchmark here measures: one thread, CPU-seconds, rivals in turn, medians with quartiles."""

import json
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import RESULTS
from stg.runtime.provenance import processor

LONG, FEW = 5.0, 3
"""Seconds that a run takes from which on few are enough, and how many these are."""


def measure(
    rivals: Mapping[str, Callable[[], object]],
    *,
    repetitions: int = 9,
    warm_up: int = 2,
    few: int = FEW,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, dict[str, float]]:
    """Run the rivals in turn, again and again, and give the quartiles of each in milliseconds of CPU time.

    Taking turns spreads a disturbance of the machine over all rivals instead of one. What took `LONG` seconds or more
    in each of the first ``few`` turns has no further ones: within so long a run short disturbances even out, and the
    quartiles of a few say little more than the median.

    Args:
        rivals: name -> what is timed.
        repetitions: timed runs of each.
        warm_up: runs of each before that.
        few: timed runs of what takes long.
        clock: in seconds; ``time.perf_counter`` where waiting or another process is the point.

    Returns:
        of each rival the quartiles, and ``runs``, how many they are of.
    """
    if repetitions < 7:
        raise ValueError(f"quartiles need at least 7 repetitions, got {repetitions}")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for run in rivals.values():
            for _ in range(warm_up):
                run()
        times: dict[str, list[float]] = {name: [] for name in rivals}
        timed = rivals
        for turn in range(repetitions):
            if turn == few:
                timed = {name: run for name, run in rivals.items() if min(times[name]) < 1e3 * LONG}
            for name, run in timed.items():
                start = clock()
                run()
                times[name].append(1e3 * (clock() - start))
    finally:
        torch.set_num_threads(threads)
    return {name: {**quartiles(taken), "runs": len(taken)} for name, taken in times.items()}


def quartiles(values: list[float]) -> dict[str, float]:
    """Lower quartile, median and upper quartile."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"low": round(float(low), 3), "median": round(float(middle), 3), "high": round(float(high), 3)}


def growth(sizes: list[float], times: list[float]) -> float:
    """Exponent ``b`` of the fit ``time = a * size ** b``."""
    return round(float(np.polyfit(np.log(sizes), np.log(times), 1)[0]), 3)


def machine() -> dict[str, str]:
    """Facts of the machine that the numbers depend on; nothing that tells whose it is."""
    return {
        "cpu": processor(),
        "vector_unit": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": "1",
    }


def commit() -> str:
    """The commit that is measured, "(changed)" where a tracked Python file differs from it, "unknown" without git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parents[1]), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        name = git("rev-parse", "--short", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{name} (changed)" if changed else name


def bar(what: str, reached: float, asked: float, better: str = "higher") -> dict[str, Any]:
    """One line of a result's list ``bars``: what performance asks for, and what was reached.

    Args:
        what: in a few words.
        reached: by this run.
        asked: the bar.
        better: "higher" or "lower".
    """
    if better not in ("higher", "lower"):
        raise ValueError(f"better must be higher or lower, got {better!r}")
    return {"what": what, "reached": float(f"{reached:.4g}"), "bar": float(asked), "better": better}


def write(name: str, results: Mapping[str, Any], *, folder: Path = RESULTS) -> Path:
    """Store the results of one benchmark, with the machine's facts, commit and day, as ``FOLDER/NAME.json``."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.json"
    made = {"machine": machine(), "commit": commit(), "date": datetime.now(UTC).date().isoformat()}
    path.write_text(json.dumps({**made, **results}, indent=2) + "\n")
    return path
