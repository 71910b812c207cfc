"""Cells of a table: one row, one seed. Their settings, folders and state."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from stg.ablation.tables import Table
from stg.config.evaluation import EvaluateConfig
from stg.config.schema import describe, differences, from_dict, to_dict
from stg.config.training import FitConfig
from stg.metrics.java import JavaError, java
from stg.runs.folder import FREE, RunFolder, load_config
from stg.runs.training_run import TrainingRun
from stg.runtime.errors import UserError
from stg.runtime.files import write_atomic
from stg.runtime.reading import read_json

State = Literal["done", "failed", "unfinished", "new"]

OWN = {"run.out": "--out", "run.seed": "--seeds", "run.control": "--controls", "run.start": ""}
"""Settings that each cell has its own value of -> the option that says so; none for those that make no sense here."""


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
class Plan:
    """All cells of a table in the order in which they are worked on: seed by seed, so that an early look sees all rows.

    Args:
        name: of the table.
        table: its rows.
        folder: where everything is; cells are in ``cells``.
        configs: cell -> what it trains.
        scoring: how cells are scored.
        features: manifest of the store at hand, which all cells must have been trained on; None: whatever they were.
    """

    name: str
    table: Table
    folder: Path
    configs: Mapping[Cell, FitConfig]
    scoring: Scoring
    features: Mapping[str, Any] | None = None

    def run(self, cell: Cell) -> Path:
        """Run folder of a cell."""
        return self.folder / "cells" / cell.name

    def record_file(self, cell: Cell) -> Path:
        """What is known of a cell besides its run: seconds, numbers of weights, failures."""
        return self.folder / "cells" / f"{cell.name}.json"

    def lock_file(self, cell: Cell) -> Path:
        """Held while somebody works on the cell."""
        return self.folder / "cells" / f"{cell.name}.lock"

    def record(self, cell: Cell) -> dict[str, Any]:
        """The cell's record; empty for a new one."""
        path = self.record_file(cell)
        found = read_json(path) if path.exists() else {}
        if not isinstance(found, dict):
            raise UserError(f"{path} is not a record of ours: remove it, and the cell is gone on with")
        return found

    def write_record(self, cell: Cell, record: Mapping[str, Any]) -> None:
        write_atomic(self.record_file(cell), json.dumps(record, indent=1))

    def trained(self, cell: Cell) -> bool:
        """Whether the cell's run has been trained to its end with these very settings.

        Raises:
            UserError: its folder holds something else, or a run with other settings, in the words of stg.fit; or it was
                trained on features made otherwise than those of the store at hand.
        """

        folder = self.run(cell)
        if not (folder / "config.json").exists():
            return False  # stg.fit looks at it itself; somebody may be making it at this moment
        try:
            TrainingRun(folder, self.configs[cell])
        except UserError as error:
            raise UserError(str(error).replace("--run.out", "--out")) from error
        self._check_features(cell)
        if not RunFolder(folder).finished:
            return False
        return not differences(to_dict(load_config(folder)), to_dict(self.configs[cell])).keys() - FREE

    def features_of(self, cell: Cell) -> dict[str, Any] | None:
        """Manifest of the features that a cell was begun with, from its model; before it has one, from its record. None
        where neither is there.

        Raises:
            UserError: the model is damaged.
        """

        header = RunFolder(self.run(cell)).header
        found = header["features"] if header is not None else self.record(cell).get("features")
        return found if isinstance(found, dict) else None

    def _check_features(self, cell: Cell) -> None:
        # data.store may differ, as a store may be moved: what is in it may not.
        found = self.features_of(cell)
        if self.features is None or found is None or not (differing := differences(found, self.features)):
            return
        listed = describe(differing, "trained on {old!r}, store has {new!r}")
        store = self.configs[cell].data.store or "the store of the built-in world"
        raise UserError(
            f"{self.run(cell)} was trained on other features than those of {store} ({listed}): choose another folder "
            "with --out, or give the store of then with --data.store"
        )

    def evaluated(self, cell: Cell) -> dict[str, str]:
        """Name of a search -> stem of its files in the cell's ``evaluation``; empty where not all are there that are
        asked for. METEOR is not missed where there is no Java to make it."""
        found = self.record(cell).get("evaluated", {}).get(self.scoring.split, {})
        stems: dict[str, str] = {}
        for search in self.scoring.searches:
            # A model that reads classes has two scores a search: with them and without.
            named = {name: told for name, told in found.items() if name == search or name.startswith(f"{search}, ")}
            files = [self.run(cell) / "evaluation" / f"{told['stem']}-scores.json" for told in named.values()]
            if not named or not all(path.exists() for path in files):
                return {}
            if self.scoring.meteor and java_is_there() and any(no_meteor(path) for path in files):
                return {}
            stems |= {name: told["stem"] for name, told in named.items()}
        return stems

    def state(self, cell: Cell) -> State:
        """How far a cell is.

        Raises:
            UserError: its folder is not that of this cell (:meth:`trained`).
        """
        if self.trained(cell) and self.evaluated(cell):
            return "done"
        if self.record(cell).get("failed"):
            return "failed"
        return "unfinished" if (self.run(cell) / "config.json").exists() else "new"

    def scoring_config(self, cell: Cell) -> EvaluateConfig:
        """Settings of stg.evaluate for a cell."""

        run, config = self.run(cell), self.configs[cell]
        asked = self.scoring.config(run, config.run.device)
        if not (run / "config.json").exists():
            return asked
        # A store or annotation that has moved since the cell was trained.
        then = load_config(run).data
        moved = {
            name: here for name in ("store", "root") if (here := getattr(config.data, name)) != getattr(then, name)
        }
        return replace(asked, **moved)

    def commands(self, cell: Cell) -> list[str]:
        """The commands that do the same by hand."""
        return [fit_command(self.configs[cell]), evaluate_command(self.scoring_config(cell))]


