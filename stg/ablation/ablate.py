"""Train and evaluate the cells of a table, one after another, and report them."""

import json
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from graphs import GraphStore
from stg.ablation.cells import CellFolder, java_is_there
from stg.ablation.config import AblateConfig
from stg.ablation.markdown import to_markdown
from stg.ablation.plan import Plan, make_plan
from stg.ablation.report import make_record, read_scores
from stg.ablation.work import work_on
from stg.config.data import DataConfig
from stg.config.retrieval import EmbedConfig
from stg.datasets.open import open_dataset
from stg.evaluation.plots import to_svg
from stg.runtime.errors import Preempted, UserError
from stg.runtime.files import printable, write_atomic
from stg.runtime.locks import claim
from stg.runtime.provenance import commit, machine
from stg.runtime.reading import counted, read_json
from stg.runtime.reporter import SILENT, Reporter

POLL_SECONDS = 0.5


def ablate(config: AblateConfig, *, embedding: EmbedConfig | None = None, reporter: Reporter = SILENT) -> int:
    """Work on all cells that no other process works on, until all are done; 1 if some have failed.

    Args:
        embedding: settings of the embedding of rows that fuse others, but for data, seed and folder; None: those of
            stg.embed.

    Raises:
        Preempted: ``reporter`` asked for it; what is done is kept.
        UserError: no such table, settings that contradict it, folders of other runs, data that are not there.
    """
    plan = make_plan(config, embedding)
    # Neither makes a store: what the features are is known only if there is one.
    if config.dry_run or config.report:
        plan = replace(plan, features=_features_there(config.data))
    states = [(cell, cell.state) for cell in plan.cells]  # a folder of another run is refused before any work
    if config.dry_run:
        for cell, state in states:
            _say(reporter, f"{cell.cell.name}: {state}")
            for line in cell.commands:
                _say(reporter, f"    {line}")
        return 0
    if config.report:
        write_report(plan)
        _say_report(plan, reporter)
        return 0

    _say(reporter, f"{plan.name}: {plan.table.title}; {counted(len(plan.configs), 'cell')} in {plan.folder}")
    # The store is made before any cell: processes that share the folder would make it twice.
    plan = replace(plan, features=_prepare(plan, reporter))
    if plan.scoring.meteor and not java_is_there():
        note = "METEOR needs Java, which is missing here: cells are scored without, and once more where Java is"
        _say(reporter, note)
    _work_through(plan, reporter, verbose=config.verbose)
    write_report(plan, reporter)
    _say_report(plan, reporter)
    failed = [cell for cell in plan.cells if cell.state == "failed"]
    for cell in failed:
        _say(reporter, f"failed: {cell.cell.name}: {cell.record['failed']['error']}")
    return 1 if failed else 0


def _work_through(plan: Plan, reporter: Reporter, *, verbose: bool) -> None:
    """Work on one cell after another until each is done, or has failed since this began."""
    # Two clocks: durations must not jump with the system's time, and failures on disk are dated by it.
    began, wall = time.monotonic(), time.time()
    waiting = False
    while True:
        # Other processes work on cells too: what is left is read off the disk each time.
        states = [(cell, cell.state) for cell in plan.cells]
        left = [cell for cell, state in states if state != "done" and not cell.failed_since(wall)]
        done = [cell for cell, state in states if state == "done"]
        count = f"{len(done)} of {len(states)} cells done"
        if reporter.should_stop():
            raise Preempted(f"stopped with {count}: the same command resumes from there")
        if not left:
            return
        count += _times(done, len(left), time.monotonic() - began)
        # One that builds on a cell that has failed is worked on, and fails with the reason.
        ready = [cell for cell in left if not any(one in left for one in plan.needed(cell.cell))]
        # Stops at the first cell that was free, so that the disk is read again after each.
        if any(_work_if_free(plan, cell, wall, count, reporter, verbose) for cell in ready):
            write_report(plan, reporter)
            waiting = False
            continue
        if not waiting:
            names = ", ".join(cell.cell.name for cell in left)
            _say(reporter, f"waiting for {counted(len(left), 'cell')} that other processes work on: {names}")
        waiting = True
        time.sleep(POLL_SECONDS)


