"""Names, headings and order of all scores; mean and deviation."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]


def spread_text(found: Record | None) -> str:
    """Mean ± deviation."""
    if found is None or found["mean"] is None:
        return "-"
    deviation = found["deviation"]
    return f"{found['mean']:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")


EVENTS = ("event", "two_objects", "space", "time", "both")
"""Scores by the event that a caption names, on the built-in world."""


COLUMNS = {
    "bleu4": "BLEU-4",
    "meteor": "METEOR",
    "rouge": "ROUGE-L",
    "cider": "CIDEr",
    "event": "event",
    "two_objects": "two objects",
    "space": "space",
    "time": "time",
    "both": "both",
}
"""Name of a score -> head of its column."""


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and deviation of a sample; the deviation is None for a single value, both for none."""
    return {
        "mean": statistics.fmean(values) if values else None,
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "values": list(values),
    }


METRICS = ("bleu4", "meteor", "rouge", "cider")
"""Published figures, in this order everywhere."""

ALL = ("bleu1", "bleu2", "bleu3", *METRICS, "spice")
"""All scores of captions, in the order in which papers print them."""