def plan_cells(
    name: str,
    table: Table,
    base: FitConfig,
    *,
    given: Sequence[str],
    folder: Path,
    seeds: Sequence[int],
    controls: bool,
    scoring: Scoring,
) -> Plan:
    """Settings of all cells.

    Args:
        base: what all cells share.
        given: dotted names that the user has set, whatever their values.
        controls: a second run of every cell, trained and scored on shuffled features.

    Raises:
        UserError: the user has set what a row sets, to another value than the reference row's, or what each cell has
            its own value of.
        ValueError: settings that cannot be together.
    """
    _refuse_contradictions(name, table, base, given)
    free = {key: value for key, value in table.unless_given.items() if key not in given}
    order = [
        Cell(row, seed, shuffled) for seed in seeds for shuffled in (False, True)[: 1 + controls] for row in table.rows
    ]
    configs = {}
    for cell in order:
        own = {
            "run.out": str(folder / "cells" / cell.name),
            "run.seed": cell.seed,
            "run.control": "shuffle" if cell.shuffled else "none",
        }
        configs[cell] = with_settings(base, {**free, **table.settings(cell.row), **own})
    return Plan(name, table, folder, configs, scoring)


def with_settings(config: FitConfig, settings: Mapping[str, Any]) -> FitConfig:
    """The settings with some replaced, all at once: they are looked at when all are in place.

    Args:
        settings: dotted name -> value.

    Raises:
        ValueError: they cannot be together.
    """
    values = to_dict(config)
    for key, value in settings.items():
        *sections, last = key.split(".")
        section = values
        for name in sections:
            section = section[name]
        if last not in section:
            raise ValueError(f"no setting {key}")
        section[last] = list(value) if isinstance(value, tuple) else value
    return from_dict(FitConfig, values)


def value_of(config: FitConfig, key: str) -> Any:
    """Value of a dotted setting."""
    found: Any = config
    for name in key.split("."):
        found = getattr(found, name)
    return found


def _refuse_contradictions(name: str, table: Table, base: FitConfig, given: Sequence[str]) -> None:
    default = FitConfig()
    for key, option in OWN.items():
        if key in given or value_of(base, key) != value_of(default, key):
            instead = f"use {option}" if option else "cells begin with fresh weights"
            raise UserError(f"--{key} is not for all cells: {instead}")
    wanted = table.settings(table.reference)
    for key in dict.fromkeys(key for row in table.rows for key in table.settings(row)):
        value = value_of(base, key)
        if (key in given or value != value_of(default, key)) and value != wanted[key]:
            values = dict.fromkeys(str(table.settings(row)[key]) for row in table.rows)
            raise UserError(
                f"{key} {value} contradicts the table {name}, which sets it to {', '.join(values)} "
                f"({wanted[key]} in its reference row {table.reference}): leave it out, or give the preset of that row"
            )


# --- the same by hand


def fit_command(config: FitConfig) -> str:
    """``python -m stg.fit`` with all that is not its default."""
    changed = differences(to_dict(FitConfig()), to_dict(config))
    plugins = [f"--plugin {shlex.quote(plugin)}" for plugin in config.plugin]
    options = plugins + [f"--{key} {shlex.quote(_written(value))}" for key, (_, value) in changed.items()]
    return " ".join(["python -m stg.fit", *options])


def evaluate_command(config: EvaluateConfig) -> str:
    """``python -m stg.evaluate`` with all that is not its default."""
    default = EvaluateConfig(run=config.run)
    changed = {
        item.name: getattr(config, item.name)
        for item in fields(config)
        if getattr(config, item.name) != getattr(default, item.name)
    }
    options = [f"--{key} {shlex.quote(_written(value))}" for key, value in changed.items()]
    return " ".join(["python -m stg.evaluate", shlex.quote(config.run), *options])


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# --- METEOR


def java_is_there() -> bool:
    """Whether METEOR can be asked for."""

    try:
        java()
    except JavaError:
        return False
    return True


def no_meteor(scores: Path) -> bool:
    """Whether a file of scores is without METEOR."""
    return "meteor" not in read_json(scores)["scores"]
