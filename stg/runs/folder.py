"""A run folder, read: settings, state, metrics, model, evaluations. Nothing here needs torch but the model itself."""

import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stg.config.data import ALL, DataConfig, same_sets
from stg.config.schema import from_dict
from stg.config.training import FitConfig
from stg.runs.evaluations import Evaluation, read_evaluations
from stg.runs.model_file import MODEL_FILE, WHOLE_FILE, check_plugins, model_header, weight_count
from stg.runtime.errors import UserError
from stg.runtime.reading import number, open_regular, read_json

if TYPE_CHECKING:
    from stg.runs.bundle import CaptionerBundle

FREE = {
    "plugin",
    "plugin_sha256",
    "run.out",
    "run.device",
    "run.threads",
    "run.save_minutes",
    "run.samples",
    "run.trackers",
    "run.override",
    "data.store",
    "data.root",
    "data.loading",
}
"""Options that change nothing in what is learned: a run resumes with other values of them without a word."""


def defining(changed: Mapping[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    """Of settings that differ between two runs, those that make them learn something else.

    Where both have a teacher, its folder may have another name: checkpoints keep the hash of its model. Annotation
    files may have moved.
    """
    moved = {key for key in ("run.teacher", "teacher.baseline") if all(changed.get(key, ()))}
    moved |= {"data.more"} if same_sets(*changed.get("data.more", ("", None))) else set()
    return {key: pair for key, pair in changed.items() if key not in FREE | moved}


_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


def default_folder(config: FitConfig) -> Path:
    """``runs/<dataset>-<branches>-<variant>[-<decoder>][-taught][-shuffle]-seed<seed>``.

    The user's own folder of clips is named, too; the Transformer is not.
    """
    parts: list[str] = [config.data.names, config.model.branches]
    # The scene branch reads no graph, so the variant would only make two names for one model.
    if config.model.branches != "scene":
        parts.append(config.graph.variant)
    if config.model.decoder != "transformer":
        parts.append(config.model.decoder)
    if config.run.teacher is not None:
        parts.append("taught")
    if config.run.control != "none":
        parts.append(config.run.control)
    return Path("runs") / "-".join([*parts, f"seed{config.run.seed}"])


@dataclass(frozen=True)
class Metrics:
    """The rows of ``metrics.jsonl`` that have a kind and a step, in order, and how many lines had not."""

    rows: tuple[Mapping[str, Any], ...] = ()
    unread: int = 0

    def of_kind(self, kind: str) -> list[Mapping[str, Any]]:
        """The rows of one kind: ``step``, ``broken``, ``validation`` or ``start``."""
        return [row for row in self.rows if row["kind"] == kind]


class RunFolder:
    """What lies in a run folder; each file is read when it is asked for, and the settings once.

    Whatever takes a path takes this, too; printed, it is its path.

    Args:
        path: as ``stg.fit`` printed it; it need not exist.
    """

    def __init__(self, path: "str | Path | RunFolder") -> None:
        self.path = Path(path)
        self.config_file, self.state_file = self.path / "config.json", self.path / "state.json"
        self.metrics_file, self.log_file = self.path / "metrics.jsonl", self.path / "train.log"
        self.model_file, self.whole_file = self.path / MODEL_FILE, self.path / WHOLE_FILE
        self.checkpoints, self.evaluation = self.path / "checkpoints", self.path / "evaluation"

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    @property
    def begun(self) -> bool:
        """Whether a run has been started here."""
        return self.config_file.exists()

    @cached_property
    def config(self) -> FitConfig:
        """The settings, as this version reads them: what an older one could not set has its default.

        Raises:
            UserError: it is not a run folder, or was written by another version.
        """
        if not self.begun:
            raise UserError(
                f"{self.path} is not a run folder (it has no config.json): give the folder that stg.fit printed"
            )
        values = read_json(self.config_file)
        # First: settings may name what only a plugin knows, and the error should say which.
        check_plugins(values if isinstance(values, dict) else {}, f"the run {self.path}")
        try:
            return from_dict(FitConfig, values)
        except (TypeError, ValueError) as error:
            raise UserError(f"{self.config_file} does not fit this version: {error}") from error

    @property
    def state(self) -> dict[str, Any]:
        """What ``state.json`` says: ``status`` and details; empty for a run that never saved one.

        Raises:
            UserError: it holds something else.
        """
        state = read_json(self.state_file) if self.state_file.exists() else {}
        if not isinstance(state, dict):
            raise UserError(f"{self.state_file} must hold an object, got {state!r:.80}")
        return state

    @property
    def finished(self) -> bool:
        """Whether the run has been trained to its end."""
        return bool(self.state.get("status") == "finished")

    @property
    def header(self) -> dict[str, Any] | None:
        """Settings and features of the model, read without torch; None if there is no model yet.

        Raises:
            UserError: the model is damaged.
        """
        return model_header(self.model_file) if self.model_file.exists() else None

    def bundle(self, *, whole: bool = False) -> "CaptionerBundle":
        """The trained model; ``whole``: with the parts that only training needs, where the run has kept them.

        Raises:
            CheckpointError: there is no model, or it is damaged.
        """
        from stg.runs.bundle import CaptionerBundle

        return CaptionerBundle.load(self.whole_file if whole and self.whole_file.exists() else self.model_file)

    @property
    def weights(self) -> dict[str, int]:
        """File name -> how many weights it holds: of the model that captions, and of the whole one where it is kept.

        Raises:
            UserError: a file is damaged.
        """
        return {path.name: weight_count(path) for path in (self.model_file, self.whole_file) if path.exists()}

    @property
    def metrics(self) -> Metrics:
        """What was logged step by step; lines that are not rows are counted.

        Raises:
            UserError: the file cannot be read.
        """
        if not self.metrics_file.exists():
            return Metrics()
        rows, unread = [], 0
        for line in _lines(self.metrics_file):
            if (row := metrics_row(line)) is not None:
                rows.append(row)
            else:
                unread += bool(line.strip())
        return Metrics(tuple(rows), unread)

    @property
    def times(self) -> tuple[str, str]:
        """First and last time in the log; empty if there is none."""
        if not self.log_file.exists():
            return "", ""
        times = [match[0] for line in _lines(self.log_file) if (match := _STAMP.match(line))]
        return (times[0], times[-1]) if times else ("", "")

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """What `stg.evaluate` wrote, in the order of data set, split and search.

        Raises:
            UserError: a file is not what it writes.
        """
        _, *others = self.config.data.sets
        return read_evaluations(self.evaluation, [*others, ALL] if others else ())

    def data_of(self, dataset: str | None, root: str | None = None) -> DataConfig:
        """The settings of one of the data sets that the run has learned from, with annotation files that may lie
        elsewhere now (`DataConfig.only`).

        Raises:
            UserError: there is none of this name, or of one in ``root``.
        """
        try:
            return self.config.data.only(dataset, root)
        except ValueError as error:
            raise UserError(f"{self}: {error}") from error

    def evaluation_of(self, dataset: str | None) -> Path:
        """Folder of the evaluations on one data set: that of ``data.dataset`` has no folder of its own.

        Raises:
            UserError: the run has learned from none of this name.
        """
        data = self.data_of(dataset)
        return self.evaluation if dataset is None or data == self.data_of(None) else self.evaluation / dataset

    def evaluation_file(self, stem: str, kind: str = "", dataset: str | None = None) -> Path:
        """The file of an evaluation: its captions, or ``kind`` ``scores``, ``events`` or ``nbest``.

        Args:
            stem: of `stg.runs.evaluations.file_stem`: ``val-beam5``.
            dataset: as in `evaluation_of`.
        """
        folder = self.evaluation if dataset is None else self.evaluation_of(dataset)
        return folder / (f"{stem}-{kind}.json" if kind else f"{stem}.json")


def metrics_row(line: str) -> dict[str, Any] | None:
    """The row of a line of ``metrics.jsonl``; None for what is none, such as a line that a kill cut short."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    whole = isinstance(row, dict) and isinstance(row.get("kind"), str) and number(row.get("step")) is not None
    return row if whole else None


def _lines(path: Path) -> Iterator[str]:
    """The lines of a log, one in memory at a time.

    Raises:
        UserError: it cannot be read.
    """
    # A kill in the middle of a line may also cut a letter.
    with open_regular(path) as file, io.TextIOWrapper(file, encoding="utf-8", errors="replace") as text:
        try:
            yield from text
        except OSError as error:
            raise UserError(f"could not read {path}: {error.strerror or error}") from error


def load_config(folder: str | Path) -> FitConfig:
    """The settings of a run folder: `RunFolder.config`."""
    return RunFolder(folder).config
