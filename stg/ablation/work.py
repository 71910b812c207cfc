"""Working on cells: train, evaluate, and keep a record of what it took."""

import json
import time
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from stg.ablation.cells import CellFolder
from stg.ablation.fused import FusedFolder, count_fused_weights, fuse_members, train_embedding
from stg.config.data import WorldConfig
from stg.datasets.world.dataset import World
from stg.datasets.world.scores import event_scores, verb_of
from stg.evaluation.predictions import read_predicted
from stg.evaluation.scoring import evaluate_as, report_lines
from stg.metrics.columns import score_line
from stg.metrics.scorer import Scores
from stg.runs.evaluations import file_stem
from stg.runs.folder import RunFolder
from stg.runtime.errors import Preempted, StgError
from stg.runtime.files import write_atomic
from stg.runtime.provenance import commit, machine
from stg.runtime.reporter import Muted, Reporter
from stg.training.loop import fit

Record = dict[str, Any]


def work_on(
    cell: CellFolder, *, needs: Sequence[CellFolder] = (), reporter: Reporter, verbose: bool = False
) -> str | None:
    """Train a cell to its end and evaluate it, from wherever it is; returns what went wrong, if something did.

    Args:
        needs: cells without which it cannot be.
        verbose: also report what training and evaluation report, and the scores.

    Raises:
        Preempted: ``reporter`` asked for it; a checkpoint is saved, or what was evaluated is evaluated again.
    """
    details = reporter if verbose else Muted(reporter)
    # The failure of an earlier attempt is forgotten, its seconds are not.
    record: Record = {**cell.record, "failed": None}
    began, doing = time.monotonic(), "seconds"
    try:
        _require_done(cell, needs)
        if not cell.trained:
            _train(cell, record, details)
        _add_seconds(record, doing, began)
        began, doing = time.monotonic(), "seconds_evaluating"
        if reporter.should_stop():
            raise Preempted(f"stopped before {cell.cell.name} was evaluated: the same command resumes from there")
        # After training, as the number depends on the vocabulary and on the features of the store.
        record["weights"] = count_fused_weights(cell) if isinstance(cell, FusedFolder) else count_weights(cell.run)
        if not cell.evaluated:
            _evaluate(cell, record, details)
    # A stop is no failure: the cell stays unfinished, and all work ends.
    except Preempted:
        raise
    except Exception as error:
        # One cell of many: its failure is recorded, and the other cells are worked on.
        known = isinstance(error, StgError | ValueError)
        record["failed"] = {"error": str(error) if known else f"{type(error).__name__}: {error}", "at": time.time()}
        if not known:
            record["failed"]["traceback"] = traceback.format_exc()
        return str(record["failed"]["error"])
    finally:
        # Also after a failure or a stop: the next attempt adds to these seconds.
        _add_seconds(record, doing, began)
        cell.write_record(record)
    return None


def _require_done(cell: CellFolder, needs: Sequence[CellFolder]) -> None:
    """Refuse to build on cells that are not there: what they left would be the model of some epoch."""
    for one in needs:
        if (state := one.state) != "done":
            why = f"failed: {one.record['failed']['error']}" if state == "failed" else "is not done"
            raise StgError(f"{cell.cell.name} needs {one.cell.name}, which {why}")


def _train(cell: CellFolder, record: Record, reporter: Reporter) -> None:
    # Scores of before belong to weights of before.
    record["evaluated"] = {}
    if not cell.begun:
        record["features"] = cell.features
    record |= {"commit": commit(), "machine": machine()}
    cell.write_record(record)
    if isinstance(cell, FusedFolder):
        record |= train_embedding(cell, reporter)
        cell.write_record(record)
    else:
        fit(cell.config, reporter=reporter)
    if not cell.trained:
        raise StgError(f"{cell.run} was trained with other settings, and stg.fit does not resume with these")


def _evaluate(cell: CellFolder, record: Record, reporter: Reporter) -> None:
    scores, lines = _fuse(cell, record, reporter) if isinstance(cell, FusedFolder) else _caption(cell, reporter)
    stems = {name: file_stem(cell.scoring.split, name) for name in scores}
    if cell.config.data.dataset == "world":
        for stem in stems.values():
            write_events(cell.config.world, cell.run, stem)
    # Whether METEOR could be computed is in the scores' own files.
    named = {name: {"stem": stem} for name, stem in stems.items()}
    record["evaluated"] = {**record.get("evaluated", {}), cell.scoring.split: named}
    cell.write_record(record)
    # Or a cell that lacks a file would be evaluated again and again.
    if not cell.evaluated:
        raise StgError(f"{cell.run} was evaluated, and not all scores are there: {_there(scores)}")
    for name, found in scores.items():
        if found is not None:
            reporter.say(f"{name}:  {score_line(found.values)}")
    for line in lines:
        reporter.say(line)


def _caption(cell: CellFolder, reporter: Reporter) -> tuple[dict[str, Scores | None], list[str]]:
    """Caption and score by the cell's own model: scores of each search, and what else there is to say."""
    if cell.config.run.threads:
        torch.set_num_threads(cell.config.run.threads)
    run, found = evaluate_as(cell.evaluation, reporter=reporter)
    lines = report_lines(run, cell.scoring.split, found, cell.evaluation.show)
    return {name: result.scores for name, result in found.items()}, lines


def _fuse(cell: FusedFolder, record: Record, reporter: Reporter) -> tuple[dict[str, Scores | None], list[str]]:
    """Choose among the captions of other cells: scores of each search."""
    # Before, and not after: whoever trains one of them meanwhile makes this fusion one of before.
    if record.get("fused") != (states := cell.fused_states):
        record |= {"fused": states, "evaluated": {}}
    return dict(fuse_members(cell, reporter)), []


def _there(found: Mapping[str, Scores | None]) -> str:
    unavailable = [scores.unavailable for scores in found.values() if scores]
    reasons = {f"; METEOR: {reasons['meteor']}" for reasons in unavailable if "meteor" in reasons}
    return (", ".join(found) or "none") + "".join(reasons)


def _add_seconds(record: Record, doing: str, began: float) -> None:
    record[doing] = round(record.get(doing, 0.0) + time.monotonic() - began, 3)


def count_weights(run: RunFolder) -> dict[str, int]:
    """Numbers of weights: of all that was trained, and of what captions."""
    return {"trained": run.bundle(whole=True).num_weights, "captioning": run.bundle().num_weights}


def write_events(config: WorldConfig, run: RunFolder, stem: str) -> None:
    """Score the captions of the built-in world by the event they name: ``STEM-events.json``."""
    world = World.of(config)
    captions = read_predicted(run.evaluation_file(stem))
    record = {"scores": event_scores(world, captions), "verbs": verb_scores(world, captions)}
    write_atomic(run.evaluation_file(stem, "events"), json.dumps(record, ensure_ascii=False, indent=1))


def verb_scores(world: World, captions: Mapping[str, str]) -> dict[str, dict[str, float | int]]:
    """Event -> in how many videos it happens, and in which share of them the caption names it."""
    named: dict[str, list[bool]] = {}
    for video, caption in captions.items():
        truth = world.event(video).verb
        named.setdefault(truth, []).append(verb_of(caption) == truth)
    return {verb: {"videos": len(right), "right": sum(right) / len(right)} for verb, right in sorted(named.items())}
