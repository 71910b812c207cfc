"""Runs that stg.evaluate has scored, and which of them differ only in their seed."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stg.config.data import DataConfig, WorldConfig
from stg.config.schema import differences, to_dict
from stg.config.training import FitConfig
from stg.datasets.open import READERS, captions_read
from stg.evaluation.predictions import read_predicted
from stg.runs.evaluations import read_scores
from stg.runs.folder import RunFolder, defining
from stg.runs.fusions import fused_runs, run_settings
from stg.runtime.errors import UserError

_SEED = re.compile(r"(?<=.)[-_.](seed)?\d+$")


@dataclass(frozen=True)
class RunResult:
    """The captions and scores of an evaluated run.

    Attributes:
        recorded: the scores as they were written when it was evaluated.
        features: what the model reads, as its header says; None: the model is gone.
        dataset: which of the run's data sets it was evaluated on, see `RunFolder.data_of`.
        fused: names of the runs whose captions these are a choice of; empty for a run of its own.
    """

    folder: str
    settings: FitConfig
    captions: Mapping[str, str]
    recorded: Mapping[str, float]
    features: Mapping[str, Any] | None
    dataset: str | None = None
    fused: tuple[str, ...] = ()

    @property
    def seed(self) -> int:
        return self.settings.run.seed

    @property
    def data(self) -> DataConfig:
        """The settings of the data set that it was evaluated on."""
        return self.settings.data.only(self.dataset)

    def unlike(self, other: "RunResult") -> dict[str, tuple[Any, Any]]:
        """Settings that differ otherwise than from seed to seed; other features count as another store.

        Each seed has a run of its own to begin with, and a teacher of its own: only whether there is one counts.
        """

        found = differences(to_dict(self.settings), to_dict(other.settings))
        found = {key: pair for key, pair in defining(found).items() if key != "run.seed"}
        if all(found.get("run.start", (None,))):
            del found["run.start"]
        if self.features is not None and other.features is not None and differences(self.features, other.features):
            found["data.store"] = (self.settings.data.store, other.settings.data.store)
        # One of the fused runs has the same settings as the fusion, and other captions.
        if self.fused != other.fused:
            found["fused"] = (self.fused, other.fused)
        return found


@dataclass(frozen=True)
class SeedGroup:
    """Runs that differ in their seed only."""

    name: str
    runs: Sequence[RunResult]


def distinct(folders: Sequence[str]) -> Sequence[str]:
    """The folders as they are; one that is given twice is refused."""
    seen: dict[Path, str] = {}
    for folder in folders:
        place = Path(folder).resolve()
        if place in seen:
            raise UserError(f"the run {folder} is given twice: give each once")
        seen[place] = folder
    return folders


def load_result(folder: str, split: str, search: str, dataset: str | None = None) -> RunResult:
    """Settings, captions and recorded scores of one run, or of a fusion of several.

    Raises:
        UserError: not a run, not of this data set, not evaluated so (says how to), or a file is damaged.
    """

    run, members = RunFolder(folder), fused_runs(folder)
    settings, stem = run_settings(folder), f"{split}-{search}"
    captions, scores = (run.evaluation_file(stem, kind, dataset) for kind in ("", "scores"))
    if not captions.exists() or not scores.exists():
        width = search.removeprefix("beam").split("-")[0]
        beam = f" --beam {width}" if width.isdecimal() else ""
        there = [path.name.removesuffix("-scores.json") for path in sorted(captions.parent.glob("*-scores.json"))]
        of = f" --dataset {captions.parent.name}" if captions.parent != run.evaluation else ""
        withheld = ", whose captions may be withheld" if captions.exists() else ""
        raise UserError(
            f"{folder} has no scores of {split}{of} with search {search}{withheld} "
            f"(there: {', '.join(there) or 'none'}): "
            + (
                f"run its python -m stg.ablate again with --split {split}{beam}"
                if members
                else f"run python -m stg.evaluate {shlex.quote(folder)} --split {split}{of}{beam}"
            )
        )
    values = read_scores(scores)["scores"]
    if None in values.values():
        raise UserError(f"{scores} holds no scores of stg.evaluate: evaluate {folder} again")
    # A run without its model is still of use here: what its features were is then unknown, and a note says so.
    header = RunFolder(members[0] if members else folder).header
    features = header["features"] if header is not None else None
    fused = tuple(_SEED.sub("", member.resolve().name) for member in members)
    return RunResult(folder, settings, read_predicted(captions), values, features, dataset, fused)


def require_same_videos(runs: Sequence[RunResult]) -> None:
    """Scores on other videos do not compare.

    Raises:
        UserError: the runs are of different data sets or worlds, or were evaluated on different videos.
    """
    first = runs[0]
    for run in runs[1:]:
        if data_set(run) != data_set(first):
            raise UserError(
                f"{first.folder} is of {data_set(first)}, {run.folder} of {data_set(run)}: compare runs of one data set"
            )
        if apart := sorted(run.captions.keys() ^ first.captions.keys()):
            raise UserError(
                f"{first.folder} and {run.folder} were evaluated on different videos: {len(apart)} are in one of them "
                f"only, such as {apart[0]!r}; evaluate both with one store"
            )


def data_set(run: RunResult) -> str:
    """What a run's references are from, in words."""
    if run.data.dataset == "world":
        return f"the world of seed {run.settings.world.seed}"
    return f"{' + '.join(run.data.sets)}, language {run.data.language}"