def _work_if_free(plan: Plan, cell: CellFolder, wall: float, count: str, reporter: Reporter, verbose: bool) -> bool:
    """Work on a cell unless another process does, or has just done so; returns whether it was worked on."""
    with claim(cell.lock_file) as mine:
        # Asked again under the lock: the list of what is left may be older than another process's work.
        if not mine or cell.state == "done" or cell.failed_since(wall):
            return False
        number = list(plan.configs).index(cell.cell) + 1
        _say(reporter, f"cell {number} of {len(plan.configs)}, {cell.cell.name}: {count}")
        if (wrong := work_on(cell, needs=plan.needed(cell.cell), reporter=reporter, verbose=verbose)) is not None:
            _say(reporter, f"    failed: {wrong}. The other cells continue; its log: {cell.run.log_file}")
            return True
        seconds = cell.record["seconds"]
        for search, found in read_scores([cell]).items():
            named = [name for name in ("bleu4", "cider", "event") if name in found]
            shown = "  ".join(f"{name} {found[name]['mean']:.3f}" for name in named)
            _say(reporter, f"    {search}: {shown}   ({_clock(seconds)} of training)")
    return True


def _features_there(data: DataConfig) -> dict[str, Any] | None:
    """Manifest of the store that was named, if it is there."""
    if data.store is None or not Path(data.store).exists():
        return None
    with GraphStore(data.store) as store:
        return store.manifest


def _prepare(plan: Plan, reporter: Reporter) -> dict[str, Any]:
    """Make the built-in world's store if it is missing, and refuse what no cell could be trained or scored on.

    Returns:
        the manifest of the store's features.
    """
    # Cells differ in model and training, never in their data.
    shared = next(iter(plan.configs.values()))
    folder = Path(shared.data.store).parent if shared.data.store else Path("stores")

    def alone() -> AbstractContextManager[object]:
        return claim(folder / ".ablation.lock", wait=True, stop=reporter.should_stop)

    opened = open_dataset(shared.data, shared.world, reporter=reporter, alone=alone)
    features = opened.store.manifest
    # Every cell opens the store for itself.
    opened.store.close()
    # Cells are scored on the first data set.
    first = (opened.dataset.parts or (opened.dataset,))[0]
    splits, withheld = first.splits, first.unlabelled
    # Refused now, and not when the first cell is trained.
    if (split := plan.scoring.split) not in splits or split in withheld:
        there = ", ".join(name for name in splits if name not in withheld)
        why = "withholds the captions of" if split in splits else "has no"
        raise UserError(f"{first.name} {why} split {split!r}: score on one of {there}")
    return features


def write_report(plan: Plan, reporter: Reporter = SILENT) -> None:
    """Write ``table.json``, ``table.md`` and ``table.svg`` of what is there, one process at a time: the last one to
    finish a cell sees all that are done.

    Raises:
        Preempted: ``reporter`` asked for it while another process wrote it.
    """
    with claim(plan.folder / "cells" / "report.lock", wait=True, stop=reporter.should_stop):
        record = make_record(plan, origin={"machine": machine(), "commit": commit()})
        write_atomic(plan.folder / "table.json", json.dumps(record, indent=1, ensure_ascii=False))
        write_atomic(plan.folder / "table.svg", to_svg(record, record["searches"][0]))
        write_atomic(plan.folder / "table.md", to_markdown(record))


def _say_report(plan: Plan, reporter: Reporter) -> None:
    for name, why in read_json(plan.folder / "table.json")["missing"].items():
        _say(reporter, f"missing: {name}: {why}")
    _say(reporter, f"report: {plan.folder / 'table.md'}, table.json and table.svg")


def _say(reporter: Reporter, line: str) -> None:
    # Names of files and errors of libraries may hold what no terminal can print.
    reporter.say(printable(line))


def _times(done: Sequence[CellFolder], left: int, seconds: float) -> str:
    so_far = f"; {_clock(seconds)} so far"
    records = [cell.record for cell in done]
    if not records:
        return so_far
    each = sum(record["seconds"] + record.get("seconds_evaluating", 0.0) for record in records) / len(records)
    return f"{so_far}, {_clock(each * left)} to go for one process"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
