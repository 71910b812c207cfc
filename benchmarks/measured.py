"""README's one table: what was measured, on what, and how sure it is, from result files and nothing else."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks import RESULTS

CARD = Path(__file__).parents[1] / "stg" / "pretrained" / "scene" / "card.md"
"""The card of the captioner that comes along; its head holds all scores."""

FAMILIES_FILE = Path("msrvtt", "families.json")
"""Among the results: all model families on the stills of MSR-VTT; `benchmarks.families` writes it."""

HEAD = ("measured", "on", "reached", "against", "how sure")


def measured(folder: Path = RESULTS, card: Path = CARD) -> str:
    """The table in Markdown.

    Args:
        folder: of the results of benchmarks and experiments.
        card: of the captioner that comes along.
    """
    rows = [
        world_captions(_read(folder / "world" / "captions.json")),
        *shipped_captions(yaml.safe_load(card.read_text("utf-8").split("---\n")[1])),
        model_families(_read(folder / FAMILIES_FILE)),
        judged_captions(_read(folder / "captioner" / "judged.json")),
        seconds_a_clip(_read(folder / "captioner" / "seconds.json")),
        activities(_read(folder / "activity.json")),
        seen_events(_read(folder / "world" / "probe.json")),
        speed({path.stem: _read(path) for path in sorted(folder.glob("*.json"))}),
    ]
    lines = [f"| {' | '.join(row)} |" for row in [HEAD, ["---"] * len(HEAD), *rows]]
    return "\n".join(["", *lines, ""])


def world_captions(result: Mapping[str, Any]) -> Sequence[str]:
    """CIDEr of the preset of the built-in world, without its edges, and of the picture alone."""
    rows = {row["name"]: row for row in result["rows"]}
    cider = {name: rows[name]["scores"]["cider"] for name in ("spatial", "no edges", "scene")}
    return (
        "CIDEr, `stg_world`",
        f"built-in world, {result['videos']:,} videos",
        score(cider["spatial"]),
        f"no edges {score(cider['no edges'])}, no graph {fraction(cider['scene']['mean'])}",
        seeds(rows["spatial"]["seeds"]),
    )


def shipped_captions(head: Mapping[str, Any]) -> list[Sequence[str]]:
    """CIDEr of the captioner that comes along, and of one that sees other videos."""
    rows = []
    for name, on in (("msrvtt", "stills of {} MSR-VTT videos"), ("msvd", "{} MSVD clips")):
        key = f"{name}, test, {head['search']}"
        found, control = head["scores"][key]["cider"], head["control"][key]["cider"]
        count = next(part for part in head["data"].split("; ") if part.startswith(name)).split(" / ")[-1].split()[0]
        rows.append(
            (
                "CIDEr, `./run caption`",
                on.format(f"{int(count):,}"),
                score(found),
                f"shuffled {score(control)}",
                f"{seeds(found['values'])}, shuffled {len(control['values'])}",
            )
        )
    return rows


def model_families(result: Mapping[str, Any]) -> Sequence[str]:
    """CIDEr of the best model of the three papers and of ours, trained alike."""
    best = dict[str, Any]()
    for row in result["rows"]:
        found, paper = row["scores"]["beam 5"]["cider"], row["title"].split(" et al.")[0].split(":")[0]
        if not row["control"] and found["mean"] > best.get(paper, {"mean": -1.0})["mean"]:
            best[paper] = found
    ours = best.pop("ours")
    return (
        "CIDEr, models trained alike",
        f"{result['videos']:,} MSR-VTT stills",
        f"ours {score(ours)}",
        ", ".join(f"{paper} {fraction(found['mean'])}" for paper, found in best.items()),
        seeds(result["rows"][0]["seeds"]),
    )


def judged_captions(result: Mapping[str, Any]) -> Sequence[str]:
    """How many captions two readers called right, and right or half right."""
    counts = [count for readers in result["counts"].values() for count in readers]
    total = sum(sum(count.values()) for count in counts)
    right, half = (sum(count[kind] for count in counts) / total for kind in ("right", "half"))
    videos = len(result["captions"])
    return (
        "its captions, by two readers",
        f"{videos} of these videos",
        f"right {100 * right:.0f} %",
        f"right or half right {100 * (right + half):.0f} %",
        f"they agree on {result['same_judgement']}",
    )


def seconds_a_clip(result: Mapping[str, Any]) -> Sequence[str]:
    """Seconds that the captioner that comes along takes for a clip, once it is loaded."""
    (found,) = (captioner["seconds"] for captioner in result["captioners"].values())
    return (
        "seconds a clip, `./run caption`",
        f"{result['clip']['seconds']:.0f} seconds of video",
        f"{found['median']:.2f}",
        f"one thread of {result['machine']['cpu']}"
        if result["machine"]["threads"] == "1"
        else result["machine"]["cpu"],
        f"quartiles {found['low']:.2f}, {found['high']:.2f}",
    )


def activities(result: Mapping[str, Any]) -> Sequence[str]:
    """Accuracy on CAD-120 with both kinds of edges, and with none."""
    low, high = result["both - none"]["95 %"]
    both, none = (result["accuracy"][name] for name in ("both", "none"))
    return (
        "activities from boxes alone",
        f"{sum(result['clips'].values())} clips of CAD-120",
        score(both),
        f"no edges {score(none)}",
        f"95 %: {fraction(low)} to {fraction(high)} apart",
    )


def seen_events(result: Mapping[str, Any]) -> Sequence[str]:
    """Accuracy of a classifier of events on the graph as the paper prints it, and without edges."""
    found = {row["name"]: row for row in result["rows"]}
    full, none = (found[name]["scores"]["classifier"]["event"] for name in ("full", "none"))
    return (
        "events, graph as printed",
        f"built-in world, {result['settings']['world']['test']} videos",
        score(full),
        f"no edges {score(none)}",
        seeds(found["full"]["seeds"]),
    )


def speed(results: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    """How many bars of speed and memory were met; those of accuracy do not count."""
    bars = [bar for name, result in results.items() if name != "activity" for bar in result.get("bars", ())]
    met = sum(
        bar["reached"] >= bar["bar"] if bar["better"] == "higher" else bar["reached"] <= bar["bar"] for bar in bars
    )
    return (
        "speed, against named rivals",
        f"{len(bars)} bars to clear",
        f"{met} met",
        f"{len(bars) - met} missed",
        "medians of many passes",
    )


def score(found: Mapping[str, Any]) -> str:
    """Mean and deviation."""
    deviation = found.get("deviation")
    return fraction(found["mean"]) + (f" ± {fraction(deviation)}" if deviation is not None else "")


def fraction(value: float) -> str:
    """Three digits, without the 0 before the point."""
    return f"{value:.3f}".removeprefix("0")


def seeds(found: Sequence[Any]) -> str:
    """How many seeds."""
    return f"{len(found)} seed{'s' if len(found) > 1 else ''}"


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
