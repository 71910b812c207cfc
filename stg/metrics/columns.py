"""Names, headings and order of all scores; mean and deviation."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]

HEADINGS = {
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "bleu4": "BLEU-4",
    "meteor": "METEOR",
    "rouge": "ROUGE-L",
    "cider": "CIDEr",
    "spice": "SPICE",
    "event": "event",
    "two_objects": "two objects",
    "space": "space",
    "time": "time",
    "both": "both",
    "one_object": "one object",
}
"""Name of a score -> head of its column, in the order of tables."""

BLEU = ("bleu1", "bleu2", "bleu3", "bleu4")

CAPTIONS = (*BLEU, "meteor", "rouge", "cider", "spice")
"""Scores of captions against references, in the order in which papers print them."""

PUBLISHED = ("bleu4", "meteor", "rouge", "cider")
"""Those that papers publish."""

EVENTS = ("event", "two_objects", "space", "time", "both")
"""Scores by the event that a caption names, on the built-in world."""


def heading(name: str) -> str:
    """How a score is spelt; that of a plugin as the plugin names it."""
    return HEADINGS.get(name, name)


def score_line(values: Mapping[str, float]) -> str:
    """Scores on one line, each after its name."""
    return "  ".join(f"{heading(name)} {value:.3f}" for name, value in values.items())


def reason_lines(unavailable: Mapping[str, str]) -> list[str]:
    """A line for each score that there is none of: its name, and why."""
    return [f"{heading(name)}: {reason}" for name, reason in unavailable.items()]


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and deviation of a sample; the deviation is None for a single value, both for none."""
    return {
        "mean": statistics.fmean(values) if values else None,
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "values": list(values),
    }


def spread_text(found: Record | None) -> str:
    """Mean ± deviation."""
    if found is None or found["mean"] is None:
        return "-"
    deviation = found["deviation"]
    return f"{found['mean']:.3f}" + ("" if deviation is None else f" ± {deviation:.3f}")
