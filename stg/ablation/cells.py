"""Cells of a table: one row, one seed; how they are scored, and how far they are."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from stg.ablation.command_lines import evaluate_command, fit_command
from stg.config.evaluation import EvaluateConfig
from stg.config.schema import describe, differences, to_dict
from stg.config.training import FitConfig
from stg.metrics.java import JavaError, java
from stg.runs.evaluations import read_scores
from stg.runs.folder import RunFolder, defining
from stg.runs.training_run import TrainingRun
from stg.runtime.errors import UserError
from stg.runtime.files import write_atomic
from stg.runtime.reading import number, read_json

State = Literal["done", "failed", "unfinished", "new"]


@dataclass(frozen=True)
class Cell:
    """One run of a table."""

    row: str
    seed: int
    shuffled: bool = False

    @property
    def name(self) -> str:
        """Also the name of its folder."""
        return f"{self.row}-seed{self.seed}" + "-shuffle" * self.shuffled


@dataclass(frozen=True)
class Scoring:
    """What every cell is scored on, and how captions are searched for."""

    split: str
    beam: int
    meteor: bool

    def config(self, run: Path, device: str = "auto") -> EvaluateConfig:
        """Settings of stg.evaluate."""
        return EvaluateConfig(run=str(run), split=self.split, beam=self.beam, meteor=self.meteor, device=device, show=2)

    @property
    def searches(self) -> list[str]:
        """Their names."""
        return [search.name for search in self.config(Path()).searches()]


@dataclass(frozen=True)
class CellFolder:
    """A cell on disk: its run, and how far it is.

    Args:
        cell: which.
        folder: of all cells.
        config: what the cell trains.
        scoring: how it is scored.
        features: manifest of the store at hand, which the cell must have been trained on; None: whatever it was.
    """

    cell: Cell
    folder: Path
    config: FitConfig
    scoring: Scoring
    features: Mapping[str, Any] | None = None

    @property
    def run(self) -> RunFolder:
        """The cell's run, an ordinary one."""
        return RunFolder(self.folder / self.cell.name)

    @property
    def record_file(self) -> Path:
        """What is known of the cell besides its run: seconds, numbers of weights, failures."""
        return self.folder / f"{self.cell.name}.json"

    @property
    def lock_file(self) -> Path:
        """Held while a process works on the cell."""
        return self.folder / f"{self.cell.name}.lock"

    @property
    def record(self) -> dict[str, Any]:
        """The cell's record; empty for a new one."""
        found = read_json(self.record_file) if self.record_file.exists() else {}
        if not _is_record(found):
            raise UserError(f"{self.record_file} is not a record of an ablation: remove it, and the cell resumes")
        return found

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Replace the cell's record."""
        write_atomic(self.record_file, json.dumps(record, ensure_ascii=False, indent=1))

    @property
    def commands(self) -> list[str]:
        """What does the same by hand."""
        return [fit_command(self.config), evaluate_command(self.evaluation)]

    @property
    def begun(self) -> bool:
        """Whether its training has been begun."""
        return self.run.begun

    @property
    def trained(self) -> bool:
        """Whether the cell's run has been trained to its end with these very settings.

        Raises:
            UserError: its folder holds something else, or a run with other settings, in the words of stg.fit; or it was
                trained on features made otherwise than those of the store at hand.
        """
        run = self.run
        if not run.begun:
            return False  # stg.fit checks it itself; another process may be making it at this moment
        # The run's own check of its settings, with the name of the option that this command has.
        TrainingRun(run.path, self.config, option="--out")
        self.check_features()
        return run.finished and not defining(differences(to_dict(run.config), to_dict(self.config)))

    @property
    def trained_on(self) -> dict[str, Any] | None:
        """Manifest of the features that the cell was begun with: from its model, or before it has one from its record.

        None if neither says so.

        Raises:
            UserError: the model is damaged.
        """
        header = self.run.header
        found = header["features"] if header is not None else self.record.get("features")
        return found if isinstance(found, dict) else None

    def check_features(self) -> None:
        """Refuse a store that is not the one the cell was begun with.

        Raises:
            UserError: it is made otherwise.
        """
        # A store may be moved (data.store is free): what is in it may not change.
        found = self.trained_on
        if self.features is None or found is None or not (differing := differences(found, self.features)):
            return
        listed = describe(differing, "trained on {old!r}, store has {new!r}")
        store = self.config.data.store or "the store of the built-in world"
        raise UserError(
            f"{self.run} was trained on other features than those of {store} ({listed}): choose another folder "
            "with --out, or give the store of then with --data.store"
        )

    @property
    def evaluated(self) -> dict[str, str]:
        """Name of a search -> stem of its files in ``evaluation``; empty if one that is asked for is missing.

        METEOR is not missed where no Java can compute it.
        """
        # Looked up by split: a cell may be scored on several.
        found = self.record.get("evaluated", {}).get(self.scoring.split, {})
        stems: dict[str, str] = {}
        for search in self.scoring.searches:
            # A model that reads classes has two scores a search: with them and without.
            named = {name: one["stem"] for name, one in found.items() if f"{name}, ".startswith(f"{search}, ")}
            files = [self.run.evaluation_file(stem, "scores") for stem in named.values()]
            # One missing file makes the whole cell unscored: scoring again is cheap.
            if not named or not all(path.exists() for path in files):
                return {}
            # Scored on a machine without Java before: done once more where there is one.
            if self.scoring.meteor and java_is_there() and any(no_meteor(path) for path in files):
                return {}
            stems |= named
        return stems

    @property
    def state(self) -> State:
        """How far the cell is.

        Raises:
            UserError: its folder is not that of this cell (:attr:`trained`).
        """
        # In this order: a failure that a later attempt mended no longer counts.
        if self.trained and self.evaluated:
            return "done"
        if self.record.get("failed"):
            return "failed"
        return "unfinished" if self.begun else "new"

    def failed_since(self, began: float) -> bool:
        """Whether the cell has failed at or after a time (seconds of the epoch)."""
        failed = self.record.get("failed")
        return failed is not None and failed["at"] >= began

    @property
    def evaluation(self) -> EvaluateConfig:
        """Settings of stg.evaluate for the cell."""
        asked = self.scoring.config(self.run.path, self.config.run.device)
        if not self.run.begun:
            return asked
        # The store or the annotation may have moved since the cell was trained.
        then, now = self.run.config.data, self.config.data
        moved = {name: here for name in ("store", "root") if (here := getattr(now, name)) != getattr(then, name)}
        return replace(asked, **moved)


def _is_record(found: object) -> bool:
    """Whether a file holds what `CellFolder.record` promises, as far as it is read without a question."""
    if not isinstance(found, dict):
        return False
    if not all(number(found.get(name, 0.0)) is not None for name in ("seconds", "seconds_evaluating")):
        return False
    failed, evaluated, weights = (found.get(name) or {} for name in ("failed", "evaluated", "weights"))
    if not all(isinstance(part, dict) for part in (failed, evaluated, weights)):
        return False
    if failed and (number(failed.get("at")) is None or not isinstance(failed.get("error"), str)):
        return False
    searches = [one for split in evaluated.values() for one in (split.values() if isinstance(split, dict) else [None])]
    named = all(isinstance(one, dict) and isinstance(one.get("stem"), str) for one in searches)
    return named and all(number(count) is not None for count in weights.values())


def java_is_there() -> bool:
    """Whether METEOR can be asked for."""

    try:
        java()
    except JavaError:
        return False
    return True


def no_meteor(scores: Path) -> bool:
    """Whether a file of scores is without METEOR."""
    return "meteor" not in read_scores(scores)["scores"]