def references(runs: Sequence[RunResult], root: str | None) -> Mapping[str, Sequence[str]]:
    """Video -> captions of the runs' data set; see `captions_of`."""
    first = runs[0]
    try:
        data = first.settings.data.only(first.dataset, root)
    except ValueError as error:
        raise UserError(f"{first.folder}: {error}") from error
    return captions_of(data, first.settings.world, first.folder)


def captions_of(
    data: DataConfig,
    world: WorldConfig,
    folder: str,
    *,
    instead: str = "give their folder with --root",
) -> Mapping[str, Sequence[str]]:
    """Video -> the captions that people gave it, for every video of a run's data set.

    Args:
        data, world: of the run.
        folder: of the run, for errors.
        instead: what to do if the run names none, for errors.

    Raises:
        UserError: the annotation cannot be read, or the run names none.
    """
    if data.root is None and data.dataset in READERS:
        raise UserError(f"the run {folder} names no annotation files: {instead}")
    return captions_read(data, world)


# --- rows


def group(runs: Sequence[RunResult], *, names: str | None = None) -> list[SeedGroup]:
    """Runs that differ in their seed only are a row; rows in the order of their first runs.

    Args:
        names: of the rows, with commas; by default :func:`name_rows`, and of a single row its first folder but for the
            seed.

    Raises:
        UserError: not one name for each row, or one twice.
    """
    grouped: list[list[RunResult]] = []
    for run in runs:
        # Compared with any member of the row, as they differ in the seed alone.
        like = next((members for members in grouped if not run.unlike(members[0])), None)
        if like is None:
            grouped.append([run])
        else:
            like.append(run)
    named = (
        name_rows([members[0] for members in grouped])
        if len(grouped) > 1
        else [_SEED.sub("", Path(runs[0].folder).resolve().name)]
    )
    if names is not None:
        given = [name.strip() for name in names.split(",")]
        if len(given) != len(grouped) or len(set(given)) < len(given) or not all(given):
            raise UserError(
                f"--names {names!r} gives {len(given)} names; the runs make {len(grouped)} rows ({'; '.join(named)}): "
                "give one name for each, with commas"
            )
        named = given
    return [SeedGroup(name, members) for name, members in zip(named, grouped, strict=True)]


def name_rows(runs: Sequence[RunResult]) -> list[str]:
    """What distinguishes runs: all the settings in which any two of them differ; the store, where features do."""
    settings = [_flat(to_dict(run.settings)) | ({"fused": " + ".join(run.fused)} if run.fused else {}) for run in runs]
    keys = dict.fromkeys(key for first in runs for run in runs for key in first.unlike(run))
    last = [key.rsplit(".", 1)[-1] for key in keys]
    short = {key: name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)}
    names = [" ".join(f"{short[key]}={_written(key, values.get(key))}" for key in keys) for values in settings]
    return [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, 1)]


def find_row(rows: Sequence[SeedGroup], wanted: str | None) -> SeedGroup:
    """The row with this name, or with this run; None: the first.

    Raises:
        UserError: there is none; lists the names.
    """
    if wanted is None:
        return rows[0]
    named = [row for row in rows if row.name == wanted]
    place = Path(wanted).resolve()
    held = [row for row in rows if any(Path(run.folder).resolve() == place for run in row.runs)]
    # A row's name wins over a folder of the same name.
    for row in (*named, *held):
        return row
    raise UserError(
        f"--baseline {wanted!r} is neither a row nor a run of one; the rows are {'; '.join(row.name for row in rows)}"
    )


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found


def _written(key: str, value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return Path(value).name if key == "data.store" and value else "none" if value is None else str(value)
