"""From the scores of cells to rows: mean and deviation over seeds, differences, and what the papers print."""

import hashlib
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from stg.ablation.cells import Cell, Plan
from stg.ablation.locks import held
from stg.config.schema import describe, differences, to_dict
from stg.metrics.columns import METRICS
from stg.runs.folder import FREE
from stg.runtime.errors import UserError
from stg.runtime.reading import read_json

PAPER_EDGES = "those of Pan et al. (CVPR 2020)"

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

DEVIATION = "deviation of a sample (n - 1) over seeds"
APART = (
    "difference of the means divided by the root of the mean of the two rows' squared deviations; none where a row has "
    "one seed"
)


def make_record(plan: Plan, *, origin: Mapping[str, Any]) -> dict[str, Any]:
    """All there is to tell of a table, as JSON holds it.

    Args:
        origin: ``machine`` and ``commit`` of whoever makes the record; those of training are in the rows.

    Raises:
        UserError: cells that were trained on stores made otherwise.
    """
    states = {cell: plan.state(cell) for cell in plan.configs}
    rows = []
    for shuffled in dict.fromkeys(cell.shuffled for cell in plan.configs):
        for name, row in plan.table.rows.items():
            cells = [cell for cell in plan.configs if (cell.row, cell.shuffled) == (name, shuffled)]
            done = [cell for cell in cells if states[cell] == "done"]
            records = [plan.record(cell) for cell in done]
            rows.append(
                {
                    "name": name + ", shuffled" * shuffled,
                    "row": name,
                    "title": row.title,
                    "control": shuffled,
                    "settings": plan.table.settings(name),
                    "against": row.against or None,
                    "seeds": [cell.seed for cell in done],
                    "weights": records[0].get("weights") if records else None,
                    "minutes": spread([record["seconds"] / 60 for record in records]),
                    "commits": sorted({str(record.get("commit")) for record in records}),
                    "machines": _unlike([record["machine"] for record in records if record.get("machine")]),
                    "scores": read_scores(plan, done),
                    "verbs": read_verbs(plan, done),
                }
            )
    shared = to_dict(plan.configs[next(iter(plan.configs))])
    varied = {key for config in plan.configs.values() for key in differences(shared, to_dict(config))}
    return {
        "table": plan.name,
        "title": plan.table.title,
        "dataset": _dataset(plan),
        "features": _features(plan),
        "split": plan.scoring.split,
        "searches": _searches(rows, plan.scoring.searches),
        "deviation": DEVIATION,
        "reference": plan.table.reference,
        "rows": rows,
        "differences": compare_rows(rows, plan.table.reference),
        "in_units_of_deviations": APART,
        "published": [
            {"source": told.source, "data": told.data, "features": told.features}
            | {"scores": {name: dict(zip(METRICS, figures, strict=True)) for name, figures in told.scores.items()}}
            for told in plan.table.published
        ],
        "notes": [*plan.table.notes, *_unavailable(plan, states)],
        "cells": len(states),
        "missing": {cell.name: _told(plan, cell, state) for cell, state in states.items() if state != "done"},
        "settings": _without(shared, varied | FREE),
        **origin,
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and deviation of a sample; the deviation is None for a single value, both for none."""
    return {
        "mean": statistics.fmean(values) if values else None,
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "values": list(values),
    }


def apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float | None]:
    """How far ``one`` is above ``other`` (:func:`spread`), and in units of their deviations."""
    if one["mean"] is None or other["mean"] is None:
        return {"difference": None, "deviations": None}
    difference = one["mean"] - other["mean"]
    deviations = None
    if one["deviation"] is not None and other["deviation"] is not None:
        common = math.sqrt((one["deviation"] ** 2 + other["deviation"] ** 2) / 2)
        deviations = difference / common if common else None
    return {"difference": difference, "deviations": deviations}


def compare_rows(rows: Sequence[Mapping[str, Any]], reference: str) -> list[dict[str, Any]]:
    """Each row against the one it differs from in one setting, and against the reference row where that is another.

    Shuffled rows are controls: each row is set against its own.
    """
    real = {row["row"]: row for row in rows if not row["control"]}
    made = []
    for row in real.values():
        controls = [other for other in rows if other["control"] and other["row"] == row["row"]]
        others = [real[name] for name in dict.fromkeys([row["against"], reference]) if name and name != row["row"]]
        for other in [*others, *controls]:
            scores = {
                search: {
                    metric: apart(found, other["scores"][search][metric])
                    for metric, found in metrics.items()
                    if metric in other["scores"].get(search, {})
                }
                for search, metrics in row["scores"].items()
            }
            keys = row["settings"].keys() | other["settings"].keys()
            apart_in = sum(row["settings"].get(key) != other["settings"].get(key) for key in keys) + other["control"]
            made.append({"row": row["row"], "against": other["name"], "settings_apart": apart_in, "scores": scores})
    return made


def read_scores(plan: Plan, cells: Sequence[Cell]) -> dict[str, dict[str, Any]]:
    """Search -> score -> :func:`spread` over the cells; scores that not all of them have are left out."""
    found: dict[str, list[dict[str, float]]] = {}
    for cell in cells:
        for search, stem in plan.evaluated(cell).items():
            place = plan.run(cell) / "evaluation"
            scores = dict(read_json(place / f"{stem}-scores.json")["scores"])
            if (events := place / f"{stem}-events.json").exists():
                scores |= {name: value for name, value in read_json(events)["scores"].items() if name in EVENTS}
            found.setdefault(search, []).append(scores)
    return {
        search: {
            metric: spread([scores[metric] for scores in seen])
            for metric in COLUMNS
            if len(seen) == len(cells) and all(metric in scores for scores in seen)
        }
        for search, seen in found.items()
    }


def read_verbs(plan: Plan, cells: Sequence[Cell]) -> dict[str, dict[str, Any]]:
    """Search -> event -> share of its videos whose caption names it, :func:`spread` over the cells."""
    found: dict[str, dict[str, list[float]]] = {}
    for cell in cells:
        for search, stem in plan.evaluated(cell).items():
            path = plan.run(cell) / "evaluation" / f"{stem}-events.json"
            if path.exists():
                for verb, told in read_json(path)["verbs"].items():
                    found.setdefault(search, {}).setdefault(verb, []).append(told["right"])
    return {search: {verb: spread(values) for verb, values in verbs.items()} for search, verbs in found.items()}


def _unlike(values: Sequence[Any]) -> list[Any]:
    return [value for place, value in enumerate(values) if value not in values[:place]]


def _unavailable(plan: Plan, states: Mapping[Cell, str]) -> list[str]:
    """Scores that could not be made, and why."""
    told: dict[str, str] = {}
    for cell in (cell for cell, state in states.items() if state == "done"):
        for stem in plan.evaluated(cell).values():
            told |= read_json(plan.run(cell) / "evaluation" / f"{stem}-scores.json").get("unavailable", {})
    return [f"{COLUMNS.get(metric, metric)}: {reason}" for metric, reason in told.items()]


def _searches(rows: Sequence[Mapping[str, Any]], asked: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(search for row in rows for search in row["scores"])) or list(asked)


def _dataset(plan: Plan) -> str:
    config = next(iter(plan.configs.values()))
    if config.data.dataset != "world":
        return config.data.dataset
    world = config.world
    return f"built-in world, seed {world.seed}: {world.train} / {world.val} / {world.test} videos"


def _features(plan: Plan) -> dict[str, Any] | None:
    """How the features of all cells were made: hash of the manifest, and its ``edges``; those of Pan et al. where it
    tells of none. None where there is no cell that says so."""
    known = {cell.name: found for cell in plan.configs if (found := plan.features_of(cell)) is not None}
    if not known:
        return None
    (first, manifest), *others = known.items()
    for name, other in others:
        if differing := differences(manifest, other):
            listed = describe(differing, "{old!r} and {new!r}")
            raise UserError(f"{first} and {name} in {plan.folder} were trained on other features ({listed}): no table")
    # As in the checkpoints of stg.fit.
    made = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    return {"manifest": made, "edges": manifest.get("edges") or PAPER_EDGES}


def _told(plan: Plan, cell: Cell, state: str) -> str:
    if held(plan.lock_file(cell)):
        return "being worked on"
    if state == "failed":
        return f"failed: {plan.record(cell)['failed']['error']}"
    return {"unfinished": "not finished", "new": "not begun"}[state]


def _without(values: Mapping[str, Any], keys: set[str], prefix: str = "") -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            kept[name] = _without(value, keys, f"{prefix}{name}.")
        elif prefix + name not in keys:
            kept[name] = value
    return kept
