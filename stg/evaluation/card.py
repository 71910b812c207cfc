"""The card of a captioner: facts for programs at its head, the same in words for people."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from stg.metrics.columns import heading, spread_text

Origins = Mapping[str, tuple[Mapping[str, str], Path]]
"""Name of a network's file -> where it comes from, and the file with its licence."""


def card(name: str, facts: Mapping[str, Any], origins: Origins, notes: str = "") -> str:
    """A model card in Markdown, whose head `stg.runs.shipped.read_card` reads.

    Args:
        facts: what the head holds, as `stg.evaluation.shipping.ship` collects it.
        notes: Markdown that a person wrote, put at the end.
    """
    reads = (
        "frames and the objects that a detector finds" if facts["needs_detector"] else "frames alone; no detector runs"
    )
    size = f"{facts['weights']:,} weights, {facts['words']:,} words"
    seen = ["Of a captioner that sees the features of other videos:", "", *_table(facts["control"]), ""]
    lines = [
        "---",
        yaml.safe_dump(dict(facts), sort_keys=False, allow_unicode=True, width=120).rstrip("\n"),
        "---",
        f"# {name}",
        "",
        f"A video captioner ({facts['model']}): {size}. It reads {reads}.",
        "",
        f"- **Trained on** {facts['data']} (train / val / test)."
        + (f" From the first line of its log to the last: {facts['minutes']:g} minutes." if "minutes" in facts else "")
        + " The data are for research; so is a captioner made from them.",
        f"- **Search.** stg.caption takes {facts['search']}, where it is not asked for another.",
        f"- **Precision.** {_precision(facts['half_precision'])}",
        f"- **SHA-256** of model.safetensors: {facts['sha256']}",
        "",
        "## Scores",
        "",
        *_table(facts["scores"]),
        "",
        *(seen if facts["control"] else []),
        "Fractions, as COCO's code computes them; mean ± deviation where several seeds were trained.",
        "",
        *_confidence(facts["confidence"]),
        "## Networks",
        "",
        *(_networks(origins) or ["None: the built-in world draws its own features."]),
        "",
        *([notes, ""] if notes else []),
    ]
    return "\n".join(lines)


def _precision(facts: Mapping[str, Any]) -> str:
    if "changed" not in facts:
        return "Weights are as they were trained, in single precision."
    measured = f"Half precision changes {facts['changed']} of {facts['captions']} captions of the validation videos"
    return f"{measured}, and is used." if facts["used"] else f"{measured}, and is not used."


def _confidence(searches: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = [
        f"- {search}: {100 * facts['right']:.0f} % of {facts['videos']} validation captions are right; expected "
        f"calibration error {facts['ece_before']:.3f} before, {facts['ece']:.3f} after."
        for search, facts in searches.items()
    ]
    about = (
        "Calibrated on validation videos (Platt scaling of the caption's log-probability). A caption counts as right "
        "where each of its content words stands in a reference of its video."
    )
    return ["## Confidence", "", about, "", *lines, ""] if lines else []


def _table(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(name for values in scores.values() for name in values))
    return [
        f"| | {' | '.join(map(heading, names))} |",
        f"|---|{'---:|' * len(names)}",
        *(
            f"| {search} | {' | '.join(spread_text(values.get(name)) for name in names)} |"
            for search, values in scores.items()
        ),
    ]


def _networks(origins: Origins) -> list[str]:
    return [
        f"- `{name}`: {origin['what']}; {origin['source']}; {origin['copyright']} {origin['licence']} "
        f"(networks/{licence.name}), SHA-256 {origin['sha256']}."
        for name, (origin, licence) in origins.items()
    ]
