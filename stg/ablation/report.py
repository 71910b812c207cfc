"""From the scores of cells to rows: mean and deviation over seeds, differences, and what the papers print."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from graphs import lock_holder
from stg.ablation.cells import CellFolder, State
from stg.ablation.plan import Plan
from stg.config.schema import describe, differences, to_dict
from stg.metrics.columns import EVENTS, PUBLISHED, reason_lines, spread
from stg.runs.evaluations import read_scores as read_scores_file
from stg.runs.folder import FREE
from stg.runtime.errors import UserError
from stg.runtime.files import fingerprint

PAPER_EDGES = "those of Pan et al. (CVPR 2020)"

DEVIATION = "deviation of a sample (n - 1) over seeds"
APART = (
    "difference of the means divided by the root of the mean of the two rows' squared deviations; none where a row has "
    "one seed"
)


def make_record(plan: Plan, *, origin: Mapping[str, Any]) -> dict[str, Any]:
    """All that is known of a table, as JSON holds it.

    Args:
        origin: ``machine`` and ``commit`` of whoever makes the record; those of training are in the rows.

    Raises:
        UserError: cells that were trained on stores made otherwise.
    """
    cells = plan.cells
    # Read once: other processes may be at work, and the table must not contradict its list of missing cells.
    states = [cell.state for cell in cells]
    done = [cell for cell, state in zip(cells, states, strict=True) if state == "done"]
    rows = [
        _row(plan, name, shuffled, [one for one in done if (one.cell.row, one.cell.shuffled) == (name, shuffled)])
        # Of a seed the rows come in their order, and then their controls.
        for name, shuffled in dict.fromkeys((cell.row, cell.shuffled) for cell in plan.configs)
    ]
    shared = to_dict(plan.configs[next(iter(plan.configs))])
    # Settings that differ between cells belong to the rows; the rest is said once.
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
            {"source": paper.source, "data": paper.data, "features": paper.features}
            | {"scores": {name: dict(zip(PUBLISHED, figures, strict=True)) for name, figures in paper.scores.items()}}
            for paper in plan.table.published
        ],
        "notes": [*plan.table.notes, *_unavailable(done)],
        "cells": len(cells),
        "missing": {
            one.cell.name: _why(one, state) for one, state in zip(cells, states, strict=True) if state != "done"
        },
        "settings": _without(shared, varied | FREE),
        **origin,
    }


def _row(plan: Plan, name: str, shuffled: bool, done: Sequence[CellFolder]) -> dict[str, Any]:
    """A row of the record, from its cells that are done."""
    row, records = plan.table.rows[name], [cell.record for cell in done]
    return {
        "name": name + ", shuffled" * shuffled,
        "row": name,
        "title": row.title,
        "control": shuffled,
        "settings": plan.table.described(name),
        "against": row.against or None,
        "seeds": [one.cell.seed for one in done],
        # Seeds of a row have the same number of weights.
        "weights": records[0].get("weights") if records else None,
        "minutes": spread([record["seconds"] / 60 for record in records]),
        "commits": sorted({str(record.get("commit")) for record in records}),
        "machines": _unlike([record["machine"] for record in records if record.get("machine")]),
        "scores": read_scores(done),
        "verbs": read_verbs(done),
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
        # Once, where the row that it belongs to is the reference row too.
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
            # A control differs by its shuffled features too.
            apart_in = sum(row["settings"].get(key) != other["settings"].get(key) for key in keys) + other["control"]
            # No number of settings makes one run of several.
            fused = "fused" in row["settings"] or "fused" in other["settings"]
            made.append(
                {
                    "row": row["row"],
                    "against": other["name"],
                    "settings_apart": None if fused else apart_in,
                    "scores": scores,
                }
            )
    return made


def read_scores(cells: Sequence[CellFolder]) -> dict[str, dict[str, Any]]:
    """Search -> score -> `spread` over the cells; scores that not all of them have are left out."""
    found: dict[str, list[dict[str, float]]] = {}
    for cell in cells:
        for search, stem in cell.evaluated.items():
            scores = dict(read_scores_file(cell.run.evaluation_file(stem, "scores"))["scores"])
            # Only the built-in world knows which event happens in a video.
            if (events := cell.run.evaluation_file(stem, "events")).exists():
                scores |= {name: value for name, value in read_scores_file(events)["scores"].items() if name in EVENTS}
            found.setdefault(search, []).append(scores)
    return {
        search: {
            metric: spread([scores[metric] for scores in each])
            for metric in (*PUBLISHED, *EVENTS)
            # A mean over some of the seeds cannot be compared with one over all.
            if len(each) == len(cells) and all(metric in scores for scores in each)
        }
        for search, each in found.items()
    }


def read_verbs(cells: Sequence[CellFolder]) -> dict[str, dict[str, Any]]:
    """Search -> event -> share of its videos whose caption names it, `spread` over the cells."""
    found: dict[str, dict[str, list[float]]] = {}
    for cell in cells:
        for search, stem in cell.evaluated.items():
            if (path := cell.run.evaluation_file(stem, "events")).exists():
                for verb, named in (read_scores_file(path).get("verbs") or {}).items():
                    found.setdefault(search, {}).setdefault(verb, []).append(named["right"])
    return {search: {verb: spread(values) for verb, values in verbs.items()} for search, verbs in found.items()}


def _unlike(values: Sequence[Any]) -> list[Any]:
    return [value for place, value in enumerate(values) if value not in values[:place]]


def _unavailable(done: Sequence[CellFolder]) -> list[str]:
    """Scores that could not be computed, and why."""
    reasons: dict[str, str] = {}
    for cell in done:
        for stem in cell.evaluated.values():
            reasons |= read_scores_file(cell.run.evaluation_file(stem, "scores")).get("unavailable") or {}
    return reason_lines(reasons)


def _searches(rows: Sequence[Mapping[str, Any]], asked: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(search for row in rows for search in row["scores"])) or list(asked)


def _dataset(plan: Plan) -> str:
    config = next(iter(plan.configs.values()))
    if config.data.dataset != "world":
        return " + ".join(each.dataset for each in config.data.sets.values())
    world = config.world
    return f"built-in world, seed {world.seed}: {world.train} / {world.val} / {world.test} videos"


def _features(plan: Plan) -> dict[str, Any] | None:
    """How the features of all cells were made: hash of the manifest, and its ``edges``; those of Pan et al. if it
    names none. None if no cell says so."""
    known = {one.cell.name: found for one in plan.cells if (found := one.trained_on) is not None}
    if not known:
        return None
    # Kept by each run, so the table is refused even where the store itself has changed or gone.
    (first, manifest), *others = known.items()
    for name, other in others:
        if differing := differences(manifest, other):
            listed = describe(differing, "{old!r} and {new!r}")
            raise UserError(f"{first} and {name} in {plan.folder} were trained on other features ({listed}): no table")
    # As in the checkpoints of stg.fit.
    made = fingerprint(manifest)
    return {"manifest": made, "edges": manifest.get("edges") or PAPER_EDGES}


def _why(cell: CellFolder, state: State) -> str:
    """Why a cell is missing."""
    if lock_holder(cell.lock_file) is not None:
        return "being worked on"
    if state == "failed":
        return f"failed: {cell.record['failed']['error']}"
    return {"unfinished": "not finished", "new": "not begun"}[state]


def _without(values: Mapping[str, Any], keys: set[str], prefix: str = "") -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            kept[name] = _without(value, keys, f"{prefix}{name}.")
        elif prefix + name not in keys:
            kept[name] = value
    return kept
