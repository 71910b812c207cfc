"""Working on cells: train, evaluate, and keep a record of what it took."""

import json
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from stg.ablation.cells import Cell, Plan
from stg.config.training import FitConfig
from stg.datasets.world.dataset import World
from stg.datasets.world.scores import event_scores, verb_of
from stg.evaluation.evaluate import evaluate
from stg.evaluation.predictions import read_predicted
from stg.runs.bundle import CaptionerBundle
from stg.runs.evaluations import file_stem
from stg.runs.model_file import MODEL_FILE, WHOLE_FILE
from stg.runtime.errors import Preempted, StgError
from stg.runtime.files import write_atomic
from stg.runtime.provenance import commit, machine
from stg.training.loop import fit


def work_on(cell: Cell, plan: Plan, *, console: Console, stop: Callable[[], bool]) -> str | None:
    """Train a cell to its end and evaluate it, from wherever it is; returns what went wrong, if something did.

    Raises:
        Preempted: ``stop`` said so; a checkpoint is saved, or what was evaluated is evaluated anew.
    """

    config, run = plan.configs[cell], plan.run(cell)
    record = {**plan.record(cell), "failed": None}
    began, doing = time.monotonic(), "seconds"
    try:
        if not plan.trained(cell):
            # Scores of before belong to weights of before.
            record["evaluated"] = {}
            if not (run / "config.json").exists():
                record["features"] = plan.features
            record |= {"commit": commit(), "machine": machine()}
            plan.write_record(cell, record)
            fit(config, console=console, stop=stop)
            if not plan.trained(cell):
                raise StgError(f"{run} was trained with other settings, and stg.fit does not go on with these")
        _add_seconds(record, doing, began)
        began, doing = time.monotonic(), "seconds_evaluating"
        if stop():
            raise Preempted(f"stopped before {cell.name} was evaluated: the same command goes on from there")
        record["weights"] = count_weights(run)
        if not plan.evaluated(cell):
            if config.run.threads:
                torch.set_num_threads(config.run.threads)
            names = evaluate(plan.scoring_config(cell), console=console, stop=stop)
            split = plan.scoring.split
            stems = {name: file_stem(split, name) for name in names}
            for stem in stems.values():
                if config.data.dataset == "world":
                    write_events(config, run / "evaluation", stem)
            # The scores' own files tell whether METEOR was to be had.
            told = {name: {"stem": stem} for name, stem in stems.items()}
            record["evaluated"] = {**record.get("evaluated", {}), split: told}
            plan.write_record(cell, record)
            if not plan.evaluated(cell):
                why = {f"; METEOR: {reason}" for found in names.values() if (reason := found.unavailable.get("meteor"))}
                there = ", ".join(names) or "none"
                raise StgError(f"{run} was evaluated, and not all scores are there: {there}{''.join(why)}")
    except Preempted:
        raise
    except Exception as error:
        ours = isinstance(error, StgError | ValueError)
        record["failed"] = {"error": str(error) if ours else f"{type(error).__name__}: {error}", "at": time.time()}
        if not ours:
            record["failed"]["traceback"] = traceback.format_exc()
        return str(record["failed"]["error"])
    finally:
        _add_seconds(record, doing, began)
        plan.write_record(cell, record)
    return None


def _add_seconds(record: dict[str, Any], doing: str, began: float) -> None:
    record[doing] = round(record.get(doing, 0.0) + time.monotonic() - began, 3)


def count_weights(run: Path) -> dict[str, int]:
    """Numbers of weights: of all that was trained, and of what captions."""

    found = {}
    for name, files in {"trained": (WHOLE_FILE, MODEL_FILE), "captioning": (MODEL_FILE,)}.items():
        path = next(run / file for file in files if (run / file).exists() or file == files[-1])
        found[name] = sum(weight.numel() for weight in CaptionerBundle.load(path).captioner.parameters())
    return found


def write_events(config: FitConfig, evaluation: Path, stem: str) -> None:
    """Score the captions of the built-in world by the event they name: ``STEM-events.json``."""

    world = World(seed=config.world.seed, train=config.world.train, val=config.world.val, test=config.world.test)
    captions = read_predicted(evaluation / f"{stem}.json")
    record = {"scores": event_scores(world, captions), "verbs": verb_scores(world, captions)}
    write_atomic(evaluation / f"{stem}-events.json", json.dumps(record, indent=1))


def verb_scores(world: Any, captions: Mapping[str, str]) -> dict[str, dict[str, float | int]]:
    """Event -> in how many videos it happens, and in which share of them the caption names it."""

    seen: dict[str, list[bool]] = {}
    for video, caption in captions.items():
        truth = world.event(video).verb
        seen.setdefault(truth, []).append(verb_of(caption) == truth)
    return {verb: {"videos": len(right), "right": sum(right) / len(right)} for verb, right in sorted(seen.items())}
