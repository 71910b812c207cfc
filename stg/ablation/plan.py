"""Which cells a table, or a grid, has, and what each of them trains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from stg.ablation.cells import Cell, CellFolder, Scoring
from stg.ablation.config import AblateConfig
from stg.ablation.fused import FusedFolder
from stg.ablation.grids import AXES, grid
from stg.ablation.tables import TABLES, Table
from stg.config.plugins import near
from stg.config.retrieval import EmbedConfig
from stg.config.schema import from_dict, seed_list, to_dict
from stg.config.training import FitConfig, TrainingSections
from stg.runtime.errors import UserError

OWN = {
    "run.out": "use --out",
    "run.seed": "use --seeds",
    "run.control": "use --controls",
    "run.start": "cells begin with fresh weights, or with those of another row",
    "run.teacher": "the table distillation trains a teacher for each seed",
}
"""Settings that each cell has its own value of -> what to do instead."""


@dataclass(frozen=True)
class Plan:
    """All cells of a table in the order of work: seed by seed, so that an early report has all rows.

    Args:
        name: of the table.
        table: its rows.
        folder: where everything is; cells are in ``cells``.
        configs: cell -> what it trains.
        scoring: how cells are scored.
        features: manifest of the store at hand, which all cells must have been trained on; None: whatever they were.
        embedding: settings of the embeddings of rows that fuse others.
    """

    name: str
    table: Table
    folder: Path
    configs: Mapping[Cell, FitConfig]
    scoring: Scoring
    features: Mapping[str, Any] | None = None
    embedding: EmbedConfig = field(default_factory=EmbedConfig)

    def at(self, cell: Cell) -> CellFolder:
        """A cell on disk."""
        known = (cell, self.folder / "cells", self.configs[cell], self.scoring, self.features)
        if self.table.rows[cell.row].fused:
            return FusedFolder(*known, tuple(self.needed(cell)), self.embedding)
        return CellFolder(*known)

    def needed(self, cell: Cell) -> list[CellFolder]:
        """The cells that must be done before one: its teacher and what that must beat, what it goes on from, or what it
        fuses."""
        return [self.at(replace(cell, row=name)) for name in self.table.rows[cell.row].needs]

    @property
    def cells(self) -> list[CellFolder]:
        """All cells on disk, in order."""
        return [self.at(cell) for cell in self.configs]


def make_plan(config: AblateConfig, embedding: EmbedConfig | None = None) -> Plan:
    """The cells that a command asks for.

    Args:
        embedding: settings of the embedding of rows that fuse others; None: those of stg.embed.

    Raises:
        UserError: see `stg.ablation.ablate.ablate`.
    """
    name, table = _chosen(config)
    # The sections of stg.fit, without what only the ablation has.
    shared = {item.name: getattr(config, item.name) for item in fields(TrainingSections)}
    base = FitConfig(**shared, run=config.run)
    planned = plan_cells(
        name,
        table,
        base,
        given=config.given,
        folder=Path(config.out or f"runs/ablation-{name}-{config.data.names}"),
        seeds=seed_list(config.seeds),
        controls=config.controls,
        scoring=Scoring(
            config.split, config.beam, config.data.dataset != "world" if config.meteor is None else config.meteor
        ),
    )
    return planned if embedding is None else replace(planned, embedding=embedding)


def _chosen(config: AblateConfig) -> tuple[str, Table]:
    axes = {name: _listed(value) for name in AXES if (value := getattr(config, name)) is not None}
    if axes:
        if config.table is not None:
            asked = ", ".join(f"--{name}" for name in axes)
            raise UserError(f"{config.table} is a table, and {asked} asks for a grid: leave one of them out")
        return "grid", grid(**axes)
    name = config.table or "pan3"
    if name not in TABLES:
        raise UserError(f"no table {name!r}: choose one of {', '.join(TABLES)}{near(name, TABLES)}")
    return name, TABLES[name]


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


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
    # Before any cell is made: a table half of which was trained otherwise is no table.
    _refuse_contradictions(name, table, base, given)
    # Settings that a table only suggests yield to what the user gives.
    free = {key: value for key, value in table.unless_given.items() if key not in given}
    # Seed by seed, so that an early stop leaves whole rows for the seeds that are done.
    order = [
        Cell(row, seed, shuffled)
        for seed in seeds
        for shuffled in (False, True)[: 1 + controls]
        for row in table.rows
        if not (shuffled and _is_without_control(table, row))
    ]
    configs = {}
    for cell in order:
        own = {
            "run.out": str(folder / "cells" / cell.name),
            "run.seed": cell.seed,
        }
        if cell.shuffled:
            own["run.control"] = "shuffle"
        row = table.rows[cell.row]
        # Without its video no model is better than another: the teacher of a control has nothing to beat.
        baseline = "" if cell.shuffled else row.baseline
        for key, other in (("run.start", row.start), ("run.teacher", row.teacher), ("teacher.baseline", baseline)):
            own |= {key: str(folder / "cells" / replace(cell, row=other).name)} if other else {}
        configs[cell] = with_settings(base, {**free, **table.settings(cell.row), **own})
    return Plan(name, table, folder, configs, scoring)


def _is_without_control(table: Table, row: str) -> bool:
    # A row may be a control itself, of its edges: on shuffled features it would be another row's control. Captions of
    # controls say nothing about the videos, so that nothing is to be chosen among them.
    return table.settings(row).get("run.control", "none") != "none" or bool(table.rows[row].fused)


def with_settings(config: FitConfig, settings: Mapping[str, Any]) -> FitConfig:
    """The settings with some replaced, all at once: they are checked when all are in place.

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
        # As JSON would give it; `from_dict` makes tuples again and checks them.
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
    # Compared with the default too: from Python nothing is marked as given.
    for key, instead in OWN.items():
        if key in given or value_of(base, key) != value_of(default, key):
            raise UserError(f"--{key} is not for all cells: {instead}")
    # The reference row's own value is allowed, so that its preset can be the base of the table.
    wanted = table.settings(table.reference)
    for key in dict.fromkeys(key for row in table.rows for key in table.settings(row)):
        value = value_of(base, key)
        if (key in given or value != value_of(default, key)) and value != wanted[key]:
            values = dict.fromkeys(str(table.settings(row)[key]) for row in table.rows)
            raise UserError(
                f"{key} {value} contradicts the table {name}, which sets it to {', '.join(values)} "
                f"({wanted[key]} in its reference row {table.reference}): leave it out, or give the preset of that row"
            )
