"""How every benchmark here measures: one thread, CPU-seconds, rivals in turn, medians with quartiles."""

import json
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

RESULTS = Path(__file__).parent / "results"


def measure(
    rivals: Mapping[str, Callable[[], object]], *, repetitions: int = 9, warm_up: int = 2
) -> dict[str, dict[str, float]]:
    """Run the rivals in turn, again and again, and give the quartiles of each in milliseconds of CPU time.

    Taking turns spreads a disturbance of the machine over all rivals instead of one.
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
        for _ in range(repetitions):
            for name, run in rivals.items():
                start = time.process_time()
                run()
                times[name].append(1e3 * (time.process_time() - start))
    finally:
        torch.set_num_threads(threads)
    return {name: quartiles(taken) for name, taken in times.items()}


def quartiles(values: list[float]) -> dict[str, float]:
    """Lower quartile, median and upper quartile."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {"low": round(float(low), 3), "median": round(float(middle), 3), "high": round(float(high), 3)}


def growth(sizes: list[float], times: list[float]) -> float:
    """Exponent ``b`` of the fit ``time = a * size ** b``."""
    return round(float(np.polyfit(np.log(sizes), np.log(times), 1)[0]), 3)


def machine() -> dict[str, str]:
    """Facts of the machine that the numbers depend on; nothing that tells whose it is."""
    model = platform.processor() or platform.machine()
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        names = [line.split(":", 1)[1].strip() for line in listing.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "cpu": model,
        "vector_unit": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": "1",
    }


def write(name: str, results: dict[str, Any]) -> Path:
    """Store the results of one benchmark, with the machine's facts, as ``results/NAME.json``."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": machine(), **results}, indent=2) + "\n")
    return path
