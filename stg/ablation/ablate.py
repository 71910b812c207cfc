"""Train and evaluate the cells of a table, one after another, and report them."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rich.console import Console

from graphs import GraphStore
from stg.ablation.cells import Cell, Plan, Scoring, java_is_there, plan_cells
from stg.ablation.config import AblateConfig
from stg.ablation.locks import claim
from stg.ablation.markdown import to_markdown
from stg.ablation.report import make_record, read_scores
from stg.ablation.tables import AXES, TABLES, Table, grid
from stg.ablation.work import work_on
from stg.config.data import DataConfig
from stg.config.training import FitConfig
from stg.datasets.open import open_dataset
from stg.evaluation.plots import to_svg
from stg.runtime.errors import Preempted, UserError
from stg.runtime.files import printable, write_atomic
from stg.runtime.progress import progress_bar
from stg.runtime.provenance import commit, machine
from stg.runtime.reading import read_json
from stg.runtime.signals import until_stopped

POLL_SECONDS = 0.5


def ablate(config: AblateConfig, *, console: Console, stop: Callable[[], bool] = lambda: False) -> int:
    """Work on all cells that nobody else works on, until all are done; 1 where some have failed.

    Raises:
        Preempted: ``stop`` said so; what is done is kept.
        UserError: no such table, settings that contradict it, folders of other runs, data that are not there.
    """

    def tell(line: str) -> None:
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)

    plan = make_plan(config)
    if config.dry_run or config.report:
        plan = dataclasses.replace(plan, features=_features_there(config.data))
    states = {cell: plan.state(cell) for cell in plan.configs}
    if config.dry_run:
        for cell, state in states.items():
            tell(f"{cell.name}: {state}")
            for line in plan.commands(cell):
                tell(f"    {line}")
        return 0
    if config.report:
        write_report(plan)
        _tell_report(plan, tell)
        return 0
    tell(f"{plan.name}: {plan.table.title}; {len(plan.configs)} cells in {plan.folder}")
    plan = dataclasses.replace(plan, features=_prepare(plan, console, stop, tell))
    if plan.scoring.meteor and not java_is_there():
        tell("METEOR needs Java, and there is none here: cells are scored without, and once more where Java is")
    inner = console if config.verbose else Console(quiet=True)
    began, wall = time.monotonic(), time.time()
    waiting = False
    while True:
        states = {cell: plan.state(cell) for cell in plan.configs}
        left = [cell for cell, state in states.items() if state != "done" and not _failed_since(plan, cell, wall)]
        if stop():
            raise Preempted(f"stopped with {_count(states)}: the same command goes on from there")
        if not left:
            break
        worked = False
        for cell in left:
            with claim(plan.lock_file(cell)) as mine:
                if not mine or plan.state(cell) == "done" or _failed_since(plan, cell, wall):
                    continue
                worked, waiting = True, False
                number = list(plan.configs).index(cell) + 1
                tell(f"cell {number} of {len(states)}, {cell.name}: {_count(states)}{_times(plan, left, began)}")
                _work(plan, cell, inner, stop, tell)
            write_report(plan, stop)
            break
        if not worked:
            if not waiting:
                tell(f"waiting for {len(left)} cells that other processes work on: {', '.join(c.name for c in left)}")
            waiting = True
            time.sleep(POLL_SECONDS)
    write_report(plan, stop)
    _tell_report(plan, tell)
    failed = [cell for cell in plan.configs if plan.state(cell) == "failed"]
    for cell in failed:
        tell(f"failed: {cell.name}: {plan.record(cell)['failed']['error']}")
    return 1 if failed else 0


def make_plan(config: AblateConfig) -> Plan:
    """The cells that a command asks for.

    Raises:
        UserError: see :func:`ablate`.
    """
    name, table = _chosen(config)
    base = FitConfig(
        data=config.data,
        world=config.world,
        graph=config.graph,
        model=config.model,
        loss=config.loss,
        optim=config.optim,
        reward=config.reward,
        run=config.run,
    )
    dataset: str = config.data.dataset
    if dataset == "folder" and config.data.root:
        dataset += f"-{Path(config.data.root).name}"
    return plan_cells(
        name,
        table,
        base,
        given=config.given,
        folder=Path(config.out or f"runs/ablation-{name}-{dataset}"),
        seeds=_seeds(config.seeds),
        controls=config.controls,
        scoring=Scoring(
            config.split, config.beam, config.data.dataset != "world" if config.meteor is None else config.meteor
        ),
    )


def _chosen(config: AblateConfig) -> tuple[str, Table]:
    axes = {name: _listed(value) for name in AXES if (value := getattr(config, name)) is not None}
    if axes:
        if config.table is not None:
            asked = ", ".join(f"--{name}" for name in axes)
            raise UserError(f"{config.table} is a table, and {asked} asks for a grid: leave one of them out")
        return "grid", grid(**axes)
    name = config.table or "pan3"
    if name not in TABLES:
        raise UserError(f"no table {name!r}: choose one of {', '.join(TABLES)}")
    return name, TABLES[name]


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _seeds(text: str) -> list[int]:
    words = _listed(text)
    if not all(word.isascii() and word.isdecimal() for word in words) or len(set(map(int, words))) < len(words):
        raise UserError(f"--seeds must be different whole numbers with commas, such as 0,1,2; got {text!r}")
    return [int(word) for word in words]


def _features_there(data: DataConfig) -> dict[str, Any] | None:
    """Manifest of the store that was named, where it is there."""

    if data.store is None or not Path(data.store).exists():
        return None
    with GraphStore(data.store) as store:
        return store.manifest


def _prepare(plan: Plan, console: Console, stop: Callable[[], bool], tell: Callable[[str], None]) -> dict[str, Any]:
    """Make the built-in world's store where it is not there, and refuse what no cell could be trained or scored on.

    Returns:
        the manifest of the store's features.
    """

    shared = next(iter(plan.configs.values()))
    folder = Path(shared.data.store).parent if shared.data.store else Path("stores")

    def alone() -> AbstractContextManager[object]:
        return claim(folder / ".ablation.lock", wait=True, stop=stop)

    with progress_bar(console, "making the videos' graphs") as progress:
        opened = open_dataset(shared.data, shared.world, progress=until_stopped(progress, stop), tell=tell, alone=alone)
        features = opened.store.manifest
        opened.store.close()
    splits, withheld = opened.dataset.splits, opened.dataset.unlabelled
    if (split := plan.scoring.split) not in splits or split in withheld:
        there = ", ".join(name for name in splits if name not in withheld)
        why = "withholds the captions of" if split in splits else "has no"
        raise UserError(f"{opened.dataset.name} {why} split {split!r}: score on one of {there}")
    return features


def _work(plan: Plan, cell: Cell, console: Console, stop: Callable[[], bool], tell: Callable[[str], None]) -> None:

    wrong = work_on(cell, plan, console=console, stop=stop)
    if wrong is not None:
        tell(f"    failed: {wrong}. The others go on; its log: {plan.run(cell) / 'train.log'}")
        return
    seconds = plan.record(cell)["seconds"]
    for search, found in read_scores(plan, [cell]).items():
        shown = "  ".join(f"{name} {found[name]['mean']:.3f}" for name in ("bleu4", "cider", "event") if name in found)
        tell(f"    {search}: {shown}   ({_clock(seconds)} of training)")


def _failed_since(plan: Plan, cell: Cell, began: float) -> bool:
    failed = plan.record(cell).get("failed")
    return failed is not None and failed["at"] >= began


def _count(states: Mapping[Cell, str]) -> str:
    return f"{sum(state == 'done' for state in states.values())} of {len(states)} cells done"


def _times(plan: Plan, left: list[Cell], began: float) -> str:
    told = f"; {_clock(time.monotonic() - began)} so far"
    known = [plan.record(cell) for cell in plan.configs if plan.state(cell) == "done"]
    if not known:
        return told
    each = sum(record["seconds"] + record.get("seconds_evaluating", 0.0) for record in known) / len(known)
    return f"{told}, {_clock(each * len(left))} to go for one process"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def write_report(plan: Plan, stop: Callable[[], bool] = lambda: False) -> None:
    """Write ``table.json``, ``table.md`` and ``table.svg`` of what is there, one process at a time: the last one to
    finish a cell sees all that are done.

    Raises:
        Preempted: ``stop`` said so while another process wrote it.
    """

    with claim(plan.folder / "cells" / "report.lock", wait=True, stop=stop):
        record = make_record(plan, origin={"machine": machine(), "commit": commit()})
        write_atomic(plan.folder / "table.json", json.dumps(record, indent=1, ensure_ascii=False))
        write_atomic(plan.folder / "table.svg", to_svg(record, record["searches"][0]))
        write_atomic(plan.folder / "table.md", to_markdown(record))


def _tell_report(plan: Plan, tell: Callable[[str], None]) -> None:

    missing = read_json(plan.folder / "table.json")["missing"]
    for name, why in missing.items():
        tell(f"missing: {name}: {why}")
    tell(f"report: {plan.folder / 'table.md'}, table.json and table.svg")
